"""Rendered blood smears: round, sickled and spherical red cells, and lymphocytes among red cells.

Light is absorbed as by a stained smear: each cell adds amounts of three stains to the pixels that
it covers, so that cells that overlap are darker where they do, and what is left of the light falls
exponentially with the amounts. Shapes are in units of the radius of a normal red cell.
"""

import numpy as np

from milkit.utils._windows import windows

__all__ = ["render_cohort"]

# Stains: red cells, nuclei, cytoplasm. How much of red, green and blue light one unit absorbs.
_ABSORBS = np.array([[0.12, 0.40, 0.36], [0.75, 1.35, 0.45], [0.30, 0.26, 0.05]])
_LIGHT = np.array([236.0, 232.0, 236.0])

# A red cell is an ellipse with the half axes a and b, bent by a parabola and pointed where the
# exponent of its long axis is below 2. It is as thick as its density says, less a pallor in the
# middle with the widths pallor_a and pallor_b, more a dot in the centre, and more where it is a
# dome.
_RED_CELL = ("a", "b", "bend", "point", "density", "pallor", "pallor_a", "pallor_b", "dot", "dome")
_ROUND = (1.02, 0.98, 0.0, 2.0, 1.0, 0.55, 0.45, 0.45, 0.0, 0.0)
_ILL = {
    "piezo1": (1.06, 1.0, 0.0, 2.0, 1.0, 0.85, 0.65, 0.15, 0.0, 0.0),  # a slit, not a disk
    "sickle_cell": (1.4, 0.43, 0.45, 1.7, 1.3, 0.0, 0.45, 0.45, 0.0, 0.0),
    "spherocytosis": (0.78, 0.77, 0.0, 2.0, 1.35, 0.0, 0.45, 0.45, 0.0, 0.6),
    "thalassemia": (0.95, 0.9, 0.0, 2.0, 0.75, 0.85, 0.55, 0.55, 0.95, 0.0),  # a target
}
# A lymphocyte: radius; radius, density, dent and unevenness of its nucleus; nucleolus.
_LYMPHOCYTE = ("radius", "nucleus", "density", "dent", "uneven", "nucleolus")
_SMALL = (1.05, 0.86, 1.0, 0.05, 0.02, 0.0)
_LARGE = (1.65, 0.72, 0.75, 0.25, 0.06, 0.7)

# Share of the red cells that lie against another; how near their middles may come, and those of
# all others, in sums of the two radii.
_TOUCHING, _NEAREST, _APART = 0.15, 0.86, 1.06
# Places that are tried for a cell.
_TRIES = 60


def render_cohort(rng, *, kind, ill, class_sep, smear, patient, patient_effect, crop_size):
    """Smears, and the crop and the box of each cell.

    Parameters
    ----------
    rng : Generator
    kind : ndarray of str, shape (n_cells,)
        "lymphocyte" for all cells, or the disease that a red cell shows and "" for an ordinary one.
    ill : ndarray of bool, shape (n_cells,)
        Whether it is no ordinary cell.
    class_sep : float
        How far ill cells differ: nearly fully at 3.
    smear : ndarray of int, shape (n_cells,)
        The smear of each cell; rises from 0 in steps of at most 1. One lymphocyte a smear.
    patient : ndarray of int, shape (n_smears,)
    patient_effect : float
    crop_size : int
        Side of the crops in pixels. A normal red cell has a diameter of 0.62 of it; where the
        cells are lymphocytes, a crop is the whole image, of 6.5 radii of one.

    Returns
    -------
    crops : ndarray of uint8, shape (n_cells, 3, crop_size, crop_size)
    boxes : ndarray of int, shape (n_cells, 4)
    smears : list of ndarray of uint8, each of shape (height, width, 3)
    """
    severity = np.tanh(class_sep / 2) * ill * np.clip(rng.normal(1, 0.12, len(ill)), 0.5, 1.2)
    slides = [_Slide(rng, patient_effect) for _ in range(patient.max() + 1)]
    starts = np.flatnonzero(np.r_[True, np.diff(smear) > 0])
    crops = np.empty((len(kind), 3, crop_size, crop_size), dtype=np.uint8)
    boxes, smears = np.empty((len(kind), 4), dtype=np.int64), []
    for i, (start, stop) in enumerate(zip(starts, np.r_[starts[1:], len(kind)], strict=True)):
        cells, slide = slice(start, stop), slides[patient[i]]
        if kind[start] == "lymphocyte":
            image, boxes[cells] = _lymphocyte_image(rng, slide, severity[start], crop_size)
            crops[start] = image.transpose(2, 0, 1)
            image = crops[start].transpose(1, 2, 0)  # kept once
        else:
            image, boxes[cells] = _red_cell_smear(
                rng, slide, kind[cells], severity[cells], 0.31 * crop_size
            )
            crops[cells] = windows(image, boxes[cells], crop_size, crop_size)
        smears.append(image)
    return crops, boxes, smears


class _Slide:
    """What the cells of a patient have in common: stains, light and size."""

    def __init__(self, rng, effect):
        absorbs = _ABSORBS * np.exp(0.3 * effect * (rng.normal(size=(3, 3)) + rng.normal()))
        light = _LIGHT * np.exp(-0.1 * effect * np.abs(rng.normal(size=3)))
        self.absorbs, self.light = absorbs.astype(np.float32), light.astype(np.float32)
        # Not below half or above double, however large the effect: images grow with its square.
        self.size = np.exp(np.clip(0.12 * effect * np.clip(rng.normal(), -2, 2), -0.7, 0.7))

    def photograph(self, rng, stains):
        """The image of these amounts of stains, (height, width, 3), under an uneven lamp."""
        height, width, _ = stains.shape
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
        tilt = rng.normal(0, 0.04, size=2)
        lamp = 1 + tilt[0] * y + tilt[1] * x - 0.04 * (x**2 + y**2)
        image = np.exp(-stains @ self.absorbs) * self.light
        image *= lamp[:, :, None].astype(np.float32)
        image += 2.5 * rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _red_cell_smear(rng, slide, kind, severity, unit):
    """A smear with these red cells inside and some more that its border cuts; their boxes."""
    n, n_cut = len(kind), rng.poisson(0.8 * np.sqrt(len(kind)))
    cells = _red_cells(rng, [*kind, *[""] * n_cut], np.r_[severity, np.zeros(n_cut)])
    scale = unit * slide.size * np.exp(rng.normal(0, 0.05, n + n_cut))
    bow = cells["bend"] * np.maximum(cells["a"] ** 2 - 0.5, 0)
    reach = np.hypot(np.maximum(cells["a"], cells["b"]), bow) * scale
    side = int(2 * unit * (1.55 * np.sqrt(n) + 1.2))
    while (middles := _scatter(rng, reach, n, side)) is None:
        side = int(1.1 * side) + 1
    stains = np.zeros((side, side, 3), dtype=np.float32)
    boxes = _paint(rng, stains, _red_cell, cells, middles, scale, reach)
    return slide.photograph(rng, stains), boxes[:n]


def _lymphocyte_image(rng, slide, severity, side):
    """A lymphocyte near the middle of a field of red cells, and its box."""
    unit = side / 6.5
    stains = np.zeros((side, side, 3), dtype=np.float32)
    look = np.array(_SMALL) + severity * (np.array(_LARGE) - np.array(_SMALL))
    look[:3] *= np.exp(rng.normal(0, (0.07, 0.03, 0.08)))
    cell = dict(zip(_LYMPHOCYTE, look[:, None], strict=True))
    cell["nucleus"] = np.minimum(cell["nucleus"], 0.93)
    scale = np.full(1, unit * slide.size)
    middle = side / 2 + rng.uniform(-0.06, 0.06, size=(1, 2)) * side
    box = _paint(rng, stains, _lymphocyte, cell, middle, scale, cell["radius"] * scale)

    n = _TRIES
    red = _red_cells(rng, [""] * n, np.zeros(n))
    scale = unit * slide.size * np.exp(rng.normal(0, 0.05, n))
    middles = rng.uniform(-unit, side + unit, size=(n, 2))
    keep = []  # those that touch neither the lymphocyte nor a red cell before them
    for i, spot in enumerate(middles):
        others = np.r_[middle, middles[keep]]
        far = np.r_[cell["radius"] * scale[0] + scale[i], scale[keep] + scale[i]]
        if np.all(np.hypot(*(others - spot).T) > _APART * far):
            keep.append(i)
    red = {part: values[keep] for part, values in red.items()}
    _paint(rng, stains, _red_cell, red, middles[keep], scale[keep], 1.1 * scale[keep])
    return slide.photograph(rng, stains), box


# -- where cells lie ---------------------------------------------------------------------------


def _scatter(rng, reach, n_inside, side):
    """Middles of cells in a square field, or None where they do not fit.

    The first ones lie inside. The others lie on the border, or outside where there is no room.
    """
    middles = np.full((len(reach), 2), -9.0 * reach.max())
    for i, own in enumerate(reach):
        inside = i < n_inside
        low, high = (own + 2, side - own - 2) if inside else (-0.4 * own, side + 0.4 * own)
        if high <= low:
            return None
        touches = inside and i > 0 and rng.random() < _TOUCHING
        for place in (_beside, _anywhere) if touches else (_anywhere if inside else _on_border,):
            spots, apart = place(rng, middles[:i], reach[:i] + own, own, low, high)
            square = (spots[:, :1] - middles[:i, 0]) ** 2 + (spots[:, 1:] - middles[:i, 1]) ** 2
            free = (square >= (apart * (reach[:i] + own)) ** 2).all(axis=1)
            free &= ((spots >= low) & (spots <= high)).all(axis=1)
            if free.any():
                middles[i] = spots[np.argmax(free)]
                break
        else:
            if inside:
                return None
    return middles


def _anywhere(rng, others, sums, own, low, high):
    return rng.uniform(low, high, size=(_TRIES, 2)), _APART


def _beside(rng, others, sums, own, low, high):
    other = rng.integers(0, len(others), _TRIES)
    angle = rng.uniform(0, 2 * np.pi, _TRIES)
    away = sums[other] * rng.uniform(_NEAREST, 1.0, _TRIES)
    return others[other] + away[:, None] * np.c_[np.sin(angle), np.cos(angle)], _NEAREST


def _on_border(rng, others, sums, own, low, high):
    spots = rng.uniform(low, high, size=(_TRIES, 2))
    depth = rng.uniform(low, -low, _TRIES)
    far = rng.random(_TRIES) < 0.5
    spots[np.arange(_TRIES), rng.integers(0, 2, _TRIES)] = depth + np.where(far, high + low, 0)
    return spots, _APART


def _paint(rng, stains, amounts_of, cells, middles, scale, reach):
    """Add cells to the amounts of stains of a field; their boxes, shape (n_cells, 4)."""
    half = int(np.ceil(1.15 * reach.max(initial=1))) + 2
    corners = np.floor(middles).astype(np.int64) - half
    grid = np.arange(2 * half + 1) + 0.5
    # Of each pixel, from the middle of the cell, turned by an angle of its own.
    y, x = ((grid + corners[:, axis, None] - middles[:, axis, None]) for axis in (0, 1))
    angle = rng.uniform(0, 2 * np.pi, len(middles))
    sin, cos = ((f(angle) / scale)[:, None, None] for f in (np.sin, np.cos))
    u = (x[:, None, :] * cos + y[:, :, None] * sin).astype(np.float32)
    v = (y[:, :, None] * cos - x[:, None, :] * sin).astype(np.float32)
    columns = {part: values.astype(np.float32)[:, None, None] for part, values in cells.items()}
    amounts, covers = amounts_of(rng, u, v, columns, scale.astype(np.float32)[:, None, None])
    for corner, amount in zip(corners, amounts, strict=True):
        low = np.maximum(corner, 0)
        high = np.minimum(corner + len(grid), stains.shape[:2])
        if np.all(low < high):
            here = tuple(map(slice, low - corner, high - corner))
            stains[low[0] : high[0], low[1] : high[1]] += amount[here]
    rows, columns = covers.any(axis=2), covers.any(axis=1)
    return np.c_[
        corners[:, 0] + rows.argmax(axis=1),
        corners[:, 1] + columns.argmax(axis=1),
        corners[:, 0] + len(grid) - rows[:, ::-1].argmax(axis=1),
        corners[:, 1] + len(grid) - columns[:, ::-1].argmax(axis=1),
    ]


# -- what cells look like ----------------------------------------------------------------------


def _red_cells(rng, kind, severity):
    """Parts of red cells: ordinary ones, changed as far as they are ill."""
    ordinary = np.array(_ROUND)
    ill = np.array([_ILL.get(name, _ROUND) for name in kind]).reshape(-1, len(_ROUND))
    parts = ordinary + severity[:, None] * (ill - ordinary)
    cells = dict(zip(_RED_CELL, parts.T, strict=True))
    stretch = np.exp(rng.normal(0, 0.04, len(kind)))
    cells["a"], cells["b"] = cells["a"] * stretch, cells["b"] / stretch
    cells["density"] = cells["density"] * np.exp(rng.normal(0, 0.08, len(kind)))
    cells["pallor"] = np.clip(cells["pallor"] * np.exp(rng.normal(0, 0.25, len(kind))), 0, 0.95)
    return cells


def _outline(rng, u, v, uneven):
    """Radius of a wavy outline in the direction of each pixel, on average 1."""
    angle = np.arctan2(v, u)
    radius = np.ones_like(u)
    for waves in (2, 3, 4):
        size, phase = rng.normal(0, 1, (2, len(u), 1, 1)).astype(np.float32)
        radius += uneven / waves * size * np.cos(waves * angle + 3 * phase)
    return radius


def _inside(distance, pixels):
    """1 inside, 0 outside of an outline at 0, blurred over about a pixel."""
    return 1 / (1 + np.exp(np.clip(distance * pixels / 0.5, -30, 30)))


def _red_cell(rng, u, v, cell, scale):
    """Amounts of the stains of red cells, shape (n, size, size, 3), and what they cover."""
    bent = v + cell["bend"] * (u**2 - 0.5)
    along = np.abs(u / cell["a"])
    rho = np.sqrt(along ** cell["point"] + (bent / cell["b"]) ** 2)
    # How fast rho rises: in pointed tips slowly, and these would be blurred over many pixels.
    rise_v = 2 * bent / cell["b"] ** 2
    rise_u = cell["point"] * along ** (cell["point"] - 1) * np.sign(u) / cell["a"]
    rise = np.hypot(rise_u + 2 * cell["bend"] * u * rise_v, rise_v) / (2 * np.maximum(rho, 0.1))
    inside = _inside(rho / _outline(rng, u, v, 0.03) - 1, scale / np.maximum(rise, 0.3))
    thick = 1 - cell["pallor"] * np.exp(
        -((u / cell["pallor_a"]) ** 2) - (v / cell["pallor_b"]) ** 2
    )
    thick += cell["dot"] * np.exp(-((rho / 0.25) ** 2))
    thick *= 1 + cell["dome"] * (np.sqrt(np.maximum(0, 1 - rho**2)) - 0.6)
    amounts = np.zeros((*u.shape, 3), dtype=np.float32)
    amounts[..., 0] = inside * thick * cell["density"]
    return amounts, inside > 0.5


def _lymphocyte(rng, u, v, cell, scale):
    """Amounts of the stains of lymphocytes, shape (n, size, size, 3), and what they cover."""
    radius = cell["radius"]
    rho = np.hypot(u, v) / radius
    inside = _inside(rho / _outline(rng, u, v, 0.03) - 1, scale * radius)
    # The nucleus lies aside and is dented on the side where the cytoplasm is.
    shift = 0.8 * (1 - cell["nucleus"]) * radius
    u = u - shift
    outline = _outline(rng, u, v, cell["uneven"])
    outline -= cell["dent"] * np.exp(-((np.abs(np.arctan2(v, -u)) / 0.5) ** 2))
    distance = np.hypot(u, v) / (cell["nucleus"] * radius)
    nucleus = _inside(distance / outline - 1, scale * radius) * inside
    chromatin = np.zeros_like(u)
    for _ in range(4):
        wave, turn = rng.uniform(3, 9) / radius, rng.uniform(0, 2 * np.pi)
        chromatin += np.cos(wave * (u * np.cos(turn) + v * np.sin(turn)) + rng.uniform(0, 6))
    density = cell["density"] * (1 + 0.06 * chromatin)
    spot = np.exp(-(((u - 0.3 * radius) ** 2 + v**2) / (0.2 * radius) ** 2))
    amounts = np.zeros((*u.shape, 3), dtype=np.float32)
    amounts[..., 1] = nucleus * density * (1 - 0.5 * cell["nucleolus"] * spot)
    amounts[..., 2] = inside - nucleus
    return amounts, inside > 0.5
