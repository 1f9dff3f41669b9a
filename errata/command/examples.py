"""`errata examples import | count`: labelled examples from before there were users."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from errata.command.session import now_us, session_of
from errata.errors import Malformed
from errata.settings import find_model

ModelName = Annotated[str, typer.Argument(help="The model's name.")]


def build() -> typer.Typer:
    """The verbs of `errata examples`."""
    app = typer.Typer(
        no_args_is_help=True, help="Labelled examples that versions learn from and are judged on."
    )
    app.command("import")(import_examples)
    app.command("count")(count)
    return app


def import_examples(
    context: typer.Context,
    model: ModelName,
    file: Annotated[
        Path, typer.Argument(help="One JSON object per line: input, label, group and, if you like, role.")
    ],
) -> None:
    """Import examples that were labelled elsewhere: the gate compares versions on them. Safe to repeat.

    Example: errata examples import card-reader founding.jsonl
    """
    from labeling.founding import read_examples
    from storage.examples import put_examples

    session = session_of(context)
    settings = find_model(session.settings, model)
    try:
        with file.open("rb") as lines:
            found = read_examples(lines, model, settings, now_us())
    except OSError as error:
        raise Malformed("unreadable_file", f"{file} cannot be read: {error.strerror}") from error
    with session.database() as database, database.write() as connection:
        put_examples(connection, found)
    sys.stdout.write(f"{len(found)} examples of {model} are stored\n")


def count(context: typer.Context, model: ModelName) -> None:
    """Count the examples of a model by role and part.

    Example: errata examples count card-reader
    """
    from storage.examples import count_examples

    with session_of(context).database() as database, database.read() as connection:
        found = count_examples(connection, model=model)
    for (role, part), n in sorted(found.items()):
        sys.stdout.write(f"{n:>8,}  {role}  {part}\n")
    sys.stdout.write(f"{sum(found.values()):>8,}  in all\n")
