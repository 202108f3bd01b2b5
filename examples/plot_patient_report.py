"""
A report for each patient
=========================

What a model says of one blood sample, and which cells made it say so, on one page that can be
mailed, printed and read aloud: :func:`milkit.inspection.patient_report`.
"""

# %%
# A cohort and a model
# --------------------
# The smears are drawn by :func:`milkit.datasets.make_blood_smear_cohort`; an instance is the crop
# of one red cell. Five small networks, on means over blocks of 2 × 2 pixels, learn which samples
# come from patients with sickle cell disease. No patient is in both parts of the split.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit import AttentionMILClassifier, InstanceTransformer
from milkit.datasets import make_blood_smear_cohort
from milkit.inspection import patient_report, score_instances
from milkit.model_selection import grouped_train_test_split

cohort = make_blood_smear_cohort(bag_scale=0.05, crop_size=24, render=True, random_state=0)
pictures = cohort.data
y = np.where(cohort.target == "sickle_cell", "sickle cell disease", "other")
cells = pictures.flat()[0]
blocks = cells.reshape(len(cells), 3, 12, 2, 12, 2).mean(axis=(3, 5)).reshape(len(cells), -1)
X = pictures.with_instances(blocks)

X_train, X_test, y_train, y_test, _, pictures = grouped_train_test_split(
    X, y, pictures, random_state=0
)
network = AttentionMILClassifier(
    level="instance",
    pooling="logsumexp",
    class_weight="balanced",
    n_estimators=5,
    max_iter=40,
    random_state=0,
)
model = make_pipeline(InstanceTransformer(StandardScaler()), network).fit(X_train, y_train)
auc = roc_auc_score(y_test == "sickle cell disease", model.decision_function(X_test))
print(f"AUC of {len(y_test)} test samples: {auc:.2f}")

# %%
# One page
# --------
# The model saw block means, so the pictures are passed as ``images``. ``reference`` gives each
# covariate its place among the patients of the training set. Below is the page itself, in a frame;
# ``report.save("report.html")`` writes it as one file that loads nothing from anywhere.

ill = np.flatnonzero(y_test == "sickle cell disease")
largest = int(ill[np.argmax(X_test.sizes[ill])])
report = patient_report(
    model,
    X_test,
    X_test.names[largest],
    images=pictures,
    noun="cell",
    n_instances=5,
    label="sickle cell disease",
    reference=X_train,
    date="2026-05-04",
)
report

# %%
# Is it right about the cells?
# ----------------------------
# In a drawn cohort it is known which cells are sickled, and the page does not know. Here are the
# ten cells of the sample with the highest evidence; a frame marks a sickled one. That the networks
# disagree on the sample, as the page shows, does not keep them from agreeing on its cells.

evidence = score_instances(model, X_test[[largest]])[0]  # for classes_[1], sickle cell disease
strongest = np.argsort(-evidence)[:10]
sickled = pictures[[largest]].instance_data["label"] > 0
fig, axes = plt.subplots(1, len(strongest), figsize=(10, 1.6), layout="constrained")
for ax, k in zip(axes, strongest, strict=True):
    ax.imshow(pictures[largest][k].transpose(1, 2, 0))
    ax.set(xticks=[], yticks=[], title=f"{evidence[k]:+.1f}")
    ax.spines[:].set(color="#D55E00" if sickled[k] else "none", linewidth=3)
plt.show()
print(f"{sickled.sum()} of {len(sickled)} cells are sickled; {sickled[strongest].sum()} are above")
