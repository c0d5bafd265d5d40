"""The Python SDK of the service; it speaks HTTP only.

    from leym.client import Client

    with Client() as client:  # LEYM_URL and LEYM_TOKEN
        job = client.run("aurora", steps=500, record={"phase": 10}, observe=10)
        steps, phase = job.array("phase")

`Client` submits and finds jobs, sweeps and laws; `Job` and `Sweep` wait, stream and read results. `AsyncClient` is the
same for asyncio. Whatever goes wrong with the service is a `LeymError`. Only the names in `__all__` are the public API;
the modules below are not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leym.client.aio.client import AsyncClient
    from leym.client.aio.job import AsyncJob
    from leym.client.aio.sweep import AsyncSweep
    from leym.client.axes import choice, latin_hypercube, linspace, logspace, loguniform, random_points, uniform
    from leym.client.client import Client
    from leym.client.errors import (
        JobCancelled,
        JobFailed,
        LeymError,
        ProblemError,
        ServiceUnreachable,
        UnexpectedAnswer,
    )
    from leym.client.job import Job
    from leym.client.live import Frame, JobEvent
    from leym.client.sweep import Sweep
    from leym.client.views import View

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "AsyncSweep",
    "Client",
    "Frame",
    "Job",
    "JobCancelled",
    "JobEvent",
    "JobFailed",
    "LeymError",
    "ProblemError",
    "ServiceUnreachable",
    "Sweep",
    "UnexpectedAnswer",
    "View",
    "choice",
    "latin_hypercube",
    "linspace",
    "logspace",
    "loguniform",
    "random_points",
    "uniform",
]

# The modules of the names, which are imported with the first use of a name: `leym --help` needs none of them.
_MODULES = {
    "AsyncClient": "aio.client",
    "AsyncJob": "aio.job",
    "AsyncSweep": "aio.sweep",
    "Client": "client",
    "Frame": "live",
    "Job": "job",
    "JobEvent": "live",
    "Sweep": "sweep",
    "View": "views",
    **dict.fromkeys(
        ("JobCancelled", "JobFailed", "LeymError", "ProblemError", "ServiceUnreachable", "UnexpectedAnswer"), "errors"
    ),
    **dict.fromkeys(
        ("choice", "latin_hypercube", "linspace", "logspace", "loguniform", "random_points", "uniform"), "axes"
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, *globals()]
