"""Checks that an estimator is expected to fail, each with its reason."""

from sklearn.utils.validation import has_fit_parameter

_MINIBATCHES = (
    "a weight scales the loss of a bag inside shuffled minibatches, so weights and repeated bags "
    "agree in expectation only, as in scikit-learn's MLPClassifier"
)
_FLOAT32 = (
    "torch computes in float32 and the check asks for 1e-7; check_bags_batch_composition asks "
    "for what float32 can give"
)
_NETWORK = {
    "check_sample_weight_equivalence_on_dense_data": _MINIBATCHES,
    "check_methods_subset_invariance": _FLOAT32,
}
_EARLY_STOPPING = {
    "check_fit2d_1sample": "one sample cannot be split, which the error says in other words",
}
_OUT_OF_FOLD = (
    "fit_transform is out of fold and transform is not, as of scikit-learn's TargetEncoder"
)
_KERNEL = {"check_bags_fit_bag_order": "its columns are the training bags, in their order"}

# Class name → check → reason; scikit-learn's checks and the bag checks. A bag check that passes
# all the same fails the test, so that no entry outlives its reason; scikit-learn's may pass,
# because they differ between versions.
EXPECTED_FAILURES = {
    "AttentionMILClassifier": _NETWORK,
    "AttentionMILRegressor": _NETWORK,
    "ClinicalFusion": {
        "check_transformer_general": _OUT_OF_FOLD,
        "check_transformer_data_not_an_array": _OUT_OF_FOLD,
        "check_sample_weight_equivalence_on_dense_data": (
            "a repeated bag is a group of its own and falls into another fold"
        ),
    },
    "SelfTrainingMILClassifier": {
        "check_sample_weight_equivalence_on_dense_data": (
            "a schedule counts instances and the negative ones are drawn at random, so a repeated "
            "bag gives other training sets than one of twice the weight"
        ),
    },
    "Pipeline": {
        "check_bags_clone": "scikit-learn's Pipeline fits its steps in place, so they change",
        "check_bags_label_covariate": (
            "no step of it takes covariates and y together: the embedding drops the covariates, "
            "and scikit-learn's classifier behind it never sees them"
        ),
    },
    "SetKernel": _KERNEL,
    "StatisticKernel": _KERNEL,
}


def expected_failed_checks(estimator):
    """The expected failures of an estimator, by the name of its class."""
    expected = dict(EXPECTED_FAILURES.get(type(estimator).__name__, {}))
    if type(estimator).__name__ == "MISVM" and estimator.tol > 1e-8:
        expected["check_sample_weight_equivalence_on_dense_data"] = (
            "two fits agree to tol, and the check asks for 1e-7, as of scikit-learn's SVC; "
            "instances with tol=1e-8 pass it"
        )
    if getattr(estimator, "early_stopping", False):
        expected |= _EARLY_STOPPING
    if getattr(estimator, "keep", None) == "threshold":
        expected |= {
            "check_bags_fit_bag_order": "without groups the folds follow the order of the bags",
            "check_sample_weight_equivalence_on_dense_data": (
                "a repeated bag is a group of its own and falls into another fold"
            ),
        }
    inner = getattr(estimator, "transformer", None)
    if type(estimator).__name__ == "OneClassInstanceFilter":
        inner = estimator.estimator
    if inner is not None and not has_fit_parameter(inner, "sample_weight"):
        expected["check_bags_sample_weight_ones"] = (
            "what is inside takes no weights, and ignoring them silently would be worse"
        )
    return expected
