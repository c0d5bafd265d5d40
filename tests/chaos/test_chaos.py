"""A short storm in `make test`; `make chaos` plays a long one.

CHAOS_FAULTS is the number of faults, CHAOS_SEED the seed of the schedule.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.chaos.deployment import Deployment
from tests.chaos.storm import play, schedule

FAULTS = int(os.environ.get("CHAOS_FAULTS", "3"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
REPORTS = os.environ.get("CHAOS_REPORTS")  # a folder


@pytest.mark.timeout(FAULTS * 150 + 900)
@pytest.mark.parametrize(
    ("database", "store"),
    [("sqlite", "file"), ("postgresql", "s3")] + [("sqlite", "s3"), ("postgresql", "file")] * bool(REPORTS),
)
def test_nothing_is_lost_doubled_or_changed(database, store, request, tmp_path):
    url = request.getfixturevalue("postgresql_url") if database == "postgresql" else ""
    deployment = Deployment(tmp_path, url, request.getfixturevalue("s3").url() if store == "s3" else "")
    with deployment.running():
        report = play(deployment, schedule(deployment, SEED, FAULTS), SEED) | {"database": database, "store": store}
    if REPORTS:
        Path(REPORTS, f"{database}-{store}.json").write_text(json.dumps(report, indent=1) + "\n")
    assert report["violations"] == []
    assert sum(fault["happened"] for fault in report["faults"]) >= len(report["faults"]) / 2
