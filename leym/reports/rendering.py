"""Renders the Jinja2 templates of the reports. Everything that is not markup already is escaped."""

from __future__ import annotations

from math import isfinite

from jinja2 import Environment, PackageLoader, StrictUndefined

from leym.reports.plots import OUTCOMES


def effect_text(effect: tuple[float, float, float]) -> str:
    """Write an effect and its interval, such as "+1.0% [-2.0%, +4.0%]"; "none" if it is not a number."""
    value, low, high = effect
    return f"{value:+.1%} [{low:+.1%}, {high:+.1%}]" if isfinite(value) else "none"


_ENVIRONMENT = Environment(
    loader=PackageLoader("leym.reports"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters["number"] = format  # {{ 0.05 | number("+.1%") }}
_ENVIRONMENT.filters["effect"] = effect_text
_ENVIRONMENT.globals["OUTCOMES"] = OUTCOMES


def render(template: str, **context: object) -> str:
    """Render a template of `leym/reports/templates` as one HTML document that loads nothing else."""
    return _ENVIRONMENT.get_template(template).render(context)
