"""AttentionMILClassifier: attention-based deep multiple instance learning."""

import numpy as np
from scipy.special import expit, softmax
from sklearn.utils._param_validation import StrOptions

from milkit.base import BagClassifierMixin
from milkit.neural._base import BaseAttentionMIL
from milkit.neural._losses import BinaryLoss, MulticlassLoss
from milkit.utils._callbacks import with_callbacks
from milkit.utils._weights import class_weight_per_bag

__all__ = ["AttentionMILClassifier"]


class AttentionMILClassifier(BagClassifierMixin, BaseAttentionMIL):
    """Neural network that pools the instances of a bag by attention.

    An encoder turns each instance into an embedding :math:`h_k`, the pooling makes one embedding
    of the bag, :math:`z = \\sum_k a_k h_k`, and a linear head gives the logits. With "attention"

    .. math:: a_k = \\operatorname{softmax}_k\\bigl(w^\\top \\tanh(V h_k)\\bigr)

    ([1]_, eq. 8); "gated_attention" multiplies the tanh by :math:`\\sigma(U h_k)` (eq. 9).

    Parameters
    ----------
    pooling : {"attention", "gated_attention", "mean", "max", "logsumexp", "noisy_or", \
            "mean_std"} or torch module factory, default="attention"
        How the instances of a bag become one. A function that is called with the embedding's
        width gives a module of your own: its ``forward(h, offsets)`` turns the embeddings of
        packed bags, (n_instances, width), into (n_bags, any width); bag i is
        ``h[offsets[i]:offsets[i + 1]]``. A module itself is copied, never trained.
    level : {"embedding", "instance"}, default="embedding"
        "embedding" pools embeddings and classifies the bag; "instance" gives each instance
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
        The β of [2]_: a second head predicts the bag's label from each single instance, and in
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
    class_weight : dict, "balanced" or None, default=None
        Weight of the bags of each class; "balanced" is n_bags / (n_classes · n_bags of the
        class).
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
    classes_ : ndarray of shape (n_classes,)
        The labels.
    network_ : torch.nn.Module
        The trained network, all members in one, on the CPU.
    loss_ : object
        What turns outputs into predictions.
    loss_curve_ : list of float
        Mean weighted training loss of each epoch.
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
        level="embedding",
        hidden_layer_sizes=(128, 64),
        attention_dim=64,
        n_heads=1,
        attention_features=None,
        encoder=None,
        augmentation=None,
        auxiliary_decay=None,
        covariates=None,
        covariate_columns=None,
        branch_layer_sizes=(128,),
        head_layer_sizes=(),
        solver="adamw",
        learning_rate="constant",
        learning_rate_init=1e-3,
        momentum=0.9,
        weight_decay=1e-2,
        max_iter=100,
        batch_size="auto",
        max_batch_instances="auto",
        max_instances_per_bag=None,
        dropout=0.25,
        tol=None,
        n_iter_no_change=10,
        loss_target=None,
        early_stopping=False,
        validation_fraction=0.1,
        class_weight=None,
        n_estimators=1,
        warm_start=False,
        precision="float32",
        device="auto",
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            pooling=pooling,
            level=level,
            hidden_layer_sizes=hidden_layer_sizes,
            attention_dim=attention_dim,
            n_heads=n_heads,
            attention_features=attention_features,
            encoder=encoder,
            augmentation=augmentation,
            auxiliary_decay=auxiliary_decay,
            covariates=covariates,
            covariate_columns=covariate_columns,
            branch_layer_sizes=branch_layer_sizes,
            head_layer_sizes=head_layer_sizes,
            solver=solver,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            momentum=momentum,
            weight_decay=weight_decay,
            max_iter=max_iter,
            batch_size=batch_size,
            max_batch_instances=max_batch_instances,
            max_instances_per_bag=max_instances_per_bag,
            dropout=dropout,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            loss_target=loss_target,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_estimators=n_estimators,
            warm_start=warm_start,
            precision=precision,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    @with_callbacks
    def fit(self, X, y, sample_weight=None, groups=None):
        """Train the network.

        Parameters
        ----------
        X : container of n_bags bags
            Any form that :func:`milkit.utils.validation.as_bag_array` takes.
        y : array-like of shape (n_bags,)
            Labels of the bags.
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
            If the bags or labels are not usable, or parameters do not go together; the bag or
            the parameter is named.
        FloatingPointError
            If the loss becomes NaN or infinite; the epoch is named.
        """
        return self._fit(X, y, sample_weight, groups)

    @with_callbacks
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one epoch on some bags, going on from the weights there are.

        Parameters
        ----------
        X : container of n_bags bags
        y : array-like of shape (n_bags,)
            Labels of the bags.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever come; needed in the first call if ``y`` lacks one.
        sample_weight : array-like of shape (n_bags,), default=None
            Weight of each bag in the loss.

        Returns
        -------
        self : object
            The learning rate is constant, and nothing stops early.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' would balance each part by itself in partial_fit. Pass a "
                "dict of label to weight."
            )
        return self._fit(X, y, sample_weight, None, partial=True, classes=classes)

    def _targets(self, y, weight, *, first, classes=None):
        if first and classes is None:
            encoded = self._encode_labels(y)
        else:
            if first:
                self._encode_labels(np.asarray(classes))
            encoded = self._known_labels(y, classes)
        weight = weight * class_weight_per_bag(
            self.class_weight, self.classes_, encoded, sample_weight=weight
        )
        if len(self.classes_) > 2:
            loss = MulticlassLoss(len(self.classes_))
        elif len(np.unique(encoded[weight > 0])) == 2:
            loss = BinaryLoss(float(np.average(encoded, weights=weight).clip(1e-3, 1 - 1e-3)))
        else:
            loss = BinaryLoss()
        return loss, loss.encode(encoded), weight

    def _known_labels(self, y, classes):
        """Indices of labels among those that the network has outputs for."""
        known = self.classes_.tolist()
        unknown = sorted({label for label in np.asarray(y).tolist() if label not in known}, key=str)
        if unknown:
            raise ValueError(
                f"y holds the labels {unknown}, but the network was made for {known}. Name all "
                "labels in the first call of partial_fit (classes=), or fit with warm_start=False."
            )
        if classes is not None and set(np.asarray(classes).tolist()) != set(known):
            raise ValueError(f"classes={classes} are not those of the first call, {known}.")
        return np.searchsorted(self.classes_, y)

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
        return self._member_outputs(X).mean(axis=0)

    def predict_proba(self, X):
        """Probability of each class.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        probabilities : ndarray of shape (n_bags, n_classes)
        """
        return self._probabilities(self.decision_function(X))

    def predict_proba_members(self, X, return_std=False):
        """Probability of each class, from each member of the ensemble.

        Parameters
        ----------
        X : container of n_bags bags
        return_std : bool, default=False
            Whether to give their standard deviation, too.

        Returns
        -------
        probabilities : ndarray of shape (n_estimators, n_bags, n_classes)
            ``predict_proba`` averages the members' logits, not these.
        std : ndarray of shape (n_bags, n_classes)
            Standard deviation over the members; only if ``return_std`` is True. Where it is
            large the initial weights decided, and more members, or more bags, are wanted.
        """
        members = np.stack([self._probabilities(logits) for logits in self._member_outputs(X)])
        return (members, members.std(axis=0)) if return_std else members

    def _probabilities(self, logits):
        if len(self.classes_) == 2:
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
            For two classes evidence for ``classes_[1]``. After a weighted mean ("attention",
            "gated_attention", "mean") and in front of a linear head it is n_i a_k (w · h_k), and
            its mean over the bag plus the head's bias, and the covariates' own term, is the bag's
            logit. With "max" at the instance level it is the instance's own logit, of which the
            largest is the bag's (of a single network: the largest of a mean is not the mean of the
            largest). Else, and where layers stand behind the pooling, it is what the logit loses
            without the instance (the only one of a bag: against the embedding 0). The mean over
            the members of an ensemble.

        Notes
        -----
        The instances of a bag can always be compared. Those of different bags have one scale with
        "mean" in front of a linear head, where n_i a_k is 1, and with "max" at the instance level.
        With attention n_i a_k depends on the size of the bag and on what else is in it: compare
        bags of like size only, or divide by n_i. The result is the share of the instance in the
        logit of its bag. Occlusion is in the unit of the logit, and falls with the bag's size.
        """
        evidence = self._evidence(X)
        return [e[:, 0] for e in evidence] if len(self.classes_) == 2 else evidence
