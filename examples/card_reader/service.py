"""The card reader as a service: `python -m examples.card_reader.service --directory var/demo`.

Customers photograph their cards, the champion version reads them, customers act on the readings. The service asks for
the champion all the time and takes a new version up while running. The file `camera` in the directory says which camera
the phones have; the demo writes `v2` into it when the drift shall begin. `truth.jsonl` is what really stands on the
cards: only the demo's labeler reads it, Errata never does.
"""

import argparse
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from errata.client import Client
from errata.resolver import VersionResolver
from errata.settings import find_settings, load_settings
from examples.card_reader.camera import Camera, photograph
from examples.card_reader.cards import draw_card, encode_image
from examples.card_reader.digits import share_out
from examples.card_reader.trainer import trainer
from examples.card_reader.users import Reaction, react
from examples.schedule import Schedule
from examples.service import run_service
from retrain.trainer import Network

MODEL = "card-reader"
FIRST_VERSION = "1"
SEED = 1


class CardReader:
    """One running service: its customers, its camera and the version it reads cards with."""

    def __init__(self, client: Client, resolver: VersionResolver, directory: Path) -> None:
        self._client = client
        self._resolver = resolver
        self._directory = directory
        self._cohorts = share_out(SEED)
        self._photos = np.random.default_rng(SEED + 1)
        self._people = random.Random(SEED + 2)
        self._truth = (directory / "truth.jsonl").open("a", encoding="utf-8")
        self._version = ""
        self._network: Network | None = None
        self.schedule = Schedule()

    def tick(self, now_seconds: float) -> bool:
        """Read one customer's card and plan the customer's reaction; True: a service does not end by itself."""
        self._take_up_champion()
        if self._network is None:
            return True
        # Customers who were photographed before the release may have been labelled and learnt from. Whoever comes
        # after it is new, so that no version is ever shown a digit image that it was trained on.
        writer = self._people.choice(self._cohorts["first" if self._version == FIRST_VERSION else "second"])
        camera = self._camera()
        card = draw_card(writer, self._photos)
        image = encode_image(photograph(card.image, camera, self._photos))
        truth = {"number": card.number, "expiry": card.expiry}
        started = time.perf_counter()
        reading = self._network.predict([image])[0]
        latency_ms = (time.perf_counter() - started) * 1000
        prediction_id = self._client.prediction(
            model=MODEL,
            version=self._version,
            input=image,
            output=reading.output,
            confidence=reading.confidence,
            features=reading.features,
            latency_ms=round(latency_ms, 3),
            tags={"camera": camera, "device": self._people.choice(("ios", "android"))},
            subject=writer.name,
        )
        self._truth.write(json.dumps({"id": prediction_id, "truth": truth}) + "\n")
        self._truth.flush()
        reaction = react(reading.output, truth, self._people)
        display_ms = round(latency_ms + 40 + self._people.expovariate(1 / 40), 3)
        self.schedule.at(
            now_seconds + reaction.delay_seconds,
            lambda: self._act(prediction_id, writer.name, reaction, display_ms),
        )
        return True

    def _act(self, prediction_id: str, customer: str, reaction: Reaction, display_ms: float) -> None:
        if reaction.action == "edit":
            self._client.edit(
                prediction_id=prediction_id, corrected=reaction.corrected, display_ms=display_ms, who=customer
            )
        elif reaction.action == "accept":
            self._client.accept(prediction_id=prediction_id, display_ms=display_ms, who=customer)
        if reaction.comment is not None:
            text, language, rating = reaction.comment
            self._client.voc(
                text=text,
                rating=rating,
                channel="app",
                language=language,
                prediction_id=prediction_id,
                model=MODEL,
                subject=customer,
            )

    def _take_up_champion(self) -> None:
        champion = self._resolver.current()
        if champion is not None and champion.version != self._version:
            self._network = trainer.load(champion.directory, torch.device("cpu"))
            self._version = champion.version

    def _camera(self) -> Camera:
        try:
            return "v2" if (self._directory / "camera").read_text(encoding="utf-8").strip() == "v2" else "v1"
        except FileNotFoundError:
            return "v1"


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--directory", type=Path, required=True, help="where camera, truth, spool and report lie"
    )
    parser.add_argument("--per-second", type=float, default=40.0)
    arguments = parser.parse_args()
    settings = load_settings(find_settings(None, os.environ), os.environ)
    # One thread is enough for one card at a time, and leaves the other cores to everybody else.
    torch.set_num_threads(1)
    directory: Path = arguments.directory
    client = Client.from_settings(
        settings, source="demo/card-reader", spool_directory=directory / "spool", environ=os.environ
    )
    service = CardReader(client, VersionResolver(settings.artifacts.directory, MODEL), directory)
    run_service(
        client,
        service.tick,
        service.schedule,
        per_second=arguments.per_second,
        report=directory / "card-reader.json",
    )


def read_truth(directory: Path) -> dict[str, Any]:
    """What really stands on every card shown so far, by prediction id; a line still being written is left out."""
    lines = (directory / "truth.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    return {
        row["id"]: row["truth"] for row in map(json.loads, (line for line in lines if line.endswith("\n")))
    }


if __name__ == "__main__":
    main()
