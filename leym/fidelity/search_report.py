"""What a rescue found: tables for the terminal, one JSON document, and a page of bytes against effects."""

from __future__ import annotations

from dataclasses import asdict
from html import escape
from math import isfinite
from typing import Any

from leym.common.strict_json import nan_to_null
from leym.fidelity.search import Effect, Rescue, Tried
from leym.reports.plots import Point, frontier
from leym.reports.verdict import number, page, table, tag


def outcome(found: Rescue) -> str:
    """One sentence."""
    law = f"{found.law.name}@{found.law.digest[:12]} in {found.precision}"
    if found.why_not:
        return f"{law}: no candidate could pass with {found.plan.members} members per ensemble"
    if found.passed is None:
        return f"{law}: no candidate passes, the last rung ({found.ladder}) included"
    best = found.tried[-1]
    raised = f"{len(best.raised)} of {len(found.alone)} weights raised" if best.raised else "nothing has to be raised"
    return f"{law}: rung {best.rung} passes, {best.bytes_at_rest:,} B at rest, {raised}"


def as_json(found: Rescue) -> dict[str, Any]:
    """Numbers that are not finite become null."""
    document = {
        "law": found.law.ref,
        "precision": found.precision,
        "device": found.device,
        "plan": asdict(found.plan),
        "bytes_fp32": found.bytes_fp32,
        "sensitivities": [
            {
                "key": a.weight.key,
                "role": a.weight.role,
                "format": a.weight.format,
                "bytes": dict(a.weight.sizes),
                "score": a.weight.score,
                "one_step_error": a.weight.error,
                "activity": a.activity,
                "lyapunov": a.lyapunov,
            }
            for a in found.alone
        ],
        "candidates": [asdict(t) for t in by_size(found)],
        "judgements": found.judgements,
        "passed": found.passed is not None,
        "reasons": found.why_not,
    }
    return {key: nan_to_null(value) for key, value in document.items()}


def text(found: Rescue) -> str:
    """Both tables and the outcome. A row says what it raises beyond the row above."""
    lines = []
    if found.alone:
        lines.append(f"{'weight alone':<34}{'format':<7}{'activity':>24}{'lyapunov':>24}{'1st step':>10}{'B saved':>9}")
    for a in found.alone:
        w = a.weight
        effects = f"{_shown(a.activity):>24}{_shown(a.lyapunov):>24}"
        lines.append(f"{w.key:<34}{w.format:<7}{effects}{w.error:>10.2%}{w.saved:>9,}")
    if found.tried:
        lines.append(
            f"\n{'rung':<6}{'at rest':>12}{'of fp32':>9}  {'by':<8}{'verdict':<14}{'activity':>24}{'lyapunov':>24}"
        )
    above: dict[str, str] = {}
    for t in by_size(found):
        share = t.bytes_at_rest / found.bytes_fp32
        effects = f"{_shown(t.activity):>24}{_shown(t.lyapunov):>24}"
        lines.append(f"{t.rung:<6}{t.bytes_at_rest:>12,}{share:>9.1%}  {t.stage:<8}{t.verdict:<14}{effects}")
        lines += [f"{'':<6}raised {key} to {form}" for key, form in t.raised.items() if above.get(key) != form]
        above = t.raised
    lines += ["", outcome(found), *(f"  {reason}" for reason in found.why_not)]
    return "\n".join(lines)


def html(found: Rescue) -> str:
    """The page: outcome, frontier as plots and table, sensitivities, design."""
    plan, rows = found.plan, by_size(found)
    head = ("rung", "verdict", "by", "members", "bytes at rest", "of fp32", "activity", "Lyapunov exponent", "raised")
    alone = ("weight", "role", "format", "activity", "Lyapunov exponent", "score", "first step", "bytes saved")
    plots = "".join(
        frontier([_point(t, getattr(t, name)) for t in rows], plan.margin, f"effect on {said}")
        for name, said in (("activity", "activity"), ("lyapunov", "the Lyapunov exponent"))
    )
    parts = [
        f"<h1>More bits for {escape(found.law.name)} in {escape(found.precision)}</h1>",
        f"<p>{escape(outcome(found))}</p>",
        "".join(f"<p>{escape(reason)}</p>" for reason in found.why_not),
        f'<p class="quiet">law {escape(found.law.digest)}<br>{escape(found.device)}</p>',
        "<h2>Frontier</h2>",
        f"<p>Filled: judged by the whole plan; hollow: by a screening. The band is ±{plan.margin:.0%}.</p>",
        f'<div class="plots">{plots}</div>',
        table(head, [_row(t, found.bytes_fp32) for t in rows]),
        "<h2>Each weight alone</h2>",
        "<p>Only this one is quantised. The score is the least that both intervals admit; the order is that of the"
        " ladder: score per byte saved, then error of the first step per byte saved.</p>",
        table(
            alone,
            [
                [
                    f"<td>{escape(a.weight.key)}</td><td>{escape(a.weight.role)}</td><td>{escape(a.weight.format)}</td>",
                    number(_shown(a.activity)),
                    number(_shown(a.lyapunov)),
                    number(f"{a.weight.score:.2%}"),
                    number(f"{a.weight.error:.2%}"),
                    number(f"{a.weight.saved:,}"),
                ]
                for a in found.alone
            ],
        ),
        "<h2>Design</h2>",
        table(("", ""), [[f"<td>{escape(k)}</td><td>{escape(str(v))}</td>"] for k, v in asdict(plan).items()]),
    ]
    return page(f"{found.law.name} in {found.precision}: frontier", parts)


def by_size(found: Rescue) -> list[Tried]:
    return sorted(found.tried, key=lambda t: (t.bytes_at_rest, t.rung, t.members))


def _row(t: Tried, fp32: int) -> list[str]:
    raised = "<br>".join(f"{escape(key)}: {form}" for key, form in t.raised.items()) or "nothing"
    return [
        number(str(t.rung)),
        f"<td>{tag(t.verdict)}</td><td>{t.stage}</td>",
        number(str(t.members)),
        number(f"{t.bytes_at_rest:,}"),
        number(f"{t.bytes_at_rest / fp32:.1%}"),
        number(_shown(t.activity)),
        number(_shown(t.lyapunov)),
        f"<td><small>{raised}</small></td>",
    ]


def _point(t: Tried, effect: Effect) -> Point:
    label = f"rung {t.rung}, {t.bytes_at_rest:,} B, by {t.stage}: {t.verdict}, {_shown(effect)}"
    return Point(t.bytes_at_rest, *effect, outcome=t.verdict, solid=t.stage == "gate", label=label)


def _shown(effect: Effect) -> str:
    value, low, high = effect
    return f"{value:+.1%} [{low:+.1%}, {high:+.1%}]" if isfinite(value) else "none"
