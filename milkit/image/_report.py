"""What is wrong with the files of a folder of images, gathered so that it is told at once."""

import os
import warnings

__all__ = ["Report"]

_SHOWN = 10
_COLUMNS = ["path", "bag", "kind", "problem"]

# What cannot be loaded. Everything else is loaded all the same, and mentioned.
_FAULTS = {"unreadable", "shape", "misplaced", "unlabelled", "empty"}
# How the warning about each kind of remark begins.
_REMARKS = {
    "leak": "Images of different patients have the same content, so that training and test data "
    "may share them",
    "absent": "Bags of the table have no images",
    "no cell": "extract found nothing in images, which are left out",
    "proportions": "Images differ much in size or proportions from the rest",
    "grey": "Images are grey among images in colour, and get three equal channels",
    "depth": "Images of 16 bits use few of them, and are nearly black after division by 257; "
    "save them with 8 bits, stretched all by the same factor",
    "unread": "Files that may be images are passed over, because only png, jpg, tif and bmp are "
    "read; convert them",
    "merged": "Folders have the same name but for spaces or accents, and are one bag",
    "link": "Links to a folder above them are not followed",
    "repeated": "Images are listed several times for one bag, and are loaded once",
}


class Report:
    """Rows of (path, bag, kind, problem), and how they become an error or warnings."""

    def __init__(self):
        self.rows = []

    def add(self, kind, path, bag, problem):
        self.rows.append((path, bag, kind, problem))

    def frame(self):
        """A DataFrame with the columns path, bag, kind, problem."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=_COLUMNS, dtype=object)

    def _faults(self):
        return [row for row in self.rows if row[2] in _FAULTS]

    def summary(self):
        """The first faults, one a line."""
        return _listed(self._faults())

    def settle(self, on_error):
        """Raise or warn of the faults, and warn of the remarks, with one warning for each kind."""
        faults = self._faults()
        if faults and on_error == "raise":
            count = f"{len(faults)} problem{'s' * (len(faults) != 1)}"
            error = ValueError(
                f"The images have {count}:{_listed(faults)}\nMend or remove them, or pass "
                "on_error='skip' to leave out what cannot be loaded. The attribute 'report' of "
                "this exception lists all of them."
            )
            error.report = self.frame()
            raise error
        if faults:
            _warn(f"{len(faults)} files or bags with problems are left out", faults)
        for kind, headline in _REMARKS.items():
            if rows := [row for row in self.rows if row[2] == kind]:
                _warn(headline, rows)


def _warn(headline, rows):
    # The caller of load_image_bags: above are settle, load_image_bags and its validation.
    warnings.warn(f"{headline}:{_listed(rows)}", UserWarning, stacklevel=5)


def _listed(rows):
    lines = [f"\n  {_where(path, bag)}: {problem}" for path, bag, _, problem in rows[:_SHOWN]]
    more = len(rows) - _SHOWN
    return "".join(lines) + (f"\n  ... and {more} more" if more > 0 else "")


def _where(path, bag):
    """The file, and its bag where the file does not lie in a folder of that name."""
    if not path or not bag or f"{os.sep}{bag}{os.sep}" in path:
        return repr(path or bag)
    return f"{path!r} of {bag!r}"
