"""Where the slices of a version stand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from errata.settings import Detector
from quality.drift import DetectorState
from quality.standing import describe_detector, find_worse, stand
from quality.windows import DAY_US, HOUR_US

DETECTOR = Detector(reference_predictions=2000, horizons_seconds=(3600,))
CALM = DetectorState(
    log_r=(math.log(4000.0), -math.inf, -math.inf), ceiling=0.06, reference_n=2000, log_level=math.log(1e6)
)


def test_slices_that_are_surely_worse_come_first_and_others_are_not_blamed() -> None:
    counts = {"all": (10_000, 500), "a=1": (1000, 150), "a=2": (40, 4), "b=1": (2000, 400), "b=2": (0, 0)}
    assert find_worse(counts) == ["b=1", "a=1"]
    found = stand(counts, {HOUR_US: {"a=2": replace(CALM, stage="warned")}}, DETECTOR)
    assert [each.slice for each in found] == ["all", "b=1", "a=1", "a=2"]
    assert [each.is_worse for each in found] == [False, True, True, False]
    assert found[1].low < 0.2 < found[1].high


def test_of_several_horizons_that_which_is_nearest_to_an_alarm_is_told() -> None:
    learning = DetectorState(reference_n=400)
    nearer = replace(CALM, log_r=(math.log(9000.0),) * 3)
    several = Detector(horizons_seconds=(3600, 86_400))
    counts = {"all": (10, 1), "a=1": (10, 1), "a=2": (10, 1)}
    states = {HOUR_US: {"all": CALM, "a=1": learning}, DAY_US: {"all": nearer, "a=1": CALM}}
    found = {each.slice: (each.detector, each.said[:33]) for each in stand(counts, states, several)}
    assert found == {
        "all": ("24h", "By corrections within 24 hours: c"),
        "a=1": ("24h", "By corrections within 24 hours: c"),
        "a=2": (None, "Not watched."),
    }
    states = {HOUR_US: {"all": replace(CALM, stage="warned")}, DAY_US: {"all": nearer}}
    assert stand(counts, states, several)[0].detector == "1h"


def test_every_horizon_of_a_slice_is_told_the_shortest_first() -> None:
    several = Detector(horizons_seconds=(3600, 86_400))
    states = {
        DAY_US: {"all": replace(CALM, stage="warned")},
        HOUR_US: {"all": DetectorState(reference_n=400)},
    }
    (whole,) = stand({"all": (10, 1)}, states, several)
    told = [(each.detector, each.stage, each.ceiling) for each in whole.horizons]
    assert told == [("1h", "calm", None), ("24h", "warned", 0.06)]
    assert whole.horizons[1].evidence_share == pytest.approx(4000 / 3 / 1e6)
    assert whole.horizons[0].said == (
        "By corrections within 1 hour: learns what is usual: 400 of 2,000 matured predictions."
    )
    assert (whole.detector, whole.said) == ("24h", whole.horizons[1].said)


def test_of_many_equal_slices_hardly_one_is_blamed() -> None:
    rng = np.random.default_rng(3)
    blamed = 0
    for _ in range(50):
        k = rng.binomial(500, 0.05, 200).tolist()
        counts = {"all": (100_000, sum(k))} | {f"a={number}": (500, each) for number, each in enumerate(k)}
        blamed += bool(find_worse(counts))
    assert blamed <= 3


@pytest.mark.parametrize("counts", [{}, {"all": (5, 1)}, {"a=1": (5, 5)}])
def test_without_slices_or_a_whole_nothing_is_worse(counts: dict[str, tuple[int, int]]) -> None:
    assert find_worse(counts) == []


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "Not watched."),
        (DetectorState(reference_n=400), "Learns what is usual: 400 of 2,000 matured predictions."),
        (replace(CALM, ceiling=0.97), "Up to 97.0% are usual: a rise could not be told."),
        (CALM, "Calm: 0.1% of the evidence that alarms; up to 6.0% are allowed."),
        (
            replace(CALM, stage="warned", stage_us=1_795_415_400_000_000),
            "Warned since 2026-11-23T06:30:00.000000Z: 0.1% of the evidence that alarms; up to 6.0% are allowed.",
        ),
        (
            replace(CALM, stage="alarmed", stage_us=1_795_415_400_000_000),
            "Alarmed since 2026-11-23T06:30:00.000000Z; calm again when the rate is surely below the 6.0% allowed.",
        ),
    ],
)
def test_a_detector_says_where_it_stands(state: DetectorState | None, said: str) -> None:
    assert describe_detector(state, DETECTOR) == said
