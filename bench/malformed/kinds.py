"""The kinds of malformed input, each with the reason that it has to be refused for, said by hand."""

from random import Random
from typing import Final

from bench.chaos.corpus import ELEMENTS, RECORDS, Spoiled, json_of, make_event, make_reading, with_output
from errata.settings import Model, Retention, Task
from errata.wire import BATCH_TYPE, STRUCTURED_TYPE

#: What the intake is told: all other models are unknown, and what is older than this is too late.
MODELS: Final = {"card-reader": Model(task=Task(kind="text"))}
RETENTION: Final = Retention(tombstones_days=7300.0)

#: What may stand in a batch among good events.
IN_BATCHES: Final = (
    *ELEMENTS,
    Spoiled(
        "a model nobody knows",
        json_of(lambda r: make_event(r, data=make_reading(model="x"))),
        "unknown_model",
    ),
    Spoiled(
        "from before ids are known", json_of(lambda r: make_event(r, time="2001-01-01T00:00:00Z")), "too_late"
    ),
    Spoiled("5,000 levels", lambda r: with_output(r, "[" * 5000 + "]" * 5000), "too_deep"),
)

#: What is a record of its own.
ALONE: Final = (
    *RECORDS,
    Spoiled(
        "an event of 300 KB", lambda r: with_output(r, f'"{"x" * 300_000}"'), "too_large", STRUCTURED_TYPE
    ),
    Spoiled(
        "a record of 6 MB", lambda r: with_output(r, f'"{"x" * 6_000_000}"'), "too_large", STRUCTURED_TYPE
    ),
    Spoiled("10,001 events", lambda _: b"[" + b"1," * 10_000 + b"1]", "too_large", BATCH_TYPE),
)

KINDS: Final = (*IN_BATCHES, *ALONE)

_LARGE_BYTES: Final = 4096


def is_large(spoiled: Spoiled) -> bool:
    """Whether there had better be few of a kind."""
    return len(spoiled.make(Random(0))) > _LARGE_BYTES
