"""The page in a real browser, against a real service: from the form to a painted fork, and on a phone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.tab import tab

pytestmark = pytest.mark.browser
STEP = "Number(document.querySelector('.stage')?.dataset.step ?? -1)"
ID = "location.hash.split(/[/?]/)[2]"


def scrub(page, step):
    page.wait(
        f"""(() => {{
          const track = document.querySelector('.track input');
          track.value = {step};
          track.dispatchEvent(new Event('input', {{bubbles: true}}));
          return true;
        }})()"""
    )
    page.wait(f"{STEP} === {step}")


def test_a_universe_is_submitted_watched_scrubbed_forked_and_painted(service, tmp_path):
    seed = 2**53 + 1
    with tab(tmp_path / "browser") as page:
        page.open(f"{service.url}/#/new?law=tiny&height=16&width=16&steps=600&seed={seed}&observe=10&keep=100")
        page.has("Runs for")
        assert page.audit() == []
        page.click("Run")
        page.wait("location.hash.startsWith('#/jobs/')")
        job = service.client.job(page.evaluate(ID))
        page.wait(f"{STEP} > 0")
        seen = page.evaluate(STEP)
        page.wait(f"{STEP} > {seen}")  # it follows while the universe runs
        page.has("succeeded", "600 of 600 steps", str(seed))
        assert job.refresh().spec["seed"] == seed, "a number of JavaScript would be 9007199254740992"
        page.wait("document.querySelectorAll('.uplot canvas').length >= 3")
        assert page.audit() == []

        scrub(page, 240)
        page.wait("location.hash.includes('step=240')")
        middle = page.box(".stage canvas")
        middle = (middle["x"] + middle["width"] / 2, middle["y"] + middle["height"] / 2)
        page.drag(middle, middle)
        page.wait("document.querySelectorAll('.phasor').length > 0")
        address = page.evaluate("location.href")
        page.call("Page.reload")
        page.wait(f"{STEP} === 240")
        page.wait("document.querySelectorAll('.phasor').length > 0")
        assert page.evaluate("location.href") == address

        page.click("Fork here")
        page.fill("dialog [name=gamma]", "0.05")
        page.fill("dialog [name=steps]", "300")
        page.click("Fork")
        page.wait(f"{ID} !== '{job.id}'")
        page.has("Differs from", "Lineage", "300 of 300 steps")
        fork = service.client.job(page.evaluate(ID)).wait(240)
        assert fork.as_dict()["parent"] == job.id
        assert fork.as_dict()["from_step"] == 200, "the newest kept state before step 240"
        assert fork.spec["gamma"] == [[0, 0.01], [240, 0.05]]

        page.wait("!document.querySelector('.head progress')")
        scrub(page, 280)
        page.click("Paint")
        page.drag(middle, middle)
        page.has("1 stroke")
        assert page.audit() == []
        page.click("Paint and run")
        page.wait(f"{ID} !== '{fork.id}'")
        painted = service.client.job(page.evaluate(ID)).wait(240)
        [change] = painted.spec["interventions"]
        assert (change["kind"], change["step"], painted.spec["gamma"]) == ("vortex", 280, fork.spec["gamma"])
        before, after = (dict(zip(*map(list, one.array("phase")), strict=True)) for one in (fork, painted))
        assert all(np.array_equal(before[step], after[step]) for step in range(204, 281, 4)), "the same until then"
        assert not np.array_equal(before[284], after[284])
        page.evaluate("history.back()")
        page.wait(f"document.querySelector('.about code')?.innerText === '{fork.id}' && {STEP} >= 0")

        page.click("Share")
        page.click("Make a link")
        page.has("The link")
        link = page.evaluate("document.querySelector('dialog[open] input').value")
        assert link.startswith(f"{service.url}/s/")
        page.click("Close")
        page.click("Export")
        page.has("phase.webp", "observables.csv")
        assert page.audit() == []
        page.click("Close")
        page.open(link)
        page.wait("document.querySelector('.screen.shared')")
        del page.requests[:]
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 500))")
        asked = {request.split("?")[0] for request in page.requests}
        assert not any(request.endswith(("/v1/workers", "/v1/queue", "/v1/session")) for request in asked), asked
        assert page.errors == []


def test_what_is_wrong_stands_beside_its_key(service, tmp_path):
    with tab(tmp_path / "browser") as page:
        page.open(f"{service.url}/#/new?law=tiny&height=18")
        page.wait("document.querySelector('[data-error=height]')?.innerText.includes('divisible by')")
        page.fill("[name=height]", "16")
        page.fill("[name=gamma]", "0.1, oops")
        page.wait("document.querySelector('[data-error=gamma]')?.innerText.includes('oops')")
        page.fill("[name=gamma]", "0.01, 0.02")
        page.fill("[name=seed]", "0..3")
        page.has("Run 8 universes")
        assert [error for error in page.errors if "/v1/quotes" not in error] == []


def test_on_a_phone_a_tap_opens_the_universe(service, tmp_path):
    job = service.client.submit("tiny", (16, 16), 50, {"phase": 10}, observe=10).wait(240)
    with tab(tmp_path / "browser") as page:
        page.size(390, 844, phone=True)
        page.open(f"{service.url}/")
        tile = f"document.querySelector('a[data-id=\"{job.id}\"]')"
        page.wait(tile)
        page.evaluate(f"{tile}.scrollIntoView()")  # sweeps come before it in the one column
        page.wait(f"document.querySelector('a[data-id=\"{job.id}\"] canvas')?.dataset.step")
        tile = page.box(f"a[data-id='{job.id}']")
        assert tile["width"] > 0.85 * 390, "one column"
        page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": 195, "y": tile["y"] + 100}])
        page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        page.wait(f"{ID} === '{job.id}'")
        page.wait(f"{STEP} >= 0")
        assert page.box(".stage canvas")["width"] > 0.85 * 390
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.audit() == []
        assert page.errors == []
