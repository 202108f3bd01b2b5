"""The parts of a report: prediction, covariates, instances, the curve, and what they mean."""

import numpy as np

from milkit import __version__
from milkit.inspection._report._chart import evidence_bar, evidence_curve, share_bar
from milkit.inspection._report._markup import element, isolated, join
from milkit.inspection._report._numbers import (
    counted,
    formatter,
    plain,
    probability,
    raised,
    significant,
)
from milkit.inspection._report._prediction import largest
from milkit.inspection._report._units import PROBABILITY

__all__ = [
    "covariate_part",
    "curve_part",
    "instance_part",
    "model_part",
    "prediction_part",
    "reading_part",
    "shown_rows",
    "summary_part",
]

_WHAT = {"probability": "Probability", "votes": "Share of votes", "decision": "Decision value"}


def prediction_part(prediction, bag, level, note):
    """The answer, a table with every class, and how sure the model is."""
    values = prediction.values[bag]
    members = None if prediction.members is None else prediction.members[:, bag]
    label, text = prediction.labels[bag], _printer(prediction, values, members)
    what = _WHAT.get(prediction.kind)
    k = 0 if len(values) == 1 else prediction.classes.tolist().index(label)
    spread = ""
    shown = None if prediction.kind == "votes" else members  # votes have no range
    if shown is not None:
        spread = f" (members {_range(members[:, k].min(), members[:, k].max(), text)})"
    if prediction.kind == "number":
        answer = element("strong", text(values[0])), spread and element("span", spread.strip(" ()"))
    elif prediction.kind == "label":
        answer = (element("strong", isolated(label)),)
    else:
        detail = element("span", f"{what} {text(values[k])}{spread}")
        answer = element("strong", isolated(label)), detail
    content = [
        element("h" + level, "Prediction"),
        element("p", "Predicted", *answer, class_="answer"),
        _table_of_outputs(prediction, values, shown, label, text),
        _own_threshold(prediction, values, label),
        element("p", _spread(prediction, bag, text)),
        note and element("p", note, class_="note small"),
    ]
    return element("section", *content, class_="part")


def _printer(prediction, values, members):
    if prediction.kind in ("probability", "votes", "label"):
        return probability
    signed = prediction.kind == "decision"
    if members is None:
        return formatter(values, signed=signed)
    width = float(np.ptp(members, axis=0).max())
    return formatter(np.r_[values, members.ravel()], signed=signed, width=width)


def _table_of_outputs(prediction, values, members, label, text):
    if prediction.kind in ("number", "label"):
        return None
    classes = prediction.classes
    share = prediction.kind in ("probability", "votes")
    what = _WHAT[prediction.kind]
    head = [element("th", "Class", scope="col"), element("th", what, scope="col")]
    if members is not None:
        head += [element("th", "Members", scope="col")]
    rows = []
    for k, name in enumerate(classes if len(values) > 1 else classes[1:]):
        low, high = (None, None) if members is None else (members[:, k].min(), members[:, k].max())
        bar = share_bar(values[k], low, high) if share else None
        cells = [
            element("th", isolated(name), scope="row"),
            element("td", element("span", text(values[k]), class_="value"), bar),
        ]
        if members is not None:
            deviation = members[:, k].std()
            written = "<0.001" if share and 0 < deviation < 0.001 else significant(deviation, 2)
            cells.append(element("td", f"{_range(low, high, text)} (SD {written})"))
        rows.append(element("tr", *cells, class_="chosen" if name == label else None))
    caption = f"{what} of each class"
    if members is not None:
        caption += "; range and standard deviation (SD) over the members"
    own_threshold = prediction.threshold or classes[largest(values)] != label
    if len(values) == 1 and own_threshold:
        caption = join("The larger, the more it speaks for ", isolated(classes[1]))
    elif len(values) == 1:
        caption = join("Above zero means ", isolated(classes[1]), ", below ", isolated(classes[0]))
    elif prediction.kind == "decision":
        caption = "Decision value of each class; the largest decides"
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        class_="numbers classes",
    )


def _range(low, high, text):
    return f"all {text(low)}" if text(low) == text(high) else f"{text(low)} to {text(high)}"


def _own_threshold(prediction, values, label):
    """A word where the label is not what the numbers say, as with a threshold of its own."""
    if prediction.kind == "number" or prediction.classes[largest(values)] == label:
        return None
    text = (
        "The model predicts another class than the one with the largest number: it decides with a "
        "threshold or a rule of its own."
    )
    if prediction.is_list:
        text = (
            "The prediction is what most of the models say. The mean of their numbers is larger "
            "for another class: some models lie far from the others, or each has a threshold of "
            "its own."
        )
    return element("p", text)


def _spread(prediction, bag, text):
    """How far the members agree."""
    if prediction.members is None:
        return (
            "How sure: no spread is known. One prediction does not tell how far that of another "
            "model, fitted on other patients, would differ."
        )
    values, members = prediction.values[bag], prediction.members[:, bag]
    n, label = len(members), prediction.labels[bag]
    no_interval = "This shows how far they disagree, and is no confidence interval."
    if prediction.kind == "number":
        low, high = text(members.min()), text(members.max())
        said = f"all say {low}" if low == high else f"say {low} to {high}"
        deviation = significant(members.std(), 2)
        return (
            f"How sure: the {n} {prediction.source} {said}, with a standard deviation of "
            f"{deviation}. {no_interval}"
        )
    own_threshold = prediction.classes[largest(values)] != label
    if prediction.says is None or (own_threshold and not prediction.is_list):
        return (
            f"How sure: the {n} {prediction.source} have the range above. {no_interval} Which "
            "class each of them would predict is not known, because the model decides with a "
            "threshold or a rule of its own."
        )
    counts = np.bincount(prediction.says[:, bag], minlength=len(prediction.classes))
    agree = counts[prediction.classes.tolist().index(label)]
    but = None
    if prediction.kind == "votes" and np.sum(values == values.max()) > 1:
        but = " That is a tie, which goes to the class that comes first in the table."
    elif agree == counts.max() and np.sum(counts == agree) > 1:
        but = " That is a tie, which the larger number decides."
    elif 2 * agree < len(members) and not prediction.is_list:
        but = " That is less than half, but the prediction follows the mean of what all say."
    return join(
        f"How sure: {agree} of {n} {prediction.source} say ",
        isolated(label),
        ".",
        but,
        prediction.kind != "votes" and f" The range{no_interval.removeprefix('This')}",
    )


def covariate_part(covariates, level, n_reference):
    """A table of (name, value, place) with None for a value that is missing."""
    heading = element("h" + level, "Clinical data")
    if not covariates:
        text = element("p", "No covariates are attached to it.", class_="note")
        return element("section", heading, text, class_="part")
    head = ["Covariate", "Value"]
    if n_reference:
        head.append(f"Among {counted(n_reference, 'bag')}")
    rows = []
    for name, value, place in covariates:
        if value is None:
            shown = element("td", "missing", class_="missing")
        else:
            shown = element("td", isolated(value))
        there = element("td", place) if n_reference else None
        rows.append(element("tr", element("th", isolated(name), scope="row"), shown, there))
    table = element(
        "table",
        element("caption", "What is known besides; the model need not use it"),
        element("thead", element("tr", *(element("th", h, scope="col") for h in head))),
        element("tbody", *rows),
        class_="numbers covariates",
    )
    return element("section", heading, table, class_="part")


def shown_rows(order, n_instances):
    """Ranks of the instances with the highest and with the lowest evidence, none in both."""
    n = len(order)
    highest = min(n_instances, (n + 1) // 2)
    lowest = min(n - highest, n_instances)
    return np.arange(highest), np.arange(n - lowest, n)[::-1]


def instance_part(found, level):
    """Two tables: the instances with the highest evidence, and those with the lowest.

    Parameters
    ----------
    found : dict
        ``values`` (n_i,), ``order``, ``attention``, ``noun``, ``towards``, ``texts`` of the lines
        in front of the tables, and for each instance that is shown ``pictures``, ``origins`` and
        ``features``.
    level : str

    Returns
    -------
    html : Markup
    """
    noun, order = found["noun"], found["order"]
    heading = element("h" + level, f"{raised(noun)}s in the order of their evidence")
    lines = [element("p", line) for line in found["texts"]]
    if not len(order):
        return element("section", heading, *lines, class_="part")
    below = str(int(level) + 1)
    tables = []
    ends = shown_rows(order, found["n_instances"])
    for ranks, title in zip(ends, ("Highest evidence", "Lowest evidence"), strict=True):
        if len(ranks):
            table = _table_of_instances(found, ranks, title)
            tables.append(element("div", element("h" + below, title), table))
    pair = element("div", *tables, class_="pair")
    return element("section", heading, *lines, pair, class_="part")


def _table_of_instances(found, ranks, title):
    values, order, noun = found["values"], found["order"], found["noun"]
    number = formatter(values[order])
    percent = None if found["attention"] is None else 100 * found["attention"]
    share = None if percent is None else formatter(percent, signed=False)
    low, high = min(values[order[-1]], 0.0), max(values[order[0]], 0.0)
    pictures, features = found["pictures"], found["features"]
    head = [
        element("th", "Rank", scope="col", class_="rank"),
        element("th", raised(noun), scope="col", class_="name"),
        element("th", "Evidence", scope="col", class_="evidence"),
        features and element("th", "Unusual features", scope="col", class_="features"),
    ]
    rows = []
    for rank in ranks:
        i = int(order[rank])
        origin = found["origins"].get(i)
        written = number(values[i])
        alt = f"{raised(noun)} {i}, evidence {written}" + (f", {origin}" if origin else "")
        evidence = element("span", written, class_="value")
        looked = None
        if share:
            sign = "\u202f%" if np.isfinite(percent[i]) else ""
            looked = element("div", f"attention {share(percent[i])}{sign}", class_="small")
        picture = pictures and _image(pictures[i], alt)
        text = element("div", str(i), origin and element("div", isolated(origin), class_="small"))
        rows.append(
            element(
                "tr",
                element("th", f"{rank + 1:,}", scope="row"),
                element("td", element("div", picture, text, class_="cell")),
                element("td", evidence, evidence_bar(values[i], low, high), looked),
                features and element("td", _features(features[i]), class_="small"),
            )
        )
    caption = join(
        f"{title} for ",
        isolated(found["towards"]),
        f": ranks {ranks.min() + 1:,} to {ranks.max() + 1:,} of {len(order):,}",
    )
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        class_="instances listed" if features else "instances",
    )


def _image(picture, alt):
    uri, (width, height) = picture
    small = "pixels" if max(width, height) < 80 else None
    return element("img", src=uri, alt=alt, width=width, height=height, class_=small)


def _features(features):
    if not features:
        return "none"
    lines = []
    for name, value, deviation in features:
        text = f": {plain(value)}" if np.isfinite(value) else ": missing"
        if deviation is not None:
            text += f" ({_one_decimal(deviation)} SD)"
        lines.append(element("div", isolated(name), text))
    return join(*lines)


def _one_decimal(deviation):
    return f"{deviation:+.1f}".replace("-", "\u2212")


def curve_part(found, level, identifier):
    """The curve of all instances, where there is more than one."""
    order, noun = found["order"], found["noun"]
    if len(order) < 2:
        return None
    heading = element("h" + level, f"Evidence of all {noun}s")
    curve = evidence_curve(found["values"][order], noun, found["towards"], identifier)
    return element("section", heading, curve, class_="part")


def summary_part(rows, noun):
    """The bags of one patient in a table, with links to their sections."""
    head = ["Bag", "Prediction", f"{raised(noun)}s"]
    body = [
        element(
            "tr",
            element("th", element("a", isolated(name), href=f"#{identifier}"), scope="row"),
            element("td", isolated(prediction)),
            element("td", f"{n:,}"),
        )
        for name, identifier, prediction, n in rows
    ]
    table = element(
        "table",
        element("caption", f"{counted(len(rows), 'bag')}, each with a section below"),
        element("thead", element("tr", *(element("th", h, scope="col") for h in head))),
        element("tbody", *body),
        class_="numbers",
    )
    text = (
        f"The model predicts single bags of {noun}s, and each section below is about one. This "
        "page has no prediction for the patient as a whole."
    )
    return element("nav", element("p", text), table, aria_label="Bags")


def reading_part(prediction, evidence, calibrated, noun):
    """How to read the page: what its numbers count in, and what may be compared.

    Parameters
    ----------
    prediction : Prediction
    evidence : list of InstanceEvidence
    calibrated : {"all", "some", "none"}
        Of which members a calibrator made the probabilities.
    noun : str

    Returns
    -------
    html : Markup
    """
    lines = [*_prediction_lines(prediction.kind, calibrated)]
    shown = [one for one in evidence if one.columns is not None]
    if shown:
        lines += _evidence_lines(prediction, shown[0], noun)
    if any(one.attention is not None for one in evidence):
        lines.append(
            f"Attention is the share of each {noun} in what the model looks at. It does not say "
            "in which direction."
        )
    lines.append(
        f"High evidence does not show that anything is wrong with the {noun}, only that the model "
        "counts it. This page is the output of a statistical model and no diagnosis."
    )
    return element(
        "section",
        element("h2", "How to read this page"),
        element("ul", *(element("li", line) for line in lines)),
        id="reading",
        class_="part",
    )


def _prediction_lines(kind, calibrated):
    if kind == "probability" and calibrated == "all":
        yield (
            "The probabilities are calibrated: fitted to how often such predictions came true "
            "among the patients that the model was fitted with."
        )
    elif kind == "probability" and calibrated == "some":
        yield (
            "The probabilities of some members are calibrated and those of others are not, so "
            "that 0.90 need not mean that 90 of 100 such patients have the class."
        )
    elif kind == "probability":
        yield (
            "Probabilities are as the model gives them. No calibrator was used, so that 0.90 need "
            "not mean that 90 of 100 such patients have the class."
        )
    elif kind == "votes":
        yield "A share of votes says how many members chose the class. It is no probability."
    elif kind == "decision":
        yield "A decision value says how clear the decision is to the model. It is no probability."


def _evidence_lines(prediction, evidence, noun):
    unit = evidence.unit
    if prediction.classes is None:
        sign = "+ raises the predicted number, and \u2212 lowers it"
    elif unit.signed:
        sign = "+ speaks for the class that the tables name, and \u2212 against it"
    else:
        sign = "the larger, the more it speaks for the class that the tables name"
    yield f"Evidence says how much the model counts each {noun}: {sign}. Bars show the same."
    yield f"Evidence is {unit.text.format(noun=noun)}."
    if unit == PROBABILITY and len(prediction.classes) == 2:
        yield "A number with \u2212 is that of the other class."
    if unit.one_scale:
        yield (
            f"The model counts each {noun} on one scale, so that evidence for the same class can "
            "also be compared with that in other bags."
        )
    else:
        yield (
            f"Compare {noun}s of one bag only: the evidence in another bag may have another scale."
        )


def model_part(settings, noun):
    """The end of the page: which model it was, and what made the page.

    Parameters
    ----------
    settings : tuple of (str, str)
        What it is, and its settings as code.
    noun : str

    Returns
    -------
    html : Markup
    """
    what, code = settings
    text = (
        "Settings that are not shown have their default values. "
        f"{raised(noun)}s and bags are counted from 0."
    )
    details = element(
        "details",
        element("summary", f"{what} and the settings"),
        element("pre", element("code", code)),
        element("p", text, class_="small"),
    )
    return element(
        "footer", details, element("p", f"Made with milkit {__version__}.", class_="small facts")
    )
