from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replace_field

from errata.settings import Mining
from labeling.mining import compose_batch, group_of, plan_audits, role_of
from storage.records import BatchItem, Prediction
from tests.records import MODEL, make_prediction, number_id

MINING = Mining(quantity=100)


def stream(count: int, seed: int = 0, dimensions: int = 16) -> list[Prediction]:
    """Predictions of many subjects, a fifth of them corrected."""
    rng = np.random.default_rng(seed)
    return [
        make_prediction(
            number,
            subject=f"subject-{rng.integers(count)}",
            confidence=float(rng.random()),
            features=rng.normal(size=dimensions).tolist(),
            **(
                {"action": "edit", "corrected": "x", "who_id": f"user-{number}"} if rng.random() < 0.2 else {}
            ),
        )
        for number in range(count)
    ]


def compose(predictions: list[Prediction], mining: Mining = MINING, **given: object) -> list[BatchItem]:
    return compose_batch(predictions, mining, **({"model": MODEL, "seed": 1} | given))


def parts(items: list[BatchItem]) -> Counter[str]:
    return Counter(item.part for item in items)


def test_a_batch_has_its_shares_and_its_quantity() -> None:
    items = compose(stream(2000))
    counts = parts(items)
    assert len(items) == len({item.prediction_id for item in items}) == 100
    assert (counts["audit"], counts["evaluation"], counts["diverse"]) == (10, 25, 5)
    assert counts["corrected"] + counts["uncertain"] == 60
    assert all(item.reasons for item in items)


def test_the_same_seed_composes_the_same_batch_and_another_seed_another() -> None:
    predictions = stream(2000)
    assert compose(predictions) == compose(predictions)
    assert compose(predictions) != compose(predictions, seed=2)


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(0, 120),
    quantity=st.integers(1, 60),
    seed=st.integers(0, 10),
    percent=st.integers(0, 100),
    has_features=st.booleans(),
)
def test_whatever_the_pool_no_group_is_mined_and_held_out(
    count: int, quantity: int, seed: int, percent: int, has_features: bool
) -> None:
    predictions = stream(count, seed) if has_features else [make_prediction(n) for n in range(count)]
    mining = Mining(quantity=quantity, evaluation_groups_percent=percent)
    already = {p.id for p in predictions[: count // 4]}
    items = compose(predictions, mining, seed=seed, already=already)

    assert len(items) <= quantity
    assert len({item.prediction_id for item in items}) == len(items)
    assert not already & {item.prediction_id for item in items}
    for item in items:
        role = role_of(item.group, percent, MODEL)
        assert item.part == "audit" or (item.part == "evaluation") == (role == "evaluation")
        assert (item.inclusion is not None) == (item.part in ("audit", "evaluation"))


def test_the_audit_is_drawn_uniformly_from_what_nobody_corrected_and_says_how_likely() -> None:
    predictions = stream(400)
    silent = {p.id for p in predictions if p.action is None}
    drawn: Counter[str] = Counter()
    for seed in range(300):
        audit = [item for item in compose(predictions, seed=seed) if item.part == "audit"]
        assert {item.inclusion for item in audit} == {10 / len(silent)}
        drawn.update(item.prediction_id for item in audit)
    assert drawn.keys() <= silent
    assert len(drawn) > 0.97 * len(silent), "each has its chance"
    assert max(drawn.values()) < 30, "none is drawn far more often than the 9.6 times to be expected"


def test_the_hardest_are_taken_and_corrected_ones_come_before_certain_ones() -> None:
    certain = [make_prediction(n, confidence=0.99) for n in range(1000)]
    wrong = [
        make_prediction(5000 + n, action="edit", corrected="x", who_id=f"user-{n}", confidence=0.6)
        for n in range(60)
    ]
    items = compose([*certain, *wrong])
    mined = [item for item in items if item.part in ("corrected", "uncertain")]
    in_training = {p.id for p in wrong if role_of(group_of(p), 30, MODEL) == "training"}
    randomly = {item.prediction_id for item in items if item.part == "audit"}
    assert {item.prediction_id for item in mined if item.part == "corrected"} == in_training - randomly


def test_near_duplicates_are_bought_once() -> None:
    rng = np.random.default_rng(0)
    sources = rng.normal(size=(30, 16))
    predictions = [
        make_prediction(
            n,
            confidence=0.3,
            features=(sources[n % 30] + 0.001 * rng.normal(size=16)).tolist(),
            subject=f"s{n}",
        )
        for n in range(900)
    ]
    hard = [item for item in compose(predictions) if item.part in ("corrected", "uncertain", "diverse")]
    seen = [int(item.prediction_id.replace("-", ""), 16) % 30 for item in hard]
    assert len(seen) == len(set(seen))


def test_without_features_equal_inputs_are_bought_once() -> None:
    predictions = [make_prediction(n, input=f"picture {n % 7}", confidence=0.2) for n in range(500)]
    hard = [item for item in compose(predictions) if item.part == "uncertain"]
    assert len(hard) <= 7


def test_one_group_and_one_user_cannot_fill_a_batch() -> None:
    mining = Mining(quantity=100, evaluation_groups_percent=0)
    one_group = [make_prediction(n, subject="alice", confidence=0.1) for n in range(300)]
    one_user = [
        make_prediction(1000 + n, action="edit", corrected="x", who_id="mallory", confidence=0.1)
        for n in range(300)
    ]
    others = [make_prediction(2000 + n, confidence=0.5) for n in range(300)]
    mined = [
        item
        for item in compose([*one_group, *one_user, *others], mining)
        if item.part in ("corrected", "uncertain")
    ]
    numbers = [int(item.prediction_id.replace("-", ""), 16) for item in mined]
    assert sum(n < 1000 for n in numbers) <= 2
    assert sum(1000 <= n < 2000 for n in numbers) <= 2
    assert sum(n >= 2000 for n in numbers) > 50


def test_a_few_groups_fill_a_batch_evenly_when_there_are_no_others() -> None:
    mining = Mining(quantity=100, evaluation_groups_percent=0)
    predictions = [
        make_prediction(n, subject=f"subject-{n % 4}", confidence=0.1 if n % 4 == 0 else 0.5)
        for n in range(400)
    ]
    hard = [item for item in compose(predictions, mining) if item.part == "uncertain"]
    per_group = Counter(item.group for item in hard)
    assert len(hard) >= 85
    assert max(per_group.values()) <= 32


def test_the_diverse_share_is_far_from_what_is_labelled() -> None:
    rng = np.random.default_rng(0)
    crowd = np.repeat(np.eye(8)[:7], 140, axis=0)
    rare = np.repeat(np.eye(8)[7:], 20, axis=0)
    rows = np.concatenate([crowd, rare]) + 0.05 * rng.normal(size=(1000, 8))
    predictions = [make_prediction(n, features=row.tolist(), confidence=0.99) for n, row in enumerate(rows)]
    mining = Mining(quantity=20, audit_share=0.3, diverse_share=0.2, evaluation_groups_percent=0)
    # The crowd was labelled before; one draw in fifty would be of the rare kind.
    already = {p.id for p in predictions[:980:3]}
    diverse = [item for item in compose(predictions, mining, already=already) if item.part == "diverse"]
    assert diverse
    assert int(diverse[0].prediction_id.replace("-", ""), 16) >= 980


def test_named_numbers_are_features_too() -> None:
    predictions = [
        make_prediction(n, features={"blur": n % 5, "tilt": (n * 7) % 11, "light": 3.0}, confidence=0.3)
        for n in range(300)
    ]
    hard = [item for item in compose(predictions) if item.part in ("uncertain", "diverse")]
    assert 0 < len(hard) <= 5 * 11


def test_predictions_without_an_input_are_left_out() -> None:
    bare = [make_prediction(n, input=None) for n in range(50)]
    assert compose(bare) == []
    assert {
        item.prediction_id for item in compose([*bare, make_prediction(99, input=None, input_uri="s3://x")])
    } == {number_id(99)}


def test_a_group_that_has_a_side_keeps_it() -> None:
    predictions = stream(500)
    groups = {group_of(p) for p in predictions}
    items = compose(predictions, roles=dict.fromkeys(groups, "training"))
    assert parts(items)["evaluation"] == 0


def test_the_side_of_a_group_is_the_same_for_ever_and_near_its_share() -> None:
    assert "".join(role_of(f"g{n}", 30, MODEL)[0] for n in range(8)) == "teeetete"
    sides = Counter(role_of(f"subject-{n}", 30, MODEL) for n in range(5000))
    assert sides["evaluation"] / 5000 == pytest.approx(0.30, abs=0.02)


def test_models_split_their_groups_independently() -> None:
    both = sum(
        role_of(f"s{n}", 30, "one") == role_of(f"s{n}", 30, "two") == "evaluation" for n in range(2000)
    )
    assert both / 2000 == pytest.approx(0.09, abs=0.02)


def test_more_groups_held_out_never_moves_one_back_to_training() -> None:
    for n in range(200):
        sides = [role_of(f"s{n}", percent, MODEL) for percent in range(0, 101, 10)]
        assert sides == sorted(sides, reverse=True), "training, …, evaluation"


def test_active_audits_have_known_probabilities_and_go_where_confidence_is_in_doubt() -> None:
    rng = np.random.default_rng(5)
    predictions = [replace(each, confidence=float(rng.choice([0.5, 0.99]))) for each in stream(2000)]
    active = replace_field(MINING, audit_draw="active", audit_share=0.5, evaluation_share=0.2)
    plan = plan_audits(predictions, active, None)
    audits = [item for item in compose(predictions, active, draw=plan) if item.part == "audit"]
    assert len(audits) == 50
    confidence = {each.id: each.confidence for each in predictions}
    doubtful = {item.inclusion for item in audits if confidence[item.prediction_id] == 0.5}
    sure = {item.inclusion for item in audits if confidence[item.prediction_id] == 0.99}
    assert max(doubtful) > 1.5 * max(sure) > 0
    assert max(sure) >= 0.25 * 50 / 2000
    assert all("Drawn at random, with a probability of" in item.reasons[0] for item in audits)


def test_audits_are_uniform_unless_asked_otherwise() -> None:
    assert len(plan_audits(stream(100), MINING, None).sizes) == 1
    assert plan_audits([], replace_field(MINING, audit_draw="active"), None).n_drawn == 0


@pytest.mark.parametrize("audit_draw", ["uniform", "active"])
def test_no_audit_is_spent_on_what_somebody_has_corrected(audit_draw: str) -> None:
    predictions = [
        replace(each, action=("edit", "reject", "accept", None)[n % 4]) for n, each in enumerate(stream(400))
    ]
    mining = replace_field(MINING, audit_draw=audit_draw, audit_share=0.9, evaluation_share=0.05)
    audits = {item.prediction_id: item for item in compose(predictions, mining) if item.part == "audit"}
    actions = {each.action for each in predictions if each.id in audits}
    assert actions == {"accept", None}
    assert len(audits) == 90
    if audit_draw == "uniform":
        assert {item.inclusion for item in audits.values()} == {90 / 200}
