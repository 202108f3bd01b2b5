"""Every estimator of milkit beside plain baselines, under one protocol.

Stratified 10-fold cross-validation with bags shuffled, repeated with fold seeds 100 to 104; models
from pixels 5 folds with seed 100 alone. Everything that looks at data is fitted inside the training
fold. Hyper-parameters are those in _leaderboard_models.py, fixed before these folds were looked at
(defaults were chosen on fold seeds 0 to 4), or chosen by cross-validation inside the training fold.
Nothing is chosen on a test fold. Every fold is one thread; a cell (a model on a set) runs in a
process of its own and begins no new fold when it has used its budget. Finished folds are kept in
--results, and a killed run goes on from there.
Run: python benchmarks/leaderboard.py --data FOLDER --jobs 2 --write docs/leaderboard.md
One cell again: python benchmarks/leaderboard.py --data FOLDER --sets musk1 --models MISVM
--results ""
"""

import argparse
import hashlib
import json
import os
import re
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _leaderboard_models import MODELS, SETS, read_set
from _leaderboard_tables import Cell, left_to_run, page, seconds_left
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits
from tqdm import tqdm

N_FOLDS, SEEDS = 10, (100, 101, 102, 103, 104)
N_FOLDS_PIXELS, SEEDS_PIXELS = 5, (100,)


def protocol(model, seeds):
    """Number of folds and fold seeds of a model."""
    if MODELS[model].pixels:
        return N_FOLDS_PIXELS, tuple(seeds[:1])
    return N_FOLDS, tuple(seeds)


def folds_of(y, n_folds, seed):
    return list(StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(y, y))


def settings_of(estimator):
    """A short name for an estimator with all parameters: other settings are another cell."""
    text = re.sub(" at 0x[0-9a-f]+", "", "".join(parts_of(estimator)))
    return hashlib.sha1(text.encode()).hexdigest()[:10]


def parts_of(value):
    """Every parameter of an estimator, of those inside it and of candidates in lists."""
    if hasattr(value, "get_params"):
        yield type(value).__name__
        for name, inner in sorted(value.get_params(deep=False).items()):
            yield name
            yield from parts_of(inner)
    elif isinstance(value, (list, tuple, dict)):
        for inner in value.items() if isinstance(value, dict) else value:
            yield from parts_of(inner)
    else:
        yield repr(vars(value)) if isinstance(value, StratifiedKFold) else repr(value)


def known_rows(path):
    if not path or not Path(path).exists():
        return []
    rows = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:  # written when the run was killed; that fold is run again
            continue
    return rows


def append_row(path, row):
    """Write a row on a line of its own, also behind a line that was not finished."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            whole = file.read(1) == b"\n"
        else:
            whole = True
        file.write(("" if whole else "\n").encode() + json.dumps(row).encode() + b"\n")


def count_lines(path):
    if not path or not Path(path).exists():
        return 0
    with Path(path).open("rb") as file:
        return sum(1 for _ in file)


# -- one cell --------------------------------------------------------------------------------


def run_cell(data, dataset, name, todo, n_folds, seconds, path):
    """Folds of a model on a set, until the budget is used; each is written as it is done."""
    import torch

    torch.set_num_threads(1)
    model = MODELS[name]
    X, y = read_set(Path(data), dataset, model.pixels)
    settings = settings_of(model.make(1, 0))
    n_features = X.n_features if len(X.instance_shape) == 1 else 0
    rows = []
    with threadpool_limits(1):
        for seed, fold in todo:
            if seconds <= 0:
                break
            train, test = folds_of(y, n_folds, seed)[fold]
            row = {"set": dataset, "model": name, "settings": settings, "seed": seed, "fold": fold}
            held = restart_peak()
            row |= one_fold(model.make(n_features, 1000 * seed + fold), X, y, train, test)
            row["megabytes"] = None if held is None else memory("VmHWM") - held
            seconds -= row["seconds"]
            rows.append(row)
            if path:
                append_row(path, row)
    return rows


def restart_peak():
    """Let the peak of this process begin at what it holds now, in MB; None where Linux cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return memory("VmRSS")


def memory(what):
    """A line of this process's status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def one_fold(estimator, X, y, train, test):
    """What a model says of the test bags, and the CPU seconds of its fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.process_time()
        estimator.fit(X[train], y[train])
        seconds = time.process_time() - start
        labels = estimator.predict(X[test])
        probable = hasattr(estimator, "predict_proba")
        ranked = hasattr(estimator, "decision_function")
        probabilities = estimator.predict_proba(X[test]) if probable else None
        scores = estimator.decision_function(X[test]) if ranked else probabilities
    if scores.ndim == 2 and scores.shape[1] == 2:
        scores = scores[:, 1]
    unconverged = sum(issubclass(w.category, ConvergenceWarning) for w in caught)
    row = {"labels": labels.tolist(), "scores": six_digits(scores)}
    row["probabilities"] = six_digits(probabilities) if probable else None
    row["chosen"] = getattr(estimator, "best_index_", None)
    if row["chosen"] is not None:
        row["chosen"] = int(row["chosen"])
    return row | {"seconds": seconds, "unconverged": unconverged}


def six_digits(values):
    """Six significant digits: small probabilities must not become 0."""
    values = np.asarray(values, dtype=np.float64)
    rounded = [float(f"{value:.6g}") for value in values.ravel()]
    return np.reshape(rounded, values.shape).tolist()


# -- all of them -----------------------------------------------------------------------------


def cells_of(args, rows):
    """Every cell with its finished folds; the folds that are missing are its ``todo``."""
    found = {}
    for row in rows:
        key = row["set"], row["model"], row["settings"]
        found.setdefault(key, {})[row["seed"], row["fold"]] = row
    cells = []
    for name in args.models:
        for dataset in args.sets:
            n_folds, seeds = protocol(name, args.seeds)
            done = found.get((dataset, name, settings_of(MODELS[name].make(1, 0))), {})
            wanted = [(seed, fold) for seed in seeds for fold in range(n_folds)]
            rows = {key: done[key] for key in wanted if key in done}
            cells.append(Cell(dataset, name, MODELS[name], n_folds, seeds, rows))
    return cells


def compute(args, cells):
    """Run what is missing; the rows of all cells."""
    calls = []
    for cell in cells:
        todo = [key for key in cell.wanted if key not in cell.rows]
        left = seconds_left(cell, args.budget)
        if left_to_run(cell, args.budget):
            calls.append((args.data, cell.dataset, cell.model, todo, cell.n_folds, left))
    n_waiting = sum(len(call[3]) for call in calls)
    rows = []
    pool = ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1)
    bar = tqdm(total=n_waiting, desc="folds", disable=None)
    before = count_lines(args.results)
    with pool, bar:
        futures = {pool.submit(run_cell, *call, args.results): call[1:3] for call in calls}
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=5)
            for future in done:
                if future.exception() is None:
                    rows += future.result()
                else:  # the others go on; its folds that are done count, and it is said
                    tqdm.write(f"{futures[future]} failed: {future.exception()!r}")
            bar.n = count_lines(args.results) - before if args.results else len(rows)
            bar.refresh()
    return known_rows(args.results) if args.results else rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("MILKIT_DATA") or None)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=SETS)
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time")
    parser.add_argument("--budget", type=float, default=600, help="CPU seconds of fits for a cell")
    parser.add_argument("--results", default="output/leaderboard.jsonl", help='"" keeps nothing')
    parser.add_argument("--print-only", action="store_true", help="tables of what is there")
    parser.add_argument("--write", help="file for the tables, in place of the screen")
    args = parser.parse_args()
    if args.data is None:
        print("No --data and no MILKIT_DATA: nothing to measure.")
        return
    for name in list(args.sets):
        if not (Path(args.data) / f"{name}.npz").exists():
            print(f"{name} is skipped: no {name}.npz in the data folder.")
            args.sets.remove(name)
    rows = known_rows(args.results)
    if not args.print_only:
        rows += compute(args, cells_of(args, rows))
    cells = cells_of(args, rows)
    labels = {name: read_set(Path(args.data), name, False)[1] for name in args.sets}
    text = page(cells, labels, folds_of, args)
    if args.write:
        Path(args.write).write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
