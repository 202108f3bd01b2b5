"""scikit-learn's callback protocol, where the installed version has it (1.9 and later)."""

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # an older scikit-learn: no set_callbacks

    class CallbackSupportMixin:
        """Stands in for scikit-learn's."""

    def with_callbacks(method):
        return method


__all__ = ["CallbackSupportMixin", "FitProgress", "with_callbacks"]


class FitProgress:
    """Tells the callbacks of an estimator of its fit and of each iteration.

    Parameters
    ----------
    estimator : estimator with CallbackSupportMixin
    n_iterations : int
        The most there may be.
    name : str
        What an iteration is called.
    attributes : callable
        Gives the fitted attributes as they are now, for callbacks that evaluate the estimator.
    **data
        ``X``, ``y`` and ``metadata`` for the callbacks.
    """

    def __init__(self, estimator, n_iterations, name, attributes, **data):
        self.estimator, self.name = estimator, name
        self.data = {"estimator": estimator, "reconstruction_attributes": attributes, **data}
        self.root = None
        if hasattr(estimator, "_init_callback_context"):
            self.root = estimator._init_callback_context(max_subtasks=n_iterations)
            self.root.call_on_fit_task_begin(**self.data)
        self.current = None

    def begin_iteration(self):
        """To be called in front of each iteration."""
        if self.root is not None:
            self.current = self.root.subcontext(task_name=self.name)
            self.current.call_on_fit_task_begin(**self.data)

    def end_iteration(self):
        """To be called behind each iteration; True asks to stop."""
        return self.root is not None and self.current.call_on_fit_task_end(**self.data)

    def end(self):
        """To be called when the estimator is fitted."""
        if self.root is not None:
            self.root.call_on_fit_task_end(**self.data)
