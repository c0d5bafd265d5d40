"""Small plots as inline SVG: no library, no script, readable in light and dark. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite

COLOURS = {"baseline": "#3b6ea8", "second baseline": "#7fa65a", "candidate": "#c0562e"}
OUTCOMES = {"pass": "#3f8f4f", "fail": "#c0392b", "inconclusive": "#b8860b"}


@dataclass(frozen=True)
class Point:
    """Of a frontier: a size in bytes, an effect with its interval, an outcome."""

    size: int
    effect: float
    low: float
    high: float
    outcome: str
    solid: bool
    label: str


def interval_bar(
    effect: float, low: float, high: float, margin: float, outcome: str, control: Sequence[float], width: int = 240
) -> str:
    """One effect with its interval on an axis of +-2 margins, the margin shaded, the control's interval below it.

    What lies beyond the axis is clipped and shown by an arrow.
    """
    if not all(map(isfinite, (effect, low, high))):
        return ""
    x = _scale(-2 * margin, 2 * margin, 4, width - 4)
    colour = OUTCOMES.get(outcome, "#888")
    parts = [
        f'<rect x="{x(-margin):.1f}" y="0" width="{x(margin) - x(-margin):.1f}" height="24" class="band"/>',
        f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="24" class="axis"/>',
        _segment(x, low, high, effect, 9, colour, 2 * margin),
    ]
    if all(map(isfinite, control)):
        parts.append(_segment(x, control[1], control[2], control[0], 18, COLOURS["second baseline"], 2 * margin))
    label = f"effect {effect:+.2%}, interval {low:+.2%} to {high:+.2%}"
    return _svg(width, 24, parts, label)


def strips(samples: Mapping[str, Sequence[float]], width: int = 240) -> str:
    """The members of each ensemble as ticks on one axis, an ensemble per row, with its mean."""
    values = [v for sample in samples.values() for v in sample if isfinite(v)]
    if not values:
        return ""
    low, high = min(values), max(values)
    x = _scale(low, high if high > low else low + 1, 4, width - 4)
    parts = []
    for i, (name, sample) in enumerate(samples.items()):
        kept, y, colour = [v for v in sample if isfinite(v)], 4 + 14 * i, COLOURS.get(name, "#888")
        ticks = "".join(f"M{x(v):.1f} {y}v9" for v in kept)
        parts.append(f'<path d="{ticks}" stroke="{colour}" stroke-opacity=".45" fill="none"/>')
        if kept:
            parts.append(f'<circle cx="{x(sum(kept) / len(kept)):.1f}" cy="{y + 4.5}" r="3.5" fill="{colour}"/>')
    return _svg(width, 4 + 14 * len(samples), parts, f"members from {low:.4g} to {high:.4g}")


def curves(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str) -> str:
    """Lines of (x, y) with a frame, end values and a legend; y starts at the least value. Colours by name."""
    lines = {name: (xs, ys) for name, (xs, ys) in lines.items() if len(xs) and all(map(isfinite, ys))}
    if not lines:
        return ""
    xs_all = [v for xs, _ in lines.values() for v in xs]
    ys_all = [v for _, ys in lines.values() for v in ys]
    low, high = min(ys_all), max(ys_all)
    x = _scale(min(xs_all), max(xs_all) if max(xs_all) > min(xs_all) else min(xs_all) + 1, 46, 400)
    y = _scale(low, high if high > low else low + 1, 150, 10)
    parts = ['<rect x="46" y="10" width="354" height="140" class="frame"/>']
    parts += [f'<text x="42" y="{at:.0f}" text-anchor="end">{v:.3g}</text>' for v, at in ((low, 152), (high, 16))]
    ends = [xs[k] for k in (0, -1) for xs, _ in [max(lines.values(), key=lambda line: len(line[0]))]]
    parts += [
        f'<text x="{at}" y="164" text-anchor="middle">{v:g}</text>' for v, at in zip(ends, (46, 400), strict=True)
    ]
    parts.append(f'<text x="223" y="164" text-anchor="middle">{escape(label)}</text>')
    for i, (name, (xs, ys)) in enumerate(lines.items()):
        colour = COLOURS.get(name, "#888")
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(xs, ys, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<text x="394" y="{24 + 13 * i}" text-anchor="end" style="fill:{colour}">{escape(name)}</text>')
    return _svg(410, 170, parts, label)


def frontier(points: Sequence[Point], margin: float, label: str) -> str:
    """Size against effect, with its interval, in the colour of its outcome; hollow what is only a screening.

    The margin is shaded. Effects beyond +-100 % (and those that are no numbers) lie on the edge.
    """
    if not points:
        return ""
    sizes = [p.size for p in points]
    x = _scale(min(sizes), max(sizes) if max(sizes) > min(sizes) else min(sizes) + 1, 66, 540)
    seen = [abs(v) for p in points for v in (p.low, p.high) if isfinite(v)]
    edge = min(1.0, max([2 * margin, *seen]))
    y = _scale(edge, -edge, 14, 194)

    def at(value: float) -> float:
        return y(max(-edge, min(edge, value)) if isfinite(value) else -edge)

    parts = [
        f'<rect x="50" y="{at(margin):.1f}" width="506" height="{at(-margin) - at(margin):.1f}" class="band"/>',
        '<rect x="50" y="8" width="506" height="192" class="frame"/>',
        f'<line x1="50" x2="556" y1="{at(0):.1f}" y2="{at(0):.1f}" class="axis"/>',
        *(f'<text x="46" y="{at(v) + 4:.1f}" text-anchor="end">{v:+.0%}</text>' for v in (-edge, 0.0, edge)),
        *(f'<text x="{x(s):.1f}" y="214" text-anchor="middle">{s:,}</text>' for s in sorted({min(sizes), max(sizes)})),
        f'<text x="303" y="214" text-anchor="middle">{escape(label)}, over bytes at rest</text>',
    ]
    for p in points:
        colour, cx = OUTCOMES.get(p.outcome, "#888"), x(p.size)
        fill = colour if p.solid else "Canvas"
        parts.append(
            f'<line x1="{cx:.1f}" x2="{cx:.1f}" y1="{at(p.low):.1f}" y2="{at(p.high):.1f}" stroke="{colour}"/>'
            f'<circle cx="{cx:.1f}" cy="{at(p.effect):.1f}" r="4.5" style="fill:{fill}" stroke="{colour}"'
            f' stroke-width="2"><title>{escape(p.label)}</title></circle>'
        )
    return _svg(566, 222, parts, label)


def _segment(x: Callable[[float], float], low: float, high: float, at: float, y: int, colour: str, edge: float) -> str:
    def inside(value: float) -> float:
        return max(-edge, min(edge, value))

    arrow = ""
    if low < -edge or high > edge:
        tip, back = (x(-edge), 6) if low < -edge else (x(edge), -6)
        arrow = f'<path d="M{tip:.1f} {y}l{back} -4v8z" fill="{colour}"/>'
    return (
        f'<line x1="{x(inside(low)):.1f}" x2="{x(inside(high)):.1f}" y1="{y}" y2="{y}" stroke="{colour}"'
        f' stroke-width="2.5"/><circle cx="{x(inside(at)):.1f}" cy="{y}" r="3" fill="{colour}"/>{arrow}'
    )


def _scale(low: float, high: float, left: float, right: float) -> Callable[[float], float]:
    return lambda value: left + (value - low) / (high - low) * (right - left)


def _svg(width: int, height: int, parts: list[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
        f' aria-label="{escape(label, quote=True)}"><title>{escape(label)}</title>{"".join(parts)}</svg>'
    )
