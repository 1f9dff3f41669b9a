"""The detector of audits: its bound is exact for every population and draw, and it sees what nobody corrects."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.errors import Malformed
from errata.settings import Detector
from quality.audited_drift import (
    AuditFrame,
    AuditState,
    describe_audits,
    follow_audits,
    judge,
    reset_audits_for_version,
)

KNOWN = Detector(audited_ceiling_rate=0.05)
LEARNT = Detector(reference_audits=400)
LEVEL = 1e6


def a_frame(number: int = 0, n_wrong: int = 3, **given: object) -> AuditFrame:
    """A hundred audits of 5,000 predictions, 100 of which were corrected."""
    values: dict[str, object] = {
        "batch_id": f"batch-{number}",
        "since_us": 1_795_415_400_000_000 + number,
        "until_us": 1_795_415_400_000_001 + number,
        "n": 5000,
        "n_new": 5000,
        "n_corrected": 100,
        "n_labels": 100,
        "n_unlabelled": 0,
        "wrong": ((100 / 4900, n_wrong),) if n_wrong else (),
        "unlabelled": (),
        "inclusion": 100 / 4900,
        "least_inclusion": 100 / 4900,
    }
    return AuditFrame(**(values | given))  # type: ignore[arg-type]


def after(
    frames: list[AuditFrame], detector: Detector = LEARNT, state: AuditState | None = None
) -> AuditState:
    state, _ = follow_audits(
        state or AuditState(), [(frame, place) for place, frame in enumerate(frames)], detector, level=LEVEL
    )
    return state


def draw_frame(rng: np.random.Generator, rate: float, silent: float, number: int = 0) -> AuditFrame:
    """Of 2,000 predictions some are wrong, of these a share silent; audits of two strata, one four times as often."""
    doubtful = rng.random(2000) < 0.3
    wrong = rng.random(2000) < np.where(doubtful, 2 * rate, rate * 0.4 / 0.7)
    corrected = wrong & (rng.random(2000) >= silent)
    found: Counter[float] = Counter()
    probabilities = []
    for stratum, n_drawn in ((doubtful, 60), (~doubtful, 35)):
        (places,) = np.nonzero(stratum & ~corrected)
        probabilities.append(n_drawn / len(places))
        n_wrong = int(wrong[rng.choice(places, n_drawn, replace=False)].sum())
        found.update({probabilities[-1]: n_wrong} if n_wrong else {})
    return a_frame(
        number,
        n=2000,
        n_new=2000,
        n_corrected=int(corrected.sum()),
        n_labels=95,
        wrong=tuple(sorted(found.items())),
        inclusion=95 / (2000 - int(corrected.sum())),
        least_inclusion=min(probabilities),
    )


@pytest.mark.parametrize("silent", [1.0, 0.5], ids=["nobody corrects", "half are corrected"])
@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_false_alarms_are_as_rare_as_the_level_says(rate: float, silent: float) -> None:
    level, n_alarms, n_frames = 20_000.0, 0, 2000
    rng = np.random.default_rng(int(100 * rate + silent))
    state = AuditState()
    for number in range(n_frames):
        frame = draw_frame(rng, rate, silent, number)
        detector = Detector(audited_ceiling_rate=rate)
        state, _ = follow_audits(replace(state, read=()), [(frame, number)], detector, level=level)
        n_alarms += state.log_r[0] == -math.inf
    allowed = n_frames * 2000 / level
    # The bound is on the mean; four standard deviations of as many rare events lie above it.
    assert n_alarms <= allowed + 4 * math.sqrt(allowed)


strata = st.lists(
    st.tuples(st.lists(st.booleans(), min_size=1, max_size=4), st.integers(1, 4)), min_size=1, max_size=2
)


@given(strata, st.integers(0, 3), st.floats(0.05, 0.9))
def test_bets_are_fair_over_all_draws_of_every_population(population, n_corrected, ceiling) -> None:
    """The mean over all possible draws, each as likely, of what a frame makes of a stake is 1 at most."""
    sizes = [len(wrong) for wrong, _ in population]
    drawn = [min(n, size) for (_, n), size in zip(population, sizes, strict=True)]
    n = sum(sizes) + n_corrected
    share = (n_corrected + sum(sum(wrong) for wrong, _ in population)) / n
    draws = [list(itertools.combinations(wrong, k)) for (wrong, _), k in zip(population, drawn, strict=True)]
    probabilities = [k / size for k, size in zip(drawn, sizes, strict=True)]
    detector = Detector(audited_ceiling_rate=ceiling)
    rises, falls = [], []
    for several in itertools.product(*draws):
        counts = Counter(
            probability
            for probability, some in zip(probabilities, several, strict=True)
            for is_wrong in some
            if is_wrong
        )
        frame = a_frame(
            n=n,
            n_new=1,
            n_corrected=n_corrected,
            n_labels=sum(drawn),
            wrong=tuple(sorted(counts.items())),
            inclusion=sum(drawn) / sum(sizes),
            least_inclusion=min(probabilities),
        )
        before = AuditState(
            reference_n=100, reference_corrected=2, stage="alarmed", log_r=(-math.inf,) * 3, ceiling=ceiling
        )
        state = after([frame], detector, before)
        if state.stage == "alarmed":
            falls.append(np.exp(state.log_fallen))
            rises.append(np.exp(state.log_r))
    if share <= ceiling and len(rises) == math.prod(len(each) for each in draws):
        assert (np.mean(rises, axis=0) <= 1 + 1e-9).all()
    if share >= ceiling and len(falls) == math.prod(len(each) for each in draws):
        assert (np.mean(falls, axis=0) <= 1 + 1e-9).all()


def test_errors_that_nobody_corrects_alarm() -> None:
    rng = np.random.default_rng(3)
    state = after([draw_frame(rng, 0.05, 0.5, number) for number in range(40)], KNOWN)
    assert state.stage == "calm"
    change_us = 1_795_415_400_000_000 + 40
    # As many are corrected as before, and three times as many are wrong.
    frames = [draw_frame(rng, 0.15, 1 - 0.5 / 3, number) for number in range(40, 60)]
    state = after(frames, KNOWN, state)
    assert state.stage == "alarmed"
    assert state.gain_since_us is not None
    assert abs(state.gain_since_us - change_us) <= 3
    assert "Audits alarmed since" in describe_audits(state, KNOWN)


def test_an_alarm_ends_when_audits_put_the_share_below_the_ceiling() -> None:
    state = after([a_frame(number, n_wrong=15) for number in range(3)], KNOWN)
    assert (state.stage, state.told, state.opened) == ("alarmed", "", False)
    state, notices = follow_audits(
        state,
        [(a_frame(number, n_wrong=0, n_corrected=20), number) for number in range(3, 12)],
        KNOWN,
        level=LEVEL,
    )
    assert [notice.stage for notice in notices] == ["calm"]
    assert (state.stage, state.gain_since_us, state.alarm_log_evidence) == ("calm", None, None)


def test_a_replay_gives_the_same_bits_whichever_frames_come_together() -> None:
    rng = np.random.default_rng(4)
    frames = [(draw_frame(rng, 0.05, 0.5, number), number) for number in range(30)]
    whole, _ = follow_audits(AuditState(), frames, LEARNT, level=LEVEL)
    one = AuditState()
    for frame in frames:
        one, _ = follow_audits(AuditState.from_json(one.to_json()), [frame], LEARNT, level=LEVEL)
    assert one == whole
    assert one.to_json() == whole.to_json()


def test_the_first_labels_say_what_is_usual_and_the_next_version_is_held_to_it() -> None:
    state = after([a_frame(number) for number in range(3)])
    assert state.ceiling is None
    assert describe_audits(state, LEARNT) == "Audits learn what is usual: 300 of 400 labels."
    assert reset_audits_for_version(state) == AuditState()
    state = after([a_frame(3)], state=state)
    assert state.ceiling is not None
    # 3 % of what nobody corrected, at most some 6 %, and the 2 % that were corrected.
    assert 0.05 < state.ceiling < 0.09
    assert state.n == 0
    inherited = reset_audits_for_version(after([a_frame(4, n_wrong=9)], state=state))
    assert (inherited.ceiling, inherited.n, inherited.read) == (state.ceiling, 0, ())
    assert "calm" in describe_audits(after([a_frame(5)], state=inherited), LEARNT)


def test_unequal_weights_make_a_reference_tell_less() -> None:
    even = after([a_frame(number, n_wrong=4) for number in range(4)])
    uneven = after([a_frame(number, wrong=((50 / 4900, 1), (100 / 4900, 2))) for number in range(4)], LEARNT)
    assert even.ceiling is not None
    assert uneven.ceiling is not None
    assert uneven.reference_weights == pytest.approx(even.reference_weights)
    assert uneven.ceiling > even.ceiling


def test_a_share_that_leaves_no_room_is_not_watched() -> None:
    state = after([a_frame(number, n_wrong=100) for number in range(5)])
    assert (state.stage, state.n) == ("calm", 0)
    assert (
        describe_audits(state, LEARNT)
        == "By audits up to 100.0% of outputs may be wrong: a rise could not be told."
    )
    assert "No batch" in describe_audits(None, LEARNT)


USUAL = AuditState(reference_n=20_000, reference_corrected=340, reference_labels=400, ceiling=0.05)


@pytest.mark.parametrize(
    ("frames", "verdict", "said"),
    [
        ([], "unknown", "No prediction since then was audited."),
        ([a_frame(n_wrong=12)] * 2, "agree", "Audited labels agree: 24 of 200 audits"),
        ([a_frame(n_wrong=0)] * 4, "disagree", "Audited labels do not agree: 0 of 400 audits"),
        ([a_frame(n_wrong=4)], "unknown", "Audited labels are not enough to say so too: 4 of 100 audits"),
        # What could not be labelled may be wrong.
        ([a_frame(n_wrong=0, unlabelled=((100 / 4900, 5),), n_unlabelled=5)] * 4, "unknown", "not enough"),
    ],
    ids=["no audits", "agree", "do not agree", "not enough", "without labels"],
)
def test_audits_agree_with_a_rise_of_corrections_or_not(
    frames: list[AuditFrame], verdict: str, said: str
) -> None:
    found = judge(USUAL, frames, LEARNT)
    assert found.verdict == verdict
    assert said in found.sentence


def test_a_judgement_says_what_it_rests_on() -> None:
    assert judge(USUAL, [a_frame(n_wrong=12)] * 2, LEARNT).sentence.endswith(
        "24 of 200 audits of what nobody corrected since then found an error, which puts the share of wrong outputs at "
        "13.8%, where up to 5.0% would be no drift."
    )


def test_before_anything_is_usual_audits_say_nothing() -> None:
    found = judge(AuditState(reference_labels=40), [a_frame(n_wrong=50)], LEARNT)
    assert (found.verdict, found.rate) == ("unknown", None)
    assert "what is usual is not known yet (40 of 400 audits)" in found.sentence


def test_either_answer_is_seldom_wrong_however_often_it_is_asked() -> None:
    rng = np.random.default_rng(5)
    wrong_answers = 0
    for _ in range(60):
        frames: list[AuditFrame] = []
        said = set()
        for number in range(20):
            frames.append(draw_frame(rng, 0.05, 0.5, number))
            said.add(judge(USUAL, frames, LEARNT).verdict)
        wrong_answers += len(said - {"unknown"})
    # Two answers, each wrong in one case of twenty at most: six are to be expected at worst.
    assert wrong_answers <= 12


@pytest.mark.parametrize("text", ["{}", "[]", '{"log_r": [null], "log_fallen": [0], "read": []}', "x"])
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="not the state"):
        AuditState.from_json(text)
