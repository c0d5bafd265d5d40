"""What a rescue found: tables for the terminal, one JSON document, and a page of bytes against effects."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import Any

from leym.fidelity.search import Effect, Rescue, Tried
from leym.reports.plots import Point, frontier
from leym.reports.rendering import effect_text, render


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
    return {
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
                "score": _or_none(a.weight.score),
                "one_step_error": _or_none(a.weight.error),
                "activity": [_or_none(v) for v in a.activity],
                "lyapunov": [_or_none(v) for v in a.lyapunov],
            }
            for a in found.alone
        ],
        "candidates": [
            asdict(t) | {"activity": [_or_none(v) for v in t.activity], "lyapunov": [_or_none(v) for v in t.lyapunov]}
            for t in by_size(found)
        ],
        "judgements": found.judgements,
        "passed": found.passed is not None,
        "reasons": found.why_not,
    }


def text(found: Rescue) -> str:
    """Both tables and the outcome. A row says what it raises beyond the row above."""
    lines = []
    if found.alone:
        lines.append(f"{'weight alone':<34}{'format':<7}{'activity':>24}{'lyapunov':>24}{'1st step':>10}{'B saved':>9}")
    for a in found.alone:
        w = a.weight
        effects = f"{effect_text(a.activity):>24}{effect_text(a.lyapunov):>24}"
        lines.append(f"{w.key:<34}{w.format:<7}{effects}{w.error:>10.2%}{w.saved:>9,}")
    if found.tried:
        lines.append(
            f"\n{'rung':<6}{'at rest':>12}{'of fp32':>9}  {'by':<8}{'verdict':<14}{'activity':>24}{'lyapunov':>24}"
        )
    above: dict[str, str] = {}
    for t in by_size(found):
        share = t.bytes_at_rest / found.bytes_fp32
        effects = f"{effect_text(t.activity):>24}{effect_text(t.lyapunov):>24}"
        lines.append(f"{t.rung:<6}{t.bytes_at_rest:>12,}{share:>9.1%}  {t.stage:<8}{t.verdict:<14}{effects}")
        lines += [f"{'':<6}raised {key} to {form}" for key, form in t.raised.items() if above.get(key) != form]
        above = t.raised
    lines += ["", outcome(found), *(f"  {reason}" for reason in found.why_not)]
    return "\n".join(lines)


def html(found: Rescue) -> str:
    """Return the page: outcome, frontier as plots and as a table, sensitivities, design."""
    plan, rows = found.plan, by_size(found)
    plots = [
        frontier([_point(t, getattr(t, name)) for t in rows], plan.margin, f"effect on {title}")
        for name, title in (("activity", "activity"), ("lyapunov", "the Lyapunov exponent"))
    ]
    return render(
        "frontier.html",
        law=found.law,
        precision=found.precision,
        outcome=outcome(found),
        reasons=found.why_not,
        device=found.device,
        margin=plan.margin,
        plots=plots,
        candidates=rows,
        bytes_fp32=found.bytes_fp32,
        sensitivities=found.alone,
        design={key: str(value) for key, value in asdict(plan).items()},
    )


def by_size(found: Rescue) -> list[Tried]:
    return sorted(found.tried, key=lambda t: (t.bytes_at_rest, t.rung, t.members))


def _point(t: Tried, effect: Effect) -> Point:
    label = f"rung {t.rung}, {t.bytes_at_rest:,} B, by {t.stage}: {t.verdict}, {effect_text(effect)}"
    return Point(t.bytes_at_rest, *effect, outcome=t.verdict, solid=t.stage == "gate", label=label)


def _or_none(value: float) -> float | None:
    return value if isfinite(value) else None
