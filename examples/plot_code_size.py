"""
How many numbers for a cell?
============================

An auto-encoder puts a cell into ``code_size`` numbers. The more there are, the better it draws the
cell again; whether bags are told better is another question, and cross-validation inside the
training data answers it.

A report on lymphocytes [1]_ tried 45, 60, 75, 100 and 125, and took 60. If the environment variable
``MILKIT_DATA`` names a folder with ``chula_rbc12.npz``, the same is tried here on real red cells
[2]_, otherwise on drawn ones.

.. [1] D. Iagaru and L. Durand-Janin, "Multi Instance Learning for Lymphocytosis classification",
       student report, 2024.
.. [2] K. Naruenatthanaset et al., "Red blood cell segmentation with overlapping cell separation and
       classification on imbalanced dataset", 2020, arXiv:2012.01321.
"""

# %%
# Bags, and a third of them kept for the end
# ------------------------------------------
# Groups are patients, or 25 neighbouring images of the file where patients are not known.

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from milkit import AttentionMILClassifier, InstanceTransformer
from milkit.datasets import load_bags, make_blood_smear_cohort
from milkit.image import ColorStatisticsMatcher, ConvAutoencoderFeatures
from milkit.model_selection import GroupedSplit

folder = os.environ.get("MILKIT_DATA")
file = Path(folder or "") / "chula_rbc12.npz"
if folder and file.exists():
    bunch = load_bags(file)
    usual = np.flatnonzero(bunch.bag_labels_multi[:, 12] == 0)  # another setting of the microscope
    X, y = bunch.data[usual].with_columns(groups=usual // 25), bunch.target[usual]
else:
    print(f"MILKIT_DATA names no folder with {file.name}: drawn samples it is.")
    bunch = make_blood_smear_cohort(bag_scale=0.035, crop_size=24, render=True, random_state=0)
    X, y = bunch.data, (bunch.target != "healthy").astype(int)
cv = GroupedSplit(StratifiedGroupKFold(3, shuffle=True, random_state=0))
train, test = next(cv.split(X, y))
print(X)
print(f"{len(train)} bags for training, {len(test)} for the end")

# %%
# A search
# --------
# Each candidate is a pipeline: the colours of a group are matched, an auto-encoder is trained, PCA
# keeps up to 45 directions, and a network with attention reads them. Three folds of the training
# data, by group. Beside the AUC of held-out bags the search records how much of held-out cells is
# drawn: the share of the variance of their pixels.


def share_drawn(model, X, y):
    cells = model[0].transform(X)
    again = model[1].reconstruct(cells).flat()[0].astype(np.float32)
    error = np.mean((again - cells.flat()[0]) ** 2)
    return 1 - error / cells.flat()[0].var(axis=(0, 2, 3)).mean()


model = make_pipeline(
    ColorStatisticsMatcher(per="group"),
    ConvAutoencoderFeatures(max_iter=3, random_state=0),
    InstanceTransformer(PCA(45)),
    AttentionMILClassifier(max_iter=30, random_state=0),
)
sizes = [45, 60, 75, 100, 125]
search = GridSearchCV(
    model,
    {"convautoencoderfeatures__code_size": sizes},
    scoring={"AUC": "roc_auc", "drawn": share_drawn},
    refit="AUC",
    cv=cv,
).fit(X[train], y[train])
columns = {
    f"{kind}_test_{what}": f"{what}, {kind}"
    for what in ("drawn", "AUC")
    for kind in ("mean", "std")
}
found = pd.DataFrame(search.cv_results_)[list(columns)].rename(columns=columns).set_axis(sizes)
print(found.round(3).to_string())
auc = roc_auc_score(y[test], search.decision_function(X[test]))
print(
    f"\nBest in the folds: {search.best_params_['convautoencoderfeatures__code_size']} numbers. "
    f"AUC of the {len(test)} bags kept for the end: {auc:.3f}"
)

# %%
# The picture
# -----------
# Lines are standard deviations over the three folds.

fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
titles = {"drawn": "variance of held-out pixels that is drawn", "AUC": "AUC of held-out bags"}
for ax, (what, title) in zip(axes, titles.items(), strict=True):
    mean, deviation = found[f"{what}, mean"], found[f"{what}, std"]
    ax.errorbar(sizes, mean, yerr=deviation, fmt="o-", color="#0072B2", capsize=4)
    ax.set(title=title, xlabel="code_size", xticks=sizes)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
