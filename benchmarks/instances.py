"""What filtering and classifying instances costs, and how it grows with their number.

OneClassInstanceFilter, InstanceVotingClassifier and SelfTrainingMILClassifier with their defaults
on float32 bags of about 100 instances, of log-normal sizes; half of the bags are positive, and one
in twenty of their instances is a witness. Each estimator has a process of its own. "extra MB" is
the peak of the resident memory during a step beyond what was resident before it, which the bags
are part of; the result is part of the extra. Slopes are those of log(seconds) and log(extra MB)
over log(instances): 1 where the cost grows as the number does, less where a part of it does not
grow, such as the detectors, which are fitted on 10,000 instances at most.

Two steps are held against a plain form, in turn; read the ratios, the machine changes the rest.
They are the scores of a OneClassSVM, by products of matrices against libsvm's own, and the choice
of the most outlying half of each bag against a loop over bags. "differs" is the largest relative
difference of a score, or the share of instances that only one of the two chooses.
Run: python benchmarks/instances.py
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from sklearn.svm import OneClassSVM
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from milkit import (
    BagArray,
    InstanceVotingClassifier,
    OneClassInstanceFilter,
    SelfTrainingMILClassifier,
)
from milkit.datasets import make_mil_classification
from milkit.preprocessing._outlyingness import outlyingness
from milkit.utils._segments import segment_top

MEAN_SIZE, N_FEATURES = 100, 64
SIZES, QUICK_SIZES = (10**4, 10**5, 10**6), (10**4, 3 * 10**4)
ENOUGH = 2.0  # seconds of one step, repeats together, after which it is not repeated

# The class of each estimator, and the methods that are measured behind each other.
ESTIMATORS = {
    "filter": (OneClassInstanceFilter, ("fit", "transform", "fit_transform")),
    "voting": (InstanceVotingClassifier, ("fit", "predict_proba")),
    "self-training": (SelfTrainingMILClassifier, ("fit", "transform")),
}
clock = time.perf_counter  # --cpu-seconds sets another


def draw_sizes(rng, n_bags, mean=MEAN_SIZE, spread=0.5):
    drawn = mean * rng.lognormal(-(spread**2) / 2, spread, size=n_bags)
    return np.maximum(np.rint(drawn), 1).astype(int)


def make_bags(n_instances):
    """About so many instances, half of the bags positive."""
    X, y = make_mil_classification(
        n_instances // MEAN_SIZE,
        N_FEATURES,
        bag_size=draw_sizes,
        witness_rate=0.05,
        random_state=0,
    )
    flat, offsets = X.flat()
    return BagArray(flat.astype(np.float32), offsets), y


# -- time and memory: each estimator in a process of its own ---------------------------------


def report_one(task):
    """For each size a line of JSON: seconds and extra memory in MB of each step, and a note."""
    estimator, steps = ESTIMATORS[task["estimator"]]
    run_steps(estimator, steps, *make_bags(2_000), repeats=1)  # late imports
    for n_instances in task["sizes"]:
        X, y = make_bags(n_instances)
        report, model = run_steps(estimator, steps, X, y, task["repeats"])
        report |= {"n_instances": X.n_instances, "data": X.instances.nbytes / 1e6}
        print(json.dumps({**report, "note": describe(model)}), flush=True)
        del X, model


def run_steps(estimator, steps, X, y, repeats):
    report = {}
    for step in steps:
        seconds, extra = [], []
        while len(seconds) < repeats and sum(seconds) < ENOUGH:
            if step.startswith("fit"):
                model = estimator(random_state=0)
            arguments = (X, y) if step.startswith("fit") else (X,)
            before, start = resident_memory(), clock()
            result = getattr(model, step)(*arguments)
            seconds.append(clock() - start)
            extra.append(peak_memory() - before)
            del result
        report[step] = {"seconds": float(np.median(seconds)), "extra": float(np.median(extra))}
    return report, model


def describe(model):
    if isinstance(model, OneClassInstanceFilter):
        return f"{len(model.estimator_[-1].support_vectors_)} support vectors"
    if isinstance(model, SelfTrainingMILClassifier):
        return f"{len(model.history_['bag'])} moved in {model.n_iter_} rounds"
    return f"{model.estimator_[-1].n_iter_[0]} iterations"


def resident_memory():
    """In MB, from where the peak is counted anew; NaN where the system has no such account."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # freed memory that is kept would hide what is taken
        libc.malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return np.nan
    return peak_memory()


def peak_memory():
    """Largest resident memory in MB since ``resident_memory``."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(s.split()[1]) * 1024 / 1e6 for s in lines if s.startswith("VmHWM")), np.nan)


def reports(estimator, sizes, args):
    """The reports of ``report_one`` from a fresh process, as they come."""
    repeats = 1 if args.quick else args.repeats
    task = {"estimator": estimator, "sizes": sizes, "repeats": repeats}
    command = [sys.executable, __file__, "--threads", str(args.threads)]
    command += ["--cpu-seconds"] * args.cpu_seconds + ["--one", json.dumps(task)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield from map(json.loads, process.stdout)
    if process.returncode:
        print(f"{estimator}: process ended with status {process.returncode}")


def cost_table(args):
    sizes = QUICK_SIZES if args.quick else SIZES
    print(f"{N_FEATURES} features, {args.threads} threads")
    print(f"{'estimator':<14}{'step':<15}{'instances':>10}{'seconds':>10}{'instances/s':>13}"
          f"{'data MB':>9}{'extra MB':>10}{'/ data':>8}  note")  # fmt: skip
    points = {}
    progress = tqdm(total=len(args.only) * len(sizes), leave=False, disable=None)
    for name in args.only:
        progress.set_description(name)
        for report in reports(name, sizes, args):
            for step in ESTIMATORS[name][1]:
                point = report["n_instances"], report[step]["seconds"], report[step]["extra"]
                points.setdefault((name, step), []).append(point)
                tqdm.write(cost_row(name, step, report), file=sys.stdout)
            sys.stdout.flush()
            progress.update()
    progress.close()
    slope_table(points)


def cost_row(name, step, report):
    n, data = report["n_instances"], report["data"]
    seconds, extra = report[step]["seconds"], report[step]["extra"]
    line = f"{name:<14}{step:<15}{n:>10}{seconds:>10.3f}{n / seconds:>13.3g}"
    return f"{line}{data:>9.1f}{extra:>10.1f}{extra / data:>8.2f}  {report['note']}"


def slope_table(points):
    print("\nSlope in logarithms between the two largest sizes")
    print(f"{'estimator':<14}{'step':<15}{'seconds':>10}{'extra MB':>10}")
    for (name, step), of_step in points.items():
        if len(of_step) > 1:
            n, seconds, extra = np.array(of_step[-2:]).T
            print(f"{name:<14}{step:<15}{slope(n, seconds):>10}{slope(n, extra):>10}")


def slope(x, y):
    if not np.all(y > 0):
        return "-"
    return f"{np.diff(np.log(y))[0] / np.diff(np.log(x))[0]:.2f}"


# -- against the plain form -------------------------------------------------------------------


def plain_table(args):
    turns = 3 if args.quick else 7
    print(f"\n{'milkit':<34}{'ms':>9}   {'plain':<28}{'ms':>9}{'ratio':>9}  differs")
    compare_scores(2_000 if args.quick else 20_000, turns)
    for mean_size in (10, MEAN_SIZE, 1_000):
        compare_selections(30_000 if args.quick else 10**6, mean_size, turns)


def compare_scores(n_scored, turns):
    """Scores of other instances by the default detector, fitted on as many as by default."""
    X, y = make_bags(50_000)
    flat, _ = X.flat()
    normal = np.repeat(y == 0, X.sizes)
    detector = OneClassSVM(nu=0.1).fit(flat[normal][:10_000])
    instances = flat[~normal][:n_scored]
    contenders = {
        f"scores, {len(instances):,} instances": lambda: outlyingness(detector, instances),
        "OneClassSVM.score_samples": lambda: -detector.score_samples(instances),
    }
    print_ratios(contenders, turns, lambda a, b: f"{np.max(np.abs(a / b - 1)):.0e}")


def compare_selections(n_instances, mean_size, turns):
    """The larger half of each bag's scores, which are all different."""
    rng = np.random.default_rng(0)
    sizes = draw_sizes(rng, n_instances // mean_size, mean_size)
    offsets, counts = np.r_[0, np.cumsum(sizes)], -(-sizes // 2)
    scores = rng.random(offsets[-1])
    contenders = {
        f"segment_top, {len(sizes):,} bags of {mean_size}": lambda: segment_top(
            scores, offsets, counts, scores[:, None]
        ),
        "loop, np.argpartition": lambda: loop_top(np.argpartition, scores, offsets, counts),
        "loop, np.argsort": lambda: loop_top(
            lambda part, _: np.argsort(part), scores, offsets, counts
        ),
    }
    print_ratios(contenders, turns, lambda a, b: f"{np.mean(a != b):.0e}")


def loop_top(order_of, scores, offsets, counts):
    """Mask of the largest scores of each bag."""
    mask = np.zeros(len(scores), dtype=bool)
    for (start, stop), count in zip(pairwise(offsets.tolist()), counts.tolist(), strict=True):
        n_dropped = stop - start - count
        mask[start + order_of(scores[start:stop], n_dropped)[n_dropped:]] = True
    return mask


def print_ratios(contenders, turns, difference):
    """The first contender against each of the others, after turns of all of them."""
    seconds, results = {name: [] for name in contenders}, {}
    for _ in range(turns):
        for name, function in contenders.items():
            start = clock()
            results[name] = function()
            seconds[name].append(clock() - start)
    ours, *others = contenders
    for plain in others:
        a, b = np.median(seconds[ours]), np.median(seconds[plain])
        line = f"{ours:<34}{1e3 * a:>9.2f}   {plain:<28}{1e3 * b:>9.2f}{b / a:>8.2f}x"
        print(f"{line}  {difference(results[ours], results[plain])}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(ESTIMATORS), default=list(ESTIMATORS))
    parser.add_argument("--repeats", type=int, default=5, help="of a step that is quick")
    parser.add_argument("--threads", type=int, default=1, help="of BLAS and OpenMP")
    parser.add_argument(
        "--cpu-seconds",
        action="store_true",
        help="count those of the process, where others run beside it; for one thread",
    )
    parser.add_argument("--quick", action="store_true", help="10,000 and 30,000 instances, once")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one process, as JSON
    args = parser.parse_args()
    if args.cpu_seconds:
        if args.threads != 1:
            parser.error("--cpu-seconds needs --threads 1")
        global clock
        clock = time.process_time
    with threadpool_limits(args.threads):
        if args.one:
            report_one(json.loads(args.one))
        else:
            cost_table(args)
            plain_table(args)


if __name__ == "__main__":
    main()
