"""
Which cells decided?
====================

A model that finds a disease in a blood sample should say which cells it went by. The cohort here
is simulated, so the truth is known: one cell in five of a diseased sample is characteristic. The
model is told only the diagnosis of each sample, and its patients are kept whole: the cells shown
are those of patients that it has never seen.
"""

# %%
# Samples, patients and a model
# -----------------------------
# A quarter of the patients are put aside. The scaler is fitted on the cells of the others.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit import AttentionMILClassifier, InstanceTransformer
from milkit.base import split_by_bag
from milkit.datasets import make_blood_smear_cohort
from milkit.inspection import attention_weights, score_instances
from milkit.metrics import instance_roc_auc_score, key_instance_hit_rate
from milkit.model_selection import grouped_train_test_split

X, y = make_blood_smear_cohort(
    "lymphocytosis", bag_scale=0.5, class_sep=4.0, random_state=0, return_X_y=True
)
y = (y == "malignant").astype(int)
X_train, X_test, y_train, y_test = grouped_train_test_split(X, y, random_state=0)
model = make_pipeline(InstanceTransformer(StandardScaler()), AttentionMILClassifier(random_state=0))
model.fit(X_train, y_train)
print(X_train)
print(
    f"Accuracy on {len(X_test)} new patients: {model.score(X_test, y_test):.2f} "
    f"(guessing the majority: {max(y_test.mean(), 1 - y_test.mean()):.2f})"
)

# %%
# The evidence of each cell
# -------------------------
# ``milkit.inspection.score_instances`` walks through the pipeline to the model inside and returns
# a list with one array for each bag: how much each cell speaks for class 1, on a scale that all
# bags share. Evidence can be ranked across bags; attention weights, which sum to one inside each
# bag, can not.

evidence = score_instances(model, X_test)
weights = attention_weights(model, X_test)
print("The attention weights of three samples sum to", *[f"{w.sum():.3f}" for w in weights[:3]])

# %%
# The labels of the cells are used to judge, and for nothing else. Samples with one kind of cell
# have no AUC and are left out of its mean.

label = split_by_bag((X_test.instance_data["label"] > 0).astype(int), X_test)
malignant = np.flatnonzero(y_test == 1)
strongest = key_instance_hit_rate(label, evidence)
at_random = np.mean([label[i].mean() for i in malignant])
ranking = instance_roc_auc_score(label, evidence)
print(f"The strongest cell is a characteristic one in {strongest:.0%} of the malignant samples")
print(f"(a cell drawn at random: {at_random:.0%}). AUC of the cells within a sample: {ranking:.2f}")

# %%
# Each column is one new patient, each point one of the cells. Few cells of a malignant sample stand
# out, and they are the right ones.

fig, ax = plt.subplots(figsize=(10, 4.2), layout="constrained")
reactive = np.flatnonzero(y_test == 0)[:10]
shown = np.concatenate([reactive, malignant[:20]])
place = np.repeat(np.arange(len(shown)), X_test.sizes[shown])
place = place + np.random.default_rng(0).uniform(-0.25, 0.25, len(place))
values = np.concatenate([evidence[i] for i in shown])
true = np.concatenate([label[i] for i in shown]) == 1
ax.scatter(place[~true], values[~true], s=12, color="0.7", label="ordinary cell")
ax.scatter(
    place[true], values[true], s=20, color="tab:orange", label="characteristic cell (never told)"
)
ax.axhline(0, color="black", linewidth=0.6)
ax.axvline(len(reactive) - 0.5, color="0.4", linestyle=":")
ax.set(xticks=[], ylabel="evidence of the cell")
ax.set_title("reactive patients", loc="left")
ax.set_title("malignant patients", loc="right")
ax.spines[["top", "right", "bottom"]].set_visible(False)
ax.legend(loc="upper left", frameon=False)
plt.show()
