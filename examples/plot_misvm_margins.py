"""
MISVM: margins, slacks and a doubtful bag
=========================================

:class:`~milkit.svm.MISVM` holds both machines of Andrews et al. (2002), and two ways to count the
mistakes in a negative bag. In the plane one can see what each of them makes of the same bags.
:doc:`/guide/misvm` says which one to take.
"""

# %%
# Bags in the plane
# -----------------
# Twelve positive and twelve negative bags of eight instances each. Most instances are background,
# in both kinds of bags alike; a positive bag has one or two true witnesses, on the right. One
# negative bag is doubtful: six of its instances lie where the witnesses begin. It may be a patient
# with many cells that look half diseased, or one with a wrong label.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from milkit import MISVM, BagArray

N_BAGS, BAG_SIZE, N_DOUBTFUL = 24, 8, 6
rng = np.random.default_rng(0)
y = np.repeat([0, 1], N_BAGS // 2)
positive = y == 1
instances = rng.normal(scale=(0.8, 1.1), size=(N_BAGS, BAG_SIZE, 2))
true = np.zeros((N_BAGS, BAG_SIZE), dtype=bool)
for bag in np.flatnonzero(positive):
    true[bag, : rng.integers(1, 3)] = True
instances[true] = rng.normal((4.0, 0.0), (0.5, 1.1), size=(true.sum(), 2))
instances[0, :N_DOUBTFUL] = rng.normal((3.2, 0.0), (0.25, 1.1), size=(N_DOUBTFUL, 2))
X = BagArray.from_list(list(instances))
print(X)

# %%
# Three machines
# --------------
# C is the same for all three, and the features are on one scale already.

shared = {"C": 1.0, "kernel": "linear"}
machines = {
    "bag margin, one slack per bag": MISVM(negative_slack="bag", **shared),
    "bag margin, one slack per instance": MISVM(negative_slack="instance", **shared),
    "instance margin": MISVM(margin="instance", **shared),
}

# %%
# The *shortfall* of an instance is how far it lies on the wrong side of its margin, in units of the
# margin. Where the slack is shared the doubtful bag pays for its largest shortfall, and otherwise
# for their sum.

rows = {}
for name, machine in machines.items():
    scores = np.reshape(machine.fit(X, y).score_instances(X), (N_BAGS, BAG_SIZE))
    shortfall = np.maximum(1 + scores[0], 0)
    pays_once = name == "bag margin, one slack per bag"
    rows[name] = {
        "doubtful bag pays": f"{shortfall.max() if pays_once else shortfall.sum():.1f}",
        "its score": f"{scores[0].max():+.1f}",
        "positive bags missed": np.sum(scores[positive].max(axis=1) < 0),
        "support vectors": len(machine.support_vectors_),
    }
print(pd.DataFrame(rows).T.to_string())

# %%
# The decision line is where the score is 0, and the margins are where it is -1 and +1. A black ring
# is a witness: the instance of a positive bag with the highest score. A white dot is a support
# vector: no other instance has a say in where the line runs.

BLUE, SKY, ORANGE = "#0072B2", "#56B4E9", "#E69F00"  # told apart by colour-blind readers as well
EDGE = {"edgecolor": "white", "linewidth": 0.4}
DOT = {"facecolor": "white", "edgecolor": "black", "linewidth": 0.7}
x_grid, y_grid = np.meshgrid(np.linspace(-2.6, 5.8, 90), np.linspace(-3.6, 3.6, 80))
grid = np.column_stack([x_grid.ravel(), y_grid.ravel()])
background = np.ones_like(true)
background[0, :N_DOUBTFUL] = False

fig, axes = plt.subplots(1, 3, figsize=(12, 4.6), sharey=True, layout="constrained")
for ax, (name, machine) in zip(axes, machines.items(), strict=True):
    score = machine.score_instances([grid])[0].reshape(x_grid.shape)
    ax.contourf(x_grid, y_grid, score, [0, np.inf], colors=["#FFF3DC"])
    levels = {"levels": [-1, 0, 1], "colors": "black", "linestyles": ["dashed", "solid", "dashed"]}
    ax.contour(x_grid, y_grid, score, linewidths=[0.8, 1.6, 0.8], **levels)
    negative = instances[~positive][background[~positive]]
    of_positive, doubtful = instances[positive].reshape(-1, 2), instances[0, :N_DOUBTFUL]
    ax.scatter(*negative.T, s=26, c=SKY, marker="s", label="in a negative bag", **EDGE)
    ax.scatter(*of_positive.T, s=34, c=ORANGE, label="in a positive bag", **EDGE)
    ax.scatter(*doubtful.T, s=50, c=BLUE, marker="D", label="in the doubtful negative bag", **EDGE)
    witnesses = instances[positive][np.arange(positive.sum()), machine.witnesses_]
    ax.scatter(*witnesses.T, s=110, facecolor="none", edgecolor="black", label="witness")
    ax.scatter(*machine.support_vectors_.T, s=9, label="support vector", **DOT)
    ax.set(title=name, xlabel="first feature", xlim=(-2.6, 5.8), ylim=(-3.6, 3.6))
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("second feature")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
plt.show()

# %%
# - With **one slack per bag** the doubtful bag pays once, for its worst instance. The other five
#   are free, and the line runs between the background and the witnesses as if the bag held one bad
#   instance.
# - With **one slack per instance** it would pay six times. It is cheaper to move the line until
#   most of the bag lies behind it, and to give up a positive bag for that.
# - With an **instance margin** every instance of a positive bag has a label of its own. All true
#   witnesses then speak, not one for each bag, and together they outweigh the doubtful bag although
#   it pays for each of its instances. The price is time: there are more support vectors.
#
# Local optima
# ------------
# Witnesses and margin are found by turns, which leads to *an* optimum and not always to the best
# one. Starting from the mean of each positive bag can fail where the means lie in the midst of the
# negative instances, as it does here with one slack per instance: the first line says nothing, and
# the witnesses that it picks are no better. The default starts where positive bags lie most densely
# compared with negative ones, and ends where the best of twenty random beginnings does.

beginnings = {
    "means": {"init": "mean"},
    "density": {},
    "best of 20": {"init": "random", "n_init": 20, "random_state": 0},
}
for name in list(machines)[:2]:
    machine = machines[name]
    print(name)
    for beginning, params in beginnings.items():
        fit = MISVM(negative_slack=machine.negative_slack, **shared, **params).fit(X, y)
        print(f"    {beginning:<12}objective {fit.objective_[0]:6.2f}", end="   ")
        print(f"accuracy on the training bags {fit.score(X, y):.2f}")
