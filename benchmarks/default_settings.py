"""What other values of one parameter would do to an estimator's default setting, on several sets.

Stratified 10-fold cross-validation with fold seeds 0 to 4, which the leaderboard never prints;
features standardised inside the fold. Each setting differs from the default in what its name says,
and is compared with it on the same folds, so that a default is changed for all sets at once or not
at all. The sets are those of the leaderboard on which a fit is quick. Finished folds are kept in
--results with all parameters of their model, and a killed run goes on from there.
Run: python benchmarks/default_settings.py --data FOLDER --seeds 4 --jobs 2
--write docs/default_settings.md
"""

import argparse
import os
from pathlib import Path

import numpy as np
from _leaderboard_models import SMALL, read_set, scaled
from joblib import Parallel, delayed
from leaderboard import append_row, folds_of, known_rows, one_fold, settings_of
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.preprocessing import label_binarize
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from milkit import MISVM, AttentionMILClassifier

QUICK = [*SMALL, "bccd_cells"]
N_FOLDS, SEEDS = 10, (0, 1, 2, 3, 4)
SETTINGS = {
    "AttentionMILClassifier": [
        {},
        {"pooling": "gated_attention"},
        {"n_heads": 4},
        {"dropout": 0.1},
        {"dropout": 0.5},
        {"hidden_layer_sizes": (256, 128, 64)},
        {"learning_rate": "cosine"},
        {"weight_decay": 0.001},
        {"weight_decay": 0.1},
        {"n_estimators": 5},
    ],
    "MISVM": [
        {},
        {"margin": "instance"},
        {"C": 1.0},
        {"C": 10.0},
        {"C": 30.0},
        {"init": "mean"},
        {"negative_slack": "instance"},
        {"init": "random", "n_init": 5},
        {"kernel": "linear"},
    ],
}
CLASSES = {"AttentionMILClassifier": AttentionMILClassifier, "MISVM": MISVM}


def made(name, setting, random_state=0):
    return CLASSES[name](random_state=random_state, **setting)


def name_of(setting):
    return ", ".join(f"{key}={value!r}" for key, value in setting.items()) or "default"


def run_fold(row, setting, X, y, path):
    """Accuracy and AUC in % of a setting on one fold, written as a row."""
    import torch

    torch.set_num_threads(1)
    train, test = folds_of(y, N_FOLDS, row["seed"])[row["fold"]]
    model = made(row["model"], setting, 1000 * row["seed"] + row["fold"])
    with threadpool_limits(1):
        found = one_fold(scaled(model), X, y, train, test)
    scores = np.asarray(found["scores"])
    truth = label_binarize(y[test], classes=np.unique(y)) if scores.ndim == 2 else y[test]
    row |= {"accuracy": 100 * accuracy_score(y[test], found["labels"])}
    row |= {"auc": 100 * roc_auc_score(truth, scores), "seconds": found["seconds"]}
    append_row(path, row)


def cell(row):
    return row["model"], row["set"], row["settings"]


def place(row):
    return row["seed"], row["fold"]


# -- the page --------------------------------------------------------------------------------

HEAD = """# Default settings

Written by `benchmarks/default_settings.py`; do not edit.

What another value of one parameter does to a default setting, on {n_sets} sets of the
[leaderboard](leaderboard.md), with fold seeds that it never prints. Stratified 10-fold
cross-validation, features standardised inside the fold. The first row is the default, in %; the
others are differences to it on the folds that both have. *All sets*: mean of the differences and
its standard error, each set counted once; *folds*: how many there are, of all sets together, for
some settings were run with fewer seeds; *cost*: time of a fit, in fits of the default, median over
the sets.

Most of these sets have 92 to 200 bags, so that two points on one of them are noise, and so is a
mean over all of them below about two standard errors. The default is a row like the others and has
luck of its own: where all other rows are above it, or all below, it is the default that is off. A
default is changed where all sets together speak for it, never for the sake of one.
"""


def page(names, sets, seeds, rows):
    """Two tables of each estimator, of accuracies and of AUC."""
    found = {}
    for row in rows:
        if row["seed"] in seeds:
            values = row["accuracy"], row["auc"], row["seconds"]
            found.setdefault(cell(row), {})[place(row)] = values
    parts = [HEAD.format(n_sets=len(sets)), f"Fold seeds: {', '.join(map(str, seeds))}.\n"]
    for name in names:
        parts.append(f"## {name}\n")
        for measure, title in enumerate(("accuracy", "AUC by fold")):
            short = [s.split("_")[0] for s in sets]
            parts.append(f"| {title} | all sets | folds | cost | {' | '.join(short)} |")
            parts.append("|---" * (len(sets) + 4) + "|")
            default = settings_of(made(name, {}))
            for setting in SETTINGS[name]:
                settings = settings_of(made(name, setting))
                cells = [
                    (found.get((name, s, settings), {}), found.get((name, s, default), {}))
                    for s in sets
                ]
                parts.append(line(name_of(setting), measure, cells))
            parts.append("")
    return "\n".join(parts)


def line(setting, measure, cells):
    """A row of a table, from the folds of the setting and of the default on each set."""
    texts, differences, costs, n_folds = [], [], [], 0
    for ours, default in cells:
        common = sorted(ours.keys() & default.keys())
        if not common:
            texts.append("–")
            continue
        n_folds += len(common)
        mine = np.mean([ours[c] for c in common], axis=0)
        other = np.mean([default[c] for c in common], axis=0)
        differences.append(mine[measure] - other[measure])
        costs.append(mine[2] / other[2])
        texts.append(f"{mine[measure]:.1f}" if setting == "default" else f"{differences[-1]:+.1f}")
    if setting == "default":
        whole = ["", f"{n_folds}", "1"]
    elif len(differences) > 1:
        error = np.std(differences, ddof=1) / np.sqrt(len(differences))
        # The space must not end a line.
        mean = f"{np.mean(differences):+.1f}\u00a0±\u00a0{error:.1f}"
        whole = [mean, f"{n_folds}", f"{np.median(costs):.1f}"]
    else:
        whole = ["–", f"{n_folds}", "–"]
    return f"| {setting} | {' | '.join(whole + texts)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("MILKIT_DATA") or None)
    parser.add_argument("--estimators", nargs="*", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--sets", nargs="*", choices=QUICK, default=QUICK)
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=[0])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--results", default="output/default_settings.jsonl")
    parser.add_argument("--write", help="file for the tables, in place of the screen")
    args = parser.parse_args()
    if args.data is None:
        print("No --data and no MILKIT_DATA: nothing to measure.")
        return
    rows = known_rows(args.results)
    done = {(cell(row), place(row)) for row in rows}
    calls = []
    for dataset in args.sets:
        path = Path(args.data) / f"{dataset}.npz"
        if not path.exists():
            print(f"{dataset} is skipped: no {path.name} in the data folder.")
            continue
        X, y = read_set(path.parent, dataset, False)
        for name in args.estimators:
            for setting in SETTINGS[name]:
                settings = settings_of(made(name, setting))
                start = {"model": name, "set": dataset, "settings": settings}
                for seed in args.seeds:
                    for fold in range(N_FOLDS):
                        row = start | {"seed": seed, "fold": fold}
                        if (cell(row), place(row)) not in done:
                            calls.append(delayed(run_fold)(row, setting, X, y, args.results))
    for _ in tqdm(
        Parallel(args.jobs, return_as="generator_unordered")(calls),
        total=len(calls),
        desc="folds",
        disable=None,
    ):
        pass
    text = page(args.estimators, args.sets, args.seeds, known_rows(args.results))
    if args.write:
        Path(args.write).write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
