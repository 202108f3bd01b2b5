"""Tables of the leaderboard in Markdown; see leaderboard.py."""

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import rankdata
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from milkit.metrics._bootstrap import prepare_metric, resample

N_RESAMPLES = 1000

# Accuracy in % as published or quoted in later papers, and how it is known here.
PUBLISHED = [
    # Musk1, Musk2, Elephant, Fox, Tiger
    ("mi-SVM [1]", (87.4, 83.6, 82.2, 58.2, 78.4), "10-fold", "quoted"),
    ("MI-SVM [1]", (77.9, 84.3, 81.4, 57.8, 84.0), "10-fold", "quoted"),
    ("EM-DD [2]", (84.9, 86.9, 77.1, 60.9, 73.0), "10-fold", "quoted"),
    ("Citation-kNN [3]", (90.3, 83.7, 82.6, 58.2, 78.8), "10-fold", "quoted"),
    ("mi-Graph [4]", (90.0, 90.1, 85.1, 61.2, 81.9), "10-fold", "quoted"),
    ("miVLAD [5]", (87.1, 87.2, 85.0, 62.0, 81.0), "10-fold", "quoted"),
    ("miFV [5]", (90.9, 88.4, 85.2, 62.1, 81.3), "10-fold", "quoted"),
    ("MI-Net [6]", (88.7, 85.9, 86.2, 62.2, 83.0), "10-fold", "quoted"),
    ("MI-Net with DS [6]", (89.4, 87.4, 87.2, 63.0, 84.5), "10-fold", "recalled"),
    ("attention [7]", (89.2, 85.8, 86.8, 61.5, 83.9), "10-fold", "recalled"),
    ("gated attention [7]", (90.0, 86.3, 85.7, 60.3, 84.5), "10-fold", "recalled"),
    ("ViT-IWRS, 2024", (89.5, 87.6, 87.4, 62.5, 84.5), "10-fold", "quoted"),
    ("DSMIL, 2021", (93.2, 93.0, 92.5, 72.9, 86.9), "epoch and threshold of test folds", "quoted"),
    ("attention [7], run again", (88.2, 85.1, 86.3, 56.3, 84.5), "last epoch", "measured"),
    ("best of 16 plain settings", (92.0, 92.1, 89.6, 66.1, 86.1), "5 × 10-fold", "measured"),
]
PUBLISHED_AREAS = [
    ("Hopfield pooling, 2021", (None, None, 94.9, 64.1, 91.3), "quoted"),
    ("path encoding", (None, None, 94.4, 71.2, 91.0), "quoted"),
    ("MILES", (None, None, 92.7, 73.8, 87.2), "quoted"),
    ("best of 16 plain settings", (98.1, 98.2, 96.1, 72.9, 92.6), "measured"),
]
REFERENCES = """\
[1] Andrews, Tsochantaridis, Hofmann 2002. [2] Zhang, Goldman 2001. [3] Wang, Zucker 2000.
[4] Zhou, Sun, Li 2009. [5] Wei, Wu, Zhou 2017. [6] Wang, Yan, Tang, Bai, Liu 2018.
[7] Ilse, Tomczak, Welling 2018."""

# Accuracy and mean AUC of the folds that the best of milkit's estimators is to reach.
AIMS = {
    "musk1": (0.92, 0.98),
    "musk2": (0.92, 0.98),
    "elephant": (0.90, 0.96),
    "fox": (0.67, 0.74),
    "tiger": (0.865, 0.93),
}
OURS, THEIRS = "inner choice of milkit", "inner choice of 16 plain"


@dataclass
class Cell:
    """A model on a set, with the folds that are finished."""

    dataset: str
    model: str
    kind: str
    n_folds: int
    seeds: tuple
    rows: dict

    @property
    def wanted(self):
        return [(seed, fold) for seed in self.seeds for fold in range(self.n_folds)]

    @property
    def whole_seeds(self):
        """Fold seeds of which all folds are there: no repetition is counted in part."""
        folds = range(self.n_folds)
        return [seed for seed in self.seeds if all((seed, fold) in self.rows for fold in folds)]


class Pooled:
    """Predictions of the whole repetitions of a cell, one row for each bag and repetition."""

    def __init__(self, cell, y, folds_of, seeds=None):
        self.cell, self.y_all, self.folds_of = cell, y, folds_of
        parts = []
        for seed in cell.whole_seeds if seeds is None else seeds:
            for fold, (_, test) in enumerate(folds_of(y, cell.n_folds, seed)):
                parts.append((seed, test, cell.rows[seed, fold]))
        self.bags = np.concatenate([test for _, test, _ in parts])
        self.seeds = np.concatenate([np.full(len(test), seed) for seed, test, _ in parts])
        stops = np.cumsum([len(test) for _, test, _ in parts])
        self.blocks = np.split(np.arange(stops[-1]), stops[:-1])
        self.y = y[self.bags]
        self.labels = np.concatenate([row["labels"] for *_, row in parts]).astype(y.dtype)
        self.scores = np.concatenate([row["scores"] for *_, row in parts])
        probable = all(row["probabilities"] is not None for *_, row in parts)
        self.probabilities = (
            np.concatenate([row["probabilities"] for *_, row in parts]) if probable else None
        )
        self.seconds = np.mean([row["seconds"] for *_, row in parts])
        self.megabytes = max(row["megabytes"] for *_, row in parts)
        self.unconverged = sum(row["unconverged"] > 0 for *_, row in parts)

    def metric(self, name):
        return prepare_metric(name, self.y, self.labels if name == "accuracy" else self.scores)

    def interval(self, metric, by_fold):
        """95 % interval over bags, which come along in all repetitions."""
        blocks = self.blocks if by_fold else [np.arange(len(self.bags))]
        codes = np.unique(self.bags, return_inverse=True)[1]
        with warnings.catch_warnings():  # folds of nine bags lose a class in many resamples
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            return resample(metric, codes, blocks, N_RESAMPLES, 0.95, 0)

    def by_seed(self, score):
        """Mean and standard deviation of a score over the repetitions."""
        values = [score(self.seeds == seed) for seed in np.unique(self.seeds)]
        return np.mean(values), np.std(values, ddof=1) if len(values) > 1 else np.nan

    def accuracy(self):
        return self.by_seed(lambda rows: np.mean(self.labels[rows] == self.y[rows]))

    def balanced_accuracy(self):
        return self.by_seed(lambda rows: balanced_accuracy_score(self.y[rows], self.labels[rows]))

    def fold_area(self):
        seeds = self.seeds[[block[0] for block in self.blocks]]
        areas = np.array([area(self.y[block], self.scores[block]) for block in self.blocks])
        means = [areas[seeds == seed].mean() for seed in np.unique(seeds)]
        return np.mean(means), np.std(means, ddof=1) if len(means) > 1 else np.nan

    def pooled_area(self):
        return self.by_seed(lambda rows: area(self.y[rows], self.scores[rows]))

    def log_loss(self):
        return self.by_seed(lambda rows: log_loss(self.y[rows], self.probabilities[rows]))

    def brier(self):
        """Half the squared distance to the true class: with two classes that of one of them."""
        truth = self.y[:, None] == np.unique(self.y_all)
        squares = ((self.probabilities - truth) ** 2).sum(axis=1) / 2
        return self.by_seed(lambda rows: squares[rows].mean())


def area(y, scores):
    """AUC; with several classes each against the rest, on average."""
    if scores.ndim == 1:
        return roc_auc_score(y, scores)
    return np.mean([roc_auc_score(y == k, column) for k, column in enumerate(scores.T)])


# -- the page --------------------------------------------------------------------------------


def page(cells, labels, folds_of, args):
    """The whole text."""
    parts = [HEAD.format(budget=args.budget, command=command(args))]
    found = {}
    for dataset in args.sets:
        here = [cell for cell in cells if cell.dataset == dataset]
        parts.append(f"## {dataset}\n")
        parts.append(set_table(here, labels[dataset], folds_of, found))
    ranks = rank_table(found, args.sets, args.models)
    targets = target_table(found, args.sets)
    published = published_table(found, args.sets)
    tail = [part for part in (targets, ranks, published) if part]
    return "\n".join([parts[0], *tail, *parts[1:]])


HEAD = """\
# Leaderboard

Written by `benchmarks/leaderboard.py`; do not edit.

Stratified 10-fold cross-validation, repeated with fold seeds that no default was chosen on; models
from pixels one 5-fold cross-validation. All preprocessing is fitted inside the training fold, and
nothing is chosen on a test fold: see [what happens otherwise](choosing_on_the_test_fold.md).
Whether the estimators keep the assumptions of multiple instance learning is on
[a page of its own](mil_assumptions.md).

- *accuracy*: mean ± standard deviation over the repetitions, and the 95 % bootstrap interval over
  bags. Intervals treat the fitted models as given.
- *AUC by fold*: mean of the AUC of each test fold, and its interval; *pooled*: one AUC of all test
  bags of a repetition. With several classes each against the rest, on average.
- *fit*: CPU seconds of one fit on one thread; *MB*: the most memory that a fold needed beyond the
  data.
- A model may use {budget:.0f} CPU seconds on a set. Then no new fold is begun: what has no whole
  repetition is skipped and says so, and *rep.* counts the whole ones.
- Images: models of vectors read means over 4 × 4 pixels, of digits the pixels themselves.

`{command}`
"""


def command(args):
    text = "python benchmarks/leaderboard.py --data FOLDER --jobs 2 --write docs/leaderboard.md"
    return text if args.budget == 600 else f"{text} --budget {args.budget:.0f}"


def set_table(cells, y, folds_of, found):
    """Rows of one set; what was computed is put into ``found``."""
    lines = [
        "| | accuracy | | balanced | AUC by fold | | pooled | log-loss | Brier | fit s | MB | rep. "
        "|",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in sorted(cells, key=lambda cell: cell.kind == "milkit"):
        name = f"**{cell.model}**" if cell.kind == "milkit" else cell.model
        whole = cell.whole_seeds
        if not whole:
            lines.append(f"| {name} | skipped: {why(cell)} |" + " |" * 10)
            continue
        pooled = Pooled(cell, y, folds_of)
        found[cell.dataset, cell.model] = pooled
        lines.append(f"| {name} | " + " | ".join(figures(pooled)) + f" | {len(whole)} |")
    many = [cell.model for cell in cells if (cell.dataset, cell.model) in found
            and found[cell.dataset, cell.model].unconverged]  # fmt: skip
    note = f"\nIterations ran out in some folds (ConvergenceWarning): {', '.join(many)}.\n"
    return "\n".join(lines) + "\n" + (note if many else "")


def why(cell):
    seconds = sum(row["seconds"] for row in cell.rows.values())
    if not cell.rows:
        return "not run"
    return f"{len(cell.rows)} of {cell.n_folds} folds took {seconds:.0f} s"


def figures(pooled):
    of_fold = pooled.interval(pooled.metric("roc_auc"), by_fold=True)
    of_bags = pooled.interval(pooled.metric("accuracy"), by_fold=False)
    row = [
        spread(pooled.accuracy(), 100, 1),
        f"{100 * of_bags.low:.1f}–{100 * of_bags.high:.1f}",
        f"{100 * pooled.balanced_accuracy()[0]:.1f}",
        spread(pooled.fold_area(), 1, 3),
        f"{of_fold.low:.3f}–{of_fold.high:.3f}",
        f"{pooled.pooled_area()[0]:.3f}",
    ]
    if pooled.probabilities is None:
        row += ["–", "–"]
    else:
        row += [f"{pooled.log_loss()[0]:.3f}", f"{pooled.brier()[0]:.3f}"]
    return row + [f"{pooled.seconds:.2g}", f"{pooled.megabytes:.0f}"]


def spread(pair, factor, digits):
    mean, sd = pair
    text = f"{factor * mean:.{digits}f}"
    return text if np.isnan(sd) else f"{text} ± {factor * sd:.{digits}f}"


def rank_table(found, sets, models):
    """Mean ranks over the sets that all of these models were run on."""
    common = [name for name in models if all((dataset, name) in found for dataset in sets)]
    if len(common) < 2 or len(sets) < 2:
        return ""
    ranks = {}
    for what in ("accuracy", "fold_area"):
        values = [[getattr(found[s, m], what)()[0] for m in common] for s in sets]
        ranks[what] = rankdata(-np.array(values), axis=1).mean(axis=0)
    lines = [
        f"## Mean ranks over {len(sets)} sets\n",
        f"1 is best of {len(common)}; the models that ran on every set.\n",
        "| | accuracy | AUC by fold |",
        "|---|---|---|",
    ]
    order = np.argsort(ranks["accuracy"] + ranks["fold_area"])
    for k in order:
        lines.append(f"| {common[k]} | {ranks['accuracy'][k]:.1f} | {ranks['fold_area'][k]:.1f} |")
    return "\n".join(lines) + "\n"


def target_table(found, sets):
    """The inner choice among milkit's estimators against that among plain settings."""
    both = [s for s in sets if (s, OURS) in found and (s, THEIRS) in found]
    both = [s for s in both if common_seeds(found[s, OURS], found[s, THEIRS])]
    if not both:
        return ""
    lines = [
        "## What was aimed at\n",
        "The best of milkit's estimators, chosen by cross-validation inside each training fold, "
        "against the same choice among 16 plain settings, on the same folds. Differences are "
        "paired, with 95 % intervals over bags.\n",
        "| | accuracy | plain | difference | AUC by fold | plain | difference | aim | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for dataset in both:
        ours, theirs = shared(found[dataset, OURS], found[dataset, THEIRS])
        values, cells = [], []
        for metric, by_fold, factor, digits in (
            ("accuracy", False, 100, 1),
            ("roc_auc", True, 1, 3),
        ):
            pair = [p.interval(p.metric(metric), by_fold).value for p in (ours, theirs)]
            change = ours.interval(
                partial(difference, ours.metric(metric), theirs.metric(metric)), by_fold
            )
            ends = f"{factor * change.low:+.{digits}f}, {factor * change.high:+.{digits}f}"
            cells += [f"{factor * value:.{digits}f}" for value in pair]
            cells.append(f"{factor * change.value:+.{digits}f} [{ends}]")
            values.append(pair[0])
        aim = AIMS.get(dataset)
        if aim is None:
            cells += ["–", ""]
        else:
            short = [n for n, v, a in zip(("accuracy", "AUC"), values, aim, strict=True) if v < a]
            cells.append(f"{100 * aim[0]:.1f} / {aim[1]:.2f}")
            cells.append("reached" if not short else f"falls short: {' and '.join(short)}")
        lines.append(f"| {dataset} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def common_seeds(a, b):
    return [seed for seed in a.cell.whole_seeds if seed in b.cell.whole_seeds]


def shared(a, b):
    """Two cells cut down to the repetitions that both have."""
    seeds = common_seeds(a, b)
    return [Pooled(p.cell, p.y_all, p.folds_of, seeds) for p in (a, b)]


def difference(ours, theirs, rows, weights):
    return ours(rows, weights) - theirs(rows, weights)


def published_table(found, sets):
    """Published accuracies beside the best of ours, with their protocol."""
    if not any(s in AIMS for s in sets):
        return ""
    lines = [
        "## Published accuracies, in %\n",
        "*quoted*: taken from tables of later papers and not run again. *recalled*: from memory of "
        "the paper, not checked. *measured*: run for this project, everything fitted inside the "
        "fold but the scaling of the plain settings, with the best of them taken afterwards, so "
        "that this row is a little optimistic. Folds and preprocessing of papers differ, and "
        "differences of two or three points on 92 to 200 bags mean little.\n",
        "| | " + " | ".join(AIMS) + " | protocol | known |",
        "|---" * (len(AIMS) + 3) + "|",
    ]
    for name, values, protocol, known in PUBLISHED:
        row = " | ".join(f"{value:.1f}" for value in values)
        lines.append(f"| {name} | {row} | {protocol} | {known} |")
    for name in (OURS, "MISVM", "AttentionMILClassifier"):
        row = ours_row(found, name, Pooled.accuracy)
        lines.append(f"| **{name}** | {row} | 5 × 10-fold | this page |")
    lines += [
        "\nAUC in %, of ours by fold:\n",
        "| | " + " | ".join(AIMS) + " | known |",
        "|---" * (len(AIMS) + 2) + "|",
    ]
    for name, values, known in PUBLISHED_AREAS:
        row = " | ".join("–" if value is None else f"{value:.1f}" for value in values)
        lines.append(f"| {name} | {row} | {known} |")
    for name in (OURS, "MISVM", "AttentionMILClassifier"):
        lines.append(f"| **{name}** | {ours_row(found, name, Pooled.fold_area)} | this page |")
    return "\n".join(lines) + "\n\n" + REFERENCES + "\n"


def ours_row(found, name, score):
    return " | ".join(
        f"{100 * score(found[s, name])[0]:.1f}" if (s, name) in found else "–" for s in AIMS
    )
