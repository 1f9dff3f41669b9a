"""Before there is any customer: trains version 1 and registers it with the examples it leaves behind.

`python -m examples.card_reader.found --directory var/demo`
"""

import argparse
import getpass
import os
import time
import uuid
from pathlib import Path

import torch

from errata.identity import new_id
from errata.settings import find_settings, load_settings
from examples.card_reader.first_version import train_first_version
from examples.card_reader.service import FIRST_VERSION, MODEL, SEED
from retrain.release import register
from retrain.trainer import Sample
from storage.database import open_database
from storage.examples import put_examples
from storage.records import Example, Role


def found_example(sample: Sample, role: Role, now_us: int) -> Example:
    """The stored form of a founder's card; the same card gets the same id every time."""
    return Example(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"errata:{MODEL}:{sample.example_id}")),
        model=MODEL,
        input=sample.input,
        label=sample.label,
        group=sample.group,
        role=role,
        part="founding",
        batch_id=None,
        created_us=now_us,
    )


def main() -> None:
    """Train, store the founding examples, register version 1 as champion."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where the training works")
    arguments = parser.parse_args()
    settings = load_settings(find_settings(None, os.environ), os.environ)
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    work: Path = arguments.directory / "first-version"
    first = train_first_version(work, SEED, torch.device("cpu"), lambda _share, _numbers: None)
    now_us = time.time_ns() // 1000
    database = open_database(settings.database.url)
    with database.write() as connection:
        put_examples(connection, [found_example(sample, "training", now_us) for sample in first.train])
        put_examples(connection, [found_example(sample, "evaluation", now_us) for sample in first.evaluation])
    register(
        database,
        Path(settings.artifacts.directory),
        model=MODEL,
        version=FIRST_VERSION,
        directory=work,
        reason="Trained on the founders' own cards.",
        who=getpass.getuser(),
        now_us=now_us,
        new_id=new_id,
    )
    database.close()


if __name__ == "__main__":
    main()
