"""Freezes what a run learns from and is judged by: a choice of examples, named by its content."""

import hashlib
from collections.abc import Sequence

import msgspec

from errata.errors import Stop
from retrain.trainer import Sample
from storage.database import Database
from storage.examples import list_made_since, list_split_groups, put_dataset, read_examples
from storage.records import Dataset, Example, Role, Run
from storage.signals import get_signal

#: Example, role, and whether it comes from the batch of the run, or from after the change that opened it.
Row = tuple[Example, Role, bool]


def freeze(db: Database, run: Run, now_us: int) -> Dataset:
    """Store and return the dataset of all examples that the model has now; those from after the change are new.

    They come from the run's batch, or from an earlier one: one whose candidate failed, perhaps. Called again while the
    examples are the same, it finds the same dataset. Raises Stop when a group both trains and judges: whatever such a
    dataset shows is false.
    """
    with db.write() as c:
        split = list_split_groups(c, run.model)
        if split:
            raise Stop(
                f"these groups of {run.model} are in training and in evaluation: {', '.join(split[:5])}"
            )
        signal = get_signal(c, run.signal_id) if run.signal_id is not None else None
        after = (
            list_made_since(c, model=run.model, slice=signal.slice, since_us=signal.change_us)
            if signal is not None and signal.change_us is not None
            else set()
        )
        rows: list[Row] = [
            (
                example,
                example.role,
                example.id in after or (run.batch_id is not None and example.batch_id == run.batch_id),
            )
            for example in read_examples(c, model=run.model)
        ]
        dataset = Dataset(
            hash=hash_rows(rows),
            model=run.model,
            n_training=sum(role == "training" for _, role, _ in rows),
            n_evaluation=sum(role == "evaluation" for _, role, _ in rows),
            created_us=now_us,
        )
        put_dataset(c, dataset, [(example.id, role, is_new) for example, role, is_new in rows])
    return dataset


def hash_rows(rows: Sequence[Row]) -> str:
    """The SHA-256 of all that decides what a dataset teaches and shows, whatever the order of its rows.

    Each row is a line of JSON with sorted keys: id, role, whether it is new, input, label.
    """
    digest = hashlib.sha256()
    for example, role, is_new in sorted(rows, key=lambda row: row[0].id):
        line = [example.id, role, is_new, example.input, example.label]
        digest.update(msgspec.json.encode(line, order="sorted") + b"\n")
    return digest.hexdigest()


def split_samples(rows: Sequence[Row]) -> tuple[list[Sample], list[Sample]]:
    """The samples to train on: new ones, and old ones to replay."""
    new: list[Sample] = []
    old: list[Sample] = []
    for example, role, is_new in rows:
        if role == "training":
            sample = Sample(example.id, example.input, example.label, example.group)
            (new if is_new else old).append(sample)
    return new, old
