import pytest

from labeling.hardness import LEAST_TRUST, TRUSTED, judge_hardness, judge_trust
from storage.records import Prediction
from tests.records import make_prediction, number_id


def corrected(number: int, **given: object) -> Prediction:
    return make_prediction(
        number, **({"action": "edit", "corrected": "x", "who_id": f"user-{number}"} | given)
    )


def test_a_correction_counts_more_the_surer_the_model_was() -> None:
    unsure, sure = judge_hardness([corrected(1, confidence=0.2), corrected(2, confidence=0.8)]).corrected_term
    assert 0 < unsure < sure


def test_an_uncertain_prediction_is_harder_than_a_certain_one() -> None:
    certain, uncertain, unknown = judge_hardness(
        [
            make_prediction(1, confidence=0.99),
            make_prediction(2, confidence=0.4),
            make_prediction(3, confidence=None),
        ]
    ).scores
    assert certain < unknown < uncertain


def test_an_accepted_prediction_is_not_corrected() -> None:
    hardness = judge_hardness([make_prediction(1, action="accept"), make_prediction(2, action="reject")])
    assert hardness.corrected.tolist() == [False, True]
    assert hardness.trust[0] == 0


def test_a_complaint_makes_a_prediction_harder() -> None:
    hardness = judge_hardness([make_prediction(1), make_prediction(2)], complaints={number_id(2)})
    assert hardness.scores[1] - hardness.scores[0] == pytest.approx(0.10)


def test_the_worst_slice_counts_and_a_small_slice_proves_little() -> None:
    predictions = [
        *(make_prediction(n, tags={"device": "ios"}) for n in range(400)),
        *(corrected(400 + n, tags={"device": "android"}) for n in range(100)),
        corrected(600, tags={"device": "kiosk"}),
        make_prediction(700, tags={"device": "ios", "light": "dim"}),
        corrected(701, tags={"light": "dim"}),
        make_prediction(702, tags={}),
    ]
    hardness = judge_hardness(predictions)
    share = dict(zip((p.id for p in predictions), hardness.slice_share, strict=True))
    assert share[number_id(400)] == 1.0
    assert share[number_id(600)] < 0.1, "one correction of one prediction is no failing slice"
    assert share[number_id(0)] < share[number_id(700)], "the worse of its two tags counts"
    assert share[number_id(702)] == 0


def test_the_reasons_are_sentences_and_the_weightiest_comes_first() -> None:
    predictions = [
        *(make_prediction(n, tags={"device": "ios"}) for n in range(10, 210)),
        *(corrected(n, tags={"device": "android"}) for n in range(1000, 1100)),
        corrected(1, confidence=0.97, tags={"device": "android"}),
        make_prediction(2, confidence=0.31, tags={}),
        make_prediction(3, confidence=0.99, tags={"device": "ios"}),
    ]
    hardness = judge_hardness(predictions, complaints={number_id(1)})
    assert hardness.explain(300) == [
        "A user edited it although the model was 97% sure.",
        "Users corrected 100.0% of the 101 predictions with device=android.",
        "A customer complained about it.",
    ]
    assert hardness.explain(301) == ["The model was only 31% sure."]
    assert hardness.explain(302) == ["Nothing harder was left."]


def test_two_users_who_contradict_each_other_are_doubted() -> None:
    same = {"input": "the same picture"}
    trust = judge_trust(
        [
            corrected(1, corrected="4111", **same),
            corrected(2, corrected="4117", **same),
            corrected(3, corrected="4111", input="another picture"),
        ]
    )
    assert trust.tolist() == [LEAST_TRUST, LEAST_TRUST, 1.0]


def test_users_who_agree_and_a_user_who_edits_again_do_not_contradict() -> None:
    same = {"input": "the same picture"}
    agreed = judge_trust([corrected(1, corrected="4111", **same), corrected(2, corrected="4111", **same)])
    again = judge_trust(
        [corrected(1, corrected="1", who_id="a", **same), corrected(2, corrected="2", who_id="a", **same)]
    )
    assert agreed.tolist() == again.tolist() == [1.0, 1.0]


def test_a_loud_user_counts_for_less_with_every_correction() -> None:
    others = [corrected(n) for n in range(1, 101)]
    loud = [corrected(1000 + n, who_id="loud") for n in range(100)]
    trust = judge_trust([*others, *loud])
    assert (trust[:100] == 1.0).all()
    assert (trust[100:] < TRUSTED).all()


def test_a_user_who_contradicts_what_the_model_was_sure_of_is_believed_less() -> None:
    others = [corrected(n, confidence=0.5) for n in range(1, 50)]
    contrary = [corrected(1000 + n, confidence=0.99, who_id="contrary") for n in range(5)]
    trust = judge_trust([*others, *contrary])
    assert (trust[:49] == 1.0).all()
    assert (trust[49:] < TRUSTED).all()


def test_when_the_model_is_confidently_wrong_for_everyone_everyone_is_believed() -> None:
    trust = judge_trust([corrected(n, confidence=0.99) for n in range(1, 50)])
    assert (trust == 1.0).all()


def test_nothing_to_judge_is_judged() -> None:
    assert judge_hardness([]).scores.tolist() == []
