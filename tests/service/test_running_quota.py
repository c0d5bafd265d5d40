"""Jobs of a project beyond LEYM_QUOTA_RUNNING in a running service: they wait, and nobody waits for them."""

from __future__ import annotations

import pytest

from leym.client import Client
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.service import Service, until

LONG = {"law": "aurora", "grid": (8, 8), "steps": 1_000_000}


@pytest.fixture(scope="module")
def bounded(tmp_path_factory):
    """A service where each project may run one job, and a client of each of two projects."""
    data = tmp_path_factory.mktemp("bounded")
    table = JobTable(Settings(data=data).database)
    tokens = [table.create_token(name, ["submit", "read", "cancel"], name)[1] for name in ("ours", "theirs")]
    table.close()
    running = Service(data, "--workers", "2", "--no-flower", LEYM_QUOTA_RUNNING="1").start()
    yield running, *(Client(running.url, token=token) for token in tokens)
    assert running.stop() == 0, running.tail()


def test_jobs_beyond_the_bound_wait_are_overtaken_and_run_in_the_end(bounded):
    service, ours, theirs = bounded
    long = ours.submit(**LONG)
    until(lambda: long.refresh().state == "running", what="the first job runs")
    waiting = [ours.submit("aurora", (8, 8), 20, {"phase": 5}, seed=i) for i in range(20)]
    put_off = "SELECT count(*) FROM leym_jobs WHERE put_off_at IS NOT NULL AND ticketed_at IS NULL"

    def are_put_off() -> bool:
        with service.table.db.read() as connection:
            return connection.exec_driver_sql(put_off).scalar() == len(waiting)

    until(are_put_off, what="every ticket was taken and put off")
    other = theirs.submit("aurora", (8, 8), 20).wait(240)  # overtakes
    assert other.state == "succeeded"
    assert {job.refresh().state for job in waiting} == {"queued"}
    with service.table.db.read() as connection:
        seen = connection.exec_driver_sql("SELECT max(put_off_at) FROM leym_jobs").scalar()
    other = theirs.submit("aurora", (8, 8), 2000).wait(240)
    with service.table.db.read() as connection:  # nobody has tried again: there is no room
        assert connection.exec_driver_sql("SELECT max(put_off_at) FROM leym_jobs").scalar() == seen
    long.cancel()
    table = service.table.of("ours")

    def all_ended() -> bool:
        assert table.counts()["running"] <= 1, "two run at once"
        return table.counts()["succeeded"] == len(waiting)

    until(all_ended, what="each has had its turn")
    assert {job.refresh().as_dict()["epoch"] for job in waiting} == {1}
