"""An imported law runs in a running service until it is deleted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leym.client import ProblemError
from tests.support.checkpoints import EXPERIMENT
from tests.support.laws import oracle
from tests.support.service import Service


def test_a_running_service_runs_an_imported_law_until_it_is_deleted(service: Service, tmp_path: Path) -> None:
    reference = oracle("unet_unitary", tmp_path)
    law = service.client.import_law(EXPERIMENT, "imported")
    start = {"kind": "upload", "id": service.client.upload_state(reference.psi[0])}
    grid = reference.psi[0].shape[:2]
    run = {"initial": start, "gamma": reference.gamma, "precision": "fp32"}
    job = service.client.submit("imported", grid, 2, {"psi": 1}, **run).wait(240)
    assert job.law == law["ref"]
    assert np.abs(job.array("psi")[1][1] - reference.psi[1]).max() < 1e-5
    waiting = service.client.submit("imported", grid, 10**6, **run)
    with pytest.raises(ProblemError, match="409"):
        service.client.delete_law("imported")
    waiting.cancel()
    service.client.delete_law("imported")
    with pytest.raises(ProblemError, match="no law 'imported'"):
        service.client.submit("imported", grid, 2)
