"""The test files that take longest, longest first: `make test` begins with them.

Begun late, one of them would run on when nothing is left for the other processes of pytest.
"""

from __future__ import annotations

LONGEST = (
    "service/test_recovery.py",
    "chaos/test_chaos.py",
    "service/test_sweeps.py",
    "service/test_service.py",
    "service/test_backup.py",
    "service/test_trainings.py",
    "integration/test_benchmarks.py",
    "service/test_retention.py",
    "integration/workers/test_cold_start.py",
    "service/test_fidelity_jobs.py",
    "service/test_old_data.py",
    "chaos/test_flood.py",
    "service/test_running_quota.py",
    "service/test_clients.py",
    "service/test_page.py",
    "integration/workers/test_blocks.py",
    "unit/engine/test_engine.py",
    "unit/engine/step/test_cuda_graphs.py",
    "unit/fidelity/test_gate.py",
    "unit/training/test_trainer.py",
    "unit/engine/step/test_per_cell_cpu.py",
    "unit/training/test_objectives.py",
    "unit/test_docs.py",
)
