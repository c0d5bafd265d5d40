"""A law that is alive, and engines that are stopped at the end of a test."""

from __future__ import annotations

import pytest

from leym.engine.engine import Engine
from tests.support.laws import random_law


@pytest.fixture(scope="module")
def law(tmp_path_factory):
    return random_law(tmp_path_factory.mktemp("laws") / "alive", "UNET", d=2, c=4)


@pytest.fixture
def engines(request):
    """Make started engines that are stopped at the end; the parameter "ahead" makes them launch bursts ahead."""
    made: list[Engine] = []
    chosen = {"compile": False} | ({"ahead": True} if getattr(request, "param", "") == "ahead" else {})

    def make(slots: int = 4, **options) -> Engine:
        made.append(Engine(slots, **(chosen | options)))
        made[-1].start()
        return made[-1]

    yield make
    for engine in made:
        engine.stop()
