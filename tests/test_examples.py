"""Every example runs as a script, and the quickstart does what the README says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from milkit.bags import BagArray
from milkit.datasets import make_mil_classification, save_bags

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("plot_*.py"))
QUICKSTART = "plot_quickstart.py"
TIMEOUT = 240  # seconds; each takes a few on an idle machine
MODELS = ["mean and std, logistic regression", "AttentionMILClassifier", "MISVM"]
INTERVAL = r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]"


def run(script, *arguments, cwd, data=None):
    """What an example prints, run as a user runs it."""
    environment = {**os.environ, "MPLBACKEND": "agg"}
    environment.pop("MILKIT_DATA", None)
    if data is not None:
        environment["MILKIT_DATA"] = str(data)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, f"{script} failed:\n{done.stderr[-3000:]}"
    assert "Warning" not in done.stderr, done.stderr[-3000:]
    return done.stdout


def table_rows(printed, models):
    """The row of each model in the printed table, with two intervals."""
    rows = {}
    for model in models:
        found = re.findall(rf"^ *{re.escape(model)}  +({INTERVAL}.*)$", printed, re.MULTILINE)
        assert len(found) == 1, f"One row for {model!r} is expected in:\n{printed}"
        rows[model] = [float(value) for value in re.findall(r"(\d\.\d{3}) \[", found[0])]
        assert len(rows[model]) >= 2
    return rows


def assert_is_png(path):
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 5000


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name != QUICKSTART])
def test_example_runs(script, tmp_path):
    assert run(script, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []  # an example that is only looked at leaves nothing behind


def test_quickstart_prints_a_table_and_writes_the_figure(tmp_path):
    figure = tmp_path / "new" / "figure.png"
    printed = run(QUICKSTART, "--folds", 3, "--figure", figure, cwd=tmp_path)
    rows = table_rows(printed, [*MODELS, "MISVM, C by inner search"])
    assert all(0.5 < value <= 1 for values in rows.values() for value in values)
    assert "3-fold cross-validation by group" in printed
    found = re.findall(r"a true witness in (\d+)% of positive bags \(at random (\d+)%\)", printed)
    assert len(found) == 2
    assert all(int(hits) > int(chance) for hits, chance in found)
    assert_is_png(figure)


def test_quickstart_on_bags_of_ones_own(tmp_path):
    X, y = make_mil_classification(n_bags=36, bag_size=(2, 5), random_state=0)
    X = BagArray(*X.flat(), groups=np.repeat(np.arange(18), 2))
    save_bags(tmp_path / "own.npz", X, y)
    figure = tmp_path / "own.png"
    printed = run(
        QUICKSTART, "--data", tmp_path / "own.npz", "--folds", 3, "--figure", figure, cwd=tmp_path
    )
    table_rows(printed, MODELS)
    assert "36 bags" in printed
    assert "18 groups" in printed
    assert_is_png(figure)


def folder_of_data(file):
    folder = os.environ.get("MILKIT_DATA")
    if not folder:
        pytest.skip("the environment variable MILKIT_DATA names no folder of data")
    if not (Path(folder) / file).exists():
        pytest.skip(f"{file} is not in the folder MILKIT_DATA")
    return Path(folder)


def test_quickstart_on_musk1(tmp_path):
    folder = folder_of_data("musk1.npz")
    printed = run(
        QUICKSTART,
        *("--data", folder / "musk1.npz", "--folds", 3, "--figure", tmp_path / "musk1.png"),
        cwd=tmp_path,
    )
    rows = table_rows(printed, MODELS)
    assert all(values[0] > 0.65 for values in rows.values())
    assert_is_png(tmp_path / "musk1.png")


def accuracies(printed, task):
    """Accuracy with random folds and with patients kept whole."""
    return [
        float(re.search(rf"{re.escape(task)} +{folds} +(\d\.\d+)", printed)[1])
        for folds in ("random folds", "patients kept whole")
    ]


def test_random_folds_leak(tmp_path):
    printed = run("plot_evaluation_by_patient.py", cwd=tmp_path)
    random, whole = accuracies(printed, "Blood smears")
    assert random > whole + 0.1
    assert whole > 0.65
    random, whole = accuracies(printed, "Blood smears, diagnoses by lot")
    assert random > 0.85
    assert whole < 0.7


def test_random_folds_leak_on_voices(tmp_path):
    folder = folder_of_data("parkinsons_telemonitoring.npz")
    printed = run("plot_evaluation_by_patient.py", cwd=tmp_path, data=folder)
    random, whole = accuracies(printed, "Parkinson's voices")
    assert random == pytest.approx(0.78, abs=0.03)
    assert whole == pytest.approx(0.53, abs=0.04)


MACHINES = [
    "bag margin, one slack per bag",
    "bag margin, one slack per instance",
    "instance margin",
]


def test_slacks_of_a_doubtful_bag(tmp_path):
    """What the text of the example says of its figure and of its numbers."""
    printed = run("plot_misvm_margins.py", cwd=tmp_path)
    rows = {
        name: [float(value) for value in re.search(rf"^{name} +(\S.*)$", printed, re.M)[1].split()]
        for name in MACHINES
    }
    # Each row: what the doubtful bag pays, its score, positive bags missed, support vectors.
    by_bag, by_instance, instance_margin = (rows[name] for name in MACHINES)
    assert by_instance[1] < by_bag[1]
    assert by_instance[2] > by_bag[2] == 0
    assert instance_margin[0] > 3 * max(by_bag[0], by_instance[0])
    assert instance_margin[3] > max(by_bag[3], by_instance[3])
    found = re.findall(r"^ +(means|density|best of 20) +objective +(\S+)", printed, re.M)
    assert len(found) == 6
    for rows in (found[:3], found[3:]):
        objective = {name: float(value) for name, value in rows}
        assert objective["density"] <= 1.01 * objective["best of 20"]
        assert objective["density"] <= objective["means"]
    assert objective["density"] < 0.7 * objective["means"]


PREPROCESSING = "plot_misvm_preprocessing.py"


def preparations(printed, data):
    """Balanced accuracy of each row of a set, and the number of its warnings."""
    pattern = rf"^ *{data} +(raw|scaled|scaled \+ PCA \d+) +(\d\.\d+) \[.* (\d+)$"
    return {
        name: (float(value), int(n_warnings))
        for name, value, n_warnings in re.findall(pattern, printed, re.MULTILINE)
    }


@pytest.mark.parametrize(("name", "n_components"), [("elephant", 100), ("musk1", 83)])
def test_preprocessing_of_classical_sets(name, n_components, tmp_path):
    source = folder_of_data(f"{name}.npz") / f"{name}.npz"
    (tmp_path / source.name).write_bytes(source.read_bytes())
    rows = preparations(run(PREPROCESSING, cwd=tmp_path, data=tmp_path), name)
    assert list(rows) == ["raw", "scaled", f"scaled + PCA {n_components}"]
    assert all(value > 0.6 for value, _ in rows.values())


def test_preprocessing_counts_convergence_warnings(tmp_path):
    text = (EXAMPLES / PREPROCESSING).read_text(encoding="utf-8")
    for whole, short in [("= 50, 20, 100", "= 50, 2, 100"), ("= 5, 2", "= 5, 1")]:
        assert text.count(whole) == 1
        text = text.replace(whole, short)
    (tmp_path / PREPROCESSING).write_text(text, encoding="utf-8")
    printed = run(tmp_path / PREPROCESSING, cwd=tmp_path)
    rows = preparations(printed, "digits")
    assert list(rows) == ["raw", "scaled", "scaled + PCA 32"]
    counted = sum(n_warnings for _, n_warnings in rows.values())
    assert f"ConvergenceWarnings: {counted} in 15 fits" in printed
    assert counted > 10
    assert re.search(r"^  \d+ x The witnesses still changed after max_iter=2", printed, re.M)
