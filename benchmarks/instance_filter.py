"""Does dropping the instances that look like those of negative bags help?

Cross-validates estimators with and without ``OneClassInstanceFilter`` in front, on bags whose
witnesses are outlying and on bags whose witnesses are not, and prints for each set

- the AUC of the filter's scores for the true labels of instances in held-out positive bags, which
  are used for nothing else;
- the AUC of bags by one-class scores alone (their largest, their mean, the share beyond what 5 % of
  normal instances exceed), the question that a report on lymphocytosis answered with no;
- the mean AUC of test folds for each estimator, and what each filter adds (mean and standard
  deviation over folds), on the same folds.

``MILKIT_DATA`` or ``--data`` names a folder with real bags as npz files; sets that are not there
are skipped, and said so.
"""

import argparse
import os
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from milkit import (
    MISVM,
    AttentionMILClassifier,
    BagStatistics,
    InstanceTransformer,
    InstanceVotingClassifier,
    OneClassInstanceFilter,
)
from milkit.base import split_by_bag
from milkit.datasets import load_bags, make_blood_smear_cohort, make_mil_classification
from milkit.inspection import score_instances
from milkit.metrics import instance_roc_auc_score

ESTIMATORS = {
    "statistics": make_pipeline(
        BagStatistics(), StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)
    ),
    "voting": InstanceVotingClassifier(voting="mean"),
    "MI-SVM": MISVM(),
    "attention": AttentionMILClassifier(),
}
FILTERS = {
    "half": OneClassInstanceFilter(fraction=0.5),
    "fifth": OneClassInstanceFilter(fraction=0.2),
    "beyond 10 %": OneClassInstanceFilter(keep="threshold", fraction=0.1),
}


def blocks(images, side):
    """Means over blocks of side × side pixels, one row for each image."""
    n, channels, height, width = images.shape
    parts = images.reshape(n, channels, height // side, side, width // side, side)
    return parts.mean(axis=(3, 5), dtype=np.float32).reshape(n, -1)


def from_file(folder, name, witness, side=None):
    """Bags of a file, their labels, and whether each instance is a true witness."""
    bunch = load_bags(folder / f"{name}.npz")
    X = bunch.data
    if side is not None:
        X = X.with_instances(blocks(X.flat()[0], side))
    return X, bunch.target, X.instance_data["label"] == witness


def synthetic(rate):
    X, y = make_mil_classification(200, 20, bag_size=(30, 100), witness_rate=rate, random_state=0)
    return X, y, X.instance_data["label"] > 0


def cohort(kind, normal):
    X, y = make_blood_smear_cohort(kind, bag_scale=0.3, random_state=0, return_X_y=True)
    return X, (y != normal).astype(int), X.instance_data["label"] > 0


def data_sets(folder):
    """Name → function that gives bags, labels and witnesses; None where the file is missing."""
    sets = {f"synthetic, {rate:.0%}": partial(synthetic, rate) for rate in (0.01, 0.02, 0.05)}
    sets["red cells (simulated)"] = partial(cohort, "red_cell", "healthy")
    sets["lymphocytes (simulated)"] = partial(cohort, "lymphocytosis", "reactive")
    for name, witness, side in [
        ("newsgroups_rec_sport_hockey", 1, None),
        ("chula_rbc12", 4, 4),
        ("mnist_bags_t10k", 9, 2),
    ]:
        there = folder is not None and (folder / f"{name}.npz").exists()
        sets[name] = partial(from_file, folder, name, witness, side) if there else None
    return sets


def one_class_scores(X_train, y_train, X_test, y_test, witness):
    """AUC of witnesses among instances, and of bags by three sums of one-class scores."""
    step = make_pipeline(
        InstanceTransformer(StandardScaler()),
        OneClassInstanceFilter(keep="threshold", fraction=0.05, random_state=0),
    ).fit(X_train, y_train)
    scores = score_instances(step, X_test)
    beyond = [np.mean(bag > step[-1].threshold_) for bag in scores]
    kept = [i for i, label in enumerate(y_test) if label == 1]
    witnesses = split_by_bag(witness.astype(int), X_test)
    return {
        "witnesses": instance_roc_auc_score(
            [witnesses[i] for i in kept], [scores[i] for i in kept], average="pooled"
        ),
        "largest": roc_auc_score(y_test, [bag.max() for bag in scores]),
        "mean": roc_auc_score(y_test, [bag.mean() for bag in scores]),
        "share": roc_auc_score(y_test, beyond),
    }


def fold_scores(X, y, witness, train, test, seed, estimators):
    """What one fold gives: one-class scores, and the AUC of each estimator and filter."""
    witness = X.with_columns(instance_data={"witness": witness})
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = one_class_scores(
            X[train], y[train], X[test], y[test], witness[test].instance_data["witness"]
        )
        areas = {}
        for name in estimators:
            for label, step in [("none", None), *FILTERS.items()]:
                steps = [InstanceTransformer(StandardScaler()), step, clone(ESTIMATORS[name])]
                model = make_pipeline(*(clone(step) for step in steps if step is not None))
                seeds = [p for p in model.get_params() if p.endswith("__random_state")]
                model.set_params(**dict.fromkeys(seeds, seed)).fit(X[train], y[train])
                areas[name, label] = roc_auc_score(y[test], model.decision_function(X[test]))
    return scores, areas


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("MILKIT_DATA"))
    parser.add_argument("--sets", nargs="+", help="the beginning of their names")
    parser.add_argument("--estimators", nargs="+", choices=list(ESTIMATORS), default=[*ESTIMATORS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[100, 101], help="of the folds")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    sets = data_sets(Path(args.data) if args.data else None)
    for name, load in sets.items():
        if args.sets and not name.startswith(tuple(args.sets)):
            continue
        if load is None:
            print(f"\n{name}: skipped, no such file in the folder of MILKIT_DATA or --data")
            continue
        X, y, witness = load()
        groups = np.arange(len(X)) if X.groups is None else X.groups
        calls = []
        for seed in args.seeds:
            folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
            for train, test in folds.split(y, y, groups):
                calls.append((train, test, seed))
        found = Parallel(args.jobs, return_as="generator")(
            delayed(fold_scores)(X, y, witness, *call, args.estimators) for call in calls
        )
        found = list(tqdm(found, name, len(calls), leave=False))
        report(name, X, y, witness, found, args.estimators)


def report(name, X, y, witness, found, estimators):
    rate = witness.sum() / np.repeat(y == 1, X.sizes).sum()
    print(f"\n{name}: {X}, {np.mean(y):.0%} positive, {rate:.1%} witnesses in positive bags")
    scores = {key: np.mean([s[key] for s, _ in found]) for key in found[0][0]}
    print(
        "  one-class scores, AUC: witnesses among instances {witnesses:.3f}; bags by the largest "
        "{largest:.3f}, the mean {mean:.3f}, the share of outliers {share:.3f}".format(**scores)
    )
    print(f"  {'AUC of bags':<14}{'no filter':>10}" + "".join(f"{key:>22}" for key in FILTERS))
    for estimator in estimators:
        plain = np.array([areas[estimator, "none"] for _, areas in found])
        row = f"  {estimator:<14}{plain.mean():>10.3f}"
        for key in FILTERS:
            gain = np.array([areas[estimator, key] for _, areas in found]) - plain
            row += f"{plain.mean() + gain.mean():>9.3f} ({gain.mean():+.3f}±{gain.std():.3f})"
        print(row, flush=True)


if __name__ == "__main__":
    main()
