"""Fixtures of the storage tests: a way to apply arrivals with settings that hardly vary."""

from collections.abc import Callable

import pytest

from errata.settings import Model, Task
from storage.database import Database
from storage.intake import Arrival, apply
from storage.records import Applied
from tests.builders import START_US
from tests.records import MODEL

MODELS = {MODEL: Model(task=Task(kind="text"))}

Apply = Callable[..., Applied]


@pytest.fixture
def apply_to(db: Database) -> Apply:
    """Applies an arrival to `db`."""

    def apply_arrival(
        arrival: Arrival,
        *,
        values: int = 200,
        models: dict[str, Model] | None = None,
        now_us: int = START_US,
        known_since_us: int = 0,
    ) -> Applied:
        return apply(
            db,
            arrival,
            models=MODELS if models is None else models,
            slice_values_per_hour=values,
            worker="worker-1",
            now_us=now_us,
            known_since_us=known_since_us,
        )

    return apply_arrival
