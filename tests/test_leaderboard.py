"""The leaderboard: what it prints is what its rows say, and a killed run goes on."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
)

from milkit.datasets import make_mil_classification, save_bags

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
FAST = ["mean and sd, SVC", "mean and sd, logistic regression"]
CHOICE = "inner choice of 4 plain"


@pytest.fixture(scope="module")
def board():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield SimpleNamespace(
            run=importlib.import_module("leaderboard"),
            tables=importlib.import_module("_leaderboard_tables"),
            models=importlib.import_module("_leaderboard_models"),
        )
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("musk1", "fox")):
        X, y = make_mil_classification(n_bags=40, class_sep=1.0, random_state=seed, return_X_y=True)
        save_bags(folder / f"{name}.npz", X, y)
    return folder


def cell_of(board, rows, y, model=FAST[1], seeds=(0, 1)):
    rows = {(row["seed"], row["fold"]): row for row in rows}
    cell = board.tables.Cell("musk1", model, board.models.MODELS[model], 10, seeds, rows)
    return board.tables.Pooled(cell, y, board.run.folds_of)


def run(board, folder, model, path, todo=None, seconds=1000.0):
    todo = todo or [(seed, fold) for seed in (0, 1) for fold in range(10)]
    return board.run.run_cell(folder, "musk1", model, todo, 10, seconds, path)


def test_figures_are_those_of_scikit_learn(board, folder, tmp_path):
    rows = run(board, folder, FAST[1], tmp_path / "rows.jsonl")
    y = board.models.read_set(folder, "musk1", False)[1]
    pooled = cell_of(board, rows, y)
    wanted = {name: [] for name in ("accuracy", "balanced", "fold", "pooled", "loss", "brier")}
    for seed in (0, 1):
        mine = [row for row in rows if row["seed"] == seed]
        tests = [test for _, test in board.run.folds_of(y, 10, seed)]
        truth = y[np.concatenate(tests)]
        labels, scores, p = (
            np.concatenate([row[key] for row in mine])
            for key in ("labels", "scores", "probabilities")
        )
        wanted["accuracy"].append(accuracy_score(truth, labels))
        wanted["balanced"].append(balanced_accuracy_score(truth, labels))
        areas = [roc_auc_score(y[t], row["scores"]) for t, row in zip(tests, mine, strict=True)]
        wanted["fold"].append(np.mean(areas))
        wanted["pooled"].append(roc_auc_score(truth, scores))
        wanted["loss"].append(log_loss(truth, p[:, 1]))
        wanted["brier"].append(brier_score_loss(truth, p[:, 1]))
    got = {
        "accuracy": pooled.accuracy(),
        "balanced": pooled.balanced_accuracy(),
        "fold": pooled.fold_area(),
        "pooled": pooled.pooled_area(),
        "loss": pooled.log_loss(),
        "brier": pooled.brier(),
    }
    for name, values in wanted.items():
        mean, deviation = got[name]
        np.testing.assert_allclose(mean, np.mean(values), rtol=1e-4)
        np.testing.assert_allclose(deviation, np.std(values, ddof=1), rtol=1e-3, atol=1e-6)


def test_training_folds_alone_are_learned_from(board, folder):
    """Test bags with labels turned round: the same predictions for them."""
    X, y = board.models.read_set(folder, "musk1", False)
    train, test = board.run.folds_of(y, 10, 0)[0]
    turned = y.copy()
    turned[test] = 1 - turned[test]
    estimator = board.models.MODELS[CHOICE]
    first, second = (
        board.run.one_fold(estimator.make(X.n_features, 0), X, labels, train, test)
        for labels in (y, turned)
    )
    assert first["scores"] == second["scores"]
    assert first["chosen"] == second["chosen"]


def test_a_killed_run_goes_on(board, folder, tmp_path):
    path = tmp_path / "rows.jsonl"
    whole = run(board, folder, FAST[0], path)
    text = path.read_text()
    lines = text.splitlines()
    path.write_text("\n".join(lines[:5]) + "\n" + lines[5][:60])  # killed while it wrote
    known = board.run.known_rows(path)
    assert len(known) == 5
    args = SimpleNamespace(sets=["musk1"], models=[FAST[0]], seeds=[0, 1])
    (cell,) = board.run.cells_of(args, known)
    todo = [key for key in cell.wanted if key not in cell.rows]
    assert todo[0] == (0, 5)
    run(board, folder, FAST[0], path, todo)
    again = board.run.known_rows(path)
    assert [row["scores"] for row in again] == [row["scores"] for row in whole]


def test_a_budget_ends_between_folds_and_is_said(board, folder):
    rows = run(board, folder, FAST[0], "", seconds=1e-9)
    assert len(rows) == 1
    spec = board.models.MODELS[FAST[0]]
    cell = board.tables.Cell("musk1", FAST[0], spec, 10, (0,), {(0, 0): rows[0]})
    assert cell.whole_seeds == []
    assert board.tables.why(cell).startswith("1 of 10 folds took")
    used = rows[0]["seconds"]
    assert board.tables.left_to_run(cell, 1.5 * used)
    assert not board.tables.left_to_run(cell, used)
    pixels = board.models.MODELS["AttentionMILClassifier, pixels"]
    cell = board.tables.Cell("bccd_cells", "", pixels, 5, (0,), {(0, 0): rows[0]})
    assert board.tables.left_to_run(cell, used)
    assert not board.tables.left_to_run(cell, used / 2)


def test_other_settings_are_another_cell(board, monkeypatch):
    def settings():
        models = board.models.MODELS.items()
        return {name: board.run.settings_of(model.make(1, 0)) for name, model in models}

    before = settings()
    assert len(set(before.values())) == len(before)
    assert before == settings()
    four_plain = board.models.four_plain
    monkeypatch.setattr(board.models, "four_plain", lambda d, seed: four_plain(d, seed)[:3])
    after = settings()
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {CHOICE, "inner choice of milkit"}


def test_the_page_shows_every_cell(board, folder, tmp_path, monkeypatch, capsys):
    path = tmp_path / "rows.jsonl"
    for dataset in ("musk1", "fox"):
        todo = [(100, fold) for fold in range(10)]
        board.run.run_cell(folder, dataset, FAST[0], todo, 10, 100.0, path)
    argv = ["leaderboard.py", "--data", str(folder), "--results", str(path), "--print-only"]
    argv += ["--sets", "musk1", "fox", "tiger", "--seeds", "100"]
    monkeypatch.setattr(sys, "argv", argv)
    board.run.main()
    text = capsys.readouterr().out
    assert "tiger is skipped: no tiger.npz in the data folder." in text
    for name in board.models.MODELS:
        shown = board.tables.marked(name)
        n_shown = text.count(f"\n| {shown} |") + text.count(f"{shown} (")
        assert n_shown >= 2, f"{name} is not shown on both sets"
    assert "pixels** (no images)" in text and "(not run)" in text


def test_the_control_compares_common_repetitions(board, folder, tmp_path):
    y = board.models.read_set(folder, "musk1", False)[1]
    found, accuracies = {}, []
    for name, model in {"vote of five": FAST[0], "vote of four plain": FAST[1]}.items():
        rows = run(board, folder, model, tmp_path / f"{name}.jsonl")
        second = [row["labels"] for row in rows if row["seed"] == 1]
        tests = [test for _, test in board.run.folds_of(y, 10, 1)]
        accuracies.append(100 * np.mean(np.concatenate(second) == y[np.concatenate(tests)]))
        if name == "vote of four plain":
            rows = [row for row in rows if row["seed"] == 1]
        found["musk1", name] = cell_of(board, rows, y, name)
    text = board.tables.control_table(found, ["musk1", "fox"])
    (row,) = [line for line in text.splitlines() if line.startswith("| musk1")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == ["–", "–"]
    difference = float(cells[3].split()[0])
    assert difference == pytest.approx(accuracies[0] - accuracies[1], abs=0.0501)
    assert difference != 0
    assert "fox" not in text
