"""A job table on SQLite, and on a real PostgreSQL where that is installed."""

from __future__ import annotations

import pytest

from leym.jobs.table import JobTable


@pytest.fixture
def open_table(url):
    made = []

    def make() -> JobTable:
        made.append(JobTable(url))
        return made[-1]

    yield make
    for table in made:
        table.close()


@pytest.fixture
def table(open_table):
    return open_table()
