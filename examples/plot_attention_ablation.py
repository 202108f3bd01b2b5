"""
What do attention and the auxiliary branch bring?
=================================================

A blood sample has one diagnosis and hundreds of cells. Sadafi et al. (2020, arXiv:2007.11641) tell
five diagnoses apart with four networks, each with one part more than the one before:

- **SIC**: a classifier of single instances. Every cell is taught the diagnosis of its sample, and
  the cells of a new sample vote.
- **MIL + max**: the cells' embeddings are pooled by their maximum, and the sample is classified.
- **MIL + max + SIC**: with an auxiliary branch that classifies single cells, as above, in the
  first epochs.
- **MIL + attention + SIC**: the same with attention instead of the maximum.

This example does the same on a simulated cohort of the same structure. Numbers of the paper are for
its own cells and cannot be compared with the ones here. :doc:`/guide/attention` says more on every
part.

The page takes a tenth of the cells and trains 12 epochs with a larger learning rate, to be quick.
``python plot_attention_ablation.py --paper`` takes three times as many and the settings of the
paper, and needs a quarter of an hour.
"""

# %%
# The cohort
# ----------
# 351 samples of 59 patients with the numbers of the paper. One cell in five of a diseased sample is
# a characteristic one, and the cells of a patient have a shift in common.

import argparse

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit import AttentionMILClassifier, InstanceTransformer, InstanceVotingClassifier
from milkit.datasets import make_blood_smear_cohort
from milkit.model_selection import GroupedSplit

parser = argparse.ArgumentParser()
parser.add_argument("--paper", action="store_true", help="settings of the paper, more cells")
paper = parser.parse_args().paper

X, y = make_blood_smear_cohort(
    "red_cell", bag_scale=0.3 if paper else 0.1, random_state=0, return_X_y=True
)
classes, counts = np.unique(y, return_counts=True)
print(X)
print(*(f"{name} {count}" for name, count in zip(classes, counts, strict=True)), sep=", ")

# %%
# The four networks
# -----------------
# AMSGrad, a weight decay of 1e-5, a dropout of 0.1, and an end when the loss of the samples has
# been below 0.005 for five epochs are the paper's. In epoch E the branch has the share β^E in the
# loss: all of it in the first epoch, half in the second, next to nothing after ten. β = 0.5 is the
# paper's, too.

shared = {"solver": "amsgrad", "weight_decay": 1e-5, "loss_target": 0.005, "n_iter_no_change": 5}
shared |= {"dropout": 0.1, "batch_size": 16}
if paper:
    shared |= {"learning_rate_init": 5e-4, "max_iter": 150}
else:
    shared |= {"learning_rate_init": 3e-3, "max_iter": 12}

# SIC counts every sample the same, however many cells it has, and makes as many optimiser steps in
# an epoch as the others: 16 samples are that many cells.
n_cells = int(16 * X.sizes.mean())
of_single_cells = AttentionMILClassifier(pooling="mean", **{**shared, "batch_size": n_cells})
networks = {
    "SIC": InstanceVotingClassifier(of_single_cells),
    "MIL + max": AttentionMILClassifier(pooling="max", **shared),
    "MIL + max + SIC": AttentionMILClassifier(pooling="max", auxiliary_decay=0.5, **shared),
    "MIL + attention + SIC": AttentionMILClassifier(auxiliary_decay=0.5, **shared),
}

# %%
# Three folds by patient, five runs
# ---------------------------------
# Patients are kept whole and classes spread evenly over the folds. Each run has folds and initial
# weights of its own. The scaler is a step of the pipeline and is fitted inside the fold.


def scores(model, X, y):
    """The measures of the paper on one test fold."""
    predicted, probability = model.predict(X), model.predict_proba(X)
    measures = {
        "accuracy": accuracy_score(y, predicted),
        "macro F1": f1_score(y, predicted, average="macro"),
        "weighted F1": f1_score(y, predicted, average="weighted"),
        "mean AUROC": roc_auc_score(y, probability, multi_class="ovr", labels=model.classes_),
    }
    for k, name in enumerate(model.classes_):
        measures[name] = average_precision_score(y == name, probability[:, k])
    return measures


rows = []
splits = GroupedSplit(3, n_repeats=5, random_state=0).split(X, y)
for number, (train, test) in enumerate(splits):
    for name, network in networks.items():
        model = make_pipeline(InstanceTransformer(StandardScaler()), clone(network))
        model[-1].set_params(random_state=number)
        model.fit(X[train], y[train])
        rows.append({"network": name, "run": number // 3, **scores(model, X[test], y[test])})

runs = pd.DataFrame(rows).groupby(["network", "run"], sort=False).mean()
mean, deviation = runs.groupby("network", sort=False).mean(), runs.groupby("network").std()
deviation = deviation.loc[mean.index]
table = mean.map("{:.2f}".format) + " ± " + deviation.map("{:.2f}".format)
measures = ["accuracy", "macro F1", "weighted F1", "mean AUROC"]
print("Mean of three folds, ± standard deviation over five runs\n")
print(table[measures].to_string())
print("\nArea under the precision-recall curve of each class, one against the rest\n")
print(table[list(classes)].to_string())

# %%
# The figure shows both tables. A dotted line is what a guess reaches: the share of the largest
# class for the accuracy, 0.5 for the AUROC, and the share of the class for the areas on the right.

COLOURS = ["#999999", "#56B4E9", "#0072B2", "#D55E00"]  # told apart by colour-blind readers as well
guesses = {"accuracy": counts.max() / len(y), "mean AUROC": 0.5}
guesses |= dict(zip(classes, counts / len(y), strict=True))
width = 0.8 / len(networks)

fig, axes = plt.subplots(
    1, 2, figsize=(12, 4.8), layout="constrained", sharey=True, width_ratios=[4, 5]
)
for ax, columns in zip(axes, (measures, list(classes)), strict=True):
    places = np.arange(len(columns))
    for k, name in enumerate(networks):
        ax.bar(
            places + (k - 1.5) * width,
            mean.loc[name, columns],
            width,
            yerr=deviation.loc[name, columns],
            color=COLOURS[k],
            error_kw={"capsize": 3, "elinewidth": 1, "ecolor": "0.2"},
            label=name,
        )
    for place, column in enumerate(columns):
        if column in guesses:
            ax.hlines(guesses[column], place - 0.45, place + 0.45, "black", "dotted")
    ax.set_xticks(places, [column.replace("_", "\n") for column in columns])
    ax.tick_params(axis="x", length=0)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set(ylim=(0, 1), title="All classes", ylabel="mean and deviation over five runs")
axes[1].set_title("Area under the precision-recall curve of each class")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
plt.show()

# %%
# What came out
# -------------
# The networks had the same folds, so that runs can be compared one by one.


def compare(better, worse, what, measure="weighted F1"):
    """A sentence on the difference of two networks."""
    difference = (runs.loc[better] - runs.loc[worse])[measure]
    print(
        f"{what}: {measure} {difference.mean():+.2f} ± {difference.std():.2f}, "
        f"better in {np.sum(difference > 0)} of {len(difference)} runs"
    )


compare("MIL + max", "SIC", "Bags instead of single cells")
compare("MIL + max + SIC", "MIL + max", "The auxiliary branch")
compare("MIL + attention + SIC", "MIL + max + SIC", "Attention instead of the maximum")
best = mean["weighted F1"].idxmax()
print(f"The largest weighted F1 has {best}: {table.loc[best, 'weighted F1']}")
