"""Several detectors of one slice.

A worker from before this can't store where its detectors stand any more: what it noticed is rolled back with that,
until it is replaced. States that were stored are those of the horizon of an hour, which was the default; who had set
another one deletes the rows of `detector_states`, and detectors learn from the predictions that are stored.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_KEY = ["model", "version", "slice"]


def upgrade() -> None:
    with op.batch_alter_table("signals") as signals:
        signals.add_column(
            sa.Column(
                "detector",
                sa.String(length=32),
                nullable=True,
                comment="which of several saw it; null where none did, or before there were several",
            )
        )
    with op.batch_alter_table("detector_states") as states:
        states.add_column(
            sa.Column(
                "detector",
                sa.String(length=32),
                nullable=False,
                server_default="1h",
                comment="which of several: the name of its horizon (quality/horizons.py)",
            )
        )
        states.drop_constraint("pk_detector_states", type_="primary")
        states.create_primary_key("pk_detector_states", [*_KEY, "detector"])


def downgrade() -> None:
    op.execute("DELETE FROM detector_states WHERE detector <> '1h'")
    with op.batch_alter_table("detector_states") as states:
        states.drop_constraint("pk_detector_states", type_="primary")
        states.drop_column("detector")
        states.create_primary_key("pk_detector_states", _KEY)
    with op.batch_alter_table("signals") as signals:
        signals.drop_column("detector")
