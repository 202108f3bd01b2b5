"""Tables of the leaderboard in Markdown; see leaderboard.py."""

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from _leaderboard_models import MODELS
from scipy.stats import rankdata
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from milkit.metrics._bootstrap import prepare_metric, resample

N_RESAMPLES = 1000

# Accuracy in % as published. Nobody here has run them; "recalled" ones were not even looked up.
PUBLISHED = [
    # Musk1, Musk2, Elephant, Fox, Tiger
    ("mi-SVM [1]", (87.4, 83.6, 82.2, 58.2, 78.4), "not verified"),
    ("MI-SVM [1]", (77.9, 84.3, 81.4, 57.8, 84.0), "not verified"),
    ("EM-DD, as others ran it", (84.9, 86.9, 77.1, 60.9, 73.0), "not verified"),
    ("Citation-kNN, as others ran it", (90.3, 83.7, 82.6, 58.2, 78.8), "not verified"),
    ("MIGraph [2]", (90.0, 90.1, 85.1, 61.2, 81.9), "not verified"),
    ("miGraph [2]", (88.9, 90.3, 86.8, 61.6, 86.0), "recalled"),
    ("miVLAD [3]", (87.1, 87.2, 85.0, 62.0, 81.0), "not verified"),
    ("miFV [3]", (90.9, 88.4, 85.2, 62.1, 81.3), "not verified"),
    ("MI-Net [4]", (88.7, 85.9, 86.2, 62.2, 83.0), "not verified"),
    ("MI-Net with DS [4]", (89.4, 87.4, 87.2, 63.0, 84.5), "recalled"),
    ("attention [5]", (89.2, 85.8, 86.8, 61.5, 83.9), "recalled"),
    ("gated attention [5]", (90.0, 86.3, 85.7, 60.3, 84.5), "recalled"),
    ("ViT-IWRS, 2024", (89.5, 87.6, 87.4, 62.5, 84.5), "not verified"),
    ("DSMIL, 2021: epoch and threshold of test folds", (93.2, 93.0, 92.5, 72.9, 86.9), "its code"),
    ("attention [5], run again, last epoch", (88.2, 85.1, 86.3, 56.3, 84.5), "measured"),
    ("16 plain settings, best one picked afterwards", (92.0, 92.1, 89.6, 66.1, 86.1), "measured"),
]
PUBLISHED_AREAS = [
    ("Hopfield pooling, 2021", (None, None, 94.9, 64.1, 91.3), "not verified"),
    ("path encoding", (None, None, 94.4, 71.2, 91.0), "not verified"),
    ("MILES", (None, None, 92.7, 73.8, 87.2), "not verified"),
    ("16 plain settings, best one picked afterwards", (98.1, 98.2, 96.1, 72.9, 92.6), "measured"),
]
REFERENCES = """\
[1] Andrews, Tsochantaridis, Hofmann 2002. [2] Zhou, Sun, Li 2009. [3] Wei, Wu, Zhou 2017.
[4] Wang, Yan, Tang, Bai, Liu 2018. [5] Ilse, Tomczak, Welling 2018."""

# Accuracy and mean AUC of the folds that the best of milkit's estimators is to reach.
AIMS = {
    "musk1": (0.92, 0.98),
    "musk2": (0.92, 0.98),
    "elephant": (0.90, 0.96),
    "fox": (0.67, 0.74),
    "tiger": (0.865, 0.93),
}
# How rows of each kind are set, in this order.
MARKS = {"plain": "", "mixed": "*", "milkit": "**"}
OURS, THEIRS = "inner choice of milkit", "inner choice of 16 plain"
# For one estimator with one default setting, accuracy in %: what it must reach, and what is wanted.
DEFAULTS = {
    "AttentionMILClassifier": {
        "musk1": (88.2, 90.0),
        "musk2": (85.1, 86.3),
        "elephant": (86.3, 86.8),
        "fox": (56.3, 61.5),
        "tiger": (84.5, 84.5),
    },
    # Andrews' better row, and the same less one standard error.
    "MISVM, inner choice of margin": {
        "musk1": (83.9, 87.4),
        "musk2": (80.7, 84.3),
        "elephant": (79.5, 82.2),
        "fox": (54.7, 58.2),
        "tiger": (81.4, 84.0),
    },
}


@dataclass
class Cell:
    """A model on a set, with the folds that are finished."""

    dataset: str
    model: str
    spec: object
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
        known = [row["megabytes"] for *_, row in parts if row["megabytes"] is not None]
        self.megabytes = max(known, default=None)
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
        # Six digits of each class do not add up to 1 any more.
        shares = self.probabilities / self.probabilities.sum(axis=1, keepdims=True)
        return self.by_seed(lambda rows: log_loss(self.y[rows], shares[rows]))

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
    early = sum(left_to_run(cell, args.budget) for cell in cells)
    parts = [HEAD.format(budget=args.budget, command=command(args))]
    if early:
        parts[0] += EARLY.format(early=early)
    found = {}
    for dataset in args.sets:
        here = [cell for cell in cells if cell.dataset == dataset]
        parts.append(f"## {dataset.replace('_', ' ')}\n")
        parts.append(set_table(here, labels[dataset], folds_of, found))
    ranks = rank_table(found, args.sets, args.models)
    targets = target_table(found, args.sets)
    published = published_table(found, args.sets)
    tail = [part for part in (targets, ranks, published) if part]
    return "\n".join([parts[0], *tail, *parts[1:]])


HEAD = """\
# Leaderboard

Written by `benchmarks/leaderboard.py`; do not edit.

Stratified 10-fold cross-validation with bags shuffled, repeated with fold seeds 100 to 104;
models from pixels one 5-fold cross-validation. All preprocessing is fitted inside the training
fold, and nothing is chosen on a test fold: see [what happens
otherwise](choosing_on_the_test_fold.md). Whether estimators keep the assumption of multiple
instance learning is on [a page of its own](mil_assumptions.md).

What the protocol cannot do: defaults, and the lists that an inner choice has, were made with
folds of *the same bags* (seeds 0 to 4). Other folds do not make them new. Only what an *inner
choice* chooses is chosen without the test fold. Intervals treat the fitted models as given.

- *accuracy*: mean ± standard deviation over the repetitions, and the 95 % bootstrap interval over
  bags.
- *AUC by fold*: mean of the AUC of each test fold, and its interval; *pooled*: one AUC of all test
  bags of a repetition, where the scores of all folds have one scale. With several classes each
  against the rest, on average.
- *log-loss*, *Brier*: – where a model has no probabilities. Forests give exact zeros, on which the
  log-loss mostly depends.
- *fit*: CPU seconds of one fit on one thread; *MB*: the most memory that a fold needed beyond the
  data and the libraries.
- Fits of a model on a set may take {budget:.0f} CPU seconds, from pixels twice as many; then no
  new fold is begun. What has no whole repetition is skipped and says so, and *rep.* counts the
  whole ones.
- Models of vectors read means over 4 × 4 pixels of images, and of digits the pixels themselves.
- The folds are random, and some bags resemble each other: smears of one slide in chula_rbc12 and
  bccd_cells, posts that occur in several bags of the newsgroups, identical molecules in
  mutagenesis_atoms. Numbers on these are optimistic for everybody.

Rows in **bold** are milkit's estimators, and those in *italics* join them with plain ones: four of
the five voters are plain, and so are four of the seven models that *inner choice of milkit* has.
The others are scikit-learn's behind `BagStatistics` or `SetKernel`.

*Inner choice*: the best by a 3-fold cross-validation inside each training fold, judged by
balanced accuracy and AUC in equal parts. *16 plain*: (mean, sd), (min, max) or all four
statistics, each with logistic regression, an SVM with C=3 or 10, or 200 extremely randomised
trees; and the normalised set kernel with γ = 1/d or 2/d and C = 1 or 10. *4 plain*: those of
them that earlier runs, on other folds of the same bags, found best on one of the five classical
sets: the kernel with 2/d and 10, (min, max) with C=10 or trees, all four with trees. *milkit*: the
vote of five, `InstanceVotingClassifier`, `MISVM`, and the same
4 plain. *Vote of five*: mean probability of set kernel, statistics with SVM, trees on (min, max),
trees on four statistics, and `InstanceVotingClassifier`; *vote of four plain*: without the last.
`AttentionMILClassifier` is too slow for such a search here. `AttentionMILRegressor` predicts
numbers, of which no set has any.

All: `{command}`

One cell: `python benchmarks/leaderboard.py --data FOLDER --sets musk1 --models MISVM --results ""`
"""


EARLY = """
This run was ended early: {early} models on a set have folds and budget left. The command goes on
with them.
"""


def seconds_left(cell, budget):
    """What a cell may still use, in CPU seconds of fits; models from pixels have twice as many."""
    used = sum(row["seconds"] for row in cell.rows.values())
    return budget * (2 if cell.spec.pixels else 1) - used


def left_to_run(cell, budget):
    """Has a cell folds that are missing, and budget for them?"""
    may_run = cell.dataset in cell.spec.only and seconds_left(cell, budget) > 0
    return may_run and len(cell.rows) < len(cell.wanted)


def command(args):
    text = "python benchmarks/leaderboard.py --data FOLDER --jobs 2 --write docs/leaderboard.md"
    return f"{text} --budget {args.budget:.0f}"


def set_table(cells, y, folds_of, found):
    """Rows of one set; what was computed is put into ``found``."""
    lines = [
        "| | accuracy | balanced | AUC by fold | pooled | log-loss | Brier | fit s | MB | rep. |",
        "|---" * 10 + "|",
    ]
    skipped, unconverged = [], []
    for cell in sorted(cells, key=lambda cell: list(MARKS).index(cell.spec.kind)):
        name = marked(cell.model)
        whole = cell.whole_seeds
        if not whole:
            skipped.append(f"{name} ({why(cell)})")
            continue
        pooled = found[cell.dataset, cell.model] = Pooled(cell, y, folds_of)
        lines.append(f"| {name} | " + " | ".join(figures(pooled)) + f" | {len(whole)} |")
        if pooled.unconverged:
            unconverged.append(cell.model)
    text = "\n".join(lines) + "\n"
    if skipped:
        text += f"\nSkipped: {'; '.join(skipped)}.\n"
    if unconverged:
        text += f"\nIterations ran out in some folds: {', '.join(unconverged)}.\n"
    return text


def marked(name):
    mark = MARKS[MODELS[name].kind]
    return f"{mark}{name}{mark}"


def why(cell):
    if cell.dataset not in cell.spec.only:
        return cell.spec.why
    seconds = sum(row["seconds"] for row in cell.rows.values())
    if not cell.rows:
        return "not run"
    return f"{len(cell.rows)} of {cell.n_folds} folds took {seconds:.0f} s"


def figures(pooled):
    of_fold = pooled.interval(pooled.metric("roc_auc"), by_fold=True)
    of_bags = pooled.interval(pooled.metric("accuracy"), by_fold=False)
    row = [
        f"{spread(pooled.accuracy(), 100, 1)} [{100 * of_bags.low:.1f}, {100 * of_bags.high:.1f}]",
        f"{100 * pooled.balanced_accuracy()[0]:.1f}",
        f"{spread(pooled.fold_area(), 1, 3)} [{of_fold.low:.3f}, {of_fold.high:.3f}]",
        "–" if pooled.cell.spec.chooses else f"{pooled.pooled_area()[0]:.3f}",
    ]
    if pooled.probabilities is None:
        row += ["–", "–"]
    else:
        row += [f"{pooled.log_loss()[0]:.3f}", f"{pooled.brier()[0]:.3f}"]
    megabytes = "–" if pooled.megabytes is None else f"{pooled.megabytes:.0f}"
    return row + [f"{pooled.seconds:.2g}", megabytes]


def spread(pair, factor, digits):
    mean, sd = pair
    text = f"{factor * mean:.{digits}f}"
    return text if np.isnan(sd) else f"{text} ± {factor * sd:.{digits}f}"


def rank_table(found, sets, models):
    """Mean ranks over the sets with an inner choice, of all models that ran on each of them."""
    sets = [dataset for dataset in sets if (dataset, OURS) in found]
    common = [name for name in models if all((dataset, name) in found for dataset in sets)]
    if len(common) < 2 or len(sets) < 2:
        return ""
    ranks = {}
    for what in ("accuracy", "fold_area"):
        values = [[getattr(found[s, m], what)()[0] for m in common] for s in sets]
        ranks[what] = rankdata(-np.array(values), axis=1).mean(axis=0)
    repetitions = [len(found[s, m].cell.whole_seeds) for s in sets for m in common]
    lines = [
        f"## Mean ranks over {len(sets)} sets\n",
        f"Of {', '.join(sets)}; 1 is best of {len(common)}. Each figure is a mean over the "
        f"repetitions that are there, {min(repetitions)} to {max(repetitions)} of them.\n",
        "| | accuracy | AUC by fold |",
        "|---|---|---|",
    ]
    order = np.argsort(ranks["accuracy"] + ranks["fold_area"])
    for k in order:
        both = f"{ranks['accuracy'][k]:.1f} | {ranks['fold_area'][k]:.1f}"
        lines.append(f"| {marked(common[k])} | {both} |")
    return "\n".join(lines) + "\n"


def target_table(found, sets):
    """The inner choice among milkit's estimators against that among plain settings."""
    both = [s for s in sets if (s, OURS) in found and (s, THEIRS) in found]
    both = [s for s in both if common_seeds(found[s, OURS], found[s, THEIRS])]
    if not both:
        return ""
    lines = [
        "## What was aimed at\n",
        "The best of a list, chosen by cross-validation inside each training fold: milkit's list "
        "against the 16 plain settings, on the same folds. milkit's list holds four of the 16, and "
        "these are the best of single sets on other folds of the same bags; *inner choice of 4 "
        "plain* is the control for that. Differences are paired, with 95 % intervals over bags. "
        "The last column goes by the figures themselves: where an interval holds 0, no difference "
        "is shown.\n",
        "| | accuracy | plain | difference | AUC by fold | plain | difference | aim | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for dataset in both:
        ours, theirs = shared(found[dataset, OURS], found[dataset, THEIRS])
        cells, short = [], []
        for metric, by_fold, factor, digits, aim in (
            ("accuracy", False, 100, 1, AIMS.get(dataset, (None, None))[0]),
            ("roc_auc", True, 1, 3, AIMS.get(dataset, (None, None))[1]),
        ):
            pair = [p.interval(p.metric(metric), by_fold).value for p in (ours, theirs)]
            change, text = paired(ours, theirs, metric, by_fold, factor, digits)
            cells += [f"{factor * value:.{digits}f}" for value in pair] + [text]
            name = "accuracy" if metric == "accuracy" else "AUC"
            if change < 0:
                short.append(f"{name} below plain")
            if aim is not None and pair[0] < aim:
                short.append(f"{name} below the aim")
        aims = AIMS.get(dataset)
        cells.append("–" if aims is None else f"{100 * aims[0]:.1f} / {aims[1]:.2f}")
        cells.append("falls short: " + ", ".join(short) if short else "reached")
        lines.append(f"| {dataset} | " + " | ".join(cells) + " |")
    return "\n\n".join(["\n".join(lines), control_table(found, sets) + defaults_table(found)])


def paired(ours, theirs, metric, by_fold, factor, digits):
    """Difference of two cells on common repetitions, and its text with the interval."""
    change = ours.interval(partial(difference, ours.metric(metric), theirs.metric(metric)), by_fold)
    ends = f"{factor * change.low:+.{digits}f}, {factor * change.high:+.{digits}f}"
    return change.value, f"{factor * change.value:+.{digits}f} [{ends}]"


def control_table(found, sets):
    """Differences to the plain models that milkit's own list and vote hold."""
    lines = [
        "Two comparisons with less between the sides: milkit's list against the four plain models "
        "in it, both chosen inside the fold, where the list also has the vote of five, so that "
        "averaging is part of the difference; and the vote of five against the vote of four plain, "
        "which differ in `InstanceVotingClassifier` alone.\n",
        "| | choice: accuracy | AUC by fold | vote: accuracy | AUC by fold |",
        "|---|---|---|---|---|",
    ]
    pairs = (OURS, "inner choice of 4 plain"), ("vote of five", "vote of four plain")
    for dataset in sets:
        cells = []
        for ours, theirs in pairs:
            both = [found.get((dataset, name)) for name in (ours, theirs)]
            if None in both or not common_seeds(*both):
                cells += ["–", "–"]
                continue
            both = shared(*both)
            cells.append(paired(*both, "accuracy", False, 100, 1)[1])
            cells.append(paired(*both, "roc_auc", True, 1, 3)[1])
        if set(cells) != {"–"}:
            lines.append(f"| {dataset} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n" if len(lines) > 3 else ""


def defaults_table(found):
    """Accuracies of single estimators against what they were to reach."""
    lines = [
        "Accuracy in % of one setting on all sets, with the least that was wanted and the aim. For "
        "the network these are honest runs of the recipe of [5] below and the better of its "
        "published rows, for MISVM the better row of [1] less one standard error, and that row.\n",
        "| | " + " | ".join(AIMS) + " |",
        "|---" * (len(AIMS) + 1) + "|",
    ]
    for name, wanted in DEFAULTS.items():
        cells = []
        for dataset, (least, aim) in wanted.items():
            if (dataset, name) not in found:
                cells.append(f"– ({least} / {aim})")
                continue
            value = 100 * found[dataset, name].accuracy()[0]
            verdict = "falls short" if value < least else "reached" if value >= aim else "between"
            cells.append(f"{value:.1f} ({least} / {aim}): {verdict}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
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
        "As their papers or later ones print them, mostly from 10-fold cross-validation repeated 5 "
        "or 10 times, with folds and preprocessing of their own; differences of two or three "
        "points on 92 to 200 bags mean little. *recalled*: from memory. *not verified*: not run "
        "again. *measured*: run for this project; of the plain settings the best was picked "
        "afterwards and scales were taken from all bags, so that this row is optimistic.\n",
        "| | " + " | ".join(AIMS) + " | known |",
        "|---" * (len(AIMS) + 2) + "|",
    ]
    for name, values, known in PUBLISHED:
        row = " | ".join(f"{value:.1f}" for value in values)
        lines.append(f"| {name} | {row} | {known} |")
    for name in (OURS, "MISVM", "AttentionMILClassifier"):
        row = ours_row(found, name, Pooled.accuracy)
        lines.append(f"| {marked(name)} | {row} | this page |")
    lines += [
        "\nAUC in %, of ours by fold:\n",
        "| | " + " | ".join(AIMS) + " | known |",
        "|---" * (len(AIMS) + 2) + "|",
    ]
    for name, values, known in PUBLISHED_AREAS:
        row = " | ".join("–" if value is None else f"{value:.1f}" for value in values)
        lines.append(f"| {name} | {row} | {known} |")
    for name in (OURS, "MISVM", "AttentionMILClassifier"):
        areas = ours_row(found, name, Pooled.fold_area)
        lines.append(f"| {marked(name)} | {areas} | this page |")
    return "\n".join(lines) + "\n\n" + REFERENCES + "\n"


def ours_row(found, name, score):
    return " | ".join(
        f"{100 * score(found[s, name])[0]:.1f}" if (s, name) in found else "–" for s in AIMS
    )
