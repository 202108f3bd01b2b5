"""One page on one patient: what is on it, what is escaped, and how a browser shows it."""

import re
import time
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from milkit import (
    MISVM,
    AttentionMILClassifier,
    BagArray,
    BagStatistics,
    ClinicalFusion,
    InstanceVotingClassifier,
    OneClassInstanceFilter,
)
from milkit.base import BagMixin, split_by_bag
from milkit.exceptions import BagShapeError
from milkit.inspection import attention_weights, instance_occlusion, patient_report
from milkit.inspection._report._style import CSS
from milkit.inspection._report._units import kinds_of, unit_of_evidence
from milkit.neural import AttentionMILRegressor
from milkit.utils.validation import as_bag_array

from .browser_helpers import resize, start_browser

VOID = {"meta", "img", "wbr", "base"}
NASTY = [
    "<script>document.title = 'broken'</script>",
    '"><img src=x onerror="document.title=1">',
    "Müller & 王 </bdi></main>",
    "w" * 300,
    "\u202etxt.exe\x00\ud800",
]


class Page(HTMLParser):
    """The elements and texts of a page, checked for being well formed."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.text = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes)
        self.elements.append((tag, dict(attributes), list(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        return " ".join("".join(self.text).split())

    def all(self, tag):
        return [attributes for name, attributes, _ in self.elements if name == tag]


def check(report):
    """The page, after what holds for every page was asserted."""
    page = Page(report.html)
    assert page.elements[0][:2] == ("html", {"lang": "en"})
    (policy,) = [m for m in page.all("meta") if "http-equiv" in m]
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    for tag, attributes, _ in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "form", "base")
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("href", "#").startswith("#")
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
    assert "url(" not in CSS
    assert "@import" not in CSS
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    identifiers = [a["id"] for _, a, _ in page.elements if "id" in a]
    assert len(set(identifiers)) == len(identifiers)
    assert {a["href"][1:] for a in page.all("a")} <= set(identifiers)
    for attributes in page.all("svg"):
        for name in attributes.get("aria-labelledby", "").split():
            assert name in identifiers
        assert "aria-hidden" in attributes or attributes["role"] == "img"
    assert all(attributes["alt"] for attributes in page.all("img"))
    assert all("scope" in attributes for attributes in page.all("th"))
    assert len(page.all("table")) == len(page.all("caption"))
    assert len(page.all("main")) == 1
    return page


@pytest.fixture(scope="module")
def cohort():
    """Two bags of each of twelve patients; positive ones lie apart."""
    rng = np.random.default_rng(0)
    table = {"age": [np.nan, *range(20, 43)], "sex": ["f", None, "m", "m"] * 6}
    X = BagArray.from_list(
        [rng.normal(size=(n, 4)) + 2 * (i % 2) for i, n in enumerate(rng.integers(3, 30, 24))],
        names=[f"sample-{i}" for i in range(24)],
        groups=np.repeat([f"patient-{i}" for i in range(12)], 2),
        covariates=pd.DataFrame(table),
        feature_names=["area", "redness", "roundness", "granules"],
    )
    return X, np.array(["healthy", "ill"] * 12)


@pytest.fixture(scope="module")
def machine(cohort):
    return MISVM().fit(*cohort)


def network(**params):
    return AttentionMILClassifier(max_iter=2, hidden_layer_sizes=(8,), random_state=0, **params)


class Fixed(BagMixin, ClassifierMixin, BaseEstimator):
    """Evidence is what it is told; no fit is needed."""

    def __init__(self, values=None, classes=("healthy", "ill"), note=None):
        self.values = values
        self.note = note
        self.classes = classes

    def __sklearn_is_fitted__(self):
        return True

    @property
    def classes_(self):
        return np.array(self.classes)

    def fit(self, X, y):
        return self

    def predict(self, X):
        return self.classes_[[1] * len(as_bag_array(X))]

    def score_instances(self, X):
        bags = as_bag_array(X)
        values = bags.flat()[0][:, 0] if self.values is None else np.asarray(self.values, float)
        return split_by_bag(values, bags)


def rows_of(html, heading):
    """Instances in the order of one of the two tables, with their evidence."""
    part = html.split(f">{heading}<", 1)[1].split("</table>")[0]
    cells = re.findall(r'<div>(\d+).*?class="value">(.*?)</span>', part, re.S)
    return [(int(i), float(text.replace("\u2212", "-"))) for i, text in cells]


def test_order_and_numbers(machine, cohort):
    X, _ = cohort
    bag = int(np.argmax(X.sizes))
    evidence = machine.score_instances(X[[bag]])[0]
    label = machine.predict(X[[bag]])[0]
    evidence = evidence if label == "ill" else -evidence
    report = patient_report(machine, X, bag, n_instances=3)
    page = check(report)
    order = np.argsort(-evidence)
    for heading, expected in [("Highest evidence", order[:3]), ("Lowest evidence", order[:-4:-1])]:
        found = rows_of(report.html, heading)
        assert [i for i, _ in found] == expected.tolist()
        np.testing.assert_allclose([v for _, v in found], evidence[expected], atol=0.006)
    assert f"sample-{bag}" in page.words
    assert f"Predicted{label}" in page.words.replace(" ", "")
    assert "no spread is known" in page.words
    assert "no diagnosis" in page.words
    assert "look better than they are" in page.words


def test_evidence_of_the_class_that_is_asked_for(machine, cohort):
    X, _ = cohort
    for label, sign in [("ill", 1), ("healthy", -1)]:
        html = patient_report(machine, X, 3, label=label).html
        evidence = sign * machine.score_instances(X[[3]])[0]
        i, value = rows_of(html, "Highest evidence")[0]
        assert i == np.argmax(evidence)
        assert value == pytest.approx(evidence.max(), abs=0.006)
    with pytest.raises(ValueError, match="label='sick' is no class of the model, which knows"):
        patient_report(machine, X, 3, label="sick")


def test_same_input_same_bytes(cohort, tmp_path):
    X, _ = cohort
    model, again = (Fixed(note=lambda: None) for _ in range(2))
    assert repr(model) != repr(again)  # they hold addresses
    report = patient_report(model, X, 0, path=tmp_path / "a.html")
    assert patient_report(again, X, 0).html == report.html
    assert "0x…" in report.html
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == report.html
    assert report.save(tmp_path / "b.html").read_bytes() == (tmp_path / "a.html").read_bytes()
    assert "Date 2026-05-04" in check(patient_report(model, X, 0, date="2026-05-04")).words


MODELS = {
    "networks": lambda X, y: network(n_estimators=3).fit(X, y),
    "in a pipeline": lambda X, y: make_pipeline("passthrough", network(n_estimators=3)).fit(X, y),
    "in a search": lambda X, y: GridSearchCV(network(n_estimators=3), {}, cv=2).fit(X, y),
    "calibrated": lambda X, y: CalibratedClassifierCV(MISVM(), cv=3).fit(X, y),
    "votes": lambda X, y: VotingClassifier(
        [("a", MISVM()), ("b", network()), ("c", MISVM(C=0.1))]
    ).fit(X, y),
    "soft votes": lambda X, y: VotingClassifier(
        [("a", network()), ("b", network(pooling="mean")), ("c", network())],
        voting="soft",
        weights=[1, 2, 1],
    ).fit(X, y),
    "list": lambda X, y: cross_validate(MISVM(), X, y, cv=3, return_estimator=True)["estimator"],
    "list of two kinds": lambda X, y: [MISVM().fit(X, y), network().fit(X, y), MISVM().fit(X, y)],
    "regressors": lambda X, y: AttentionMILRegressor(max_iter=2, n_estimators=3).fit(
        X, np.arange(24.0)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_spread_over_members(cohort, name):
    X, y = cohort
    page = check(patient_report(MODELS[name](X, y), X, 5))
    assert "no spread is known" not in page.words
    assert re.search(r"How sure: (\d of 3|the 3) ", page.words)


def test_range_is_that_of_the_members(cohort):
    X, y = cohort
    model = network(n_estimators=4).fit(X, y)
    members = model.predict_proba_members(X[[5]])[:, 0]
    k = members.mean(axis=0).argmax()
    low, high = members[:, k].min(), members[:, k].max()
    words = check(patient_report(model, X, 5)).words
    assert f"(members {low:.2f} to {high:.2f})" in words
    assert f"(SD {members[:, k].std():.2f})" in words
    assert f"Probability {model.predict_proba(X[[5]])[0, k]:.2f}" in words


def test_a_list_reports_the_mean(cohort):
    X, y = cohort
    models = [MISVM(C=c).fit(X, y) for c in (0.01, 1, 100)]
    decision = np.mean([model.decision_function(X[[5]])[0] for model in models])
    report = patient_report(models, X, 5, label="ill")
    words = check(report).words.replace("\u2212", "-")
    assert float(re.search(r"Decision value ([+-][\d.]+)", words)[1]) == pytest.approx(
        decision, abs=0.006
    )
    evidence = np.mean([model.score_instances(X[[5]])[0] for model in models], axis=0)
    shown = dict(rows_of(report.html, "Highest evidence"))
    np.testing.assert_allclose(list(shown.values()), evidence[list(shown)], atol=0.006)
    assert "all but one were" in words


def test_ties_are_told(cohort):
    """Votes of models whose outputs have different units."""
    X, y = cohort
    model = MISVM().fit(X, y)
    for other, tie in [(network().fit(X, y[::-1]), True), (network().fit(X, y), False)]:
        other.predict = lambda X, tie=tie: np.where(
            (model.predict(X) == "ill") ^ tie, "ill", "healthy"
        )
        words = check(patient_report([model, other], X, 5)).words
        assert ("is a tie" in words) == tie
        assert f"{1 if tie else 2} of 2 models of the list say" in words


def test_own_threshold_is_told(cohort):
    X, y = cohort
    rows = make_pipeline(BagStatistics(), LogisticRegression())
    model = FixedThresholdClassifier(rows, threshold=1e-6).fit(X, y)
    healthy = int(np.flatnonzero(model.predict_proba(X)[:, 0] > 0.5)[0])
    assert "a threshold or a rule of its own" in check(patient_report(model, X, healthy)).words


def rows_of_bags(classifier):
    return make_pipeline(BagStatistics(), StandardScaler(), classifier)


def shown_evidence(report):
    """Evidence of each instance of a small bag that is shown in full, by instance."""
    found = rows_of(report.html, "Highest evidence") + rows_of(report.html, "Lowest evidence")
    return np.array([value for _, value in sorted(found)])


def test_zero_decides_only_without_a_threshold(cohort):
    X, y = cohort
    machine = MISVM().fit(X, y)
    decisions = machine.decision_function(X)
    between = int(np.flatnonzero(decisions > 0.01)[0])
    moved = FixedThresholdClassifier(
        FrozenEstimator(machine),
        threshold=1e3,
        pos_label="ill",
        response_method="decision_function",
    ).fit(X, y)
    for model, told in [(machine, True), (moved, False), (make_pipeline(moved), False)]:
        for bag in (between, int(np.argmin(decisions))):  # also where zero says the same
            words = check(patient_report(model, X, bag)).words
            assert ("Above zero means ill" in words) == told
    assert "The larger, the more it speaks for ill" in words


def test_a_list_says_what_its_models_predict(cohort):
    """Each with a threshold of its own, which the probabilities do not show."""
    X, y = cohort
    threshold = FixedThresholdClassifier(
        network(), threshold=0.9, pos_label="ill", response_method="predict_proba"
    )
    models = cross_validate(threshold, X, y, cv=3, return_estimator=True)["estimator"]
    mean = np.mean([model.predict_proba(X)[:, 1] for model in models], axis=0)
    bag = int(np.argmax(np.where(mean < 0.9, mean, 0)))
    assert mean[bag] > 0.5
    assert [model.predict(X[[bag]])[0] for model in models] == ["healthy"] * 3
    words = check(patient_report(models, X, bag)).words
    assert re.search(f"Predicted ?healthy ?Probability {1 - mean[bag]:.2f}", words)
    assert "3 of 3 models of the list say healthy" in words
    assert "The mean of their numbers is larger for another class" in words


def test_members_under_a_threshold_are_not_counted(cohort):
    X, y = cohort
    networks = network(n_estimators=3)
    for model in (
        FixedThresholdClassifier(
            networks, threshold=0.9, pos_label="ill", response_method="predict_proba"
        ),
        TunedThresholdClassifierCV(networks, cv=2),
    ):
        words = check(patient_report(model.fit(X, y), X, 5)).words
        assert "the 3 networks of the ensemble have the range above" in words
        assert not re.search(r"\d of 3 networks", words)
    voters = [("a", network()), ("b", network(pooling="mean"))]
    rule = VotingClassifier(voters, voting="soft").fit(X, y)
    rule.predict = lambda X: np.where(rule.predict_proba(X)[:, 1] > 0.5, "healthy", "ill")
    words = check(patient_report(rule, X, 5)).words
    assert "the model decides with a threshold or a rule of its own" in words
    assert "of 2 voters" not in words


class ListsClasses(Fixed):
    """Has its classes in a plain list."""

    @property
    def classes_(self):
        return list(self.classes)

    def predict(self, X):
        return np.array([self.classes_[1]] * len(as_bag_array(X)))


class Few(Fixed):
    """One member of three is sure, and decides."""

    def predict_proba_members(self, X):
        members = np.array([[0.0, 1.0], [0.6, 0.4], [0.6, 0.4]])
        return np.repeat(members[:, None], len(as_bag_array(X)), axis=1)

    def predict_proba(self, X):
        return self.predict_proba_members(X).mean(axis=0)


def test_few_members_may_decide():
    words = check(patient_report(Few(), [np.eye(3)], 0)).words
    assert "1 of 3 networks of the ensemble say ill. That is less than half, but" in words


def test_decisions_between_pairs_are_no_classes():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = [rng.normal(size=(4, 3)) + 3 * np.eye(3)[label] for label in y]
    ovo = make_pipeline(BagStatistics(), SVC(decision_function_shape="ovo")).fit(X, y)
    for model in (ovo, [ovo, ovo]):
        words = check(patient_report(model, X, 2)).words
        assert re.search("Predicted ?2", words)
        assert "Decision value" not in words
        assert "Highest evidence" not in words
    assert "one for each pair" in check(patient_report(ovo, X, 2)).words


def test_occlusion_of_a_vote_is_that_of_its_decision(cohort):
    X, y = cohort
    voters = [("a", rows_of_bags(LogisticRegression())), ("b", rows_of_bags(GaussianNB()))]
    model = VotingClassifier(voters, voting="soft", weights=[1, 3]).fit(X, y)
    bag = int(np.argmin(X.sizes))
    for one in (model, FrozenEstimator(model)):
        report = patient_report(one, X, bag, label="ill")
        expected = instance_occlusion(model, X[[bag]])[0]
        np.testing.assert_allclose(shown_evidence(report), expected, rtol=0.01, atol=5e-4)
        assert "a difference of probabilities" in check(report).words


def test_occlusion_of_a_list_has_one_unit(cohort):
    X, y = cohort
    bag = int(np.argmin(X.sizes))
    linear, bayes, svm = (
        rows_of_bags(one).fit(X, y) for one in (LogisticRegression(), GaussianNB(), SVC())
    )
    for models, method in [
        ([linear, bayes], "predict_proba"),
        ([linear, rows_of_bags(LogisticRegression(C=9)).fit(X, y)], "decision_function"),
    ]:
        expected = np.mean(
            [instance_occlusion(one, X[[bag]], response_method=method)[0] for one in models],
            axis=0,
        )
        report = patient_report(models, X, bag, label="ill")
        np.testing.assert_allclose(shown_evidence(report), expected, rtol=0.01, atol=5e-4)
    words = check(patient_report([linear, svm], X, bag)).words
    assert "decide in different units" in words
    assert "Highest evidence" not in words


def test_a_fusion_decides_as_its_last_model_does(cohort):
    X, y = (part[1:] for part in cohort)  # the age of the first is missing
    last = [LogisticRegression(), SVC()]
    fusions = [
        ClinicalFusion(rows_of_bags(GaussianNB()), one, covariates=["age"], cv=2).fit(X, y)
        for one in last
    ]
    assert kinds_of(fusions[0]) == ("LogisticRegression",)
    assert kinds_of(fusions) == ("LogisticRegression", "SVC")


def hard_votes():
    return VotingClassifier([("a", MISVM()), ("b", MISVM(C=2)), ("c", MISVM(C=3))])


def test_votes_are_looked_into_at_any_depth(cohort):
    X, y = cohort
    soft = VotingClassifier(
        [("a", InstanceVotingClassifier()), ("b", InstanceVotingClassifier())], voting="soft"
    )
    for model in (
        make_pipeline("passthrough", hard_votes()),
        GridSearchCV(make_pipeline("passthrough", hard_votes()), {}, cv=2),
    ):
        words = check(patient_report(model.fit(X, y), X, 5)).words
        assert "3 of 3 voters say ill" in words
        assert re.search("Share of votes 1.00", words)
        assert "It is the mean over the members" in words
    words = check(patient_report(CalibratedClassifierCV(soft, cv=2).fit(X, y), X, 5)).words
    assert "2 of 2 calibrated members say ill" in words
    assert "It is the mean over the members" in words
    vote = hard_votes().fit(X, y)
    report = patient_report([vote, vote], X, 5)
    np.testing.assert_equal(shown_evidence(report), shown_evidence(patient_report(vote, X, 5)))
    assert "2 of 2 models of the list say ill" in check(report).words


def test_votes_without_evidence_in_a_list(cohort):
    X, y = cohort
    voters = [("a", rows_of_bags(LogisticRegression())), ("b", rows_of_bags(GaussianNB()))]
    vote = VotingClassifier(voters).fit(X, y)
    words = check(patient_report([vote, vote], X, 5)).words
    assert "have no decision that could fall" in words
    assert "different units" not in words


def test_ensembles_that_are_not_looked_into(cohort):
    X, y = cohort
    model = make_pipeline(BagStatistics(), BaggingClassifier(LogisticRegression(), 2)).fit(X, y)
    words = check(patient_report(model, X, 5)).words
    assert "no spread is known" in words
    assert "one model" not in words


def test_classes_may_be_a_list(cohort):
    X, _ = cohort
    assert re.search("Predicted ?ill", check(patient_report(ListsClasses(), X, 5)).words)


def test_bags_beside_columns_have_occlusion(cohort):
    X, y = cohort
    frame = pd.DataFrame({"cells": list(X), "age": np.r_[40, X.covariates["age"][1:]]})
    columns = ColumnTransformer(
        [("cells", BagStatistics(), ["cells"]), ("age", StandardScaler(), ["age"])]
    )
    model = make_pipeline(columns, LogisticRegression())
    voter = VotingClassifier([("a", model), ("b", model)], voting="soft").fit(frame, y)
    model.fit(frame, y)
    bag = int(np.argmin(X.sizes))
    for one, explained in [(model, model), ([model, model], model), (voter, voter)]:
        report = patient_report(one, frame, bag, label="ill")
        assert "falls without the instance" in check(report).words
        expected = instance_occlusion(explained, frame.iloc[[bag]])[0]
        np.testing.assert_allclose(shown_evidence(report), expected, rtol=0.01, atol=5e-4)


def test_without_instance_outputs_it_is_occlusion(cohort):
    X, y = cohort
    model = make_pipeline(BagStatistics(), SVC()).fit(X, y)
    report = patient_report(model, X, 5, label="ill")
    assert "falls without the instance" in check(report).words
    occlusion = instance_occlusion(model, X[[5]])[0]
    assert rows_of(report.html, "Highest evidence")[0][0] == np.nanargmax(occlusion)
    large = BagArray.from_list(
        [np.random.default_rng(0).normal(size=(1500, 4))], feature_names=X.feature_names
    )
    words = check(patient_report(model, large, 0)).words
    assert "does not say which instances decided" in words
    assert "too large to be predicted again" in words
    single = BagArray.from_list([np.ones((1, 4))], feature_names=X.feature_names)
    assert "Nothing can be ranked" in check(patient_report(model, single, 0)).words


def test_fusion_and_what_it_holds(cohort):
    X, y = cohort
    model = ClinicalFusion(MISVM(), covariates=["age"], cv=2).fit(X, y)
    assert "Highest evidence" in check(patient_report(model, X, 5)).words
    # Here the covariate may decide alone.
    age = np.where(y == "ill", 70.0, 30.0) + np.arange(24) % 5
    table = X.with_columns(covariates={"age": age})
    tree = DecisionTreeClassifier(max_depth=1, max_features=None)
    model = ClinicalFusion(MISVM(), tree, bag_features=["rate"], cv=2, random_state=0)
    words = check(patient_report(model.fit(table, y), table, 5)).words
    assert "before the clinical data are added" in words
    assert "computed by the model itself" not in words


def test_what_a_filter_dropped(cohort):
    X, y = cohort
    model = make_pipeline(OneClassInstanceFilter(), MISVM()).fit(X, y)
    bag = int(np.argmax(X.sizes))
    kept = len(model[0].transform(X[[bag]])[0])
    words = check(patient_report(model, X, bag)).words
    assert f"left out {X.sizes[bag] - kept} instances of {X.sizes[bag]}" in words


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([2.0, 2.0, 2.0], "their order says nothing"),
        ([0.0, 0.0, 0.0], "their order says nothing"),
        ([np.nan, np.nan, np.nan], "Nothing can be ranked"),
        ([np.nan, 1.0, -1.0], "left out 1 instance of 3"),
        ([np.inf, 1.0, -1.0], "left out 1 instance of 3"),
        ([1e-9, -1e9, 1e300], "3 instances, from"),
        ([-3.0, -2.0, -1.0], "3 below zero"),
    ],
)
def test_odd_evidence(values, told):
    X = [np.arange(6.0).reshape(3, 2)]
    assert told in check(patient_report(Fixed(values), X, 0)).words


def test_one_instance():
    page = check(patient_report(Fixed(), [np.ones((1, 2))], 0))
    assert "Highest evidence" in page.words
    assert "Lowest evidence" not in page.words
    assert "Evidence of all" not in page.words


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([5.0, 5.1, 5.2], True),
        ([-5.0, -5.1, -5.2], True),
        ([5.0, 6.0, 7.0], False),
        ([-1.0, 0.0, 1.0], False),
        ([1.02] + 1499 * [-1.0], False),  # one witness, of hardly any weight in the deviation
        (np.linspace(-1.0, -1.05, 1500).tolist(), True),
    ],
)
def test_nobody_stands_out(values, told):
    X = [np.zeros((len(values), 2))]
    words = check(patient_report(Fixed(values), X, 0, noun="RBC")).words
    assert ("No RBC stands out" in words) == told


class Number(RegressorMixin, BaseEstimator):
    """Predicts one number, or the same ones, for each bag."""

    def __init__(self, number=0.0):
        self.number = number

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.array([self.number] * len(as_bag_array(X)), dtype=float)


@pytest.mark.parametrize(
    ("numbers", "said", "deviation"),
    [
        ([139.26, 138.41, 138.88], "say 138.41 to 139.26", "0.35"),
        ([103.004, 103.0], "say 103.0000 to 103.0040", "0.0020"),
        ([103.0, 103.0], "all say 103", "0"),
        ([-0.5, 1234.0], "say 0 to 1234", "617"),
        ([2e6, 2e6 + 10], "say 2.000000e+06 to 2.000010e+06", "5.0"),
    ],
)
def test_spread_of_numbers_shows(numbers, said, deviation):
    X = [np.arange(6.0).reshape(3, 2)]
    words = check(patient_report([Number(one) for one in numbers], X, 0)).words
    assert f"models of the list {said}, with a standard deviation of {deviation}." in words


def test_attention_is_averaged_as_evidence_is(cohort):
    X, y = cohort
    bag = int(np.argmin(X.sizes))

    def shown(model):
        cells = re.findall(
            r"<div>(\d+)</div></div></td>.*?attention ([\d.]+|missing)",
            patient_report(model, X, bag).html,
        )
        return [float(share) / 100 for _, share in sorted(cells)]

    networks = [("a", network()), ("b", network(pooling="gated_attention"))]
    voter = VotingClassifier(networks, voting="soft", weights=[1, 3]).fit(X, y)
    one, two = (attention_weights(network, X)[bag] for network in voter.estimators_)
    np.testing.assert_allclose(shown(voter), (one + 3 * two) / 4, atol=6e-4)
    filtered = make_pipeline(OneClassInstanceFilter(fraction=0.5), network()).fit(X, y)
    models = [filtered, network().fit(X, y)]
    each = [attention_weights(model, X)[bag] for model in models]
    assert np.isnan(each[0]).any()
    np.testing.assert_allclose(shown(models), np.nan_to_num(each).mean(axis=0), atol=6e-4)
    assert sum(shown(models)) == pytest.approx(1, abs=0.003)


def test_settings_are_those_that_were_chosen(cohort):
    X, y = cohort
    search = GridSearchCV(MISVM(C=5, kernel="linear"), {"C": [0.01, 0.1]}, cv=2)
    chosen = clone(search).fit(X, y)
    models = [chosen, FixedThresholdClassifier(search, threshold=0.5).fit(X, y)]
    for model in [*models, models]:
        words = check(patient_report(model, X, 5)).words
        text = words[words.index("and the settings") :]
        assert f"GridSearchCV chose {chosen.best_params_}: " in text
        assert f"MISVM(C={chosen.best_params_['C']}, kernel='linear')" in text
        assert "are not shown have their default values" in text
    assert "C=5" not in check(patient_report(chosen, X, 5)).words
    tuned = TunedThresholdClassifierCV(network(), cv=2).fit(X, y)
    words = check(patient_report(tuned, X, 5)).words
    assert f"chose the threshold {tuned.best_threshold_:.6g}" in words
    words = check(patient_report(Fixed(np.arange(3.0), note="w" * 900), [np.eye(3)], 0)).words
    assert "w" * 900 in words


PLAIN_PROBABILITIES = ["networks", "mean of networks", "layers behind the mean", "instances"]
READ = {
    "decision": (
        lambda X, y: MISVM().fit(X, y),
        ["\u00b11 is the margin", "clear the decision", "on one scale"],
    ),
    "networks": (
        lambda X, y: network().fit(X, y),
        ["log-odds", "No calibrator was used", "Compare instances of one bag only"],
    ),
    "mean of networks": (
        lambda X, y: network(pooling="mean", n_estimators=2).fit(X, y),
        ["log-odds", "can also be compared with that in other bags"],
    ),
    "layers behind the mean": (
        lambda X, y: network(pooling="mean", head_layer_sizes=(4,)).fit(X, y),
        ["log-odds", "Compare instances of one bag only"],
    ),
    "instances": (
        lambda X, y: InstanceVotingClassifier().fit(X, y),
        ["The larger the evidence", "gives to a single instance", "is that of the other class"],
    ),
    "calibrated": (
        lambda X, y: CalibratedClassifierCV(MISVM(), cv=2, method="sigmoid").fit(X, y),
        ["\u00b11 is the margin", "The probabilities are calibrated"],
    ),
    "occlusion": (
        lambda X, y: rows_of_bags(SVC()).fit(X, y),
        ["unit of the model's decision value", "Compare instances of one bag only"],
    ),
    "regressor": (
        lambda X, y: AttentionMILRegressor(max_iter=2).fit(X, np.arange(24.0)),
        ["+ raises the predicted number", "unit of the predicted number"],
    ),
    "two kinds": (
        lambda X, y: [MISVM().fit(X, y), network().fit(X, y)],
        ["count in different units", "Compare instances of one bag only", "is no probability"],
    ),
    "some calibrated": (
        lambda X, y: [
            CalibratedClassifierCV(rows_of_bags(GaussianNB()), cv=2).fit(X, y),
            rows_of_bags(GaussianNB()).fit(X, y),
        ],
        ["The probabilities of some members are calibrated and those of others are not"],
    ),
    "calibrated by itself": (
        lambda X, y: rows_of_bags(SVC(probability=True, random_state=0)).fit(X, y),
        ["The probabilities are calibrated"],
    ),
}


@pytest.mark.filterwarnings("ignore:The `probability` parameter")
@pytest.mark.parametrize("name", READ)
def test_how_to_read_it(cohort, name):
    X, y = cohort
    make, told = READ[name]
    page = check(patient_report(make(X, y), X, int(np.argmin(X.sizes))))
    text = page.words[page.words.rindex("How to read this page") :]
    for part in told:
        assert part in text or (part.startswith("The larger") and part in page.words)
    assert ("calibrated" in text) == ("calibrated" in name)
    assert ("No calibrator was used" in text) == (name in PLAIN_PROBABILITIES)
    assert ("is that of the other class" in text) == (name == "instances")
    (section,) = [a for a in page.all("section") if a.get("id") == "reading"]
    assert section["class"] == "part"


def test_one_scale(cohort):
    machine, attention = (model.fit(*cohort) for model in (MISVM(), network()))
    assert unit_of_evidence(machine).one_scale
    assert not unit_of_evidence(attention).one_scale
    assert unit_of_evidence([machine, machine]).one_scale
    assert not unit_of_evidence([machine, attention]).one_scale


def test_minus_is_of_the_other_class_in_probabilities_only(cohort):
    X, y = cohort
    instances = InstanceVotingClassifier().fit(X, y)
    for models, told in [([instances] * 2, True), ([instances, MISVM().fit(X, y)], False)]:
        words = check(patient_report(models, X, 5)).words
        assert ("is that of the other class" in words) == told


def test_several_classes(cohort):
    X, _ = cohort
    y = np.arange(24) % 3
    model = network(n_estimators=2).fit(X, y)
    words = check(patient_report(model, X, 5)).words
    assert "The other 2 classes have evidence of their own" in words
    evidence = model.score_instances(X[[5]])[0][:, 1]
    html = patient_report(model, X, 5, label=1).html
    assert rows_of(html, "Highest evidence")[0][0] == evidence.argmax()
    assert "Attention" in words


def test_covariates_and_their_place(machine, cohort):
    X, _ = cohort
    words = check(patient_report(machine, X, 0)).words
    assert re.search("age ?missing", words)
    report = patient_report(machine, X, 12, reference=X[:12], covariates=["age"])
    words = check(report).words
    assert "Among 12 bags" in words
    assert "higher than 100% of 11; median 25" in words  # the age of one is missing
    known = patient_report(machine, X, 12, reference=X[1:12], covariates=["age"])
    assert "higher than 100%; median 25" in check(known).words
    assert ">sex<" not in report.html
    with pytest.raises(ValueError, match=r"no covariates \['size'\]; it has \['age', 'sex'\]"):
        patient_report(machine, X, 0, covariates=["size"])
    with pytest.raises(ValueError, match="reference has no covariates"):
        patient_report(machine, X, 0, reference=X.with_columns(covariates=None))


def test_numbers_of_covariates_are_whole(cohort):
    X, y = cohort
    model = MISVM().fit(X, y)
    n = len(X)
    table = {
        "platelets": 150250.5 + np.arange(n),
        "ferritin": [12345.6] * n,
        "accession": [1234567890123456789] * n,
        "large": [10**20 + i for i in range(n)],
        "small": [0.00012] * n,
        "age": pd.Series([None, *range(20, 19 + n)], dtype=object),
        "stage": pd.Categorical([1, 2] * (n // 2)),
        "infinite": [np.inf] * n,
    }
    X = X.with_columns(
        covariates=pd.DataFrame(table | {"age": pd.Series(table["age"], dtype=object)})
    )
    words = check(patient_report(model, X, 20, reference=X)).words
    for told in [
        "150270.5higher than 83%; median 150262",
        "12345.6higher than 0%; median 12345.6",
        "1234567890123456789higher than 0%",
        "100000000000000000020higher than 83%",
        "0.00012higher than 0%; median 0.00012",
        "39higher than 83% of 23; median 31",
        "1the same in 50%",
        "infhigher than 0%; median inf",
    ]:
        assert told in words


def test_bags_of_a_patient(machine, cohort):
    X, _ = cohort
    page = check(patient_report(machine, X, "patient-4"))
    assert [a["href"] for a in page.all("a")] == ["#report", "#reading", "#bag-8", "#bag-9"]
    assert "sample-8" in page.words
    assert "sample-9" in page.words
    assert page.words.count("look better than they are") == 1
    assert "no prediction for the patient as a whole" in page.words
    assert "as a whole" not in check(patient_report(machine, X, 8)).words
    assert patient_report(machine, X, "sample-8").html == patient_report(machine, X, 8).html
    assert patient_report(machine, X, -16).html == patient_report(machine, X, 8).html


def test_what_an_index_may_mean(machine, cohort):
    X, _ = cohort
    cases = [
        (X, 24, IndexError, "positions 0 to 23. For the name"),
        (X, "bob", KeyError, "neither the name of a bag nor a group. Its names are 'sample-0'"),
        (X, True, TypeError, "index must be the position"),
        (X, 1.0, TypeError, "index must be the position"),
        (
            X.with_columns(names=["ann"] * 2 + [f"s{i}" for i in range(22)]),
            "ann",
            ValueError,
            r"2 bags have the name 'ann': Bag 0 \('ann'\), Bag 1 \('ann'\)",
        ),
        (
            X.with_columns(names=["patient-1", *[f"s{i}" for i in range(23)]]),
            "patient-1",
            ValueError,
            r"the name of Bag 0 \('patient-1'\) and the group of Bag 2 \('s1'\), Bag 3",
        ),
        (
            X.with_columns(names=np.arange(24)[::-1]),
            5,
            ValueError,
            r"position of Bag 5 \(18\), but also the name of Bag 18 \(5\). Pass '5'",
        ),
        (X.with_columns(groups=np.arange(24) // 2), 5, ValueError, "also the group of Bag 10"),
    ]
    for bags, index, error, match in cases:
        with pytest.raises(error, match=match):
            patient_report(machine, bags, index)
    numbered = X.with_columns(names=np.arange(24)[::-1])
    assert "Report for 5<" in patient_report(machine, numbered, "5").html
    assert "Report for 18<" in patient_report(machine, numbered[[5]], 0).html
    assert patient_report(machine, X.with_columns(names=np.arange(24)), 5).title == "Report for 5"


def test_containers_agree(cohort):
    X, y = cohort
    plain = [np.array(bag) for bag in X]
    objects = np.empty(len(X), dtype=object)
    objects[:] = plain
    frame = pd.DataFrame({"bag": plain, "age": X.covariates["age"]})
    model = MISVM().fit(plain, y)
    expected = rows_of(patient_report(model, plain, 7).html, "Highest evidence")
    for container in (tuple(plain), objects, frame, frame["bag"], BagArray.from_list(plain)):
        report = patient_report(model, container, 7)
        assert rows_of(report.html, "Highest evidence") == expected
    assert ">age<" in patient_report(model, frame, 7).html


def test_unusual_features(cohort):
    X = [np.array([[0.0, 5.0, 1.0], [0.0, 5.0, 1.0], [0.0, 9.0, np.nan], [0.0, 5.0, 1.0]])]
    report = patient_report(Fixed([0.0, 0.0, 1.0, 0.0]), X, 0)
    words = check(report).words
    assert "feature 1: 9 (+1.7 SD)" in words
    assert "feature 0" not in words


def drawn(n=5, side=9):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, size=(n, 3, side, side), dtype=np.uint8)


@pytest.fixture
def picture_bags():
    return BagArray(
        drawn(7), [0, 4, 7], instance_data={"image": [0, 0, 1, 1, 2, 2, 3]}, names=["ann", "bob"]
    )


def test_instances_that_are_pictures(picture_bags):
    model = Fixed([0.5, -1.32, 2.0])
    page = check(patient_report(model, picture_bags, "bob", noun="cell"))
    assert [a["alt"] for a in page.all("img")] == [
        "Cell 2, evidence +2.00, image 3",
        "Cell 0, evidence +0.50, image 2",
        "Cell 1, evidence \u22121.32, image 2",
    ]
    assert {a["class"] for a in page.all("img")} == {"pixels"}
    paths = [f"/folder/of/{i}.png" for i in range(4)]
    html = patient_report(model, picture_bags, "bob", image_paths=paths).html
    assert "evidence +2.00, 3.png" in html
    with pytest.raises(ValueError, match=r"image_paths has 2 names, .* Bag 1 .* goes up to 3"):
        patient_report(model, picture_bags, "bob", image_paths=paths[:2])
    for single in ("slide.png", Path("slide.png")):
        with pytest.raises(TypeError, match=r"the single name 'slide.png'; pass a list"):
            patient_report(model, picture_bags, "bob", image_paths=single)
    assert check(patient_report(model, picture_bags, "bob", images=False)).all("img") == []


def test_images_beside_vectors(picture_bags):
    X = picture_bags.with_instances(np.arange(14.0).reshape(7, 2))
    model, pixels = Fixed([3.0, 2.0, 1.0]), picture_bags.instances
    expected = [
        a["src"] for a in check(patient_report(model, X, 1, images=picture_bags)).all("img")
    ]
    assert len(set(expected)) == 3
    last = pixels.transpose(0, 2, 3, 1)
    named = X.with_columns(instance_data={"crop": pixels})
    html = patient_report(model, named, 1, images="crop").html
    assert [a["src"] for a in Page(html).all("img")] == expected
    with pytest.raises(ValueError, match=r"images is 'cut', the name .* but X has \['crop'\]"):
        patient_report(model, named, 1, images="cut")
    for images in (pixels, pixels[4:], last, last[4:], [pixels[:4], pixels[4:]], [last[4:]]):
        page = Page(patient_report(model, X, 1, images=images).html)
        assert [a["src"] for a in page.all("img")] == expected
    for images, match in [
        (pixels[:5], r"holds 5 pictures, but Bag 1 \('bob'\) has 3 instances, and X has 7"),
        ([pixels[:4], pixels[:2]], r"Bag 1 \('bob'\) has 3 instances, but its images have shape"),
        ([pixels] * 3, "one array for each bag, and has 3"),
        (np.ones((7, 5)), "images must be an array of shape"),
        (np.ones((7, 5, 6, 7)), "Pictures are instances of shape"),
    ]:
        with pytest.raises(ValueError, match=match):
            patient_report(model, X, 1, images=images)


def test_large_pictures_are_made_smaller():
    X = BagArray(np.zeros((2, 3, 700, 500), dtype=np.uint8), [0, 2])
    for attributes in check(patient_report(Fixed(), _means(X), 0, images=X)).all("img"):
        assert int(attributes["height"]) == 256
        assert "class" not in attributes


def _means(X):
    return X.with_instances(X.flat()[0].mean(axis=(2, 3)))


def test_pillow_is_missing(monkeypatch, picture_bags):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install milkit\[image\].*images=False"):
        patient_report(Fixed([1.0, 2.0, 3.0]), picture_bags, 1)
    patient_report(Fixed([1.0, 2.0, 3.0]), picture_bags, 1, images=False)


def test_refused(machine, cohort, tmp_path):
    X, y = cohort
    with pytest.raises(NotFittedError):
        patient_report(MISVM(), X, 0)
    with pytest.raises(NotFittedError):
        patient_report([machine, MISVM()], X, 0)
    result = cross_validate(MISVM(), X, y, cv=2, return_estimator=True)
    other = MISVM().fit(X, np.array(["a", "b"] * 12))
    regressor = AttentionMILRegressor(max_iter=1).fit(X, np.arange(24.0))
    labels = np.c_[np.arange(24) % 2, np.arange(24) // 12]
    several = OneVsRestClassifier(MISVM()).fit(X, labels)
    forest = make_pipeline(BagStatistics(), DecisionTreeClassifier()).fit(X, labels)
    cases = [
        (MISVM, {}, TypeError, "must be a fitted estimator that predicts"),
        (None, {}, TypeError, "must be a fitted estimator that predicts"),
        ([machine, "x"], {}, TypeError, r"estimator\[1\] must be"),
        ([], {}, ValueError, "empty list"),
        (result, {}, TypeError, r"result\['estimator'\]"),
        ([machine, other], {}, ValueError, "must know the same classes"),
        ([machine, regressor], {}, ValueError, "classifiers and regressors"),
        (machine, {"n_instances": 0}, ValueError, "n_instances must be an int of at least 1"),
        (machine, {"noun": ""}, ValueError, "noun must be a word"),
        (machine, {"path": tmp_path / "no" / "a.html"}, FileNotFoundError, "does not exist"),
        (machine, {"covariates": "age"}, TypeError, "list of names"),
        (regressor, {"label": 1}, ValueError, "the model predicts numbers"),
        (Number([1.0, 2.0]), {}, TypeError, "predicts 2 numbers for each bag"),
        ([Number([1.0, 2.0])] * 2, {}, TypeError, "predicts 2 numbers for each bag"),
        (several, {}, TypeError, "gives 2 labels to each bag"),
        (forest, {}, TypeError, "gives 2 labels to each bag"),
    ]
    for model, options, error, match in cases:
        with pytest.raises(error, match=match):
            patient_report(model, X, 0, **options)
    with pytest.raises(BagShapeError, match="one 2-D table"):
        patient_report(machine, X[0], 0)


def test_a_frozen_vote(cohort):
    X, y = cohort
    voters = [("a", MISVM()), ("b", MISVM(C=2)), ("c", MISVM(C=3))]
    vote = VotingClassifier(voters).fit(X, y)
    report = patient_report(FrozenEstimator(vote), X, 5)
    assert "3 of 3 voters say ill" in check(report).words
    np.testing.assert_equal(shown_evidence(report), shown_evidence(patient_report(vote, X, 5)))


def test_words_of_the_user_are_kept(machine, cohort):
    X, _ = cohort
    page = check(patient_report(machine, X, "patient-4", noun="RBC", label="healthy"))
    assert "RBCs in the order of their evidence" in page.words
    assert "Rbc" not in page.words


def nasty_report(**options):
    """A page in which every string that a user gives is trouble."""
    covariates = pd.DataFrame({name: [NASTY[(i + 1) % 5]] * 2 for i, name in enumerate(NASTY)})
    X = BagArray.from_list(
        [drawn(6, 24), drawn(9, 24)],
        names=NASTY[:2],
        groups=NASTY[2:3] * 2,
        covariates=covariates,
        instance_data={"image": np.array(NASTY * 3)},
    )
    values = np.linspace(-1, 2, 15)
    model = Fixed(values, tuple(NASTY[1::-1]))
    options = {"title": NASTY[0] + NASTY[3], "noun": "<b>cell</b>", "date": NASTY[1], **options}
    return patient_report(model, X, NASTY[2], reference=X, **options)


def test_strings_of_the_user_are_escaped():
    report = nasty_report()
    page = check(report)
    assert len(page.all("img")) == 15
    assert "<script" not in report.html
    assert "onerror=" not in "".join(str(a) for _, a, _ in page.elements if "alt" not in a)
    assert {name for _, a, _ in page.elements for name in a} <= {
        *("lang", "charset", "http-equiv", "content", "name", "id", "class", "href", "src", "alt"),
        *("width", "height", "scope", "tabindex", "role", "viewbox", "preserveaspectratio", "d"),
        *("aria-hidden", "aria-label", "aria-labelledby", "x", "y", "points", "text-anchor"),
        *("cx", "cy", "r"),
    }
    for text in NASTY[:4]:
        assert " ".join(text.split()) in page.words
    report.html.encode("utf-8")
    assert not re.search("[\x00\u202e\ud800]", report.html)
    names = BagArray.from_list([np.eye(3)], feature_names=NASTY[:3])
    assert NASTY[0] in check(patient_report(Fixed(), names, 0)).words


def test_large_bags_make_small_pages():
    rng = np.random.default_rng(0)
    X = BagArray.from_list([rng.normal(size=(100_000, 10)), rng.normal(size=(5, 10))])
    start = time.perf_counter()
    report = patient_report(Fixed(), X, 0)
    assert time.perf_counter() - start < 2
    assert len(report.html) < 100_000
    words = check(report).words
    assert "100,000 instances, from" in words


def test_notebook(machine, cohort):
    X, _ = cohort
    report = patient_report(machine, X, 0)
    (frame,) = Page(report._repr_html_()).all("iframe")
    assert frame["sandbox"] == ""
    assert frame["title"] == report.title == "Report for sample-0"
    assert "<base" in frame["srcdoc"]
    assert repr(report).startswith("PatientReport('Report for sample-0', ")


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme):
    block = re.findall(r":root \{([^}]*)\}", CSS)[scheme]
    colours = dict(re.findall(r"--(\w+): (#\w{6})", block))
    for front in ("text", "muted", "for", "against", "focus"):
        for back in ("page", "panel"):
            high, low = sorted([luminance(colours[front]), luminance(colours[back])])[::-1]
            assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)
    high, low = sorted([luminance(colours["for"]), luminance(colours["ground"])])[::-1]
    assert (high + 0.05) / (low + 0.05) >= 3


# -- in a browser ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    browser = start_browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory, cohort, machine):
    """The URL of a page on a patient with nasty strings, and of a plain one without pictures."""
    folder = tmp_path_factory.mktemp("pages")
    X, y = cohort
    networks = network(n_estimators=2).fit(X, y)
    plain = patient_report(networks, X, 5, reference=X)
    frame = f"<!DOCTYPE html><title>Notebook</title><p>Above</p>{plain._repr_html_()}"
    (folder / "frame.html").write_text(frame, encoding="utf-8")
    return {
        "nasty": nasty_report(path=folder / "nasty.html") and (folder / "nasty.html").as_uri(),
        "plain": plain.save(folder / "plain.html").as_uri(),
        "frame": (folder / "frame.html").as_uri(),
    }


@pytest.mark.parametrize("name", ["nasty", "plain"])
@pytest.mark.parametrize("size", [(360, 740), (1280, 900)], ids=["phone", "desktop"])
def test_it_fits_the_window(driver, pages, name, size):
    resize(driver, *size)
    driver.get(pages[name])
    width = "return [document.documentElement.scrollWidth, innerWidth]"
    scrolled, window = driver.execute_script(width)
    assert window == size[0]
    assert scrolled <= window
    outside = driver.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect()"
        ".right > document.documentElement.clientWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []
    squeezed = driver.execute_script(
        "return [...document.querySelectorAll('.instances th, .instances td')].filter(e => "
        "e.scrollWidth > e.clientWidth + 1 || e.clientWidth < 40).map(e => e.outerHTML)"
    )
    assert squeezed == []
    natural = driver.execute_script("return [...document.images].map(i => i.naturalWidth)")
    assert natural == ([24] * 15 if name == "nasty" else [])
    assert not driver.title.startswith(("broken", "1"))
    assert driver.get_log("browser") == []


def test_keyboard(driver, pages):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    resize(driver, 360, 740)
    driver.get(pages["plain"])
    reached, body = [], driver.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    for _ in range(4):
        active = driver.switch_to.active_element
        reached.append(active.text)
        outline = active.value_of_css_property("outline-style")
        box = active.rect
        assert outline == "solid"
        assert box["x"] >= 0
        assert box["width"] > 0
        active.send_keys(Keys.TAB)
    assert reached == [
        "Skip to the report",
        "How to read this page",
        "The curve as a table",
        "The model and the settings",
    ]
    details = driver.find_element(By.TAG_NAME, "details")
    details.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert details.get_property("open")
    skip = driver.find_element(By.CLASS_NAME, "skip")
    skip.send_keys(Keys.ENTER)
    assert driver.switch_to.active_element.tag_name == "main"
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_frame_of_a_notebook(driver, pages):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    resize(driver, 1280, 900)
    driver.get(pages["frame"])
    frame = driver.find_element(By.TAG_NAME, "iframe")
    driver.execute_script("arguments[0].scrollIntoView()", frame)
    driver.switch_to.frame(frame)
    skip = driver.find_element(By.CLASS_NAME, "skip")
    skip.send_keys(Keys.ENTER)
    assert driver.find_element(By.TAG_NAME, "h1").text == "Report for sample-5"
    assert driver.find_elements(By.TAG_NAME, "iframe") == []
    driver.switch_to.default_content()
