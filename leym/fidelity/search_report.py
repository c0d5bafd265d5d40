"""Shows the result of a precision search: tables for the terminal, a JSON document, and an HTML page with plots."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from leym.common.strict_json import nan_to_null
from leym.fidelity.search import Candidate, Effect, SearchResult
from leym.reports.plots import Point, frontier
from leym.reports.rendering import effect_text, render


def outcome(result: SearchResult) -> str:
    """Return the outcome of the search in one sentence."""
    law = f"{result.law.name}@{result.law.digest[:12]} in {result.precision}"
    if result.why_not:
        return f"{law}: no candidate could pass with {result.plan.members} members per ensemble"
    if result.passed is None:
        return f"{law}: no candidate passes, the last rung ({result.last_rung}) included"
    best = result.candidates[-1]
    count = f"{len(best.raised)} of {len(result.sensitivities)} weights raised"
    raised = count if best.raised else "nothing has to be raised"
    return f"{law}: rung {best.rung} passes, {best.bytes_at_rest:,} B at rest, {raised}"


def judged(result: SearchResult) -> str:
    """Return in words how many candidates were judged."""
    whole = result.judgements
    few = len(result.candidates) - whole
    return f"{few + whole} candidates judged: {few} by a screening of few members, {whole} by the whole plan"


def as_json(result: SearchResult) -> dict[str, Any]:
    """Return the result as a JSON document; numbers that are not finite become null."""
    document = {
        "law": result.law.ref,
        "precision": result.precision,
        "device": result.device,
        "plan": asdict(result.plan),
        "bytes_fp32": result.bytes_fp32,
        "sensitivities": [
            {
                "key": s.weight.key,
                "role": s.weight.role,
                "format": s.weight.format,
                "bytes": dict(s.weight.sizes),
                "score": s.weight.score,
                "one_step_error": s.weight.error,
                "deviation": s.stability.deviation,
                "drift": s.stability.drift,
                "growth": s.stability.growth,
            }
            for s in result.sensitivities
        ],
        "candidates": [asdict(candidate) for candidate in by_size(result)],
        "judgements": result.judgements,
        "screenings": len(result.candidates) - result.judgements,
        "passed": result.passed is not None,
        "reasons": result.why_not,
    }
    return {key: nan_to_null(value) for key, value in document.items()}


def text(result: SearchResult) -> str:
    """Return both tables and the outcome; a row names the weights that it raises beyond the row above."""
    lines = []
    if result.sensitivities:
        lines.append(
            f"{'weight alone':<34}{'format':<7}{'score':>8}{'deviation':>11}{'drift':>8}{'growth':>8}"
            f"{'1st step':>10}{'B saved':>9}"
        )
    for sensitivity in result.sensitivities:
        weight = sensitivity.weight
        found = sensitivity.stability
        lines.append(
            f"{weight.key:<34}{weight.format:<7}{found.score:>8.3f}{found.deviation:>11.3f}{found.drift:>8.1%}"
            f"{found.growth:>8.3f}{weight.error:>10.2%}{weight.saved:>9,}"
        )
    if result.candidates:
        lines.append(
            f"\n{'rung':<6}{'at rest':>12}{'of fp32':>9}  {'by':<8}{'verdict':<14}{'activity':>24}{'lyapunov':>24}"
        )
    above: dict[str, str] = {}
    for c in by_size(result):
        share = c.bytes_at_rest / result.bytes_fp32
        effects = f"{effect_text(c.activity):>24}{effect_text(c.lyapunov):>24}"
        lines.append(f"{c.rung:<6}{c.bytes_at_rest:>12,}{share:>9.1%}  {c.stage:<8}{c.verdict:<14}{effects}")
        lines += [f"{'':<6}raised {key} to {form}" for key, form in c.raised.items() if above.get(key) != form]
        above = c.raised
    lines += ["", outcome(result), judged(result), *(f"  {reason}" for reason in result.why_not)]
    return "\n".join(lines)


def html(result: SearchResult) -> str:
    """Return the page: outcome, frontier as plots and as a table, sensitivities, design."""
    plan, rows = result.plan, by_size(result)
    plots = [
        frontier([_point(candidate, getattr(candidate, name)) for candidate in rows], plan.margin, f"effect on {title}")
        for name, title in (("activity", "activity"), ("lyapunov", "the Lyapunov exponent"))
    ]
    return render(
        "frontier.html",
        law=result.law,
        precision=result.precision,
        outcome=outcome(result),
        judged=judged(result),
        reasons=result.why_not,
        device=result.device,
        margin=plan.margin,
        plots=plots,
        candidates=rows,
        bytes_fp32=result.bytes_fp32,
        sensitivities=result.sensitivities,
        design={key: str(value) for key, value in asdict(plan).items()},
    )


def by_size(result: SearchResult) -> list[Candidate]:
    """Return the candidates by bytes at rest, smallest first."""
    return sorted(result.candidates, key=lambda c: (c.bytes_at_rest, c.rung, c.members))


def _point(candidate: Candidate, effect: Effect) -> Point:
    size, stage, verdict = candidate.bytes_at_rest, candidate.stage, candidate.verdict
    label = f"rung {candidate.rung}, {size:,} B, by {stage}: {verdict}, {effect_text(effect)}"
    return Point(size, *effect, outcome=verdict, solid=stage == "gate", label=label)
