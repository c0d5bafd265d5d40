"""The app on a folder of its own, its job table, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app import create_app
from leym.settings import Settings
from tests.support.api import Api, opened


@pytest.fixture
def app(tmp_path):
    return create_app(Settings(data=tmp_path / "data"))


@pytest.fixture
def table(app):
    return app.extensions["leym"].table


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with opened(tmp_path) as found:
        yield found
