"""Views: one clock for all universes, the colours of the service, and files that others read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leym.client.panels import Panel
from leym.client.views import View, panel_of
from leym.frames.pictures import render

RNG = np.random.default_rng(1)
PHASE = RNG.uniform(-np.pi, np.pi, (3, 4, 6)).astype(np.float32)


def panels() -> list[Panel]:
    first = panel_of("phase", np.array([0, 10, 20]), PHASE, "one")
    return [first, panel_of("density", np.array([10, 30]), RNG.uniform(0, 1, (2, 4, 4)), "two <&>")]


@pytest.mark.parametrize("field", ["phase", "density", "psi", "channel_power"])
def test_the_colours_are_those_of_the_service(field: str) -> None:
    values: Any = PHASE if field in ("phase", "density") else np.abs(RNG.normal(size=(3, 4, 6, 2))).astype(np.float32)
    values = values.astype(np.complex64) if field == "psi" else values
    panel = panel_of(field, np.arange(3), values, "")
    expected = render(field, values).astype(int)
    assert np.abs(np.stack([panel.colours(i) for i in range(3)]).astype(int) - expected).max() <= 4  # one code


def test_the_clock_has_every_step_and_a_universe_shows_its_last_frame() -> None:
    view = View(panels())
    assert view.steps() == [0, 10, 20, 30]
    assert [(at, step) for at, step, _ in view.frames()] == [(0, 0), (0, 10), (1, 10), (0, 20), (1, 30)]
    np.testing.assert_array_equal(view.panels[0].colours(15), view.panels[0].colours(10))
    assert (view.panels[1].colours(5) == 128).all(), "before its first frame"


@pytest.mark.parametrize(("ending", "count"), [("gif", 4), ("webp", 4), ("png", 1)])
def test_pillow_reads_the_animation_and_its_frames_are_side_by_side(ending: str, count: int, tmp_path: Path) -> None:
    path = View(panels()).save(tmp_path / f"view.{ending}", scale=2)
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames", 1) == count
        assert picture.size == (2 * (6 + 2 + 4), 8)


def test_an_unknown_ending_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.tiff: a view is saved as html"):
        View(panels()).save(tmp_path / "x.tiff")
    with pytest.raises(ValueError, match="nothing to show"):
        View([])


def test_titles_cannot_leave_the_script() -> None:
    view = View([panel_of("phase", np.array([0]), PHASE[:1], "</script><img src=x onerror=alert(1)>")])
    assert view.to_html().count("</script>") == 1
    assert "<img" not in view._repr_html_()


def test_the_widget_gets_the_frames_over_the_connection_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anywidget")
    from leym.client.notebook.widget import Viewer

    class Running:
        def live(self, field: str, **options: Any) -> Any:
            assert (field, options["start"], options["dtype"]) == ("phase", 21, "u8")
            yield 30, np.full((4, 6), 7, np.uint8)

    sent: list[tuple[list[list[int]], list[bytes]]] = []
    view = View(panels()[:1], following=[(0, Running(), "phase")])  # type: ignore[list-item]
    widget = Viewer(view.panels, 12, view.frames, view.following)
    monkeypatch.setattr(widget, "send", lambda content, buffers=None: sent.append((content["frames"], buffers)))
    assert widget.live
    widget._receive(widget, {"type": "ready"}, [])
    for _ in range(1000):
        if len(sent) == 2 and not widget.live:
            break
        import time

        time.sleep(0.01)
    assert [places for places, _ in sent] == [[[0, 0], [0, 10], [0, 20]], [[0, 30]]]
    assert sent[0][1] == [frame.tobytes() for frame in view.panels[0].frames]
    assert sent[1][1] == [bytes([7] * 24)]
    assert not widget.live, "the job has ended"
    assert (widget.panels[0]["height"], widget.panels[0]["map"], widget.panels[0]["units"]) == (4, "twilight", "rad")
    assert "application/vnd.jupyter.widget-view+json" in view._repr_mimebundle_()[0]
