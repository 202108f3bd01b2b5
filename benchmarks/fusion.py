"""What ClinicalFusion gains, what it does not let through, and what it costs.

leak    Bags of noise beside an informative covariate, beside a covariate of noise, and both again
        with several bags of each patient that resemble each other. The base is 1-NN on bag
        statistics, which knows every bag that it was fitted on by heart. Beside ClinicalFusion two
        stackers that are written out here: one trains its second level on scores of the bags that
        the base was fitted on, the other on out-of-fold scores whose folds divide patients. Mean
        AUC over the folds of an outer cross-validation by patient, then over seeds.
choice  Which estimator and second level the part "real" uses: the best of these on simulated
        cohorts with seeds that are not reported.
real    Clinical only, bags only and both on a simulated cohort, mutagenesis_atoms (groups are the
        molecules with the same atoms) and parkinsons_telemonitoring (by subject): repeated
        cross-validation by group, AUC, intervals over groups. The estimator is that of "choice",
        a rule that sees none of these bags; beside its second level the default.
rows    MI-SVM alone, the clinical table alone, MI-SVM with XGBoost and D-MIL on the cohort: rows of
        the table in a report on such a cohort (Bouatay, Chouchene, Naji 2021), here on simulated
        bags. MISVM has its own defaults, D-MIL the report's widths; folds are stratified on the
        label and the halves of age and count.
speed   Fusing 10,000 bags of 100 x 64 in float32 with cv=5, as a multiple of one fit of the
        estimator in the same run; at most 6.6 is wanted. And the peak of the memory beyond what
        was resident before, over all processes, as a multiple of the bags. Where the system is
        slow to give memory, glibc can be told to keep what is freed, so that this is in neither
        time: MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 in the environment.
Run: python benchmarks/fusion.py --data FOLDER_OF_NPZ_FILES, or --only leak speed for some parts
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from tqdm import tqdm
from xgboost import XGBClassifier

from milkit import (
    MISVM,
    AttentionMILClassifier,
    BagArray,
    BagStatistics,
    ClinicalFusion,
    InstanceTransformer,
    InstanceVotingClassifier,
)
from milkit.datasets import load_bags, make_blood_smear_cohort, make_mil_classification
from milkit.model_selection import GroupedSplit, fusion_ablation
from milkit.model_selection._folds import whole_group_folds

# -- leak -------------------------------------------------------------------------------------

BASE = make_pipeline(BagStatistics(), KNeighborsClassifier(1))
# The default second level where both classes are as many.
SECOND = XGBClassifier(n_estimators=100, learning_rate=0.1, n_jobs=1, random_state=0)
LEAK_ROWS = ("clinical only", "fusion", "divided stacker", "in-fold stacker")
# Patients, bags of each, deviation of the patients' features, signal of the covariate.
LEAK_CASES = {
    "informative covariate": (120, 1, 0.0, 1.0),
    "pure noise": (120, 1, 0.0, 0.0),
    "informative, 4 bags a patient": (100, 4, 2.0, 1.0),
    "pure noise, 4 bags a patient": (100, 4, 2.0, 0.0),
}


def noise_bags(seed, n_patients, n_each, patient_effect, signal):
    """Bags that know their patient, and nothing of the label."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n_patients) % 2)
    patient = np.repeat(np.arange(n_patients), n_each)
    shift = patient_effect * rng.normal(size=(n_patients, 5))
    bags = [rng.normal(size=(10, 5)) + shift[p] for p in patient]
    age = signal * labels + rng.normal(size=n_patients)
    X = BagArray.from_list(bags, groups=patient, covariates={"age": age[patient]})
    return X, labels[patient]


def stacker(X, y, new, folds):
    """Scores of new bags; the second level's training scores are in-fold where folds is None."""
    base = clone(BASE).fit(X, y)
    if folds is None:
        own = base.predict_proba(X)
    else:
        own = cross_val_predict(BASE, X, y, cv=folds, method="predict_proba")
    second = clone(SECOND).fit(np.column_stack([own[:, 1], X.covariates["age"]]), y)
    rows = np.column_stack([base.predict_proba(new)[:, 1], new.covariates["age"]])
    return second.predict_proba(rows)[:, 1]


def leak_seed(seed, case):
    """Mean AUC over the outer folds, shape (4,)."""
    X, y = noise_bags(seed, *case)
    outer = GroupedSplit(StratifiedGroupKFold(5, shuffle=True, random_state=seed))
    areas = []
    for train, test in outer.split(X, y):
        own, new = X[train].with_columns(), X[test].with_columns()
        scores = [
            ClinicalFusion(e, SECOND, random_state=seed).fit(own, y[train]).predict_proba(new)[:, 1]
            for e in ([], BASE)
        ]
        divided = StratifiedKFold(5, shuffle=True, random_state=seed)
        scores += [stacker(own, y[train], new, folds) for folds in (divided, None)]
        areas.append([roc_auc_score(y[test], s) for s in scores])
    return np.mean(areas, axis=0)


def leak_part(args):
    seeds = range(5 if args.quick else args.seeds)
    print(f"Bags of noise, {len(seeds)} seeds; mean AUC ± its deviation over seeds")
    print(f"{'':<32}" + "".join(f"{name:>18}" for name in LEAK_ROWS))
    for name, case in LEAK_CASES.items():
        tasks = [delayed(leak_seed)(seed, case) for seed in seeds]
        progress = tqdm(
            Parallel(args.jobs, return_as="generator")(tasks),
            name,
            len(tasks),
            leave=False,
            disable=None,
        )
        areas = np.array(list(progress))
        cells = zip(areas.mean(axis=0), areas.std(axis=0), strict=True)
        print(f"{name:<32}" + "".join(f"{m:>11.3f} ± {s:.3f}" for m, s in cells), flush=True)
    print(
        "Wanted of an informative covariate: fusion at least clinical only - .05, in-fold stacker "
        "below .55. Of pure noise: fusion .5 ± .05."
    )


# -- real bags --------------------------------------------------------------------------------


def scaled(estimator):
    return make_pipeline(InstanceTransformer(StandardScaler()), estimator)


def logistic(**params):
    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(**params))


ESTIMATORS = {
    "statistics": make_pipeline(BagStatistics(), logistic(C=0.1)),
    "voting": InstanceVotingClassifier(voting="mean"),
    "MI-SVM": scaled(MISVM()),
}
SECOND_LEVELS = {"logistic regression": logistic(), "XGBoost (default)": None}
# What the part "choice" finds, and the seeds that it looks at; seed 0 is for print.
CHOSEN = ("MI-SVM", "logistic regression")
CHOICE_SEEDS, REPORTED_SEED = (1, 2, 3), 0


def cohort(seed=REPORTED_SEED):
    X, diagnosis = make_blood_smear_cohort("lymphocytosis", random_state=seed, return_X_y=True)
    return X, (diagnosis == "malignant").astype(int)


def mutagenesis(folder):
    X, y = load_bags(folder / "mutagenesis_atoms.npz", return_X_y=True)
    # The order of the atoms says nothing.
    atoms = [bag[np.lexsort(bag.T)].tobytes() for bag in X]
    return X.with_columns(groups=np.unique(atoms, return_inverse=True)[1]), y


def telemonitoring(folder):
    return load_bags(folder / "parkinsons_telemonitoring.npz", return_X_y=True)


SETS = {"mutagenesis_atoms": mutagenesis, "parkinsons_telemonitoring": telemonitoring}


def ablation(estimator, second, X, y, args):
    model = ClinicalFusion(ESTIMATORS[estimator], SECOND_LEVELS[second], random_state=0)
    cv = GroupedSplit(5, n_repeats=1 if args.quick else args.repeats, random_state=0)
    return fusion_ablation(model, X, y, cv=cv, n_jobs=args.jobs, random_state=0)


def choice_part(args):
    print(f"Cohorts with seeds {CHOICE_SEEDS}, mean AUC")
    print(f"{'estimator':<14}{'second level':<22}{'clinical':>10}{'bags':>8}{'both':>8}")
    found = {}
    for pair in [(e, s) for e in ESTIMATORS for s in SECOND_LEVELS]:
        runs = [ablation(*pair, *cohort(seed), args).scores["value"] for seed in CHOICE_SEEDS]
        clinical, bags, found[pair] = np.mean(runs, axis=0)
        print(f"{pair[0]:<14}{pair[1]:<22}{clinical:>10.3f}{bags:>8.3f}{found[pair]:>8.3f}")
    best = max(found, key=found.get)
    print(f"Best: {' + '.join(best)}; the part real uses {' + '.join(CHOSEN)}.")


def real_part(args):
    for name in args.sets:
        if name == "cohort":
            report_set(name, *cohort(), args)
        elif args.data is None:
            print(f"\n{name} is skipped: no --data and no MILKIT_DATA.")
        elif not (Path(args.data) / f"{name}.npz").exists():
            print(f"\n{name} is skipped: no {name}.npz in the data folder.")
        else:
            report_set(name, *SETS[name](Path(args.data)), args)
    print("\nWanted of cohort and mutagenesis_atoms: both at least the better half - .01.")


def report_set(name, X, y, args):
    estimator, chosen = CHOSEN
    for second in sorted(SECOND_LEVELS, key=lambda second: second != chosen):
        result = ablation(estimator, second, X, y, args)
        note = "chosen" if second == chosen else "for comparison"
        print(f"\n{name}, {estimator} + {second} ({note}): {len(X)} bags, {result.n_units} groups")
        print(result.scores.round(3).to_string())
        print(result.summary())
        clinical, bags, both = result.scores["value"]
        print(f"both - the better half: {both - max(clinical, bags):+.3f}", flush=True)


# -- four rows ----------------------------------------------------------------------------------

ROWS = [
    ("MI-SVM", scaled(MISVM())),
    ("clinical", ClinicalFusion([], random_state=0)),
    (
        "MI-SVM + XGBoost",
        ClinicalFusion(scaled(MISVM()), bag_features=["rate"], random_state=0),
    ),
    (
        "D-MIL",
        scaled(
            AttentionMILClassifier(
                covariates="concat",
                hidden_layer_sizes=(),
                dropout=0.05,
                class_weight="balanced",
                random_state=0,
            )
        ),
    ),
]


def rows_part(args):
    X, y = cohort()
    repeats = 1 if args.quick else args.repeats
    cv = GroupedSplit(5, strata=["age", "lymphocyte_count"], n_repeats=repeats, random_state=0)
    scoring = ["balanced_accuracy", "roc_auc"]
    print(f"Cohort, mean ± deviation over {5 * repeats} test folds")
    print(f"{'':<20}{'balanced accuracy':>20}{'AUC':>20}")
    for name, model in ROWS:
        result = cross_validate(model, X, y, cv=cv, scoring=scoring, n_jobs=args.jobs)
        cells = [result[f"test_{metric}"] for metric in scoring]
        print(f"{name:<20}" + "".join(f"{c.mean():>12.3f} ± {c.std():.3f}" for c in cells))


# -- speed --------------------------------------------------------------------------------------

# The estimator, and how many bags a group has (None: no groups).
SPEED = {
    "attention, 3 epochs": (AttentionMILClassifier(max_iter=3), 2),
    "voting": (InstanceVotingClassifier(), 2),
    "voting, no groups": (InstanceVotingClassifier(), None),
}
clock = time.perf_counter  # --cpu-seconds sets another


def make_bags(n_bags, per_group):
    X, y = make_mil_classification(n_bags, 64, bag_size=100, witness_rate=0.05, random_state=0)
    flat, offsets = X.flat()
    age = 60 + 5 * y + np.random.default_rng(0).normal(0, 8, n_bags)
    groups = None if per_group is None else np.arange(n_bags) // per_group
    return BagArray(flat.astype(np.float32), offsets, groups=groups, covariates={"age": age}), y


def report_one(task):
    """A line of JSON: seconds of one fit and of fusions, their parts, and extra memory in MB."""
    estimator, per_group = SPEED[task["name"]]
    estimator = clone(estimator).set_params(random_state=0)
    fusion = ClinicalFusion(estimator, random_state=0)
    late = make_bags(200, per_group)
    fusion.fit(*late)
    X, y = make_bags(task["n_bags"], per_group)

    def seconds(function):
        start = clock()
        function()
        return clock() - start

    # In turns, so that a change of the machine meets both.
    warnings.simplefilter("ignore")  # the few epochs do not converge
    fits, fusions = [], []
    for _ in range(task["turns"]):
        fits.append(seconds(lambda: clone(estimator).fit(X, y)))
        fusions.append(seconds(lambda: fusion.fit(X, y)))
        fits.append(seconds(lambda: clone(estimator).fit(X, y)))
    table, second = fusion.transform(X), clone(fusion.final_estimator_)
    report = {
        "fit": float(np.median(fits)),
        "fusion": float(np.median(fusions)),
        "folds": seconds(lambda: whole_group_folds(5, X, y, X.groups, 0)),
        "second": seconds(lambda: second.fit(table, y)),
        "data": X.instances.nbytes / 1e6,
        "memory": {"one fit": extra_memory(lambda: clone(estimator).fit(X, y))},
    }
    for jobs in (1, 2):
        model = clone(fusion).set_params(n_jobs=jobs)
        model.fit(*late)  # starts the processes
        report["memory"][f"n_jobs={jobs}"] = extra_memory(lambda model=model: model.fit(X, y))
    print(json.dumps(report), flush=True)


def extra_memory(function):
    """Peak memory in MB of this process and its children beyond that before."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # freed memory that is kept would hide what is taken
        libc.malloc_trim(0)
    before, peak, done = shared_out_memory(), [0.0], threading.Event()

    def watch():
        while not done.wait(0.05):
            peak[0] = max(peak[0], shared_out_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    function()
    done.set()
    watcher.join()
    return peak[0] - before


def shared_out_memory():
    """Resident MB of this process and its descendants; a page of several is divided by them."""
    total, left = 0.0, [os.getpid()]
    while left:
        folder = Path("/proc") / str(left.pop())
        try:
            left += map(int, (folder / "task" / folder.name / "children").read_text().split())
            lines = (folder / "smaps_rollup").read_text().splitlines()
        except OSError:  # ended meanwhile, or no such account here
            continue
        total += next((int(s.split()[1]) * 1024 / 1e6 for s in lines if s.startswith("Pss:")), 0.0)
    return total or np.nan


def speed_part(args):
    n_bags = 500 if args.quick else 10_000
    what = "CPU seconds" if args.cpu_seconds else "seconds"
    print(f"{n_bags} bags of 100 x 64, {what} at n_jobs=1")
    print(f"{'':<22}{'one fit':>9}{'fusion':>9}{'ratio':>8}   {'of it folds':>11}"
          f"{'second level':>14}   extra MB / data")  # fmt: skip
    for name in tqdm(SPEED, leave=False, disable=None):
        task = {"name": name, "n_bags": n_bags, "turns": 1 if args.quick else 3}
        command = [sys.executable, __file__, "--one", json.dumps(task)]
        command += ["--cpu-seconds"] * args.cpu_seconds
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"{name}: process ended with status {done.returncode}")
            continue
        report = json.loads(done.stdout)
        fit, fusion = report["fit"], report["fusion"]
        memory = ", ".join(
            f"{key} {extra / report['data']:.1f}" for key, extra in report["memory"].items()
        )
        tqdm.write(
            f"{name:<22}{fit:>9.2f}{fusion:>9.2f}{fusion / fit:>8.2f}   {report['folds']:>11.2f}"
            f"{report['second']:>14.2f}   {memory}",
            file=sys.stdout,
        )
        sys.stdout.flush()


PARTS = {
    "leak": leak_part,
    "choice": choice_part,
    "real": real_part,
    "rows": rows_part,
    "speed": speed_part,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    every = ["cohort", *SETS]
    parser.add_argument("--sets", nargs="*", choices=every, default=every, help="of the part real")
    parser.add_argument("--data", default=os.environ.get("MILKIT_DATA") or None)
    parser.add_argument("--seeds", type=int, default=20, help="of the part leak")
    parser.add_argument("--repeats", type=int, default=5, help="of 5 folds, real and rows")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--cpu-seconds",
        action="store_true",
        help="count those of the process in the part speed, where others run beside it",
    )
    parser.add_argument("--quick", action="store_true", help="few seeds and folds, small bags")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one row of speed, as JSON
    args = parser.parse_args()
    if args.cpu_seconds:
        global clock
        clock = time.process_time
    with threadpool_limits(1):
        if args.one:
            report_one(json.loads(args.one))
            return
        for i, name in enumerate(args.only):
            print(f"{chr(10) * (i > 0)}-- {name}")
            PARTS[name](args)


if __name__ == "__main__":
    main()
