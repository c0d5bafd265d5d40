"""The web page in a real browser, against a real service."""

from __future__ import annotations

import re

import pytest

from tests.support.browser import dom_of


@pytest.mark.browser
def test_the_page_shows_jobs_workers_and_the_picture_of_a_job(service, tmp_path):
    job = service.client.submit("tiny", (16, 16), 50, {"phase": 10}, observe=10, seed=2**53 + 1).wait(240)
    dom = dom_of(f"{service.url}/#{job.id}", tmp_path, budget_ms=10_000)
    shown = re.sub(r"<[^>]+>", " ", dom)
    assert job.id in shown
    assert "succeeded" in shown
    assert "50 of 50 steps" in shown
    assert "seed 9007199254740993" in shown, "a number of JavaScript would be 9007199254740992"
    assert "worker0@" in shown
    assert "activity" in shown
    picture = re.search(rf'<img[^>]+src="([^"]*{job.id}/frames/phase[^"]*)"', dom)
    assert picture, "no picture of the job's first field"
