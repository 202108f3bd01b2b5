"""
One network or ten: how far the seed decides
============================================

Two fits of the same network to the same bags differ in their initial weights, and on a small cohort
that decides part of the predictions. ``n_estimators=10`` trains ten networks side by side and
averages their outputs. This example shows how much one fit depends on the seed, how much an
ensemble does, and what the disagreement inside one ensemble says of a patient.
"""

# %%
# A small cohort
# --------------
# 60 patients to train with, 200 to test, one bag each.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit import AttentionMILClassifier, InstanceTransformer
from milkit.datasets import make_mil_classification

N_TRAIN, N_SEEDS = 60, 8
X, y = make_mil_classification(
    n_bags=N_TRAIN + 200, bag_size=(5, 25), witness_rate=0.1, class_sep=1.25, random_state=0
)
X_train, y_train, X_test, y_test = X[:N_TRAIN], y[:N_TRAIN], X[N_TRAIN:], y[N_TRAIN:]
print(X_train)

# %%
# Eight seeds
# -----------
# Only ``random_state`` differs between the fits. The members of an ensemble are one batched model,
# so that ten small networks take two to three times the time of one.

shared = {"hidden_layer_sizes": (32,), "attention_dim": 32, "learning_rate_init": 2e-3}
models = {}
for n_estimators in (1, 10):
    networks = [
        AttentionMILClassifier(n_estimators=n_estimators, random_state=seed, **shared)
        for seed in range(N_SEEDS)
    ]
    models[n_estimators] = [
        make_pipeline(InstanceTransformer(StandardScaler()), network).fit(X_train, y_train)
        for network in networks
    ]

rows = {}
probability = {}
for n_estimators, fitted in models.items():
    p = np.stack([model.predict_proba(X_test)[:, 1] for model in fitted])
    probability[n_estimators] = p
    areas = [roc_auc_score(y_test, row) for row in p]
    changed = (p > 0.5).any(axis=0) & (p <= 0.5).any(axis=0)
    rows[f"n_estimators={n_estimators}"] = {
        "AUC, mean": f"{np.mean(areas):.3f}",
        "AUC, deviation": f"{np.std(areas, ddof=1):.3f}",
        "probability of a patient, deviation": f"{p.std(axis=0, ddof=1).mean():.3f}",
        "patients whose label changes": f"{changed.mean():.0%}",
    }
print(f"Over {N_SEEDS} seeds, on {len(y_test)} test patients\n")
print(pd.DataFrame(rows).T.to_string())

# %%
# Which patients are uncertain
# ----------------------------
# ``predict_proba_members`` gives the probabilities of each member, and their deviation. A pipeline
# has no such method, so the bags go through the scaler first.

scaler, network = models[10][0]
_, deviation = network.predict_proba_members(scaler.transform(X_test), return_std=True)
deviation = deviation[:, 1]
right = network.predict(scaler.transform(X_test)) == y_test
agree = deviation <= np.median(deviation)
print(f"Accuracy where the members agree: {right[agree].mean():.2f}")
print(f"Accuracy where they do not:       {right[~agree].mean():.2f}")

# %%
# Left: every column is one patient and every point one fit. Single networks are sure of themselves
# and contradict each other; ensembles agree far better. Right: one ensemble. Most errors are where
# its members disagree. The others are where all of them are wrong alike, which no ensemble shows.

GREY, BLUE, ORANGE = "0.65", "#0072B2", "#D55E00"
fig, (ax, ax_members) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
order = np.argsort(probability[10].mean(axis=0))[:: len(y_test) // 50]
for n_estimators, colour, shift in ((1, GREY, -0.2), (10, BLUE, 0.2)):
    p = probability[n_estimators][:, order]
    place = np.broadcast_to(np.arange(len(order)) + shift, p.shape)
    label = "one network" if n_estimators == 1 else f"ensemble of {n_estimators}"
    ax.scatter(place, p, s=7, color=colour, label=label)
ax.set(
    xlabel=f"{len(order)} test patients, by their probability",
    ylabel="probability of class 1",
    title=f"The same bags with {N_SEEDS} seeds",
    xticks=[],
    ylim=(-0.05, 1.15),
)
ax.legend(loc="upper left", ncols=2, frameon=False, markerscale=2)

mean = probability[10][0]
for shown, colour, label in ((right, BLUE, "right"), (~right, ORANGE, "wrong")):
    ax_members.scatter(mean[shown], deviation[shown], s=16, color=colour, label=label)
ax_members.axvline(0.5, color="0.4", linestyle=":", linewidth=1)
ax_members.set(
    xlabel="probability of class 1",
    ylabel="deviation over ten members",
    title="One ensemble: where do its members disagree?",
    ylim=(-0.02, 0.53),
)
ax_members.legend(loc="upper left", ncols=2, frameon=False)
for axis in (ax, ax_members):
    axis.spines[["top", "right"]].set_visible(False)
plt.show()
