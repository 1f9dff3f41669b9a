"""How we keep it: every table of Errata. What a row means to the other rooms is in storage/records.py.

Times are whole microseconds since 1970 in UTC (`_us`), shares are whole parts per million (`_ppm`): integers
are exact, order-free and the same on SQLite and PostgreSQL. JSON is kept as the text that came over the wire.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> TypeEngine[str]:
    """A UUID, as text in Python, native where the database has it."""
    return Uuid(as_uuid=False)


def _window_columns() -> list[Column[Any]]:
    """The columns of `windows`."""
    return [
        Column("model", String(128), primary_key=True),
        Column("version", String(128), primary_key=True),
        Column("slice", String(256), primary_key=True, comment="'all' or tag=value"),
        Column("minute_us", BigInteger, primary_key=True, comment="start of the minute of the predictions"),
        Column(
            "shard", Integer, primary_key=True, comment="partition that wrote it; readers sum over shards"
        ),
        Column("n", BigInteger, nullable=False, comment="predictions"),
        Column("n_edit", BigInteger, nullable=False),
        Column("n_accept", BigInteger, nullable=False),
        Column("n_reject", BigInteger, nullable=False),
        Column("n_distance", BigInteger, nullable=False, comment="predictions with an edit distance"),
        Column("distance_ppm", BigInteger, nullable=False, comment="sum of edit distances"),
        Column(
            "distance_ppm_squares",
            BigInteger,
            nullable=False,
            comment="sum of distance * distance / 1,000,000",
        ),
        Column(
            "served", LargeBinary, nullable=False, comment="histogram of latency_us (quality/histogram.py)"
        ),
        Column("shown", LargeBinary, nullable=False, comment="histogram of display_us"),
    ]


# --- What came in -------------------------------------------------------------------------------------------

predictions = Table(
    "predictions",
    metadata,
    Column(
        "id", _id(), primary_key=True, comment="UUID of the prediction, version 7 unless the service chose it"
    ),
    Column("model", String(128), nullable=False),
    Column("version", String(128), nullable=False),
    Column("time_us", BigInteger, nullable=False, comment="when it was made, by the service's clock"),
    Column("output", Text, nullable=False, comment="JSON"),
    Column("confidence", Float, nullable=True, comment="0 to 1, as the service reported it"),
    Column("probabilities", Text, nullable=True, comment="JSON: class to probability"),
    Column("input", Text, nullable=True, comment="JSON, up to 64 KiB; larger inputs are in input_uri"),
    Column("input_uri", Text, nullable=True),
    Column("features", Text, nullable=True, comment="JSON: named numbers or an embedding"),
    Column("latency_us", BigInteger, nullable=True, comment="from request to output"),
    Column("tags", Text, nullable=False, comment="JSON: tag to value, as sent"),
    Column(
        "slices", Text, nullable=False, comment="JSON list of the slices it is counted under, after the cap"
    ),
    Column("subject", String(256), nullable=True, comment="whose data it is; groups examples"),
    Column("session", String(256), nullable=True),
    Column("source", Text, nullable=False, comment="CloudEvents source"),
    Column("shard", Integer, nullable=False, comment="partition whose windows count it"),
    Column("stored_us", BigInteger, nullable=False),
    Index(None, "model", "time_us"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", _id(), primary_key=True),
    Column(
        "prediction_id", _id(), nullable=False, comment="may arrive before its prediction, so no foreign key"
    ),
    Column("action", String(8), nullable=False, comment="edit, accept or reject"),
    Column("corrected", Text, nullable=True, comment="JSON: the corrected output of an edit"),
    Column("time_us", BigInteger, nullable=False, comment="the last by (time_us, id) counts"),
    Column("display_us", BigInteger, nullable=True, comment="from capture to display"),
    Column(
        "who_kind",
        String(16),
        nullable=False,
        comment="user, annotator or auditor; only users move the rates",
    ),
    Column("who_id", String(256), nullable=True),
    Column("source", Text, nullable=False),
    Column("shard", Integer, nullable=False),
    Column("stored_us", BigInteger, nullable=False),
    CheckConstraint("action in ('edit', 'accept', 'reject')", name="action"),
    CheckConstraint("who_kind in ('user', 'annotator', 'auditor')", name="who_kind"),
    Index(None, "prediction_id"),
    Index(None, "stored_us"),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("prediction_id", _id(), primary_key=True, comment="a prediction with at least one user feedback"),
    Column("feedback_id", _id(), nullable=False, comment="the feedback that counts now"),
    Column("action", String(8), nullable=False, comment="an edit back to the shown output counts as accept"),
    Column("distance_ppm", Integer, nullable=True, comment="edit distance, 0 to 1,000,000; null for reject"),
    Column("delay_us", BigInteger, nullable=False, comment="feedback time minus prediction time"),
    Column("display_us", BigInteger, nullable=True),
)

voc = Table(
    "voc",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("text", Text, nullable=False, comment="personal data masked before it was written"),
    Column("rating", Integer, nullable=True, comment="1 to 10"),
    Column("channel", String(256), nullable=True),
    Column("language", String(35), nullable=True),
    Column("time_us", BigInteger, nullable=False),
    Column("prediction_id", _id(), nullable=True),
    Column("model", String(128), nullable=True),
    Column("tags", Text, nullable=False, comment="JSON"),
    Column("subject", String(256), nullable=True),
    Column(
        "status",
        String(16),
        nullable=False,
        server_default="new",
        comment="new, triaged, resolved or declined",
    ),
    Column("theme", String(128), nullable=True, comment="what several comments are about"),
    Column("source", Text, nullable=False),
    Column("stored_us", BigInteger, nullable=False),
    Index(None, "time_us"),
    Index(None, "prediction_id"),
)

windows = Table("windows", metadata, *_window_columns(), Index(None, "minute_us"))

slice_values = Table(
    "slice_values",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("hour_us", BigInteger, primary_key=True),
    Column("tag", String(64), primary_key=True),
    Column(
        "value",
        String(128),
        primary_key=True,
        comment="counted by itself; values beyond the cap are __other__",
    ),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column(
        "position", Integer, primary_key=True, comment="of the event in a batch record; 0 for a whole record"
    ),
    Column("reason", String(64), nullable=False, comment="stable code"),
    Column("detail", Text, nullable=False, comment="a sentence that names the field and the fix"),
    Column("raw", LargeBinary, nullable=False, comment="the bytes as they came, personal data masked"),
    Column("stored_us", BigInteger, nullable=False),
    Column("replayed_us", BigInteger, nullable=True, comment="when it was sent again"),
    Index(None, "reason", "stored_us"),
)

intake_positions = Table(
    "intake_positions",
    metadata,
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False, comment="the first offset that is not applied"),
    Column(
        "topic_id",
        String(64),
        nullable=False,
        comment="Kafka's id of the topic, so that a new topic is not skipped",
    ),
    Column("stored_us", BigInteger, nullable=False),
)

intake_ledger = Table(
    "intake_ledger",
    metadata,
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("first_offset", BigInteger, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column("n_records", Integer, nullable=False),
    Column("n", Integer, nullable=False, comment="events consumed = n_new + n_duplicate + n_dead"),
    Column("n_new", Integer, nullable=False),
    Column("n_duplicate", Integer, nullable=False),
    Column("n_dead", Integer, nullable=False),
    Column("worker", String(128), nullable=False),
    Column("stored_us", BigInteger, nullable=False),
    CheckConstraint("n = n_new + n_duplicate + n_dead", name="balance"),
)

intake_pauses = Table(
    "intake_pauses",
    metadata,
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("reason", Text, nullable=False, comment="why it was paused: a sentence"),
    Column("paused_us", BigInteger, nullable=False),
    Column("resumed_us", BigInteger, nullable=True, comment="null while the partition is not read"),
    Column(
        "flooded_us",
        BigInteger,
        nullable=False,
        comment="when dead letters were last above the limits; what was resumed stays so while it goes on",
    ),
)

verify_rounds = Table(
    "verify_rounds",
    metadata,
    Column("name", String(16), primary_key=True, comment="current: there is one"),
    Column("place", Text, nullable=False, comment="JSON: where the round goes on (storage/verify_rounds.py)"),
    Column("started_us", BigInteger, nullable=False),
    Column("n_differences", BigInteger, nullable=False, comment="found in this round so far"),
    Column("completed_us", BigInteger, nullable=True, comment="when the round before it came to its end"),
    Column("n_differences_before", BigInteger, nullable=False, comment="found in the round before it"),
)

leases = Table(
    "leases",
    metadata,
    Column(
        "name", String(64), primary_key=True, comment="a timer that runs once however many workers there are"
    ),
    Column("holder", String(128), nullable=False),
    Column("until_us", BigInteger, nullable=False),
)

lifelines = Table(
    "lifelines",
    metadata,
    Column(
        "number",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="of the lock that the process holds while it lives (storage/lifelines.py)",
    ),
    Column("consumer_group", String(256), nullable=False),
    Column("holder", String(128), nullable=False),
    Column("member_id", Text, nullable=False, comment="in the consumer group; empty before it joins"),
    Column(
        "generation",
        Integer,
        nullable=True,
        comment="of the consumer group; -1 while that forms, null before the process joins",
    ),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("topic", String(249), nullable=False),
    Column("key", String(256), nullable=False),
    Column("type", String(128), nullable=False, comment="CloudEvents type"),
    Column("data", Text, nullable=False, comment="JSON"),
    Column("stored_us", BigInteger, nullable=False),
    Column("sent_us", BigInteger, nullable=True, comment="null until the broker acknowledged it"),
    Index(None, "sent_us", "stored_us"),
)

# --- What is no longer kept ---------------------------------------------------------------------------------

tombstones = Table(
    "tombstones",
    metadata,
    Column("id", _id(), primary_key=True, comment="of an event that was counted and is not stored any more"),
    Column("kind", String(10), primary_key=True, comment="prediction, feedback or voc"),
    Column("time_us", BigInteger, nullable=False, comment="when the event happened"),
    Column("is_erased", Integer, nullable=False, comment="1 if a person was erased, 0 if it grew old"),
    Index(None, "time_us"),
)

removals = Table(
    "removals",
    metadata,
    Column("kind", String(16), primary_key=True, comment="prediction, feedback, voc or dead_letter"),
    Column("topic", String(249), primary_key=True, comment="of dead letters; empty for events"),
    Column("partition", Integer, primary_key=True, comment="of dead letters; for events who removed them"),
    Column("n", BigInteger, nullable=False, comment="counted in the ledger, and not stored any more"),
    Column("n_forgotten", BigInteger, nullable=False, comment="those whose tombstone is not stored either"),
)

retained_since = Table(
    "retained_since",
    metadata,
    Column("kind", String(16), primary_key=True, comment="prediction or ledger"),
    Column("time_us", BigInteger, nullable=False, comment="what is older is removed, or is about to be"),
)

erasures = Table(
    "erasures",
    metadata,
    Column(
        "hash", String(64), primary_key=True, comment="of the subject, keyed with the salt, in hexadecimal"
    ),
    Column("salt", String(32), nullable=False, comment="hexadecimal; the same for all of an installation"),
    Column("erased_us", BigInteger, nullable=False, comment="what happened before does not come back"),
)

erasure_salts = Table(
    "erasure_salts",
    metadata,
    Column("salt", String(32), primary_key=True, comment="each that is in `erasures`: hardly ever several"),
)

erased_windows = Table(
    "erased_windows",
    metadata,
    *_window_columns(),
    comment="what erased predictions count in `windows`, so that a recount still adds up",
)

# --- What we noticed ----------------------------------------------------------------------------------------

detector_states = Table(
    "detector_states",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("version", String(128), primary_key=True),
    Column("slice", String(256), primary_key=True),
    Column(
        "detector",
        String(32),
        primary_key=True,
        server_default="1h",
        comment="which of several: the name of its horizon (quality/horizons.py)",
    ),
    Column("state", Text, nullable=False, comment="JSON (quality/drift.py)"),
    Column("matured_us", BigInteger, nullable=False, comment="predictions up to here are in the state"),
    Column("stored_us", BigInteger, nullable=False),
)

signals = Table(
    "signals",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("model", String(128), nullable=False),
    Column("version", String(128), nullable=False),
    Column("slice", String(256), nullable=False),
    Column("time_us", BigInteger, nullable=False, comment="when the detector alarmed"),
    Column("change_us", BigInteger, nullable=True, comment="since when the rate is estimated to be higher"),
    Column("n_events", BigInteger, nullable=False, comment="predictions from the change to the alarm"),
    Column("n_corrections", BigInteger, nullable=False),
    Column("log_evidence", Float, nullable=False),
    Column("ceiling", Float, nullable=False, comment="the rate that was allowed"),
    Column("decision", String(16), nullable=False, comment="warned, opened, suppressed or calmed"),
    Column("reason", Text, nullable=False, comment="a sentence"),
    Column("run_id", _id(), nullable=True),
    Column(
        "rule",
        String(16),
        nullable=False,
        server_default="drift",
        comment="what decided: drift, schedule, person, or the rule that spoke against a run",
    ),
    Column("level", Float, nullable=True, comment="the evidence that alarms, as log_evidence is"),
    Column(
        "detector",
        String(32),
        nullable=True,
        comment="which of several saw it; null where none did, or before there were several",
    ),
    Index(None, "model", "time_us"),
)

data_drift_states = Table(
    "data_drift_states",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("version", String(128), primary_key=True),
    Column("watched", String(256), primary_key=True, comment="such as confidence or features.NAME"),
    Column("state", Text, nullable=False, comment="JSON (quality/data_drift.py)"),
    Column("read_us", BigInteger, nullable=False, comment="predictions before this are in the state"),
    Column("stored_us", BigInteger, nullable=False),
)

data_shifts = Table(
    "data_shifts",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("model", String(128), nullable=False),
    Column("version", String(128), nullable=False),
    Column("watched", String(256), nullable=False),
    Column("time_us", BigInteger, nullable=False, comment="when it was noticed"),
    Column("stage", String(16), nullable=False, comment="moved, or calm again"),
    Column("change_us", BigInteger, nullable=True, comment="since when it is estimated to have moved"),
    Column("n_values", BigInteger, nullable=False, comment="values since the change"),
    Column("log_evidence", Float, nullable=False),
    Column("level", Float, nullable=False, comment="the evidence that alarms, as log_evidence is"),
    Column("reason", Text, nullable=False, comment="a sentence"),
    CheckConstraint("stage in ('moved', 'calm')", name="stage"),
    Index(None, "model", "time_us"),
)

# --- Whom we told -------------------------------------------------------------------------------------------

alerts = Table(
    "alerts",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("key", String(512), nullable=False, comment="the condition: kind, and what it is about"),
    Column("kind", String(32), nullable=False),
    Column("model", String(128), nullable=True),
    Column("severity", String(16), nullable=False, comment="info, warning or critical"),
    Column("title", Text, nullable=False),
    Column("sentence", Text, nullable=False, comment="what is known by now"),
    Column("opened_us", BigInteger, nullable=False),
    Column("last_seen_us", BigInteger, nullable=False),
    Column("resolved_us", BigInteger, nullable=True, comment="null while it lasts"),
    Column("resolution", Text, nullable=True, comment="why it is over: a sentence"),
    Column("told_us", BigInteger, nullable=True, comment="when there were last deliveries made of it"),
    Column(
        "next_us", BigInteger, nullable=True, comment="when there is something to tell; null: all is told"
    ),
    CheckConstraint("severity in ('info', 'warning', 'critical')", name="severity"),
    Index(None, "opened_us"),
    Index(None, "next_us"),
)
#: A condition has one open alert.
Index(
    "ix_alerts_open_key",
    alerts.c.key,
    unique=True,
    sqlite_where=alerts.c.resolved_us.is_(None),
    postgresql_where=alerts.c.resolved_us.is_(None),
)

alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("alert_id", _id(), ForeignKey("alerts.id"), primary_key=True),
    Column("channel", String(64), primary_key=True),
    Column("stored_us", BigInteger, primary_key=True, comment="of which news of the alert it is"),
    Column("due_us", BigInteger, nullable=False, comment="when it is tried, or tried again"),
    Column("attempts", Integer, nullable=False),
    Column("sent_us", BigInteger, nullable=True, comment="null until the channel took it"),
    Column("error", Text, nullable=True, comment="of the last attempt that failed"),
    Index(None, "channel", "sent_us", "due_us"),
)

# --- What we order from labelers ----------------------------------------------------------------------------

batches = Table(
    "batches",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("model", String(128), nullable=False),
    Column("status", String(16), nullable=False, comment="draft, ordered, delivered, accepted or rejected"),
    Column("run_id", _id(), nullable=True, comment="the run that waits for it"),
    Column("quantity", Integer, nullable=False),
    Column("unit_price", String(32), nullable=False, comment="decimal"),
    Column("currency", String(3), nullable=False),
    Column("guide", Text, nullable=False),
    Column("guide_version", String(32), nullable=False),
    Column("policy", Text, nullable=False, comment="JSON: the mining settings and seed that composed it"),
    Column(
        "reason", Text, nullable=False, comment="why it was ordered, or accepted, or rejected: a sentence"
    ),
    Column("created_us", BigInteger, nullable=False),
    Column("ordered_us", BigInteger, nullable=True),
    Column("delivered_us", BigInteger, nullable=True),
    Column("decided_us", BigInteger, nullable=True),
    CheckConstraint("status in ('draft', 'ordered', 'delivered', 'accepted', 'rejected')", name="status"),
    Index(None, "model", "created_us"),
)

batch_items = Table(
    "batch_items",
    metadata,
    Column("batch_id", _id(), ForeignKey("batches.id"), primary_key=True),
    Column("prediction_id", _id(), primary_key=True),
    Column("part", String(16), nullable=False, comment="audit, evaluation, corrected, uncertain or diverse"),
    Column("reasons", Text, nullable=False, comment="JSON list of sentences"),
    Column("score", Float, nullable=False),
    Column(
        "inclusion", Float, nullable=True, comment="probability of being drawn, where it was drawn at random"
    ),
    Column("group", String(256), nullable=False, comment="subject, or the prediction itself"),
    Column("label", Text, nullable=True, comment="JSON, null until labelled"),
    Column("flags", Text, nullable=True, comment="JSON list: ambiguous, not_in_guide, bad_data, skipped"),
    Column("labeler", String(256), nullable=True),
    Column("labeled_us", BigInteger, nullable=True),
)

# --- Who may send -------------------------------------------------------------------------------------------

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True, comment="the part of the key that may be told"),
    Column("source", Text, nullable=False, comment="the CloudEvents source that its events must have"),
    Column("hash", String(64), nullable=False, comment="SHA-256 of the secret part, which nobody keeps"),
    Column("models", Text, nullable=True, comment="JSON list of models it may send for; null: every model"),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=True),
    Column("revoked_us", BigInteger, nullable=True),
    Column(
        "last_used_us", BigInteger, nullable=True, comment="the beginning of the last day (UTC) it was used"
    ),
)

# --- What we learn from -------------------------------------------------------------------------------------

examples = Table(
    "examples",
    metadata,
    Column("id", _id(), primary_key=True, comment="the prediction it comes from, or its own"),
    Column("model", String(128), nullable=False),
    Column("input", Text, nullable=False, comment="JSON"),
    Column("label", Text, nullable=False, comment="JSON, trusted"),
    Column("group", String(256), nullable=False, comment="never on both sides of the split"),
    Column("role", String(16), nullable=False, comment="training or evaluation"),
    Column("part", String(16), nullable=False, comment="founding, or the part of the batch"),
    Column("batch_id", _id(), nullable=True),
    Column("created_us", BigInteger, nullable=False),
    CheckConstraint("role in ('training', 'evaluation')", name="role"),
    Index(None, "model", "role"),
)

datasets = Table(
    "datasets",
    metadata,
    Column("hash", String(64), primary_key=True, comment="SHA-256 over the sorted examples and their roles"),
    Column("model", String(128), nullable=False),
    Column("n_training", Integer, nullable=False),
    Column("n_evaluation", Integer, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

dataset_examples = Table(
    "dataset_examples",
    metadata,
    Column("dataset_hash", String(64), ForeignKey("datasets.hash"), primary_key=True),
    Column("example_id", _id(), ForeignKey("examples.id"), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("is_new", Integer, nullable=False, comment="1 if from the batch of the run, or after its change"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("model", String(128), nullable=False),
    Column(
        "status", String(16), nullable=False, comment="waiting, requested, training, promoted, kept, failed"
    ),
    Column("reason", Text, nullable=False, comment="why it was opened: a sentence"),
    Column("signal_id", _id(), nullable=True),
    Column("batch_id", _id(), nullable=True),
    Column("champion", String(128), nullable=False, comment="the version to beat"),
    Column("candidate", String(128), nullable=True),
    Column("dataset_hash", String(64), ForeignKey("datasets.hash"), nullable=True),
    Column("verdict", String(16), nullable=True, comment="promote or keep"),
    Column("verdict_reason", Text, nullable=True, comment="a sentence"),
    Column("seed", BigInteger, nullable=False),
    Column("opened_us", BigInteger, nullable=False),
    Column("decided_us", BigInteger, nullable=True),
    Index(None, "model", "opened_us"),
    # No two runs make the same version.
    Index(None, "model", "candidate", unique=True),
)

run_steps = Table(
    "run_steps",
    metadata,
    Column("run_id", _id(), ForeignKey("runs.id"), primary_key=True),
    Column(
        "step",
        String(16),
        primary_key=True,
        comment="opened, ordered, labelled, requested, frozen, trained, scored, judged, released",
    ),
    Column("evidence", Text, nullable=False, comment="JSON"),
    Column("time_us", BigInteger, nullable=False),
)

scorecards = Table(
    "scorecards",
    metadata,
    Column("run_id", _id(), ForeignKey("runs.id"), primary_key=True),
    Column("version", String(128), primary_key=True),
    Column(
        "part", String(16), primary_key=True, comment="all, before (founding examples) or after (the batch)"
    ),
    Column("n", Integer, nullable=False),
    Column("n_wrong", Integer, nullable=False),
    Column("distance_ppm", BigInteger, nullable=False, comment="sum of edit distances"),
    Column("latency_us_p50", BigInteger, nullable=True),
    Column("latency_us_p95", BigInteger, nullable=True),
    Column("per_second", Float, nullable=True, comment="examples per second, batched"),
)

cases = Table(
    "cases",
    metadata,
    Column("run_id", _id(), ForeignKey("runs.id"), primary_key=True),
    Column("example_id", _id(), ForeignKey("examples.id"), primary_key=True),
    Column("change", String(16), nullable=False, comment="fixed, broken, still_wrong or still_right"),
    Column("champion_output", Text, nullable=False, comment="JSON"),
    Column("candidate_output", Text, nullable=False, comment="JSON"),
    Column("champion_ppm", Integer, nullable=False),
    Column("candidate_ppm", Integer, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("version", String(128), primary_key=True),
    Column("artifact", Text, nullable=False, comment="directory below artifacts.directory"),
    Column("sha256", String(64), nullable=False, comment="of the files of the artifact"),
    Column("run_id", _id(), nullable=True),
    Column("dataset_hash", String(64), nullable=True),
    Column("created_us", BigInteger, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("model", String(128), nullable=False),
    Column("version", String(128), nullable=False, comment="champion from this moment on"),
    Column("action", String(16), nullable=False, comment="register, promote or rollback"),
    Column("reason", Text, nullable=False, comment="a sentence"),
    Column("who", String(256), nullable=False, comment="the gate, or a person"),
    Column("time_us", BigInteger, nullable=False),
    Index(None, "model", "time_us"),
)
