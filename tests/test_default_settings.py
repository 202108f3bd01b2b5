"""The page of default settings: differences to the default, on common folds only."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold, cross_validate

from milkit import MISVM
from milkit.datasets import load_bags, make_mil_classification, save_bags

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SETTINGS = [{}, {"C": 0.1, "kernel": "linear"}]


@pytest.fixture
def board(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("default_settings")
    monkeypatch.setitem(module.SETTINGS, "MISVM", SETTINGS)
    return module


def row_of(text, name, measure):
    """Cells of a setting in the first table (accuracy) or the second (AUC)."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in lines[measure].strip("|").split("|")]


def test_the_page_is_what_cross_validation_gives(board, tmp_path, monkeypatch):
    for seed, name in enumerate(("musk1", "fox")):
        X, y = make_mil_classification(n_bags=40, class_sep=0.7, random_state=seed, return_X_y=True)
        save_bags(tmp_path / f"{name}.npz", X, y)
    argv = ["default_settings.py", "--data", str(tmp_path), "--estimators", "MISVM"]
    argv += ["--results", str(tmp_path / "rows.jsonl"), "--write", str(tmp_path / "page.md")]
    monkeypatch.setattr(sys, "argv", [*argv, "--sets", "musk1", "fox", "--seeds", "3"])
    board.main()
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    differences = {"accuracy": [], "roc_auc": []}
    for column, name in enumerate(("musk1", "fox"), start=4):
        X, y = load_bags(tmp_path / f"{name}.npz", return_X_y=True)
        found = []
        for setting in SETTINGS:
            result = cross_validate(
                board.scaled(MISVM(**setting)),
                X,
                y,
                cv=StratifiedKFold(10, shuffle=True, random_state=3),
                scoring=list(differences),
            )
            found.append({m: 100 * result[f"test_{m}"].mean() for m in differences})
        for measure, (m, values) in enumerate(differences.items()):
            values.append(found[1][m] - found[0][m])
            assert row_of(text, "default", measure)[column] == f"{found[0][m]:.1f}"
            changed = row_of(text, "C=0.1, kernel='linear'", measure)[column]
            assert float(changed) == pytest.approx(values[-1], abs=0.0501)
    for measure, values in enumerate(differences.values()):
        over_all = row_of(text, "C=0.1, kernel='linear'", measure)[1].split("\u00a0±\u00a0")
        expected = np.mean(values), abs(values[0] - values[1]) / 2
        assert [float(v) for v in over_all] == pytest.approx(expected, abs=0.0501)
        assert row_of(text, "C=0.1, kernel='linear'", measure)[2] == "20"
    assert np.any(np.concatenate(list(differences.values())))
    # All folds are kept: a second run adds none.
    before = (tmp_path / "rows.jsonl").read_text()
    board.main()
    assert (tmp_path / "rows.jsonl").read_text() == before


def test_other_defaults_are_run_again(board, tmp_path, monkeypatch):
    X, y = make_mil_classification(n_bags=40, random_state=0, return_X_y=True)
    save_bags(tmp_path / "musk1.npz", X, y)
    path = tmp_path / "rows.jsonl"
    argv = ["default_settings.py", "--data", str(tmp_path), "--estimators", "MISVM"]
    argv += ["--results", str(path), "--sets", "musk1"]
    monkeypatch.setattr(sys, "argv", argv)
    board.main()
    n_rows = len(path.read_text().splitlines())
    monkeypatch.setitem(board.CLASSES, "MISVM", lambda **params: MISVM(**{"C": 0.01, **params}))
    board.main()
    # The second setting gives C itself, so only the default is another model now.
    assert n_rows == 2 * 10
    assert len(path.read_text().splitlines()) == 3 * 10
