"""Whatever a law, a metric or an error is called, a report contains only the markup of its templates."""

from __future__ import annotations

from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from leym.contract.fidelity_plan import PLANS
from leym.fidelity import search_report
from leym.fidelity.search import Candidate, SearchResult, Sensitivity
from leym.fidelity.search_ladder import Weight
from leym.fidelity.stability import Stability
from leym.laws.verdicts import MetricVerdict, Verdict
from leym.reports.plots import Point, curves, frontier, interval_bar, strips
from leym.reports.verdict import report

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror="alert(1)">', "' onload='alert(1)", "{{ 7 * 7 }} & <b>"]


class Parsed(HTMLParser):
    """Collects the elements, the attributes and the text of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def a_verdict(name):
    row = MetricVerdict(
        name, name, True, "fail", 0.2, 0.1, 0.3, 0.001, 1.0, 0.1, 0.2, 0.01, 0.2, 0.01, 1.0, 0.5, 0.1, 0.9, 40,
        (0.0, -0.01, 0.01),
    )  # fmt: skip
    return Verdict(
        verdict="fail", reasons=[name], law={"name": name, "digest": name}, precision=name,
        plan={"members": 4, "margin": 0.05, "alpha": 0.05, "every": 10, name: [name, name]}, seeds={name: (0, 3)},
        metrics=[row], spectrum=(0.0, 0.0, 0.0),
        paired={"steps": [1, 2], "fidelity": [1.0, 0.9], "floor": [0.2, 0.2], "one_step_error": 0.1, "crossing": None},
        long_range=(0.0, 0.0, 0.0), energy=(0.0, 1.0), flags={name: {"nan": 1}},
        controls={name: {"must": name, "outcome": name, "reasons": [name]}}, curves={name: [1.0, 0.5, 0.2]},
        engine={name: {name: name}}, versions={name: name}, created=name, seconds=1.0,
        information={name: {name: 0.1}}, samples={name: {name: [0.1, 0.2]}},
    )  # fmt: skip


def a_frontier(name):
    law = SimpleNamespace(name=name, digest="0" * 64)
    effect = (0.2, 0.1, 0.3)
    weight = Weight(name, name, "nf4", {"nf4": 10, "int8": 20, "16": 40})
    candidate = Candidate(1, {name: name}, 100, name, 16, name, effect, effect, [name])
    return SearchResult(
        law,
        name,
        PLANS["small"],
        name,
        400,
        [Sensitivity(weight, Stability(0.3, 0.2, 0.1, 0.0, 0.1))],
        [candidate],
        1,
        None,
        [name],
    )


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("make", [a_verdict, a_frontier])
def test_a_hostile_name_is_text_and_nothing_else(make, name):
    render = report if make is a_verdict else search_report.html
    plain, hostile = Parsed(render(make("plain"))), Parsed(render(make(name)))
    assert hostile.elements == plain.elements
    assert hostile.attributes == plain.attributes
    assert not {"script", "img"} & hostile.elements
    assert hostile.text == plain.text.replace("plain", name)
    assert hostile.text.count(name) > 10


@pytest.mark.parametrize("name", HOSTILE)
def test_plots_escape_names_and_labels(name):
    point = Point(10, 0.1, 0.0, 0.2, name, True, name)
    drawn = "".join(
        [
            interval_bar(0.1, 0.0, 0.2, 0.05, name, (0.0, -0.1, 0.1)),
            strips({name: [1.0, 2.0]}),
            curves({name: ([0, 1], [0.0, 1.0])}, name),
            frontier([point], 0.05, name),
        ]
    )
    assert name not in drawn
    assert Parsed(drawn).elements == {"svg", "title", "rect", "line", "circle", "path", "text", "polyline"}
    assert not any(attribute.startswith("on") for attribute in Parsed(drawn).attributes)
