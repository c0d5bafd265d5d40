"""One verdict as one HTML file that needs nothing else. Torch-free."""

from __future__ import annotations

from html import escape
from math import isfinite
from typing import Any

from leym.laws.verdicts import MetricVerdict, Verdict
from leym.reports.plots import COLOURS, OUTCOMES, curves, interval_bar, strips

STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid color-mix(in srgb, CanvasText 18%, Canvas) }
th { font-weight: 600; vertical-align: bottom }
td.n { text-align: right; white-space: nowrap }
.scroll { overflow-x: auto }
.tag { color: #fff; border-radius: .3rem; padding: .05rem .5rem; font-weight: 600 }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: 50%; margin: 0 .3rem 0 1rem }
.plots { display: flex; flex-wrap: wrap; gap: 1rem }
small, .quiet { color: color-mix(in srgb, CanvasText 65%, Canvas) }
svg text { font: 11px system-ui, sans-serif; fill: CanvasText }
svg .band { fill: color-mix(in srgb, #3f8f4f 22%, Canvas) }
svg .axis, svg .frame { stroke: color-mix(in srgb, CanvasText 45%, Canvas); fill: none }
"""
MEANING = {
    "pass": "Every deciding interval lies inside the margin and the controls behave: it may be served as the law.",
    "fail": "The law has changed by more than the margin: this precision is another law.",
    "inconclusive": "Neither equality nor a change was shown: it takes more members, longer averages or a larger grid.",
}


def report(verdict: Verdict) -> str:
    """The page, complete: outcome, metrics with intervals against the bounds, distributions, dynamics, the design."""
    law = verdict.law
    title = f"{law['name']} in {verdict.precision}: {verdict.verdict}"
    parts = [
        f"<h1>Fidelity of {escape(str(law['name']))} in {escape(verdict.precision)}</h1>",
        f"<p>{tag(verdict.verdict)} {MEANING[verdict.verdict]}</p>",
        _reasons(verdict),
        f'<p class="quiet">law {escape(str(law["digest"]))}<br>{escape(verdict.created)}, {verdict.seconds:.0f} s</p>',
        "<h2>Metrics</h2>",
        f"<p>Effect = (candidate − baseline) / scale, with its {1 - 2 * verdict.plan['alpha']:.0%} interval. The green"
        f" band is ±{verdict.plan['margin']:.0%}; below each effect lies the second baseline's, of the same law.</p>",
        _metrics(verdict),
        "<h2>Distributions</h2>",
        "<p>A tick is a member.",
        *(f'<span class="key" style="background:{c}"></span>{n}' for n, c in COLOURS.items()),
        "</p>",
        _distributions(verdict),
        "<h2>Time</h2>",
        _time(verdict),
        "<h2>Controls and flags</h2>",
        _controls(verdict),
        "<h2>Design</h2>",
        "<p>Fixed before anything was run.</p>",
        _pairs(verdict.plan | {f"seeds, {name}": f"{a} to {b}" for name, (a, b) in verdict.seeds.items()}),
        "<h2>Computed by</h2>",
        _pairs(
            {f"{who}: {key}": value for who, said in verdict.engine.items() for key, value in said.items()}
            | verdict.versions
        ),
    ]
    return page(title, parts)


def _reasons(verdict: Verdict) -> str:
    items = "".join(f"<li>{escape(reason)}</li>" for reason in verdict.reasons)
    return f"<ul>{items}</ul>" if items else ""


def _metrics(verdict: Verdict) -> str:
    head = ("metric", "outcome", "effect and interval", "effect", "interval", "TOST p", "baseline", "candidate")
    rest = ("W1 ratio", "KS p (Holm)", "power", "members for 80 %")
    return table(head + rest, [_metric_row(m, verdict.plan["margin"]) for m in verdict.metrics])


def _metric_row(m: MetricVerdict, margin: float) -> list[str]:
    kind = "" if m.deciding else ' <span class="quiet">not deciding</span>'
    return [
        f"<td>{escape(m.name)}<br><small>{escape(m.what)}</small></td>",
        f"<td>{tag(m.outcome)}{kind}</td>",
        f"<td>{interval_bar(m.effect, m.low, m.high, margin, m.outcome, m.control)}</td>",
        number(f"{m.effect:+.2%}"),
        number(f"{m.low:+.2%} to {m.high:+.2%}"),
        number(f"{m.p:.2g}"),
        number(f"{m.baseline_mean:.4g} ± {m.baseline_sd:.2g}"),
        number(f"{m.candidate_mean:.4g} ± {m.candidate_sd:.2g}"),
        number(f"{m.wasserstein_ratio:.2f}"),
        number(f"{m.ks_p:.2g}"),
        number(f"{m.power:.0%}"),
        number(str(m.members_needed)),
    ]


def _distributions(verdict: Verdict) -> str:
    rows = []
    for m in verdict.metrics:
        samples = {name: said[m.name] for name, said in verdict.samples.items() if m.name in said}
        values = [v for sample in samples.values() for v in sample if v is not None and isfinite(v)]
        if values:
            shown = {name: [float("nan") if v is None else v for v in sample] for name, sample in samples.items()}
            cells = (strips(shown, 420), f"{min(values):.4g}", f"{max(values):.4g}")
            rows.append([f"<td>{escape(m.name)}</td>", f"<td>{cells[0]}</td>", number(cells[1]), number(cells[2])])
    return table(("metric", "members", "least", "greatest"), rows)


def _time(verdict: Verdict) -> str:
    plan, paired = verdict.plan, verdict.paired
    every = plan["every"]
    plots = [
        curves({n: ([i * every for i in range(len(c))], c) for n, c in verdict.curves.items()}, "A(τ), τ in steps")
    ]
    said = ""
    if paired.get("steps"):
        lines = {"candidate": (paired["steps"], paired["fidelity"]), "floor": (paired["steps"], paired["floor"])}
        plots.append(curves(lines, "paired fidelity F(t), steps from a common state"))
        crossing = paired["crossing"]
        said = (
            f"<p>The first step is off by {paired['one_step_error']:.2%} of its length. Paired fidelity"
            f" {'stays above' if crossing is None else f'reaches, at step {crossing},'} the floor"
            " of unrelated members.</p>"
        )
    names = ("Log-spectral distance beyond that of two baselines", "Fidelity of equal seeds over the unrelated")
    for name, (at, low, high) in zip(names, (verdict.spectrum, verdict.long_range), strict=True):
        said += f"<p>{name}: {at:+.3f}, interval {low:+.3f} to {high:+.3f}.</p>"
    said += f"<p>Global test (energy distance, members permuted): p = {verdict.energy[1]:.3g}.</p>"
    for who, flow in verdict.information.items():
        said += f"<p>Information, {escape(who)}: {', '.join(f'{k} {v:.4f} bit' for k, v in flow.items())}.</p>"
    return f'<div class="plots">{"".join(plots)}</div>{said}'


def _controls(verdict: Verdict) -> str:
    rows = [
        [
            f"<td>{escape(name)}</td>",
            f"<td>must {escape(said['must'])}</td>",
            f"<td>{tag(said['outcome'])}</td>",
            f"<td>{escape('; '.join(said['reasons'][:3]))}</td>",
        ]
        for name, said in verdict.controls.items()
    ]
    flags = "; ".join(f"{who}: {flags}" for who, flags in verdict.flags.items() if flags) or "none"
    return table(("control", "", "outcome", "first reasons"), rows) + f"<p>Flags: {escape(flags)}</p>"


def _pairs(said: dict[str, Any]) -> str:
    return table(
        ("", ""), [[f"<td>{escape(str(key))}</td>", f"<td>{escape(_plain(v))}</td>"] for key, v in said.items()]
    )


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def page(title: str, parts: list[str]) -> str:
    """One HTML document that needs nothing else."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    top = "".join(f"<th>{escape(name)}</th>" for name in head) if any(head) else ""
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def number(text: str) -> str:
    return f'<td class="n">{escape(text)}</td>'


def tag(outcome: str) -> str:
    return f'<span class="tag" style="background:{OUTCOMES.get(outcome, "#666")}">{escape(outcome)}</span>'
