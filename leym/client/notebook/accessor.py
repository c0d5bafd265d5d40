"""Colours of recorded fields for xarray: hints in the attributes, and `array.leym.plot()`.

xarray takes neither the colour map nor the direction of the rows from attributes, so that its own `plot()` draws a
phase upside down and in colours that do not meet at the ends.
"""

from __future__ import annotations

from typing import Any

import xarray

from leym.contract.catalog import FIELDS


def with_hints(dataset: xarray.Dataset) -> xarray.Dataset:
    """Add the colours of each known field to its attributes: cmap, vmin, vmax, cyclic (0 or 1) and origin."""
    for name, variable in dataset.data_vars.items():
        info = FIELDS.get(str(name))
        if info is None:
            continue
        hints: dict[str, Any] = {"cmap": "twilight" if info.cyclic else "viridis", "cyclic": int(info.cyclic)}
        if info.bounds:
            hints |= {"vmin": info.bounds[0], "vmax": info.bounds[1]}
        variable.attrs.update(hints | {"origin": "upper"})
    return dataset


@xarray.register_dataarray_accessor("leym")
class Pictures:
    """`array.leym`: draws a field as the service does."""

    def __init__(self, array: xarray.DataArray):
        self._array = array

    def plot(self, **options: Any) -> Any:
        """Draw a frame [y, x] with row 0 at the top, in the colours and the range of its field.

        Args:
            **options: options of `DataArray.plot.imshow`, such as ax, vmin or cmap.

        Raises:
            ValueError: the array does not have two dimensions; choose a step, and a channel.
        """
        if self._array.ndim != 2:
            raise ValueError(f"a picture has two dimensions, not {self._array.dims}: choose with isel(step=-1)")
        hints = {key: self._array.attrs[key] for key in ("cmap", "vmin", "vmax", "origin") if key in self._array.attrs}
        drawn = self._array.plot.imshow(**(hints | options))
        drawn.axes.set_aspect("equal")
        return drawn
