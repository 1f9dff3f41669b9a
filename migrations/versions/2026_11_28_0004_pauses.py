"""Pauses of flooded partitions, and rounds of verification."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "intake_pauses",
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, comment="why it was paused: a sentence"),
        sa.Column("paused_us", sa.BigInteger(), nullable=False),
        sa.Column(
            "resumed_us", sa.BigInteger(), nullable=True, comment="null while the partition is not read"
        ),
        sa.Column(
            "flooded_us",
            sa.BigInteger(),
            nullable=False,
            comment="when dead letters were last above the limits; what was resumed stays so while it goes on",
        ),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_intake_pauses"),
    )
    op.create_table(
        "verify_rounds",
        sa.Column("name", sa.String(length=16), nullable=False, comment="current: there is one"),
        sa.Column(
            "place",
            sa.Text(),
            nullable=False,
            comment="JSON: where the round goes on (storage/verify_rounds.py)",
        ),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("n_differences", sa.BigInteger(), nullable=False, comment="found in this round so far"),
        sa.Column(
            "completed_us",
            sa.BigInteger(),
            nullable=True,
            comment="when the round before it came to its end",
        ),
        sa.Column(
            "n_differences_before",
            sa.BigInteger(),
            nullable=False,
            comment="found in the round before it",
        ),
        sa.PrimaryKeyConstraint("name", name="pk_verify_rounds"),
    )


def downgrade() -> None:
    op.drop_table("verify_rounds")
    op.drop_table("intake_pauses")
