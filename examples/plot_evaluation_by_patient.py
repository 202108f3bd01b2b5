"""
Evaluation by patient: what random folds promise
================================================

Several blood samples come from each patient, and all cells of a patient look a little alike: the
stain, the age, the scanner. If samples of one patient lie on both sides of a split, a model can
recognise the *patient* and need not see the *disease*. Its score is then a promise that no new
patient will keep.

This example cross-validates one plain model twice, with random folds and with folds that keep
patients whole, and then once more on diagnoses that were dealt out by lot. Only one of the two
ways of splitting notices that there is nothing left to learn.

Set the environment variable ``MILKIT_DATA`` to a folder with ``parkinsons_telemonitoring.npz``
(see :func:`milkit.datasets.save_bags` and
:func:`milkit.datasets.fetch_parkinsons_telemonitoring`) to see the same on real voices.
"""

# %%
# Patients, samples, cells
# ------------------------
# The cohort is simulated. A bag is a blood sample, an instance a cell, and the group of a bag is
# its patient. One cell in five of a diseased sample looks diseased. The groups travel inside ``X``.

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from milkit import BagStatistics
from milkit.datasets import load_bags, make_blood_smear_cohort
from milkit.metrics import cross_val_interval

X, diagnosis = make_blood_smear_cohort(bag_scale=0.3, random_state=0, return_X_y=True)
y = (diagnosis != "healthy").astype(int)
patients, patient = np.unique(X.groups, return_inverse=True)
print(X)
print(f"{len(patients)} patients, {y.mean():.0%} of the samples are of diseased ones")

# %%
# The same patients with diagnoses dealt out by lot: every patient keeps one diagnosis for all
# samples, but it has nothing to do with the cells.

rng = np.random.default_rng(0)
diseased = y[np.unique(patient, return_index=True)[1]]
y_by_lot = rng.permutation(diseased)[patient]
tasks = {"Blood smears": (X, y), "Blood smears, diagnoses by lot": (X, y_by_lot)}

# %%
# Real data, if they are at hand: voice recordings of 42 people with Parkinson's disease, where a
# bag is one day of one person. Are the symptoms of that day worse than the median?

folder = os.environ.get("MILKIT_DATA")
file = Path(folder or "") / "parkinsons_telemonitoring.npz"
if folder and file.exists():
    tasks["Parkinson's voices"] = load_bags(file, return_X_y=True)
elif folder:
    print(f"Parkinson's voices are left out: {file.name} is not in the folder MILKIT_DATA.")
else:
    print("Parkinson's voices are left out: the environment variable MILKIT_DATA is not set.")

# %%
# Two ways of splitting
# ---------------------
# The model is the plain baseline: mean and standard deviation of each feature over the bag, scaled
# inside the fold, then a support vector machine. ``StratifiedKFold`` does not know patients;
# ``StratifiedGroupKFold`` keeps them whole. Both are given the same model and the same bags. The
# intervals are bootstrapped over patients.

model = make_pipeline(BagStatistics(["mean", "std"]), StandardScaler(), SVC(C=3))
splitters = {
    "random folds": StratifiedKFold(10, shuffle=True, random_state=0),
    "patients kept whole": StratifiedGroupKFold(10, shuffle=True, random_state=0),
}
rows = []
for task, (bags, labels) in tasks.items():
    for name, cv in splitters.items():
        groups = None if name == "random folds" else bags.groups
        result = cross_validate(
            model, bags, labels, groups=groups, cv=cv, return_estimator=True, return_indices=True
        )
        table = cross_val_interval(result, bags, labels, scoring="accuracy", random_state=0)
        majority = max(np.mean(labels), 1 - np.mean(labels))
        rows.append({"task": task, "folds": name, **table.loc["accuracy"], "majority": majority})

scores = pd.DataFrame(rows).drop(columns=["n_undefined", "n_units"])
print("\nAccuracy with its 95 % interval; the last column is what guessing the majority gives\n")
print(scores.round(2).to_string(index=False))

# %%
# Random folds promise a good model even where the diagnoses were dealt out by lot and there is
# *nothing* to learn about the disease. Only the folds that keep patients whole come down to
# guessing.
#
# Why
# ---
# On the left, every point is one sample: the mean of its cells, in the plane where samples differ
# most. The samples of one patient lie close together, so the nearest neighbour of a held-out sample
# is often another sample of the same patient, with the right answer attached.

means = PCA(2, random_state=0).fit_transform(BagStatistics(["mean"]).fit_transform(X))
shown = np.argsort(np.bincount(patient))[-7:]

fig, (ax, ax_scores) = plt.subplots(
    1, 2, figsize=(11, 2.6 + 0.6 * len(tasks)), layout="constrained", width_ratios=[1, 1.25]
)
others = ~np.isin(patient, shown)
ax.scatter(*means[others].T, s=10, color="0.87")
for number, code in enumerate(shown):
    own = patient == code
    ax.scatter(*means[own].T, s=26, color=f"C{number}", edgecolor="white", linewidth=0.5)
ax.set(
    xlabel="first principal component",
    ylabel="second principal component",
    title="Samples: seven patients in colour, the others grey",
)

COLOUR = {"random folds": "tab:red", "patients kept whole": "tab:blue"}
for row, task in enumerate(tasks):
    here = scores[scores["task"] == task].set_index("folds")
    height = len(tasks) - 1 - row
    ax_scores.vlines(
        here["majority"].iloc[0],
        height - 0.32,
        height + 0.32,
        color="0.5",
        linestyle=":",
        label="guessing the majority" if row == 0 else None,
    )
    for name, shift in (("random folds", 0.14), ("patients kept whole", -0.14)):
        value, low, high = here.loc[name, ["value", "low", "high"]]
        ax_scores.errorbar(
            value,
            height + shift,
            xerr=[[value - low], [high - value]],
            fmt="o",
            ms=7,
            capsize=3,
            color=COLOUR[name],
            label=name if row == 0 else None,
        )
        ax_scores.annotate(
            f"{value:.2f}",
            (value, height + shift),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            size=9,
            color=COLOUR[name],
        )
ax_scores.set(
    xlim=(0.3, 1.0),
    ylim=(-0.6, len(tasks) - 0.3),
    yticks=range(len(tasks)),
    yticklabels=[task.replace(", ", ",\n") for task in reversed(tasks)],
    xlabel="accuracy, with 95 % interval over patients",
    title="The same model, split in two ways",
)
ax_scores.spines[["top", "right"]].set_visible(False)
ax.spines[["top", "right"]].set_visible(False)
ax_scores.legend(loc="upper center", bbox_to_anchor=(0.4, -0.17), ncols=3, frameon=False)
plt.show()
