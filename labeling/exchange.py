"""Batches leave for Label Studio and come back: what `errata batch export` and `import` do."""

from contextlib import suppress
from typing import Any

from errata.settings import Settings, find_model
from labeling.label_studio import export_tasks, import_annotations, make_label_config
from labeling.orders import deliver
from storage import batches, predictions
from storage.database import Database
from storage.errors import NotFound
from storage.records import Batch, BatchItem, Prediction


def export_batch(db: Database, batch_id: str) -> list[dict[str, Any]]:
    """The tasks of a batch in the form that Label Studio imports. Raises NotFound."""
    batch, items, shown = _read(db, batch_id)
    return export_tasks(items, shown, batch)


def export_label_config(db: Database, settings: Settings, batch_id: str) -> str:
    """The configuration (XML) of the labeling screen for a batch. Raises NotFound."""
    batch, _, shown = _read(db, batch_id)
    model = find_model(settings, batch.model)
    return make_label_config(model.task, list(shown.values()), model.label_config)


def import_batch(
    db: Database, settings: Settings, batch_id: str, document: bytes | str, now_us: int
) -> Batch:
    """Store the labels of a Label Studio export; delivered once every item has a label or a flag.

    Raises Malformed, naming the tasks, when the export is not of this batch or an answer cannot be read.
    """
    batch, items, shown = _read(db, batch_id)
    expected = [item.prediction_id for item in items if item.prediction_id in shown]
    labels = import_annotations(document, expected, find_model(settings, batch.model).task)
    return deliver(db, batch_id, labels, now_us)


def _read(db: Database, batch_id: str) -> tuple[Batch, list[BatchItem], dict[str, Prediction]]:
    shown: dict[str, Prediction] = {}
    with db.read() as c:
        batch = batches.get_batch(c, batch_id)
        items = batches.read_items(c, batch_id)
        for item in items:
            with suppress(NotFound):
                shown[item.prediction_id] = predictions.get_prediction(c, item.prediction_id)
    return batch, items, shown
