"""How well MISVM's one default setting does on the five classical sets.

Stratified 10-fold cross-validation, repeated with several fold seeds; features standardised
inside the fold, everything else as MISVM() has it but the margin, which an inner 5-fold search
chooses. The defaults were chosen on fold seeds 0 to 4; 100 to 104 are for print. The bar is the
better of the two rows of Andrews, Tsochantaridis and Hofmann (2002) less one standard error of an
accuracy on so many bags; the aim is that row. Beside it the two margins by themselves.
Run: python benchmarks/misvm_accuracy.py --data FOLDER_OF_NPZ_FILES --jobs 2
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from milkit import MISVM, InstanceTransformer
from milkit.datasets import load_bags

# Andrews' better row and one standard error, in %.
PUBLISHED = {
    "musk1": (87.4, 3.5),
    "musk2": (84.3, 3.6),
    "elephant": (82.2, 2.7),
    "fox": (58.2, 3.5),
    "tiger": (84.0, 2.6),
}
MARGINS = ["bag", "instance"]


def one_fold(X, y, train, test, seed, params):
    """Predictions and scores of each model on the test bags, and the margin that was chosen."""
    pipeline = make_pipeline(InstanceTransformer(StandardScaler()), MISVM(**params))
    inner = StratifiedKFold(5, shuffle=True, random_state=seed)
    search = GridSearchCV(pipeline, {"misvm__margin": MARGINS}, cv=inner)
    with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        models = {"search": search.fit(X[train], y[train])}
        for margin in MARGINS:
            model = clone(pipeline).set_params(misvm__margin=margin)
            models[margin] = model.fit(X[train], y[train])
    unconverged = sum(issubclass(w.category, ConvergenceWarning) for w in caught)
    found = {
        name: (model.predict(X[test]), model.decision_function(X[test]))
        for name, model in models.items()
    }
    return found, search.best_params_["misvm__margin"], unconverged


def one_seed(X, y, seed, params, jobs):
    """Accuracy and mean per-fold AUC in % of each model, and counts over the folds."""
    folds = list(StratifiedKFold(10, shuffle=True, random_state=seed).split(np.zeros(len(y)), y))
    done = Parallel(jobs)(delayed(one_fold)(X, y, *fold, seed, params) for fold in folds)
    result = {}
    for name in ("search", *MARGINS):
        right, areas = 0, []
        for (found, *_), (_, test) in zip(done, folds, strict=True):
            predicted, scores = found[name]
            right += (predicted == y[test]).sum()
            areas.append(roc_auc_score(y[test], scores))
        result[name] = 100 * right / len(y), 100 * np.mean(areas)
    chosen = sum(margin == "bag" for _, margin, _ in done)
    return result, chosen, sum(unconverged for *_, unconverged in done)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("MILKIT_DATA") or None)
    parser.add_argument("--sets", nargs="*", choices=list(PUBLISHED), default=list(PUBLISHED))
    parser.add_argument("--seeds", nargs="+", type=int, default=[100, 101, 102, 103, 104])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--C", type=float, help="other than the default")
    args = parser.parse_args()
    if args.data is None:
        print("No --data and no MILKIT_DATA: nothing to measure.")
        return
    params = {} if args.C is None else {"C": args.C}
    print(f"{MISVM(**params)}, fold seeds {args.seeds}; accuracy and mean per-fold AUC in %")
    print(f"{'set':<10}{'margin':<10}{'accuracy':>14}{'AUC':>8}{'bar':>7}{'aim':>7}  note")
    for name in args.sets:
        path = Path(args.data) / f"{name}.npz"
        if not path.exists():
            print(f"{name} is skipped: no {path.name} in the data folder.")
            continue
        X, y = load_bags(path, return_X_y=True)
        runs = [
            one_seed(X, y, seed, params, args.jobs)
            for seed in tqdm(args.seeds, desc=name, leave=False, disable=None)
        ]
        aim, error = PUBLISHED[name]
        for model in ("search", *MARGINS):
            accuracies, areas = zip(*(result[model] for result, *_ in runs), strict=True)
            spread = np.std(accuracies, ddof=1) if len(accuracies) > 1 else np.nan
            line = f"{name:<10}{model:<10}{np.mean(accuracies):>7.1f} ± {spread:>3.1f}"
            line += f"{np.mean(areas):>9.1f}"
            if model == "search":
                chosen, unconverged = (sum(run[i] for run in runs) for i in (1, 2))
                line += f"{aim - error:>7.1f}{aim:>7.1f}  margin='bag' in {chosen} of "
                line += f"{10 * len(runs)} folds; {unconverged} ConvergenceWarnings"
            print(line, flush=True)


if __name__ == "__main__":
    main()
