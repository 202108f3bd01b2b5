"""ConvAutoencoderFeatures: what an auto-encoder learns of the images, without labels."""

import warnings
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from milkit.image._autoencoder_network import Autoencoder, ReconstructionLoss
from milkit.image._base import ImageFeatures, in_chunks
from milkit.neural._build import AUGMENTATIONS
from milkit.neural._images import channel_statistics, images_at_a_time
from milkit.neural._packed import Budget, Packed
from milkit.neural._reading import resolve_device
from milkit.neural._threads import threads_for
from milkit.neural._trainer import TrainingData, TrainingSettings, train

__all__ = ["ConvAutoencoderFeatures"]


class ConvAutoencoderFeatures(ImageFeatures):
    """Codes of a convolutional auto-encoder that is trained on the instances of ``fit``.

    It needs no labels: the network learns to put each image into ``code_size`` numbers and to
    draw it again from them ([1]_, [2]_). In a pipeline it is trained inside each training fold.

    Parameters
    ----------
    code_size : int, default=60
        Length of the code.
    n_channels : sequence of int, default=(16, 32, 64, 64)
        Channels behind each block (3 × 3 convolution, ReLU, batch normalisation, 2 × 2 average
        pooling). Blocks for which an image is too small are left out: 24 × 24 pixels take three.
    augmentation : {"rotate", "flip", "both"}, default="both"
        Turn images by multiples of 90 degrees in training, mirror them, or both. None does
        neither. Images are turned only where they are square.
    learning_rate_init : float, default=1e-3
        Step size of Adam.
    max_iter : int, default=10
        Number of epochs.
    batch_size : int, default=32
        Images per step.
    device : str, default="auto"
        "auto" takes a CUDA GPU where there is one, else the CPU.
    random_state : int, RandomState instance or None, default=None
        For initial weights, augmentation and the order of the images.
    verbose : int, default=0
        1 shows a progress bar over the epochs.

    Attributes
    ----------
    network_ : torch.nn.Module
        The trained network, on the CPU.
    loss_curve_ : list of float
        Mean squared error of a standardised pixel in each epoch of training; 1 is the error of
        an image of the mean colour.
    n_iter_ : int
        Number of epochs.
    n_features_out_ : int
        Length of the code.
    n_features_in_ : int
        Number of numbers in an image.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Never there, because images have no feature names.
    instance_shape_ : tuple
        Shape of one image, (channels, rows, columns).
    fitted_on_table_ : bool
        Whether ``fit`` got a 2-D array, which is refused.

    See Also
    --------
    milkit.image.ModuleFeatures : Features from a network that was trained elsewhere.

    Notes
    -----
    Images are read a few at a time, so that memory does not grow with their number. Codes of two
    fitted networks have nothing to do with each other.

    References
    ----------
    .. [1] D. Iagaru and L. Durand-Janin, "Multi Instance Learning for Lymphocytosis
           classification", student report, 2024.
    .. [2] W. Bouatay, A. Chouchene and Y. Naji, "Deep Learning Medical Imaging: Report of the
           Challenge", student report, 2021, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.image import ConvAutoencoderFeatures
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.integers(256, size=(4, 3, 16, 16), dtype=np.uint8) for _ in range(5)]
    >>> model = ConvAutoencoderFeatures(code_size=8, max_iter=2, random_state=0).fit(X)
    >>> model.transform(X)
    BagArray(5 bags, 20 instances, sizes 4/4/4 (min/median/max), 8 features, float32)
    """

    _parameter_constraints: dict = {
        "code_size": [Interval(Integral, 1, None, closed="left")],
        "n_channels": ["array-like"],
        "augmentation": [StrOptions({"rotate", "flip", "both"}), None],
        "learning_rate_init": [Interval(Real, 0.0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        code_size=60,
        *,
        n_channels=(16, 32, 64, 64),
        augmentation="both",
        learning_rate_init=1e-3,
        max_iter=10,
        batch_size=32,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.code_size = code_size
        self.n_channels = n_channels
        self.augmentation = augmentation
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None):
        """Train the auto-encoder on the instances of all bags.

        Parameters
        ----------
        X : container of n_bags bags
            Of images with channels first, (n_i, channels, rows, columns): bytes (uint8), or
            floats.
        y : array-like of shape (n_bags,), default=None
            Not used.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the instances are no images, or parameters are not usable.
        """
        self._validate_params()
        widths = list(self.n_channels)
        if any(not isinstance(width, Integral) or width < 1 for width in widths):
            raise ValueError(f"n_channels must hold positive integers. Got {widths}.")
        device = resolve_device(self.device)
        bags = self._validated(X, reset=True)
        images, shape = bags.flat()[0], bags.instance_shape
        how = AUGMENTATIONS[self.augmentation]
        if shape[1] != shape[2]:
            how = tuple(step for step in how if step != "rotate")
        init_seed, seed = check_random_state(self.random_state).randint(2**31 - 1, size=2).tolist()
        generator = torch.Generator().manual_seed(init_seed)
        colours = channel_statistics(images)
        network = Autoencoder(shape, self.code_size, widths, *colours, generator, how).to(device)
        tensor = torch.from_numpy(images if images.flags.writeable else images.copy())
        n_images, step = len(images), images_at_a_time(shape)
        data = TrainingData(
            Packed(tensor.to(device), np.arange(n_images + 1)),
            torch.zeros(n_images, device=device),
            np.ones(n_images),
        )
        settings = TrainingSettings(
            Budget(step, step),
            self.batch_size,
            max_iter=self.max_iter,
            solver="adam",
            learning_rate_init=self.learning_rate_init,
        )
        epochs = range(self.max_iter)
        if self.verbose:
            from tqdm import tqdm

            epochs = tqdm(epochs, desc=type(self).__name__ + ", epochs", leave=False)
        with threads_for(min(step, self.batch_size), network, shape):
            record = train(
                network,
                ReconstructionLoss(),
                data,
                settings,
                generator=torch.Generator(device).manual_seed(seed),
                rng=np.random.default_rng(seed),
                epochs=epochs,
            )
        if record.interrupted:
            warnings.warn(
                f"The training was interrupted in epoch {len(record.loss_curve) + 1}. The network "
                "is kept as it was then and can be used.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.network_ = network.cpu()
        self.loss_curve_ = record.loss_curve
        self.n_iter_ = len(record.loss_curve)
        self.n_features_out_ = self.code_size
        return self

    def transform(self, X):
        """Code of each image.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        Xt : BagArray of shape (n_bags,)
            Bags of vectors of length ``code_size``, float32.
        """
        bags = self._validated(X, reset=False)
        codes = self._in_chunks(bags, "encode", np.float32)
        return bags.with_instances(codes, feature_names=self.get_feature_names_out())

    def reconstruct(self, X):
        """Each image, drawn again from its code.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        Xt : BagArray of shape (n_bags,)
            Images of the same shape; bytes for bytes, else float32.
        """
        bags = self._validated(X, reset=False)
        if not self._from_bytes:
            return bags.with_instances(self._in_chunks(bags, "reconstruct", np.float32))
        return bags.with_instances(self._in_chunks(bags, "reconstruct_bytes", np.uint8))

    def _in_chunks(self, bags, method, dtype):
        device, shape = resolve_device(self.device), bags.instance_shape
        network = self.network_.to(device).eval()
        step = images_at_a_time(shape)
        try:
            with threads_for(step, network, shape):
                return in_chunks(getattr(network, method), bags.flat()[0], device, step, dtype)
        finally:
            network.cpu()
