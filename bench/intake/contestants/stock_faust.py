"""Stock Faust, one event per message and per transaction, as its documentation teaches it.

Its guarantee: none. It acknowledges an event also when the agent raised on it or was cancelled in it.
"""

import asyncio
from typing import Any

import faust

from bench.intake.contestants.arguments import Told, read_arguments


def build(told: Told) -> faust.App:
    """An app with an agent for each topic; the database is spoken to in a thread, one event at a time."""
    app = faust.App(
        told.group,
        broker=f"kafka://{told.bootstrap}",
        store="memory://",
        datadir=told.directory,
        web_enabled=False,
        topic_disable_leader=True,
        topic_partitions=4,
        consumer_auto_offset_reset="earliest",
        broker_rebalance_timeout=10.0,
    )
    one_at_a_time = asyncio.Lock()

    def add_agent(topic: str) -> None:
        async def store(stream: Any) -> None:
            async for event in stream:
                async with one_at_a_time:
                    await asyncio.to_thread(told.store.store, [event])

        channel = app.topic(topic, value_serializer="json")
        app.agent(channel, name=f"store {topic}")(store)

    for topic in told.topics:
        add_agent(topic)
    return app


if __name__ == "__main__":
    told = read_arguments()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    faust.Worker(
        build(told), loop=loop, loglevel="WARNING", redirect_stdouts=False
    ).execute_from_commandline()
