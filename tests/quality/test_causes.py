"""Why corrections rose: told by the residual of a calibrated confidence."""

import numpy as np
import pytest

from quality.causes import LEAST_BEFORE, LEAST_SINCE, Cause, explain

Seen = list[tuple[float, bool]]


def draw(rng: np.random.Generator, n: int, sure: float, worse: float = 1.0) -> Seen:
    """Predictions wrong as often as they are unsure, `worse` times as often; the share `sure` is sure."""
    confidences = np.where(rng.random(n) < sure, rng.uniform(0.9, 1.0, n), rng.uniform(0.3, 0.9, n))
    wrong = rng.random(n) < np.minimum((1 - confidences) * worse, 1.0)
    return list(zip(confidences.tolist(), wrong.tolist(), strict=True))


def causes(sure: float, worse: float, n_since: int = 500) -> dict[Cause, int]:
    rng = np.random.default_rng(3)
    found = [explain(draw(rng, 2000, 0.9), draw(rng, n_since, sure, worse)).cause for _ in range(60)]
    return {cause: found.count(cause) for cause in found}


def test_inputs_that_got_harder_are_told_by_their_confidence() -> None:
    assert causes(sure=0.3, worse=1.0).get("inputs", 0) >= 55


def test_a_model_that_got_worse_is_told_by_corrections_where_it_was_sure() -> None:
    assert causes(sure=0.9, worse=2.5).get("model", 0) >= 55


def test_both_can_happen_together() -> None:
    assert causes(sure=0.4, worse=2.0).get("both", 0) >= 50


def test_a_model_is_hardly_ever_blamed_for_its_inputs() -> None:
    found = causes(sure=0.5, worse=1.0)
    assert found.get("model", 0) + found.get("both", 0) <= 6


def test_the_rate_that_was_to_be_expected_is_told() -> None:
    rng = np.random.default_rng(4)
    said = explain(draw(rng, 2000, 0.9), draw(rng, 500, 0.3))
    assert said.expected == pytest.approx(0.3, abs=0.06)
    assert said.sentence.startswith(f"By confidence {said.expected:.1%} was to be expected: the inputs")


@pytest.mark.parametrize(
    ("n_before", "n_since", "why"),
    [
        (0, 0, "cannot be told: the model gives no confidence."),
        (LEAST_BEFORE - 1, 500, "that it takes before the change there are 199."),
        (500, LEAST_SINCE - 1, "that it takes since it there are 29."),
    ],
)
def test_too_little_is_no_cause(n_before: int, n_since: int, why: str) -> None:
    rng = np.random.default_rng(5)
    said = explain(draw(rng, n_before, 0.9), draw(rng, n_since, 0.3))
    assert (said.cause, said.expected) == ("unknown", None)
    assert said.sentence.endswith(why)


@pytest.mark.parametrize("wrong", [False, True])
def test_confidences_that_are_all_the_same_explain_nothing(wrong: bool) -> None:
    said = explain([(0.9, wrong)] * 500, [(0.9, True)] * 50)
    assert said.cause == ("unknown" if wrong else "model")
