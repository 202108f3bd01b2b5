"""AttentionMILClassifier: attention-based deep multiple instance learning."""

import numpy as np
from scipy.special import expit, softmax
from sklearn.utils._param_validation import StrOptions

from milkit.base import BagClassifierMixin
from milkit.neural._base import BaseAttentionMIL
from milkit.neural._losses import BinaryLoss, MulticlassLoss
from milkit.utils._weights import class_weight_per_bag
from milkit.utils.validation import check_bag_weight, validate_bags

__all__ = ["AttentionMILClassifier"]


class AttentionMILClassifier(BagClassifierMixin, BaseAttentionMIL):
    r"""Neural network that pools the instances of a bag by attention.

    An encoder turns each instance into an embedding :math:`h_k`, the pooling makes one embedding
    of the bag, :math:`z = \sum_k a_k h_k`, and a linear head gives the logits. With "attention"

    .. math:: a_k = \operatorname{softmax}_k\bigl(w^\top \tanh(V h_k)\bigr)

    ([1]_, eq. 8); "gated_attention" multiplies the tanh by :math:`\sigma(U h_k)` (eq. 9).

    Parameters
    ----------
    pooling : {"attention", "gated_attention", "mean", "max"}, default="attention"
        How the embeddings of a bag's instances become one.
    hidden_layer_sizes : sequence of int, default=(128, 64)
        Widths of the encoder's layers (linear, ReLU, dropout). Empty pools the features
        themselves.
    attention_dim : int, default=64
        Width of the attention's hidden layer (L in the paper).
    learning_rate_init : float, default=5e-4
        Step size of AdamW.
    weight_decay : float, default=1e-2
        Decoupled weight decay.
    max_iter : int, default=100
        Number of epochs; at most so many if ``tol`` is a number.
    batch_size : int or "auto", default="auto"
        Bags per optimiser step; "auto" is min(16, n_bags).
    max_batch_instances : int, default=4096
        Instances held at a time; a batch with more is cut between bags and the gradients are
        added, which gives the same gradient (but other random numbers for dropout).
    dropout : float, default=0.1
        Share of the encoder's activations that is dropped in training.
    tol : float or None, default=None
        None trains for ``max_iter`` epochs. A number stops when the training loss has fallen
        by less than that in ``n_iter_no_change`` epochs in a row, and warns if it never does.
    n_iter_no_change : int, default=10
        See ``tol``.
    class_weight : dict, "balanced" or None, default=None
        Weight of the bags of each class; "balanced" is n_bags / (n_classes · n_bags of the
        class).
    device : str, default="auto"
        "auto" takes a CUDA GPU where there is one, else the CPU.
    random_state : int, RandomState instance or None, default=None
        For initial weights, dropout and the order of the bags.
    verbose : int, default=0
        1 shows a progress bar over the epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    network_ : torch.nn.Module
        The trained network, on the CPU.
    loss_ : object
        What turns outputs into predictions.
    loss_curve_ : list of float
        Mean weighted training loss of each epoch.
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
    milkit.MISVM : Looks for one witness in each positive bag.
    milkit.neural.AttentionMILRegressor : The same network for numbers.

    Notes
    -----
    The instances of a batch are packed behind each other without padding, so cost follows the
    number of instances. The features should be on one scale: put
    ``InstanceTransformer(StandardScaler())`` in front.

    References
    ----------
    .. [1] M. Ilse, J. M. Tomczak, M. Welling, "Attention-based deep multiple instance learning",
           ICML 2018, arXiv:1802.04712.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import AttentionMILClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(6, 2)) for _ in range(40)]
    >>> y = np.arange(40) % 2
    >>> for bag in X[1::2]:
    ...     bag[0] += 4  # one witness in each positive bag
    >>> model = AttentionMILClassifier(random_state=0).fit(X, y)
    >>> model.score(X, y)
    1.0
    >>> float(model.attention_weights(X)[0].sum().round(4))
    1.0
    """

    _parameter_constraints: dict = {
        **BaseAttentionMIL._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

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
        class_weight=None,
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
        self.class_weight = class_weight

    def fit(self, X, y, sample_weight=None):
        """Train the network.

        Parameters
        ----------
        X : container of n_bags bags
            Any form that :func:`milkit.utils.validation.as_bag_array` takes.
        y : array-like of shape (n_bags,)
            Labels of the bags.
        sample_weight : array-like of shape (n_bags,), default=None
            Weight of each bag in the loss.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the bags or labels are not usable; the bag is named.
        FloatingPointError
            If the loss becomes NaN or infinite; the epoch is named.
        """
        self._validate_params()
        bags, y = validate_bags(self, X, y, dtype=np.float32, order="C", instance_data=False)
        encoded = self._encode_labels(y)
        weight = check_bag_weight(sample_weight, bags)
        weight = weight * class_weight_per_bag(
            self.class_weight, self.classes_, encoded, sample_weight=weight
        )
        n_classes = len(self.classes_)
        loss = BinaryLoss() if n_classes == 2 else MulticlassLoss(n_classes)
        return self._fit(bags, loss.encode(encoded), weight, loss)

    def decision_function(self, X):
        """Logits of each bag.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        logits : ndarray of shape (n_bags,) or (n_bags, n_classes)
            For two classes the logit of ``classes_[1]``.
        """
        return self._outputs(X)

    def predict_proba(self, X):
        """Probability of each class.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        probabilities : ndarray of shape (n_bags, n_classes)
        """
        logits = self.decision_function(X)
        if logits.ndim == 1:
            return np.column_stack([expit(-logits), expit(logits)])
        return softmax(logits, axis=1)

    def predict(self, X):
        """Label of each bag.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        y : ndarray of shape (n_bags,)
        """
        return self._decode_scores(self.decision_function(X))

    def score_instances(self, X):
        """Evidence of each instance.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        evidence : list of ndarray, each of shape (n_i,) or (n_i, n_classes)
            For two classes evidence for ``classes_[1]``; comparable across bags. After a weighted
            mean (all poolings but "max") it is n_i a_k (w · h_k), and its mean over the bag plus
            the head's bias is the bag's logit. With "max" it is what the logit loses without the
            instance.
        """
        evidence = self._evidence(X)
        return [e[:, 0] for e in evidence] if len(self.classes_) == 2 else evidence
