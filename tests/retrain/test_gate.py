import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.settings import Gate, Task
from quality.distances import PPM
from quality.requirements import Judgement
from retrain.gate import Held, Pairs, Verdict, judge

GATE = Gate()
EXACT = Task()
TEXT = Task(kind="text")


def make_pairs(right: int, fixed: int, broken: int, wrong: int, per_group: int = 1, seed: int = 0) -> Pairs:
    """Examples by what becomes of them, `per_group` of a group, in no order."""
    champion = np.repeat([0, PPM, 0, PPM], [right, fixed, broken, wrong])
    candidate = np.repeat([0, 0, PPM, PPM], [right, fixed, broken, wrong])
    order = np.random.default_rng(seed).permutation(len(champion)) if per_group == 1 else slice(None)
    groups = np.array([f"group-{n // per_group}" for n in range(len(champion))])
    return Pairs(champion[order], candidate[order], groups)


NOTHING = make_pairs(0, 0, 0, 0)
SAME_BEFORE = make_pairs(right=288, fixed=0, broken=1, wrong=11)
BETTER_AFTER = make_pairs(right=59, fixed=44, broken=2, wrong=7)


def decide(before: Pairs, after: Pairs, gate: Gate = GATE, task: Task = EXACT) -> Verdict:
    return judge(before, after, task, gate, champion="1", candidate="2", seed=7)


def test_better_after_and_no_worse_before_is_promoted_with_all_figures_in_a_sentence() -> None:
    verdict = decide(SAME_BEFORE, BETTER_AFTER)
    assert verdict.promote
    assert verdict.reason == (
        "Promote 2: on 112 examples from after the change it is wrong on 9 instead of 51 (fixes 44, breaks 2, "
        "p < 0.001); on 300 from before it is wrong on 4.0 % instead of 3.7 %, within the tolerated 3.0 points."
    )
    assert verdict.evidence["after"]["fixed"] == 44
    assert verdict.evidence["before"]["n"] == 300


def test_no_better_after_is_kept() -> None:
    verdict = decide(SAME_BEFORE, make_pairs(right=50, fixed=5, broken=4, wrong=41))
    assert not verdict.promote
    assert verdict.reason.startswith(
        "Keep 1: on 100 examples from after the change 2 is wrong on 45 instead of 46 "
        "(fixes 5, breaks 4, p = 0.500), which may be chance; "
    )


def test_worse_before_is_kept_however_much_better_after() -> None:
    verdict = decide(make_pairs(right=250, fixed=0, broken=40, wrong=10), BETTER_AFTER)
    assert not verdict.promote
    assert verdict.reason.endswith(
        "on 300 from before it is wrong on 16.7 % instead of 3.3 %, more than the tolerated 3.0 points."
    )


def test_a_loss_that_is_merely_possible_is_kept_too() -> None:
    verdict = decide(make_pairs(right=96, fixed=0, broken=3, wrong=1), BETTER_AFTER)
    assert not verdict.promote
    assert "points are plausible, more than the tolerated 3.0 points" in verdict.reason


def test_too_few_examples_give_no_verdict() -> None:
    verdict = decide(make_pairs(30, 0, 0, 0), make_pairs(0, 40, 0, 0))
    assert (verdict.promote, verdict.reason) == (
        False,
        "Keep 1: 70 frozen examples are too few; a verdict needs 100.",
    )


def test_without_examples_from_before_nothing_shows_what_was_forgotten() -> None:
    verdict = decide(NOTHING, make_pairs(0, 200, 0, 0))
    assert not verdict.promote
    assert "no example from before the change shows what 2 has forgotten" in verdict.reason


def test_a_run_without_a_change_must_be_better_on_what_was_there() -> None:
    verdict = decide(make_pairs(right=200, fixed=40, broken=2, wrong=0), NOTHING)
    assert verdict.promote
    assert "on 242 examples that were there before it is wrong on 2 instead of 40" in verdict.reason
    assert not decide(SAME_BEFORE, NOTHING).promote


def test_many_examples_of_one_group_prove_no_more_than_one() -> None:
    alone = make_pairs(right=60, fixed=40, broken=5, wrong=0)
    together = make_pairs(right=60, fixed=40, broken=5, wrong=0, per_group=40)
    assert decide(SAME_BEFORE, alone).promote
    assert not decide(SAME_BEFORE, together).promote


def test_graded_answers_are_judged_by_distance() -> None:
    rng = np.random.default_rng(0)
    groups = np.array([f"group-{n}" for n in range(200)])
    champion = rng.integers(200_000, 400_000, 200)
    nearer = Pairs(champion, champion - 100_000, groups)
    same = Pairs(champion, champion + rng.integers(-50_000, 50_000, 200), groups)
    promoted = decide(same, nearer, task=TEXT)
    assert promoted.promote
    assert promoted.reason.startswith("Promote 2: on 200 examples from after the change it is off by ")
    assert "(difference -10.0 points, at most -10.0 points)" in promoted.reason
    assert not decide(same, same, task=TEXT).promote
    assert not decide(nearer, nearer, task=EXACT).promote, "all are wrong before and after"


def hold(champion: Judgement, candidate: Judgement) -> Verdict:
    held = Held(
        "served_p95_ms", champion, "Latency: 80 ms.", candidate, "Latency: 190 ms; 100 ms is required."
    )
    return judge(SAME_BEFORE, BETTER_AFTER, EXACT, GATE, held=[held], champion="1", candidate="2", seed=7)


def test_a_better_candidate_that_fails_what_the_champion_does_not_fail_is_kept_out() -> None:
    verdict = hold("pass", "fail")
    assert not verdict.promote
    assert verdict.reason.startswith(
        "Keep 1: 2 fails what 1 does not fail (Latency: 190 ms; 100 ms is required); on 112 examples from after "
        "the change it is wrong on 9 instead of 51 (fixes 44"
    )
    assert verdict.evidence["requirements"][0]["candidate"] == "fail"


@pytest.mark.parametrize(
    ("champion", "candidate", "promoted"),
    [
        ("pass", "pass", True),
        ("pass", "not enough evidence", True),
        ("not enough evidence", "fail", False),
        ("fail", "fail", True),
        ("fail", "pass", True),
    ],
)
def test_a_requirement_keeps_a_candidate_out_only_where_it_makes_things_worse(
    champion: Judgement, candidate: Judgement, promoted: bool
) -> None:
    assert hold(champion, candidate).promote == promoted


@pytest.mark.parametrize("tolerated", [0.0, 0.01, 0.05, 0.2])
def test_the_tolerated_loss_decides(tolerated: float) -> None:
    before = make_pairs(right=480, fixed=0, broken=10, wrong=10)
    verdict = decide(before, BETTER_AFTER, Gate(tolerated_loss=tolerated))
    assert verdict.promote == (tolerated >= 0.05)


counts = st.tuples(st.integers(0, 60), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))


@settings(max_examples=25, deadline=None)
@given(before=counts, after=counts)
def test_a_candidate_with_more_wrong_after_is_never_promoted(
    before: tuple[int, int, int, int], after: tuple[int, int, int, int]
) -> None:
    verdict = decide(make_pairs(*before), make_pairs(*after), Gate(minimum_examples=1))
    _, fixed, broken, _ = after if sum(after) else before
    assert not (verdict.promote and broken >= fixed)
    assert verdict.reason.startswith("Promote 2: " if verdict.promote else "Keep 1: ")
    assert verdict.reason.endswith(".")


def test_equal_versions_are_promoted_no_more_often_than_alpha() -> None:
    rng = np.random.default_rng(1)
    promoted = 0
    for _ in range(80):
        changes = rng.multinomial(150, [0.7, 0.1, 0.1, 0.1])
        promoted += decide(make_pairs(200, 0, 0, 10), make_pairs(*changes)).promote
    assert promoted / 80 <= 0.05 + 0.05
