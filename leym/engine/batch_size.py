"""Chooses how many universes share a call of the step, by law and grid, on each kind of device.

Without a measurement a batch fills a call with so many cells. Better is what `leym bench LAW --batch-sizes --keep`
measured: the smallest batch size whose speed is within TOLERANCE of the best, since empty slots are stepped too. The
bits of a universe can depend on the batch size, so a choice is never made anew from a timing: workers of a kind read it
from one file.

    {"<kind of device>": {"UNET d4 c8 additive float32 64x64": 4, ...}, ...}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from leym.common.files import write_text
from leym.contract.problems import Problem
from leym.engine.device import Device
from leym.laws.bundle import Manifest

# Cells that one call of the step should have, so that the device is busy and little is wasted on empty slots.
CELLS_PER_CALL = {"cpu": 16_384, "cuda": 262_144}
# A batch of tiny universes is no larger than this, since a compiled step computes empty slots too: one universe alone
# would wait for them.
MEMBERS_PER_CALL = {"cpu": 128, "cuda": 4096}
SKIPPING = 4  # times as many cells, if the step on a CPU skips empty slots
TOLERANCE = 0.05


class BatchSizeTable:
    """The measured batch sizes of a device.

    Args:
        device: the device.
        file: where they are kept; it need not exist. None: nothing is measured.

    Raises:
        Problem: 422, the file cannot be read.
    """

    def __init__(self, device: Device, file: Path | None = None):
        self._device, self._file = device, file
        self._measured = _read(file).get(device.kind, {}) if file else {}

    def batch_size(
        self, law: Manifest, precision: str, grid: tuple[int, int], most: int, *, skips_empty: bool = False
    ) -> int:
        """Return the slots per batch: a power of two, at most `most`.

        Args:
            law: the law.
            precision: precision of its weights.
            grid: (H, W) in cells.
            most: bound of the answer.
            skips_empty: True for a step that does not compute empty slots.
        """
        if measured := self._measured.get(self._name(law, precision, grid)):
            return min(measured, _power_of_two(most))
        return filling_size(grid, most, self._device.torch.type, skips_empty=skips_empty)

    def keep(self, law: Manifest, precision: str, grid: tuple[int, int], batch_size: int) -> None:
        """Add a choice to the file.

        Raises:
            ValueError: the table has no file.
        """
        if self._file is None:
            raise ValueError("batch sizes cannot be kept: the table has no file")
        self._measured[self._name(law, precision, grid)] = batch_size
        everything = _read(self._file) | {self._device.kind: self._measured}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._file, json.dumps(everything, indent=1, sort_keys=True) + "\n")

    def _name(self, law: Manifest, precision: str, grid: tuple[int, int]) -> str:
        operands = "float32" if precision == "fp32" else str(self._device.operands).removeprefix("torch.")
        shape = f"{law.architecture} d{law.d_state} c{law.hidden_channels} {law.form}"
        return f"{shape} {operands} {grid[0]}x{grid[1]}"


def filling_size(grid: tuple[int, int], most: int, device_type: str, *, skips_empty: bool = False) -> int:
    """Return the power of two whose batch fills a call with CELLS_PER_CALL cells.

    It is at most `most` and MEMBERS_PER_CALL. A step that does not compute empty slots gets more of them, since
    recording and scheduling take less time for few large batches.
    """
    cells = CELLS_PER_CALL.get(device_type, CELLS_PER_CALL["cpu"])
    if skips_empty and device_type == "cpu":
        cells *= SKIPPING
    else:
        most = min(most, MEMBERS_PER_CALL.get(device_type, MEMBERS_PER_CALL["cpu"]))
    return min(_power_of_two(most), _power_of_two(max(1, cells // (grid[0] * grid[1]))))


def choose(speeds: Mapping[int, float]) -> int:
    """Return the smallest batch size whose speed, in cell-steps/s of full batches, is within TOLERANCE of the best."""
    enough = (1 - TOLERANCE) * max(speeds.values())
    return min(size for size, speed in speeds.items() if speed >= enough)


def _power_of_two(most: int) -> int:
    return 1 << (most.bit_length() - 1)


def _read(file: Path) -> dict[str, dict[str, int]]:
    try:
        found: dict[str, dict[str, int]] = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Problem(422, "Invalid batch sizes", f"{file}: {error}") from error
    sizes = [size for kind in found.values() for size in kind.values()] if isinstance(found, dict) else [None]
    for size in sizes:
        if not isinstance(size, int) or size < 1 or size & (size - 1):
            raise Problem(422, "Invalid batch sizes", f"{file}: batch size {size!r}: expected powers of two")
    return found
