"""A model before its first retraining: version 1 knows the old camera, and a batch of the new one was labelled."""

from collections.abc import Callable
from pathlib import Path

import torch

from errata.identity import new_id
from errata.settings import Artifacts, Gate, Model, Settings, Training
from errata.settings import Database as DatabaseSettings
from retrain.release import register
from retrain.run import carry_out
from storage.database import Database
from storage.examples import put_examples
from storage.records import Example, Role, Run
from storage.runs import open_run
from tests.records import MODEL, make_example, make_run, number_id
from tests.retrain.fake_trainer import write_network

BATCH = number_id(77)
RUN = number_id(1)
NOW_US = 1_795_415_400_000_000


class Clock:
    """A clock that goes on by a millisecond whenever someone looks."""

    def __init__(self, now_us: int = NOW_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        self.now_us += 1000
        return self.now_us


def make_settings(directory: Path, url: str = "sqlite:///unused.db", trainer: str = "trainer") -> Settings:
    model = Model(
        training=Training(trainer=f"tests.retrain.fake_trainer:{trainer}", steps=10),
        gate=Gate(minimum_examples=100),
    )
    return Settings(
        database=DatabaseSettings(url=url),
        artifacts=Artifacts(directory=str(directory)),
        models={MODEL: model},
    )


def make_examples() -> list[Example]:
    """Founding examples of the old camera, and the batch's of the new one; each of a subject of its own."""

    def of_camera(camera: str, first: int, count: int, role: Role, batch_id: str | None) -> list[Example]:
        return [
            make_example(
                number,
                input={"camera": camera, "number": number},
                role=role,
                part="founding" if batch_id is None else "corrected",
                batch_id=batch_id,
            )
            for number in range(first, first + count)
        ]

    return [
        *of_camera("old", 1000, 20, "training", None),
        *of_camera("old", 2000, 120, "evaluation", None),
        *of_camera("new", 3000, 20, "training", BATCH),
        *of_camera("new", 4000, 60, "evaluation", BATCH),
    ]


def set_scene(db: Database, directory: Path, clock: Callable[[], int], run: Run | None = None) -> None:
    """Store the examples, register version 1 as champion, and request a run."""
    write_network(directory / "made", ["old"])
    with db.write() as c:
        put_examples(c, make_examples())
        open_run(c, run or make_run(1, status="requested", batch_id=BATCH, champion="1"))
    register(
        db,
        directory,
        model=MODEL,
        directory=directory / "made",
        reason="The first version.",
        who="a person",
        now_us=clock(),
        new_id=new_id,
    )


def carry_out_run(
    db: Database,
    settings: Settings,
    clock: Callable[[], int],
    *,
    run_id: str = RUN,
    holder: str = "trainer-1",
    progress: Callable[..., None] = lambda share, figures: None,
) -> Run:
    return carry_out(
        db,
        settings,
        run_id,
        device=torch.device("cpu"),
        now_us=clock,
        new_id=new_id,
        holder=holder,
        progress=progress,
    )
