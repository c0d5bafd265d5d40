"""The curve of a training: rows of numbers, averaged over some updates, as CSV, TensorBoard events and a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from leym.common.files import write_text

CSV, PLOT, EVENTS = "curve.csv", "curve.png", "events"


class Curve:
    """Rows of a training, one per `every` updates: the number of the last update, and means over the updates.

    Attributes:
        names: of the columns; "update" is the first.
        rows: the rows that are complete.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self.names: list[str] = ["update"]
        self.rows: list[list[float]] = []
        self._open: list[list[float]] = []  # values of the updates since the last complete row

    def add(self, update: int, values: Mapping[str, float]) -> dict[str, float] | None:
        """Add the values of an update, and return the row that it completes, if it does."""
        if not self._open and not self.rows:
            self.names = ["update", *values]
        if list(values) != self.names[1:]:
            raise ValueError(f"columns {list(values)}, expected {self.names[1:]}")
        self._open.append(list(values.values()))
        if len(self._open) < self._every:
            return None
        means = [float(mean) for mean in np.mean(self._open, axis=0)]
        self.rows.append([float(update), *means])
        self._open = []
        return dict(zip(self.names, self.rows[-1], strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {"names": self.names, "rows": self.rows, "open": self._open}

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Replace it by what `as_dict` returned."""
        self.names, self.rows, self._open = list(plain["names"]), list(plain["rows"]), list(plain["open"])

    def last(self) -> dict[str, float]:
        """Return the means of the last row; if none is complete, those of the updates so far."""
        if self.rows:
            return dict(zip(self.names[1:], self.rows[-1][1:], strict=True))
        means = np.mean(self._open, axis=0) if self._open else []
        return dict(zip(self.names[1:], map(float, means), strict=True))

    def write(self, folder: Path) -> None:
        """Write `curve.csv`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.names)
        writer.writerows([[int(row[0]), *(f"{value:.6g}" for value in row[1:])] for row in self.rows])
        write_text(folder / CSV, text.getvalue())

    def plot(self, folder: Path, title: str) -> bool:
        """Draw `curve.png`, and return True; return False where matplotlib is not installed."""
        if find_spec("matplotlib") is None:
            return False
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot(xlabel="update", ylabel="loss", title=title)
        columns = np.array(self.rows, float).reshape(-1, len(self.names)).T
        hidden = {"update", "learning_rate", "gradient", "horizon"}
        for name, values in zip(self.names, columns, strict=True):
            if name not in hidden:
                axes.plot(columns[0], values, label=name, linewidth=2 if name == "loss" else 1)
        drawn = [values for name, values in zip(self.names, columns, strict=True) if name not in hidden]
        axes.set_yscale("log" if self.rows and all((values > 0).all() for values in drawn) else "linear")
        axes.legend()
        FigureCanvasAgg(figure)
        figure.savefig(folder / PLOT)
        return True


def tensorboard_installed() -> bool:
    """Tell whether events can be written."""
    return find_spec("tensorboard") is not None


class Events:
    """TensorBoard events of a training in `events/`; nothing where TensorBoard is not installed."""

    def __init__(self, folder: Path) -> None:
        self._writer: Any = None
        if tensorboard_installed():
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(folder / EVENTS)

    def add(self, row: Mapping[str, float]) -> None:
        """Write a row of the curve."""
        for name, value in row.items():
            if self._writer is not None and name != "update":
                self._writer.add_scalar(name, value, int(row["update"]))

    def close(self) -> None:
        """Write everything to disk."""
        if self._writer is not None:
            self._writer.close()
