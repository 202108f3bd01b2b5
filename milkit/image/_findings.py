"""What is noticed in images that were read: shapes, colours, copies, bags without instances."""

from collections import Counter

import numpy as np

from milkit.image._files import UNREAD

__all__ = [
    "bag_sizes",
    "mention_copies",
    "mention_proportions",
    "mention_unread",
    "refuse_other_shapes",
    "report_images",
]

# How far an image may be from the median one before it is mentioned.
_FAR_SIZE, _FAR_PROPORTIONS = 4.0, 1.25


def report_images(stock, decoded, report):
    """What was noticed in each file, and grey files if others have colours."""
    n_colour = sum(image.problem is None and not image.grey for image in decoded)
    for (path, bag), image in zip(stock.images, decoded, strict=True):
        if image.problem is not None:
            report.add("unreadable", path, bag, image.problem)
        for kind, text in image.remarks:
            report.add(kind, path, bag, text)
        if image.problem is None and image.grey and n_colour:
            report.add("grey", path, bag, f"is grey, and {n_colour} images have colours")


def refuse_other_shapes(stock, decoded, extract, report):
    """All instances must have one shape; the most common one counts."""
    shapes = [None if image.pixels is None else image.pixels.shape[2:] for image in decoded]
    counts = Counter(shape for shape in shapes if shape is not None)
    if len(counts) < 2:
        return
    usual, n_usual = counts.most_common(1)[0]
    has = "is" if extract is None else "gives crops of"
    others = f"{n_usual} of {counts.total()} have {usual[0]} × {usual[1]}"
    for (path, bag), image, shape in zip(stock.images, decoded, shapes, strict=True):
        if shape not in (None, usual):
            report.add(
                "shape",
                path,
                bag,
                f"{has} {shape[0]} × {shape[1]} pixels, where {others}; image_size=(rows, columns) "
                "makes them equal",
            )
            image.pixels = None


def mention_proportions(stock, decoded, report):
    """Images that become distorted, or much larger or smaller than the rest."""
    known = [i for i, image in enumerate(decoded) if image.problem is None]
    if not known:
        return
    sides = np.array([decoded[i].size for i in known], dtype=float)
    usual = np.median(sides, axis=0)
    ratio = sides / usual
    odd = (np.abs(np.log(ratio)) > np.log(_FAR_SIZE)).any(axis=1)
    odd |= np.abs(np.log(ratio[:, 0] / ratio[:, 1])) > np.log(_FAR_PROPORTIONS)
    for i in np.flatnonzero(odd):
        path, bag = stock.images[known[i]]
        rows, columns = decoded[known[i]].size
        text = f"is {rows} × {columns} pixels, where the median is {usual[0]:.0f} × {usual[1]:.0f}"
        report.add("proportions", path, bag, text)


def mention_unread(stock, report):
    """Images of other formats in bags that have some that are read."""
    loaded = {bag for _, bag in stock.images}
    for bag, endings in stock.others.items():
        found = ", ".join(f"{n} {ending}" for ending, n in endings.items() if ending in UNREAD)
        if found and bag in loaded:
            report.add("unread", "", bag, f"has {found}")


def mention_copies(stock, decoded, report):
    """The same file with two patients would be in training and test data."""
    first = {}
    for (path, bag), image in zip(stock.images, decoded, strict=True):
        if image.digest:
            owner = stock.owner(bag)
            other_path, other = first.setdefault(image.digest, (path, owner))
            if other != owner:
                report.add("leak", path, bag, f"has the same content as {other_path!r} of {other}")


def bag_sizes(stock, decoded, report):
    """Number of instances of each bag that has a row; none is passed on empty in silence."""
    n_images, sizes = Counter(), Counter()
    for (_, bag), image in zip(stock.images, decoded, strict=True):
        n_images[bag] += 1
        sizes[bag] += 0 if image.pixels is None else len(image.pixels)
    for bag in stock.bags:
        if sizes[bag] == 0 and (n_images[bag] or bag in stock.facts.index):
            text = "has no images"
            if n_images[bag]:
                text = f"has no instance: none of its images gave one (of {n_images[bag]})"
            elif bag in stock.others:
                found = stock.others[bag].most_common(3)
                text += ", but " + ", ".join(f"{count} {ending}" for ending, count in found)
            report.add("empty", "", bag, text)
    return {bag: sizes[bag] for bag in stock.facts.index if sizes[bag]}
