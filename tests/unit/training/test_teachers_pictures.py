"""Stills of teachers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leym.training.teachers.catalog import TEACHERS, teacher
from leym.training.teachers.pictures import GAP, stills


@pytest.mark.parametrize("name", [name for name, kind in TEACHERS.items() if kind.__module__.startswith("leym.")])
def test_stills_are_a_row_of_different_frames(name: str) -> None:
    row = stills(teacher(name), [0, 40], (12, 16), seed=1, kind="noise", scale=2)
    assert row.shape == (24, 2 * 32 + GAP, 3)
    first, second = row[:, :32], row[:, 32 + GAP :]
    assert (first != second).mean() > 0.2
    assert (row[:, 32 : 32 + GAP] == 255).all()
    assert np.array_equal(first[::2, ::2], first[1::2, 1::2])


def test_steps_must_rise() -> None:
    with pytest.raises(ValueError, match=r"steps = \[5, 2\]"):
        stills(teacher("kuramoto"), [5, 2], (8, 8), seed=1)


def test_the_command_writes_a_png_and_names_its_errors(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "leym.training.teachers"]
    out = tmp_path / "a.png"
    subprocess.run([*command, "kuramoto", str(out), "--steps", "0,5", "--side", "16"], check=True)
    assert Image.open(out).size == (2 * 32 + GAP, 32)
    found = subprocess.run([*command, "ising", str(out)], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "expected one of" in found.stderr
