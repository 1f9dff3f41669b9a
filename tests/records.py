"""Records as tests need them: valid as they are, and each field can be given."""

import uuid
from typing import Any

from quality.data_drift import Course, NumberState
from storage.records import (
    ApiKey,
    Batch,
    BatchItem,
    Example,
    Label,
    Prediction,
    Release,
    Run,
    Signal,
    Version,
)
from streams.api_keys import make_key

MODEL = "card-reader"


def number_id(number: int) -> str:
    """The id that stands for `number` in a test."""
    return str(uuid.UUID(int=number))


def make_prediction(number: int, **given: Any) -> Prediction:
    values: dict[str, Any] = {
        "id": number_id(number),
        "model": MODEL,
        "version": "1",
        "time_us": 1_000_000 * number,
        "output": {"number": "4111"},
        "confidence": 0.9,
        "input": {"image": f"image {number}"},
        "input_uri": None,
        "features": None,
        "latency_us": None,
        "tags": {},
        "subject": f"subject-{number}",
    }
    return Prediction(**(values | given))


def make_run(number: int = 1, **given: Any) -> Run:
    values: dict[str, Any] = {
        "id": number_id(number),
        "model": MODEL,
        "status": "waiting",
        "reason": "The correction rate has risen.",
        "signal_id": None,
        "batch_id": None,
        "champion": "1",
        "candidate": None,
        "dataset_hash": None,
        "verdict": None,
        "verdict_reason": None,
        "seed": 7,
        "opened_us": 1_000_000 + number,
        "decided_us": None,
    }
    return Run(**(values | given))


def make_signal(number: int = 1, **given: Any) -> Signal:
    values: dict[str, Any] = {
        "id": number_id(number),
        "model": MODEL,
        "version": "1",
        "slice": "all",
        "time_us": 1_000_000 + number,
        "change_us": None,
        "n_events": 100,
        "n_corrections": 30,
        "log_evidence": 14.5,
        "ceiling": 0.06,
        "decision": "suppressed",
        "reason": "A run is open.",
        "run_id": None,
    }
    return Signal(**(values | given))


def make_batch(number: int = 1, **given: Any) -> Batch:
    values: dict[str, Any] = {
        "id": number_id(number),
        "model": MODEL,
        "status": "draft",
        "run_id": None,
        "quantity": 3,
        "unit_price": "0.05",
        "currency": "USD",
        "guide": "Write down what is there.",
        "guide_version": "1",
        "policy": {"seed": 7},
        "reason": "A run waits for it.",
        "created_us": 1_000_000 + number,
    }
    return Batch(**(values | given))


def make_item(number: int, **given: Any) -> BatchItem:
    values: dict[str, Any] = {
        "prediction_id": number_id(number),
        "part": "corrected",
        "reasons": ["A user corrected it."],
        "score": 0.5,
        "inclusion": None,
        "group": f"subject-{number}",
    }
    return BatchItem(**(values | given))


def make_label(number: int, **given: Any) -> Label:
    values: dict[str, Any] = {
        "prediction_id": number_id(number),
        "label": {"number": "4111"},
        "labeler": "labeler-1",
        "labeled_us": 5_000_000,
    }
    return Label(**(values | given))


def make_example(number: int, **given: Any) -> Example:
    values: dict[str, Any] = {
        "id": number_id(number),
        "model": MODEL,
        "input": {"image": f"image {number}"},
        "label": f"label {number}",
        "group": f"subject-{number}",
        "role": "training",
        "part": "founding",
        "batch_id": None,
        "created_us": 1_000_000 + number,
    }
    return Example(**(values | given))


def make_version(version: str, **given: Any) -> Version:
    values: dict[str, Any] = {
        "model": MODEL,
        "version": version,
        "artifact": f"{MODEL}/{version}",
        "sha256": "0" * 64,
        "run_id": None,
        "dataset_hash": None,
        "created_us": 1_000_000,
    }
    return Version(**(values | given))


def make_release(version: str, number: int = 1, **given: Any) -> Release:
    values: dict[str, Any] = {
        "id": number_id(number),
        "model": MODEL,
        "version": version,
        "action": "register",
        "reason": "The first version.",
        "who": "a person",
        "time_us": 1_000_000 + number,
    }
    return Release(**(values | given))


def make_api_key(number: int = 1, **given: Any) -> tuple[str, ApiKey]:
    """A key as its sender shows it, and what is stored of it."""
    made = make_key(lambda n: number.to_bytes(n, "big"))
    values: dict[str, Any] = {
        "id": made.id,
        "source": "shop",
        "hash": made.hash,
        "models": None,
        "created_us": 1_000_000 * number,
    }
    return made.text, ApiKey(**values | given)


def make_moved_confidence() -> NumberState:
    """A confidence that was watched in 2,600 predictions, and has fallen from .75 to .3 in the last 600."""
    n_bets = 10
    course = Course(
        log_r=(None,) * n_bets,
        gain=(20.0,) * n_bets,
        gain_n=(600,) * n_bets,
        gain_since_us=(1_795_415_400_000_000,) * n_bets,
        gain_counts=((600, 0),) * n_bets,
        stage="moved",
        stage_us=1_795_415_460_000_000,
    )
    return NumberState(
        n=2600, edges=(0.5,), counts=(0, 2000), low=0.3, high=1.0, latest=(0.3,) * 200, course=course
    )
