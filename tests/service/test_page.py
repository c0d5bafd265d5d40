"""The web page in a real browser, against a real service."""

from __future__ import annotations

import re

import pytest

from tests.support.browser import dom_with


@pytest.mark.browser
def test_the_page_shows_jobs_workers_and_the_picture_of_a_job(service, tmp_path):
    job = service.client.submit("tiny", (16, 16), 50, {"phase": 10}, observe=10, seed=2**53 + 1).wait(240)
    picture_of_the_field = rf'<img[^>]+src="([^"]*{job.id}/frames/phase[^"]*)"'
    wanted = (f">{job.id}</button>", "worker0@", "activity", "50 of 50 steps", picture_of_the_field)
    dom = dom_with(wanted, f"{service.url}/#{job.id}", tmp_path)
    shown = re.sub(r"<[^>]+>", " ", dom)
    assert job.id in shown
    assert "succeeded" in shown
    assert "50 of 50 steps" in shown
    assert "seed 9007199254740993" in shown, "a number of JavaScript would be 9007199254740992"
    assert "worker0@" in shown
    assert "activity" in shown
    picture = re.search(picture_of_the_field, dom)
    assert picture, "no picture of the job's first field"
