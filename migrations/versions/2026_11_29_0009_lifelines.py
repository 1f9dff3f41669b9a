"""Lifelines: which worker holds which lock while it lives."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "lifelines",
        sa.Column(
            "number",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="of the lock that the process holds while it lives (storage/lifelines.py)",
        ),
        sa.Column("consumer_group", sa.String(length=256), nullable=False),
        sa.Column("holder", sa.String(length=128), nullable=False),
        sa.Column(
            "member_id", sa.Text(), nullable=False, comment="in the consumer group; empty before it joins"
        ),
        sa.Column(
            "generation",
            sa.Integer(),
            nullable=True,
            comment="of the consumer group; -1 while that forms, null before the process joins",
        ),
        sa.PrimaryKeyConstraint("number", name="pk_lifelines"),
    )


def downgrade() -> None:
    op.drop_table("lifelines")
