"""
Red cells: which of them made the image positive?
=================================================

Told only which images of a blood smear show a target cell, voting finds the images, but points at
the right cells not much better than chance; the filter and self-training, which help elsewhere, do
not help here.

If the environment variable ``MILKIT_DATA`` names a folder with ``chula_rbc12.npz``, a bag is an
image of a smear, and an instance is a crop of one red cell [1]_. An image is positive if it shows a
target cell, named for its rings, and no model is told which cell that is. Otherwise the bags are
the simulated samples of :func:`milkit.datasets.make_blood_smear_cohort`, an instance is 16 numbers,
and some of it comes out differently.

.. [1] K. Naruenatthanaset et al., "Red blood cell segmentation with overlapping cell separation and
       classification on imbalanced dataset", 2020, arXiv:2012.01321.
"""

# %%
# Cells and slides
# ----------------
# The features of a crop are means over blocks of 4 × 4 pixels in each colour. The file does not say
# which images were taken from one slide, but they are neighbours in it and look alike. So 25 images
# in a row form a group, which no fold divides; only where two such runs meet may a slide still be
# cut. The last images, of elliptocytes, were taken with another setting of the microscope and are
# left out, because their background would give them away.
#
# In the simulated samples the groups are patients, and every disease is positive.

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, OneClassSVM

from milkit import (
    BagStatistics,
    InstanceVotingClassifier,
    OneClassInstanceFilter,
    SelfTrainingMILClassifier,
)
from milkit.base import split_by_bag
from milkit.datasets import load_bags, make_blood_smear_cohort
from milkit.inspection import score_instances
from milkit.metrics import instance_roc_auc_score, key_instance_hit_rate
from milkit.model_selection import GroupedSplit

folder = os.environ.get("MILKIT_DATA")
file = Path(folder or "") / "chula_rbc12.npz"
if folder and file.exists():
    cell = "target cell"
    bunch = load_bags(file)
    usual = np.flatnonzero(bunch.bag_labels_multi[:, 12] == 0)  # no elliptocyte
    images, y = bunch.data[usual].compact(), bunch.target[usual]
    images = images.with_columns(groups=usual // 25)
    pictures, _ = images.flat()  # (n_cells, 3, 24, 24)
    n, colours, height, width = pictures.shape
    blocks = pictures.reshape(n, colours, height // 4, 4, width // 4, 4)
    X = images.with_instances(blocks.mean(axis=(3, 5), dtype=np.float32).reshape(n, -1))
    witness = X.instance_data["label"] == 4  # target cells
    pictures = pictures.transpose(0, 2, 3, 1)
else:
    cell = "characteristic cell"
    print(f"MILKIT_DATA names no folder with {file.name}: simulated samples it is.")
    X, diagnosis = make_blood_smear_cohort(bag_scale=0.3, random_state=0, return_X_y=True)
    y = (diagnosis != "healthy").astype(int)
    witness = X.instance_data["label"] > 0
    pictures = X.flat()[0].reshape(-1, 4, 4)
X = X.with_columns(instance_data={"witness": witness.astype(int), "row": np.arange(len(witness))})
print(X)
print(f"{y.sum()} of {len(y)} bags are positive; one cell in {1 / witness.mean():.0f} is a {cell}")

# %%
# Three groups are put aside
# --------------------------
# Self-training gets all witnesses of three groups as seeds, and as many other cells of them. The
# three groups take no further part, neither in training nor in testing.

rng = np.random.default_rng(0)
aside = np.isin(X.groups, rng.choice(np.unique(X.groups[y == 1]), 3, replace=False))
cells, is_witness = X[aside].flat()[0], X[aside].instance_data["witness"] == 1
others = rng.choice(cells[~is_witness], is_witness.sum(), replace=False)
seeds = {"seed_X": np.vstack([cells[is_witness], others]), "seed_y": np.repeat([1, 0], len(others))}
X, y = X[~aside], y[~aside]
print(f"{len(others)} witnesses and as many other cells are seeds; {len(X)} bags are left")

# %%
# Five folds by group
# -------------------
# A positive bag shows many witnesses, so its cells vote by the mean of their probabilities.
#
# - *Number of cells*, and *mean and deviation* of their features, look at no single cell.
# - *Voting* teaches every cell the label of its bag, with a linear model or with trees.
# - *Filter, voting* drops the half of each bag that looks most like negative bags before that.
# - *Seeds alone* is the linear model fitted on the seeds, and on nothing else.
# - *Self-training* begins with outlying cells, or with the seeds.

trees = ExtraTreesClassifier(50, min_samples_leaf=5)
detector = make_pipeline(StandardScaler(), OneClassSVM(nu=0.02))
one_class = OneClassInstanceFilter(detector, max_samples=3000, random_state=0)
voting_of_trees = InstanceVotingClassifier(trees, voting="mean", random_state=0)
self_training = SelfTrainingMILClassifier(detector=detector, voting="mean", random_state=0)
models = {
    "number of cells": make_pipeline(BagStatistics(["size"]), StandardScaler(), SVC(C=3)),
    "mean and deviation": make_pipeline(BagStatistics(), StandardScaler(), SVC(C=3)),
    "voting, linear": InstanceVotingClassifier(voting="mean"),
    "voting, trees": voting_of_trees,
    "filter, voting, trees": make_pipeline(one_class, voting_of_trees),
    "seeds alone": InstanceVotingClassifier(voting="mean"),
    "self-training": self_training,
    "self-training, seeds": self_training,
}
rows, evidence, strangeness = [], [None] * len(X), []
cv = GroupedSplit(StratifiedGroupKFold(5, shuffle=True, random_state=100))
for fold, (train, test) in enumerate(cv.split(X, y)):
    true = split_by_bag(X[test].instance_data["witness"], X[test])
    for name, model in models.items():
        if name == "seeds alone":  # as bags of one instance each
            model = model.fit(seeds["seed_X"][:, None, :], seeds["seed_y"])
        else:
            extra = seeds if name == "self-training, seeds" else {}
            model = model.fit(X[train], y[train], **extra)
        row = {"model": name, "fold": fold}
        row["bag AUC"] = roc_auc_score(y[test], model.decision_function(X[test]))
        if name not in ("number of cells", "mean and deviation"):
            found = score_instances(model, X[test])
            row["cell AUC"] = instance_roc_auc_score(true, found)
            row["hit rate"] = key_instance_hit_rate(true, found)
        if name == "voting, trees":
            for bag, values in zip(test, found, strict=True):
                evidence[bag] = values
        if name == "filter, voting, trees":
            strangeness += model[0].score_instances(X[test])
        rows.append(row)

runs = pd.DataFrame(rows).set_index(["model", "fold"])
mean = runs.groupby("model", sort=False).mean()
deviation = runs.groupby("model", sort=False).std().loc[mean.index]
print("Mean and standard deviation over five folds\n")
table = mean.map("{:.2f}".format) + " ± " + deviation.map("{:.2f}".format)
print(table.where(mean.notna(), "").to_string())
labels = split_by_bag(X.instance_data["witness"], X)
at_random = np.mean([label.mean() for label in labels if label.any()])
print(f"\nHit rate of a cell drawn at random: {at_random:.2f}")
within = np.average([scores.var() for scores in strangeness], weights=[*map(len, strangeness)])
between = 1 - within / np.concatenate(strangeness).var()
print(f"{between:.0%} of the variance of the filter's scores lies between bags\n")


def compare(one, other):
    """Sentences on the differences of two models, fold by fold."""
    for measure in ("bag AUC", "cell AUC"):
        gain = (runs.loc[one] - runs.loc[other])[measure]
        print(
            f"{one} against {other}: {measure} {gain.mean():+.2f} ± {gain.std():.2f}, "
            f"better in {np.sum(gain > 0)} of {len(gain)} folds"
        )


compare("filter, voting, trees", "voting, trees")
compare("self-training, seeds", "seeds alone")
compare("self-training, seeds", "voting, linear")

# %%
# The picture
# -----------
# On the left the lines are standard deviations over folds. On the right is a row for each of six
# positive bags, taken at regular distances from all of them: the eight cells with the most
# evidence, from a model that has seen neither the image nor its group. A frame marks the true ones.

fig = plt.figure(figsize=(12, 4.8), layout="constrained")
left, right = fig.subfigures(1, 2, width_ratios=[5, 6])
ax = left.subplots()
places = np.arange(len(mean))
for measure, colour, marker, shift in [
    ("bag AUC", "#0072B2", "o", -0.14),
    ("cell AUC", "#D55E00", "s", 0.14),
]:
    ax.errorbar(
        mean[measure],
        places + shift,
        xerr=deviation[measure],
        fmt=marker,
        color=colour,
        capsize=3,
        label={"bag AUC": "held-out bags", "cell AUC": "cells within a positive bag"}[measure],
    )
ax.axvline(0.5, color="black", linestyle=":", linewidth=1)
ax.set_yticks(places, mean.index)
ax.invert_yaxis()
ax.set(xlabel="AUC (dotted: chance)", xlim=(None, 1))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)

large = np.flatnonzero((y == 1) & (X.sizes >= 8))
shown = large[np.linspace(0, len(large) - 1, 6).astype(int)]
right.suptitle(f"strongest cells of six bags (frame: {cell})")
for line, bag in zip(right.subplots(len(shown), 9), shown, strict=True):
    strongest = np.argsort(-evidence[bag])[:8]
    for ax, k in zip(line, strongest, strict=False):
        ax.imshow(pictures[X[bag : bag + 1].instance_data["row"][k]], "cividis", vmin=-3, vmax=4)
        ax.set(xticks=[], yticks=[])
        framed = labels[bag][k] == 1
        ax.spines[:].set(color="#D55E00" if framed else "none", linewidth=3)
    line[-1].axis("off")
    text = f"{labels[bag][strongest].sum()} of 8\n(all: {labels[bag].mean():.0%})"
    line[-1].text(0, 0.5, text, va="center", transform=line[-1].transAxes)
plt.show()

# %%
# What to take from it
# --------------------
# With the real cells the filter took the AUC of the cells from .65 to .53 and did nothing for the
# bags. Most of the variance of its scores lies between images: to a detector the stain and the
# light of a slide are strange, and not a target cell. On the simulated cells it helped, because by
# construction a characteristic cell is a shifted one. *Outlying is not relevant*, and no simulation
# can tell you whether it is.
#
# Self-training moved the cells that it was sure of and learned little that the seeds did not know:
# for real bags an AUC of .72 after .70 with the seeds alone. Seeds from three patients know at most
# three of the four simulated diseases, and the outlying start did better there.
#
# The mean and the deviation of the features were as good as anything for real bags, and better for
# simulated ones. But they say nothing of cells, and an AUC of .65 within an image is little. With
# such cells, better features than block means come before a better vote.
