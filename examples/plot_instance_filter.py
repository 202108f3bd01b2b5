"""
Does it help to drop what looks normal?
=======================================

Where witnesses are few and look like nothing in negative bags, a one-class filter lifts classifiers
that weigh all instances alike, and adds nothing to those that look for witnesses by themselves.

If the environment variable ``MILKIT_DATA`` names a folder with ``newsgroups_rec_sport_hockey.npz``,
the bags are posts to newsgroups, of which one in fifteen in a positive bag is about hockey.
Otherwise they are simulated, with a witness among about thirty instances. Both know the true labels
of instances. These are used to judge, and a few of them as seeds.

:doc:`/guide/instances` has a table of other bags, some of which the filter harms.
"""

# %%
# Bags, and a few that are put aside
# ----------------------------------
# Self-training can start from instances whose labels are known from elsewhere. Here they come from
# six bags of each class, all witnesses of the positive ones and as many instances of the negative
# ones. These twelve bags take no further part, neither in training nor in testing.

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit import (
    MISVM,
    BagStatistics,
    InstanceTransformer,
    InstanceVotingClassifier,
    OneClassInstanceFilter,
    SelfTrainingMILClassifier,
)
from milkit.base import split_by_bag
from milkit.datasets import load_bags, make_mil_classification
from milkit.metrics import make_instance_scorer

folder = os.environ.get("MILKIT_DATA")
file = Path(folder or "") / "newsgroups_rec_sport_hockey.npz"
if folder and file.exists():
    data = "posts to newsgroups"
    X, y = load_bags(file, return_X_y=True)
else:
    data = "simulated bags"
    print(f"MILKIT_DATA names no folder with {file.name}: simulated bags it is.")
    X, y = make_mil_classification(100, bag_size=(20, 60), witness_rate=0.03, random_state=0)

rng = np.random.default_rng(0)
aside = np.concatenate(
    [rng.choice(np.flatnonzero(y == label), 6, replace=False) for label in (0, 1)]
)
normal, mixed = X[aside[:6]], X[aside[6:]]
witnesses = mixed.flat()[0][mixed.instance_data["label"] == 1]
others = rng.choice(normal.flat()[0], len(witnesses), replace=False)
seeds = {"seed_X": np.vstack([witnesses, others]), "seed_y": np.repeat([1, 0], len(witnesses))}

rest = np.setdiff1d(np.arange(len(X)), aside)
X, y = X[rest], y[rest]
rate = X[y == 1].instance_data["label"].mean()
print(f"{data}: {X}")
print(
    f"{rate:.1%} of the instances of positive bags are witnesses; {len(witnesses)} more are seeds"
)

# %%
# The filter
# ----------
# A detector is fitted on the instances of negative bags, and what looks like all but the outermost
# tenth of them is dropped, from every bag alike. Some of each bag is kept in any case. The default
# detector, a one-class SVM, scales the features by itself, and so do the default classifiers of
# instances below. Hence no step in front changes the features, and seeds can be passed as they are.

one_class = OneClassInstanceFilter(keep="threshold", fraction=0.1)
cv = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=100)

# %%
# What the detector was fitted on looks too normal
# ------------------------------------------------
# In each fold the detector scores the bags that it was fitted on, and new ones. The threshold is
# zero here, and the filter learned it from scores of detectors that had not seen the bag: about a
# tenth of the *new* normal instances exceed it. Of those that the detector was fitted on fewer do,
# or none, and a threshold learned from them would lie too low. This is why ``fit_transform``, which
# a pipeline calls on the training bags, scores each bag by a detector that has not seen it.

scores = {"witness": [], "positive": [], "new": [], "fitted": []}
for train, test in cv.split(X, y):
    step = one_class.fit(X[train], y[train])
    for kind, rows in [
        ("fitted", train[y[train] == 0]),
        ("new", test[y[test] == 0]),
        ("positive", test[y[test] == 1]),
    ]:
        found = np.concatenate(step.score_instances(X[rows])) - step.threshold_
        label = X[rows].instance_data["label"]
        scores[kind].append(found[label == 0])
        if kind == "positive":
            scores["witness"].append(found[label == 1])
scores = {kind: np.concatenate(parts) for kind, parts in scores.items()}
beyond = {kind: np.mean(found > 0) for kind, found in scores.items()}
naive = np.mean(scores["new"] > np.quantile(scores["fitted"], 0.9))
print(f"Beyond the threshold: {beyond['witness']:.0%} of the witnesses,")
print(f"  {beyond['new']:.0%} of new normal instances, {beyond['fitted']:.0%} of those fitted on")
print(f"Beyond one learned from those fitted on: {naive:.0%} of new normal instances")

# %%
# Five classifiers, without and with the filter
# ---------------------------------------------
# Five folds, twice. The classifiers with evidence for instances are judged by it as well, on the
# held-out positive bags: the AUC of the instances of a bag, and how often the strongest instance is
# a witness. What the filter dropped ranks below all else.

bag_level = {"bag AUC": "roc_auc"}
both_levels = bag_level | {
    "instance AUC": make_instance_scorer("roc_auc"),
    "hit rate": make_instance_scorer("hit_rate"),
}
baseline = [BagStatistics(), StandardScaler(), LogisticRegression(C=0.1)]
self_training = SelfTrainingMILClassifier(random_state=0)
classifiers = {
    "mean and deviation": (baseline, bag_level, None),
    "voting": ([InstanceVotingClassifier(voting="mean")], both_levels, None),
    "MI-SVM": ([InstanceTransformer(StandardScaler()), MISVM()], both_levels, None),
    "self-training": ([self_training], both_levels, None),
    "self-training, seeds": (
        [self_training],
        both_levels,
        {f"selftrainingmilclassifier__{key}": value for key, value in seeds.items()},
    ),
}

runs = {}
for name, (steps, scoring, params) in classifiers.items():
    for first in ("passthrough", one_class):
        model = make_pipeline(first, *steps)
        result = cross_validate(model, X, y, cv=cv, scoring=scoring, params=params)
        runs[name, "no filter" if first == "passthrough" else "filter"] = pd.Series(
            {measure: result[f"test_{measure}"] for measure in scoring}
        )

table = pd.DataFrame(runs).T.map(
    lambda folds: "" if np.ndim(folds) == 0 else f"{np.mean(folds):.2f} ± {np.std(folds):.2f}"
)
print("\nMean and standard deviation over ten test folds\n")
print(table.to_string())
labels = split_by_bag(X[y == 1].instance_data["label"], X[y == 1])
at_random = np.mean([label.mean() for label in labels])
print(f"\nHit rate of an instance drawn at random: {at_random:.2f}")
for name in classifiers:
    gain = runs[name, "filter"]["bag AUC"] - runs[name, "no filter"]["bag AUC"]
    print(
        f"{name}: the filter adds {gain.mean():+.2f} ± {gain.std():.2f} to the bag AUC, "
        f"more than nothing in {np.sum(gain > 0)} of {len(gain)} folds"
    )

# %%
# The picture
# -----------
# On the left a box holds the middle half of the instances, and its whiskers nine in ten. On the
# right the lines are standard deviations over folds, and the dotted line is chance.

ROWS = {
    "witness": ("witnesses", "#D55E00"),
    "positive": ("other instances of\npositive bags", "#999999"),
    "new": ("normal instances,\nnew to the detector", "#56B4E9"),
    "fitted": ("normal instances,\nit was fitted on them", "#0072B2"),
}
fig, (left, right) = plt.subplots(
    1, 2, figsize=(12, 4.4), layout="constrained", width_ratios=[5, 6]
)
for row, (kind, (_, colour)) in enumerate(ROWS.items()):
    low, first, median, third, high = np.percentile(scores[kind], [5, 25, 50, 75, 95])
    left.hlines(row, low, high, "0.2")
    left.barh(row, third - first, 0.6, left=first, color=colour, edgecolor="0.2", zorder=2)
    left.vlines(median, row - 0.3, row + 0.3, "white", linewidth=2, zorder=3)
left.set_yticks(range(len(ROWS)), [label for label, _ in ROWS.values()])
left.axvline(0, color="black", linestyle="--", linewidth=1)
for text, side in [("dropped ← ", "right"), (" → kept", "left")]:
    left.text(0, 1.02, text, transform=left.get_xaxis_transform(), ha=side)
left.invert_yaxis()
left.set(xlabel="one-class score above the threshold (arbitrary units)")
for shift, what, colour in [(-0.2, "no filter", "#999999"), (0.2, "filter", "#E69F00")]:
    folds = [runs[name, what]["bag AUC"] for name in classifiers]
    right.bar(
        np.arange(len(classifiers)) + shift,
        np.mean(folds, axis=1),
        0.38,
        yerr=np.std(folds, axis=1),
        color=colour,
        error_kw={"capsize": 3, "elinewidth": 1, "ecolor": "0.2"},
        label=what,
    )
right.axhline(0.5, color="black", linestyle=":", linewidth=1)
right.set_xticks(range(len(classifiers)), [name.replace(" ", "\n", 1) for name in classifiers])
right.tick_params(axis="x", length=0)
right.set(ylim=(0, 1), ylabel="AUC of held-out bags")
right.set_title(data, loc="left")
right.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# What to take from it
# --------------------
# The filter lifts what weighs all instances alike: the mean of the votes, and the statistics of a
# bag. MI-SVM and self-training look for witnesses by themselves and gain little or nothing. The
# ranking of instances may suffer where that of bags gains, because a witness that was dropped ranks
# below everything that was kept.
#
# Seeds are no certain gain either. They help if the witnesses of all bags are alike, as the
# simulated ones are; seven posts on hockey do not say what the others are about.
#
# The classifier is told nothing more by a filter. What helps it is that *these* witnesses look like
# nothing in a negative bag. Cross-validate with and without, on the same folds, as here.
