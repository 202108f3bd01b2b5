"""
A network that knows cells, as a step
=====================================

If some cells carry labels of their own, a network that was trained on them describes cells better
than one that learned without labels. :class:`milkit.image.ModuleFeatures` puts it into a pipeline
and keeps its features on disk.

If the environment variable ``MILKIT_DATA`` names a folder with ``chula_rbc12.npz``, the cells are
real red cells of thirteen types [1]_, and an image is positive if it shows a target cell. Otherwise
they are drawn, of five types, and positive are the samples of four diseases.

.. [1] K. Naruenatthanaset et al., "Red blood cell segmentation with overlapping cell separation and
       classification on imbalanced dataset", 2020, arXiv:2012.01321.
"""

# %%
# A third of the patients has annotated cells
# -------------------------------------------
# Nothing of these patients is used for anything else: a network that saw labelled cells of a test
# patient would know the answer, and no split behind it could mend that. Groups are patients, or 25
# neighbouring images of the file where patients are not known.

import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn

from milkit import AttentionMILClassifier, InstanceTransformer
from milkit.datasets import load_bags, make_blood_smear_cohort
from milkit.image import ColorStatisticsMatcher, ConvAutoencoderFeatures, ModuleFeatures
from milkit.model_selection import GroupedSplit

folder = os.environ.get("MILKIT_DATA")
file = Path(folder or "") / "chula_rbc12.npz"
if folder and file.exists():
    bunch = load_bags(file)
    usual = np.flatnonzero(bunch.bag_labels_multi[:, 12] == 0)  # another setting of the microscope
    X, y = bunch.data[usual].with_columns(groups=usual // 25), bunch.target[usual]
    names = np.array([str(name) for name in bunch.class_names])
else:
    print(f"MILKIT_DATA names no folder with {file.name}: drawn samples it is.")
    bunch = make_blood_smear_cohort(bag_scale=0.08, crop_size=24, render=True, random_state=0)
    X, y = bunch.data, (bunch.target != "healthy").astype(int)
    names = np.array(["ordinary", *bunch.cell_names])
split = GroupedSplit(StratifiedGroupKFold(3, shuffle=True, random_state=1))
others, annotated = next(split.split(X, y))
matcher = ColorStatisticsMatcher(per="group").fit(X[annotated])
annotated, X, y = matcher.transform(X[annotated]), matcher.transform(X[others]), y[others]
print(f"Annotated: {annotated}\nThe others: {X}")

# %%
# A network for types of cells
# ----------------------------
# Plain PyTorch: three blocks of convolutions and a layer of 64 numbers, the trunk, and one layer
# more that says the type. In training the cells are turned and mirrored at random.

torch.manual_seed(0)


def block(n_in, n_out):
    return [
        nn.Conv2d(n_in, n_out, 3, padding=1),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]


def make_trunk():
    layers = [*block(3, 24), *block(24, 48), *block(48, 48), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(48 * 3 * 3, 64), nn.ReLU())


def normalised(x):
    return (x - 0.75) / 0.15


cells = torch.from_numpy(annotated.flat()[0]) / 255
types = torch.from_numpy(annotated.instance_data["label"])
trunk = make_trunk()
network = nn.Sequential(trunk, nn.Linear(64, len(names))).train()
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
for _ in range(10):
    for some in torch.randperm(len(cells)).split(64):
        x = torch.rot90(normalised(cells[some]), int(torch.randint(4, ())), (2, 3))
        if torch.rand(()) < 0.5:
            x = x.flip(3)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), types[some]).backward()
        optimizer.step()
network.eval()
with torch.inference_mode():
    guessed = network(normalised(torch.from_numpy(X.flat()[0]) / 255)).argmax(1).numpy()
right = balanced_accuracy_score(X.instance_data["label"], guessed)
by_chance = 1 / len(names)
print(f"Cells of other patients: balanced accuracy {right:.2f}, at random {by_chance:.2f}")

# %%
# Its last layer in a pipeline
# ----------------------------
# Three descriptions of the cells, each with PCA and attention behind, on the same folds by group:
# an auto-encoder, trained without labels in each fold; the trunk with weights drawn at random; and
# the trained trunk. The features of a trunk are kept in a folder, and the second run reads them.


def behind(features):
    pca = InstanceTransformer(PCA(30))
    return make_pipeline(features, pca, AttentionMILClassifier(max_iter=30, random_state=0))


cache = tempfile.TemporaryDirectory()
drawn_at_random = make_trunk()
features = {
    "auto-encoder": ConvAutoencoderFeatures(60, max_iter=5, random_state=0),
    "network, weights at random": ModuleFeatures(drawn_at_random, normalised, cache_dir=cache.name),
    "network, labelled cells": ModuleFeatures(trunk, normalised, cache_dir=cache.name),
}
cv = GroupedSplit(StratifiedGroupKFold(3, shuffle=True, random_state=0))
scores = {}
for name, step in features.items():
    scores[name] = cross_val_score(behind(step), X, y, cv=cv, scoring="roc_auc")
    print(f"{name:<28}AUC {scores[name].mean():.3f} ± {scores[name].std():.3f}")
for title, folder in [("computed", tempfile.TemporaryDirectory()), ("from the folder", cache)]:
    start = time.perf_counter()
    step = ModuleFeatures(trunk, normalised, cache_dir=folder.name)
    codes = step.fit_transform(X)
    seconds = time.perf_counter() - start
    print(f"Features of {X.n_instances} cells, {title}: {seconds:.2f} s")
cache.cleanup()

# %%
# The picture
# -----------
# On the left the AUC of each fold. On the right the cells of the other patients, which the network
# never saw, in the two main directions of its last layer.

fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for place, values in enumerate(scores.values()):
    left.plot(values, np.full(3, place), "o", color="#0072B2", alpha=0.6)
    left.plot(values.mean(), place, "|", color="black", markersize=22)
left.set_yticks(range(3), list(scores))
left.set(xlabel="AUC of held-out bags (bar: mean)", ylim=(2.5, -0.5))
left.spines[["top", "right"]].set_visible(False)
flat, true = PCA(2).fit_transform(codes.flat()[0]), X.instance_data["label"]
order = np.random.default_rng(0).permutation(len(true))[:2500]
common = [label for label, _ in Counter(true.tolist()).most_common(5)]
colours = ["#999999", "#D55E00", "#0072B2", "#009E73", "#CC79A7"]
for label, colour in zip(common, colours, strict=True):
    some = order[true[order] == label]
    right.scatter(*flat[some].T, s=6, color=colour, label=names[label])
right.legend(markerscale=3, frameon=False, loc="best")
right.set(xticks=[], yticks=[], xlabel="main directions of the last layer")
plt.show()
