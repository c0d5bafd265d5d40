"""What a rescue found, for people: a table, and a page with bytes against effects. Torch-free but for its types."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import isfinite
from typing import TYPE_CHECKING

from leym.precision.fidelity.plots import OUTCOMES
from leym.precision.fidelity.report import STYLE

if TYPE_CHECKING:
    from leym.precision.fidelity.rescue import Effect, Rescue, Tried

AXES = "bytes at rest; effect on activity"
MARGIN = 0.05  # shaded
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 260, 60, 16, 40


def text(found: Rescue) -> str:
    """Two tables: what each weight does alone, and what was tried."""
    lines = [f"{'weight alone':<40}{'format':<8}{'activity':>24}{'lyapunov':>26}{'1st step':>10}"]
    for s in found.sensitivities:
        lines.append(f"{s.key:<40}{s.format:<8}{_shown(s.activity):>24}{_shown(s.lyapunov):>26}{s.error:>10.2%}")
    lines.append(f"\n{'raised':>6}{'bytes at rest':>15}  {'verdict':<26}{'activity':>24}{'lyapunov':>26}")
    for t in by_size(found.tried):
        verdict = t.verdict if t.whole else f"{t.verdict} (screening)"
        lines.append(
            f"{len(t.raised):>6}{t.bytes_at_rest:>15,}  {verdict:<26}{_shown(t.activity):>24}{_shown(t.lyapunov):>26}"
        )
    return "\n".join(lines)


def page(found: Rescue) -> str:
    """One HTML document that needs nothing else."""
    law, rows = escape(found.law.name), []
    for t in by_size(found.tried):
        raised = ", ".join(f"{key}: {form}" for key, form in t.raised.items()) or "nothing"
        tag = f'<span class="tag" style="background:{OUTCOMES[t.verdict]}">{t.verdict}</span>'
        cells = [f"{t.bytes_at_rest:,}", _shown(t.activity), _shown(t.lyapunov)]
        numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
        how = "whole plan" if t.whole else "screening"
        rows.append(f"<tr><td>{t.rung}</td><td>{tag}</td><td>{how}</td>{numbers}<td>{escape(raised)}</td></tr>")
    head = "<tr><th>rung</th><th>verdict</th><th>judged by</th><th>bytes at rest</th><th>activity</th>"
    head += "<th>Lyapunov exponent</th><th>raised</th></tr>"
    outcome = "No rung passes." if found.found is None else f"The smallest that passes is {found.found[0].ref}."
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{law} in {found.precision}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>Which weights of {law} need more bits than {found.precision} gives them</h1><p>{escape(outcome)}</p>"
        f"{plot(found.tried)}<div class='scroll'><table>{head}{''.join(rows)}</table></div></body></html>\n"
    )


def plot(tried: Sequence[Tried]) -> str:
    """Bytes at rest against the effect on activity, with its interval, coloured by verdict; hollow: screening only."""
    shown = [t for t in by_size(tried) if all(map(isfinite, t.activity))]
    if not shown:
        return ""
    sizes = [t.bytes_at_rest for t in shown]
    low, high = min(sizes), max(max(sizes), min(sizes) + 1)
    most = max(0.1, *(min(abs(edge), 1.0) for t in shown for edge in t.activity))

    def x(size: float) -> float:
        return LEFT + 20 + (size - low) / (high - low) * (WIDTH - LEFT - 50)

    def y(effect: float) -> float:
        return TOP + (1 - max(-1.0, min(1.0, effect / most))) / 2 * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<rect class="band" x="{LEFT}" y="{y(MARGIN):.1f}" width="{WIDTH - LEFT - 10}"'
        f' height="{y(-MARGIN) - y(MARGIN):.1f}"/>',
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>',
    ]
    for t in shown:
        colour, (value, least, greatest) = OUTCOMES[t.verdict], t.activity
        at, fill = x(t.bytes_at_rest), colour if t.whole else "Canvas"
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(least):.1f}" y2="{y(greatest):.1f}" stroke="{colour}"/>'
            f'<circle cx="{at:.1f}" cy="{y(value):.1f}" r="5" fill="{fill}" stroke="{colour}" stroke-width="2">'
            f"<title>rung {t.rung}: {t.verdict}, {_shown(t.activity)}</title></circle>"
        )
    for effect in (-most, 0.0, most):
        parts.append(f'<text x="{LEFT - 6}" y="{y(effect) + 4:.1f}" text-anchor="end">{effect:+.0%}</text>')
    for size in (low, high):
        parts.append(f'<text x="{x(size):.1f}" y="{HEIGHT - 18}" text-anchor="middle">{size:,}</text>')
    parts.append(
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 3}" text-anchor="middle">bytes at rest; effect on activity</text>'
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="frontier">{"".join(parts)}</svg>'
    )


def by_size(tried: Sequence[Tried]) -> list[Tried]:
    return sorted(tried, key=lambda t: (t.bytes_at_rest, t.whole))


def _shown(effect: Effect) -> str:
    value, low, high = effect
    return f"{value:+.1%} [{low:+.1%}, {high:+.1%}]" if isfinite(value) else "none"
