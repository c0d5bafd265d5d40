"""Runs for tests of the engine, and laws of every architecture."""

from __future__ import annotations

import numpy as np
import pytest

from leym.contract.spec import ComplexNoise, Recording
from leym.engine.run import Run
from tests.support.recording_sink import RecordingSink

PSI = (Recording(field="psi", every=7),)


def a_run(law, *, id="job", steps=40, seed=0, gamma=0.01, record=PSI, precision="nf4", grid=(16, 16), **more) -> Run:
    initial = more.pop("initial", ComplexNoise())
    return Run.one(id, law, precision, grid, steps, gamma, seed, initial, RecordingSink(), record=record, **more)


def alone(engines, law, slots: int = 4, **options) -> np.ndarray:
    """slots: as the engine has that it is held against, since bits may depend on the batch size."""
    run = a_run(law, **options)
    engines(slots).submit(run)
    return run.sink.wait().psi()


KINDS = {
    "UNET": {},
    "UNET_UNITARY": {"form": "diagonal"},
    "UNET_UNITARY_RMSNORM": {},
    "UNET_UNITARIA": {"form": "antisymmetric"},
    "UNET_CONVLSTM": {},
    "SNN_UNET": {"options": {"antialias": True}},
    "MLP": {},
    "DEEP_QCA": {},
    "NCA": {"options": {"update_rate": 0.5, "padding": "periodic"}},
}

# What holds for an engine that waits for every burst holds for one that launches the next burst before.
BOTH_KINDS = pytest.mark.parametrize("engines", ["default", "ahead"], indirect=True)
COMPILED = pytest.param(True, marks=[pytest.mark.compile, pytest.mark.slow])
