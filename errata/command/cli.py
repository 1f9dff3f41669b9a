"""Assembles the command from its nouns, reads the settings, and turns errors into messages and exit codes.

Exit codes: 0 done; 1 the answer is no (differences found, a gate not passed); 2 a person has to act; 3 try again later.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from errata.command import ask, batch, dead_letters, erase, examples, release, retrain, serve, voc
from errata.command.session import Session
from errata.errors import ErrataError, Unavailable
from errata.settings import find_settings, load_settings


def build() -> typer.Typer:
    """The command with all its nouns and verbs."""
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
        context.obj = Session(settings=load_settings(path, os.environ), settings_path=path)

    serve.add_to(app)
    ask.add_to(app)
    retrain.add_to(app)
    erase.add_to(app)
    app.add_typer(dead_letters.build(), name="dead-letters")
    app.add_typer(voc.build(), name="voc")
    app.add_typer(batch.build(), name="batch")
    app.add_typer(examples.build(), name="examples")
    app.add_typer(release.build(), name="release")
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = build()(args=list(arguments), prog_name="errata", standalone_mode=False)
    except Unavailable as error:
        sys.stderr.write(f"errata: {error}\n")
        return 3
    except ErrataError as error:
        sys.stderr.write(f"errata: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    except typer.Exit as stop:
        return int(stop.exit_code)
    except typer.Abort:
        return 130
    except typer.TyperException as error:
        used: typer.Context | None = getattr(error, "ctx", None)
        command = used.command_path if used is not None else "errata"
        sys.stderr.write(f"errata: {error.format_message()} See {command} --help\n")
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        sys.stderr.write(f"errata: {error.filename}: {error.strerror}\n")
        return 2
    return code if isinstance(code, int) else 0
