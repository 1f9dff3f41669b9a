"""`errata batch list | show | order | export | import | accept | reject`: examples ordered from labelers."""

import re
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from errata.command.session import for_terminal, now_us, print_json, session_of
from errata.settings import find_model

BatchId = Annotated[str, typer.Argument(help="The batch's id.")]
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
Reason = Annotated[str, typer.Option(help="Why, in a sentence.")]


def build() -> typer.Typer:
    """The verbs of `errata batch`."""
    app = typer.Typer(no_args_is_help=True, help="Examples ordered from labelers.")
    app.command("list")(list_all)
    app.command("show")(show)
    app.command("order")(order)
    app.command("export")(export)
    app.command("import")(import_labels)
    app.command("accept")(accept)
    app.command("reject")(reject)
    return app


def list_all(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="One model; all models unless given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List batches, the newest first.

    Example: errata batch list
    """
    from storage.batches import list_batches

    with session_of(context).database() as database, database.read() as connection:
        found = list_batches(connection, model=model)
    if as_json:
        print_json(found)
        return
    for batch in found:
        progress = f"{batch.n_labelled} of {batch.quantity} labelled"
        sys.stdout.write(
            f"{batch.id}  {batch.model}  {batch.status}  {progress}  {for_terminal(batch.reason)}\n"
        )


def show(context: typer.Context, batch_id: BatchId) -> None:
    """Print a batch and its items, with the reasons for each, as JSON.

    Example: errata batch show 0193...
    """
    from storage.batches import get_batch, read_items

    with session_of(context).database() as database, database.read() as connection:
        print_json({"batch": get_batch(connection, batch_id), "items": read_items(connection, batch_id)})


def order(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="The model whose predictions are mined, or the id of a draft.")],
    reason: Reason = "A person asked for it.",
    draft: Annotated[
        bool, typer.Option("--draft", help="Compose it only; order it later by its id.")
    ] = False,
) -> None:
    """Mine hard examples now, without waiting for a signal, and order a batch of them; or order a draft.

    Example: errata batch order card-reader --reason "Before the new season."
    """
    from errata.identity import new_id
    from labeling.orders import draft_batch, order_batch
    from storage.batches import get_batch

    session = session_of(context)
    with session.database() as database:
        if _ID.fullmatch(what):
            with database.read() as connection:
                batch = get_batch(connection, what)
        else:
            find_model(session.settings, what)
            batch = draft_batch(database, session.settings, what, now_us(), new_id)
        if not draft:
            batch = order_batch(database, batch.id, reason, now_us(), new_id)
    sys.stdout.write(f"{batch.id}  {batch.status}: {batch.quantity} examples\n")


def export(
    context: typer.Context,
    batch_id: BatchId,
    file: Annotated[Path | None, typer.Argument(help="Where to; standard output unless given.")] = None,
    config: Annotated[
        bool, typer.Option("--config", help="The labeling screen's configuration (XML) instead of the tasks.")
    ] = False,
) -> None:
    """Write a batch as Label Studio tasks. The model's output and the user's correction are left out on purpose.

    Example: errata batch export 0193... tasks.json
    """
    from labeling.exchange import export_batch, export_label_config

    session = session_of(context)
    with session.database() as database:
        if config:
            text = export_label_config(database, session.settings, batch_id)
        else:
            tasks = export_batch(database, batch_id)
            text = msgspec.json.format(msgspec.json.encode(tasks), indent=2).decode()
    if file is None:
        sys.stdout.write(text + "\n")
    else:
        file.write_text(text, encoding="utf-8")
        sys.stdout.write(f"written to {file}\n")


def import_labels(
    context: typer.Context,
    batch_id: BatchId,
    file: Annotated[Path, typer.Argument(help="A JSON export of Label Studio (not JSON_MIN, not CSV).")],
) -> None:
    """Read labels that came back; every task must be there exactly once.

    Example: errata batch import 0193... labels.json
    """
    from labeling.exchange import import_batch

    session = session_of(context)
    with session.database() as database:
        batch = import_batch(database, session.settings, batch_id, file.read_bytes(), now_us())
    sys.stdout.write(f"{batch.id}  {batch.status}: {batch.n_labelled} of {batch.quantity} labelled\n")


def accept(context: typer.Context, batch_id: BatchId, reason: Reason) -> None:
    """Accept a delivery: its labels become examples, and the run that waits for it goes on.

    Example: errata batch accept 0193... --reason "1 defect in 50 checked, 3 allowed."
    """
    from errata.identity import new_id
    from labeling.orders import accept_batch

    with session_of(context).database() as database:
        accept_batch(database, batch_id, reason, now_us(), new_id)
    sys.stdout.write(f"{batch_id} is accepted\n")


def reject(context: typer.Context, batch_id: BatchId, reason: Reason) -> None:
    """Reject a delivery; nothing of it is learnt from.

    Example: errata batch reject 0193... --reason "9 defects in 50 checked, 3 allowed."
    """
    from labeling.orders import reject_batch

    with session_of(context).database() as database:
        reject_batch(database, batch_id, reason, now_us())
    sys.stdout.write(f"{batch_id} is rejected\n")
