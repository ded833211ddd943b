"""Alembic executes this file for each command; `database` has put the open connection into the configuration."""

from alembic import context
from bakeoff.harness.store.migrations import VERSION_TABLE
from bakeoff.harness.store.tables import METADATA

__all__: list[str] = []

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
