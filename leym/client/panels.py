"""What the viewer of notebooks and pages shows: coloured frames of universes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from leym.contract.catalog import FIELDS

if TYPE_CHECKING:
    import xarray


class Universe(Protocol):
    """The part of `leym.client.Job` that is shown."""

    @property
    def id(self) -> str:
        """The id of the job."""

    @property
    def state(self) -> str:
        """The state of the job."""

    def field_names(self) -> list[str]:
        """Return the names of the recorded fields."""

    def list_fields(self) -> list[dict[str, Any]]:
        """List the recorded fields."""

    def array(
        self, field: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read the frames of a field."""

    def dataset(self, lineage: bool = False) -> xarray.Dataset:
        """Open the results as one dataset."""

    def live(
        self,
        field: str,
        *,
        start: int = 0,
        fps: float | None = None,
        downsample: int = 1,
        dtype: Literal["u8", "f16", "f32"] = "f32",
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (step, frame) as the frames are stored."""


@dataclass(frozen=True)
class Panel:
    """One universe of a view.

    Attributes:
        title: text under the picture.
        steps: the recorded steps, int64 [n], increasing.
        frames: codes of `map`, uint8 [n, H, W]; or colours, uint8 [n, H, W, 3].
        map: colours of the codes 0 to 255, uint8 [256, 3]; None if the frames are colours.
    """

    title: str
    steps: NDArray[np.int64]
    frames: NDArray[np.uint8]
    map: NDArray[np.uint8] | None

    def colours(self, step: int) -> NDArray[np.uint8]:
        """Return the last frame up to a step in colours, uint8 [H, W, 3]; grey before the first frame."""
        at = int(np.searchsorted(self.steps, step, side="right")) - 1
        if at < 0:
            return np.full((*self.frames.shape[1:3], 3), 128, np.uint8)
        frame: NDArray[np.uint8] = self.frames[at]
        return frame if self.map is None else np.asarray(self.map[frame], np.uint8)


def colour_map(cyclic: bool) -> NDArray[np.uint8]:
    """Return the colours of the service's pictures, for angles or for other numbers: uint8 [256, 3].

    Raises:
        ModuleNotFoundError: Pillow is not installed (`pip install 'leym[data]'`).
    """
    from leym.frames.pictures import render

    field = "phase" if cyclic else "coherence"
    low, high = FIELDS[field].bounds or (0.0, 1.0)
    ramp = low + (np.arange(256, dtype=np.float32) + 0.5) / 256 * (high - low)
    found: NDArray[np.uint8] = render(field, ramp[None, None])[0, 0]
    return found


def script() -> str:
    """Return the ES module of the viewer."""
    return resources.files("leym.client").joinpath("viewer.js").read_text("utf-8")


def described(panel: Panel) -> dict[str, Any]:
    """Return what the viewer needs to know of a panel before its frames."""
    height, width = panel.frames.shape[1:3]
    colours = None if panel.map is None else base64_of(panel.map)
    return {"title": panel.title, "height": height, "width": width, "map": colours}


def base64_of(array: NDArray[np.uint8]) -> str:
    """Return bytes as text."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
