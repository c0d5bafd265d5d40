"""Requests that follow the links of the API's document, on a service that works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))


def test_requests_that_follow_links_on_a_service_that_works(service):
    """Jobs and sweeps that run at once, so that frames, streams and shared links of real results are asked for."""
    asked = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            *(
                "--config-file",
                ROOT / "tests/integration/app/schemathesis.toml",
                "run",
                f"{service.url}/openapi.json",
                "--no-color",
            ),
            *("--checks", "all", "--phases", "stateful", "--max-examples", str(2 * EXAMPLES), "--seed", "1"),
            # one would take minutes, the other deletes what other tests need
            # (tests/integration/app/test_openapi_fuzz.py asks for both)
            *("--exclude-operation-id", "judge_law", "--exclude-operation-id", "delete_law"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    print(asked.stdout)
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "✅ Stateful" in asked.stdout
