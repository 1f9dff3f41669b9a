"""Real streams: what quality/ computes from them, beside a direct computation; and the same streams shuffled.

The files are public and not part of the project: FiveThirtyEight's forecasts with outcomes (CC BY 4.0), a model's
predictions on MNIST with human-reviewed labels (cleanlab/label-errors, Apache-2.0), translations with post-edits
(MLQE-PE, CC0). DATA names the directory that they lie in.
"""

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quality.audit import Guess, estimate, plan_active
from quality.calibration import calibrate, calibrate_smoothly, estimate_wrong
from quality.evidence import add_counts, no_evidence, restart
from quality.intervals import mean_interval, rate_interval
from quality.outcomes import FeedbackFact
from quality.windows import as_objects, of_outcomes, sum_groups

FILES = ("fivethirtyeight_games.csv.gz", "label_errors_mnist.csv.gz", "mlqe_pe_en-de.csv.gz")


def run_real(directory: Path, seed: int) -> dict[str, Any]:
    """All three files; raises FileNotFoundError where one is not there."""
    games, digits, translations = (_read(directory / name) for name in FILES)
    return {
        "forecasts": _forecasts(games, seed),
        "digits": _digits(digits, seed),
        "translations": _translations(translations),
    }


def _read(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _forecasts(rows: list[dict[str, str]], seed: int) -> dict[str, Any]:
    """Accuracy by league as the windows count it, calibration, and alarms in shuffled copies."""
    rows = [row for row in rows if row["prob1_outcome"] in ("0.0", "1.0")]
    first = np.array([float(row["prob1"]) for row in rows])
    came = np.array([float(row["prob1_outcome"]) for row in rows])
    league = np.array([row["league"] for row in rows])
    # The side that is more likely is the prediction; the favourite of an even game is the first.
    wrong = np.where(first >= 0.5, came == 0.0, came == 1.0)
    leagues = sorted(set(league.tolist()))
    group = np.searchsorted(leagues, league)
    facts = [FeedbackFact("", "edit" if each else "accept", 0, 1_000_000 if each else 0) for each in wrong]
    sums = as_objects(sum_groups(of_outcomes(facts, [1] * len(facts)), group, len(leagues)))
    found = {}
    for name, total in zip(leagues, sums, strict=True):
        n = total.n_edit + total.n_accept
        low, high = rate_interval(n, total.n_accept)
        direct = float(np.mean(~wrong[league == name]))
        found[name] = {
            "n": n,
            "accuracy": round(total.n_accept / n, 4),
            "interval": [round(low, 4), round(high, 4)],
            "direct": round(direct, 4),
            "brier": round(float(np.mean((first[league == name] - came[league == name]) ** 2)), 3),
        }
    confidence = np.maximum(first, 1 - first)
    half = len(rows) // 2
    calibration = calibrate(confidence[:half], wrong[:half])
    estimated = estimate_wrong(calibration, confidence[half:])
    assert estimated is not None
    alarms = 0
    n_copies = 40
    rng = np.random.default_rng([seed, 1])
    for _ in range(n_copies):
        shuffled = rng.permutation(wrong)
        ceiling = float(np.mean(shuffled))
        log_r = no_evidence(1)
        for start in range(0, len(shuffled), 20):
            part = shuffled[start : start + 20]
            log_r = add_counts(log_r, [len(part)], [part.sum()], [ceiling])
            log_r, alarmed = restart(log_r, 1e6)
            alarms += int(alarmed[0])
    return {
        "by_league": found,
        "error_estimated_without_labels": round(estimated, 4),
        "error_of_the_second_half": round(float(np.mean(wrong[half:])), 4),
        "alarms_in_shuffled_copies": alarms,
        "shuffled_events": n_copies * len(wrong),
    }


def _digits(rows: list[dict[str, str]], seed: int) -> dict[str, Any]:
    """The error rate of the model, of which users would tell a part, by audits of 5 %."""
    confidence = np.array([float(row["pred_prob"]) for row in rows])
    wrong = np.array([row["pred_label"] != row["given_label"] for row in rows])
    rng = np.random.default_rng([seed, 2])
    errors, held = [], 0
    n_worlds = 200
    for _ in range(n_worlds):
        answered = rng.random(len(rows)) < np.where(wrong, 0.35, 0.06)
        corrected, accepted = answered & wrong, answered & ~wrong
        # The guess comes from other predictions: here from a random half, labelled before.
        known = ~corrected & (rng.random(len(rows)) < 0.5)
        silent = known & ~accepted
        guess = Guess(
            calibrate_smoothly(confidence[silent], wrong[silent]), 0.5 / ((known & accepted).sum() + 1)
        )
        (asked,) = np.nonzero(~corrected)
        draw = plan_active(confidence[asked], accepted[asked], round(0.05 * len(rows)), guess)
        audited = np.zeros(len(rows), dtype=bool)
        audited[asked[draw.draw(confidence[asked], accepted[asked], rng)]] = True
        found = estimate(
            wrong,
            corrected,
            audited,
            draw.probabilities(confidence, accepted),
            guess.chance_wrong(confidence, accepted),
        )
        assert found.rate is not None
        errors.append(found.rate - float(wrong.mean()))
        held += found.low <= wrong.mean() <= found.high
    return {
        "n": len(rows),
        "error_rate": round(float(wrong.mean()), 5),
        "bias_points": round(100 * float(np.mean(errors)), 4),
        "standard_error_points": round(100 * float(np.std(errors)), 4),
        "interval_held": held / n_worlds,
    }


def _translations(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Edit share and mean distance as the windows sum them, beside the file's own columns."""
    distance: npt.NDArray[np.float64] = np.array([float(row["hter"]) for row in rows])
    edited = np.array([row["pe"] != row["mt"] for row in rows])
    ppm = np.round(1e6 * np.minimum(distance, 1)).astype(int)
    facts = [
        FeedbackFact("", "edit" if each else "accept", 0, int(far))
        for each, far in zip(edited, np.where(edited, ppm, 0), strict=True)
    ]
    (total,) = as_objects(sum_groups(of_outcomes(facts, [1] * len(facts)), [0] * len(facts), 1))
    n = total.n_distance
    bounds = mean_interval(n, total.distance_ppm / 1e6, total.distance_ppm_squares / 1e6)
    assert bounds is not None
    return {
        "n": n,
        "edit_share": round(total.n_edit / n, 6),
        "edit_share_direct": round(float(edited.mean()), 6),
        "mean_distance": round(total.distance_ppm / 1e6 / n, 6),
        "mean_distance_direct": round(float(np.where(edited, np.minimum(distance, 1), 0).mean()), 6),
        "interval": [round(bound, 5) for bound in bounds],
    }
