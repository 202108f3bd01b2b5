"""Which poolings keep the assumption of multiple instance learning.

Three small data sets of milkit.datasets, after Raff and Holt (NeurIPS 2023, arXiv:2310.17867), have
a shortcut in the training bags that is turned round in the test bags; their docstrings say how.
Networks with default parameters behind a StandardScaler, 500 training and 500 test bags, several
seeds. At chance the AUC of 500 bags has a standard error of 0.026, so 0.05 is taken for clear:
"keeps" is a test AUC above 0.55 with every seed, "breaks" one below 0.45 with every seed, and "?"
is anything else.
Run: python benchmarks/mil_assumptions.py --seeds 0 1 2 3 4 --jobs 2
"""

import argparse

import numpy as np
from joblib import Parallel, delayed
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from milkit import AttentionMILClassifier, InstanceTransformer
from milkit.datasets import (
    make_false_frequency_mil_test,
    make_multi_concept_mil_test,
    make_single_concept_mil_test,
)

TESTS = {
    "single concept": make_single_concept_mil_test,
    "multi concept": make_multi_concept_mil_test,
    "false frequency": make_false_frequency_mil_test,
}
INSTANCE = {"level": "instance"}
SETTINGS = {
    "attention": {},
    "attention, 4 heads": {"n_heads": 4},
    "gated_attention": {"pooling": "gated_attention"},
    "mean": {"pooling": "mean"},
    "mean_std": {"pooling": "mean_std"},
    "logsumexp": {"pooling": "logsumexp"},
    "max": {"pooling": "max"},
    "attention, instance": {**INSTANCE},
    "mean, instance": {"pooling": "mean", **INSTANCE},
    "logsumexp, instance": {"pooling": "logsumexp", **INSTANCE},
    "max, instance": {"pooling": "max", **INSTANCE},
    "noisy_or, instance": {"pooling": "noisy_or", **INSTANCE},
}
CLEAR = 0.05


def train_and_test_auc(setting, test, seed):
    """AUC of one network on the bags it was trained with and on the test bags."""
    X_train, y_train, X_test, y_test = TESTS[test](random_state=seed)
    network = AttentionMILClassifier(random_state=seed, **SETTINGS[setting])
    model = make_pipeline(InstanceTransformer(StandardScaler()), network)
    with threadpool_limits(1):
        model.fit(X_train, y_train)
        return (
            roc_auc_score(y_train, model.decision_function(X_train)),
            roc_auc_score(y_test, model.decision_function(X_test)),
        )


def verdict(areas):
    """What test AUCs of several seeds say."""
    if min(areas) > 0.5 + CLEAR:
        return "keeps"
    return "breaks" if max(areas) < 0.5 - CLEAR else "?"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    args = parser.parse_args()
    cells = [(setting, test) for setting in args.settings for test in TESTS]
    calls = (delayed(train_and_test_auc)(*cell, seed) for cell in cells for seed in args.seeds)
    found = Parallel(args.jobs, return_as="generator")(calls)
    n_calls = len(cells) * len(args.seeds)
    found = list(tqdm(found, total=n_calls, leave=False, disable=None))
    areas = np.reshape(found, (len(args.settings), len(TESTS), len(args.seeds), 2))

    print(f"AttentionMILClassifier, seeds {args.seeds}: AUC in training / in the test (its range)")
    print(f"{'pooling':<21}" + "".join(f"{test:<35}" for test in TESTS).rstrip())
    for setting, row in zip(args.settings, areas, strict=True):
        line = f"{setting:<21}"
        for trained, tested in row.transpose(0, 2, 1):
            spread = f"({tested.min():.2f} to {tested.max():.2f})"
            line += f"{trained.mean():.2f} / {tested.mean():.2f} {spread} {verdict(tested):<8}"
        print(line.rstrip())


if __name__ == "__main__":
    main()
