"""The tutorial: its code blocks run as they stand, at smaller sizes, and no step is longer than five lines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.service import Service

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SIZES = {
    'law, grid, steps, more, seeds = "turbulence", 64, 2000, 5000, 8': (
        'law, grid, steps, more, seeds = "tiny", 16, 40, 100, 2'
    ),
    "LAW=turbulence GRID=64 STEPS=2000 HALF=1000 MORE=7000 FROM=4500 EVERY=500 SEEDS=0..7": (
        "LAW=tiny GRID=16 STEPS=40 HALF=20 MORE=140 FROM=90 EVERY=10 SEEDS=0..1"
    ),
}


def blocks(language: str) -> list[str]:
    """The blocks of a language, with smaller sizes in the place of those of the page."""
    found = [text for kind, text in BLOCK.findall(PAGE) if kind == language]
    for there, here in SIZES.items():
        found = [text.replace(there, here) for text in found]
    assert sum(here in text for text in found for here in SIZES.values()) == 1
    return found


def test_no_step_is_longer_than_five_lines_and_the_table_counts_them() -> None:
    counted = [int(number) for number in re.findall(r"^  - (\d+) lines?$", PAGE, re.MULTILINE)]
    for position, language in enumerate(("python", "sh")):
        steps = [sum(bool(line) for line in text.splitlines()) for text in blocks(language)[1:]]
        assert max(steps) <= 5
        assert steps == counted[position::2]


def run(command: list[str], text: str, folder: Path, service: Service) -> str:
    environment = os.environ | {"LEYM_URL": service.url, "MPLBACKEND": "agg"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(command, input=text, cwd=folder, env=environment, capture_output=True, text=True, timeout=480)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


PROOF = """
import numpy as np
assert timeline["phase"].sizes["step"] == 8 and int(timeline["step"][-1]) == steps + more
assert branch.differs == {"gamma": [best.spec["gamma"], 0.2]}, branch.differs
assert longer.spec["gamma"] == best.spec["gamma"]
assert apart["step"].tolist() == [100, 120, 140] and apart["mean"].max() > 0
assert differing.max() > 0
"""


@pytest.mark.slow
def test_the_research_task_from_python(service: Service, tmp_path: Path) -> None:
    said = run([sys.executable, "-"], "\n".join(blocks("python")) + PROOF, tmp_path, service)
    assert f"{service.url}/s/" in said
    for name in ("activity.png", "channel_entropy.png", "six.html", "branches.html"):
        assert (tmp_path / name).stat().st_size > 1000, name
    assert (tmp_path / "six.html").read_text().count("initial.strength = ") == 6


@pytest.mark.slow
def test_the_research_task_from_a_shell(service: Service, tmp_path: Path) -> None:
    said = run(["bash", "-eu"], "\n".join(blocks("sh")), tmp_path, service)
    for name in ("activity.png", "channel_entropy.png", "six.html", "branches.html", "healing.gif"):
        assert (tmp_path / name).stat().st_size > 1000, name
    assert f"{service.url}/s/" in said
    assert re.findall(r"^step\tmean\tlargest\tcells$", said, re.MULTILINE) != []
