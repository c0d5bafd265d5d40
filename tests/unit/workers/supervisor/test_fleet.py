"""A fleet sees only the jobs that its workers may run."""

from __future__ import annotations

import pytest

from leym.contract.records import SIMULATION, TRAINING
from leym.contract.training_spec import EXAMPLE_RECIPE, TrainingSpec
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.job_tables import submit
from workers.supervisor.autoscaler import Limits
from workers.supervisor.fleet import Fleet, training_limits


@pytest.fixture
def table(tmp_path):
    made = JobTable(tmp_path / "jobs.sqlite")
    yield made
    made.close()


def observed(table: JobTable, settings: Settings, kind: str) -> tuple[int, int]:
    found = Fleet(table, settings, Limits(0, 1, 300), {}, kind=kind)._observe()
    return found.queued, found.cell_steps


def test_each_fleet_counts_its_own_jobs(table, tmp_path):
    settings = Settings(data=tmp_path)
    submit(table, steps=100)
    spec = TrainingSpec(recipe=EXAMPLE_RECIPE, law="spirals", grid=(32, 32), steps=4000)
    for _ in range(2):
        table.submit(spec, law="spirals", precision="fp32", d_state=1)
    assert observed(table, settings, SIMULATION) == (1, 100 * 8 * 16)
    assert observed(table, settings, TRAINING) == (2, 0)
    assert table.count_queued() == 3
    assert {job.is_training for job in table.unticketed(float("inf"), now=2e9)} == {True, False}


def test_training_workers_start_on_demand_up_to_their_number(tmp_path):
    settings = Settings(data=tmp_path, training_workers=3)
    limits = training_limits(settings)
    assert (limits.minimum, limits.maximum) == (0, 3)
    assert training_limits(settings, elsewhere=True).maximum == 0
