"""AttentionMILRegressor: the attention network for numbers."""

import numpy as np
from sklearn.base import RegressorMixin

from milkit.neural._base import BaseAttentionMIL
from milkit.neural._losses import SquaredLoss
from milkit.utils.validation import check_bag_weight, validate_bags

__all__ = ["AttentionMILRegressor"]


class AttentionMILRegressor(RegressorMixin, BaseAttentionMIL):
    """Attention network that predicts a number for each bag.

    The network of :class:`milkit.AttentionMILClassifier` with a squared error; the target is
    standardised for training and given back in its own units.

    Parameters
    ----------
    pooling : {"attention", "gated_attention", "mean", "max"}, default="attention"
        How the embeddings of a bag's instances become one.
    hidden_layer_sizes : sequence of int, default=(128, 64)
        Widths of the encoder's layers (linear, ReLU, dropout).
    attention_dim : int, default=64
        Width of the attention's hidden layer.
    learning_rate_init : float, default=5e-4
        Step size of AdamW.
    weight_decay : float, default=1e-2
        Decoupled weight decay.
    max_iter : int, default=100
        Number of epochs; at most so many if ``tol`` is a number.
    batch_size : int or "auto", default="auto"
        Bags per optimiser step; "auto" is min(16, n_bags).
    max_batch_instances : int, default=4096
        Instances held at a time.
    dropout : float, default=0.1
        Share of the encoder's activations that is dropped in training.
    tol : float or None, default=None
        None trains for ``max_iter`` epochs. A number stops when the training loss has fallen
        by less than that in ``n_iter_no_change`` epochs in a row, and warns if it never does.
    n_iter_no_change : int, default=10
        See ``tol``.
    device : str, default="auto"
        "auto" takes a CUDA GPU where there is one, else the CPU.
    random_state : int, RandomState instance or None, default=None
        For initial weights, dropout and the order of the bags.
    verbose : int, default=0
        1 shows a progress bar over the epochs.

    Attributes
    ----------
    network_ : torch.nn.Module
        The trained network, on the CPU.
    loss_ : object
        What turns outputs into predictions.
    loss_curve_ : list of float
        Mean weighted training loss of each epoch, as a share of the target's variance.
    n_iter_ : int
        Number of epochs.
    n_features_in_ : int
        Number of features of an instance.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the bags have feature names that are strings.
    instance_shape_ : tuple
        Shape of one instance.
    fitted_on_table_ : bool
        Whether ``fit`` got a 2-D array, read as one instance per bag.

    See Also
    --------
    milkit.AttentionMILClassifier : The same network for classes.

    References
    ----------
    .. [1] M. Ilse, J. M. Tomczak, M. Welling, "Attention-based deep multiple instance learning",
           ICML 2018, arXiv:1802.04712.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.neural import AttentionMILRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(6, 2)) for _ in range(60)]
    >>> y = [bag[:, 0].mean() for bag in X]
    >>> model = AttentionMILRegressor(random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    """

    def __init__(
        self,
        *,
        pooling="attention",
        hidden_layer_sizes=(128, 64),
        attention_dim=64,
        learning_rate_init=5e-4,
        weight_decay=1e-2,
        max_iter=100,
        batch_size="auto",
        max_batch_instances=4096,
        dropout=0.1,
        tol=None,
        n_iter_no_change=10,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            pooling=pooling,
            hidden_layer_sizes=hidden_layer_sizes,
            attention_dim=attention_dim,
            learning_rate_init=learning_rate_init,
            weight_decay=weight_decay,
            max_iter=max_iter,
            batch_size=batch_size,
            max_batch_instances=max_batch_instances,
            dropout=dropout,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )

    def fit(self, X, y, sample_weight=None):
        """Train the network.

        Parameters
        ----------
        X : container of n_bags bags
            Any form that :func:`milkit.utils.validation.as_bag_array` takes.
        y : array-like of shape (n_bags,)
            Target of each bag.
        sample_weight : array-like of shape (n_bags,), default=None
            Weight of each bag in the loss.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the bags or targets are not usable; the bag is named.
        FloatingPointError
            If the loss becomes NaN or infinite; the epoch is named.
        """
        self._validate_params()
        bags, y = validate_bags(
            self, X, y, dtype=np.float32, order="C", instance_data=False, y_numeric=True
        )
        weight = check_bag_weight(sample_weight, bags)
        y = y.astype(np.float64)
        loss = SquaredLoss(y, weight)
        return self._fit(bags, loss.encode(y), weight, loss)

    def predict(self, X):
        """Number predicted for each bag.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        y : ndarray of shape (n_bags,)
            In the units of the target.
        """
        return self._outputs(X)

    def score_instances(self, X):
        """Evidence of each instance, in the units of the target.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        evidence : list of ndarray, each of shape (n_i,)
            How far the instance pushes its bag's prediction up or down. After a weighted mean
            (all poolings but "max") the mean over the bag plus a constant is the prediction; with
            "max" it is what the prediction loses without the instance.
        """
        evidence = self._evidence(X)
        return [e[:, 0] * self.loss_.scale for e in evidence]
