"""ModuleFeatures: a trained torch module as a frozen extractor of instance features."""

import copy
import os
from contextlib import contextmanager, nullcontext
from numbers import Integral

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions

from milkit.exceptions import BagShapeError, describe_bag
from milkit.image._base import ImageFeatures, in_chunks
from milkit.image._feature_cache import FeatureCache
from milkit.neural._encoders import describe
from milkit.neural._images import images_at_a_time
from milkit.neural._reading import resolve_device
from milkit.neural._threads import threads_for

__all__ = ["ModuleFeatures"]


class ModuleFeatures(ImageFeatures):
    """What a torch module makes of each image: nothing is trained here.

    The module is one that was trained elsewhere, on labelled cells ([1]_, a network for eight
    types of blood cells) or on millions of other images, without its last layer.

    Parameters
    ----------
    module_factory : torch module, or callable
        A module, which is copied, or a function without arguments that makes one. It turns a
        float tensor (n, channels, rows, columns) into one of shape (n, ...), which is flattened.
    preprocess : callable, default=None
        What the module was trained to expect: a function from a float tensor (n, channels, rows,
        columns) to the module's input, such as a resize and a normalisation. Images of bytes come
        to it divided by 255.
    batch_size : int or "auto", default="auto"
        Images at a time; "auto" is as many as fill a few MB.
    precision : {"float32", "bfloat16"}, default="float32"
        "bfloat16" runs the module under autocast, for GPUs.
    cache_dir : path-like, default=None
        A folder that keeps the features of each bag, under a name made from the content of the
        bag, and from weights, attributes and code of the module and of ``preprocess``. Folds,
        searches and later runs then compute a bag once. Code of other files that these call is
        not looked at: empty the folder when it changes.
    device : str, default="auto"
        "auto" takes a CUDA GPU where there is one, else the CPU.
    verbose : int, default=0
        1 shows a progress bar over the images.

    Attributes
    ----------
    module_ : torch.nn.Module
        The copy that is used, in evaluation mode, on the CPU.
    n_features_out_ : int
        Number of features of an image.
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
    milkit.image.ConvAutoencoderFeatures : Learns from the images themselves, without labels.
    milkit.AttentionMILClassifier : Its ``encoder`` trains a module together with the attention.

    References
    ----------
    .. [1] W. Bouatay, A. Chouchene and Y. Naji, "Deep Learning Medical Imaging: Report of the
           Challenge", student report, 2021, section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from milkit.image import ModuleFeatures
    >>> X = [np.zeros((4, 3, 16, 16), dtype=np.uint8) for _ in range(5)]
    >>> module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    >>> ModuleFeatures(module).fit_transform(X)
    BagArray(5 bags, 20 instances, sizes 4/4/4 (min/median/max), 8 features, float32)
    """

    _parameter_constraints: dict = {
        "module_factory": [callable],
        "preprocess": [callable, None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "cache_dir": [str, os.PathLike, None],
        "device": [str],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        module_factory,
        preprocess=None,
        *,
        batch_size="auto",
        precision="float32",
        cache_dir=None,
        device="auto",
        verbose=0,
    ):
        self.module_factory = module_factory
        self.preprocess = preprocess
        self.batch_size = batch_size
        self.precision = precision
        self.cache_dir = cache_dir
        self.device = device
        self.verbose = verbose

    def fit(self, X, y=None):
        """Copy the module and try it on two images; nothing is learned.

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
            If the instances are no images, or the module does not give one row for each.
        TypeError
            If ``module_factory`` gives no torch module.
        """
        self._validate_params()
        bags = self._validated(X, reset=True)
        device = resolve_device(self.device)
        images = torch.from_numpy(bags.flat()[0][[0, -1]])  # two, so that rows can be counted
        # Users' modules may draw from PyTorch's own generators: these are put back.
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), torch.no_grad():
            module = self._make_module().to(device)
            rows = module(self._prepared(images.to(device)))
        if not isinstance(rows, torch.Tensor) or rows.ndim < 2 or len(rows) != 2:
            raise BagShapeError(
                f"The module must turn 2 images of shape {bags.instance_shape} into a tensor of "
                f"shape (2, ...). It gave {describe(rows)}."
            )
        self.module_ = module.cpu()
        self.n_features_out_ = rows[0].numel()
        return self

    def _make_module(self):
        module = self.module_factory
        if not isinstance(module, torch.nn.Module):
            module = module()
        if not isinstance(module, torch.nn.Module):
            raise TypeError(
                f"module_factory={self.module_factory!r} must be a torch module or a function that "
                f"makes one; it gave {describe(module)}."
            )
        return copy.deepcopy(module).float().eval()  # a factory may hand out the user's own

    def transform(self, X):
        """Features of each image.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        Xt : BagArray of shape (n_bags,)
            Bags of vectors of length ``n_features_out_``, float32.

        Raises
        ------
        ValueError
            If the module gives numbers that are not finite; the bag is named.
        OSError
            If ``cache_dir`` cannot be written to.
        TypeError
            If ``cache_dir`` is given, and the module or ``preprocess`` has a part that cannot be
            told from others, such as an open file.
        """
        bags = self._validated(X, reset=False)
        images, offsets = bags.flat()
        step = self.batch_size
        if step == "auto":
            step = images_at_a_time(bags.instance_shape)
        cache = None
        if self.cache_dir is not None:
            cache = FeatureCache(self.cache_dir, self.module_, self.preprocess, self.precision)
        with self._at_work(step, bags) as compute:
            if cache is None:
                features = compute(images)
            else:
                features = cache(images, offsets, compute, self.n_features_out_, step)
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(bad):
            bag = int(np.searchsorted(offsets, bad[0], side="right") - 1)
            raise ValueError(
                f"{describe_bag(bag, bags.names)}: the module gives numbers that are not finite "
                f"for {len(bad)} images, the first of them instance {bad[0] - offsets[bag]}. Look "
                "at preprocess, or use precision='float32'."
            )
        return bags.with_instances(features, feature_names=self.get_feature_names_out())

    def _prepared(self, x):
        # A copy, because modules may write in place, and this is the caller's memory.
        x = x / 255 if x.dtype == torch.uint8 else x.clone()
        return x if self.preprocess is None else self.preprocess(x)

    @contextmanager
    def _at_work(self, step, bags):
        """A function from images to features, (n_images, n_features_out_)."""
        device, shape = resolve_device(self.device), bags.instance_shape
        module = self.module_.to(device)

        def read(x):
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                return module(self._prepared(x)).flatten(1)

        bar = nullcontext()
        if self.verbose:
            from tqdm import tqdm

            bar = tqdm(total=bags.n_instances, desc=type(self).__name__ + ", images", leave=False)
        try:
            with threads_for(step, module, shape), bar as shown:
                yield lambda images: in_chunks(read, images, device, step, np.float32, shown)
        finally:
            module.cpu()
