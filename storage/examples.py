"""Examples with trusted labels, and datasets: frozen choices of them, named by their content."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from storage.errors import Conflict, NotFound
from storage.insertion import insert_new, is_one_of
from storage.json_text import from_text, to_text
from storage.predictions import in_slice
from storage.records import Dataset, Example, Role
from storage.tables import dataset_examples, datasets, examples, predictions


def put_examples(c: Connection, new: Sequence[Example]) -> None:
    """Store examples; one that is stored already stays as it is.

    Raises Conflict, naming the groups, where a group would be on both sides of the split.
    """
    insert_new(
        c,
        examples,
        [
            {
                "id": example.id,
                "model": example.model,
                "input": to_text(example.input),
                "label": to_text(example.label),
                "group": example.group,
                "role": example.role,
                "part": example.part,
                "batch_id": example.batch_id,
                "created_us": example.created_us,
            }
            for example in new
        ],
    )
    for model in {example.model for example in new}:
        split = list_split_groups(c, model)
        if split:
            raise Conflict(f"groups of {model} would train and judge: {', '.join(split[:5])}")


def read_examples(
    c: Connection, *, model: str, role: Role | None = None, ids: Collection[str] | None = None
) -> list[Example]:
    """Examples of a model in the order of their ids; with `ids`, those of them that exist."""
    query = select(examples).where(examples.c.model == model).order_by(examples.c.id)
    if role is not None:
        query = query.where(examples.c.role == role)
    if ids is not None:
        query = query.where(is_one_of(c, examples.c.id, sorted(ids)))
    return [_to_example(row) for row in c.execute(query)]


def list_made_since(c: Connection, *, model: str, slice: str, since_us: int) -> set[str]:  # noqa: A002
    """The examples that are predictions of a slice made from `since_us` on."""
    wanted = select(examples.c.id).join(predictions, predictions.c.id == examples.c.id)
    wanted = wanted.where(examples.c.model == model, predictions.c.time_us >= since_us, in_slice(c, slice))
    return set(c.scalars(wanted))


def count_examples(c: Connection, *, model: str) -> dict[tuple[Role, str], int]:
    """How many examples a model has, by role and part."""
    query = (
        select(examples.c.role, examples.c.part, func.count())
        .where(examples.c.model == model)
        .group_by(examples.c.role, examples.c.part)
    )
    return {(role, part): n for role, part, n in c.execute(query)}


def read_group_roles(c: Connection, model: str) -> dict[str, Role]:
    """The side of the split on which each group with examples is; it never changes."""
    query = select(examples.c.group, func.min(examples.c.role).label("role")).where(examples.c.model == model)
    return {row.group: row.role for row in c.execute(query.group_by(examples.c.group))}


def list_split_groups(c: Connection, model: str) -> list[str]:
    """Groups with examples on both sides of the split: there must be none."""
    query = (
        select(examples.c.group)
        .where(examples.c.model == model)
        .group_by(examples.c.group)
        .having(func.count(func.distinct(examples.c.role)) > 1)
        .order_by(examples.c.group)
    )
    return list(c.execute(query).scalars())


def put_dataset(c: Connection, dataset: Dataset, rows: Sequence[tuple[str, Role, bool]]) -> None:
    """Store a dataset and its rows (example id, role, is_new); the same content again changes nothing."""
    insert_new(
        c,
        datasets,
        [
            {
                "hash": dataset.hash,
                "model": dataset.model,
                "n_training": dataset.n_training,
                "n_evaluation": dataset.n_evaluation,
                "created_us": dataset.created_us,
            }
        ],
    )
    insert_new(
        c,
        dataset_examples,
        [
            {"dataset_hash": dataset.hash, "example_id": example_id, "role": role, "is_new": int(is_new)}
            for example_id, role, is_new in rows
        ],
    )


def get_dataset(c: Connection, dataset_hash: str) -> Dataset:
    """One dataset without its rows; raises NotFound."""
    row = c.execute(select(datasets).where(datasets.c.hash == dataset_hash)).one_or_none()
    if row is None:
        raise NotFound("dataset", dataset_hash)
    return Dataset(
        hash=row.hash,
        model=row.model,
        n_training=row.n_training,
        n_evaluation=row.n_evaluation,
        created_us=row.created_us,
    )


def read_dataset(c: Connection, dataset_hash: str) -> list[tuple[Example, Role, bool]]:
    """The rows of a dataset in the order of example ids: example, role, is_new."""
    query = (
        select(examples, dataset_examples.c.role.label("frozen_role"), dataset_examples.c.is_new)
        .join(dataset_examples, dataset_examples.c.example_id == examples.c.id)
        .where(dataset_examples.c.dataset_hash == dataset_hash)
        .order_by(examples.c.id)
    )
    return [(_to_example(row), row.frozen_role, bool(row.is_new)) for row in c.execute(query)]


def _to_example(row: Row[Any]) -> Example:
    return Example(
        id=row.id,
        model=row.model,
        input=from_text(row.input),
        label=from_text(row.label),
        group=row.group,
        role=row.role,
        part=row.part,
        batch_id=row.batch_id,
        created_us=row.created_us,
    )
