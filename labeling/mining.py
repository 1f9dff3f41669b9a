"""Composes a labeling batch: random shares for honest numbers, and the hardest to learn from.

    all predictions
      ├─ audit             of those not corrected, with known probabilities, before anything else: numbers without bias
      ├─ held-out groups
      │    └─ evaluation   uniform: judges the next version
      └─ training groups
           ├─ corrected, uncertain   by score, without near-duplicates, capped per group
           └─ diverse                farthest from all that is labelled or chosen

A group (a subject; else the prediction itself) is on one side of the split for ever, so nobody's data both
trains and judges. A group that is held out is never mined.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from errata.events import encode_json
from errata.settings import Mining
from labeling.hardness import TRUSTED, Hardness, judge_hardness
from quality.audit import AuditDraw, Guess, plan_active, plan_uniform
from storage.records import BatchItem, Part, Prediction, Role

#: Two inputs whose centred features have a larger cosine teach the same lesson.
NEAR_DUPLICATE_COSINE: Final = 0.98
#: Of a batch one group gets at most this share of hard examples, and so do the corrections of one user.
GROUP_SHARE: Final = 0.02
LEAST_PER_GROUP: Final = 2
#: What is farther away than this share of all others is an accident rather than a lesson.
FARTHEST_QUANTILE: Final = 0.99
#: Predictions among which the diverse ones are looked for.
DIVERSE_POOL: Final = 20_000

Vectors = npt.NDArray[np.float64]


def role_of(group: str, evaluation_groups_percent: int, model: str) -> Role:
    """The side of the split on which `group` is: decided by a hash, so the same everywhere and for ever."""
    digest = hashlib.sha256(f"{model}\0{group}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return "evaluation" if share < evaluation_groups_percent / 100 else "training"


def group_of(prediction: Prediction) -> str:
    """Whose data a prediction is; without a subject it is a group of its own."""
    return prediction.subject or prediction.id


def compose_batch(
    predictions: Sequence[Prediction],
    mining: Mining,
    *,
    model: str,
    seed: int,
    already: Collection[str] = (),
    complaints: Collection[str] = (),
    roles: Mapping[str, Role] | None = None,
    draw: AuditDraw | None = None,
) -> list[BatchItem]:
    """Choose up to `mining.quantity` of `predictions`, all of one version; the same seed chooses the same.

    Predictions in `already` (ordered before) and those without an input are neither chosen nor counted among
    the predictions that a random share stands for. `complaints` are ids of predictions with a complaint,
    `roles` the sides of groups that have one already. Audits follow `draw` (`plan_audits`), or are uniform without one;
    one that nobody has corrected is drawn, since a correction says already what an audit would.
    """
    rng = np.random.default_rng(seed)
    pool = list_eligible(predictions, already)
    if not pool:
        return []
    held_out = np.array([_role(p, mining, model, roles or {}) == "evaluation" for p in pool], dtype=bool)
    everywhere = np.arange(len(pool))

    draw = draw or plan_audits(predictions, mining, None, already)
    open_to_audits = _open_to_audits(pool)
    asked = [pool[place] for place in open_to_audits]
    columns = _confidences(asked), _accepted(asked)
    drawn = draw.draw(*columns, rng)
    audit, probabilities = open_to_audits[drawn], draw.probabilities(*columns)[drawn]
    frame = np.setdiff1d(everywhere[held_out], audit)
    evaluation = _draw(frame, _count(mining.evaluation_share, mining.quantity), rng)
    items = [
        *_audit_items(pool, audit, probabilities),
        *_evaluation_items(pool, evaluation, len(frame)),
    ]

    rest = np.setdiff1d(everywhere[~held_out], audit)
    hardness = judge_hardness(pool, complaints=complaints)
    vectors = _unit_vectors([*pool, *(p for p in predictions if p.id in already)])
    chosen = np.concatenate([audit, evaluation])
    diverse_wanted = _count(mining.diverse_share, mining.quantity) if vectors is not None else 0
    hard_wanted = mining.quantity - len(items) - diverse_wanted
    # What judges has no near-duplicate among what trains.
    hard = _take_hard(hardness, rest, hard_wanted, vectors, chosen, mining.quantity)
    items += [_hard_item(hardness, place) for place in hard]
    if vectors is not None:
        known = np.concatenate([chosen, np.array(hard, dtype=np.int64), np.arange(len(pool), len(vectors))])
        far = _take_far(vectors, np.setdiff1d(rest, hard), known, diverse_wanted, rng)
        items += [
            _item(
                pool[place], "diverse", ["It is far from everything labelled so far."], hardness.scores[place]
            )
            for place in far
        ]
    return items


def list_eligible(predictions: Sequence[Prediction], already: Collection[str]) -> list[Prediction]:
    """The predictions that a batch may be drawn from."""
    return [p for p in predictions if p.id not in already and _has_input(p)]


def plan_audits(
    predictions: Sequence[Prediction],
    mining: Mining,
    guess: Guess | None,
    already: Collection[str] = (),
) -> AuditDraw:
    """How the audits of a batch are drawn from what nobody has corrected yet."""
    pool = list_eligible(predictions, already)
    asked = [pool[place] for place in _open_to_audits(pool)]
    wanted = min(_count(mining.audit_share, mining.quantity), len(asked))
    if mining.audit_draw == "uniform":
        return plan_uniform(len(asked), wanted)
    return plan_active(_confidences(asked), _accepted(asked), wanted, guess)


def _open_to_audits(pool: Sequence[Prediction]) -> npt.NDArray[np.int64]:
    return np.array(
        [place for place, each in enumerate(pool) if each.action not in ("edit", "reject")], dtype=np.int64
    )


def _confidences(predictions: Sequence[Prediction]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if p.confidence is None else p.confidence for p in predictions], dtype=np.float64)


def _accepted(predictions: Sequence[Prediction]) -> npt.NDArray[np.bool_]:
    return np.array([p.action == "accept" for p in predictions], dtype=bool)


def _role(prediction: Prediction, mining: Mining, model: str, roles: Mapping[str, Role]) -> Role:
    group = group_of(prediction)
    return roles.get(group) or role_of(group, mining.evaluation_groups_percent, model)


def _has_input(prediction: Prediction) -> bool:
    return prediction.input is not None or prediction.input_uri is not None


def _count(share: float, quantity: int) -> int:
    return round(share * quantity)


def _draw(places: npt.NDArray[np.int64], wanted: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """`wanted` of `places`, or all where there are fewer, uniformly and in order."""
    return np.sort(rng.choice(places, size=min(wanted, len(places)), replace=False))


def _audit_items(
    pool: Sequence[Prediction], places: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
) -> list[BatchItem]:
    return [
        _item(
            pool[place],
            "audit",
            [f"Drawn at random, with a probability of {probability:.2%}, for numbers without bias."],
            0.0,
            probability,
        )
        for place, probability in zip(places, probabilities.tolist(), strict=True)
    ]


def _evaluation_items(
    pool: Sequence[Prediction], places: npt.NDArray[np.int64], frame: int
) -> list[BatchItem]:
    inclusion = len(places) / frame if frame else None
    reason = f"Drawn at random from {frame} predictions of held-out groups, to judge versions."
    return [_item(pool[place], "evaluation", [reason], 0.0, inclusion) for place in places]


def _hard_item(hardness: Hardness, place: int) -> BatchItem:
    is_corrected = hardness.corrected[place] and hardness.trust[place] >= TRUSTED
    part: Part = "corrected" if is_corrected else "uncertain"
    return _item(hardness.predictions[place], part, hardness.explain(place), hardness.scores[place])


def _item(
    prediction: Prediction, part: Part, reasons: list[str], score: float, inclusion: float | None = None
) -> BatchItem:
    return BatchItem(
        prediction_id=prediction.id,
        part=part,
        reasons=reasons,
        score=float(score),
        inclusion=inclusion,
        group=group_of(prediction),
    )


def _take_hard(
    hardness: Hardness,
    places: npt.NDArray[np.int64],
    wanted: int,
    vectors: Vectors | None,
    chosen: npt.NDArray[np.int64],
    quantity: int,
) -> list[int]:
    """The `wanted` highest scores among `places`, without near-duplicates of each other or of `chosen`.

    No group and no user has more than its share, unless the others do not fill the batch.
    """
    pool = hardness.predictions
    cap = max(LEAST_PER_GROUP, int(GROUP_SHARE * quantity))
    per_group: Counter[str] = Counter()
    per_user: Counter[str] = Counter()
    inputs = {_input_key(pool[place]) for place in chosen}
    kept = _KeptVectors(vectors, chosen, wanted)
    taken: list[int] = []
    # Equal scores keep the order of the pool.
    left: list[int] = places[np.argsort(-hardness.scores[places], kind="stable")].tolist()
    while left and len(taken) < wanted:
        capped = []
        for place in left:
            if len(taken) >= wanted:
                break
            prediction = pool[place]
            group, key = group_of(prediction), _input_key(prediction)
            user = prediction.who_id if hardness.corrected[place] else None
            if per_group[group] >= cap or (user is not None and per_user[user] >= cap):
                capped.append(place)
            elif key not in inputs and not kept.has_near(place):
                taken.append(place)
                per_group[group] += 1
                if user is not None:
                    per_user[user] += 1
                inputs.add(key)
                kept.add(place)
        left, cap = capped, 2 * cap
    return taken


def _take_far(
    vectors: Vectors,
    places: npt.NDArray[np.int64],
    known: npt.NDArray[np.int64],
    wanted: int,
    rng: np.random.Generator,
) -> list[int]:
    """Farthest-first traversal from `known` (Gonzalez 1985), leaving out what is farther than nearly all."""
    if wanted <= 0 or not len(places) or not len(known):
        return []
    places = _draw(places, DIVERSE_POOL, rng)
    distance = np.full(len(places), np.inf)
    for start in range(0, len(known), 1024):
        cosine = vectors[places] @ vectors[known[start : start + 1024]].T
        distance = np.minimum(distance, 1.0 - cosine.max(axis=1))
    distance[distance > np.quantile(distance, FARTHEST_QUANTILE)] = -np.inf
    far: list[int] = []
    while len(far) < wanted:
        farthest = int(np.argmax(distance))
        if distance[farthest] <= 1.0 - NEAR_DUPLICATE_COSINE:
            break
        far.append(int(places[farthest]))
        distance = np.minimum(distance, 1.0 - vectors[places] @ vectors[places[farthest]])
    return far


class _KeptVectors:
    """The directions chosen so far, in one block that grows by a row."""

    def __init__(self, vectors: Vectors | None, chosen: npt.NDArray[np.int64], room: int) -> None:
        self._vectors = vectors
        if vectors is not None:
            self._block = np.empty((len(chosen) + room, vectors.shape[1]))
            self._block[: len(chosen)] = vectors[chosen]
        self._count = len(chosen)

    def has_near(self, place: int) -> bool:
        """Whether a vector that was kept is a near-duplicate of the one at `place`."""
        if self._vectors is None or not self._count:
            return False
        return bool((self._block[: self._count] @ self._vectors[place]).max() > NEAR_DUPLICATE_COSINE)

    def add(self, place: int) -> None:
        """Keep the vector at `place`."""
        if self._vectors is not None:
            self._block[self._count] = self._vectors[place]
            self._count += 1


def _unit_vectors(predictions: Sequence[Prediction]) -> Vectors | None:
    """Centred features of length 1, one row each; zeros where a prediction has none of the usual kind.

    None where the service sends no features. Named numbers become a vector in the order of their names, each
    divided by its standard deviation.
    """
    rows = [p.features for p in predictions]
    named = sorted({name for row in rows if isinstance(row, Mapping) for name in row})
    if named:
        table = [
            [row.get(name, np.nan) for name in named] if isinstance(row, Mapping) else None for row in rows
        ]
    else:
        sizes = Counter(len(row) for row in rows if isinstance(row, list))
        if not sizes:
            return None
        usual = sizes.most_common(1)[0][0]
        table = [row if isinstance(row, list) and len(row) == usual else None for row in rows]
    present = np.array([row is not None for row in table])
    matrix = np.array([row for row in table if row is not None], dtype=np.float64)
    if not matrix.size:
        return None
    # A number that is missing is as good as an average one.
    matrix = np.nan_to_num(matrix - np.nanmean(matrix, axis=0))
    if named:
        matrix /= np.maximum(matrix.std(axis=0), 1e-12)
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    vectors = np.zeros((len(rows), matrix.shape[1]))
    vectors[present] = matrix
    return vectors


def _input_key(prediction: Prediction) -> bytes:
    """What is equal for equal inputs."""
    value = prediction.input if prediction.input is not None else {"uri": prediction.input_uri}
    return hashlib.sha256(encode_json(value)).digest()
