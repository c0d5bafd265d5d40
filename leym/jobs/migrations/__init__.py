"""Alembic migrations of the job table. `leym.jobs.migrate` runs them when a table is opened."""
