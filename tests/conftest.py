"""Fixtures and markers of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before torch is imported, for this process and those that it starts. Grids of tests are so small that a second thread
# costs six times the time of one, and processes of pytest share the processors. Tests of threads set their own number.
os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch

from tests.support.longest import LONGEST
from tests.support.paths import CHROMIUM, ROOT
from tests.support.service import SETTINGS, Service, add_laws

settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")  # no test fails because a machine is busy
if not torch.cuda.is_available():  # before anybody imports Triton: kernels for CUDA run in its interpreter
    os.environ["TRITON_INTERPRET"] = "1"
pytest_plugins = [
    "tests.support.databases",
    "tests.support.buckets",
    "tests.support.guarded",
    "tests.support.browser",
    "tests.support.scripted_server",
]

TIERS = ("chaos", "service", "integration", "unit")  # the long ones first: short ones fill what is left of the time
# Values of fixture parameters that start a server.
SERVERS = {"postgresql": ["postgresql"], "s3": ["s3"], "remote": ["postgresql", "s3"]}


def tier_of(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT / "tests").parts[0]


def turn_of(item: pytest.Item) -> tuple[int, int]:
    """When the file of a test begins: the longest files, and then tier by tier."""
    file = item.path.relative_to(ROOT / "tests").as_posix()
    return LONGEST.index(file) if file in LONGEST else len(LONGEST), TIERS.index(tier_of(item))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the tier of its folder and with the servers that it starts, and put what is long first."""
    items.sort(key=turn_of)
    for item in items:
        item.add_marker(tier_of(item))
        names = {server for server in ("postgresql", "s3") if server in getattr(item, "fixturenames", ())}
        for value in item.callspec.params.values() if hasattr(item, "callspec") else ():
            names.update(SERVERS.get(value, ()) if isinstance(value, str) else ())
        for name in sorted(names):
            item.add_marker(name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of the browser where there is none."""
    if item.get_closest_marker("browser") and CHROMIUM is None:
        pytest.skip("no chromium: deploy/debian-packages.sh installs it")


@pytest.fixture
def threads_of_the_service() -> Iterator[None]:
    """Give this process as many compute threads as a service of the tests has: bits may depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(int(SETTINGS["OMP_NUM_THREADS"]))
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["here", "remote"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """A database without tables and an empty store: a file and a folder, or PostgreSQL and S3."""
    if request.param == "here":
        return f"sqlite:///{tmp_path / 'jobs.sqlite'}", (tmp_path / "store").as_uri()
    return request.getfixturevalue("postgresql_url"), request.getfixturevalue("s3").url()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave it running."""
    data = tmp_path_factory.mktemp("service")
    add_laws(data)
    running = Service(data).start()
    yield running
    assert running.stop() == 0, running.tail()
