"""Assembles the command from its nouns, reads the settings, and turns errors into messages and exit codes.

Exit codes: 0 done; 1 the answer is no (differences found, a gate not passed); 2 a person has to act; 3 try again later.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from errata.command import (
    alerts,
    ask,
    batch,
    dead_letters,
    erase,
    examples,
    keys,
    release,
    retrain,
    serve,
    voc,
)
from errata.command.session import Session
from errata.errors import ErrataError, Unavailable
from errata.redaction import Redaction
from errata.settings import find_settings, load_settings


def build(redaction: Redaction) -> typer.Typer:
    """The command with all its nouns and verbs. `redaction` learns the secrets of the settings that are read."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help="Errata learns from every correction: online numbers, VOC, hard examples, retraining.",
    )

    @app.callback()
    def read_settings(
        context: typer.Context,
        settings: Annotated[
            Path | None,
            typer.Option(
                help="Settings file; default: $ERRATA_SETTINGS, else errata.toml here, else built in."
            ),
        ] = None,
    ) -> None:
        path = find_settings(settings, os.environ)
        loaded = load_settings(path, os.environ)
        redaction.learn(loaded)
        context.obj = Session(settings=loaded, settings_path=path, redaction=redaction)

    serve.add_to(app)
    ask.add_to(app)
    retrain.add_to(app)
    erase.add_to(app)
    app.add_typer(dead_letters.build(), name="dead-letters")
    app.add_typer(voc.build(), name="voc")
    app.add_typer(batch.build(), name="batch")
    app.add_typer(examples.build(), name="examples")
    app.add_typer(release.build(), name="release")
    app.add_typer(keys.build(), name="keys")
    app.add_typer(alerts.build(), name="alerts")
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. In what it prints on standard error secrets are hidden."""
    redaction = Redaction()
    try:
        code = build(redaction)(args=list(arguments), prog_name="errata", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except typer.Exit as stop:
        return int(stop.exit_code)
    except Exception as error:
        said, code = _explain(error)
        sys.stderr.write(redaction.hide(said))
        return code
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> tuple[str, int]:
    """A sentence that says what to do, and the exit code; a trace where nobody thought of the error."""
    match error:
        case Unavailable():
            return f"errata: {error}\n", 3
        case ErrataError():
            return f"errata: {error}\n", 2
        case typer.TyperException():
            used: typer.Context | None = getattr(error, "ctx", None)
            command = used.command_path if used is not None else "errata"
            return f"errata: {error.format_message()} See {command} --help\n", 2
        case OSError() if error.filename is not None:
            return f"errata: {error.filename}: {error.strerror}\n", 2
        case _:
            return "".join(traceback.format_exception(error)), 1
