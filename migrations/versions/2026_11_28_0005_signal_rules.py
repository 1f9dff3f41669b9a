"""What decided about a signal, and the evidence that alarms; what a run learns from as new."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_DECISION = "warned, opened, suppressed or calmed"
_DECISION_BEFORE = "opened or suppressed"
_NEW = "1 if from the batch of the run, or after its change"
_NEW_BEFORE = "1 if it comes from the batch of this run"


def upgrade() -> None:
    with op.batch_alter_table("signals") as signals:
        signals.add_column(
            sa.Column(
                "rule",
                sa.String(length=16),
                nullable=False,
                server_default="drift",
                comment="what decided: drift, schedule, person, or the rule that spoke against a run",
            )
        )
        signals.add_column(
            sa.Column(
                "level", sa.Float(), nullable=True, comment="the evidence that alarms, as log_evidence is"
            )
        )
        signals.alter_column("decision", comment=_DECISION, existing_comment=_DECISION_BEFORE)
    with op.batch_alter_table("dataset_examples") as dataset_examples:
        dataset_examples.alter_column("is_new", comment=_NEW, existing_comment=_NEW_BEFORE)


def downgrade() -> None:
    with op.batch_alter_table("dataset_examples") as dataset_examples:
        dataset_examples.alter_column("is_new", comment=_NEW_BEFORE, existing_comment=_NEW)
    with op.batch_alter_table("signals") as signals:
        signals.alter_column("decision", comment=_DECISION_BEFORE, existing_comment=_DECISION)
        signals.drop_column("level")
        signals.drop_column("rule")
