"""Steps between versions of the job table, for Alembic. `leym.jobs.migrate` runs them when a table is opened."""
