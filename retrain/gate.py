"""Decides whether a candidate is released: better on what is new, and not worse on what was known.

- Better: on examples from after the change it is wrong less often (McNemar's test, exact), or, where answers
  are graded, nearer to the label; and drawing whole groups anew does not undo that.
- Not worse: on examples from before the change the highest plausible loss is tolerated (bootstrap of groups).
- As required: it fails no requirement that the champion does not fail.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from errata.settings import Gate, Task
from quality.comparison import mcnemar, mean_difference_interval, non_inferiority
from quality.distances import PPM
from quality.requirements import Judgement

#: Tasks whose answers are hardly ever equal to the label: a smaller distance is better there.
GRADED: Final = ("text", "translation", "set", "boxes")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision with its reason in a sentence and the figures behind it."""

    promote: bool
    reason: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Distances of both versions from the labels of the same examples, and the group of each example."""

    champion_ppm: npt.NDArray[np.int64]
    candidate_ppm: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.groups)


@dataclass(frozen=True, slots=True)
class Held:
    """A requirement, and what the frozen examples say of both versions about it, each in a sentence."""

    requirement: str
    champion: Judgement
    champion_said: str
    candidate: Judgement
    candidate_said: str

    @property
    def is_lost(self) -> bool:
        """Whether the candidate fails what the champion does not fail."""
        return self.candidate == "fail" and self.champion != "fail"


@dataclass(frozen=True, slots=True)
class _Finding:
    shown: bool
    sentence: str
    figures: dict[str, Any]


def judge(
    before: Pairs,
    after: Pairs,
    task: Task,
    gate: Gate,
    *,
    held: Sequence[Held] = (),
    champion: str,
    candidate: str,
    seed: int,
) -> Verdict:
    """Judge a candidate on examples from before and after the change; the same input gives the same verdict.

    A champion that fails a requirement itself may be replaced by a candidate that fails it too: who is better is
    better, and the service would not be helped by keeping the worse one.
    """
    n = len(before) + len(after)
    if n < gate.minimum_examples:
        return _keep(
            champion, f"{n} frozen examples are too few; a verdict needs {gate.minimum_examples}", {"n": n}
        )
    if not len(before):
        return _keep(
            champion, f"no example from before the change shows what {candidate} has forgotten", {"n": n}
        )
    # A run without a batch of its own has no change: all its examples must show both.
    deciding, origin = (after, "from after the change") if len(after) else (before, "that were there before")
    better = (_is_nearer if is_graded(task) else _is_right_more_often)(deciding, gate, seed)
    harmless = _is_not_worse(before, task, gate, seed)
    lost = [each for each in held if each.is_lost]
    evidence = {
        "after": better.figures,
        "before": harmless.figures,
        "requirements": [asdict(each) for each in held],
    }
    said = f"on {len(deciding)} examples {origin} {{}} {better.sentence}; {harmless.sentence}"
    if lost:
        fails = "; ".join(each.candidate_said.rstrip(".") for each in lost)
        return _keep(
            champion,
            f"{candidate} fails what {champion} does not fail ({fails}); {said.format('it')}",
            evidence,
        )
    if better.shown and harmless.shown:
        return Verdict(True, f"Promote {candidate}: {said.format('it')}.", evidence)
    return _keep(champion, said.format(candidate), evidence)


def is_graded(task: Task) -> bool:
    """Whether answers are more or less good rather than right or wrong."""
    return task.kind in GRADED


def _keep(champion: str, why: str, evidence: dict[str, Any]) -> Verdict:
    return Verdict(False, f"Keep {champion}: {why}.", evidence)


def _is_right_more_often(pairs: Pairs, gate: Gate, seed: int) -> _Finding:
    champion, candidate = pairs.champion_ppm > 0, pairs.candidate_ppm > 0
    test = mcnemar(champion, candidate)
    difference, low, high = mean_difference_interval(
        champion.astype(np.float64),
        candidate.astype(np.float64),
        pairs.groups,
        alpha=2 * gate.alpha,
        seed=seed,
    )
    shown = test.p_value < gate.alpha and high < 0
    doubt = "" if shown else ", which may be chance"
    return _Finding(
        shown,
        f"is wrong on {candidate.sum()} instead of {champion.sum()} "
        f"(fixes {test.fixed}, breaks {test.broken}, {_say_p(test.p_value)}){doubt}",
        {
            "n": test.n,
            "champion_wrong": int(champion.sum()),
            "candidate_wrong": int(candidate.sum()),
            "fixed": test.fixed,
            "broken": test.broken,
            "p_value": test.p_value,
            "difference": difference,
            "low": low,
            "high": high,
            "groups": len(np.unique(pairs.groups)),
        },
    )


def _is_nearer(pairs: Pairs, gate: Gate, seed: int) -> _Finding:
    champion, candidate = pairs.champion_ppm / PPM, pairs.candidate_ppm / PPM
    difference, low, high = mean_difference_interval(
        champion, candidate, pairs.groups, alpha=2 * gate.alpha, seed=seed
    )
    shown = high < 0
    doubt = "" if shown else ", which may be chance"
    return _Finding(
        shown,
        f"is off by {_percent(candidate.mean())} instead of {_percent(champion.mean())} "
        f"(difference {_points(difference)}, at most {_points(high)}){doubt}",
        {
            "n": len(pairs),
            "champion_distance": float(champion.mean()),
            "candidate_distance": float(candidate.mean()),
            "difference": difference,
            "low": low,
            "high": high,
            "groups": len(np.unique(pairs.groups)),
        },
    )


def _is_not_worse(pairs: Pairs, task: Task, gate: Gate, seed: int) -> _Finding:
    graded = is_graded(task)
    champion = pairs.champion_ppm / PPM if graded else (pairs.champion_ppm > 0).astype(np.float64)
    candidate = pairs.candidate_ppm / PPM if graded else (pairs.candidate_ppm > 0).astype(np.float64)
    bound = non_inferiority(
        champion, candidate, pairs.groups, tolerated_loss=gate.tolerated_loss, alpha=gate.alpha, seed=seed
    )
    verb = "off by" if graded else "wrong on"
    tolerated = f"the tolerated {100 * gate.tolerated_loss:.1f} points"
    if bound.shown:
        judgement = f"within {tolerated}"
    elif bound.refuted:
        judgement = f"more than {tolerated}"
    else:
        judgement = f"and {_points(bound.high)} are plausible, more than {tolerated}"
    return _Finding(
        bound.shown,
        f"on {len(pairs)} from before it is {verb} {_percent(candidate.mean())} instead of "
        f"{_percent(champion.mean())}, {judgement}",
        {
            "n": len(pairs),
            "champion": float(champion.mean()),
            "candidate": float(candidate.mean()),
            "loss": bound.loss,
            "low": bound.low,
            "high": bound.high,
            "tolerated": gate.tolerated_loss,
            "groups": len(np.unique(pairs.groups)),
        },
    )


def _say_p(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"
