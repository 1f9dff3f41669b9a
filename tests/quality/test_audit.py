"""Audits: unbiased whatever users do, and better with a good guess."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.audit import (
    AuditDraw,
    Audited,
    Guess,
    bias_in_a_sentence,
    estimate,
    plan_active,
    plan_uniform,
    power,
    scores,
)
from quality.calibration import calibrate, calibrate_smoothly, estimate_wrong

N = 20_000


def a_world(rng: np.random.Generator, error: float = 0.05):
    """Confidences, which outputs are wrong, and who answers: wrong outputs far more often than right ones."""
    confidence = rng.beta(8, 1, N)
    chance = (1 - confidence) * error / np.mean(1 - confidence)
    wrong = rng.random(N) < np.clip(chance, 0, 1)
    answered = rng.random(N) < np.where(wrong, 0.35, 0.06)
    return confidence, wrong, answered


def learn(rng: np.random.Generator) -> Guess:
    confidence, wrong, answered = a_world(rng)
    silent = ~answered
    return Guess(calibrate_smoothly(confidence[silent], wrong[silent]), 0.001)


def audited_estimate(
    rng: np.random.Generator, share: float, guess: Guess | None = None
) -> tuple[Audited, float]:
    """What audits tell of a world, active ones by a guess that was learnt before, and how much of it is wrong."""
    confidence, wrong, answered = a_world(rng)
    corrected, accepted = answered & wrong, answered & ~wrong
    (asked,) = np.nonzero(~corrected)
    wanted = round(share * N)
    draw = (
        plan_active(confidence[asked], accepted[asked], wanted, guess)
        if guess is not None
        else plan_uniform(len(asked), wanted)
    )
    audited = np.zeros(N, dtype=bool)
    audited[asked[draw.draw(confidence[asked], accepted[asked], rng)]] = True
    assert audited.sum() == wanted
    guessed = np.zeros(N) if guess is None else guess.chance_wrong(confidence, accepted)
    found = estimate(wrong, corrected, audited, draw.probabilities(confidence, accepted), guessed)
    return found, float(wrong.mean())


def test_the_rate_is_unbiased_where_edit_rate_and_answers_are_far_off() -> None:
    rng = np.random.default_rng(1)
    guess = learn(rng)
    errors, silence, volunteers = [], [], []
    for _ in range(240):
        found, true = audited_estimate(rng, 0.02, guess)
        assert found.rate is not None
        errors.append(found.rate - true)
        _, wrong, answered = a_world(rng)
        silence.append((wrong & answered).mean() - wrong.mean())
        volunteers.append(wrong[answered].mean() - wrong.mean())
    assert abs(np.mean(errors)) < 0.0015
    assert np.mean(silence) < -0.02
    assert np.mean(volunteers) > 0.1


def test_a_label_of_an_active_audit_is_worth_two() -> None:
    """The variance of a stratified sample is known exactly, so that no simulation has to be believed."""
    worth = []
    for seed in range(10):
        rng = np.random.default_rng([2, seed])
        confidence, wrong, answered = a_world(rng)
        asked = ~(answered & wrong)
        x, accepted, y = confidence[asked], answered[asked], wrong[asked].astype(float)
        draw = plan_active(x, accepted, 400, learn(rng))
        places, true = draw.places(x, accepted), wrong.mean()
        variance = sum(
            size * (size - drawn) * y[places == stratum].var(ddof=1) / drawn
            for stratum, (size, drawn) in enumerate(zip(draw.sizes, draw.drawn, strict=True))
        )
        worth.append(true * (1 - true) / 400 / (variance / N**2))
    assert np.mean(worth) > 1.95


def test_the_interval_holds_the_truth() -> None:
    rng = np.random.default_rng(3)
    guess = learn(rng)
    for share, learnt, width in (
        (0.02, None, 0.06),
        (0.02, guess, 0.1),
        (0.05, None, 0.04),
        (0.05, guess, 0.06),
    ):
        found = [audited_estimate(rng, share, learnt) for _ in range(15)]
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


def test_audits_go_where_an_error_is_in_doubt_and_everywhere_a_little() -> None:
    confidence = np.repeat([0.5, 0.98, np.nan, 0.98], 100)
    accepted = np.arange(400) >= 300
    guess = Guess(calibrate([0.5, 0.5, 0.98], [True, False, False]), 0.01)
    draw = plan_active(confidence, accepted, 40, guess)
    doubtful, sure, unknown, liked = draw.probabilities(confidence, accepted)[::100]
    assert unknown == doubtful > sure > liked >= 0.25 * 0.1
    assert draw.n_drawn == 40
    # Of a prediction that was not there when it was planned, it is as likely as of one like it.
    assert draw.probabilities([0.51], [False])[0] == doubtful
    with pytest.raises(ValueError, match="least"):
        plan_active([0.5], [False], 1, least=0.0)


@pytest.mark.parametrize(("n", "wanted"), [(400, 9), (400, 0), (3, 3), (0, 0)])
def test_few_audits_are_drawn_uniformly(n: int, wanted: int) -> None:
    draw = plan_active(np.linspace(0, 1, n), np.zeros(n, dtype=bool), wanted)
    assert draw == plan_uniform(n, wanted)
    assert len(draw.draw(np.linspace(0, 1, n), np.zeros(n, dtype=bool), np.random.default_rng(1))) == wanted


def test_more_audits_than_predictions_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted"):
        plan_uniform(3, 4)


populations = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 1), st.just(math.nan)),
        st.booleans(),
        st.sampled_from([None, "accepted", "corrected"]),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(populations, st.floats(0.05, 1), st.floats(0, 1), st.integers(0, 2**32))
def test_the_rate_is_unbiased_for_every_population_whatever_users_do(
    population, share, guessed, seed
) -> None:
    asked = [each for each in population if each[2] != "corrected"]
    if not asked:
        return
    confidence = np.array([each[0] for each in asked])
    wrong = np.array([each[1] for each in asked])
    accepted = np.array([each[2] == "accepted" for each in asked])
    draw = plan_active(confidence, accepted, max(round(share * len(asked)), 1))
    probability, places = draw.probabilities(confidence, accepted), draw.places(confidence, accepted)
    assert probability.min() > 0
    # Each set of so many places of a stratum is as likely, so that each place comes in exactly this share of draws.
    assert np.bincount(places).tolist() == list(draw.sizes)
    drawn = draw.draw(confidence, accepted, np.random.default_rng(seed))
    assert np.bincount(places[drawn], minlength=len(draw.sizes)).tolist() == list(draw.drawn)
    # The mean over all draws is exact: every place is audited with its probability, whatever it is.
    means = [
        scores([is_wrong] * 2, [False] * 2, [True, False], [p] * 2, [guessed] * 2)
        for is_wrong, p in zip(wrong.tolist(), probability.tolist(), strict=True)
    ]
    mean = [
        p * audited + (1 - p) * silent
        for p, (audited, silent) in zip(probability.tolist(), means, strict=True)
    ]
    assert mean == pytest.approx(wrong.astype(float), abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=300),
    st.floats(0, 1),
    st.floats(0.01, 1),
)
def test_a_plan_draws_what_is_wanted_and_keeps_what_it_promises(population, share, least) -> None:
    confidence, accepted = (np.array(column) for column in zip(*population, strict=True))
    wanted = round(share * len(population))
    draw = plan_active(confidence, accepted, wanted, least=least)
    assert draw.n_drawn == wanted
    assert sum(draw.sizes) == len(population)
    assert all(0 <= drawn <= size for drawn, size in zip(draw.drawn, draw.sizes, strict=True))
    if wanted:
        assert min(draw.drawn) >= 1
    assert (
        AuditDraw(**{name: tuple(each) for name, each in json.loads(json.dumps(asdict(draw))).items()})
        == draw
    )


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
