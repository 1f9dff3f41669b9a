"""Data drift: where what is watched of a version stands, and when it moved."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "data_drift_states",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=128), nullable=False),
        sa.Column(
            "watched", sa.String(length=256), nullable=False, comment="such as confidence or features.NAME"
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="JSON (quality/data_drift.py)"),
        sa.Column(
            "read_us", sa.BigInteger(), nullable=False, comment="predictions before this are in the state"
        ),
        sa.Column("stored_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", "watched", name="pk_data_drift_states"),
    )
    op.create_table(
        "data_shifts",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=128), nullable=False),
        sa.Column("watched", sa.String(length=256), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False, comment="when it was noticed"),
        sa.Column("stage", sa.String(length=16), nullable=False, comment="moved, or calm again"),
        sa.Column(
            "change_us",
            sa.BigInteger(),
            nullable=True,
            comment="since when it is estimated to have moved",
        ),
        sa.Column("n_values", sa.BigInteger(), nullable=False, comment="values since the change"),
        sa.Column("log_evidence", sa.Float(), nullable=False),
        sa.Column(
            "level", sa.Float(), nullable=False, comment="the evidence that alarms, as log_evidence is"
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="a sentence"),
        sa.CheckConstraint("stage in ('moved', 'calm')", name="ck_data_shifts_stage"),
        sa.PrimaryKeyConstraint("id", name="pk_data_shifts"),
    )
    op.create_index("ix_data_shifts_model_time_us", "data_shifts", ["model", "time_us"])


def downgrade() -> None:
    op.drop_table("data_shifts")
    op.drop_table("data_drift_states")
