"""How much a prediction would teach if it were labelled: a score in 0..1 and the sentences that explain it.

score = 0.45 corrected + 0.30 uncertain + 0.15 slice + 0.10 complaint, each term in 0..1. Entropy is left
out on purpose: with a weak model it chooses worse than chance. Distance from what is labelled has its own
share of a batch (labeling/mining.py), because as a term of the sum it hurts.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from errata.events import encode_json
from storage.records import Prediction

CORRECTED_WEIGHT: Final = 0.45
UNCERTAIN_WEIGHT: Final = 0.30
SLICE_WEIGHT: Final = 0.15
COMPLAINT_WEIGHT: Final = 0.10

#: Below this trust a correction is taken for noise; the prediction may still be chosen for its uncertainty.
TRUSTED: Final = 0.4
#: What nobody vouches for still keeps a quarter of its weight.
LEAST_TRUST: Final = 0.25
#: A user may give this share of all corrections, or this many, before each counts for less.
LOUD_SHARE: Final = 0.05
LOUD_CORRECTIONS: Final = 5
#: A slice is named as a reason when it is corrected this many times as often as all.
NOTABLE: Final = 1.2
#: From here on a model is said to be sure.
SURE: Final = 0.9
#: Corrections of the average user that are added to each user's own, so that few of them prove little.
USER_PRIOR: Final = 4.0
#: Corrections and predictions that are added to each slice, so that a small one proves little.
SLICE_PRIOR_CORRECTIONS: Final = 2.0
SLICE_PRIOR_PREDICTIONS: Final = 200.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Hardness:
    """The terms of the scores of some predictions, one row each, in their order."""

    predictions: Sequence[Prediction]
    #: Whether a user edited or rejected it.
    corrected: npt.NDArray[np.bool_]
    #: How far the correction is believed, LEAST_TRUST to 1; 0 where there is none.
    trust: Floats
    #: 1 minus the confidence; a half where the service reported none.
    uncertainty: Floats
    #: Correction rate of the worst slice it is in, relative to the worst of all.
    slice_share: Floats
    complained: npt.NDArray[np.bool_]
    #: The worst slice of each, by place in `slices`; -1 where it has no tag.
    worst_slice: npt.NDArray[np.int64]
    #: Name, predictions and corrections of each slice.
    slices: Sequence[tuple[str, int, int]]

    @property
    def corrected_term(self) -> Floats:
        """A trusted correction counts more the surer the model was."""
        term: Floats = self.corrected * (0.5 + 0.5 * (1.0 - self.uncertainty)) * self.trust
        return term

    @property
    def scores(self) -> Floats:
        """What each would teach, 0 to 1."""
        scores: Floats = (
            CORRECTED_WEIGHT * self.corrected_term
            + UNCERTAIN_WEIGHT * self.uncertainty
            + SLICE_WEIGHT * self.slice_share
            + COMPLAINT_WEIGHT * self.complained
        )
        return scores

    def explain(self, place: int) -> list[str]:
        """Say in a sentence each why the prediction at `place` is hard; the weightiest reason comes first."""
        prediction = self.predictions[place]
        sure = prediction.confidence
        reasons = []
        if self.corrected[place]:
            verb = "edited" if prediction.action == "edit" else "rejected"
            though = f" although the model was {sure:.0%} sure" if sure is not None and sure >= SURE else ""
            doubt = "" if self.trust[place] >= TRUSTED else ", but there are reasons to doubt the correction"
            reasons.append(
                (self.corrected_term[place] * CORRECTED_WEIGHT, f"A user {verb} it{though}{doubt}.")
            )
        if sure is not None and sure < SURE:
            reasons.append(
                (UNCERTAIN_WEIGHT * self.uncertainty[place], f"The model was only {sure:.0%} sure.")
            )
        if self.complained[place]:
            reasons.append((COMPLAINT_WEIGHT, "A customer complained about it."))
        if self.worst_slice[place] >= 0:
            name, n, k = self.slices[self.worst_slice[place]]
            if k / n >= NOTABLE * self.corrected.mean() > 0:
                sentence = f"Users corrected {k / n:.1%} of the {n} predictions with {name}."
                reasons.append((SLICE_WEIGHT * self.slice_share[place], sentence))
        reasons.sort(key=lambda reason: -reason[0])
        return [sentence for _, sentence in reasons] or ["Nothing harder was left."]


def judge_hardness(predictions: Sequence[Prediction], *, complaints: Collection[str] = ()) -> Hardness:
    """Judge predictions of one version together: slices and users are compared within them.

    `complaints` holds the ids of predictions that a customer complained about.
    """
    corrected = np.array([p.action in ("edit", "reject") for p in predictions], dtype=bool)
    confidence = np.array(
        [0.5 if p.confidence is None else p.confidence for p in predictions], dtype=np.float64
    )
    share, worst, slices = _judge_slices(predictions, corrected)
    return Hardness(
        predictions=predictions,
        corrected=corrected,
        trust=judge_trust(predictions),
        uncertainty=1.0 - np.clip(confidence, 0.0, 1.0),
        slice_share=share,
        complained=np.array([p.id in complaints for p in predictions], dtype=bool),
        worst_slice=worst,
        slices=slices,
    )


def judge_trust(predictions: Sequence[Prediction]) -> Floats:
    """How far each correction is believed: LEAST_TRUST to 1, and 0 where there is none.

    A first honest form, from what the corrections themselves show; three things lower it:
    - conflict: two users corrected the same input to different values;
    - loudness: its user gave more than LOUD_SHARE of all corrections, and more than LOUD_CORRECTIONS;
    - contrariness: its user mainly corrects what the model was sure of, far more than the others do.
    Corrections without a known user are judged by conflict alone. Whether others corrected alike inputs alike
    is not looked at yet.
    """
    trust = np.zeros(len(predictions))
    places = [place for place, p in enumerate(predictions) if p.action in ("edit", "reject")]
    sure = {place: (predictions[place].confidence or 0.0) >= SURE for place in places}
    by_user = Counter(predictions[place].who_id for place in places)
    sure_by_user = Counter(predictions[place].who_id for place in places if sure[place])
    sure_share = sum(sure.values()) / max(1, len(places))
    allowed = max(float(LOUD_CORRECTIONS), LOUD_SHARE * len(places))
    conflicts = _find_conflicts([predictions[place] for place in places])
    for place in places:
        prediction = predictions[place]
        belief = 0.0 if prediction.id in conflicts else 1.0
        if prediction.who_id is not None:
            n = by_user[prediction.who_id]
            own = (sure_by_user[prediction.who_id] + USER_PRIOR * sure_share) / (n + USER_PRIOR)
            belief *= min(1.0, allowed / n) * (min(1.0, sure_share / own) if own else 1.0)
        trust[place] = LEAST_TRUST + (1.0 - LEAST_TRUST) * belief
    return trust


def _find_conflicts(corrections: Sequence[Prediction]) -> set[str]:
    """Ids of corrections whose input another user corrected to another value."""
    edits: defaultdict[bytes, defaultdict[bytes, list[Prediction]]] = defaultdict(lambda: defaultdict(list))
    for prediction in corrections:
        if prediction.input is not None and prediction.action == "edit":
            edits[encode_json(prediction.input)][encode_json(prediction.corrected)].append(prediction)
    conflicts = set()
    for by_value in edits.values():
        for value, same in by_value.items():
            others = {p.who_id for other, alike in by_value.items() if other != value for p in alike}
            conflicts |= {p.id for p in same if others - {p.who_id}}
    return conflicts


def _judge_slices(
    predictions: Sequence[Prediction], corrected: npt.NDArray[np.bool_]
) -> tuple[Floats, npt.NDArray[np.int64], list[tuple[str, int, int]]]:
    """Share, worst slice and slices as in Hardness."""
    codes: dict[tuple[str, str], int] = {}
    rows: list[int] = []
    columns: list[int] = []
    for place, prediction in enumerate(predictions):
        for tag in prediction.tags.items():
            rows.append(place)
            columns.append(codes.setdefault(tag, len(codes)))
    share = np.zeros(len(predictions))
    worst = np.full(len(predictions), -1, dtype=np.int64)
    if not codes:
        return share, worst, []
    row, column = np.array(rows), np.array(columns)
    n = np.bincount(column, minlength=len(codes))
    k = np.bincount(column, weights=corrected[row], minlength=len(codes)).astype(np.int64)
    rate = (k + SLICE_PRIOR_CORRECTIONS) / (n + SLICE_PRIOR_PREDICTIONS)
    # The last write wins, so each row ends with its highest rate.
    order = np.argsort(rate[column], kind="stable")
    worst[row[order]] = column[order]
    share[worst >= 0] = rate[worst[worst >= 0]] / rate.max()
    names = [f"{tag}={value}" for tag, value in codes]
    return share, worst, list(zip(names, n.tolist(), k.tolist(), strict=True))
