"""Checks what a worker imports before it has anything to do."""

from __future__ import annotations

import subprocess
import sys


def test_a_worker_starts_without_the_statistics_of_the_gate_and_without_bitsandbytes() -> None:
    code = (
        "import sys, workers.celery_app, workers.job_runner; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "torch" in found
    assert not {"scipy", "bitsandbytes", "matplotlib", "pandas"} & set(found)
