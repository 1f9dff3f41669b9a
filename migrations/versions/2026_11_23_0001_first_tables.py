"""The first tables.

Their comments and meaning are in storage/tables.py; this file never changes.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column(
            "status",
            sa.String(length=16),
            nullable=False,
            comment="draft, ordered, delivered, accepted or rejected",
        ),
        sa.Column("run_id", sa.Uuid(as_uuid=False), nullable=True, comment="the run that waits for it"),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("unit_price", sa.String(length=32), nullable=False, comment="decimal"),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("guide", sa.Text(), nullable=False),
        sa.Column("guide_version", sa.String(length=32), nullable=False),
        sa.Column(
            "policy", sa.Text(), nullable=False, comment="JSON: the mining settings and seed that composed it"
        ),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=False,
            comment="why it was ordered, or accepted, or rejected: a sentence",
        ),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("ordered_us", sa.BigInteger(), nullable=True),
        sa.Column("delivered_us", sa.BigInteger(), nullable=True),
        sa.Column("decided_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "status in ('draft', 'ordered', 'delivered', 'accepted', 'rejected')",
            name=op.f("ck_batches_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index(op.f("ix_batches_model_created_us"), "batches", ["model", "created_us"], unique=False)
    op.create_table(
        "datasets",
        sa.Column(
            "hash",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 over the sorted examples and their roles",
        ),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("n_training", sa.Integer(), nullable=False),
        sa.Column("n_evaluation", sa.Integer(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_datasets")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column(
            "position",
            sa.Integer(),
            nullable=False,
            comment="of the event in a batch record; 0 for a whole record",
        ),
        sa.Column("reason", sa.String(length=64), nullable=False, comment="stable code"),
        sa.Column("detail", sa.Text(), nullable=False, comment="a sentence that names the field and the fix"),
        sa.Column(
            "raw", sa.LargeBinary(), nullable=False, comment="the bytes as they came, personal data masked"
        ),
        sa.Column("stored_us", sa.BigInteger(), nullable=False),
        sa.Column("replayed_us", sa.BigInteger(), nullable=True, comment="when it was sent again"),
        sa.PrimaryKeyConstraint("topic", "partition", "offset", "position", name=op.f("pk_dead_letters")),
    )
    op.create_index(
        op.f("ix_dead_letters_reason_stored_us"), "dead_letters", ["reason", "stored_us"], unique=False
    )
    op.create_table(
        "detector_states",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=128), nullable=False),
        sa.Column("slice", sa.String(length=256), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="JSON (quality/drift.py)"),
        sa.Column(
            "matured_us", sa.BigInteger(), nullable=False, comment="predictions up to here are in the state"
        ),
        sa.Column("stored_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", "slice", name=op.f("pk_detector_states")),
    )
    op.create_table(
        "examples",
        sa.Column(
            "id", sa.Uuid(as_uuid=False), nullable=False, comment="the prediction it comes from, or its own"
        ),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("input", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("label", sa.Text(), nullable=False, comment="JSON, trusted"),
        sa.Column("group", sa.String(length=256), nullable=False, comment="never on both sides of the split"),
        sa.Column("role", sa.String(length=16), nullable=False, comment="training or evaluation"),
        sa.Column("part", sa.String(length=16), nullable=False, comment="founding, or the part of the batch"),
        sa.Column("batch_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("role in ('training', 'evaluation')", name=op.f("ck_examples_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_examples")),
    )
    op.create_index(op.f("ix_examples_model_role"), "examples", ["model", "role"], unique=False)
    op.create_table(
        "feedback",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column(
            "prediction_id",
            sa.Uuid(as_uuid=False),
            nullable=False,
            comment="may arrive before its prediction, so no foreign key",
        ),
        sa.Column("action", sa.String(length=8), nullable=False, comment="edit, accept or reject"),
        sa.Column("corrected", sa.Text(), nullable=True, comment="JSON: the corrected output of an edit"),
        sa.Column("time_us", sa.BigInteger(), nullable=False, comment="the last by (time_us, id) counts"),
        sa.Column("display_us", sa.BigInteger(), nullable=True, comment="from capture to display"),
        sa.Column(
            "who_kind",
            sa.String(length=16),
            nullable=False,
            comment="user, annotator or auditor; only users move the rates",
        ),
        sa.Column("who_id", sa.String(length=256), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("stored_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("action in ('edit', 'accept', 'reject')", name=op.f("ck_feedback_action")),
        sa.CheckConstraint("who_kind in ('user', 'annotator', 'auditor')", name=op.f("ck_feedback_who_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
    )
    op.create_index(op.f("ix_feedback_prediction_id"), "feedback", ["prediction_id"], unique=False)
    op.create_index(op.f("ix_feedback_stored_us"), "feedback", ["stored_us"], unique=False)
    op.create_table(
        "intake_ledger",
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("first_offset", sa.BigInteger(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("n_records", sa.Integer(), nullable=False),
        sa.Column(
            "n", sa.Integer(), nullable=False, comment="events consumed = n_new + n_duplicate + n_dead"
        ),
        sa.Column("n_new", sa.Integer(), nullable=False),
        sa.Column("n_duplicate", sa.Integer(), nullable=False),
        sa.Column("n_dead", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=128), nullable=False),
        sa.Column("stored_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("n = n_new + n_duplicate + n_dead", name=op.f("ck_intake_ledger_balance")),
        sa.PrimaryKeyConstraint("topic", "partition", "first_offset", name=op.f("pk_intake_ledger")),
    )
    op.create_table(
        "intake_positions",
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column(
            "next_offset", sa.BigInteger(), nullable=False, comment="the first offset that is not applied"
        ),
        sa.Column(
            "topic_id",
            sa.String(length=64),
            nullable=False,
            comment="Kafka's id of the topic, so that a new topic is not skipped",
        ),
        sa.Column("stored_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("pk_intake_positions")),
    )
    op.create_table(
        "leases",
        sa.Column(
            "name",
            sa.String(length=64),
            nullable=False,
            comment="a timer that runs once however many workers there are",
        ),
        sa.Column("holder", sa.String(length=128), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("type", sa.String(length=128), nullable=False, comment="CloudEvents type"),
        sa.Column("data", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("stored_us", sa.BigInteger(), nullable=False),
        sa.Column("sent_us", sa.BigInteger(), nullable=True, comment="null until the broker acknowledged it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_sent_us_stored_us"), "outbox", ["sent_us", "stored_us"], unique=False)
    op.create_table(
        "outcomes",
        sa.Column(
            "prediction_id",
            sa.Uuid(as_uuid=False),
            nullable=False,
            comment="a prediction with at least one user feedback",
        ),
        sa.Column(
            "feedback_id", sa.Uuid(as_uuid=False), nullable=False, comment="the feedback that counts now"
        ),
        sa.Column(
            "action",
            sa.String(length=8),
            nullable=False,
            comment="an edit back to the shown output counts as accept",
        ),
        sa.Column(
            "distance_ppm",
            sa.Integer(),
            nullable=True,
            comment="edit distance, 0 to 1,000,000; null for reject",
        ),
        sa.Column("delay_us", sa.BigInteger(), nullable=False, comment="feedback time minus prediction time"),
        sa.Column("display_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_outcomes")),
    )
    op.create_table(
        "predictions",
        sa.Column(
            "id",
            sa.Uuid(as_uuid=False),
            nullable=False,
            comment="UUID of the prediction, version 7 unless the service chose it",
        ),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=128), nullable=False),
        sa.Column(
            "time_us", sa.BigInteger(), nullable=False, comment="when it was made, by the service's clock"
        ),
        sa.Column("output", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("confidence", sa.Float(), nullable=True, comment="0 to 1, as the service reported it"),
        sa.Column("probabilities", sa.Text(), nullable=True, comment="JSON: class to probability"),
        sa.Column(
            "input", sa.Text(), nullable=True, comment="JSON, up to 64 KiB; larger inputs are in input_uri"
        ),
        sa.Column("input_uri", sa.Text(), nullable=True),
        sa.Column("features", sa.Text(), nullable=True, comment="JSON: named numbers or an embedding"),
        sa.Column("latency_us", sa.BigInteger(), nullable=True, comment="from request to output"),
        sa.Column("tags", sa.Text(), nullable=False, comment="JSON: tag to value, as sent"),
        sa.Column(
            "slices",
            sa.Text(),
            nullable=False,
            comment="JSON list of the slices it is counted under, after the cap",
        ),
        sa.Column(
            "subject", sa.String(length=256), nullable=True, comment="whose data it is; groups examples"
        ),
        sa.Column("session", sa.String(length=256), nullable=True),
        sa.Column("source", sa.Text(), nullable=False, comment="CloudEvents source"),
        sa.Column("shard", sa.Integer(), nullable=False, comment="partition whose windows count it"),
        sa.Column("stored_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predictions")),
    )
    op.create_index(op.f("ix_predictions_model_time_us"), "predictions", ["model", "time_us"], unique=False)
    op.create_table(
        "releases",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=128), nullable=False, comment="champion from this moment on"),
        sa.Column("action", sa.String(length=16), nullable=False, comment="register, promote or rollback"),
        sa.Column("reason", sa.Text(), nullable=False, comment="a sentence"),
        sa.Column("who", sa.String(length=256), nullable=False, comment="the gate, or a person"),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_releases")),
    )
    op.create_index(op.f("ix_releases_model_time_us"), "releases", ["model", "time_us"], unique=False)
    op.create_table(
        "signals",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=128), nullable=False),
        sa.Column("slice", sa.String(length=256), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False, comment="when the detector alarmed"),
        sa.Column(
            "change_us",
            sa.BigInteger(),
            nullable=True,
            comment="since when the rate is estimated to be higher",
        ),
        sa.Column(
            "n_events", sa.BigInteger(), nullable=False, comment="predictions from the change to the alarm"
        ),
        sa.Column("n_corrections", sa.BigInteger(), nullable=False),
        sa.Column("log_evidence", sa.Float(), nullable=False),
        sa.Column("ceiling", sa.Float(), nullable=False, comment="the rate that was allowed"),
        sa.Column("decision", sa.String(length=16), nullable=False, comment="opened or suppressed"),
        sa.Column("reason", sa.Text(), nullable=False, comment="a sentence"),
        sa.Column("run_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signals")),
    )
    op.create_index(op.f("ix_signals_model_time_us"), "signals", ["model", "time_us"], unique=False)
    op.create_table(
        "slice_values",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("hour_us", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.Column(
            "value",
            sa.String(length=128),
            nullable=False,
            comment="counted by itself; values beyond the cap are __other__",
        ),
        sa.PrimaryKeyConstraint("model", "hour_us", "tag", "value", name=op.f("pk_slice_values")),
    )
    op.create_table(
        "versions",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=128), nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False, comment="directory below artifacts.directory"),
        sa.Column("sha256", sa.String(length=64), nullable=False, comment="of the files of the artifact"),
        sa.Column("run_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("dataset_hash", sa.String(length=64), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", name=op.f("pk_versions")),
    )
    op.create_table(
        "voc",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("text", sa.Text(), nullable=False, comment="personal data masked before it was written"),
        sa.Column("rating", sa.Integer(), nullable=True, comment="1 to 10"),
        sa.Column("channel", sa.String(length=256), nullable=True),
        sa.Column("language", sa.String(length=35), nullable=True),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("prediction_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("model", sa.String(length=128), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("subject", sa.String(length=256), nullable=True),
        sa.Column(
            "status",
            sa.String(length=16),
            server_default="new",
            nullable=False,
            comment="new, triaged, resolved or declined",
        ),
        sa.Column("theme", sa.String(length=128), nullable=True, comment="what several comments are about"),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stored_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voc")),
    )
    op.create_index(op.f("ix_voc_prediction_id"), "voc", ["prediction_id"], unique=False)
    op.create_index(op.f("ix_voc_time_us"), "voc", ["time_us"], unique=False)
    op.create_table(
        "windows",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=128), nullable=False),
        sa.Column("slice", sa.String(length=256), nullable=False, comment="'all' or tag=value"),
        sa.Column(
            "minute_us", sa.BigInteger(), nullable=False, comment="start of the minute of the predictions"
        ),
        sa.Column(
            "shard", sa.Integer(), nullable=False, comment="partition that wrote it; readers sum over shards"
        ),
        sa.Column("n", sa.BigInteger(), nullable=False, comment="predictions"),
        sa.Column("n_edit", sa.BigInteger(), nullable=False),
        sa.Column("n_accept", sa.BigInteger(), nullable=False),
        sa.Column("n_reject", sa.BigInteger(), nullable=False),
        sa.Column("n_distance", sa.BigInteger(), nullable=False, comment="predictions with an edit distance"),
        sa.Column("distance_ppm", sa.BigInteger(), nullable=False, comment="sum of edit distances"),
        sa.Column(
            "distance_ppm_squares",
            sa.BigInteger(),
            nullable=False,
            comment="sum of distance * distance / 1,000,000",
        ),
        sa.Column(
            "served",
            sa.LargeBinary(),
            nullable=False,
            comment="histogram of latency_us (quality/histogram.py)",
        ),
        sa.Column("shown", sa.LargeBinary(), nullable=False, comment="histogram of display_us"),
        sa.PrimaryKeyConstraint("model", "version", "slice", "minute_us", "shard", name=op.f("pk_windows")),
    )
    op.create_index(op.f("ix_windows_minute_us"), "windows", ["minute_us"], unique=False)
    op.create_table(
        "batch_items",
        sa.Column("batch_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("prediction_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column(
            "part",
            sa.String(length=16),
            nullable=False,
            comment="audit, evaluation, corrected, uncertain or diverse",
        ),
        sa.Column("reasons", sa.Text(), nullable=False, comment="JSON list of sentences"),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column(
            "inclusion",
            sa.Float(),
            nullable=True,
            comment="probability of being drawn, where it was drawn at random",
        ),
        sa.Column(
            "group", sa.String(length=256), nullable=False, comment="subject, or the prediction itself"
        ),
        sa.Column("label", sa.Text(), nullable=True, comment="JSON, null until labelled"),
        sa.Column(
            "flags", sa.Text(), nullable=True, comment="JSON list: ambiguous, not_in_guide, bad_data, skipped"
        ),
        sa.Column("labeler", sa.String(length=256), nullable=True),
        sa.Column("labeled_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_batch_items_batch_id_batches")),
        sa.PrimaryKeyConstraint("batch_id", "prediction_id", name=op.f("pk_batch_items")),
    )
    op.create_table(
        "dataset_examples",
        sa.Column("dataset_hash", sa.String(length=64), nullable=False),
        sa.Column("example_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("is_new", sa.Integer(), nullable=False, comment="1 if it comes from the batch of this run"),
        sa.ForeignKeyConstraint(
            ["dataset_hash"], ["datasets.hash"], name=op.f("fk_dataset_examples_dataset_hash_datasets")
        ),
        sa.ForeignKeyConstraint(
            ["example_id"], ["examples.id"], name=op.f("fk_dataset_examples_example_id_examples")
        ),
        sa.PrimaryKeyConstraint("dataset_hash", "example_id", name=op.f("pk_dataset_examples")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column(
            "status",
            sa.String(length=16),
            nullable=False,
            comment="waiting, requested, training, promoted, kept, failed",
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="why it was opened: a sentence"),
        sa.Column("signal_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("batch_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("champion", sa.String(length=128), nullable=False, comment="the version to beat"),
        sa.Column("candidate", sa.String(length=128), nullable=True),
        sa.Column("dataset_hash", sa.String(length=64), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=True, comment="promote or keep"),
        sa.Column("verdict_reason", sa.Text(), nullable=True, comment="a sentence"),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("opened_us", sa.BigInteger(), nullable=False),
        sa.Column("decided_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_hash"], ["datasets.hash"], name=op.f("fk_runs_dataset_hash_datasets")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_model_candidate"), "runs", ["model", "candidate"], unique=True)
    op.create_index(op.f("ix_runs_model_opened_us"), "runs", ["model", "opened_us"], unique=False)
    op.create_table(
        "cases",
        sa.Column("run_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("example_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column(
            "change",
            sa.String(length=16),
            nullable=False,
            comment="fixed, broken, still_wrong or still_right",
        ),
        sa.Column("champion_output", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("candidate_output", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("champion_ppm", sa.Integer(), nullable=False),
        sa.Column("candidate_ppm", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["example_id"], ["examples.id"], name=op.f("fk_cases_example_id_examples")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_cases_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "example_id", name=op.f("pk_cases")),
    )
    op.create_table(
        "run_steps",
        sa.Column("run_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column(
            "step",
            sa.String(length=16),
            nullable=False,
            comment="opened, ordered, labelled, requested, frozen, trained, scored, judged, released",
        ),
        sa.Column("evidence", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_steps_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "step", name=op.f("pk_run_steps")),
    )
    op.create_table(
        "scorecards",
        sa.Column("run_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("version", sa.String(length=128), nullable=False),
        sa.Column(
            "part",
            sa.String(length=16),
            nullable=False,
            comment="all, before (founding examples) or after (the batch)",
        ),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("n_wrong", sa.Integer(), nullable=False),
        sa.Column("distance_ppm", sa.BigInteger(), nullable=False, comment="sum of edit distances"),
        sa.Column("latency_us_p50", sa.BigInteger(), nullable=True),
        sa.Column("latency_us_p95", sa.BigInteger(), nullable=True),
        sa.Column("per_second", sa.Float(), nullable=True, comment="examples per second, batched"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_scorecards_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "version", "part", name=op.f("pk_scorecards")),
    )


def downgrade() -> None:
    op.drop_table("scorecards")
    op.drop_table("run_steps")
    op.drop_table("cases")
    op.drop_index(op.f("ix_runs_model_opened_us"), table_name="runs")
    op.drop_index(op.f("ix_runs_model_candidate"), table_name="runs")
    op.drop_table("runs")
    op.drop_table("dataset_examples")
    op.drop_table("batch_items")
    op.drop_index(op.f("ix_windows_minute_us"), table_name="windows")
    op.drop_table("windows")
    op.drop_index(op.f("ix_voc_time_us"), table_name="voc")
    op.drop_index(op.f("ix_voc_prediction_id"), table_name="voc")
    op.drop_table("voc")
    op.drop_table("versions")
    op.drop_table("slice_values")
    op.drop_index(op.f("ix_signals_model_time_us"), table_name="signals")
    op.drop_table("signals")
    op.drop_index(op.f("ix_releases_model_time_us"), table_name="releases")
    op.drop_table("releases")
    op.drop_index(op.f("ix_predictions_model_time_us"), table_name="predictions")
    op.drop_table("predictions")
    op.drop_table("outcomes")
    op.drop_index(op.f("ix_outbox_sent_us_stored_us"), table_name="outbox")
    op.drop_table("outbox")
    op.drop_table("leases")
    op.drop_table("intake_positions")
    op.drop_table("intake_ledger")
    op.drop_index(op.f("ix_feedback_stored_us"), table_name="feedback")
    op.drop_index(op.f("ix_feedback_prediction_id"), table_name="feedback")
    op.drop_table("feedback")
    op.drop_index(op.f("ix_examples_model_role"), table_name="examples")
    op.drop_table("examples")
    op.drop_table("detector_states")
    op.drop_index(op.f("ix_dead_letters_reason_stored_us"), table_name="dead_letters")
    op.drop_table("dead_letters")
    op.drop_table("datasets")
    op.drop_index(op.f("ix_batches_model_created_us"), table_name="batches")
    op.drop_table("batches")
