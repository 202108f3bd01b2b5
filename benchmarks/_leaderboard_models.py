"""Data sets and models of the leaderboard; see leaderboard.py."""

from dataclasses import dataclass

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from xgboost import XGBClassifier

from milkit import (
    MISVM,
    AttentionMILClassifier,
    BagStatistics,
    ClinicalFusion,
    InstanceTransformer,
    InstanceVotingClassifier,
    OneClassInstanceFilter,
    SelfTrainingMILClassifier,
    SetKernel,
)
from milkit.datasets import load_bags

CLASSICAL = ["musk1", "musk2", "elephant", "fox", "tiger"]
IMAGES = ["mnist_bags_t10k", "chula_rbc12", "bccd_cells"]
SETS = [
    *CLASSICAL,
    "corel8",
    "newsgroups_rec_sport_hockey",
    "mutagenesis_atoms",
    *IMAGES,
]
TWO_CLASSES = tuple(name for name in SETS if name != "corel8")
# Where an inner search over many models is affordable.
SMALL = (*CLASSICAL, "newsgroups_rec_sport_hockey", "mutagenesis_atoms")

# -- data ------------------------------------------------------------------------------------


def read_set(folder, name, pixels):
    """Bags and labels; of images either the pixels or, for models of vectors, what they read."""
    X, y = load_bags(folder / f"{name}.npz", return_X_y=True)
    if name not in IMAGES or pixels:
        return X, y
    images = X.flat()[0].astype(np.float32) / 255
    return X.with_instances(blocks(images, 1 if name == "mnist_bags_t10k" else 4)), y


def blocks(images, side):
    """Means over side × side pixels, as rows."""
    n, channels, height, width = images.shape
    parts = images.reshape(n, channels, height // side, side, width // side, side)
    return parts.mean(axis=(3, 5)).reshape(n, -1)


# -- models ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A row of the leaderboard: its kind, and ``make(n_features, seed)``.

    ``only`` are the sets that it is run on, and ``why`` says why not on the others. ``chooses``:
    another model may be chosen in each fold, so that scores of folds have no scale in common.
    """

    kind: str
    make: callable
    only: tuple = tuple(SETS)
    why: str = ""
    pixels: bool = False
    chooses: bool = False


def on_statistics(statistics, estimator):
    scale = [] if isinstance(estimator, ExtraTreesClassifier) else [StandardScaler()]
    return make_pipeline(BagStatistics(statistics), *scale, estimator)


def on_set_kernel(gamma, C):
    steps = InstanceTransformer(StandardScaler()), SetKernel(gamma=gamma)
    return make_pipeline(*steps, SVC(kernel="precomputed", C=C))


def scaled(estimator, *before):
    return make_pipeline(InstanceTransformer(StandardScaler()), *before, estimator)


def trees(n, seed):
    return ExtraTreesClassifier(n, random_state=seed)


def voting_trees(seed):
    forest = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed)
    return InstanceVotingClassifier(forest, voting="mean", random_state=seed)


TWO, RANGE = ("mean", "std"), ("min", "max")
FOUR = ("mean", "min", "max", "std")


def plain_settings(n_features, seed):
    """Sixteen fixed settings that need nothing but scikit-learn behind a step that makes rows."""
    kernels = [on_set_kernel(c / n_features, C) for c in (1, 2) for C in (1, 10)]
    rows = [
        on_statistics(statistics, estimator)
        for statistics in (TWO, RANGE, FOUR)
        for estimator in (
            LogisticRegression(C=0.1, max_iter=5000),
            SVC(C=3),
            SVC(C=10),
            trees(200, seed),
        )
    ]
    return rows + kernels


def with_probabilities(estimator, seed):
    inner = StratifiedKFold(3, shuffle=True, random_state=seed)
    return CalibratedClassifierCV(estimator, cv=inner, ensemble=False)


def different_voters(n_features, seed):
    return [
        ("kernel", with_probabilities(on_set_kernel(2 / n_features, 10), seed)),
        ("margin", with_probabilities(on_statistics(FOUR, SVC(C=10)), seed)),
        ("range trees", on_statistics(RANGE, trees(200, seed))),
        ("four trees", on_statistics(FOUR, trees(200, seed))),
        ("instances", voting_trees(seed)),
    ]


def vote(n_features, seed, *, without=()):
    voters = different_voters(n_features, seed)
    return VotingClassifier([v for v in voters if v[0] not in without], voting="soft")


def four_plain(n_features, seed):
    """Those of the sixteen that earlier runs found best on one of the classical sets."""
    return [
        on_set_kernel(2 / n_features, 10),
        on_statistics(RANGE, SVC(C=10)),
        on_statistics(RANGE, trees(200, seed)),
        on_statistics(FOUR, trees(200, seed)),
    ]


def own_settings(n_features, seed):
    """What milkit offers beside networks, which are too slow for a search in each of 50 folds."""
    return [
        vote(n_features, seed),
        voting_trees(seed),
        scaled(MISVM(random_state=seed)),
        *four_plain(n_features, seed),
    ]


def covariates_of(X):
    return X.covariates


def both_margins(seed):
    return [scaled(MISVM(margin=m, random_state=seed)) for m in ("bag", "instance")]


def score_of_choice(estimator, X, y):
    """Balanced accuracy and AUC in equal parts, for choosing."""
    if hasattr(estimator, "decision_function"):
        scores = estimator.decision_function(X)
    else:
        scores = estimator.predict_proba(X)
        scores = scores[:, 1] if scores.shape[1] == 2 else scores
    if scores.ndim == 2:  # one class against the rest, as in roc_auc_score
        pairs = zip(estimator.classes_, scores.T, strict=True)
        area = np.mean([roc_auc_score(y == label, column) for label, column in pairs])
    else:
        area = roc_auc_score(y, scores)
    return (balanced_accuracy_score(y, estimator.predict(X)) + area) / 2


def chosen(candidates, seed):
    """The best of some models by a 3-fold cross-validation inside the training fold."""
    inner = StratifiedKFold(3, shuffle=True, random_state=seed)
    pipeline = Pipeline([("model", candidates[0])])
    return GridSearchCV(
        pipeline, {"model": candidates}, cv=inner, scoring=score_of_choice, error_score="raise"
    )


CONVOLUTIONS = {
    "augmentation": "both",
    "batch_size": 4,
    "max_iter": 30,
    "learning_rate": "cosine",
}

SLOW = "a search over many models in each of 50 folds takes too long here"
BINARY = "it takes two classes"
NO_COVARIATES = "no covariates"

MODELS = {
    "mean and sd, logistic regression": Model(
        "plain", lambda d, seed: on_statistics(TWO, LogisticRegression(C=0.1, max_iter=5000))
    ),
    "mean and sd, SVC": Model("plain", lambda d, seed: on_statistics(TWO, SVC(C=3))),
    "min and max, SVC": Model("plain", lambda d, seed: on_statistics(RANGE, SVC(C=10))),
    "min and max, ExtraTrees": Model(
        "plain", lambda d, seed: on_statistics(RANGE, trees(200, seed))
    ),
    "mean, min, max, sd, ExtraTrees": Model(
        "plain", lambda d, seed: on_statistics(FOUR, trees(200, seed))
    ),
    "set kernel, SVC": Model("plain", lambda d, seed: on_set_kernel(2 / d, 10)),
    "vote of four plain": Model("plain", lambda d, seed: vote(d, seed, without=["instances"])),
    "inner choice of 4 plain": Model(
        "plain",
        lambda d, seed: chosen(four_plain(d, seed), seed),
        only=SMALL,
        why=SLOW,
        chooses=True,
    ),
    "inner choice of 16 plain": Model(
        "plain",
        lambda d, seed: chosen(plain_settings(d, seed), seed),
        only=SMALL,
        why=SLOW,
        chooses=True,
    ),
    "MISVM": Model("milkit", lambda d, seed: scaled(MISVM(random_state=seed))),
    "MISVM, margin of instances": Model("milkit", lambda d, seed: both_margins(seed)[1]),
    "MISVM, inner choice of margin": Model(
        "milkit",
        lambda d, seed: chosen(both_margins(seed), seed),
        only=SMALL,
        why=SLOW,
        chooses=True,
    ),
    "OneClassInstanceFilter, MISVM": Model(
        "milkit",
        lambda d, seed: scaled(MISVM(random_state=seed), OneClassInstanceFilter(random_state=seed)),
        only=TWO_CLASSES,
        why=BINARY,
    ),
    "InstanceVotingClassifier, ExtraTrees": Model("milkit", lambda d, seed: voting_trees(seed)),
    "SelfTrainingMILClassifier": Model(
        "milkit",
        lambda d, seed: scaled(SelfTrainingMILClassifier(random_state=seed)),
        only=TWO_CLASSES,
        why=BINARY,
    ),
    "AttentionMILClassifier": Model(
        "milkit", lambda d, seed: scaled(AttentionMILClassifier(random_state=seed))
    ),
    "AttentionMILClassifier, gated": Model(
        "milkit",
        lambda d, seed: scaled(
            AttentionMILClassifier(pooling="gated_attention", random_state=seed)
        ),
    ),
    "AttentionMILClassifier, pixels": Model(
        "milkit",
        lambda d, seed: AttentionMILClassifier(random_state=seed, **CONVOLUTIONS),
        only=tuple(IMAGES),
        why="no images",
        pixels=True,
    ),
    "ClinicalFusion, MISVM and covariates": Model(
        "milkit",
        lambda d, seed: ClinicalFusion(scaled(MISVM(random_state=seed)), random_state=seed),
        only=("mutagenesis_atoms",),
        why=NO_COVARIATES,
    ),
    "covariates alone, XGBoost": Model(
        "plain",
        lambda d, seed: make_pipeline(
            FunctionTransformer(covariates_of),
            XGBClassifier(n_estimators=100, learning_rate=0.1, n_jobs=1, random_state=seed),
        ),
        only=("mutagenesis_atoms",),
        why=NO_COVARIATES,
    ),
    "vote of five": Model("mixed", vote),
    "inner choice of milkit": Model(
        "mixed",
        lambda d, seed: chosen(own_settings(d, seed), seed),
        only=SMALL,
        why=SLOW,
        chooses=True,
    ),
}
