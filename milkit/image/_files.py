"""Which image files lie in which folder, in natural order."""

import os
import re
import unicodedata
from collections import Counter

__all__ = ["EXTENSIONS", "UNREAD", "find_images", "natural_key", "same_text"]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# Endings of images that are not read.
UNREAD = (
    *(".webp", ".gif", ".avif", ".heic", ".heif", ".jfif", ".jpe", ".jp2", ".j2k", ".jxl", ".ppm"),
    *(".pgm", ".dng", ".nef", ".cr2", ".dcm", ".svs", ".ndpi", ".mrxs", ".scn", ".vsi", ".czi"),
    *(".lif", ".nd2", ".oib", ".oif", ".zvi", ".btf"),
)
# Beside what begins with a dot: what operating systems leave in folders.
_LITTER = {"thumbs.db", "desktop.ini", "__macosx"}


def natural_key(name):
    """Sorts "2.png" before "10.png"; parts of text and numbers alternate, text first."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(parts)], name


def same_text(name):
    """A name as it is compared: macOS writes é as e and an accent, tables do not."""
    return unicodedata.normalize("NFC", name).strip()


def find_images(root, levels, report):
    """Images below a folder whose sub-folders are bags.

    Parameters
    ----------
    root : str
        The folder.
    levels : tuple of str
        What the folders of each level stand for: "label", "group", "bag".
    report : Report
        Gets images that lie in no bag, broken links, links that lead in circles, and folders
        that have the same name.

    Returns
    -------
    images : list of (path, bag)
    folders : list of dict
        One for each folder of a bag: "bag", and "label" and "group" where they are levels.
    others : dict of str to Counter
        Endings of the other files of each bag.
    """
    images, folders, others = [], [], {}
    first = {}  # folder of each bag

    def visit(folder, above, real):
        facts = None
        if len(above) >= len(levels):
            facts = _facts(above, levels)
        if len(above) == len(levels):
            folders.append(facts)
            if first.setdefault(facts["bag"], folder) != folder:
                text = f"has the name of {first[facts['bag']]!r}"
                report.add("merged", folder, facts["bag"], text)
        try:
            entries = sorted(os.listdir(folder), key=natural_key)
        except OSError as error:
            bag = facts and facts["bag"]
            report.add("unreadable", folder, bag, f"the folder cannot be read ({error.strerror})")
            return
        for name in entries:
            path = os.path.join(folder, name)
            if name.startswith(".") or name.lower() in _LITTER:
                continue
            if os.path.isdir(path):
                target = os.path.realpath(path)
                if target in real:
                    report.add("link", path, facts and facts["bag"], f"leads back to {target}")
                else:
                    visit(path, (*above, same_text(name)), (*real, target))
            elif os.path.islink(path) and not os.path.exists(path):
                # It may be the folder of a patient, on a disk that is not there.
                report.add("unreadable", path, facts and facts["bag"], "is a broken link")
            elif not name.lower().endswith(EXTENSIONS):
                if facts is not None:
                    ending = os.path.splitext(name)[1].lower() or "no ending"
                    others.setdefault(facts["bag"], Counter())[ending] += 1
            elif facts is None:
                missing = levels[len(above)]
                report.add("misplaced", path, None, f"lies in no folder of a {missing}")
            else:
                images.append((path, facts["bag"]))

    visit(root, (), (os.path.realpath(root),))
    return images, folders, others


def _facts(above, levels):
    facts = dict(zip(levels, above, strict=False))
    if "group" in facts:  # samples of two patients may have the same name
        facts["bag"] = f"{facts['group']}/{facts['bag']}"
    return facts
