"""What a fit of MISVM costs, beside MI-SVM and mi-SVM written plainly on cvxopt.

Each fit is repeated in turn with the reference, in one run; read the ratios of the medians, the
machine changes the rest. "differs" is the relative difference of the final objective from the
reference's, whose solutions at a gap of 1e-4 sometimes lead to other witnesses; ``--tol 1e-8``
makes the paths agree. ``--full`` adds Musk2, where the reference takes minutes and runs once;
``--scale`` measures time and memory on growing synthetic bags instead, each fit in a process of
its own. Run: python benchmarks/misvm.py --data FOLDER_OF_NPZ_FILES
"""

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits
from tqdm import tqdm

from milkit import MISVM, BagArray
from milkit.datasets import load_bags

FIGURE = Path(__file__).resolve().parents[1] / "output" / "misvm_scale.png"
NOT_COMPILED = "auto, not compiled"
BAG_SIZE, N_FEATURES = 20, 50
ENOUGH = 10.0  # seconds of one fit, repeats together, after which it is not repeated

# The sets, and the margin, kernel and C of each row.
BAG_ROWS = [("bag", kernel, C) for C in (1, 50) for kernel in ("rbf", "linear")]
INSTANCE_ROWS = [("instance", "rbf", 1), ("instance", "linear", 1)]
SETS = {
    "musk1": BAG_ROWS + INSTANCE_ROWS,
    "elephant": BAG_ROWS + INSTANCE_ROWS,
    "tiger": BAG_ROWS,
    "musk2": BAG_ROWS[:2],
}

# Name, arguments of MISVM and numbers of instances of each line in the figure.
SCALE = [
    ("bag, linear", {"kernel": "linear"}, (10**3, 10**4, 10**5, 10**6)),
    (
        "bag, linear, negative_slack=instance",
        {"kernel": "linear", "negative_slack": "instance"},
        (10**3, 10**4, 10**5, 10**6),
    ),
    ("bag, rbf", {"kernel": "rbf"}, (10**3, 5 * 10**3, 2 * 10**4)),
    (
        "bag, rbf, negative_slack=instance",
        {"kernel": "rbf", "negative_slack": "instance"},
        (10**3, 5 * 10**3, 2 * 10**4),
    ),
    (
        "instance, linear",
        {"kernel": "linear", "margin": "instance"},
        (10**3, 10**4, 10**5, 10**6),
    ),
    ("instance, rbf", {"kernel": "rbf", "margin": "instance"}, (10**3, 5 * 10**3, 2 * 10**4)),
]
FULL_ONLY = 10**6


@dataclass
class Measured:
    """The repeats of one fit."""

    seconds: list = field(default_factory=list)
    objective: float = np.nan
    n_iter: int = 0
    gap: float = np.nan
    note: str = ""


def fit_names():
    """The reference, each solver of MISVM, and the default without its compiled loop."""
    (solvers,) = (rule.options for rule in MISVM._parameter_constraints["solver"])
    names = ["reference", "auto", *sorted(solvers - {"auto"})]
    return names + [NOT_COMPILED] * (compiled_part() is not None)


def compiled_part():
    """The module that holds MISVM's compiled loop, or None."""
    try:
        module = importlib.import_module("milkit.svm._working_set")
    except ImportError:
        return None
    return module if getattr(module, "smo", None) is not None else None


@contextmanager
def without_compiled_part():
    module = compiled_part()
    compiled, module.smo = module.smo, None
    try:
        yield
    finally:
        module.smo = compiled


def synthetic_bags(n_instances):
    """Standard normal bags; one instance of each positive bag lies 3 away along a diagonal."""
    rng = np.random.default_rng(0)
    n_bags = n_instances // BAG_SIZE
    y = rng.permutation(np.arange(n_bags) % 2)
    instances = rng.standard_normal((n_bags * BAG_SIZE, N_FEATURES))
    witness = np.arange(n_bags) * BAG_SIZE + rng.integers(BAG_SIZE, size=n_bags)
    instances[witness[y == 1]] += 3 / np.sqrt(N_FEATURES)
    return BagArray(instances, BAG_SIZE * np.arange(n_bags + 1)), y


def real_bags(path):
    """The training part of the first of ten folds, features standardised."""
    X, y = load_bags(path, return_X_y=True)
    folds = StratifiedKFold(10, shuffle=True, random_state=0).split(np.zeros(len(y)), y)
    train, _ = next(folds)
    X = X[train]
    flat, offsets = X.flat()
    return BagArray(StandardScaler().fit_transform(flat.astype(np.float64)), offsets), y[train]


def fit_milkit(X, y, *, solver, **params):
    """Seconds, objective, outer steps, relative gap, and what there is to note."""
    model = MISVM(init="mean", class_weight=None, solver=solver, **params)  # as the reference
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - start
    warned = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    notes = [model.solver_] * (model.solver_ != solver) + ["ConvergenceWarning"] * warned
    return seconds, model.objective_[0], model.n_iter_, model.relative_gap_[0], ", ".join(notes)


def fit_reference(bags, y, margin, **params):
    from _misvm_reference import fit_bag_margin, fit_instance_margin

    start = time.perf_counter()
    model = (fit_bag_margin if margin == "bag" else fit_instance_margin)(bags, y, **params)
    seconds = time.perf_counter() - start
    return seconds, model.objective, model.n_iter, np.nan, ""


def measure(X, y, row, args, progress):
    """A ``Measured`` for each fit of one row of the table, the fits taking turns."""
    params = dict(zip(("margin", "kernel", "C"), row, strict=True)) | {"tol": args.tol}
    bags = list(X)
    measured = {name: Measured() for name in args.fits}
    for _ in range(args.repeats):
        for name, result in measured.items():
            if result.note.startswith("refused") or sum(result.seconds) > ENOUGH:
                continue
            progress.set_postfix_str(name)
            try:
                if name == "reference":
                    one = fit_reference(bags, y, **params)
                elif name == NOT_COMPILED:
                    with without_compiled_part():
                        one = fit_milkit(X, y, solver="auto", **params)
                else:
                    one = fit_milkit(X, y, solver=name, **params)
            except (ValueError, MemoryError, RuntimeError) as error:
                result.note = refusal(error)
            else:
                seconds, result.objective, result.n_iter, result.gap, result.note = one
                result.seconds.append(seconds)
    return measured


def refusal(error):
    return "refused: " + str(error).split(". ")[0][:100]


def print_row(name, row, measured):
    margin, kernel, C = row
    reference = measured.get("reference", Measured())
    base = float(np.median(reference.seconds)) if reference.seconds else np.nan
    for fit, result in measured.items():
        line = f"{name:<10}{margin:<9}{kernel:<7}{C:>3}  {fit:<19}"
        if result.seconds:
            seconds = float(np.median(result.seconds))
            ratio, difference = base / seconds, result.objective / reference.objective - 1
            line += f"{seconds:>9.4f}" + (f"{ratio:>8.1f}x" if base == base else f"{'-':>9}")
            line += f"{len(result.seconds):>5}{result.objective:>13.5f}"
            line += f"{difference:>10.1e}" if base == base else f"{'-':>10}"
            line += f"{'-':>9}" if fit == "reference" else f"{result.gap:>9.1e}"
            line += f"{result.n_iter:>6}"
        tqdm.write(f"{line}  {result.note}".rstrip(), file=sys.stdout)
    sys.stdout.flush()


def compare(args):
    sets = {"synthetic": (synthetic_bags(1000), BAG_ROWS[:2])}
    if args.data is None:
        print("No --data and no MILKIT_DATA: the real sets are skipped.")
    for name in args.sets if args.data is not None else []:
        path = Path(args.data) / f"{name}.npz"
        if name == "musk2" and not args.full:
            print("musk2 is skipped without --full: the reference takes minutes on it.")
        elif not path.exists():
            print(f"{name} is skipped: no {name}.npz in the data folder.")
        else:
            sets[name] = (real_bags(path), SETS[name])
    for name, ((X, y), _) in sets.items():
        print(f"{name}: {(y == 1).sum()} positive, {(y == 0).sum()} negative bags, {X}")
    print_threads()

    header = f"{'set':<10}{'margin':<9}{'kernel':<7}{'C':>3}  {'fit':<19}{'seconds':>9}{'ratio':>9}"
    header += f"{'runs':>5}{'objective':>13}{'differs':>10}{'gap':>9}{'steps':>6}  note"
    print(f"\n{header}")
    ratios = {name: [] for name in args.fits if name != "reference"}
    rows = [(name, row) for name in sets for row in sets[name][1]]
    progress = tqdm(rows, leave=False, disable=None)
    measure(*synthetic_bags(200), INSTANCE_ROWS[0], args, progress)  # late imports
    for name, row in progress:
        progress.set_description(", ".join(map(str, (name, *row))))
        measured = measure(*sets[name][0], row, args, progress)
        print_row(name, row, measured)
        for fit, of_fit in ratios.items():
            pair = [measured[which].seconds for which in ("reference", fit) if which in measured]
            if len(pair) == 2 and all(pair):
                of_fit.append(np.median(pair[0]) / np.median(pair[1]))
    if any(ratios.values()):
        print("\nTimes as fast as the reference: smallest, median and largest ratio of the rows")
    for fit, of_fit in ratios.items():
        if of_fit:
            low, middle, high = np.quantile(of_fit, [0, 0.5, 1])
            print(f"{fit:<19}{low:>8.1f}x{middle:>8.1f}x{high:>8.1f}x   {len(of_fit)} rows")


def print_threads():
    import cvxopt.solvers  # noqa: F401  brings a BLAS of its own

    for info in threadpool_info():
        library = Path(info["filepath"]).parent.name
        print(f"{info['user_api']} of {library}: {info['num_threads']} threads")


def fit_one(task):
    """What the process of one fit does; its report goes to standard output."""
    X, y = synthetic_bags(task["n_instances"])
    report = {"before": peak_memory()}
    try:
        seconds, _, n_iter, gap, note = fit_milkit(X, y, **task["params"])
        report |= {"seconds": seconds, "n_iter": int(n_iter), "gap": float(gap), "note": note}
    except (ValueError, MemoryError, RuntimeError) as error:
        report["note"] = refusal(error)
    report["peak"] = peak_memory()
    print(json.dumps(report))


def peak_memory():
    """Largest resident memory of this process so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def run_one(params, n_instances, args):
    """The report of one fit in a fresh process, so that the peak memory is that fit's."""
    task = {"params": params, "n_instances": n_instances}
    command = [sys.executable, __file__, "--threads", str(args.threads), "--one", json.dumps(task)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.limit)
    except subprocess.TimeoutExpired:
        return {"note": f"stopped after {args.limit:g} s"}
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        return {"note": f"process ended with status {done.returncode}: {last[0][:100]}"}
    return json.loads(done.stdout.splitlines()[-1])


def scale(args):
    print(f"Bags of {BAG_SIZE} instances, {N_FEATURES} features; {args.threads} threads")
    header = f"{'fit':<38}{'instances':>10}{'seconds':>10}{'before MB':>11}{'peak MB':>9}"
    print(f"{header}{'steps':>7}{'gap':>9}  note")
    lines = {}
    progress = tqdm(total=sum(len(sizes) for _, _, sizes in SCALE), leave=False, disable=None)
    for name, params, sizes in SCALE:
        for i, n_instances in enumerate(sizes):
            if n_instances >= FULL_ONLY and not args.full:
                progress.update()
                continue
            progress.set_description(f"{name}, {n_instances} instances")
            report = run_one({**params, "solver": args.solver}, n_instances, args)
            line = f"{name:<38}{n_instances:>10}"
            if "seconds" in report:
                lines.setdefault(name, []).append((n_instances, report["seconds"]))
                line += "{seconds:>10.3f}{before:>11.0f}{peak:>9.0f}".format(**report)
                line += "{n_iter:>7}{gap:>9.1e}".format(**report)
            tqdm.write(f"{line}  {report['note']}".rstrip(), file=sys.stdout)
            sys.stdout.flush()
            progress.update()
            if "seconds" not in report:  # larger ones will not fit either
                progress.update(len(sizes) - i - 1)
                break
    progress.close()
    if lines:
        plot(lines, args.solver)


def plot(lines, solver):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7, 5), layout="constrained")
    for marker, (name, points) in zip("osvD^P", lines.items(), strict=False):
        ax.loglog(*zip(*points, strict=True), marker=marker, label=name)
    ax.set(
        xlabel=f"instances, {BAG_SIZE} a bag",
        ylabel="seconds of one fit",
        title=f"MISVM(solver={solver!r}), {N_FEATURES} features",
    )
    ax.grid(which="major", alpha=0.3)
    ax.legend()
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=150)
    print(f"\nfigure: {FIGURE.parent.name}/{FIGURE.name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data",
        default=os.environ.get("MILKIT_DATA") or None,
        help="folder with musk1.npz, ... as load_bags reads them (default: $MILKIT_DATA)",
    )
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--fits", nargs="+", choices=fit_names(), default=fit_names())
    parser.add_argument("--repeats", type=int, default=5, help="of each fit")
    parser.add_argument("--tol", type=float, default=1e-4, help="relative gap, of all fits")
    parser.add_argument("--full", action="store_true", help="Musk2; 1,000,000 instances in --scale")
    parser.add_argument("--threads", type=int, help="of BLAS (default: 1, 2 in --scale)")
    parser.add_argument("--scale", action="store_true", help="growing synthetic bags instead")
    parser.add_argument("--solver", default="auto", help="of --scale")
    parser.add_argument("--limit", type=float, default=300, help="seconds of one fit of --scale")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one fit of --scale, as JSON
    args = parser.parse_args()
    if args.threads is None:
        args.threads = 2 if args.scale else 1
    with threadpool_limits(args.threads):
        if args.one:
            fit_one(json.loads(args.one))
        elif args.scale:
            scale(args)
        else:
            compare(args)


if __name__ == "__main__":
    main()
