"""Makes what the viewer of notebooks and pages shows: coloured frames of universes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from leym.frames.colormaps import colours

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
        map: name of the colours of the codes 0 to 255, of `leym.frames.colormaps`; None if the frames are colours.
        limits: the values that the codes 0 and 255 stand for.
        units: unit of the values.
    """

    title: str
    steps: NDArray[np.int64]
    frames: NDArray[np.uint8]
    map: str | None
    limits: tuple[float, float] = (0.0, 1.0)
    units: str = "1"

    def colours(self, step: int) -> NDArray[np.uint8]:
        """Return the last frame up to a step in colours, uint8 [H, W, 3]; grey before the first frame."""
        at = int(np.searchsorted(self.steps, step, side="right")) - 1
        if at < 0:
            return np.full((*self.frames.shape[1:3], 3), 128, np.uint8)
        frame: NDArray[np.uint8] = self.frames[at]
        return frame if self.map is None else np.asarray(colours(self.map)[frame], np.uint8)


def described(panel: Panel) -> dict[str, Any]:
    """Return what the viewer needs to know of a panel before its frames."""
    height, width = panel.frames.shape[1:3]
    about = {"title": panel.title, "height": height, "width": width}
    return about | {"map": panel.map, "limits": list(panel.limits), "units": panel.units}


def base64_of(array: NDArray[np.uint8]) -> str:
    """Return bytes as text."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
