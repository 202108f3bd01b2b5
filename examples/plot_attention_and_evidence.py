"""
Attention is not evidence
=========================

An attention network says how much it looked at each cell. Is that how much the cell speaks for the
diagnosis? Here the answer is known, because the cells are made: every sample holds malignant *and*
reactive cells, and it is malignant if the malignant ones outnumber the others. A model must look
at both kinds. Which way they pull is another question, and attention does not answer it.
"""

# %%
# Samples with two kinds of telling cells
# ---------------------------------------
# Most cells of a sample are ordinary. Of the others, the majority decides.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit import AttentionMILClassifier, BagArray, InstanceTransformer
from milkit.base import split_by_bag
from milkit.inspection import attention_weights, deletion_curve, insertion_curve, score_instances
from milkit.metrics import instance_roc_auc_score

KINDS = ["ordinary", "malignant", "reactive"]


def make_samples(n_samples, rng, n_features=8, distance=3.0):
    centers = np.zeros((3, n_features))
    centers[1, 0] = centers[2, 1] = distance
    bags, kinds, y = [], [], np.arange(n_samples) % 2
    for malignant in y:
        few, many = rng.integers(1, 5), rng.integers(5, 11)
        numbers = [rng.integers(20, 45), many if malignant else few, few if malignant else many]
        kind = rng.permutation(np.repeat([0, 1, 2], numbers))
        bags.append(centers[kind] + rng.normal(size=(len(kind), n_features)))
        kinds.append(kind)
    return BagArray.from_list(bags, instance_data={"kind": kinds}), y


rng = np.random.default_rng(0)
X_train, y_train = make_samples(200, rng)
X_test, y_test = make_samples(100, rng)
model = make_pipeline(InstanceTransformer(StandardScaler()), AttentionMILClassifier(random_state=0))
model.fit(X_train, y_train)
print(f"Accuracy on {len(X_test)} new samples: {model.score(X_test, y_test):.2f}")

# %%
# What the model says of each kind of cell
# ----------------------------------------
# Attention, here times the number of cells, so that 1 is the average, is as high for reactive cells
# as for malignant ones. Evidence has a sign: malignant cells speak for the diagnosis, reactive ones
# against it, and ordinary ones hardly say anything.

kind = X_test.instance_data["kind"]
evidence, attention = score_instances(model, X_test), attention_weights(model, X_test)
flat_evidence = np.concatenate(evidence)
flat_attention = np.concatenate([w * len(w) for w in attention])
print(f"\n{'cells':<12}{'attention':>12}{'evidence':>12}   (means)")
for k, name in enumerate(KINDS):
    means = flat_attention[kind == k].mean(), flat_evidence[kind == k].mean()
    print(f"{name:<12}{means[0]:>12.1f}{means[1]:>12.1f}")

# %%
# The kinds of the cells are known, so that they can judge: are the malignant cells ranked above all
# others of their sample?

malignant = split_by_bag(kind == 1, X_test)
print("\nAUC of malignant cells against all others, within a sample")
for name, values in [("attention", attention), ("evidence", evidence)]:
    print(f"{name:<12}{instance_roc_auc_score(malignant, values):>8.2f}")

# %%
# Asking the model, without labels of cells
# -----------------------------------------
# Such labels are rare. But the model itself can be asked: take the cells that an explanation calls
# the most important ones out of the sample, one after the other, and look at the probability of the
# class that was predicted. It should fall fast. Or begin with the most important cell and put in
# the others: it should be high at once. A random order is what to beat.

curves = {}
for name in ("evidence", "occlusion", "attention", "random"):
    curves[name] = [
        curve(model, X_test, kind=name, response_method="predict_proba", random_state=0)
        for curve in (deletion_curve, insertion_curve)
    ]
print(f"\n{'order':<12}{'deletion AUC':>14}{'insertion AUC':>15}")
print(f"{'':<12}{'(low is good)':>14}{'(high is good)':>15}")
for name, (deletion, insertion) in curves.items():
    print(f"{name:<12}{deletion.mean_auc:>14.2f}{insertion.mean_auc:>15.2f}")

# %%
# On the left is one malignant sample. Who picks out its cells of highest attention gets cells of
# both kinds, and takes some that speak *against* the diagnosis for its reason. In the middle,
# orders by evidence and by occlusion turn the decision before a fifth of the cells is gone. The
# order by attention takes away both sides of the argument, and half of the decision stays. It
# beats chance, because attention does say which cells matter. It does not say what for.

COLORS = {"ordinary": "0.7", "malignant": "#D55E00", "reactive": "#0072B2"}
LINES = {
    "evidence": {"color": "#009E73", "linewidth": 3},
    "occlusion": {"color": "black", "linestyle": ":", "linewidth": 2},
    "attention": {"color": "#E69F00", "linewidth": 2},
    "random": {"color": "0.6"},
}
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.8), layout="constrained")
found = np.flatnonzero((y_test == 1) & (model.predict(X_test) == 1))
kinds = split_by_bag(kind, X_test)
shown = max(found, key=lambda i: (kinds[i] == 2).sum())  # many of them speak against it
for k, name in enumerate(KINDS):
    of_kind = kinds[shown] == k
    left.scatter(
        attention[shown][of_kind], evidence[shown][of_kind], s=28, color=COLORS[name], label=name
    )
left.axhline(0, color="black", linewidth=0.6)
left.set(xlabel="attention weight", ylabel="evidence for malignant")
left.set_title("Cells of one malignant sample", loc="left")
left.legend(frameon=False, loc="upper left")
for ax, which, title in [
    (middle, 0, "Deletion: lower is better"),
    (right, 1, "Insertion: higher is better"),
]:
    for name, pair in curves.items():
        curve = pair[which]
        label = f"{name}, area {curve.mean_auc:.2f}"
        ax.plot(curve.fractions, curve.decisions.mean(axis=0), label=label, **LINES[name])
    ax.set(ylim=(-0.03, 1.03), ylabel="mean probability of the predicted class")
    ax.set_title(title, loc="left")
middle.set_xlabel("share of the cells removed, most important first")
right.set_xlabel("share of the cells put in, most important first")
for ax in (middle, right):
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
for ax in (left, middle, right):
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
