"""The web page in a real browser, against a real service."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: deploy/debian-packages.sh installs it")
def test_the_page_shows_jobs_workers_and_the_picture_of_a_job(service, tmp_path):
    job = service.client.submit("tiny", (16, 16), 50, {"phase": 10}, observe=10, seed=2**53 + 1).wait(60)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000", "--dump-dom", f"{service.url}/#{job.id}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    shown = re.sub(r"<[^>]+>", " ", dom)
    assert job.id in shown
    assert "succeeded" in shown
    assert "50 of 50 steps" in shown
    assert "seed 9007199254740993" in shown, "a number of JavaScript would be 9007199254740992"
    assert "worker0@" in shown
    assert "activity" in shown
    picture = re.search(rf'<img[^>]+src="([^"]*{job.id}/frames/phase[^"]*)"', dom)
    assert picture, "no picture of the job's first field"
