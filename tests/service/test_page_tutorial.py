"""The research task of the tutorial in a real browser, from the page alone, with its clicks counted."""

from __future__ import annotations

import json
import re
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.service import Service
from tests.support.tab import PAINTED, Tab, tab

pytestmark = pytest.mark.browser
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
ID = "location.hash.split(/[/?]/)[2]"
STEP = "Number(document.querySelector('.stage')?.dataset.step ?? -1)"
LABEL = "[...document.querySelectorAll('label')].find((one) => one.innerText.startsWith({name}))?.querySelector({kind})"
MOST = 8  # clicks of a step


class Hand:
    """A person at the page, who counts: a press of the pointer is one click, an option of a select two, keys none."""

    def __init__(self, page: Tab):
        self.page = page
        self.clicks: dict[int, int] = {}

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        self.now = number
        self.clicks[number] = 0
        yield

    def count(self, clicks: int = 1) -> None:
        self.clicks[self.now] += clicks

    def press(self, name: str, within: str = "document") -> None:
        self.count()
        self.page.click(name, within)

    def point(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Press on what a selector finds, at shares of its width and height."""
        self.count()
        self.page.wait(f"document.querySelector({json.dumps(selector)})?.getClientRects().length > 0")
        self.page.evaluate(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'nearest'}})")
        box = self.page.box(selector)
        at = box["x"] + box["width"] * x, box["y"] + box["height"] * y
        self.page.drag(at, at)

    def choose(self, label: str, value: str) -> None:
        self.count(2)
        found = LABEL.format(name=json.dumps(label), kind="'select'")
        self.page.wait(f"[...({found})?.options ?? []].some((one) => one.value === {json.dumps(value)})")
        self.page.evaluate(
            f"(() => {{ const e = {found}; e.value = {json.dumps(value)};"
            " e.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    def write(self, selector: str, text: str) -> None:
        """Write into a field in the place of what it has: a click, unless it has the focus already."""
        self.page.wait(f"document.querySelector({json.dumps(selector)})")
        if not self.page.evaluate(f"document.activeElement === document.querySelector({json.dumps(selector)})"):
            self.count()
        self.page.fill(selector, text)


def test_the_research_task_from_the_page_in_eight_clicks_a_step(service: Service, tmp_path: Path) -> None:
    with tab(tmp_path / "browser", width=1440, height=1000) as page:
        hand = Hand(page)
        page.open(f"{service.url}/")
        with hand.step(1):
            hand.press("New universe")
            hand.point("[name=law][value=tiny]")
            hand.write("[name=height]", "16")
            hand.write("[name=steps]", "40")
            hand.write("[name=seed]", "0..1")
            hand.write("[name=gamma]", "0..0.1 x 8")
            hand.choose("Initial state", "complex_noise")
            hand.write("[name='initial.strength']", "0.1, 0.3, 1, 3")
            page.has("Run 64 universes", "64 = 2 seed × 8 gamma × 4 initial.strength")
            page.key("Enter")
            page.wait("location.hash.startsWith('#/sweeps/')")
        page.has("64 succeeded", "mean over seed")

        with hand.step(2):
            hand.choose("Steps", "w")
            hand.write(".controls label input[type=number]", "20")
            page.has("over the observed steps 20 to 40; mean over seed")
            hand.choose("Observable", "channel_entropy")
            page.has("channel_entropy over the observed steps 20 to 40; mean over seed")

        with hand.step(3):
            hand.press("Six typical ones")
            page.wait(f"({PAINTED})('#selection canvas[data-member]') === 6")
            hand.press("Play", "document.querySelector('#selection')")
            page.wait("document.querySelector('#selection .play').ariaLabel === 'Pause'")

        with hand.step(4):
            hand.point("#selection .player")
            page.has("40 of 40 steps")
            best = service.client.job(page.evaluate("document.querySelector('.about code').innerText"))
            hand.press("Extend")
            page.wait("document.activeElement.name === 'steps'")
            hand.write("dialog [name=steps]", "140")
            hand.press("Extend", "document.querySelector('dialog[open]')")
            page.wait(f"location.hash.startsWith('#/jobs/') && {ID} !== '{best.id}'")
            page.has("140 of 140 steps", "succeeded")
        longer = service.client.job(page.evaluate(ID))
        assert longer.spec["gamma"] == best.spec["gamma"]
        known = "document.querySelector('.track input')"
        page.wait(f"{known}.min === '0' && {known}.max === '140'")  # one timeline
        page.wait("document.querySelector('.mark.begins')")
        scrub(page, 20)
        assert page.evaluate("document.querySelector('.message').innerText") == ""

        with hand.step(5):
            hand.point(".track input", 120 / 140)
            page.wait(f"Math.abs({STEP} - 120) <= 4")
            forked = page.evaluate(STEP)
            hand.press("Fork here")
            page.wait("document.activeElement.name === 'gamma'")
            hand.write("dialog [name=gamma]", "0.2")
            hand.press("Fork")
            page.wait(f"{ID} !== '{longer.id}'")
            page.has("140 of 140 steps", "succeeded")
            branch = service.client.job(page.evaluate(ID)).wait(240)
            hand.press("Compare with its parent")
            page.has("Compare 2 universes", "rms")
        assert branch.as_dict()["parent"] == longer.id
        assert branch.spec["gamma"][-1] == [forked, 0.2]
        assert page.evaluate("document.querySelector('.clock .track input').min") == "0"

        with hand.step(6):
            hand.press("tiny")
            page.wait(f"{ID} === '{longer.id}' && {STEP} >= 0")
            hand.point(".track input", 120 / 140)
            page.wait(f"Math.abs({STEP} - 120) <= 4")
            hand.press("Paint")
            hand.press("Noise")
            hand.point(".stage canvas")
            page.has("1 stroke")
            hand.press("Paint and run")
            page.wait(f"{ID} !== '{longer.id}'")
            page.has("140 of 140 steps", "succeeded")
            hurt = service.client.job(page.evaluate(ID)).wait(240)
            hand.press("Compare with its parent")
            page.has("Compare 2 universes", "rms")
        assert hurt.as_dict()["parent"] == longer.id
        assert [one["kind"] for one in hurt.spec["interventions"]] == ["noise"]

        with hand.step(7):
            hand.press("tiny")
            page.wait(f"{ID} === '{longer.id}'")
            hand.press("Share")
            hand.press("Make a link")
            page.has("The link")
            link = page.evaluate("document.querySelector('dialog[open] input').value")
            hand.press("Copy the link")
        with tab(tmp_path / "visitor") as visitor:
            visitor.open(link)
            visitor.has("a shared universe", "Citation")
        page.open("about:blank")
        page.open(f"{service.url}/#/jobs/{longer.id}")

        with hand.step(8):
            hand.press("Export")
            page.wait("[...document.querySelectorAll('dialog a')].some((one) => one.innerText === 'Everything (.zip)')")
            address = page.evaluate(
                "[...document.querySelectorAll('dialog a')].find((one) => one.innerText === 'Everything (.zip)').href"
            )
            hand.count()  # the link itself: a headless browser keeps no downloads
            file = tmp_path / "everything.zip"
            with urllib.request.urlopen(address) as answer:
                file.write_bytes(answer.read())
            page.open(f"{service.url}/#/")  # as on another service: tests/service/test_reproduce.py has one
            hand.press("New universe")
            hand.press("Reproduce a file")
            page.wait("document.querySelector('input[type=file]')")
            page.choose_file("input[type=file]", file)
            hand.count(2)  # the field, and the file
            page.has("Every bit is the same")
        [again] = service.client.jobs(tag=f"reproduces={longer.id}")
        assert "provenance.json" in zipfile.ZipFile(file).namelist()
        assert again.id != longer.id
        assert page.errors == []

    told = [int(number) for number in re.findall(r"^  - (\d+) clicks?$", TUTORIAL, re.MULTILINE)]
    assert hand.clicks == dict(enumerate(told, 1))
    assert max(told) <= MOST


def scrub(page: Tab, step: int) -> None:
    page.wait(
        f"""(() => {{
          const track = document.querySelector('.track input');
          track.value = {step};
          track.dispatchEvent(new Event('input', {{bubbles: true}}));
          return true;
        }})()"""
    )
    page.wait(f"{STEP} === {step}")
