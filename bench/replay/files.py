"""The public files as events: what a service would have sent, row by row, at the times that the file gives.

A file that gives days keeps its order within a day, a second a row; one without times starts at a stated moment.
Beside the events of a row stands what the file itself says of it, read from its columns alone: `Truth`.
"""

import csv
import gzip
import math
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

from errata.events import Data, Event, FeedbackData, PredictionData, VocData
from errata.settings import Model, Task

Row = Mapping[str, str]
Action = Literal["edit", "accept", "reject"]

SECOND_US: Final = 1_000_000
HOUR_US: Final = 3600 * SECOND_US
#: When files without times begin.
START_US: Final = int(datetime(2021, 1, 1, tzinfo=UTC).timestamp()) * SECOND_US
VERSION: Final = "published"
_IDS: Final = uuid.UUID("5ba7a9f2-3c60-5f4e-9d0f-6c1ce3a6a111")
#: Of five reviewers so many decide.
_MAJORITY: Final = 3

FORECASTS: Final = "fivethirtyeight_games.csv.gz"
DIGITS: Final = "label_errors_mnist.csv.gz"
NEWSGROUPS: Final = "label_errors_20news.csv.gz"
RECEIPTS: Final = "icdar2019_FR3_receipts.csv.gz"
TRANSLATIONS: Final = "mlqe_pe_en-de.csv.gz"
REVIEWS: Final = "nsmc_raw_2015-04_to_2015-08.csv.gz"

MODELS: Final = {
    "forecast": Model(),
    "digits": Model(),
    "newsgroups": Model(),
    "receipts": Model(task=Task(kind="text")),
    "translator": Model(task=Task(kind="translation")),
}


@dataclass(frozen=True, slots=True)
class Truth:
    """What a file says of one prediction, without any of our code: None stands for silence, or not measured."""

    slices: tuple[str, ...]
    action: Action | None
    #: How far what users made of it is from what they were shown, 0 to 1.
    distance: Fraction | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Told:
    """The events of one row, and what the file says of its prediction; None for a comment."""

    events: tuple[Event, ...]
    truth: Truth | None


def read_rows(path: Path) -> list[Row]:
    """All rows of a file in its order."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def tell_file(path: Path) -> Iterator[Told]:
    """The rows of one of the files that are replayed as they are (`TELL`), told as events."""
    tell = TELL[path.name]
    days: dict[str, int] = {}
    for place, row in enumerate(read_rows(path)):
        date = row.get("date")
        if date is None:
            time_us = START_US + place * SECOND_US
        else:
            midnight = datetime.fromisoformat(date).replace(tzinfo=UTC)
            days[date] = days.get(date, -1) + 1
            time_us = (int(midnight.timestamp()) + days[date]) * SECOND_US
        yield tell(_Namer(f"{path.name}/{place}", time_us), row)


@dataclass(frozen=True, slots=True)
class _Namer:
    """Makes the events of one row, whose ids are the same in every replay."""

    name: str
    time_us: int

    def event(self, kind: str, data: Data, after_us: int = 0) -> Event:
        return Event(id=self.id_of(kind), source="/replay", time_us=self.time_us + after_us, data=data)

    def id_of(self, kind: str) -> str:
        return str(uuid.uuid5(_IDS, f"{self.name}/{kind}"))

    def answer(self, action: Action, corrected: Any, after_us: int) -> Event:
        data = FeedbackData(
            prediction_id=self.id_of("prediction"),
            action=action,
            corrected=corrected if action == "edit" else None,
        )
        return self.event(f"feedback after {after_us}", data, after_us)


def _tell_forecast(namer: _Namer, row: Row) -> Told:
    """The favourite is the output, the winner is known six hours later; a draw is nobody's win."""
    first, second = float(row["prob1"]), float(row["prob2"])
    favourite, other = ("team1", "team2") if first > second else ("team2", "team1")
    tags = {"league": row["league"], "season": row["season"]}
    prediction = PredictionData(
        model="forecast",
        version=VERSION,
        input={"home": row["team1"], "away": row["team2"], "date": row["date"]},
        output=row[favourite],
        confidence=max(first, second),
        tags=tags,
    )
    won = {"1.0": "team1", "0.0": "team2"}.get(row["prob1_outcome"])
    action: Action = "reject" if won is None else "accept" if won == favourite else "edit"
    truth = Truth(
        slices=(f"league={row['league']}", f"season={row['season']}"),
        action=action,
        distance={"accept": Fraction(0), "edit": Fraction(1), "reject": None}[action],
        confidence=max(first, second),
    )
    answer = namer.answer(action, row[other], 6 * HOUR_US)
    return Told((namer.event("prediction", prediction), answer), truth)


def _tell_labels(model: str) -> Callable[[_Namer, Row], Told]:
    """A classifier, the label that came with its input, and a day later what a majority of reviewers made of both."""

    def tell(namer: _Namer, row: Row) -> Told:
        output, given = row["pred_label"], row["given_label"]
        prediction = PredictionData(
            model=model,
            version=VERSION,
            input={"row": row["id"]},
            output=output,
            confidence=float(row["pred_prob"]),
            tags={"output": output},
        )
        action: Action = "accept" if output == given else "edit"
        events = [namer.event("prediction", prediction), namer.answer(action, given, HOUR_US)]
        reviewed = _review(row)
        if reviewed is not None:
            # An edit to what was shown is told as one: that it counts as an accept is for the pipeline to see.
            said: Action = "reject" if reviewed == "" else "edit"
            events.append(namer.answer(said, reviewed, 24 * HOUR_US))
            action = "reject" if reviewed == "" else "accept" if output == reviewed else "edit"
        truth = Truth(
            slices=(f"output={output}",),
            action=action,
            distance={"accept": Fraction(0), "edit": Fraction(1), "reject": None}[action],
            confidence=float(row["pred_prob"]),
        )
        return Told(tuple(events), truth)

    return tell


def _review(row: Row) -> str | None:
    """The label that most reviewers saw, "" if it was another one; None without a review or a majority."""
    if not row["mturk_given"]:
        return None
    seen = {
        row["given_label"]: int(row["mturk_given"]),
        "": int(row["mturk_neither"]),
    }
    guess = row["mturk_guess_label"]
    seen[guess] = seen.get(guess, 0) + int(row["mturk_guessed"])
    # Both labels are right: then the one that was shown is.
    shown = row["pred_label"] if row["pred_label"] in seen else row["given_label"]
    seen[shown] += int(row.get("mturk_both") or 0)
    label = max(seen, key=lambda each: seen[each])
    return label if seen[label] >= _MAJORITY else None


def _tell_receipt(namer: _Namer, row: Row) -> Told:
    length = "short" if len(row["ocr"]) < 40 else "long"
    prediction = PredictionData(
        model="receipts",
        version=VERSION,
        output=row["ocr"],
        tags={"length": length},
        subject=f"receipt-{row['doc']}",
    )
    shown, written = (unicodedata.normalize("NFC", row[name]) for name in ("ocr", "human"))
    action: Action = "accept" if shown == written else "edit"
    truth = Truth(
        slices=(f"length={length}",),
        action=action,
        distance=min(Fraction(count_edits(shown, written), len(written)), Fraction(1)),
        confidence=None,
    )
    return Told(
        (namer.event("prediction", prediction), namer.answer(action, row["human"], 60 * SECOND_US)), truth
    )


def count_edits(shown: str, written: str) -> int:
    """Count the insertions, deletions and substitutions between two texts as the textbook does."""
    above = list(range(len(written) + 1))
    for place, character in enumerate(shown, start=1):
        row = [place]
        for number, other in enumerate(written, start=1):
            row.append(min(above[number] + 1, row[-1] + 1, above[number - 1] + (character != other)))
        above = row
    return above[-1]


def _tell_review(namer: _Namer, row: Row) -> Told:
    data = VocData(
        text=row["review"],
        rating=int(row["rating"]),
        channel="reviews",
        language="ko",
        subject=row["author_h"],
    )
    return Told((namer.event("comment", data),), None)


#: How each file is told. The translations are told by a client (bench/replay/storing.py).
TELL: Final[dict[str, Callable[[_Namer, Row], Told]]] = {
    FORECASTS: _tell_forecast,
    DIGITS: _tell_labels("digits"),
    NEWSGROUPS: _tell_labels("newsgroups"),
    RECEIPTS: _tell_receipt,
    REVIEWS: _tell_review,
}
MODEL_OF: Final = {
    FORECASTS: "forecast",
    DIGITS: "digits",
    NEWSGROUPS: "newsgroups",
    RECEIPTS: "receipts",
    TRANSLATIONS: "translator",
}


def truths_of_translations(path: Path) -> list[Truth]:
    """What the file of translations says of each of its rows, by its own columns."""
    truths = []
    for row in read_rows(path):
        words = len(row["src"].split())
        length = "short" if words < 12 else "medium" if words < 20 else "long"
        is_edited = row["mt"] != row["pe"]
        truths.append(
            Truth(
                slices=(f"length={length}",),
                action="edit" if is_edited else "accept",
                distance=Fraction(row["hter"]) if is_edited else Fraction(0),
                # The mean log-probability of a token.
                confidence=math.exp(float(row["model_score"])),
            )
        )
    return truths
