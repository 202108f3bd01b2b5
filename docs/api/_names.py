"""The API pages as data: every public name, once, in the section where a reader looks for it.

``docs/conf.py`` makes a page ``api/generated/<module>.<name>.html`` of each and a table of each
section, with a link to the page of the guide where "guides" names one. ``tests/test_docs.py``
compares this list with the ``__all__`` of milkit's modules.
"""

SECTIONS = [
    {
        "title": "Bags",
        "text": "The one inner form of a collection of bags, and the door that reads all others.",
        "names": {
            "milkit.bags": ["BagArray"],
            "milkit.utils.validation": ["as_bag_array", "reads_as_table"],
        },
    },
    {
        "title": "Classifiers and regressors",
        "text": "They learn from the label of a bag and say which instances decided.",
        "names": {
            "milkit.neural": ["AttentionMILClassifier", "AttentionMILRegressor"],
            "milkit.svm": ["MISVM"],
            "milkit.instance": ["InstanceVotingClassifier", "SelfTrainingMILClassifier"],
            "milkit.fusion": ["ClinicalFusion"],
        },
        "guides": {
            "ClinicalFusion": "/guide/fusion",
            "InstanceVotingClassifier": "/guide/instances",
            "SelfTrainingMILClassifier": "/guide/instances",
            "AttentionMILClassifier": "/guide/attention",
            "AttentionMILRegressor": "/guide/attention",
            "MISVM": "/guide/misvm",
        },
    },
    {
        "title": "Bags to rows and kernels",
        "text": "In front of any estimator of scikit-learn that takes one row for each sample.",
        "names": {
            "milkit.embedding": ["BagStatistics"],
            "milkit.kernels": ["SetKernel", "set_kernel", "StatisticKernel", "statistic_kernel"],
        },
    },
    {
        "title": "Bags to bags",
        "text": "Steps that work on instances and hand on bags.",
        "names": {"milkit.preprocessing": ["InstanceTransformer", "OneClassInstanceFilter"]},
        "guides": {"OneClassInstanceFilter": "/guide/instances"},
    },
    {
        "title": "Which instances decided",
        "text": "Instance outputs of the estimator inside pipelines and searches, ways to "
        "check them, and pictures and pages of them.",
        "names": {
            "milkit.inspection": [
                "score_instances",
                "predict_instances",
                "attention_weights",
                "instance_occlusion",
                "deletion_curve",
                "insertion_curve",
                "InstanceScoreDisplay",
                "TopInstancesDisplay",
                "BoxOverlayDisplay",
                "AttentionMapDisplay",
                "patient_report",
                "PatientReport",
            ]
        },
        "guides": {
            "score_instances": "/guide/inspection",
            "attention_weights": "/guide/inspection",
            "instance_occlusion": "/guide/inspection",
            "deletion_curve": "/guide/inspection",
            "insertion_curve": "/guide/inspection",
            "InstanceScoreDisplay": "/guide/displays",
            "TopInstancesDisplay": "/guide/displays",
            "BoxOverlayDisplay": "/guide/displays",
            "AttentionMapDisplay": "/guide/displays",
            "patient_report": "/guide/displays",
            "PatientReport": "/guide/displays",
        },
    },
    {
        "title": "From images to bags",
        "text": "Loading, cells, colours and features, with ``pip install milkit[image]``.",
        "names": {
            "milkit.image": [
                "load_image_bags",
                "detect_cells",
                "crop_instances",
                "extract_cells",
                "SaturationSegmenter",
                "ColorStatisticsMatcher",
                "ConvAutoencoderFeatures",
                "ModuleFeatures",
            ]
        },
        "guides": {
            "load_image_bags": "/guide/images",
            "detect_cells": "/guide/images",
            "crop_instances": "/guide/images",
            "extract_cells": "/guide/images",
            "SaturationSegmenter": "/guide/images",
            "ColorStatisticsMatcher": "/guide/images",
            "ConvAutoencoderFeatures": "/guide/images",
            "ModuleFeatures": "/guide/images",
        },
    },
    {
        "title": "Splitting and testing by patient",
        "text": "Splits that keep groups whole, and whether a score is better than chance.",
        "names": {
            "milkit.model_selection": [
                "GroupedSplit",
                "grouped_train_test_split",
                "clinical_strata",
                "group_permutation_test",
                "fusion_ablation",
                "FusionAblation",
            ]
        },
        "guides": {"fusion_ablation": "/guide/fusion", "FusionAblation": "/guide/fusion"},
    },
    {
        "title": "Scores of patients, with intervals",
        "text": "Predictions put together by group, and bootstrap intervals that respect groups.",
        "names": {
            "milkit.metrics": [
                "cross_val_interval",
                "bootstrap_interval",
                "BootstrapInterval",
                "make_group_scorer",
                "group_predictions",
            ]
        },
    },
    {
        "title": "Scores of instances",
        "text": "Whether the right instances decided, where some are annotated.",
        "names": {
            "milkit.metrics": [
                "make_instance_scorer",
                "instance_roc_auc_score",
                "instance_average_precision_score",
                "key_instance_hit_rate",
            ]
        },
    },
    {
        "title": "Data",
        "text": "Bags to learn with. Only the functions that begin with ``fetch`` use the network.",
        "names": {
            "milkit.datasets": [
                "load_digit_bags",
                "make_mil_classification",
                "make_single_concept_mil_test",
                "make_multi_concept_mil_test",
                "make_false_frequency_mil_test",
                "make_blood_smear_cohort",
                "age_from_birth_date",
                "load_bags",
                "save_bags",
                "fetch_musk1",
                "fetch_musk2",
                "fetch_parkinsons_telemonitoring",
            ]
        },
    },
    {
        "title": "For authors of estimators",
        "text": "What an estimator on bags is built from and checked with; see :doc:`/developing/"
        "add_an_estimator`.",
        "names": {
            "milkit.base": ["BagMixin", "BagClassifierMixin", "BagsToBagsMixin", "split_by_bag"],
            "milkit.utils.validation": ["validate_bags", "check_bag_weight", "resolve_groups"],
            "milkit.utils.estimator_checks": [
                "check_bag_estimator",
                "parametrize_with_bag_checks",
                "bag_estimator_checks_generator",
            ],
        },
    },
    {
        "title": "Errors and warnings",
        "text": "",
        "names": {
            "milkit.exceptions": [
                "BagShapeError",
                "GroupLeakageError",
                "InconsistentMilkitVersionWarning",
            ]
        },
    },
]


def full_names():
    """Every name with its module, in the order of the sections."""
    return [
        f"{module}.{name}"
        for section in SECTIONS
        for module, names in section["names"].items()
        for name in names
    ]
