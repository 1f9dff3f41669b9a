"""Bytewax: whole batch records from its KafkaSource into a DynamicSink of our own, with recovery turned on.

Its guarantee: at least once. Offsets are in its own recovery files, written at the end of an epoch; after a crash
it begins again with the last one, which the store does not mind.
"""

from datetime import timedelta
from itertools import chain
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from bench.intake.contestants.arguments import Told, read_arguments
from bench.intake.contestants.storing import Store

#: Records that a partition of the source hands on at once: as many events as Errata has in one transaction.
_BATCH_RECORDS = 28


class StorePartition(StatelessSinkPartition[Any]):  # type: ignore[misc]
    """Stores each batch that reaches it in one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write_batch(self, items: list[KafkaSourceMessage]) -> None:
        """Decode and store."""
        events: list[Any] = list(chain.from_iterable(orjson.loads(item.value) for item in items))
        self._store.store(events)


class StoreSink(DynamicSink[Any]):  # type: ignore[misc]
    """One partition for the one worker."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> StorePartition:
        """The partition of a worker."""
        return StorePartition(self._store)


def build(told: Told) -> Dataflow:
    """From the topics into the store."""
    flow = Dataflow("intake")
    source = KafkaSource([told.bootstrap], told.topics, tail=True, batch_size=_BATCH_RECORDS)
    op.output("store", op.input("read", flow, source), StoreSink(told.store))
    return flow


if __name__ == "__main__":
    told = read_arguments()
    init_db_dir(told.directory, 1)
    cli_main(build(told), recovery_config=RecoveryConfig(told.directory), epoch_interval=timedelta(seconds=1))
