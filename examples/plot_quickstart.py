"""
Quickstart: which digits make a bag positive?
=============================================

A laboratory has one label for each sample and many cells in it, several samples from each
scanner, and nobody knows which cell carries the label. Handwritten digits stand in for cells
here: a bag of digits is positive if it contains a nine. Every digit is used once, the bags come
from "scanners" whose brightness and contrast differ, and bags of one scanner are never on both
sides of a split.

Three models are cross-validated with scikit-learn's own tools, and the digit with the highest
evidence in each positive bag shows what each of them looks at. Nobody told them which digit is a
nine.

Run it from a shell as ``python examples/plot_quickstart.py --figure quickstart.png``, or on bags
of your own with ``--data FILE.npz`` (the layout is that of :func:`milkit.datasets.load_bags`).
"""

# %%
# The bags
# --------
# ``X`` is a list-like of bags, each of shape (n_instances, n_features); ``y`` has one label for
# each bag. The group of each bag travels inside ``X``.

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedGroupKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from milkit import MISVM, AttentionMILClassifier, BagStatistics, InstanceTransformer
from milkit.datasets import load_bags, load_digit_bags
from milkit.inspection import score_instances
from milkit.metrics import cross_val_interval
from milkit.model_selection import GroupedSplit

parser = argparse.ArgumentParser(description="Cross-validate milkit on real bags.")
parser.add_argument("--data", type=Path, help="an npz file of bags instead of the digits")
parser.add_argument("--figure", type=Path, help="where to write the figure")
parser.add_argument("--folds", type=int, default=5, help="folds of the cross-validation")
args = parser.parse_args()

data = load_bags(args.data) if args.data else load_digit_bags(random_state=0)
X, y = data.data, data.target
# Bags without groups are their own groups: the same code then splits bag by bag.
groups = X.groups if X.groups is not None else np.arange(len(X))
X = X.with_columns(groups=groups)
print(X)
print(f"{np.bincount(y).tolist()} bags of each class, {len(np.unique(groups))} groups\n")

# %%
# The models
# ----------
# The scaler is fitted on the instances of the training bags of each fold. ``BagStatistics`` in
# front of a logistic regression is the plain baseline that everything else has to beat. The last
# row chooses C by an inner search, which splits by group as well: ``GroupedSplit`` reads the
# groups from ``X``, where a plain splitter would not get them.


def scaled(*steps):
    return make_pipeline(InstanceTransformer(StandardScaler(), flatten=True), *steps)


attention = scaled(AttentionMILClassifier(random_state=0))
baseline = scaled(BagStatistics(), StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
misvm = scaled(MISVM())
inner = GroupedSplit(StratifiedGroupKFold(3, shuffle=True, random_state=0))
models = {
    "mean and std, logistic regression": baseline,
    "AttentionMILClassifier": attention,
    "MISVM": misvm,
    "MISVM, C by inner search": GridSearchCV(misvm, {"misvm__C": [0.3, 3, 30]}, cv=inner),
}

# %%
# Cross-validation by group
# -------------------------
# ``StratifiedGroupKFold`` keeps scanners whole and classes balanced. The interval is a bootstrap
# over groups of what the folds predicted.

outer = StratifiedGroupKFold(args.folds, shuffle=True, random_state=100)
scoring = ("accuracy", "roc_auc")
rows, fitted = {}, {}
for name in (progress := tqdm(models, desc="Cross-validating")):
    progress.set_postfix_str(name)
    start = time.perf_counter()
    result = cross_validate(
        models[name], X, y, groups=groups, cv=outer, return_estimator=True, return_indices=True
    )
    table = cross_val_interval(result, X, y, scoring=scoring, groups=groups, random_state=0)
    rows[name] = {
        measure: f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"
        for measure, row in table.iterrows()
    }
    rows[name]["seconds"] = f"{time.perf_counter() - start:.1f}"
    fitted[name] = list(zip(result["estimator"], result["indices"]["test"], strict=True))

print(f"\n{args.folds}-fold cross-validation by group, value and 95 % bootstrap interval\n")
print(pd.DataFrame(rows).T.to_string())

# %%
# ``cross_val_score`` is all one needs for a single number.

scores = cross_val_score(baseline, X, y, groups=groups, cv=outer)
print(f"\ncross_val_score of the baseline: {scores.mean():.3f} +- {scores.std():.3f} over folds")

# %%
# What the models look at
# -----------------------
# The evidence of each instance is taken from the model that did *not* see its bag. A green frame
# marks a true witness, a red one another instance.


def evidence_by_bag(parts):
    """Evidence for the positive class of each instance, from the fold that left its bag out."""
    evidence = [None] * len(X)
    for estimator, test in parts:
        for i, values in zip(test, score_instances(estimator, X[test]), strict=True):
            evidence[i] = values if values.ndim == 1 else values[:, int(y[i])]
    return evidence


lookers = {
    name: evidence_by_bag(parts)
    for name, parts in fitted.items()
    if name in ("AttentionMILClassifier", "MISVM")
}
positive = np.flatnonzero(y > 0)
labels = X.instance_data.get("label")
witnesses = None
if labels is not None and np.all(np.isin(labels, (0, 1))):
    witnesses = np.split(labels == 1, np.cumsum(X.sizes)[:-1])
    chance = np.mean([witnesses[i].mean() for i in positive])
    for name, evidence in lookers.items():
        hits = np.mean([witnesses[i][evidence[i].argmax()] for i in positive])
        print(f"{name}: a true witness in {hits:.0%} of positive bags (at random {chance:.0%})")

# %%
# Bags of pictures show the pictures; other bags show the evidence of all their instances.

FRAME = {True: "tab:green", False: "tab:red", None: "tab:gray"}
image_shape = data.get("image_shape", X.instance_shape)


def show_pictures(axes, evidence, bags):
    for ax, i in zip(axes, bags, strict=True):
        top = evidence[i].argmax()
        picture = X[int(i)][top].reshape(image_shape)
        if picture.ndim == 3:
            picture = np.moveaxis(picture, 0, -1).squeeze()
        ax.imshow(picture, cmap="gray_r")
        ax.set(xticks=[], yticks=[])
        is_witness = None if witnesses is None else bool(witnesses[i][top])
        for spine in ax.spines.values():
            spine.set(color=FRAME[is_witness], linewidth=3)


def show_evidence(ax, evidence, bags):
    for column, i in enumerate(bags):
        values = np.sort(evidence[i])
        ax.plot(np.full(len(values), column), values, "o", color="tab:gray", alpha=0.5, ms=4)
        ax.plot(column, values[-1], "o", color="tab:orange", ms=6)
    ax.set(xticks=[], ylabel="evidence")
    ax.axhline(0, color="black", linewidth=0.5)


shown = positive[np.linspace(0, len(positive) - 1, min(14, len(positive))).astype(int)]
if len(image_shape) > 1:
    fig = plt.figure(figsize=(0.7 * len(shown), 0.4 + 1.1 * len(lookers)), layout="constrained")
    rows_of_pictures = fig.subfigures(len(lookers), 1, squeeze=False)[:, 0]
    for row, (name, evidence) in zip(rows_of_pictures, lookers.items(), strict=True):
        show_pictures(row.subplots(1, len(shown), squeeze=False)[0], evidence, shown)
        row.suptitle(name, x=0.005, ha="left", size=9)
    frames = "" if witnesses is None else "; green: a true witness, red: another instance"
    fig.suptitle(f"The strongest instance of each positive bag{frames}", size=10)
else:
    fig, grid = plt.subplots(
        len(lookers), 1, figsize=(9, 2.2 * len(lookers)), squeeze=False, layout="constrained"
    )
    for ax, (name, evidence) in zip(grid[:, 0], lookers.items(), strict=True):
        show_evidence(ax, evidence, shown)
        ax.set_title(f"{name}: instances of positive bags, the strongest in orange", size=9)
if args.figure:
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(args.figure, dpi=150)
    print(f"\nFigure: {args.figure}")
