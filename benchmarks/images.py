"""From images to bags: how quick each step is, where its time goes, and what is reached.

speed   Images per second of segmentation, matching of colours, auto-encoder and a small module of
        one's own, at 24², 112² and 224² pixels, and smears per second of the detection of cells.
shares  Where the time of training an auto-encoder and of detection goes.
bar     Real cells, with --data: accuracy and AUC of held-out smear images. The reference are means
        over 4 × 4 pixels, as mean and deviation of each bag, with logistic regression (C=.1) and
        an SVM (C=3), and the same means with a set kernel (gamma=2/d, C=10, as in the leaderboard)
        and with MISVM as it comes: all these take seconds. Against them stand codes of an
        auto-encoder with PCA and attention, and a network from pixels. Their settings were chosen
        on random folds of seeds 0 and 1; 100 is for print. "random" are stratified folds; in
        "blocks" 25 images that are neighbours in the file stay together, because those of one
        slide look alike. The intervals of differences to the better of the models --against are
        paired, over images or over blocks. With --results an interrupted run goes on.
Run: python benchmarks/images.py --data FOLDER_OF_NPZ_FILES --jobs 2 --results output/images.jsonl
"""

import argparse
import cProfile
import json
import os
import pstats
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from tqdm import tqdm

from milkit import (
    MISVM,
    AttentionMILClassifier,
    BagStatistics,
    InstanceTransformer,
    SetKernel,
)
from milkit.datasets import load_bags, make_blood_smear_cohort
from milkit.image import (
    ColorStatisticsMatcher,
    ConvAutoencoderFeatures,
    ModuleFeatures,
    SaturationSegmenter,
    _autoencoder_network,
    _detection,
    detect_cells,
)
from milkit.metrics._bootstrap import prepare_metric, resample

# -- settings of the bar ---------------------------------------------------------------------

CODES = {"code_size": 60, "max_iter": 10}
N_DIRECTIONS = 45
READER = {"n_estimators": 5, "max_iter": 30}
NETWORK = {
    "augmentation": "both",
    "batch_size": 4,
    "max_iter": 30,
    "learning_rate": "cosine",
}
N_FOLDS, BLOCK = 5, 25

# The better of the two plain models in ten random folds, as accuracy and AUC.
BAR = {"chula_rbc12": (0.809, 0.904), "bccd_cells": (0.827, 0.916)}
PLAIN = ["block means, LR", "block means, SVC"]
IN_SECONDS = [*PLAIN, "block means, set kernel", "block means, MISVM"]
CODES_NAME, NETWORK_NAME = "auto-encoder, PCA, attention", "network from pixels"
MODELS = [*IN_SECONDS, "block means, attention", CODES_NAME, NETWORK_NAME]

# -- settings of the speed -------------------------------------------------------------------

# Share of the patients, and of their images, that are drawn at each size.
DRAWN = {24: (1.0, 0.3), 112: (0.15, 0.3), 224: (0.05, 0.2)}
QUICK = {24: (0.1, 0.3), 112: (0.02, 0.2)}
SMEARS = (0.01, 0.7)


def small_module():
    widths = (3, 32, 64, 128)
    layers = []
    for narrow, wide in pairwise(widths):
        layers += [nn.Conv2d(narrow, wide, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))


def draw(cohort, size, drawn):
    scale, bag_scale = drawn[size] if isinstance(drawn, dict) else drawn
    return make_blood_smear_cohort(
        cohort, scale=scale, bag_scale=bag_scale, crop_size=size, render=True, random_state=0
    )


# -- speed -----------------------------------------------------------------------------------


def seconds_of(function, repeats):
    function()  # what is loaded late
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def speed_table(args):
    print(f"Images per second, {args.threads} threads")
    print(f"{'step':<44}{'size':>6}{'images':>8}{'seconds':>9}{'images/s':>10}{'Mpixel/s':>10}")
    for size in args.sizes:
        bunch = draw("lymphocytosis", size, args.drawn)
        for name, function in steps_on(bunch.data).items():
            speed_row(name, size, bunch.data.n_instances, size**2, seconds_of(function, 3))
    for size in args.sizes:
        images = draw("red_cell", size, SMEARS).images[:20]
        pixels = np.mean([image.shape[0] * image.shape[1] for image in images])
        seconds = seconds_of(partial(detect_all, images), 1)
        n_cells = sum(map(len, detect_all(images)))
        name = f"detect_cells, smears of {pixels**0.5:.0f}², {n_cells / len(images):.0f} cells"
        speed_row(name, size, len(images), pixels, seconds)


def speed_row(name, size, n, n_pixels, seconds):
    print(
        f"{name:<44}{size:>5}²{n:>8}{seconds:>9.3f}{n / seconds:>10.0f}"
        f"{n * n_pixels / seconds / 1e6:>10.2f}",
        flush=True,
    )


def steps_on(X):
    """What is measured on bags of images, by name."""
    autoencoder = ConvAutoencoderFeatures(max_iter=1, random_state=0)
    fitted = ConvAutoencoderFeatures(max_iter=1, random_state=0).fit(X[:2])
    module = small_module()
    plain = ModuleFeatures(module).fit(X)
    warm = tempfile.mkdtemp()

    def cold():
        with tempfile.TemporaryDirectory() as folder:
            ModuleFeatures(module, cache_dir=folder).fit(X).transform(X)

    return {
        "SaturationSegmenter": partial(SaturationSegmenter().fit(X).transform, X),
        "ColorStatisticsMatcher": partial(ColorStatisticsMatcher().fit(X).transform, X),
        "ConvAutoencoderFeatures, an epoch": partial(autoencoder.fit, X),
        "ConvAutoencoderFeatures, transform": partial(fitted.transform, X),
        "ModuleFeatures, small network": partial(plain.transform, X),
        "ModuleFeatures, writing to cache_dir": cold,
        "ModuleFeatures, reading from cache_dir": partial(
            ModuleFeatures(module, cache_dir=warm).fit(X).transform, X
        ),
    }


def detect_all(images):
    return [detect_cells(image) for image in images]


# -- shares ----------------------------------------------------------------------------------

# Which operations of PyTorch belong to what, by a part of their name; the first that fits counts.
KINDS = [
    ("augmentation", "turning, mirroring"),
    ("conv", "convolutions"),
    ("batch_norm", "batch norm"),
    ("pool", "pooling"),
    ("mm", "linear layers"),
    ("adam", "optimizer"),
    ("copy", "copying"),
    ("clone", "copying"),
    ("contiguous", "copying"),
]
# Parts of detect_cells, of milkit or of SciPy and scikit-image.
PARTS = {
    "_contrast": "background",
    "_stained": "threshold",
    "_without_holes": "holes",
    "_typical_diameter": "typical size",
    "distance_transform_edt": "distance from the edge",
    "watershed": "watershed",
    "_joined": "parts joined",
    "_boxes": "boxes",
}


def share_tables(args):
    print(f"\nTraining an auto-encoder, {args.threads} threads: shares of the time in %")
    rows = [training_shares(draw("lymphocytosis", size, args.drawn).data) for size in args.sizes]
    kinds = list(dict.fromkeys([kind for _, kind in KINDS] + ["everything else"]))
    print_shares(kinds, rows, args.sizes)
    print("\nDetection of cells: shares of the time in %")
    rows = [detection_shares(draw("red_cell", size, SMEARS).images[:10]) for size in args.sizes]
    print_shares([*PARTS.values(), "everything else"], rows, args.sizes)


def print_shares(kinds, rows, sizes):
    print(f"{'':<26}" + "".join(f"{size:>7}²" for size in sizes))
    for kind in kinds:
        print(f"{kind:<26}" + "".join(f"{100 * row.get(kind, 0):>8.1f}" for row in rows))


def training_shares(X):
    augment = _autoencoder_network.augment

    def recorded(*args):
        with record_function("augmentation"):
            return augment(*args)

    model = ConvAutoencoderFeatures(max_iter=1, random_state=0)
    with (
        mock.patch.object(_autoencoder_network, "augment", recorded),
        profile(activities=[ProfilerActivity.CPU]) as profiler,
    ):
        model.fit(X)
    shares = {}
    for event in profiler.events():
        kind = kind_of(event)
        shares[kind] = shares.get(kind, 0.0) + event.self_cpu_time_total
    total = sum(shares.values())
    return {kind: value / total for kind, value in shares.items()}


def kind_of(event):
    """Of the outermost operation that has a kind: a convolution copies as well."""
    found = "everything else"
    while event is not None:
        name = event.name.lower()
        found = next((kind for part, kind in KINDS if part in name), found)
        event = event.cpu_parent
    return found


def detection_shares(images):
    detect_all(images[:1])
    profiler = cProfile.Profile()
    profiler.runcall(detect_all, images)
    stats = pstats.Stats(profiler).stats
    total = max(row[3] for row in stats.values())
    main = _detection.detect_cells.__wrapped__.__code__.co_name
    shares = {}
    for (_, _, name), row in stats.items():
        callers = {caller[2]: times[3] for caller, times in row[4].items()}
        if name in PARTS and main in callers:
            shares[PARTS[name]] = shares.get(PARTS[name], 0.0) + callers[main] / total
    shares["everything else"] = 1 - sum(shares.values())
    return shares


# -- bar -------------------------------------------------------------------------------------


def block_means(X):
    images = X.flat()[0]
    n, channels, height, width = images.shape
    blocks = images.reshape(n, channels, height // 4, 4, width // 4, 4)
    return X.with_instances(blocks.mean(axis=(3, 5), dtype=np.float32).reshape(n, -1))


def fitted(name, X, y, train, seed, epochs):
    """A fitted model of this name, and the bags that it reads."""
    bags = X
    pca = InstanceTransformer(PCA(N_DIRECTIONS, random_state=seed))
    reader = AttentionMILClassifier(random_state=seed, **READER)
    if name == NETWORK_NAME:
        model = AttentionMILClassifier(random_state=seed, **{**NETWORK, **epochs})
    elif name == CODES_NAME:
        codes = ConvAutoencoderFeatures(random_state=seed, **{**CODES, **epochs})
        model = make_pipeline(codes, pca, reader)
    else:
        bags = block_means(X)
        rows = make_pipeline(BagStatistics(), StandardScaler())
        scaler = InstanceTransformer(StandardScaler())
        kernel = SetKernel(gamma=2 / bags.n_features)
        model = {
            "block means, LR": make_pipeline(rows, LogisticRegression(C=0.1, max_iter=5000)),
            "block means, SVC": make_pipeline(rows, SVC(C=3)),
            "block means, set kernel": make_pipeline(
                scaler, kernel, SVC(kernel="precomputed", C=10)
            ),
            "block means, MISVM": make_pipeline(scaler, MISVM(random_state=seed)),
            "block means, attention": make_pipeline(scaler, reader),
        }[name]
    return model.fit(bags[train], y[train]), bags


def one_fold(data, name, which, fold, seed, model_name, epochs):
    """What a model says of the test bags of a fold, and how long it took."""
    X, y, folds, _ = bags_and_folds(data, name, which, seed)
    train, test = folds[fold]
    start = time.perf_counter()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        model, bags = fitted(model_name, X, y, train, seed, epochs)
        scores = model.decision_function(bags[test])
        labels = model.predict(bags[test])
    seconds = time.perf_counter() - start
    return {"scores": scores.tolist(), "labels": labels.tolist(), "seconds": seconds}


def bags_and_folds(data, name, which, seed):
    """Bags, labels, folds, and the unit of each bag that a bootstrap draws."""
    X, y = load_bags(Path(data) / f"{name}.npz", return_X_y=True)
    block = np.arange(len(y)) // BLOCK
    if which == "blocks":
        cv = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
        return X, y, list(cv.split(y, y, block)), block
    cv = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    return X, y, list(cv.split(y, y)), np.arange(len(y))


def known_results(path):
    if path is None or not Path(path).exists():
        return {}
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return {tuple(row["key"]): row for row in map(json.loads, lines)}


def bar_table(args):
    sets = [name for name in args.sets if (Path(args.data) / f"{name}.npz").exists()]
    for name in set(args.sets) - set(sets):
        print(f"{name} is skipped: no {name}.npz in the data folder.")
    epochs = {} if args.epochs is None else {"max_iter": args.epochs}
    settings = json.dumps([CODES, N_DIRECTIONS, READER, NETWORK, epochs])
    done = known_results(args.results)
    keys = [
        (name, which, args.seed, model, "" if model in IN_SECONDS else settings, fold)
        for name in sets
        for which in args.kinds
        for model in args.models
        for fold in args.folds
    ]
    waiting = [key for key in keys if key not in done]
    calls = (
        delayed(one_fold)(args.data, name, which, fold, seed, model, epochs)
        for name, which, seed, model, _, fold in waiting
    )
    results = Parallel(args.jobs, return_as="generator")(calls)
    for key, row in zip(tqdm(waiting, leave=False, disable=None), results, strict=True):
        done[key] = row
        if args.results is not None:
            Path(args.results).parent.mkdir(parents=True, exist_ok=True)
            with Path(args.results).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, **row}) + "\n")
    print(f"\n{CODES}, PCA {N_DIRECTIONS}, {READER}; {NETWORK}")
    print(f"Folds {args.folds} of {N_FOLDS}, seed {args.seed}; intervals of 95 %")
    for name in sets:
        print(f"\n{name}: the bar is accuracy {BAR[name][0]:.3f}, AUC {BAR[name][1]:.3f}")
        for which in args.kinds:
            rows = {
                model: [row for key, row in done.items() if key in keys and key[:4] == of]
                for model in args.models
                for of in [(name, which, args.seed, model)]
            }
            rows = {model: found for model, found in rows.items() if len(found) == len(args.folds)}
            print_set(args, name, which, rows)


def print_set(args, name, which, rows):
    """Scores of each model, and differences to the better of those that it stands against."""
    _, y, folds, units = bags_and_folds(args.data, name, which, args.seed)
    tests = [folds[fold][1] for fold in args.folds]
    held = np.concatenate(tests)
    stops = np.cumsum([len(test) for test in tests])
    blocks = np.split(np.arange(len(held)), stops[:-1])
    codes = np.unique(units[held], return_inverse=True)[1]
    metrics = {}
    for model, found in rows.items():
        labels, scores = (np.concatenate([row[k] for row in found]) for k in ("labels", "scores"))
        metrics[model] = {
            "accuracy": prepare_metric("accuracy", y[held], labels.astype(y.dtype)),
            "AUC": prepare_metric("roc_auc", y[held], scores),
        }

    def interval(metric):
        found = resample(metric, codes, blocks, 2000, 0.95, 0)
        return found.value, f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"

    against = [name for name in args.against if name in rows]
    header = f"{which:<30}{'accuracy':>9}{'AUC':>7}{'s/fold':>8}"
    if against:
        header += f"   against the better of {' / '.join(against)}: accuracy, AUC"
    print(header)
    values = {
        model: {what: interval(metric)[0] for what, metric in both.items()}
        for model, both in metrics.items()
    }
    for model, found in rows.items():
        seconds = np.mean([row["seconds"] for row in found])
        text = f"{model:<30}{values[model]['accuracy']:>9.3f}{values[model]['AUC']:>7.3f}"
        text += f"{seconds:>8.1f}"
        if model not in against and against:
            for what in ("accuracy", "AUC"):
                best = max(against, key=lambda name, what=what: values[name][what])
                ours, theirs = metrics[model][what], metrics[best][what]
                text += "   " + interval(partial(difference, ours, theirs))[1]
        print(text, flush=True)


def difference(ours, theirs, index, weights):
    return ours(index, weights) - theirs(index, weights)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ["speed", "shares", "bar"]
    parser.add_argument("--only", nargs="*", choices=parts, default=parts)
    parser.add_argument("--threads", type=int, default=2, help="of speed and shares")
    parser.add_argument("--quick", action="store_true", help="few images, none of 224²")
    parser.add_argument("--data", default=os.environ.get("MILKIT_DATA") or None)
    parser.add_argument("--sets", nargs="*", choices=list(BAR), default=list(BAR))
    kinds = ["random", "blocks"]
    parser.add_argument("--kinds", nargs="*", choices=kinds, default=kinds, help="of folds")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS)
    parser.add_argument(
        "--against", nargs="*", choices=MODELS, default=PLAIN, help="what the others differ from"
    )
    parser.add_argument("--folds", nargs="*", type=int, default=list(range(N_FOLDS)))
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--epochs", type=int, help="of both kinds of networks; fewer, for a look")
    parser.add_argument("--jobs", type=int, default=1, help="folds of the bar at a time")
    parser.add_argument("--results", help="file that keeps what the bar has computed")
    args = parser.parse_args()
    args.drawn = QUICK if args.quick else DRAWN
    args.sizes = list(args.drawn)
    torch.set_num_threads(args.threads)
    with threadpool_limits(args.threads):
        if "speed" in args.only:
            speed_table(args)
        if "shares" in args.only:
            share_tables(args)
    if "bar" in args.only:
        if args.data is None:
            print("\nNo --data and no MILKIT_DATA: the bar is not measured.")
        else:
            bar_table(args)


if __name__ == "__main__":
    main()
