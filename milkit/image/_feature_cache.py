"""Features of bags on disk, under names made from content."""

import contextlib
import hashlib
import os
import tempfile
import uuid
from itertools import pairwise
from pathlib import Path

import numpy as np

from milkit.image._fingerprint import fingerprint

_CHECK_SIZE = 20


class FeatureCache:
    """One file for each bag; its name tells the bag, the module and how it was used.

    Files are written whole or not at all, so that several processes may share a folder. Each
    begins with a hash of its numbers.

    Parameters
    ----------
    folder : path-like
        Made if it is not there.
    *made_by : object
        What features depend on, beside the images.
    """

    def __init__(self, folder, *made_by):
        self.folder = Path(folder).expanduser()
        self.start = fingerprint(*made_by)

    def __call__(self, images, offsets, compute, n_features, step):
        """Features of all bags, (n_images, n_features), computing those that are not there.

        Parameters
        ----------
        images : ndarray of shape (n_images, ...)
        offsets : ndarray of shape (n_bags + 1,)
        compute : callable
            Images to features.
        n_features : int
        step : int
            So many images at least are computed together, and then written.
        """
        features = np.empty((len(images), n_features), dtype=np.float32)
        waiting = {}  # the same bag may be there twice
        for rows in [slice(a, b) for a, b in pairwise(offsets.tolist())]:
            file = self._file(images[rows])
            kept = _read(file, (rows.stop - rows.start, n_features))
            if kept is not None:
                features[rows] = kept
            else:
                waiting.setdefault(file, []).append(rows)
        if waiting:
            self._refuse_readonly()
        for files in _in_groups({file: same[0] for file, same in waiting.items()}, step):
            together = [waiting[file][0] for file in files]
            computed = compute(np.concatenate([images[rows] for rows in together]))
            stops = np.cumsum([rows.stop - rows.start for rows in together])[:-1]
            for file, values in zip(files, np.split(computed, stops), strict=True):
                for rows in waiting[file]:
                    features[rows] = values
                _write(file, values)
        return features

    def _file(self, bag):
        content = self.start.copy()
        content.update(f"{bag.dtype} {bag.shape}\0".encode())
        content.update(np.ascontiguousarray(bag))
        return self.folder / f"{content.hexdigest()}.features"

    def _refuse_readonly(self):
        """Say so before hours of computing."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise type(error)(
                f"cache_dir={str(self.folder)!r} is no folder that can be written to ({error}). "
                "Choose another, or cache_dir=None."
            ) from error


def _in_groups(sized, step):
    """Keys of slices in lists that have at least so many rows together, but for the last."""
    group, size = [], 0
    for key, rows in sized.items():
        group.append(key)
        size += rows.stop - rows.start
        if size >= step:
            yield group
            group, size = [], 0
    if group:
        yield group


def _check(values):
    return hashlib.blake2b(values, digest_size=_CHECK_SIZE).digest()


def _read(file, shape):
    """The array in a file, or None where there is none that can be used."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    values = content[_CHECK_SIZE:]
    if len(values) != 4 * shape[0] * shape[1] or _check(values) != content[:_CHECK_SIZE]:
        return None
    return np.frombuffer(values, dtype="<f4").reshape(shape)


def _write(file, values):
    values = np.ascontiguousarray(values, dtype="<f4").tobytes()
    # Not by tempfile, whose files nobody else can read, although folders may be shared.
    name = file.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        with open(name, "xb") as stream:
            stream.write(_check(values) + values)
        os.replace(name, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
