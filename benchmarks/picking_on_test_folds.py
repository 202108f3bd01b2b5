"""How much a result gains when the epoch or the threshold is picked on the test fold.

AttentionMILClassifier with its defaults, stratified 10-fold cross-validation, features standardised
inside the fold. After each epoch the test fold is scored, and accuracies are reported in five ways:
after the last epoch; after the epoch that an inner validation set chose (early_stopping=True); at
the epoch with the best accuracy on the test fold; after the last epoch with the best threshold on
the test fold; and with both picked there. The same with labels that were shuffled among the bags:
then nothing can be learned, and what is above the share of the larger class is made by picking.
Run: python benchmarks/picking_on_test_folds.py --data FOLDER --jobs 2
--write docs/choosing_on_the_test_fold.md
"""

import argparse
import os
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from milkit import AttentionMILClassifier, InstanceTransformer
from milkit.datasets import load_bags

SETS = ["musk1", "elephant", "fox"]
WAYS = [
    "last epoch",
    "early stopping inside the training fold",
    "best threshold of the test fold",
    "best epoch of the test fold",
    "best epoch and threshold of the test fold",
]


def best_threshold_accuracy(y, scores):
    """The best accuracy that any threshold gives."""
    order = np.argsort(-scores, kind="stable")
    right_above = np.concatenate([[0], np.cumsum(np.where(y[order] == 1, 1, -1))])
    values = scores[order]
    # A threshold lies between two different scores, above all or below all.
    possible = np.concatenate([[True], values[1:] != values[:-1], [True]])
    return ((y == 0).sum() + right_above[possible].max()) / len(y)


def one_fold(X, y, train, test, seed):
    """Accuracy on the test fold in each of the ways."""
    with threadpool_limits(1):
        scaler = InstanceTransformer(StandardScaler()).fit(X[train])
        seen, held = scaler.transform(X[train]), scaler.transform(X[test])
        last = AttentionMILClassifier(random_state=seed).fit(seen, y[train]).score(held, y[test])
        stopped = AttentionMILClassifier(random_state=seed, early_stopping=True)
        honest = stopped.fit(seen, y[train]).score(held, y[test])
        # Epoch by epoch with the optimiser's state kept: the same training, other random draws.
        network = AttentionMILClassifier(random_state=seed)
        scores = np.array(
            [
                network.partial_fit(seen, y[train], classes=[0, 1]).decision_function(held)
                for _ in range(network.max_iter)
            ]
        )
    right = ((scores > 0) == (y[test] == 1)).mean(axis=1)
    best = np.array([best_threshold_accuracy(y[test], epoch) for epoch in scores])
    return last, honest, best[-1], right.max(), best.max()


def rows_of(X, y, seeds, jobs, shuffled):
    """Mean over folds for each seed, of shape (n_seeds, n_ways)."""
    calls = []
    for seed in seeds:
        labels = np.random.default_rng(seed).permutation(y) if shuffled else y
        folds = StratifiedKFold(10, shuffle=True, random_state=seed).split(labels, labels)
        calls += [delayed(one_fold)(X, labels, *fold, seed) for fold in folds]
    found = Parallel(jobs, return_as="generator")(calls)
    found = list(tqdm(found, total=len(calls), leave=False, disable=None))
    return np.reshape(found, (len(seeds), 10, len(WAYS))).mean(axis=1)


PAGE = """\
# Choosing on the test fold

Written by `benchmarks/picking_on_test_folds.py`; do not edit.

Several published programs train for many epochs, look at the test fold after each, and report the
best epoch, at times with the best threshold as well. Nothing of that is known when a new patient
comes. Here is what it does to one network, `AttentionMILClassifier` with its defaults, in
stratified 10-fold cross-validation repeated with the fold seeds {seeds}: mean accuracy in %.

| | {header} |
|---{rules}|
{rows}

In the columns *shuffled* the labels were shuffled among the bags before anything else. There is
nothing to learn, and an honest protocol is right in about half of the bags; the first two rows
show how far from half a few shufflings lead. What the lower rows have above the first was made by
picking alone: the maximum over {epochs} epochs, and over all thresholds, of an accuracy on {size}
bags. The networks have other random seeds here than on the [leaderboard](leaderboard.md), which
moves an accuracy by a point or two.

So a table in which a method was picked this way says nothing about the method beside one that was
not. milkit has no option that looks at a test fold. `early_stopping=True` holds back a part of the
training fold, whole groups of it where there are groups, and a threshold belongs into
`TunedThresholdClassifierCV`, inside the fold as well.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("MILKIT_DATA") or None)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[100, 101])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--write", help="file for the page, in place of the screen")
    args = parser.parse_args()
    if args.data is None:
        print("No --data and no MILKIT_DATA: nothing to measure.")
        return
    columns, sizes = {}, []
    for name in args.sets:
        path = Path(args.data) / f"{name}.npz"
        if not path.exists():
            print(f"{name} is skipped: no {path.name} in the data folder.")
            continue
        X, labels = load_bags(path, return_X_y=True)
        y = np.unique(labels, return_inverse=True)[1]
        sizes.append(len(y) // 10)
        for shuffled in (False, True):
            title = f"{name}, shuffled" if shuffled else name
            columns[title] = rows_of(X, y, args.seeds, args.jobs, shuffled)
    lines = [
        f"| {way} | " + " | ".join(f"{100 * v[:, k].mean():.1f}" for v in columns.values()) + " |"
        for k, way in enumerate(WAYS)
    ]
    text = PAGE.format(
        seeds=" and ".join(map(str, args.seeds)),
        header=" | ".join(columns),
        rules="|---" * len(columns),
        rows="\n".join(lines),
        epochs=AttentionMILClassifier().max_iter,
        size=f"{min(sizes)} to {max(sizes)}",
    )
    if args.write:
        Path(args.write).write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
