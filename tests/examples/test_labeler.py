"""The demo's labelers: mistaken now and then, checked before they deliver, and never stuck half-way."""

import json
import random
from datetime import UTC, datetime

import pytest

from errata.settings import Model, Settings, Task
from examples.card_reader.service import MODEL
from examples.labeler import MISTAKES, count_defects, label_tasks, work_off
from labeling.exchange import import_batch
from labeling.orders import order_batch
from storage import batches
from storage.batches import get_batch, list_batches, read_items
from storage.examples import read_examples
from storage.intake import apply
from tests.builders import START_US, a_prediction_event, an_arrival
from tests.records import make_batch, make_item, number_id

TASK = Task(kind="fields", fields={"number": Task(kind="text"), "expiry": Task(kind="text")})
SETTINGS = Settings(models={MODEL: Model(task=TASK)})
N = 60
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def truth_of(number):
    return {"number": f"{4_000_000_000_000_000 + number}", "expiry": "08/27"}


TRUTH = {number_id(number): truth_of(number) for number in range(1, N + 1)}


def some_tasks(n):
    return [{"data": {"ext_id": number_id(1 + number % N)}} for number in range(n)]


def answers(done):
    return [
        {
            each["from_name"].removeprefix("label."): each["value"]["text"][0]
            for each in task["annotations"][0]["result"]
        }
        for task in done
    ]


def test_two_of_a_hundred_answers_are_mistaken():
    n = 10_000
    tasks = some_tasks(n)
    done = label_tasks(tasks, TRUTH, NOW, random.Random(1))
    wrong = sum(
        answer != TRUTH[task["data"]["ext_id"]] for task, answer in zip(tasks, answers(done), strict=True)
    )
    assert abs(wrong - n * MISTAKES) < 5 * (n * MISTAKES * (1 - MISTAKES)) ** 0.5


def test_the_expert_finds_every_defect_of_what_is_checked():
    done = label_tasks(some_tasks(N), TRUTH, NOW, random.Random(1))
    elsewhere = {name: truth | {"expiry": "01/30"} for name, truth in TRUTH.items()}
    assert count_defects(done, elsewhere, N, random.Random(2)) == N
    mistaken = sum(answer != truth_of(number) for number, answer in enumerate(answers(done), start=1))
    assert count_defects(done, TRUTH, N, random.Random(2)) == mistaken


@pytest.fixture
def ordered(db, tmp_path):
    """A batch of N predictions that is ordered, and the truth beside it."""
    events = [
        a_prediction_event(number, output=truth_of(7), input=f"card {number}") for number in range(1, N + 1)
    ]
    apply(
        db, an_arrival(events), models=SETTINGS.models, slice_values_per_hour=9, worker="w", now_us=START_US
    )
    policy = {"seed": 7, "mining": {"evaluation_groups_percent": 0}}
    batch = make_batch(900, quantity=N, policy=policy, created_us=START_US)
    with db.write() as c:
        batches.create_batch(c, batch, [make_item(number) for number in range(1, N + 1)])
    order_batch(db, batch.id, "The demo asked for it.", START_US + 1, lambda _now_us: number_id(901))
    lines = [json.dumps({"id": name, "truth": truth}) + "\n" for name, truth in TRUTH.items()]
    # The last line is still being written.
    (tmp_path / "truth.jsonl").write_text("".join(lines) + '{"id": "x", "tru', encoding="utf-8")
    return batch.id


def test_an_ordered_batch_is_labelled_checked_accepted_and_learnt_from(db, ordered, tmp_path):
    work_off(db, SETTINGS, tmp_path, random.Random(7))
    with db.read() as c:
        batch = get_batch(c, ordered)
        assert (batch.status, batch.n_labelled) == ("accepted", N)
        assert batch.reason.startswith("Accept: ")
        labels = {item.prediction_id: item.label for item in read_items(c, ordered)}
        made = {example.id: example.label for example in read_examples(c, model=MODEL)}
    assert sum(labels[name] != truth for name, truth in TRUTH.items()) <= 6
    assert made == labels
    work_off(db, SETTINGS, tmp_path, random.Random(7))


def test_what_was_delivered_before_a_stop_is_accepted_after_it(db, ordered, tmp_path):
    from labeling.exchange import export_batch

    done = label_tasks(export_batch(db, ordered), TRUTH, NOW, random.Random(7))
    import_batch(db, SETTINGS, ordered, json.dumps(done), START_US + 2)
    with db.read() as c:
        assert [batch.status for batch in list_batches(c, model=MODEL)] == ["delivered"]
    work_off(db, SETTINGS, tmp_path, random.Random(7))
    with db.read() as c:
        assert get_batch(c, ordered).status == "accepted"
