"""Retention and erasure: what is no longer kept, and that it was here."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "erased_windows",
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
        sa.PrimaryKeyConstraint(
            "model", "version", "slice", "minute_us", "shard", name=op.f("pk_erased_windows")
        ),
        comment="what erased predictions count in `windows`, so that a recount still adds up",
    )
    op.create_table(
        "erasure_salts",
        sa.Column(
            "salt",
            sa.String(length=32),
            nullable=False,
            comment="each that is in `erasures`: hardly ever several",
        ),
        sa.PrimaryKeyConstraint("salt", name=op.f("pk_erasure_salts")),
    )
    op.create_table(
        "erasures",
        sa.Column(
            "hash",
            sa.String(length=64),
            nullable=False,
            comment="of the subject, keyed with the salt, in hexadecimal",
        ),
        sa.Column(
            "salt",
            sa.String(length=32),
            nullable=False,
            comment="hexadecimal; the same for all of an installation",
        ),
        sa.Column(
            "erased_us", sa.BigInteger(), nullable=False, comment="what happened before does not come back"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_erasures")),
    )
    op.create_table(
        "removals",
        sa.Column(
            "kind", sa.String(length=16), nullable=False, comment="prediction, feedback, voc or dead_letter"
        ),
        sa.Column(
            "topic", sa.String(length=249), nullable=False, comment="of dead letters; empty for events"
        ),
        sa.Column(
            "partition", sa.Integer(), nullable=False, comment="of dead letters; for events who removed them"
        ),
        sa.Column(
            "n", sa.BigInteger(), nullable=False, comment="counted in the ledger, and not stored any more"
        ),
        sa.Column(
            "n_forgotten",
            sa.BigInteger(),
            nullable=False,
            comment="those whose tombstone is not stored either",
        ),
        sa.PrimaryKeyConstraint("kind", "topic", "partition", name=op.f("pk_removals")),
    )
    op.create_table(
        "retained_since",
        sa.Column("kind", sa.String(length=16), nullable=False, comment="prediction or ledger"),
        sa.Column(
            "time_us", sa.BigInteger(), nullable=False, comment="what is older is removed, or is about to be"
        ),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_retained_since")),
    )
    op.create_table(
        "tombstones",
        sa.Column(
            "id",
            sa.Uuid(as_uuid=False),
            nullable=False,
            comment="of an event that was counted and is not stored any more",
        ),
        sa.Column("kind", sa.String(length=10), nullable=False, comment="prediction, feedback or voc"),
        sa.Column("time_us", sa.BigInteger(), nullable=False, comment="when the event happened"),
        sa.Column(
            "is_erased", sa.Integer(), nullable=False, comment="1 if a person was erased, 0 if it grew old"
        ),
        sa.PrimaryKeyConstraint("id", "kind", name=op.f("pk_tombstones")),
    )
    op.create_index(op.f("ix_tombstones_time_us"), "tombstones", ["time_us"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_tombstones_time_us"), table_name="tombstones")
    op.drop_table("tombstones")
    op.drop_table("retained_since")
    op.drop_table("removals")
    op.drop_table("erasures")
    op.drop_table("erasure_salts")
    op.drop_table("erased_windows")
