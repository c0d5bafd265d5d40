"""Models of results: recorded fields, frames, observables, the Zarr hierarchy and uploaded states."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from app.models.base import Body, IdPath, MemberPath, Parameters, Query
from leym.contract.spec import LIMITS
from leym.frames.colormaps import Colormap
from leym.frames.histograms import BINS

LINEAGE = "true or 1: with the steps of the jobs that this one continues"
MOST_VALUE = 1e9  # bound of vmin and vmax


class FieldBody(BaseModel):
    """One recorded field."""

    name: str
    shape: list[int] = Field(
        description="[committed frames, H, W], or [committed frames, H, W, d]; 3 for d of a colour"
    )
    dtype: str
    dims: list[str]
    units: str
    formula: str
    every: int
    committed: int = Field(description="number of frames that can be read")
    steps: dict[str, int] = Field(
        description="start, stop (exclusive) and stride of the committed steps",
        examples=[{"start": 0, "stop": 101, "stride": 10}],
    )


class ViewBody(FieldBody):
    """One view: frames that are computed from recorded fields when they are read."""

    made_from: list[str] = Field(description="recorded fields that it is computed from", examples=[["psi"]])


class FieldList(Body):
    """The recorded fields of a job, and the views of them."""

    items: list[FieldBody]
    views: list[ViewBody] = Field(description="what can be computed from the recorded fields, and read like them")


class FieldPath(Parameters):
    """Path of one field of a job."""

    id: str = Field(max_length=64)
    field: str = Field(max_length=64)


class StorePath(Parameters):
    """Path of one object of the Zarr hierarchy of a job or a sweep."""

    id: str = Field(max_length=64)
    key: str = Field(max_length=512, description="key in the Zarr hierarchy, e.g. zarr.json or phase/c/0/0/0")


class MemberFieldPath(MemberPath):
    """Path of one field of a member of a sweep."""

    field: str = Field(max_length=64)


class MemberStorePath(MemberPath):
    """Path of one object of a member's Zarr hierarchy."""

    key: str = Field(max_length=512, description="key in the Zarr hierarchy, e.g. zarr.json or phase/c/0/0/0")


class StepsQuery(Query):
    """Query that selects recorded steps."""

    start: int | None = Field(None, ge=0, description="first step")
    stop: int | None = Field(None, ge=0, description="end of the steps, exclusive")
    stride: int = Field(1, ge=1, le=LIMITS.steps, description="select every n-th recorded frame")


class FramesQuery(StepsQuery):
    """Query that selects frames and their file format."""

    format: Literal["npy", "npz", "png", "strip", "gif", "webp", "apng", "mp4"] = Field(
        "npz", description="`strip` is a png with all frames in one row; `mp4` needs the extra `video` on the server"
    )
    last: int | None = Field(None, ge=1, le=LIMITS.frames, description="keep only the last n frames of the selection")
    channel: int | None = Field(None, ge=0, description="channel to show, in pictures of a field with channels")
    fps: float = Field(12, ge=0.1, le=60, description="frames per second of gif (at most 50), webp, apng and mp4")
    scale: int | None = Field(None, ge=1, le=64, description="pixels per cell; by default chosen to suit the grid")
    lineage: bool = Field(False, description=LINEAGE)
    grid: str | None = Field(
        None,
        pattern=r"^[1-9][0-9]{0,2}x[1-9][0-9]{0,2}$",
        description="ROWSxCOLUMNS of a png: at most so many frames, evenly spaced over the selection from its first on",
    )
    colormap: Colormap | None = Field(None, description="another colour map, for a field or channel of one number")
    range: Literal["fixed", "auto", "percentile"] = Field(
        "fixed",
        description="values at the ends of the colour map: those of the field, the extremes of the selection, or its"
        " percentiles 1 and 99",
    )
    vmin: float | None = Field(None, ge=-MOST_VALUE, le=MOST_VALUE, description="value at the start of the colour map")
    vmax: float | None = Field(None, ge=-MOST_VALUE, le=MOST_VALUE, description="value at the end of the colour map")
    provenance: bool = Field(
        False, description="of an npy, which has no room for it: a zip of the file and `provenance.json`"
    )


class ExportQuery(Query):
    """Query of the export of a job."""

    format: Literal["zip", "zarr.zip", "nc"] = Field("zip", description="`nc` is NetCDF4, which needs the extra `data`")


class SweepExportQuery(Query):
    """Query of the export of a sweep."""

    format: Literal["zip", "zarr.zip"] = "zip"


class CellPath(IdPath):
    """Path of one cell of a job."""

    y: int = Field(ge=0, le=LIMITS.side[1], description="row of the cell")
    x: int = Field(ge=0, le=LIMITS.side[1], description="column of the cell")


class MemberCellPath(MemberPath):
    """Path of one cell of a member of a sweep."""

    y: int = Field(ge=0, le=LIMITS.side[1], description="row of the cell")
    x: int = Field(ge=0, le=LIMITS.side[1], description="column of the cell")


class CellQuery(StepsQuery):
    """Query that selects the steps of a cell, what to read of it and the file format."""

    field: str = Field("psi", max_length=64, description="a recorded field, or a view of recorded fields")
    last: int | None = Field(None, ge=1, le=LIMITS.frames, description="keep only the last n steps of the selection")
    lineage: bool = Field(False, description=LINEAGE)
    format: Literal["json", "csv", "npz"] = "json"


class CellSeries(RootModel[dict[str, list[float | None]]]):
    """The values of one cell: a list per column, `step` first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"step": [0, 10], "re_0": [1.0, 0.9], "im_0": [0.0, 0.4]}]}
    )


class HistogramQuery(StepsQuery):
    """Query that selects frames, the range and number of bins, and the file format."""

    last: int | None = Field(None, ge=1, le=LIMITS.frames, description="keep only the last n frames of the selection")
    bins: int = Field(64, ge=2, le=BINS, description="number of bins, of one width")
    low: float | None = Field(
        None, ge=-1e6, le=1e6, description="lower end of the first bin; by default that of the field's range"
    )
    high: float | None = Field(
        None, ge=-1e6, le=1e6, description="upper end of the last bin; by default that of the field's range"
    )
    channel: int | None = Field(None, ge=0, description="channel of a field with channels; by default all together")
    format: Literal["json", "csv", "npz"] = "json"


class HistogramBody(Body):
    """Distribution of the values of frames."""

    field: str
    channel: int | None
    units: str
    edges: list[float] = Field(description="ends of the bins, one more than bins")
    step: list[int]
    counts: list[list[int]] = Field(description="values per bin, frame by frame")
    outside: list[int] = Field(description="values below or above the bins, or not finite")
    compression: list[float] = Field(
        description="size of a frame, as one byte per value with the number of its bin, after DEFLATE / before"
    )


class StreamQuery(Query):
    """Query of a stream of frames."""

    field: str = Field(max_length=64)
    fps: float | None = Field(
        None, ge=0.1, le=60, description="most frames per second, the newest ones; by default every frame is sent"
    )
    downsample: int = Field(1, ge=1, le=64, description="send every n-th cell, in both directions")
    dtype: Literal["u8", "f16", "f32"] = Field("f32", description="type of the numbers; u8 are codes over `range`")
    start: int = Field(0, ge=0, le=LIMITS.steps, description="first step; to resume, the last received step plus one")


class ObservablesQuery(StepsQuery):
    """Query that selects observables and their file format."""

    format: Literal["json", "csv", "npz"] = "json"
    names: str | None = Field(None, max_length=1000, description="names separated by commas; all by default")
    lineage: bool = Field(False, description=LINEAGE)
    provenance: bool = Field(False, description="of a csv: begin with the provenance, in one line `# provenance: {…}`")


class StateBody(Body):
    """An uploaded start state."""

    id: str = Field(description='the state\'s digest, for `"initial": {"kind": "upload", "id": …}` of a JobSpec')
    shape: list[int] = Field(description="[H, W, d]")
