"""What a row means: frozen records, the only form in which facts leave this room.

Times are microseconds since 1970 in UTC (`_us`), shares are parts per million (`_ppm`). JSON columns come out
decoded.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from errata.settings import AlertKind, Severity
from quality.outcomes import Action

BatchStatus = Literal["draft", "ordered", "delivered", "accepted", "rejected"]
RunStatus = Literal["waiting", "requested", "training", "promoted", "kept", "failed"]
Part = Literal["founding", "audit", "evaluation", "corrected", "uncertain", "diverse"]
Role = Literal["training", "evaluation"]
#: A warning opens nothing; an alarm has opened a run, or was suppressed; calmed ends what was warned or alarmed of.
Decision = Literal["warned", "opened", "suppressed", "calmed"]
Change = Literal["fixed", "broken", "still_wrong", "still_right"]
#: Which frozen examples a scorecard is about: those from before the change, from after it, or all.
Portion = Literal["all", "before", "after"]
Step = Literal[
    "opened", "ordered", "labelled", "requested", "frozen", "trained", "scored", "judged", "released"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record or event that could not be used, and why. `position` is its place in a batch record."""

    topic: str
    partition: int
    offset: int
    position: int
    reason: str
    detail: str
    raw: bytes
    stored_us: int = 0
    replayed_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The ledger row of one fetched run: `n = n_new + n_duplicate + n_dead` events."""

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    n_records: int
    n: int
    n_new: int
    n_duplicate: int
    n_dead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One output shown to a user, and what became of it (`action` None is silence so far)."""

    id: str
    model: str
    version: str
    time_us: int
    output: Any
    confidence: float | None
    input: Any
    input_uri: str | None
    features: Any
    latency_us: int | None
    tags: dict[str, str]
    subject: str | None
    action: Action | None = None
    corrected: Any = None
    distance_ppm: int | None = None
    who_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The numbers of one model, version, slice and span of minutes, summed over shards."""

    model: str
    version: str
    slice: str
    minute_us: int
    n: int
    n_edit: int
    n_accept: int
    n_reject: int
    n_distance: int
    distance_ppm: int
    distance_ppm_squares: int
    served: bytes
    shown: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Voc:
    """What a customer said."""

    id: str
    text: str
    rating: int | None
    channel: str | None
    language: str | None
    time_us: int
    prediction_id: str | None
    model: str | None
    tags: dict[str, str]
    subject: str | None
    status: str
    theme: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A detector's alarm, or another occasion for a run, and what was decided about it.

    `rule` is what decided: drift, schedule, person, or the rule of quality/trigger.py that spoke against a run.
    `level` is the evidence that alarms, as `log_evidence` is. `detector` is which of several detectors of the slice saw
    it: the name of its horizon; None where none did.
    """

    id: str
    model: str
    version: str
    slice: str
    time_us: int
    change_us: int | None
    n_events: int
    n_corrections: int
    log_evidence: float
    ceiling: float
    decision: Decision
    reason: str
    run_id: str | None
    rule: str = "drift"
    level: float | None = None
    detector: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataShift:
    """Something that is watched of a version has moved, or is calm again: `change_us` is since when, `reason` how.

    `level` is the evidence that alarms, as `log_evidence` is.
    """

    id: str
    model: str
    version: str
    watched: str
    time_us: int
    stage: Literal["moved", "calm"]
    change_us: int | None
    n_values: int
    log_evidence: float
    level: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """One prediction ordered from the labelers, and why."""

    prediction_id: str
    part: Part
    reasons: list[str]
    score: float
    inclusion: float | None
    group: str
    label: Any = None
    flags: list[str] = field(default_factory=list)
    labeler: str | None = None
    labeled_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a labeler wrote about one item: a label, or flags that say why there is none."""

    prediction_id: str
    label: Any
    flags: list[str] = field(default_factory=list)
    labeler: str | None = None
    labeled_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Examples ordered from labelers: guide, unit price, quantity."""

    id: str
    model: str
    status: BatchStatus
    run_id: str | None
    quantity: int
    unit_price: str
    currency: str
    guide: str
    guide_version: str
    policy: dict[str, Any]
    reason: str
    created_us: int
    ordered_us: int | None = None
    delivered_us: int | None = None
    decided_us: int | None = None
    n_labelled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An input with a trusted label. Examples of one `group` all have the same `role`."""

    id: str
    model: str
    input: Any
    label: Any
    group: str
    role: Role
    part: Part
    batch_id: str | None
    created_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A frozen choice of examples, named by its content."""

    hash: str
    model: str
    n_training: int
    n_evaluation: int
    created_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One retraining, from the request to the verdict."""

    id: str
    model: str
    status: RunStatus
    reason: str
    signal_id: str | None
    batch_id: str | None
    champion: str
    candidate: str | None
    dataset_hash: str | None
    verdict: Literal["promote", "keep"] | None
    verdict_reason: str | None
    seed: int
    opened_us: int
    decided_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """One arrow of the loop, with its evidence."""

    run_id: str
    step: Step
    evidence: dict[str, Any]
    time_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """Measurements of a version on frozen examples."""

    run_id: str
    version: str
    part: Portion
    n: int
    n_wrong: int
    distance_ppm: int
    latency_us_p50: int | None
    latency_us_p95: int | None
    per_second: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One frozen example as champion and candidate answer it."""

    run_id: str
    example_id: str
    change: Change
    champion_output: Any
    candidate_output: Any
    champion_ppm: int
    candidate_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One release of a model: where its files lie and what made it."""

    model: str
    version: str
    artifact: str
    sha256: str
    run_id: str | None
    dataset_hash: str | None
    created_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A condition that people are told of; `resolved_us` is None while it lasts."""

    id: str
    key: str
    kind: AlertKind
    model: str | None
    severity: Severity
    title: str
    sentence: str
    opened_us: int
    last_seen_us: int
    resolved_us: int | None = None
    resolution: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """News of an alert on its way to a channel; `sent_us` is None until the channel took it."""

    alert_id: str
    channel: str
    stored_us: int
    due_us: int
    attempts: int
    sent_us: int | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """From `time_us` on, `version` is the champion of `model`."""

    id: str
    model: str
    version: str
    action: Literal["register", "promote", "rollback"]
    reason: str
    who: str
    time_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key of the HTTP intake: what may be sent with it, and until when. `models` None is every model."""

    id: str
    source: str
    hash: str = field(repr=False)
    models: tuple[str, ...] | None
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None
    last_used_us: int | None = None


#: In place of the generation of a consumer group that forms.
FORMING: Final = -1


@dataclass(frozen=True, slots=True)
class Membership:
    """Who a worker is in its consumer group, and in which generation of it; None before it begins to join."""

    member_id: str = ""
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Lifeline:
    """A process that lives for as long as the lock of this number is held, and who it is in its consumer group."""

    number: int
    holder: str
    membership: Membership
    is_held: bool


@dataclass(frozen=True, slots=True)
class Look:
    """The lifelines of all others; `is_continued` says that ours was held without a break since the look before."""

    is_continued: bool
    others: tuple[Lifeline, ...]
