"""How Alembic runs a migration: in one transaction, one process at a time, not waiting long for a table."""

from alembic import context
from sqlalchemy import Connection, text

from storage.tables import metadata

#: Any number, the same in every process.
_MIGRATION_LOCK = 0x65727261


def run_migrations(connection: Connection) -> None:
    """Run what `context` was asked for on `connection`."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            # Another process may be migrating: wait minutes for it. After that a statement may take long, but
            # must not wait long for a table: behind a waiting ALTER TABLE every worker would wait too.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = '5min'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        context.run_migrations()


run_migrations(context.config.attributes["connection"])
