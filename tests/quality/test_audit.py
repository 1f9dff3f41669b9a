"""Audits: unbiased whatever users do, and better with a good guess."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.audit import (
    Audited,
    bias_in_a_sentence,
    draw_systematically,
    estimate,
    plan_draw,
    power,
    scores,
)
from quality.calibration import calibrate, estimate_wrong

N = 20_000


def a_world(rng: np.random.Generator, error: float = 0.05):
    """Confidences, which outputs are wrong, and who answers: wrong outputs far more often than right ones."""
    confidence = rng.beta(8, 1, N)
    chance = (1 - confidence) * error / np.mean(1 - confidence)
    wrong = rng.random(N) < np.clip(chance, 0, 1)
    answered = rng.random(N) < np.where(wrong, 0.35, 0.06)
    return confidence, wrong, answered


def audited_estimate(rng: np.random.Generator, share: float, *, active: bool) -> tuple[Audited, float]:
    confidence, wrong, answered = a_world(rng)
    known = a_world(rng)
    calibration = calibrate(known[0], known[1])
    guess = calibration.chance_wrong(confidence)
    silent_guess = guess * 0.65 / (guess * 0.65 + (1 - guess) * 0.94)
    probability = (
        plan_draw(confidence, share, calibration).probabilities(confidence) if active else np.full(N, share)
    )
    audited = ~answered & (rng.random(N) < probability)
    guess = silent_guess if active else np.zeros(N)
    return estimate(wrong, answered, audited, probability, guess), float(wrong.mean())


def test_the_rate_is_unbiased_where_edit_rate_and_answers_are_far_off() -> None:
    rng = np.random.default_rng(1)
    errors, silence, volunteers = [], [], []
    for _ in range(60):
        found, true = audited_estimate(rng, 0.02, active=True)
        assert found.rate is not None
        errors.append(found.rate - true)
        _, wrong, answered = a_world(rng)
        silence.append((wrong & answered).mean() - wrong.mean())
        volunteers.append(wrong[answered].mean() - wrong.mean())
    assert abs(np.mean(errors)) < 0.0015
    assert np.mean(silence) < -0.02
    assert np.mean(volunteers) > 0.1


def test_volunteers_and_active_audits_are_worth_twice_the_audits_alone() -> None:
    rng = np.random.default_rng(2)
    active = [audited_estimate(rng, 0.02, active=True) for _ in range(100)]
    squares = np.mean([(found.rate - true) ** 2 for found, true in active if found.rate is not None])
    n_audited = np.mean([found.n_audited for found, _ in active])
    true = np.mean([true for _, true in active])
    assert true * (1 - true) / n_audited / squares > 1.8


def test_the_interval_holds_the_truth() -> None:
    rng = np.random.default_rng(3)
    for share, active, width in (
        (0.02, False, 0.06),
        (0.02, True, 0.1),
        (0.05, False, 0.04),
        (0.05, True, 0.06),
    ):
        found = [audited_estimate(rng, share, active=active) for _ in range(15)]
        assert sum(not each.low <= true <= each.high for each, true in found) <= 1
        assert np.median([each.high - each.low for each, _ in found]) < width


def test_few_audits_bound_the_rate_already() -> None:
    answered = np.arange(5000) < 200
    audited = np.arange(5000) >= 4950
    found = estimate(
        answered | (np.arange(5000) >= 4998), answered, audited, np.full(5000, 50 / 4800), np.zeros(5000)
    )
    assert found.rate == pytest.approx(0.04 + 0.96 * 2 / 50)
    assert 0.04 <= found.low < found.rate < found.high < 0.25
    assert (found.n_answered, found.n_audited) == (200, 50)


def test_where_everybody_answered_nothing_is_unknown() -> None:
    found = estimate([1, 0, 0, 0], [True] * 4, [False] * 4, [0.1] * 4, [0.5] * 4)
    assert (found.rate, found.low, found.high) == (0.25, 0.25, 0.25)


def test_what_nobody_looked_at_is_not_read() -> None:
    z = scores([1, 1], [False, False], [False, False], [0.1, 0.1], [0.2, 0.3])
    assert z.tolist() == pytest.approx([0.2, 0.3])


def test_audits_go_where_the_guess_is_unsure_and_everywhere_a_little() -> None:
    probabilities = plan_draw([0.0, 0.5, 1.0], 0.02).probabilities([0.0, 0.5, 1.0, np.nan])
    assert probabilities[:3].mean() == pytest.approx(0.02)
    assert probabilities[3] == probabilities[1] > probabilities[0] == pytest.approx(0.01)
    assert plan_draw([0.0, 0.0], 0.02).probabilities([0.0, 1.0]).tolist() == pytest.approx([0.02, 0.02])
    with pytest.raises(ValueError, match="shares"):
        plan_draw([0.5], 0.0)


def test_a_draw_speaks_of_predictions_that_were_not_drawn_too() -> None:
    calibration = calibrate([0.2, 0.9, 0.9, 0.9], [True, False, False, True])
    plan = plan_draw([0.2, 0.9], 0.1, calibration)
    assert plan.probabilities([0.2]).tolist() == plan.probabilities([0.2, 0.9])[:1].tolist()


populations = st.lists(
    st.tuples(st.floats(0, 1), st.booleans(), st.sampled_from([None, "wrong only", "always"])),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(populations, st.floats(0.05, 1), st.randoms(use_true_random=False))
def test_the_rate_is_unbiased_for_every_population_whatever_users_do(population, share, rng) -> None:
    confidence = np.array([each[0] for each in population])
    wrong = np.array([each[1] for each in population])
    answered = np.array([each[2] == "always" or (each[2] == "wrong only" and each[1]) for each in population])
    probability = plan_draw(confidence, share).probabilities(confidence)
    assert probability.min() >= 0.5 * share - 1e-12
    order = list(range(len(population)))
    rng.shuffle(order)
    ends = np.cumsum(probability[order])
    # Between the starts at which a draw changes every draw is the same: the mean over all starts is exact.
    edges = np.unique([0.0, 1.0, *(ends % 1.0).tolist()])
    mean, inclusion = 0.0, np.zeros(len(population))
    for low, high in itertools.pairwise(edges):
        # Edges that rounding alone sets apart hold no chance.
        if high - low < 1e-12:
            continue
        audited = np.zeros(len(population), dtype=bool)
        audited[np.array(order)[draw_systematically(probability[order], (low + high) / 2)]] = True
        z = scores(wrong, answered, audited, probability, np.full(len(population), 0.3))
        mean += (high - low) * z.mean()
        inclusion += (high - low) * audited
        assert abs(audited.sum() - probability.sum()) < 1 + 1e-9
    assert inclusion == pytest.approx(probability, abs=1e-9)
    assert mean == pytest.approx(wrong.mean(), abs=1e-9)


def test_a_worthless_guess_is_not_used() -> None:
    rng = np.random.default_rng(4)
    wrong = rng.random(2000) < 0.1
    assert power(wrong, np.where(wrong, 0.9, 0.1), 10**6) == pytest.approx(1)
    assert power(wrong, rng.random(2000), 10**6) < 0.1
    assert power([1], [0.5], 10) == power([1, 0], [0.5, 0.5], 10) == 0


def test_nothing_is_claimed_without_predictions() -> None:
    empty = estimate([], [], [], [], [])
    assert (empty.rate, empty.low, empty.high) == (None, 0.0, 1.0)
    assert "nobody knows" in bias_in_a_sentence(0.05, empty)


def test_the_sentence_says_how_far_off_silence_as_consent_is() -> None:
    audited = Audited(0.048, 0.031, 0.066, 20_000, 400, 1_500)
    said = "400 audits of predictions that nobody corrected put the share of wrong outputs at 4.8 % (3.1 to 6.6 %)."
    assert bias_in_a_sentence(0.016, audited) == (
        f"Taking silence for consent gives 1.6 %, which is 3.2 points too low: {said}"
    )
    assert bias_in_a_sentence(0.016, audited, 0.25) == (
        "Taking silence for consent gives 1.6 %, which is 3.2 points too low; asking only those who answered gives "
        f"25.0 %, which is 20.2 points too high: {said}"
    )


def test_what_the_audits_do_not_contradict_is_not_called_a_bias() -> None:
    sentence = bias_in_a_sentence(0.02, Audited(0.1, 0.0, 0.29, 40, 39, 0))
    assert sentence.startswith(
        "Taking silence for consent gives 2.0 %, which is 8.0 points less, which may be chance: 39"
    )


def test_the_estimate_without_labels_follows_harder_inputs_and_is_blind_to_a_worse_model() -> None:
    rng = np.random.default_rng(5)
    confidence = rng.uniform(0.5, 1.0, 50_000)
    calibration = calibrate(confidence, rng.random(50_000) < 1 - confidence)
    harder = rng.uniform(0.5, 0.8, 50_000)
    assert estimate_wrong(calibration, harder) == pytest.approx(0.35, abs=0.01)
    assert estimate_wrong(calibration, confidence) == pytest.approx(0.25, abs=0.01)
    assert estimate_wrong(calibration, []) is None
    with pytest.raises(ValueError, match="as many labels"):
        calibrate([], [])
