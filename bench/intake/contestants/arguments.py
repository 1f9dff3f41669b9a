"""What each of the other frameworks' programs is told on its command line."""

import argparse
from dataclasses import dataclass

from bench.intake.contestants.storing import Store, connect


@dataclass(frozen=True, slots=True)
class Told:
    """Where to read, and where to store."""

    bootstrap: str
    topics: list[str]
    group: str
    directory: str
    store: Store


def read_arguments() -> Told:
    """The command line; connects to the database."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topics", required=True, nargs="+")
    parser.add_argument("--group", required=True)
    parser.add_argument("--directory", required=True, help="for what the framework keeps on disk")
    parser.add_argument("--url", required=True)
    parser.add_argument("--events", required=True, type=int)
    parser.add_argument("--seconds", required=True, type=float)
    given = parser.parse_args()
    store = Store(connect(given.url), given.events, given.seconds)
    return Told(given.bootstrap, given.topics, given.group, given.directory, store)
