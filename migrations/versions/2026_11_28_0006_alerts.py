"""Alerts, and their deliveries to channels."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column(
            "key", sa.String(length=512), nullable=False, comment="the condition: kind, and what it is about"
        ),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=True),
        sa.Column("severity", sa.String(length=16), nullable=False, comment="info, warning or critical"),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False, comment="what is known by now"),
        sa.Column("opened_us", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_us", sa.BigInteger(), nullable=False),
        sa.Column("resolved_us", sa.BigInteger(), nullable=True, comment="null while it lasts"),
        sa.Column("resolution", sa.Text(), nullable=True, comment="why it is over: a sentence"),
        sa.Column(
            "told_us", sa.BigInteger(), nullable=True, comment="when there were last deliveries made of it"
        ),
        sa.Column(
            "next_us",
            sa.BigInteger(),
            nullable=True,
            comment="when there is something to tell; null: all is told",
        ),
        sa.CheckConstraint("severity in ('info', 'warning', 'critical')", name="ck_alerts_severity"),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
    )
    op.create_index("ix_alerts_opened_us", "alerts", ["opened_us"])
    op.create_index("ix_alerts_next_us", "alerts", ["next_us"])
    op.create_index(
        "ix_alerts_open_key",
        "alerts",
        ["key"],
        unique=True,
        sqlite_where=sa.text("resolved_us IS NULL"),
        postgresql_where=sa.text("resolved_us IS NULL"),
    )
    op.create_table(
        "alert_deliveries",
        sa.Column("alert_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("stored_us", sa.BigInteger(), nullable=False, comment="of which news of the alert it is"),
        sa.Column("due_us", sa.BigInteger(), nullable=False, comment="when it is tried, or tried again"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("sent_us", sa.BigInteger(), nullable=True, comment="null until the channel took it"),
        sa.Column("error", sa.Text(), nullable=True, comment="of the last attempt that failed"),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name="fk_alert_deliveries_alert_id_alerts"),
        sa.PrimaryKeyConstraint("alert_id", "channel", "stored_us", name="pk_alert_deliveries"),
    )
    op.create_index(
        "ix_alert_deliveries_channel_sent_us_due_us", "alert_deliveries", ["channel", "sent_us", "due_us"]
    )


def downgrade() -> None:
    op.drop_table("alert_deliveries")
    op.drop_table("alerts")
