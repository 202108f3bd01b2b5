"""What training AttentionMILClassifier costs, beside attention MIL written plainly on torch.

Contenders take turns in one run; read the ratios of the medians, the machine changes the rest.
"per bag" and "padded" are in ``_attention_reference.py`` and have no dropout. "floor" is the
number of operations of one epoch in the linear layers (forward, gradients of the weights, and of
the inputs but the first layer's) at the rate of the widest layer's matrix products, measured in
the same turns with one and with all threads, the better counting. Parts, for ``--only``:

a         Musk1, or bags of its size: seconds of an epoch, and the loss after the same seconds
b         200 bags of 500 to 3,000 × 1,024, attention on the features or behind 512 hidden units;
          bags whole and in pieces
c         one bag of 20,000 among 199 of 50, × 256, against equal bags; seconds and memory
ensemble  ten members at once on (a), against ten fits in a row
scale     seconds and memory against the number of instances, with a figure
gpu       (a), (b) and (c) on a CUDA device, where there is one

Run: python benchmarks/attention.py --data FOLDER_OF_NPZ_FILES
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from _attention_reference import Padded, PerBag
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from milkit import AttentionMILClassifier, BagArray
from milkit.datasets import load_bags

FIGURE = Path(__file__).resolve().parents[1] / "output" / "attention_scale.png"
PARTS = ("a", "b", "c", "ensemble", "scale", "gpu")
ENOUGH = 8.0  # seconds of one contender, turns together, after which it is not repeated
SMALL, SMALL_EPOCHS = 20_000, 10  # up to so many instances a turn has so many epochs, else one
N_MEMBERS = 10
clock = time.perf_counter  # --cpu-seconds sets another
IN_PIECES = {"max_batch_instances": 1024}  # then most bags of (b) come in pieces
NO_DROPOUT = {"dropout": 0.0}

# Name: the contender it is held against, how, and what is aimed at.
AIMS = {
    "milkit": ("per bag", ">=", 16.0),
    "milkit, no dropout": ("per bag", ">=", 16.0),
    "milkit, no dropout, batch 64": ("per bag", ">=", 16.0),
    "milkit, whole": ("floor", "<=", 1.3),
    "milkit, in pieces": ("floor", "<=", 1.6),
    "milkit, skewed": ("milkit, equal", "<=", 1.5),
    "milkit, skewed, no dropout": ("milkit, equal, no dropout", "<=", 1.5),
    "ten at once": ("ten fits", "<=", 0.75),
    "ten at once, no dropout": ("ten fits, no dropout", "<=", 0.75),
}
MEMORY_AIM = 2.0  # times the packed bags


@dataclass(frozen=True)
class Task:
    """Bags, and the network that is trained on them."""

    X: BagArray
    y: np.ndarray
    hidden: tuple
    attention: int

    @property
    def layers(self):
        """Inputs and outputs of each linear layer that sees instances."""
        widths = [self.X.instance_shape[0], *self.hidden, self.attention, 1]
        return list(pairwise(widths))

    @property
    def flops(self):
        """Operations of the linear layers in one epoch."""
        products = [3 * a * b for a, b in self.layers]
        products[0] -= self.layers[0][0] * self.layers[0][1]  # no gradient of the features
        return 2 * int(self.X.sizes.sum()) * sum(products)

    def reference(self, kind, device="cpu", **options):
        """``PerBag`` or ``Padded`` on these bags."""
        flat, _ = self.X.flat()
        bags = torch.from_numpy(flat).to(device).split(self.X.sizes.tolist())
        return kind(bags, torch.from_numpy(self.y), self.hidden, self.attention, **options)


class TimedClassifier(AttentionMILClassifier):
    """Keeps the seconds of each epoch."""

    def _epochs(self, max_iter, progress):
        self.epoch_seconds_ = []
        for epoch in super()._epochs(max_iter, progress):
            start = now(self.device)
            yield epoch
            self.epoch_seconds_.append(now(self.device) - start)


def now(device="cpu"):
    """A clock, once everything before is done."""
    if device != "cpu":
        torch.cuda.synchronize()
    return clock()


# -- bags -------------------------------------------------------------------------------------


def synthetic_bags(sizes, n_features):
    """Standard normal float32 bags; the first instance of positive ones lies 3 away."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(len(sizes)) % 2)
    offsets = np.r_[0, np.cumsum(sizes)]
    instances = rng.standard_normal((offsets[-1], n_features), dtype=np.float32)
    instances[offsets[:-1][y == 1]] += 3 / np.sqrt(n_features)
    return BagArray(instances, offsets), y


def musk1(args):
    """Musk1 with standardised features, or bags of its size; and its name."""
    path = None if args.data is None else Path(args.data) / "musk1.npz"
    if path is None or not path.exists():
        reason = "no --data and no MILKIT_DATA" if path is None else f"no {path.name} there"
        print(f"Musk1 is skipped, {reason}: synthetic bags of its size instead.")
        sizes = np.random.default_rng(0).permutation(np.arange(92) % 9 + 1)
        return Task(*synthetic_bags(sizes, 166), (256, 128, 64), 64), "bags as Musk1's"
    X, y = load_bags(path, return_X_y=True)
    flat, offsets = X.flat()
    flat = StandardScaler().fit_transform(flat.astype(np.float64)).astype(np.float32)
    y = np.unique(y, return_inverse=True)[1]
    return Task(BagArray(flat, offsets), y, (256, 128, 64), 64), "Musk1"


def pathology(args):
    """The tasks of (b), on the same bags."""
    sizes = np.random.default_rng(0).integers(500, 3001, size=20 if args.quick else 200)
    X, y = synthetic_bags(sizes, 1024)
    return {"(b1) attention on the features": Task(X, y, (), 128),
            "(b2) attention behind 512 units": Task(X, y, (512,), 128)}  # fmt: skip


def skewed_or_equal(skewed):
    """One task of (c): one huge bag, or as many instances in equal bags."""
    sizes = np.array([50] * 199 + [20_000])
    if not skewed:
        sizes = np.diff(np.linspace(0, sizes.sum(), len(sizes) + 1).astype(int))
    return Task(*synthetic_bags(sizes, 256), (128,), 64)


def growing(kind, n_instances):
    """One task of the part scale."""
    n_bags = 10 if kind == "10 bags" else n_instances // 100
    sizes = np.full(n_bags, n_instances // n_bags)
    return Task(*synthetic_bags(sizes, 64), (128, 64), 64)


# -- contenders: functions without arguments that give the seconds of each of some epochs -----


def milkit(task, device="cpu", **params):
    def epochs():
        return fitted(task, epochs_per_turn(task), device=device, **params).epoch_seconds_

    return epochs


def fitted(task, n_epochs, **params):
    params = {"device": "cpu", "random_state": 0, **params}
    net = {"hidden_layer_sizes": task.hidden, "attention_dim": task.attention}
    return TimedClassifier(max_iter=n_epochs, **net, **params).fit(task.X, task.y)


def whole_fits(task, n_fits, **params):
    """Seconds over epochs of fits in a row, with what is done before and behind the epochs."""

    def epochs():
        n_epochs, start = epochs_per_turn(task), now()
        for seed in range(n_fits):
            fitted(task, n_epochs, random_state=seed, **params)
        return [(now() - start) / n_epochs]

    return epochs


def reference(task, kind, device="cpu"):
    model = task.reference(kind, device)

    def epochs():
        seconds = []
        for _ in range(epochs_per_turn(task)):
            start = now(device)
            model.one_epoch()
            seconds.append(now(device) - start)
        return seconds

    return epochs


def epochs_per_turn(task):
    return SMALL_EPOCHS if task.X.sizes.sum() <= SMALL else 1


def floor(task, n_networks=1):
    """Seconds of an epoch's operations at the rate of the widest layer's products."""
    n_in, n_out = max(task.layers, key=np.prod)
    shape = min(2048, int(task.X.sizes.sum())), n_in, n_out
    n_threads = torch.get_num_threads()

    def epochs():
        rates = []
        for n in {1, n_threads}:  # two threads may be slower than one, milkit takes one then
            torch.set_num_threads(n)
            rates.append(product_rate(*shape))
        torch.set_num_threads(n_threads)
        return [n_networks * task.flops / max(rates)]

    return epochs


def product_rate(n, n_in, n_out, device="cpu", dtype=torch.float32):
    """Operations per second of a layer's forward product and of its weights' gradient."""
    x, w, g = (
        torch.ones(shape, device=device, dtype=dtype)
        for shape in ((n, n_in), (n_in, n_out), (n, n_out))
    )
    x @ w, x.T @ g  # warm
    done, start = 0, now(device)
    while (seconds := now(device) - start) < 0.05:
        for _ in range(10):
            x @ w, x.T @ g
        done += 10
    return 4.0 * n * n_in * n_out * done / seconds


def in_turn(name, contenders, turns):
    """Median seconds of an epoch of each contender."""
    seconds = {contender: [] for contender in contenders}
    progress = tqdm(range(turns), desc=name, leave=False, disable=None)
    for _ in progress:
        for contender, epochs in contenders.items():
            if sum(seconds[contender]) <= ENOUGH:
                progress.set_postfix_str(contender)
                seconds[contender] += epochs()
    return {contender: float(np.median(values)) for contender, values in seconds.items()}


# -- tables -----------------------------------------------------------------------------------


def with_threads(args):
    """Set each number of threads in turn."""
    for n_threads in args.threads:
        torch.set_num_threads(n_threads)
        yield n_threads
    torch.set_num_threads(args.threads[0])


def describe(name, task):
    print(f"\n{name}: {task.X}; hidden {task.hidden}, attention {task.attention}")


def print_header():
    print(f"{'threads':<9}{'contender':<30}{'ms/epoch':>10}{'per bag /':>11}{'/ floor':>9}  aim")


def print_rows(n_threads, medians):
    for name, seconds in medians.items():
        line = f"{n_threads:<9}{name:<30}{1e3 * seconds:>10.2f}"
        base = medians.get("per bag")
        line += f"{'-':>11}" if base is None else f"{base / seconds:>10.1f}x"
        line += f"{seconds / medians['floor']:>8.2f}x"
        if name in AIMS:
            other, sign, aim = AIMS[name]
            ratio = medians[other] / seconds if sign == ">=" else seconds / medians[other]
            line += f"  {compared(ratio, sign, aim)} against {other}"
        print(line, flush=True)


def compared(value, sign, aim):
    met = value >= aim if sign == ">=" else value <= aim
    return f"{value:.2f} {sign} {aim:g}: {'met' if met else 'missed'}"


def musk_table(args):
    task, name = musk1(args)
    describe(f"(a) {name}", task)
    print_header()
    for n_threads in with_threads(args):
        contenders = {
            "floor": floor(task),
            "per bag": reference(task, PerBag),
            "padded": reference(task, Padded),
            "milkit": milkit(task),
            "milkit, no dropout": milkit(task, **NO_DROPOUT),
            "milkit, no dropout, batch 64": milkit(task, batch_size=64, **NO_DROPOUT),
        }
        print_rows(n_threads, in_turn(name, contenders, 3 if args.quick else 9))
    same_seconds(task, name, args)


def pathology_table(args):
    for name, task in pathology(args).items():
        describe(name, task)
        print_header()
        for n_threads in with_threads(args):
            contenders = {
                "floor": floor(task),
                "per bag": reference(task, PerBag),
                "padded": reference(task, Padded),
                "milkit, whole": milkit(task, **NO_DROPOUT),
                "milkit, in pieces": milkit(task, **NO_DROPOUT, **IN_PIECES),
            }
            print_rows(n_threads, in_turn(name, contenders, 1 if args.quick else 3))


def skewed_table(args):
    skewed, equal = skewed_or_equal(True), skewed_or_equal(False)
    describe("(c) skewed", skewed)
    print_header()
    for n_threads in with_threads(args):
        contenders = {
            "floor": floor(skewed),
            "per bag": reference(skewed, PerBag),
            "padded": reference(skewed, Padded),
            "milkit, equal": milkit(equal),
            "milkit, skewed": milkit(skewed),
            "milkit, equal, no dropout": milkit(equal, **NO_DROPOUT),
            "milkit, skewed, no dropout": milkit(skewed, **NO_DROPOUT),
        }
        print_rows(n_threads, in_turn("skewed", contenders, 3 if args.quick else 9))
    packed = skewed.X.instances.nbytes / 1e6
    print(f"Memory, beyond the {packed:.0f} MB of the packed bags, of one process each")
    for contender in ("per bag", "padded", "milkit, equal", "milkit, skewed"):
        kind = "equal" if contender == "milkit, equal" else "skewed"
        report = run_one({"kind": kind, "contender": contender.split(",")[0]}, args)
        line = f"{'':<9}{contender:<30}"
        if "peak" in report:
            extra = report["peak"] - report["before"]
            line += f"{extra:>10.0f} MB"
            if contender == "milkit, skewed":
                line += f"  {compared(extra / packed, '<=', MEMORY_AIM)} against packed bags"
        print(line + report.get("note", ""), flush=True)


def ensemble_table(args):
    task, name = musk1(args)
    describe(f"(ensemble) {name}, {N_MEMBERS} networks", task)
    print_header()
    for n_threads in with_threads(args):
        contenders = {
            "floor": floor(task, N_MEMBERS),
            "ten fits": whole_fits(task, N_MEMBERS),
            "ten at once": whole_fits(task, 1, n_estimators=N_MEMBERS),
            "ten fits, no dropout": whole_fits(task, N_MEMBERS, **NO_DROPOUT),
            "ten at once, no dropout": whole_fits(task, 1, n_estimators=N_MEMBERS, **NO_DROPOUT),
        }
        print_rows(n_threads, in_turn("ensemble", contenders, 3 if args.quick else 7))


# -- the loss after the same seconds ----------------------------------------------------------


def same_seconds(task, name, args):
    """Loss of the training bags after whole fits, and of the loop after as many seconds."""
    points, n_seeds = ((0.25, 0.5, 1.0), 1) if args.quick else ((0.25, 0.5, 1.0, 2.0, 4.0), 3)
    print(f"\nLoss on the training bags of {name} after the same seconds, no dropout while")
    print(f"evaluated, medians of {n_seeds} seeds; milkit with its defaults, whole fits")
    torch.set_num_threads(args.threads[0])
    per_epoch, other = seconds_of_fit(task)
    curves = []
    for seed in tqdm(range(n_seeds), desc="loss", leave=False, disable=None):
        lengths = [max(1, int((t - other) / per_epoch)) for t in points]
        ours = [fit_for(task, n_epochs, seed) for n_epochs in lengths]
        loop = losses_of_loop(task, [row[0] for row in ours], seed)
        curves.append([(*a, *b) for a, b in zip(ours, loop, strict=True)])
    print(f"{'seconds':>9}{'epochs':>8}{'loss':>12}   {'per bag: epochs':>16}{'loss':>12}  aim")
    for seconds, n_ours, loss, n_loop, loss_of_loop in np.median(curves, axis=0):
        line = f"{seconds:>9.2f}{n_ours:>8.0f}{loss:>12.2e}   {n_loop:>16.0f}{loss_of_loop:>12.2e}"
        print(f"{line}  {'met' if loss <= loss_of_loop else 'missed'}")


def seconds_of_fit(task):
    """Seconds of an epoch, and of what else is in a fit."""
    fitted(task, 5)
    start = now()
    model = fitted(task, 30)
    seconds = now() - start
    return float(np.median(model.epoch_seconds_)), seconds - sum(model.epoch_seconds_)


def fit_for(task, n_epochs, seed):
    """Seconds, number of epochs and loss."""
    start = now()
    model = fitted(task, n_epochs, random_state=seed)
    seconds = now() - start
    return seconds, n_epochs, log_loss(task.y, model.predict_proba(task.X)[:, 1])


def losses_of_loop(task, points, seed):
    """Number of epochs and loss at each point in time; the epoch under way may end."""
    model = task.reference(PerBag, seed=seed)
    found, seconds, n_epochs = [], 0.0, 0
    for point in points:
        while seconds < point:
            start = now()
            model.one_epoch()
            seconds, n_epochs = seconds + now() - start, n_epochs + 1
        found.append((n_epochs, model.loss()))
    return found


# -- memory and scale: each fit in a process of its own ---------------------------------------


def run_one(what, args):
    """The report of ``report_one`` from a fresh process."""
    command = [sys.executable, __file__, "--threads", str(args.threads[0])]
    command += ["--cpu-seconds"] * args.cpu_seconds + ["--one", json.dumps(what)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        return {"note": f"process ended with status {done.returncode}: {last[0][:100]}"}
    return json.loads(done.stdout.splitlines()[-1])


def report_one(what):
    """Train in this process: seconds of an epoch, and peak memory in MB at three times."""
    contenders = {"milkit": milkit, "per bag": lambda task: reference(task, PerBag)}
    contenders["padded"] = lambda task: reference(task, Padded)
    train = contenders[what["contender"]]
    train(growing("10 bags", 200))()  # late imports
    report = {"start": peak_memory()}
    if what["kind"] in ("skewed", "equal"):
        task = skewed_or_equal(what["kind"] == "skewed")
    else:
        task = growing(what["kind"], what["n_instances"])
    epochs = train(task)
    report["before"] = peak_memory()
    seconds = [s for _ in range(3) for s in epochs()]
    print(json.dumps({**report, "peak": peak_memory(), "seconds": float(np.median(seconds))}))


def peak_memory():
    """Largest resident memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts what the parent held into getrusage
        lines = status.read_text().splitlines()
        return next(int(s.split()[1]) * 1024 / 1e6 for s in lines if s.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def scale_table(args):
    kinds = ("bags of 100", "10 bags")
    sizes = [10**3, 10**4, 10**5] + [10**6] * (not args.quick)
    print(f"\n(scale) {growing(kinds[0], 1000).X.instance_shape[0]} features, default network")
    print(f"{'bags':<14}{'instances':>10}{'ms/epoch':>10}{'packed MB':>11}{'extra MB':>10}")
    rows = {kind: [] for kind in kinds}
    for kind, n in tqdm([(k, n) for k in kinds for n in sizes], leave=False, disable=None):
        report = run_one({"kind": kind, "contender": "milkit", "n_instances": n}, args)
        if "note" in report:
            tqdm.write(f"{kind:<14}{n:>10}  {report['note']}", file=sys.stdout)
            continue
        packed = growing(kind, 1000).X.instances.nbytes / 1e9 * n
        extra = report["peak"] - report["before"]
        rows[kind].append((n, report["seconds"], extra, packed))
        line = f"{kind:<14}{n:>10}{1e3 * report['seconds']:>10.2f}{packed:>11.1f}{extra:>10.1f}"
        tqdm.write(line, file=sys.stdout)
    for kind, points in rows.items():
        if len(points) > 1:
            n, seconds, extra, packed = np.array(points).T
            print(f"{kind}: log-log slope {slope(n, seconds)} of the seconds, "
                  f"{slope(n, packed + extra)} of packed and extra memory")  # fmt: skip
    plot(rows, args.figure)


def slope(x, y):
    """Least squares over all points, and between the last two."""
    overall, last = (np.polyfit(np.log(x[k:]), np.log(y[k:]), 1)[0] for k in (0, -2))
    return f"{overall:.2f} (last {last:.2f})"


def plot(rows, path):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharex=True)
    for marker, (kind, points) in zip("os", rows.items(), strict=True):
        if points:
            n, seconds, extra, packed = np.array(points).T
            axes[0].loglog(n, seconds, marker=marker, label=kind)
            axes[1].loglog(n, np.maximum(extra, 0.1), marker=marker, label=f"{kind}, extra")
    if points:
        axes[1].loglog(n, packed, "k--", label="the packed bags themselves")
    axes[0].set(xlabel="instances", ylabel="seconds of an epoch")
    axes[1].set(xlabel="instances", ylabel="peak memory, MB")
    for ax in axes:
        ax.grid(which="major", alpha=0.3)
        ax.legend()
    path.parent.mkdir(exist_ok=True, parents=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"figure: {path.parent.name}/{path.name}")


# -- GPU --------------------------------------------------------------------------------------


def gpu_table(args):
    if args.cpu_seconds:
        print("\n(gpu) A processor's seconds say nothing of a GPU: not measured.")
        return
    if not torch.cuda.is_available():
        print("\n(gpu) PyTorch finds no CUDA device here: nothing to measure.")
        return
    rates = {
        dtype: product_rate(8192, 8192, 8192, "cuda", dtype)
        for dtype in (torch.float32, torch.bfloat16)
    }
    print(f"\n(gpu) {torch.cuda.get_device_name()}; products of 8192 × 8192, float32 and bfloat16:")
    print(", ".join(f"{rate / 1e12:.1f} TFLOP/s" for rate in rates.values()))
    musk, name = musk1(args)
    tasks = {f"(a) {name}": musk, **pathology(args), "(c) skewed": skewed_or_equal(True)}
    for title, task in tasks.items():
        describe(title, task)
        print(f"{'contender':<30}{'epochs/s':>10}{'per bag /':>11}{'of peak':>9}")
        contenders = {
            "per bag": reference(task, PerBag, "cuda"),
            "padded": reference(task, Padded, "cuda"),
            "milkit": milkit(task, "cuda", **NO_DROPOUT),
            "milkit, bfloat16": milkit(task, "cuda", precision="bfloat16", **NO_DROPOUT),
        }
        medians = in_turn(title, contenders, 3 if args.quick else 5)
        for contender, seconds in medians.items():
            rate = rates[torch.bfloat16 if "bfloat16" in contender else torch.float32]
            line = f"{contender:<30}{1 / seconds:>10.2f}{medians['per bag'] / seconds:>10.1f}x"
            print(f"{line}{task.flops / seconds / rate:>9.1%}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data",
        default=os.environ.get("MILKIT_DATA") or None,
        help="folder with musk1.npz as load_bags reads it (default: $MILKIT_DATA)",
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="of torch")
    parser.add_argument(
        "--cpu-seconds",
        action="store_true",
        help="count those of this process, where others run beside it; for one thread",
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of (b), fewer turns")
    parser.add_argument("--figure", type=Path, default=FIGURE, help="of the part scale")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one process, as JSON
    args = parser.parse_args()
    if args.cpu_seconds:
        if args.threads != [1]:
            parser.error("--cpu-seconds needs --threads 1")
        global clock
        clock = time.process_time
    torch.set_num_threads(args.threads[0])
    if args.one:
        report_one(json.loads(args.one))
        return
    fitted(growing("10 bags", 1000), 1)  # late imports
    tables = (musk_table, pathology_table, skewed_table, ensemble_table, scale_table, gpu_table)
    for part, table in zip(PARTS, tables, strict=True):
        if part in args.only:
            table(args)


if __name__ == "__main__":
    main()
