"""Confidence beside outcome."""

import numpy as np
import pytest

from quality.calibration import calibrate, calibrate_smoothly, check_reliability


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


def test_of_a_few_labels_a_smooth_fit_is_nearer_to_the_truth_than_steps():
    rng = np.random.default_rng(6)
    asked = np.linspace(0.5, 0.999, 200)
    far = {calibrate: 0.0, calibrate_smoothly: 0.0}
    for _ in range(30):
        confidence = rng.beta(8, 1, 500)
        wrong = rng.random(500) < 0.3 * (1 - confidence)
        for fit in far:
            far[fit] += float(np.mean((fit(confidence, wrong).chance_wrong(asked) - 0.3 * (1 - asked)) ** 2))
    assert far[calibrate_smoothly] < 0.7 * far[calibrate]


def test_a_smooth_fit_is_kept_over_the_whole_range_and_is_smaller_for_the_sure():
    fit = calibrate_smoothly([0.2, 0.4, 0.9, 1.0, 0.0], [True, True, False, False, True])
    chances = fit.chance_wrong([0.0, 0.3, 0.6, 1.0])
    assert (np.diff(chances) < 0).all()
    assert 0 < chances[-1] < chances[0] < 1


@pytest.mark.parametrize("wrong", [[True] * 3, [False] * 3])
def test_labels_that_are_all_alike_are_fitted_by_steps(wrong):
    assert calibrate_smoothly([0.1, 0.5, 0.9], wrong) == calibrate([0.1, 0.5, 0.9], wrong)
    with pytest.raises(ValueError, match="as many labels"):
        calibrate_smoothly([], [])
