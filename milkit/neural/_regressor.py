"""AttentionMILRegressor: the attention network for numbers."""

import numpy as np
from sklearn.base import RegressorMixin

from milkit.neural._base import BaseAttentionMIL
from milkit.neural._losses import SquaredLoss
from milkit.utils._callbacks import with_callbacks

__all__ = ["AttentionMILRegressor"]


class AttentionMILRegressor(RegressorMixin, BaseAttentionMIL):
    """Attention network that predicts a number for each bag.

    The network of :class:`milkit.AttentionMILClassifier` with a squared error; the target is
    standardised for training and given back in its own units.

    Parameters
    ----------
    pooling : {"attention", "gated_attention", "mean", "max", "logsumexp", \
            "mean_std"} or torch module factory, default="attention"
        How the instances of a bag become one. A function that is called with the embedding's
        width gives a module of your own: its ``forward(h, offsets)`` turns the embeddings of
        packed bags, (n_instances, width), into (n_bags, any width); bag i is
        ``h[offsets[i]:offsets[i + 1]]``. A module itself is copied, never trained.
    level : {"embedding", "instance"}, default="embedding"
        "embedding" pools embeddings and reads the number off; "instance" gives each instance
        outputs of its own and pools these. See the table in the guide.
    hidden_layer_sizes : sequence of int, default=(128, 64)
        Widths of the encoder's layers (linear, ReLU, dropout), behind the convolutions where the
        instances are images. Empty pools the features themselves.
    attention_dim : int, default=64
        Width of the attention's hidden layer (L in the paper).
    n_heads : int, default=1
        Number of attention heads; their embeddings stand behind each other.
    attention_features : list of str, default=None
        Instance data of the bags (``BagArray.instance_data``) that attention sees beside the
        embedding, such as a cell's position or size. They are standardised inside ``fit``.
    encoder : torch module factory, default=None
        A function that is called with the shape of one instance and gives a module that turns
        (n_instances, ...) into (n_instances, any width). A module itself is copied, and the copy
        trained further. None picks by shape: a perceptron for vectors, the convolutions of [1]_
        for images (1 to 4 channels first, at least 16 × 16), those of [2]_ for feature maps (at
        least 16 channels, at least 8 × 8). Both see each channel with its mean
        and deviation over the training images taken out; a module of one's own sees floats as
        they are, and bytes divided by 255.
    augmentation : {"rotate", "flip", "both"}, default=None
        In training, turn image instances by multiples of 90 degrees, mirror them, or both.
    auxiliary_decay : float in [0, 1), default=None
        The β of [2]_: a second head predicts the bag's target from each single instance, and in
        epoch E = 0, 1, … the loss is (1 − β^E) of the bags' and β^E of the instances'. None has
        none.
    covariates : {"concat", "mixture"}, default=None
        What the network makes of the bags' covariates: "concat" puts them behind the bag's
        embedding, each after a branch of its own ([3]_, without branches and with
        ``head_layer_sizes=(256, 128)`` it is [4]_); "mixture" has one expert for the instances and
        one for the covariates, and a linear layer that says how much each is trusted for this
        bag [5]_ (``expert_weights``). Categories are encoded, missing values imputed and told,
        and all is standardised inside ``fit``. None does not look at them.
    covariate_columns : list of str, default=None
        Which covariates to use. None is all that are attached to a BagArray; in a DataFrame only
        those that are named are used.
    branch_layer_sizes : sequence of int, default=(128,)
        Widths of the layers of each branch, or expert (linear, ReLU, dropout, then layer
        normalisation). Only with ``covariates``.
    head_layer_sizes : sequence of int, default=()
        Widths of layers (linear, ReLU, dropout) behind the pooling and the branches, in front of
        the linear output. A mixture has none.
    solver : {"adamw", "adam", "amsgrad", "sgd"}, default="adamw"
        Optimiser. "adam" and "amsgrad" add ``weight_decay`` to the gradient, as the papers do;
        "adamw" decouples it.
    learning_rate : {"constant", "cosine", "plateau"}, default="constant"
        Schedule. "cosine" falls to 0 at ``max_iter``; "plateau" multiplies by 0.8 when the
        training loss (with early stopping that of the validation bags) has not fallen for more
        than 4 epochs.
    learning_rate_init : float, default=1e-3
        Step size in the beginning.
    momentum : float, default=0.9
        Momentum of "sgd".
    weight_decay : float, default=1e-2
        Weight decay.
    max_iter : int, default=100
        Number of epochs; at most so many where something stops earlier.
    batch_size : int or "auto", default="auto"
        Bags per optimiser step; "auto" is min(32, n_bags).
    max_batch_instances : int or "auto", default="auto"
        A bag with more instances is worked on in pieces, twice, so that memory stays bounded;
        the gradient is that of the whole bag. "auto" is 8,192 vectors or 1,024 images on a CPU,
        32 times as many on a GPU. Smaller bags are packed up to a quarter of it, so that they
        stay in the processor's cache.
    max_instances_per_bag : int, default=None
        In training, draw at most so many instances of each bag, anew in each epoch. Predictions
        use all.
    dropout : float, default=0.25
        Share of the activations of the encoder and the head that is dropped in training.
    tol : float or None, default=None
        None trains for ``max_iter`` epochs. A number stops when the training loss has fallen
        by less than that in ``n_iter_no_change`` epochs in a row, and warns if it never does.
    n_iter_no_change : int, default=10
        See ``tol``, ``loss_target`` and ``early_stopping``.
    loss_target : float, default=None
        Stop when the bags' mean training loss has been below this for ``n_iter_no_change`` epochs
        in a row; [2]_ uses 0.005 and 5.
    early_stopping : bool, default=False
        Set bags apart, stratified and by group, stop when their loss has not improved by more
        than ``tol`` (None is 0) for ``n_iter_no_change`` epochs in a row, and keep the best
        weights.
    validation_fraction : float, default=0.1
        Share of the bags that ``early_stopping`` sets apart.
    n_estimators : int, default=1
        Number of networks, with initial weights and dropout of their own, that are trained
        together as one batched model and whose outputs are averaged. Several give steadier
        answers on small cohorts.
    warm_start : bool, default=False
        Let ``fit`` go on from the weights of the last one. What the network is made from
        (pooling, level, widths, heads, encoder, covariates, members) must not change in between.
    precision : {"float32", "bfloat16"}, default="float32"
        "bfloat16" trains under autocast, for GPUs.
    device : str, default="auto"
        "auto" takes a CUDA GPU where there is one, else the CPU.
    random_state : int, RandomState instance or None, default=None
        For initial weights, dropout, augmentation, the order of the bags and their subsampling,
        and the validation split.
    verbose : int, default=0
        1 shows a progress bar over the epochs.

    Attributes
    ----------
    network_ : torch.nn.Module
        The trained network, all members in one, on the CPU.
    loss_ : object
        What turns outputs into predictions.
    loss_curve_ : list of float
        Mean weighted training loss of each epoch, as a share of the target's variance.
    validation_scores_ : list of float or None
        With ``early_stopping``, minus the mean weighted loss of the validation bags after each
        epoch.
    best_iter_ : int or None
        With ``early_stopping``, the number of epochs after which the weights were best: those of
        ``validation_scores_[best_iter_ - 1]``, which are kept.
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
    .. [2] A. Sadafi et al., "Attention based multiple instance learning for classification of
           blood cell disorders", MICCAI 2020, arXiv:2007.11641.
    .. [3] W. Bouatay, A. Chouchene and Y. Naji, "Deep Learning Medical Imaging: Report of the
           Challenge", student report, 2021, section 5.2.
    .. [4] D. Iagaru and L. Durand-Janin, "Multi Instance Learning for Lymphocytosis
           classification", student report, 2024.
    .. [5] M. Sahasrabudhe et al., "Deep Multi-Instance Learning Using Multi-Modal Data for
           Diagnosis of Lymphocytosis", IEEE Journal of Biomedical and Health Informatics 25,
           2021, doi:10.1109/JBHI.2020.3038889.

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

    _y_numeric = True

    @with_callbacks
    def fit(self, X, y, sample_weight=None, groups=None):
        """Train the network.

        Parameters
        ----------
        X : container of n_bags bags
            Any form that :func:`milkit.utils.validation.as_bag_array` takes.
        y : array-like of shape (n_bags,)
            Target of each bag.
        sample_weight : array-like of shape (n_bags,), default=None
            Weight of each bag in the loss.
        groups : array-like of shape (n_bags,), default=None
            What the validation split of ``early_stopping`` must not divide, such as patients;
            None takes those of ``X``.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the bags or targets are not usable, or parameters do not go together; the bag or
            the parameter is named.
        FloatingPointError
            If the loss becomes NaN or infinite; the epoch is named.
        """
        return self._fit(X, y, sample_weight, groups)

    @with_callbacks
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch on some bags, going on from the weights there are.

        Parameters
        ----------
        X : container of n_bags bags
        y : array-like of shape (n_bags,)
            Target of each bag. The first call decides how targets are standardised.
        sample_weight : array-like of shape (n_bags,), default=None
            Weight of each bag in the loss.

        Returns
        -------
        self : object
            The learning rate is constant, and nothing stops early.
        """
        return self._fit(X, y, sample_weight, None, partial=True, more_to_come=True)

    def _targets(self, y, weight, *, first, more_to_come=False):
        y = y.astype(np.float64)
        loss = SquaredLoss(y, weight) if first else self.loss_
        if (more_to_come or not first) and loss.scale == 0:  # a constant so far
            loss.scale = 1.0
        return loss, loss.encode(y), weight

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
        return self._member_outputs(X).mean(axis=0)

    def score_instances(self, X):
        """Evidence of each instance, in the units of the target.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        evidence : list of ndarray, each of shape (n_i,)
            How far the instance pushes its bag's prediction up or down. After a weighted mean
            ("attention", "gated_attention", "mean") and in front of a linear head the mean over
            the bag plus a constant, and the covariates' own term, is the prediction. With "max" at
            the instance level the largest is the prediction of a single network, but for the
            target's mean. Else, and where layers stand behind the pooling, it is what the
            prediction loses without the instance.
        """
        evidence = self._evidence(X)
        return [e[:, 0] * self.loss_.scale for e in evidence]
