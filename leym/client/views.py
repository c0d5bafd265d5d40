"""Universes side by side on one clock: in notebooks, as an HTML page, or as an animation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.client.panels import Panel, Universe, base64_of, described
from leym.client.results import installed
from leym.common.files import output_file
from leym.contract.catalog import FIELDS
from leym.viewer import script, style

FRAMES = 200  # most frames of a panel, unless more are asked for
GAP = 4  # pixels between the panels of an animation
FINAL = ("succeeded", "failed", "cancelled")
PREFERRED = ("phase", "rgb", "density", "channel_power", "activity", "coherence", "channel_entropy", "psi")
PICTURES = ("gif", "webp", "png")


class View:
    """Universes side by side on one clock. A notebook shows it with a play button and a slider.

    Args:
        panels: the universes.
        fps: frames per second.
        following: number of the panel, job and field of each universe that still runs.
    """

    def __init__(self, panels: Sequence[Panel], fps: int = 12, following: Sequence[tuple[int, Universe, str]] = ()):
        if not panels:
            raise ValueError("there is nothing to show: no job")
        self.panels, self.fps, self.following = list(panels), fps, tuple(following)

    def steps(self) -> list[int]:
        """Return the steps of the clock: those at which any universe has a frame."""
        return sorted({int(step) for panel in self.panels for step in panel.steps})

    def save(self, path: str | Path, scale: int | None = None) -> Path:
        """Save the view: `.html` with a player, `.gif` or `.webp` as an animation, `.png` of the last step.

        Args:
            path: the file.
            scale: pixels per cell of an animation; default: about 256 pixels per universe.

        Returns:
            The path.

        Raises:
            ValueError: the ending is another one.
            ModuleNotFoundError: Pillow is not installed, for pictures (`pip install 'leym[data]'`).
        """
        path, ending = Path(path), Path(path).suffix.removeprefix(".").lower()
        if ending not in ("html", *PICTURES):
            raise ValueError(f"{path.name}: a view is saved as html, {', '.join(PICTURES)}")
        data = self.to_html().encode() if ending == "html" else self._picture(ending, scale)
        path.parent.mkdir(parents=True, exist_ok=True)
        with output_file(path) as file:
            file.write(data)
        return path

    def to_html(self) -> str:
        """Return the view as an HTML page that needs nothing else."""
        about = _script_of([described(panel) for panel in self.panels])
        frames = _script_of([[at, step, base64_of(frame)] for at, step, frame in self.frames()])
        return f"""<!doctype html><html lang="en" style="color-scheme: light dark"><meta charset="utf-8">
<title>Ley M</title><style>{style()}</style><body style="margin: 16px"><div id="viewer"></div><script type="module">
{script()}
const shown = mountUniverses(document.getElementById("viewer"), {about}, {{ fps: {self.fps} }});
for (const [panel, step, bytes] of {frames}) shown.add(panel, step, bytesOf(bytes));
shown.play();
</script>"""

    def frames(self) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
        """Yield (number of the panel, step, frame), in the order of the steps."""
        order = sorted((int(step), at, i) for at, panel in enumerate(self.panels) for i, step in enumerate(panel.steps))
        for step, at, i in order:
            yield at, step, self.panels[at].frames[i]

    def _repr_html_(self) -> str:
        """Return the page in a frame, for notebooks without anywidget."""
        height = (300 * ceil(len(self.panels) / 4) if len(self.panels) > 1 else 520) + 150
        return f'<iframe srcdoc="{escape(self.to_html())}" width="100%" height="{height}" frameborder="0"></iframe>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """Return the widget where anywidget is installed, else the page."""
        if installed("anywidget"):
            from leym.client.notebook.widget import Viewer

            return Viewer(self.panels, self.fps, self.frames, self.following)._repr_mimebundle_()
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}

    def _picture(self, ending: str, scale: int | None) -> bytes:
        from leym.frames.pictures import encode

        clock = self.steps()
        sides = [panel.frames.shape[1:3] for panel in self.panels]
        height, width = max(h for h, _ in sides), sum(w for _, w in sides)
        scale = scale or max(1, 256 // max(max(side) for side in sides))
        if ending == "png":
            clock = clock[-1:]
        gap = ceil(GAP / scale)
        joined = np.full((len(clock), height, width + gap * (len(sides) - 1), 3), 255, np.uint8)
        at = 0
        for panel, (h, w) in zip(self.panels, sides, strict=True):
            for i, step in enumerate(clock):
                joined[i, :h, at : at + w] = panel.colours(step)
            at += w + gap
        about = {"universes": [panel.title for panel in self.panels], "steps": clock}
        return encode(joined, ending, float(self.fps), scale, about)

    def __repr__(self) -> str:
        return f"<View of {len(self.panels)} universes, {len(self.steps())} steps>"


def view(
    jobs: Sequence[Universe],
    field: str | None = None,
    *,
    start: int | None = None,
    stop: int | None = None,
    frames: int = FRAMES,
    channel: int | None = None,
    lineage: bool = False,
    titles: Sequence[str] | None = None,
    fps: int = 12,
) -> View:
    """Put universes side by side on one clock.

    Args:
        jobs: the universes.
        field: a recorded field; default: one that all of them have recorded, `phase` before others.
        start: first step; default: the first one.
        stop: step to stop before; default: after the last one.
        frames: most frames of each universe; of more, every n-th is read.
        channel: channel to draw, of a field with channels.
        lineage: show the steps of the jobs that each one continues, too.
        titles: texts under the pictures; default: the ids.
        fps: frames per second.

    Raises:
        ValueError: the jobs have no field in common.
        ModuleNotFoundError: a package is not installed (`pip install 'leym[data]'`).
    """
    jobs = list(jobs)
    chosen = field or common_field(jobs)
    titles = titles or [job.id for job in jobs]
    panels = []
    for job, title in zip(jobs, titles, strict=True):
        steps, values = _read(job, chosen, start, stop, frames, lineage)
        panels.append(panel_of(chosen, steps, values, title, channel))
    live = [(i, job, chosen) for i, job in enumerate(jobs) if job.state not in FINAL and panels[i].map is not None]
    return View(panels, fps, live if stop is None else ())


def common_field(jobs: Sequence[Universe]) -> str:
    """Return a field that all jobs have recorded, `phase` before others. Raises ValueError if there is none."""
    names = [set(job.field_names()) for job in jobs]
    for name in (*PREFERRED, *sorted(set.intersection(*names) if names else ())):
        if names and all(name in recorded for recorded in names):
            return name
    raise ValueError("no field is recorded by all of these jobs: submit them with record={'phase': 10}")


def panel_of(field: str, steps: NDArray[Any], values: NDArray[Any], title: str, channel: int | None = None) -> Panel:
    """Colour frames of a field as the service does.

    Args:
        field: name of the field.
        steps: int64 [n].
        values: frames [n, H, W] or [n, H, W, d].
        title: text under the picture.
        channel: channel to draw, of a field with channels.
    """
    info = FIELDS.get(field)
    if values.ndim == 3 and info is not None and channel is None and not np.iscomplexobj(values):
        low, high = info.bounds or (float(np.nanmin(values)), float(np.nanmax(values)))
        share = np.nan_to_num((values.astype(np.float32) - low) / ((high - low) or 1.0))
        codes = np.clip(np.floor(share * 256), 0, 255).astype(np.uint8)
        return Panel(title, steps, codes, "twilight" if info.cyclic else "viridis", (low, high), info.units)
    from leym.frames.pictures import render

    return Panel(title, steps, render(field, values, channel), None)


def _script_of(value: Any) -> str:
    """Return a value as JavaScript that no text in it can end."""
    return json.dumps(value).replace("<", "\\u003c")


def _read(
    job: Universe, field: str, start: int | None, stop: int | None, frames: int, lineage: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    if lineage:
        found = job.dataset(lineage=True)[field]
        steps, values = found[found.dims[0]].values, found.values
        chosen = (steps >= (start or 0)) & (steps < (stop if stop is not None else steps[-1] + 1))
        steps, values = steps[chosen], values[chosen]
        every = max(1, ceil(len(steps) / frames))
        return steps[::every], values[::every]
    stored = {found["name"]: found for found in job.list_fields()}
    count = int(stored[field]["committed"]) if field in stored else 0
    return job.array(field, start, stop, max(1, ceil(count / frames)))
