"""API keys of the HTTP intake."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=16), nullable=False, comment="the part of the key that may be told"),
        sa.Column(
            "source", sa.Text(), nullable=False, comment="the CloudEvents source that its events must have"
        ),
        sa.Column(
            "hash",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of the secret part, which nobody keeps",
        ),
        sa.Column(
            "models",
            sa.Text(),
            nullable=True,
            comment="JSON list of models it may send for; null: every model",
        ),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.Column(
            "last_used_us",
            sa.BigInteger(),
            nullable=True,
            comment="the beginning of the last day (UTC) it was used",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )


def downgrade() -> None:
    op.drop_table("api_keys")
