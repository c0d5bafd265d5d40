"""Environment of Alembic. Migrations run on the connection and in the transaction of `leym.jobs.migrate`."""

from alembic import context

from leym.jobs.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
