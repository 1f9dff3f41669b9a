"""Intervals, fresh rates, audits and the residual, on simulated predictions whose truth is known."""

from typing import Any

import numpy as np
import numpy.typing as npt

from quality.audit import AuditDraw, Guess, estimate, plan_active, plan_uniform, scores
from quality.calibration import calibrate, calibrate_smoothly, estimate_wrong
from quality.evidence import add_counts, add_scores, bets_for, no_evidence, restart
from quality.intervals import rate_intervals
from quality.maturity import fresh_rate, learn_delays
from quality.windows import HOUR_US, WEEK_US


def run_intervals(seed: int, n_streams: int, n_events: int) -> dict[str, Any]:
    """How many streams have their interval miss the truth at any of 400 looks, and how wide it is beside Wilson's."""
    found = {}
    looks = np.unique(np.geomspace(100, n_events, 400).astype(np.int64))
    for number, rate in enumerate((0.01, 0.05, 0.2, 0.4)):
        rng = np.random.default_rng([seed, number])
        missed, missed_wilson, ratios = 0, 0, []
        for _ in range(n_streams):
            k = np.cumsum(rng.binomial(np.diff(looks, prepend=0), rate))
            low, high = rate_intervals(looks, k)
            wilson_low, wilson_high = _wilson(looks, k)
            missed += bool(((low > rate) | (high < rate)).any())
            missed_wilson += bool(((wilson_low > rate) | (wilson_high < rate)).any())
            ratios.append((high - low) / (wilson_high - wilson_low))
        found[f"{rate:.0%}"] = {
            "ever_missed": round(missed / n_streams, 4),
            "wilson_ever_missed": round(missed_wilson / n_streams, 4),
            "width_beside_wilson": round(float(np.max(np.mean(ratios, axis=0))), 2),
        }
    return found


def _wilson(
    n: npt.NDArray[np.int64], k: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    z, share = 1.959964, k / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def draw_delays(rng: np.random.Generator, n: int) -> npt.NDArray[np.int64]:
    """Half of the corrections within some ten minutes, a third within hours, the rest after days."""
    kind = rng.choice(3, n, p=[0.5, 0.35, 0.15])
    seconds = rng.exponential(np.array([600.0, 8 * 3600.0, 2.5 * 86_400.0])[kind])
    return (1_000_000 * seconds).astype(np.int64)


def run_fresh(seed: int, n: int) -> dict[str, Any]:
    """The bias, in percentage points, of the rate of the last hours by each way of computing it."""
    rng = np.random.default_rng([seed, 600])
    delays = learn_delays(draw_delays(rng, 50_000), WEEK_US)
    assert delays is not None
    found = {}
    for hours in (6, 24, 72):
        ages = rng.integers(0, hours * HOUR_US, n)
        corrected = rng.random(n) < 0.05
        # A fifth of those who are content say so, later than others complain.
        content = ~corrected & (rng.random(n) < 0.2)
        came = draw_delays(rng, n) <= ages
        n_edits, n_accepts = int((corrected & came).sum()), int((content & came).sum())
        rate = fresh_rate(n_edits, ages, delays).rate
        assert rate is not None
        found[f"{hours} h"] = {
            "fresh_rate": round(100 * (rate - 0.05), 3),
            "edits_of_feedback": round(100 * (n_edits / (n_edits + n_accepts) - 0.05), 2),
            "edits_of_predictions": round(100 * (n_edits / n - 0.05), 2),
        }
    return found


def run_late_labels(seed: int, n_streams: int) -> dict[str, float]:
    """Hours until a drift from 5 to 8 % at 2,000 predictions an hour is seen, by the age at which outcomes are read."""
    found = {}
    per_hour, before_hours, after_hours = 2000, 200, 200
    for hours in (0.25, 1.0, 6.0, 24.0):
        rng = np.random.default_rng([seed, 700])
        share = float(np.mean(draw_delays(rng, 200_000) <= hours * HOUR_US))
        log_r = no_evidence(n_streams)
        seen = np.full(n_streams, np.inf)
        step = per_hour // 20
        for number in range(20 * (before_hours + after_hours)):
            rate = (0.05 if number < 20 * before_hours else 0.08) * share
            log_r = add_counts(
                log_r,
                np.full(n_streams, step),
                rng.binomial(step, rate, n_streams),
                np.full(n_streams, 0.05 * share),
            )
            log_r, alarmed = restart(log_r, 1e6)
            if number >= 20 * before_hours:
                seen = np.where(alarmed & np.isinf(seen), (number + 1) / 20 - before_hours + hours, seen)
                if not np.isinf(seen).any():
                    break
        found[f"read after {hours:g} h"] = round(float(np.median(seen)), 2)
    return found


#: Labels from before that a guess is learnt from.
_LABELS_BEFORE = (1000, 20_000)


def run_audits(seed: int, n_worlds: int) -> dict[str, Any]:
    """Error rates from labels of 2 % of all predictions: bias, effective labels and interval of each way to draw them.

    Only corrections are believed: what users accepted is audited too. Every label is counted. Intervals take most of
    the time, and are made in every fifth world.
    """
    rng = np.random.default_rng([seed, 800])
    n, share = 20_000, 0.02
    errors: dict[str, list[float]] = {"edit rate": [], "answers": []}
    names = ("uniform", "uniform with a guess", *(f"active, guess from {n:,} labels" for n in _LABELS_BEFORE))
    ways: dict[str, dict[str, list[float]]] = {
        way: {"error": [], "variance": [], "labels": [], "missed": [], "width": []} for way in names
    }
    truths = []
    for number in range(n_worlds):
        confidence, wrong, answered = _world(rng, n)
        corrected, accepted = answered & wrong, answered & ~wrong
        (asked,) = np.nonzero(~corrected)
        columns = confidence[asked], accepted[asked]
        wanted = round(share * n)
        true = float(wrong.mean())
        truths.append(true)
        errors["edit rate"].append(float(corrected.mean()) - true)
        errors["answers"].append(float(wrong[answered].mean()) - true)
        few, many = (_learn(rng, n_labels) for n_labels in _LABELS_BEFORE)
        uniform = plan_uniform(len(asked), wanted)
        plans: list[tuple[AuditDraw, Guess | None]] = [
            (uniform, None),
            (uniform, many),
            *((plan_active(*columns, wanted, guess), guess) for guess in (few, many)),
        ]
        for told, (draw, guess) in zip(ways.values(), plans, strict=True):
            audited = np.zeros(n, dtype=bool)
            audited[asked[draw.draw(*columns, rng)]] = True
            guessed = np.zeros(n) if guess is None else guess.chance_wrong(confidence, accepted)
            probability = draw.probabilities(confidence, accepted)
            found_rate = scores(wrong, corrected, audited, probability, guessed).mean()
            told["error"].append(float(found_rate) - true)
            residual = wrong - guessed
            told["variance"].append(_variance(draw, draw.places(*columns), residual[asked]) / n**2)
            told["labels"].append(int(audited.sum()))
            if number % 5:
                continue
            found = estimate(wrong, corrected, audited, probability, guessed)
            told["missed"].append(not found.low <= true <= found.high)
            told["width"].append(found.high - found.low)
    true = float(np.mean(truths))
    bias = {name: np.mean(each) for name, each in errors.items()}
    bias |= {way: np.mean(told["error"]) for way, told in ways.items()}
    return {
        "bias_points": {name: round(100 * float(each), 3) for name, each in bias.items()},
        "worlds": n_worlds,
        "ways": {
            way: {
                **{
                    name: round(true * (1 - true) / float(np.mean(told["labels"])) / float(np.mean(each)), 2)
                    for name, each in (
                        ("effective_labels", told["variance"]),
                        ("effective_labels_simulated", np.square(told["error"])),
                    )
                },
                "interval_missed": round(float(np.mean(told["missed"])), 3),
                "interval_width_points": round(100 * float(np.median(told["width"])), 2),
            }
            for way, told in ways.items()
        },
    }


def _variance(draw: AuditDraw, places: npt.NDArray[np.int64], residual: npt.NDArray[np.float64]) -> float:
    """The variance of the sum that is estimated: of a stratified sample it is known exactly (Cochran 1977)."""
    total = 0.0
    for stratum, (size, drawn) in enumerate(zip(draw.sizes, draw.drawn, strict=True)):
        if size > 1:
            total += size * (size - drawn) * float(residual[places == stratum].var(ddof=1)) / drawn
    return total


def _learn(rng: np.random.Generator, n_labels: int) -> Guess:
    """What so many labels of predictions that nobody corrected teach."""
    confidence, wrong, answered = _world(rng, 2 * n_labels)
    (known,) = np.nonzero(~(answered & wrong))
    known = known[:n_labels]
    silent, accepted = known[~answered[known]], known[answered[known]]
    return Guess(
        calibrate_smoothly(confidence[silent], wrong[silent]),
        (wrong[accepted].sum() + 0.5) / (len(accepted) + 1),
    )


def _world(rng: np.random.Generator, n: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Confidences, which outputs are wrong, and who answers: a third of the wrong ones, few of the right ones."""
    confidence = rng.beta(8, 1, n)
    chance = (1 - confidence) * 0.0476 / np.mean(1 - confidence)
    wrong = rng.random(n) < np.clip(chance, 0, 1)
    return confidence, wrong, rng.random(n) < np.where(wrong, 0.35, 0.06)


def run_residuals(seed: int, n_streams: int) -> dict[str, Any]:
    """Whether inputs that got harder, and a model that got worse, raise the rate, the residual and the estimate."""
    found: dict[str, Any] = {}
    n, change_at, step = 40_000, 20_000, 20
    for name, harder, worse in (
        ("nothing", 0.0, 1.0),
        ("harder inputs", 0.06, 1.0),
        ("worse model", 0.0, 1.9),
    ):
        alarms: dict[str, list[float]] = {"rate": [], "residual": []}
        estimates, truths = [], []
        for number in range(n_streams):
            rng = np.random.default_rng([seed, 900, number])
            reference = np.clip(rng.beta(16, 1, 20_000), 0.3, 1)
            calibration = calibrate(reference, rng.random(len(reference)) < 0.8 * (1 - reference))
            confidence = np.clip(rng.beta(16, 1, n), 0.3, 1)
            after = np.arange(n) >= change_at
            confidence = np.where(after, np.maximum(confidence - harder, 0.3), confidence)
            wrong = rng.random(n) < 0.8 * (1 - confidence) * np.where(after, worse, 1.0)
            guess = calibration.chance_wrong(confidence)
            rate = float((0.8 * (1 - reference)).mean())
            # Slack for what the calibration does not know: the residual may be this far from 0 without a drift.
            slack = 0.1 * rate
            alarms["rate"].append(_first_alarm_of_counts(wrong, rate, change_at, step))
            alarms["residual"].append(_first_alarm_of_scores(wrong - guess, slack, change_at, step))
            estimated = estimate_wrong(calibration, confidence[after])
            assert estimated is not None
            estimates.append(estimated)
            truths.append(wrong[after].mean())
        found[name] = {
            each: {
                "alarmed": float(np.mean(np.isfinite(delays))),
                "delay_events": float(np.median(delays)) if np.isfinite(np.median(delays)) else None,
            }
            for each, delays in alarms.items()
        }
        found[name]["estimate_without_labels_points"] = round(
            100 * float(np.mean(estimates) - np.mean(truths)), 2
        )
    return found


def _first_alarm_of_counts(wrong: npt.NDArray[Any], rate: float, change_at: int, step: int) -> float:
    log_r = no_evidence(1)
    for start in range(0, len(wrong), step):
        log_r = add_counts(log_r, [step], [wrong[start : start + step].sum()], [rate * 1.1])
        log_r, alarmed = restart(log_r, 1e6)
        if alarmed[0] and start >= change_at:
            return float(start + step - change_at)
    return np.inf


def _first_alarm_of_scores(residual: npt.NDArray[Any], slack: float, change_at: int, step: int) -> float:
    log_r, bets = no_evidence(1), bets_for(-1.0, [slack], shares=(0.2, 0.6, 0.95))
    places = np.zeros(step, dtype=np.int64)
    for start in range(0, len(residual), step):
        log_r = add_scores(log_r, places, residual[start : start + step], [slack], bets)
        log_r, alarmed = restart(log_r, 1e6)
        if alarmed[0] and start >= change_at:
            return float(start + step - change_at)
    return np.inf
