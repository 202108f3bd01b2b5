"""What filtering and classifying instances costs, and how it grows with their number.

OneClassInstanceFilter, InstanceVotingClassifier and SelfTrainingMILClassifier with their defaults
on float32 bags of about 100 instances, log-normal sizes, one in twenty instances of positive bags
a witness. Each fit is made in a process of its own. "extra MB" is the peak of the resident memory
during the step beyond what was resident before it, the bags themselves among that, and "slope" is
that of log(seconds) over log(instances), 1 where the cost grows as the number does.

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


def make_bags(n_instances):
    """About so many instances, half of the bags positive."""

    def bag_sizes(rng, n_bags):
        spread = 0.5
        drawn = MEAN_SIZE * rng.lognormal(-(spread**2) / 2, spread, size=n_bags)
        return np.maximum(np.rint(drawn), 1).astype(int)

    X, y = make_mil_classification(
        n_instances // MEAN_SIZE,
        N_FEATURES,
        bag_size=bag_sizes,
        witness_rate=0.05,
        random_state=0,
    )
    flat, offsets = X.flat()
    return BagArray(flat.astype(np.float32), offsets), y


# -- time and memory: each estimator and size in a process of its own ------------------------


def report_one(task):
    """Seconds and extra memory in MB of each step, and what there is to note."""
    estimator, steps = ESTIMATORS[task["estimator"]]
    run_steps(estimator, steps, *make_bags(2_000), repeats=1)  # late imports
    X, y = make_bags(task["n_instances"])
    report, model = run_steps(estimator, steps, X, y, task["repeats"])
    report["n_instances"], report["data"] = X.n_instances, X.instances.nbytes / 1e6
    print(json.dumps({**report, "note": describe(model)}))


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
        return f"{len(model.estimator_.support_vectors_)} support vectors"
    if isinstance(model, SelfTrainingMILClassifier):
        return f"{len(model.history_['bag'])} moved in {model.n_iter_} rounds"
    return f"{model.estimator_[-1].n_iter_[0]} iterations"


def resident_memory():
    """In MB, from where the peak is counted anew; NaN where the system has no such account."""
    gc.collect()
    if not Path("/proc/self/clear_refs").exists():
        return np.nan
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # freed memory that is kept would hide what is taken
        libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory():
    """Largest resident memory in MB since ``resident_memory``."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(s.split()[1]) * 1024 / 1e6 for s in lines if s.startswith("VmHWM")), np.nan)


def run_one(estimator, n_instances, args):
    """The report of ``report_one`` from a fresh process."""
    task = {"estimator": estimator, "n_instances": n_instances, "repeats": args.repeats}
    command = [sys.executable, __file__, "--threads", str(args.threads)]
    command += ["--cpu-seconds"] * args.cpu_seconds + ["--one", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        return {"note": f"process ended with status {done.returncode}: {last[0][:100]}"}
    return json.loads(done.stdout.splitlines()[-1])


def cost_table(args):
    sizes = QUICK_SIZES if args.quick else SIZES
    print(f"{N_FEATURES} features, {args.threads} threads")
    print(f"{'estimator':<14}{'step':<15}{'instances':>10}{'seconds':>10}{'instances/s':>13}"
          f"{'data MB':>9}{'extra MB':>10}{'/ data':>8}  note")  # fmt: skip
    points = {}
    cells = [(name, n) for name in args.only for n in sizes]
    for name, n in (progress := tqdm(cells, leave=False, disable=None)):
        progress.set_description(f"{name}, {n} instances")
        report = run_one(name, n, args)
        for step in ESTIMATORS[name][1]:
            if step in report:
                point = report["n_instances"], report[step]["seconds"], report[step]["extra"]
                points.setdefault((name, step), []).append(point)
                tqdm.write(cost_row(name, step, report), file=sys.stdout)
        if "n_instances" not in report:
            tqdm.write(f"{name:<14}{'':<15}{n:>10}  {report['note']}", file=sys.stdout)
        sys.stdout.flush()
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
    compare_selections(30_000 if args.quick else 10**6, turns)


def compare_scores(n_scored, turns):
    """Scores of other instances by the default detector, fitted on as many as by default."""
    X, y = make_bags(40_000)
    flat, _ = X.flat()
    normal = np.repeat(y == 0, X.sizes)
    detector = OneClassSVM(nu=0.1).fit(flat[normal][:10_000])
    instances = flat[~normal][:n_scored]
    contenders = {
        f"scores, {len(instances):,} instances": lambda: outlyingness(detector, instances),
        "OneClassSVM.score_samples": lambda: -detector.score_samples(instances),
    }
    print_ratios(contenders, turns, lambda a, b: f"{np.max(np.abs(a / b - 1)):.0e}")


def compare_selections(n_instances, turns):
    """The more outlying half of each bag."""
    X, _ = make_bags(n_instances)
    flat, offsets = X.flat()
    scores = np.random.default_rng(0).random(len(flat))
    counts = -(-X.sizes // 2)
    contenders = {
        f"segment_top, {len(flat):,} instances": lambda: segment_top(scores, offsets, counts, flat),
        "loop, np.argpartition": lambda: loop_top(np.argpartition, scores, offsets, counts),
        "loop, np.argsort": lambda: loop_top(lambda v, _: np.argsort(v), scores, offsets, counts),
    }
    print_ratios(contenders, turns, lambda a, b: f"{np.mean(a != b):.0e}")


def loop_top(order_of, scores, offsets, counts):
    """Mask of the largest scores of each bag; equal scores fall as they may."""
    mask = np.zeros(len(scores), dtype=bool)
    for start, stop, count in zip(offsets[:-1], offsets[1:], counts, strict=True):
        size = stop - start
        order = order_of(scores[start:stop], min(size - count, size - 1))
        mask[start + order[size - count :]] = True
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
        line = f"{ours:<34}{1e3 * a:>9.2f}   {plain:<28}{1e3 * b:>9.2f}{b / a:>8.1f}x"
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
    parser.add_argument("--quick", action="store_true", help="10,000 and 30,000 instances")
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
