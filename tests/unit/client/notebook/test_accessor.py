"""Plots of recorded fields look like the pictures of the service."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import xarray
from matplotlib import pyplot

from leym.client.notebook.accessor import with_hints
from leym.frames.pictures import render

matplotlib.use("agg")


@pytest.mark.parametrize("field", ["phase", "coherence"])
def test_a_plot_has_the_colours_and_the_rows_of_the_service(field: str) -> None:
    low, high = (-np.pi, np.pi) if field == "phase" else (0, 1)
    values = np.random.default_rng(1).uniform(low, high, (3, 6, 9)).astype(np.float32)
    dataset = with_hints(xarray.Dataset({field: (("step", "y", "x"), values, {"units": "rad", "long_name": field})}))
    drawn = dataset[field][-1].leym.plot()
    shown = (drawn.to_rgba(drawn.get_array())[..., :3] * 255).round()
    assert np.abs(shown - render(field, values)[-1].astype(float)).max() <= 6  # twilight has 510 colours
    assert drawn.origin == "upper"
    bottom, top = drawn.axes.get_ylim()
    assert bottom > top, "row 0 is at the top"
    pyplot.close("all")


def test_attributes_are_kept_and_can_be_saved_as_netcdf() -> None:
    dataset = with_hints(
        xarray.Dataset({"phase": (("y", "x"), np.zeros((2, 2)), {"units": "rad"}), "other": ("y", [1, 2])})
    )
    found = dataset["phase"].attrs
    assert {key: found[key] for key in ("units", "cmap", "cyclic", "origin")} == {
        "units": "rad", "cmap": "twilight", "cyclic": 1, "origin": "upper",
    }  # fmt: skip
    assert all(isinstance(value, str | int | float) for value in found.values())
    assert "cmap" not in dataset["other"].attrs


def test_only_one_frame_is_a_picture() -> None:
    with pytest.raises(ValueError, match="two dimensions"):
        xarray.DataArray(np.zeros((3, 2, 2)), dims=("step", "y", "x")).leym.plot()
