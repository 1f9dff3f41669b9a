import pytest

from storage.database import Database
from storage.errors import Conflict, NotFound
from storage.examples import (
    count_examples,
    get_dataset,
    list_split_groups,
    put_dataset,
    put_examples,
    read_dataset,
    read_examples,
    read_group_roles,
)
from storage.records import Dataset
from tests.records import MODEL, make_example, number_id

HASH = "a" * 64


def test_examples_come_back_as_they_were_stored(db: Database) -> None:
    examples = [make_example(1), make_example(2, input=[1, None, {"한글": 1.5}], label={"number": "4"})]
    with db.write() as c:
        put_examples(c, examples)
    with db.read() as c:
        assert read_examples(c, model=MODEL) == examples


def test_what_was_stored_first_stays(db: Database) -> None:
    with db.write() as c:
        put_examples(c, [make_example(1, label="first")])
        put_examples(c, [make_example(1, label="second"), make_example(2)])
    with db.read() as c:
        assert [example.label for example in read_examples(c, model=MODEL)] == ["first", "label 2"]


def test_examples_are_chosen_by_model_role_and_id(db: Database) -> None:
    with db.write() as c:
        put_examples(
            c,
            [
                make_example(1),
                make_example(2, role="evaluation", part="audit"),
                make_example(3, role="evaluation", part="audit"),
                make_example(4, model="translator"),
            ],
        )
    with db.read() as c:
        assert [e.id for e in read_examples(c, model=MODEL, role="evaluation")] == [
            number_id(2),
            number_id(3),
        ]
        assert [e.id for e in read_examples(c, model=MODEL, ids=[number_id(3), number_id(4)])] == [
            number_id(3)
        ]
        assert read_examples(c, model=MODEL, ids=[]) == []
        assert count_examples(c, model=MODEL) == {("training", "founding"): 1, ("evaluation", "audit"): 2}


def test_a_group_is_never_on_both_sides(db: Database) -> None:
    with db.write() as c:
        put_examples(c, [make_example(1, group="alice")])
    with pytest.raises(Conflict, match="alice"), db.write() as c:
        put_examples(c, [make_example(2, group="alice", role="evaluation")])
    with db.read() as c:
        assert read_group_roles(c, MODEL) == {"alice": "training"}
        assert list_split_groups(c, MODEL) == []


def test_groups_of_different_models_have_nothing_to_do_with_each_other(db: Database) -> None:
    with db.write() as c:
        put_examples(c, [make_example(1, group="alice")])
        put_examples(c, [make_example(2, group="alice", role="evaluation", model="translator")])
    with db.read() as c:
        assert read_group_roles(c, "translator") == {"alice": "evaluation"}


def test_a_dataset_is_stored_once(db: Database) -> None:
    dataset = Dataset(hash=HASH, model=MODEL, n_training=1, n_evaluation=1, created_us=1_000_000)
    evaluation = make_example(1, role="evaluation")
    with db.write() as c:
        put_examples(c, [make_example(2), evaluation])
        for _ in range(2):
            put_dataset(c, dataset, [(number_id(2), "training", True), (number_id(1), "evaluation", False)])
    with db.read() as c:
        assert get_dataset(c, HASH) == dataset
        assert read_dataset(c, HASH) == [
            (evaluation, "evaluation", False),
            (make_example(2), "training", True),
        ]


def test_a_missing_dataset_is_not_found(db: Database) -> None:
    with db.read() as c, pytest.raises(NotFound, match=HASH):
        get_dataset(c, HASH)
