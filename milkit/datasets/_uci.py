"""What the fetchers share: a cached file of the UCI archive, and its members."""

import io
import os
import zipfile

from milkit.datasets._lzw import decompress_z

__all__ = ["BASE_URL", "FETCH_CONSTRAINTS", "fetch_member"]

BASE_URL = "https://archive.ics.uci.edu/static/public"

FETCH_CONSTRAINTS = {
    "data_home": [str, os.PathLike, None],
    "download_if_missing": ["boolean"],
    "base_url": [str],
    "return_X_y": ["boolean"],
}


def fetch_member(number, archive, member, *, data_home, download_if_missing, base_url):
    """Content of one file in an archive, which is downloaded if it is not in the cache.

    Parameters
    ----------
    number : int
        Number of the data set at UCI.
    archive : str
        Name of the zip file, in the address and in the cache.
    member : str
        Name of the wanted file; ``member + ".Z"``, and a zip in the zip, are read as well.

    Returns
    -------
    content : bytes
    """
    path = _cached(number, archive, data_home, download_if_missing, base_url)
    try:
        with zipfile.ZipFile(path) as file:
            content, seen = _find(file, member)
    except zipfile.BadZipFile as error:
        raise OSError(
            f"{path!r} is not a zip file; the download may have been cut off. Delete it and try "
            "again."
        ) from error
    if content is None:
        raise ValueError(
            f"{path!r} holds neither {member!r} nor '{member}.Z', but {seen}. The archive may have "
            "changed: put a zip file with that member there, or read the data another way and "
            "use milkit.datasets.save_bags."
        )
    return content


def _cached(number, archive, data_home, download_if_missing, base_url):
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            "Downloads need pooch, which is not installed: pip install pooch. Without it, use "
            "load_bags on a file of your own, or load_digit_bags."
        ) from error
    if data_home is None:
        data_home = os.environ.get("MILKIT_DATA_HOME") or pooch.os_cache("milkit")
    folder = os.path.expanduser(os.fspath(data_home))
    path = os.path.join(folder, archive)
    url = f"{base_url.rstrip('/')}/{number}/{archive}"
    if os.path.isfile(path):
        return path
    if not download_if_missing:
        raise OSError(
            f"{path!r} is not there and download_if_missing is False. Download {url} to that "
            "place, or allow the download."
        )
    try:
        # The archive publishes no checksum and its zip files are packed anew now and then, so
        # there is none to compare with. The content is checked instead, when it is parsed.
        return pooch.retrieve(url, known_hash=None, fname=archive, path=folder)
    # What requests raises is an OSError; pooch has a ValueError for an unknown protocol.
    except (OSError, ValueError) as error:
        response = getattr(error, "response", None)
        if response is not None:
            response.close()  # a refused request would else leave its connection open
        raise OSError(
            f"Could not download {url} ({type(error).__name__}: {error}). Download it by another "
            f"way, save it as {path!r} and pass data_home={folder!r}; or use load_bags on a "
            "file of your own."
        ) from error


def _find(file, member):
    """Content of the member, plain before compressed before nested, and what was seen."""
    names = [name for name in file.namelist() if not name.endswith("/")]
    by_base = {os.path.basename(name).lower(): name for name in names}
    if member.lower() in by_base:
        return file.read(by_base[member.lower()]), names
    if f"{member}.z".lower() in by_base:
        return decompress_z(file.read(by_base[f"{member}.z".lower()])), names
    for name in [name for name in names if name.lower().endswith(".zip")]:
        with zipfile.ZipFile(io.BytesIO(file.read(name))) as inner:
            content, seen = _find(inner, member)
        if content is not None:
            return content, names
        names += [f"{name}/{inside}" for inside in seen]
    return None, names
