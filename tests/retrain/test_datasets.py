from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from errata.errors import Stop
from errata.settings import Model
from retrain.datasets import freeze, hash_rows, split_samples
from storage.database import Database
from storage.examples import get_dataset, put_examples, read_dataset
from storage.intake import apply
from storage.signals import put_signal
from storage.tables import examples as examples_table
from tests.builders import SECOND_US, START_US, a_prediction_event, an_arrival
from tests.records import MODEL, make_example, make_run, make_signal, number_id

BATCH = number_id(77)
RUN = make_run(1, batch_id=BATCH)
EXAMPLES = [
    make_example(1),
    make_example(2, batch_id=BATCH, part="corrected"),
    make_example(3, role="evaluation"),
    make_example(4, role="evaluation", batch_id=BATCH, part="audit"),
    make_example(5, batch_id=number_id(76), part="corrected"),
    make_example(6, model="translator"),
]


def store(db: Database) -> None:
    with db.write() as c:
        put_examples(c, EXAMPLES)


def test_a_dataset_holds_all_examples_of_the_model_and_knows_which_are_new(db: Database) -> None:
    store(db)
    dataset = freeze(db, RUN, 5_000_000)
    assert (dataset.model, dataset.n_training, dataset.n_evaluation) == (MODEL, 3, 2)
    with db.read() as c:
        rows = read_dataset(c, dataset.hash)
        assert get_dataset(c, dataset.hash) == dataset
    assert [(example.id, role, is_new) for example, role, is_new in rows] == [
        (number_id(1), "training", False),
        (number_id(2), "training", True),
        (number_id(3), "evaluation", False),
        (number_id(4), "evaluation", True),
        (number_id(5), "training", False),
    ]


def test_what_was_labelled_before_is_new_where_it_was_made_after_the_change(db: Database) -> None:
    change_us = START_US + 5 * SECOND_US
    events = [
        a_prediction_event(
            number, time_us=START_US + number * SECOND_US, tags={"device": "ios" if number > 3 else "web"}
        )
        for number in (1, 3, 5, 7)
    ]
    apply(
        db, an_arrival(events), models={MODEL: Model()}, slice_values_per_hour=9, worker="w", now_us=START_US
    )
    signal = make_signal(50, change_us=change_us, slice="device=ios")
    with db.write() as c:
        put_examples(c, [make_example(number) for number in (1, 3, 5)])
        put_examples(c, [make_example(7, role="evaluation"), make_example(8)])
        put_signal(c, signal)
    dataset = freeze(db, replace(RUN, signal_id=signal.id), 5_000_000)
    with db.read() as c:
        rows = read_dataset(c, dataset.hash)
    assert {example.id for example, _, is_new in rows if is_new} == {number_id(5), number_id(7)}


def test_only_training_examples_train_and_the_old_are_replayed(db: Database) -> None:
    store(db)
    dataset = freeze(db, RUN, 5_000_000)
    with db.read() as c:
        new, old = split_samples(read_dataset(c, dataset.hash))
    assert [sample.example_id for sample in new] == [number_id(2)]
    assert [sample.example_id for sample in old] == [number_id(1), number_id(5)]
    assert (new[0].input, new[0].label, new[0].group) == (EXAMPLES[1].input, "label 2", "subject-2")


def test_freezing_again_finds_the_same_dataset_until_an_example_comes(db: Database) -> None:
    store(db)
    first = freeze(db, RUN, 5_000_000)
    assert freeze(db, RUN, 6_000_000).hash == first.hash
    with db.write() as c:
        put_examples(c, [make_example(9)])
    assert freeze(db, RUN, 7_000_000).hash != first.hash
    with db.read() as c:
        assert get_dataset(c, first.hash).created_us == 5_000_000
        assert len(read_dataset(c, first.hash)) == 5


def test_a_run_without_a_batch_has_nothing_new(db: Database) -> None:
    store(db)
    dataset = freeze(db, make_run(1), 5_000_000)
    with db.read() as c:
        assert not any(is_new for _, _, is_new in read_dataset(c, dataset.hash))


def test_a_group_on_both_sides_stops_the_run(db: Database) -> None:
    store(db)
    with db.write() as c:
        # Nothing in the house can write this; a person with SQL can.
        c.execute(update(examples_table).where(examples_table.c.id == number_id(3)).values(group="subject-1"))
    with pytest.raises(Stop, match="subject-1"):
        freeze(db, RUN, 5_000_000)


@given(st.permutations(EXAMPLES[:5]))
def test_the_hash_does_not_depend_on_the_order(shuffled: list) -> None:  # type: ignore[type-arg]
    def as_rows(examples: list) -> list:  # type: ignore[type-arg]
        return [(example, example.role, False) for example in examples]

    assert hash_rows(as_rows(shuffled)) == hash_rows(as_rows(EXAMPLES[:5]))


def test_the_hash_depends_on_all_that_teaches_or_judges() -> None:
    example = make_example(1, input={"b": 1, "a": 2})
    hashes = {
        hash_rows([row])
        for row in [
            (example, "training", False),
            (replace(example, label="another"), "training", False),
            (replace(example, input={"b": 1, "a": 3}), "training", False),
            (replace(example, id=number_id(2)), "training", False),
            (example, "evaluation", False),
            (example, "training", True),
        ]
    }
    assert len(hashes) == 6
    same = replace(example, input={"a": 2, "b": 1}, created_us=9)
    assert hash_rows([(same, "training", False)]) == hash_rows([(example, "training", False)])


def test_the_hash_is_the_same_for_ever() -> None:
    rows = [(make_example(1, input={"글": "자"}, label=[1, 2.5, None]), "training", True)]
    assert hash_rows(rows) == "e29d2585383b77d7abba1877d2ea42439b5daf396f9a14216032be23d2fc5fef"
