"""
Looking before trusting: four displays of one model
===================================================

A model that tells blood diseases apart is judged by its curves, and then by its cells: which of
them it went by in one sample, where they lie on the smear, and what the strongest of each disease
look like. Each of these is one line of code.

The smears are drawn by :func:`milkit.datasets.make_blood_smear_cohort`, so that it is known which
cells are characteristic. The model is told only the diagnosis of each sample.
"""

# %%
# Samples and a model
# -------------------
# A cell is described by its colours in rings around its middle: quick to compute, and the same
# however the cell is turned. A network on the pixels would do as well; all that follows reaches
# through any pipeline. The patients of the test samples are not among those of the training.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit import AttentionMILClassifier, InstanceTransformer
from milkit.datasets import make_blood_smear_cohort
from milkit.inspection import (
    AttentionMapDisplay,
    BoxOverlayDisplay,
    InstanceScoreDisplay,
    TopInstancesDisplay,
)
from milkit.model_selection import grouped_train_test_split

cohort = make_blood_smear_cohort(
    scale=0.3, bag_scale=0.5, class_sep=1.5, render=True, random_state=0
)


def rings(cells, n_rings=8):
    """Mean and deviation of each colour in rings around the middle."""
    size = cells.shape[-1]
    row, column = np.mgrid[:size, :size] - (size - 1) / 2
    ring = np.minimum(np.hypot(row, column) * 2 * n_rings / size, n_rings - 1).astype(int)
    parts = [cells[:, :, ring == k].astype(np.float32) / 255 for k in range(n_rings)]
    return np.concatenate([f(part, axis=2) for part in parts for f in (np.mean, np.std)], axis=1)


crops, _ = cohort.data.flat()
X = cohort.data.map(rings)
X = X.with_columns(instance_data={**X.instance_data, "crop": crops})  # the displays show them
X_train, X_test, y_train, y_test = grouped_train_test_split(
    X, cohort.target, test_size=0.4, random_state=0
)
model = make_pipeline(InstanceTransformer(StandardScaler()), AttentionMILClassifier(random_state=0))
model.fit(X_train, y_train)
print(X_train)
print(f"Accuracy on {len(X_test)} samples of new patients: {model.score(X_test, y_test):.2f}")

# %%
# Curves first
# ------------
# Labels of bags are ordinary labels, so scikit-learn's own displays draw the curves: one for each
# class against all others. Thalassemia has three samples here, so a single one is a large step.

probability = model.predict_proba(X_test)
fig, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
for display, ax in zip((RocCurveDisplay, PrecisionRecallDisplay), axes, strict=True):
    for label, column in zip(model.classes_, probability.T, strict=True):
        display.from_predictions(y_test == label, column, name=label, ax=ax)
    ax.legend(fontsize="small", loc="lower right" if ax is axes[0] else "lower left")
    ax.set(xlabel=ax.get_xlabel().split(" (")[0], ylabel=ax.get_ylabel().split(" (")[0])
axes[0].set_title("ROC, each class against all others")
axes[1].set_title("Precision and recall, each class against all others")
plt.show()

# %%
# One sample: do few cells decide, or all a little?
# -------------------------------------------------
# A sample of sickle cell disease. On the left, the evidence of its cells for the class that the
# model predicts: a few speak for it, most say nothing. On the right, the attention that the same
# cells get. The dashed line is what each would have if all were equal.

sample = str(X_test.names[np.flatnonzero(y_test == "sickle_cell")[0]])
(predicted,) = model.predict(X_test[X_test.names == sample])
print(f"{sample}: predicted {predicted}, true sickle_cell")
fig, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
options = {"index": sample, "witness": "label"}
InstanceScoreDisplay.from_estimator(model, X_test, class_label=predicted, ax=axes[0], **options)
InstanceScoreDisplay.from_estimator(model, X_test, kind="attention", ax=axes[1], **options)
plt.show()

# %%
# On the smear
# ------------
# The image of this sample on which the strongest cell lies. Attention is scaled within the sample,
# as in the literature; the colour bar keeps the raw weights. It says where the model looked.
# Evidence says what it saw there: red boxes speak for the class, blue ones against it.

fig, axes = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
attention = BoxOverlayDisplay.from_estimator(model, X_test, cohort.images, index=sample, ax=axes[0])
BoxOverlayDisplay.from_estimator(
    model,
    X_test,
    cohort.images,
    index=sample,
    image=attention.image_index_,
    kind="evidence",
    class_label=predicted,
    ax=axes[1],
)
plt.show()

# %%
# The whole sample at once
# ------------------------
# All images of the sample, put beside each other like the fields of a slide. A point is a cell.
# Instances that lie on a regular grid, as the patches of a slide do, would become a heat map.

bag = X_test[X_test.names == sample]
numbers = np.unique(bag.instance_data["image"])
side = max(max(cohort.images[k].shape[:2]) for k in numbers)
n_across = 4
slide = np.full((side * -(-len(numbers) // n_across), side * n_across, 3), 255, dtype=np.uint8)
corner = {}
for place, k in enumerate(numbers):
    row, column = side * (place // n_across), side * (place % n_across)
    height, width, _ = cohort.images[k].shape
    slide[row : row + height, column : column + width] = cohort.images[k]
    corner[k] = row, column
shift = np.array([corner[k] * 2 for k in bag.instance_data["image"]])
AttentionMapDisplay.from_estimator(
    model,
    bag,
    coordinates=bag.instance_data["box"] + shift,
    background=slide,
    alpha=1,
    ax=plt.subplots(figsize=(11, 4.8), layout="compressed")[1],
)
plt.show()

# %%
# The strongest cells of each disease
# -----------------------------------
# Over all test samples, not more than two cells of a sample and three of a patient. A frame marks
# the cells that are characteristic of a disease, which the model was not told. Where the sample has
# another diagnosis than the row, it stands beneath in red.
#
# Read a row from the left. Slits, sickles and small dense cells come first where they should, and
# evidence falls fast where they end. The row of thalassemia begins with pale cells of healthy
# samples: the cohort has three patients with this disease, too few to learn it from, and its curves
# above are the worst. A doctor would see in a moment that this part of the model cannot be trusted.

TopInstancesDisplay.from_estimator(
    model, X_test, y_test, images="crop", witness="label", max_per_bag=2, max_per_group=3
)
plt.show()

# %%
# What to take from it
# --------------------
# Good curves do not say that the right cells decided; these pictures can. They show what *this*
# model went by, and they cannot show that it is right: a stain that goes with a disease would light
# up as well. So look at the samples that were told wrong, too, and at healthy ones.
