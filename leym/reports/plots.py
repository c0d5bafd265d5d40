"""Draws small plots as inline SVG, without a library or a script, readable in light and dark mode. Torch-free.

Every function returns markup; `_element` escapes all attributes and texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from markupsafe import Markup, escape

COLOURS = {"baseline": "#3b6ea8", "second baseline": "#7fa65a", "candidate": "#c0562e"}
OUTCOMES = {"pass": "#3f8f4f", "fail": "#c0392b", "inconclusive": "#b8860b"}
OTHER = "#888"  # colour of any other ensemble or outcome


@dataclass(frozen=True)
class Point:
    """A candidate on a frontier.

    Attributes:
        size: bytes at rest.
        effect: the effect, a share.
        low: lower end of its interval.
        high: upper end of its interval.
        outcome: decides the colour.
        solid: draw a filled circle, else a hollow one.
        label: text of the tooltip.
    """

    size: int
    effect: float
    low: float
    high: float
    outcome: str
    solid: bool
    label: str


def interval_bar(
    effect: float, low: float, high: float, margin: float, outcome: str, control: Sequence[float], width: int = 240
) -> Markup:
    """Draw an effect with its interval on an axis of ±2 margins, the margin shaded, the control's interval below it.

    An arrow marks an interval that is clipped at the end of the axis.

    Args:
        effect: the effect, a share.
        low: lower end of its interval.
        high: upper end of its interval.
        margin: half of the shaded band.
        outcome: decides the colour.
        control: effect of the second baseline and its interval.
        width: in pixels.

    Returns:
        An SVG element; empty if the effect or its interval is not finite.
    """
    if not all(map(isfinite, (effect, low, high))):
        return Markup("")
    x, edge = _scale(-2 * margin, 2 * margin, 4, width - 4), 2 * margin
    parts = [
        _element("rect", x=x(-margin), y=0, width=x(margin) - x(-margin), height=24, class_="band"),
        _element("line", x1=x(0), x2=x(0), y1=0, y2=24, class_="axis"),
        *_interval(x, effect, low, high, edge, y=9, colour=OUTCOMES.get(outcome, OTHER)),
    ]
    if all(map(isfinite, control)):
        at, least, most = control
        parts += _interval(x, at, least, most, edge, y=18, colour=COLOURS["second baseline"])
    return _svg(width, 24, parts, f"effect {effect:+.2%}, interval {low:+.2%} to {high:+.2%}")


def strips(samples: Mapping[str, Sequence[float]], width: int = 240) -> Markup:
    """Draw the members of each ensemble as ticks on a common axis, one row and one mean per ensemble."""
    values = [v for sample in samples.values() for v in sample if isfinite(v)]
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    x = _scale(low, high, 4, width - 4)
    parts = []
    for i, (name, sample) in enumerate(samples.items()):
        finite, y, colour = [v for v in sample if isfinite(v)], 4 + 14 * i, COLOURS.get(name, OTHER)
        ticks = "".join(f"M{x(v):.1f} {y}v9" for v in finite)
        parts.append(_element("path", d=ticks, stroke=colour, stroke_opacity=".45", fill="none"))
        if finite:
            parts.append(_element("circle", cx=x(sum(finite) / len(finite)), cy=y + 4.5, r=3.5, fill=colour))
    return _svg(width, 4 + 14 * len(samples), parts, f"members from {low:.4g} to {high:.4g}")


def curves(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str) -> Markup:
    """Draw lines of (x values, y values) in a box, with the ends of both axes and a legend; a name decides the colour.

    Lines that are empty or not finite are left out.
    """
    lines = {name: (xs, ys) for name, (xs, ys) in lines.items() if len(xs) and all(map(isfinite, ys))}
    if not lines:
        return Markup("")
    xs_all = [v for xs, _ in lines.values() for v in xs]
    ys_all = [v for _, ys in lines.values() for v in ys]
    low, high = min(ys_all), max(ys_all)
    x, y = _scale(min(xs_all), max(xs_all), 46, 400), _scale(low, high, 150, 10)
    longest = max((xs for xs, _ in lines.values()), key=len)
    parts = [
        _element("rect", x=46, y=10, width=354, height=140, class_="frame"),
        *(_text(42, at, f"{v:.3g}", "end") for v, at in ((low, 152), (high, 16))),
        *(_text(at, 164, f"{v:g}", "middle") for v, at in ((longest[0], 46), (longest[-1], 400))),
        _text(223, 164, label, "middle"),
    ]
    for i, (name, (xs, ys)) in enumerate(lines.items()):
        colour = COLOURS.get(name, OTHER)
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(xs, ys, strict=True))
        parts.append(_element("polyline", points=points, fill="none", stroke=colour, stroke_width=1.6))
        parts.append(_text(394, 24 + 13 * i, name, "end", style=f"fill:{colour}"))
    return _svg(410, 170, parts, label)


def frontier(points: Sequence[Point], margin: float, label: str) -> Markup:
    """Draw effects with their intervals over bytes at rest, the margin shaded.

    Effects beyond ±100 %, and those that are not numbers, lie on the edge.
    """
    if not points:
        return Markup("")
    sizes = [p.size for p in points]
    x = _scale(min(sizes), max(sizes), 66, 540)
    finite = [abs(v) for p in points for v in (p.low, p.high) if isfinite(v)]
    edge = min(1.0, max([2 * margin, *finite]))
    y_of = _scale(edge, -edge, 14, 194)

    def y(value: float) -> float:
        return y_of(_clipped(value, edge) if isfinite(value) else -edge)

    parts = [
        _element("rect", x=50, y=y(margin), width=506, height=y(-margin) - y(margin), class_="band"),
        _element("rect", x=50, y=8, width=506, height=192, class_="frame"),
        _element("line", x1=50, x2=556, y1=y(0), y2=y(0), class_="axis"),
        *(_text(46, y(v) + 4, f"{v:+.0%}", "end") for v in (-edge, 0.0, edge)),
        *(_text(x(size), 214, f"{size:,}", "middle") for size in sorted({min(sizes), max(sizes)})),
        _text(303, 214, f"{label}, over bytes at rest", "middle"),
    ]
    for p in points:
        colour, cx = OUTCOMES.get(p.outcome, OTHER), x(p.size)
        parts.append(_element("line", x1=cx, x2=cx, y1=y(p.low), y2=y(p.high), stroke=colour))
        style, tooltip = f"fill:{colour if p.solid else 'Canvas'}", _element("title", p.label)
        parts.append(
            _element("circle", tooltip, cx=cx, cy=y(p.effect), r=4.5, style=style, stroke=colour, stroke_width=2)
        )
    return _svg(566, 222, parts, label)


def _interval(
    x: Callable[[float], float], effect: float, low: float, high: float, edge: float, y: int, colour: str
) -> list[Markup]:
    """Draw a bar from low to high and a dot at the effect, clipped to ±edge; an arrow shows that it was clipped."""
    left, right = x(_clipped(low, edge)), x(_clipped(high, edge))
    parts = [
        _element("line", x1=left, x2=right, y1=y, y2=y, stroke=colour, stroke_width=2.5),
        _element("circle", cx=x(_clipped(effect, edge)), cy=y, r=3, fill=colour),
    ]
    if low < -edge or high > edge:
        tip, back = (x(-edge), 6) if low < -edge else (x(edge), -6)
        parts.append(_element("path", d=f"M{tip:.1f} {y}l{back} -4v8z", fill=colour))
    return parts


def _clipped(value: float, edge: float) -> float:
    return max(-edge, min(edge, value))


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Return the map from values [low, high] to pixels [start, end]; of equal values, to pixels from `start` on."""
    span = high - low or 1
    return lambda value: start + (value - low) / span * (end - start)


def _svg(width: int, height: int, parts: Sequence[Markup], label: str) -> Markup:
    box, title = f"0 0 {width} {height}", _element("title", label)
    return _element("svg", title, *parts, viewBox=box, width=width, height=height, role="img", aria_label=label)


def _text(x: float, y: float, text: str, anchor: str, **more: str) -> Markup:
    return _element("text", text, x=x, y=y, text_anchor=anchor, **more)


def _element(name: str, *children: str, **attributes: float | str) -> Markup:
    """Build an SVG element; floats get one decimal, `stroke_width` becomes `stroke-width`, `class_` becomes `class`."""
    written = Markup("").join(
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"), f"{value:.1f}" if isinstance(value, float) else value
        )
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, Markup("").join(map(escape, children)))
