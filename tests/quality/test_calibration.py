"""Confidence beside outcome."""

import numpy as np

from quality.calibration import check_reliability


def test_a_model_that_keeps_its_promise_is_off_by_nothing():
    confidences = np.repeat([0.25, 0.75], [4, 4])
    wrong = np.array([1, 1, 1, 0, 1, 0, 0, 0])
    found = check_reliability(confidences, wrong)
    assert found is not None
    assert found.accuracy.value == found.expected == 0.5
    assert found.calibration_error == 0
    assert found.brier == 0.25 * 0.75
    assert [(step.low, step.n, step.confidence, step.accuracy) for step in found.steps] == [
        (0.2, 4, 0.25, 0.25),
        (0.7, 4, 0.75, 0.75),
    ]


def test_a_sure_model_that_is_always_wrong_is_off_by_everything():
    found = check_reliability([1.0, 1.0], [True, True])
    assert found is not None
    assert (found.calibration_error, found.brier, found.accuracy.value) == (1.0, 1.0, 0.0)


def test_nothing_answered_has_no_reliability():
    assert check_reliability([], []) is None
