"""${message}.

Read this before you write the migration, then delete it:

- The previous version of the code keeps running while this migrates and for a while after. Adding a nullable column
  or a table is safe. Removing a column takes two releases (stop using it, then drop it), renaming takes three (add and
  write both, move the readers, drop the old one).
- On PostgreSQL a statement that waits 5 seconds for a table gives up (migrations/env.py): run the migration again. Do
  not raise the limit, for every worker waits behind a waiting ALTER TABLE.
- An index on a large table is built with `postgresql_concurrently=True` inside
  `with op.get_context().autocommit_block():`, in a migration of its own. Backfills go in portions, not in here.
- SQLite alters a table by copying it: write `with op.batch_alter_table("…") as table:`.
- Test it: tests/migrations/test_migrations.py runs up, down and up again on both databases.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}
branch_labels: Sequence[str] | None = ${repr(branch_labels)}
depends_on: Sequence[str] | None = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
