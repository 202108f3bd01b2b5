"""What goes into a report: everything is computed here, and _page writes it down."""

import re
from pathlib import PurePath

import numpy as np
from sklearn.base import BaseEstimator

from milkit.exceptions import describe_bag
from milkit.inspection._report import _page as page
from milkit.inspection._report._covariates import covariate_rows
from milkit.inspection._report._evidence import evidence_of_bags, take, unusual_features
from milkit.inspection._report._markup import element, isolated, join
from milkit.inspection._report._numbers import counted, formatter, probability
from milkit.inspection._report._pictures import data_uris, find_pictures
from milkit.inspection._report._prediction import predict_bags
from milkit.inspection._report._units import calibration
from milkit.utils._inside import walk

__all__ = ["report_content"]

_HELD_OUT = (
    "Whether the model was fitted with this patient cannot be known here. Predictions of patients "
    "that it was fitted with look better than they are."
)
_HELD_OUT_LIST = (
    " If its models come from cross-validation in which this patient took part, all but one were."
)
# If its range is less than this share of the largest, evidence names nobody.
_STANDS_OUT = 0.1


def report_content(estimator, X, bags, rows, **options):
    """The parts of the page in order.

    Parameters
    ----------
    estimator : fitted estimator or list of such
    X : container of n_bags bags
    bags : BagArray of shape (n_bags,)
        The same bags.
    rows : list of int
        Those to report on.
    **options
        The other parameters of ``patient_report``, and ``group``.

    Returns
    -------
    content : list of Markup
    """
    noun = options["noun"]
    chosen, some = take(X, rows), bags[rows]
    prediction = predict_bags(estimator, chosen)
    columns = _columns_shown(prediction, options["label"])
    n_classes = None if prediction.classes is None else len(prediction.classes)
    evidence = evidence_of_bags(estimator, chosen, some, n_classes)
    pictures = find_pictures(options["images"], bags, rows)
    listed = covariate_rows(some, options["covariates"], options["reference"])
    note = _HELD_OUT + _HELD_OUT_LIST * isinstance(estimator, (list, tuple))
    several = len(rows) > 1
    content = [_head(some, rows, several, options)]
    found = []
    for b, row in enumerate(rows):
        one = _instances(bags, row, evidence[b], columns[b], prediction, pictures[b], options)
        found.append(one)
    if several:
        content.append(page.summary_part(list(_summary(prediction, some, rows)), noun))
    for b, row in enumerate(rows):
        level = "3" if several else "2"
        top = page.prediction_part(prediction, b, level, note if b == 0 else None)
        clinical = page.covariate_part(listed[b], level, _length(options["reference"]))
        parts = [
            element("div", top, clinical, class_="pair"),
            page.instance_part(found[b], level),
            page.curve_part(found[b], level, f"curve-{row}"),
        ]
        if several:
            heading = element("h2", isolated(_name(bags, row)))
            parts = [element("section", heading, *parts, id=f"bag-{row}", class_="bag")]
        content += parts
    content.append(page.reading_part(prediction, evidence, calibration(estimator), noun))
    content.append(page.model_part(_settings(estimator), noun))
    return [part for part in content if part is not None]


def _name(bags, row):
    return f"bag {row}" if bags.names is None else str(bags.names[row])


def _length(reference):
    return 0 if reference is None else len(reference)


def _columns_shown(prediction, label):
    """For each bag the column of the evidence that is shown, and what it is for."""
    if prediction.classes is None:
        if label is not None:
            raise ValueError(f"label={label!r} names a class, but the model predicts numbers.")
        return [(0, "a larger number")] * len(prediction.labels)
    known = prediction.classes.tolist()
    if label is not None and label not in known:
        raise ValueError(f"label={label!r} is no class of the model, which knows {known}.")
    wanted = prediction.labels.tolist() if label is None else [label] * len(prediction.labels)
    return [(known.index(one), str(one)) for one in wanted]


def _head(some, rows, several, options):
    """The title, and which bag and whose it is."""
    facts = []
    if not several:
        if some.names is not None:
            facts.append(join("Bag ", isolated(some.names[0]), f" (number {rows[0]})"))
        else:
            facts.append(f"Bag number {rows[0]}")
    if some.groups is not None and len(set(some.groups.tolist())) == 1:
        facts.append(join("Group ", isolated(some.groups[0])))
    facts.append(counted(some.n_instances, options["noun"]))
    if options["date"] is not None:
        facts.append(join("Date ", isolated(options["date"])))
    return element(
        "header",
        element("h1", isolated(options["title"])),
        element("p", join(*facts, by=" · "), class_="facts"),
        element("p", element("a", "How to read this page", href="#reading"), class_="small"),
    )


def _summary(prediction, some, rows):
    for b, row in enumerate(rows):
        text = str(prediction.labels[b])
        if prediction.kind == "number":
            text = formatter(prediction.values[:, 0], signed=False)(prediction.values[b, 0])
        elif prediction.kind == "probability":
            k = prediction.classes.tolist().index(prediction.labels[b])
            text += f", probability {probability(prediction.values[b, k])}"
        name = f"bag {row}" if some.names is None else some.names[b]
        yield name, f"bag-{row}", text, int(some.sizes[b])


def _instances(bags, row, evidence, column, prediction, pictures, options):
    """What the tables of one bag's instances show."""
    k, towards = column
    noun, bag = options["noun"], bags[row]
    found = {
        "noun": noun,
        "towards": towards,
        "attention": evidence.attention,
        "n_instances": options["n_instances"],
        "values": None,
        "order": np.empty(0, dtype=int),
        "pictures": None,
        "features": None,
        "origins": {},
    }
    if evidence.columns is None:
        text = f"The model does not say which {noun}s decided. {evidence.reason}"
        return {**found, "texts": [text]}
    values, order = evidence.of(k), evidence.ranking(k)
    found.update(values=values, order=order)
    found["texts"] = list(_texts(evidence, values, order, towards, prediction, noun))
    if len(order):
        highest, lowest = page.shown_rows(order, options["n_instances"])
        shown = order[np.r_[highest, lowest]]
        found["origins"] = _origins(bags[[row]], shown, options["image_paths"], row)
        if pictures is not None:
            uris, sizes = data_uris(pictures[shown])
            found["pictures"] = dict(zip(shown, zip(uris, sizes, strict=True), strict=True))
        elif bag.ndim == 2:
            names = bags.feature_names
            found["features"] = {
                i: [(f"feature {j}" if names is None else names[j], v, z) for j, v, z in features]
                for i, features in zip(shown, unusual_features(bag, shown), strict=True)
            }
    return found


def _texts(evidence, values, order, towards, prediction, noun):
    """The lines in front of the tables."""
    if not len(order):
        yield (
            f"The model gave no evidence for any {noun}: it left out all of them, or its numbers "
            "are not finite. Nothing can be ranked."
        )
        return
    source = {
        "model": "computed by the model itself",
        "members": "the mean over the members",
        "first level": "computed by the first level of the model, which looks at the "
        f"{noun}s, before the clinical data are added. The prediction may rest on the clinical "
        f"data instead, and this does not show how far it rests on the {noun}s",
        "occlusion": f"how far the model's decision falls without the {noun}, because the model "
        "has none of its own",
    }[evidence.how]
    if evidence.unit.signed:
        positive, negative = element("strong", "+"), element("strong", "\u2212")
        speaks = join(
            *("Evidence with ", positive, " speaks for ", isolated(towards)),
            *(", with ", negative, " against."),
        )
    else:
        speaks = join("The larger the evidence, the more it speaks for ", isolated(towards), ".")
    yield join(speaks, f" It is {source}.")
    if prediction.classes is not None and len(prediction.classes) > 2:
        others = len(prediction.classes) - 1
        yield (
            f"The other {others} classes have evidence of their own, which is not shown; what "
            "speaks against one class may speak for another."
        )
    if missing := len(values) - len(order):
        yield f"The model left out {counted(missing, noun)} of {len(values):,}."
    shown = values[order]
    if len(order) > 1 and np.ptp(shown) == 0:
        yield f"All {noun}s have the same evidence, so that their order says nothing."
    elif len(order) > 1 and _range(shown) < _STANDS_OUT:
        yield (
            f"No {noun} stands out: the evidence of all is nearly the same, so that their order "
            "says little."
        )


def _range(values):
    """Range of finite numbers, as a share of the largest magnitude: one of many may stand out."""
    return np.ptp(values / np.abs(values).max())  # that of large numbers may not be finite


def _origins(one_bag, shown, image_paths, row):
    """The image that each instance was cut from, where the bags know it."""
    column = one_bag.instance_data.get("image")
    if column is None or column.ndim != 1:
        return {}
    if image_paths is None:
        return {i: f"image {column[i]}" for i in shown}
    try:
        return {i: PurePath(str(image_paths[column[i]])).name for i in shown}
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(
            f"image_paths has {len(image_paths)} names, but instance_data['image'] of "
            f"{describe_bag(0, one_bag.names).replace('Bag 0', f'Bag {row}')} goes up to "
            f"{column[shown].max()}. Pass the image_paths that came with X."
        ) from error


def _settings(estimator):
    """What a report is on, and each estimator as code, with what was chosen when it was fitted."""
    several = isinstance(estimator, (list, tuple))
    texts = [_settings_of(one) for one in (estimator if several else [estimator])]
    # An address would make each run another file.
    texts = [re.sub(r"\bat 0x[0-9A-Fa-f]+", "at 0x…", text) for text in texts]
    what = f"The {len(texts)} models" if several else "The model"
    return what, "\n\n".join(dict.fromkeys(texts))


def _settings_of(estimator):
    chosen = []
    for one in walk(estimator):
        own = getattr(one, "__dict__", {})  # and not what a FrozenEstimator passes on
        if "best_params_" in own:
            name = type(one).__name__
            chosen.append(f"{name} chose {one.best_params_}:\n{_as_code(one.best_estimator_)}")
        elif "best_threshold_" in own:
            chosen.append(f"{type(one).__name__} chose the threshold {one.best_threshold_:.6g}")
    # The estimator that a search was made with has other settings than the one that it chose.
    whole = [] if "best_params_" in getattr(estimator, "__dict__", {}) else [_as_code(estimator)]
    return "\n".join(dict.fromkeys([*whole, *chosen]))


def _as_code(estimator):
    """Its repr, which scikit-learn would shorten in the middle."""
    if type(estimator).__repr__ is BaseEstimator.__repr__:
        return estimator.__repr__(N_CHAR_MAX=10**9)
    return repr(estimator)
