"""The Python SDK of the service; it speaks HTTP only.

    from leym.client import Client

    with Client() as client:  # LEYM_URL and LEYM_TOKEN
        job = client.run("aurora", steps=500, record={"phase": 10}, observe=10)
        steps, phase = job.array("phase")

`Client` submits and finds jobs, sweeps and laws; `Job` and `Sweep` wait, stream and read results. Whatever goes wrong
with the service is a `LeymError`. Only the names in `__all__` are the public API; the modules below are not.
"""

from leym.client.axes import choice, latin_hypercube, linspace, logspace, loguniform, random_points, uniform
from leym.client.client import Client
from leym.client.errors import JobCancelled, JobFailed, LeymError, ProblemError, ServiceUnreachable, UnexpectedAnswer
from leym.client.job import Job
from leym.client.live import Frame
from leym.client.sweep import Sweep

__all__ = [
    "Client",
    "Frame",
    "Job",
    "JobCancelled",
    "JobFailed",
    "LeymError",
    "ProblemError",
    "ServiceUnreachable",
    "Sweep",
    "UnexpectedAnswer",
    "choice",
    "latin_hypercube",
    "linspace",
    "logspace",
    "loguniform",
    "random_points",
    "uniform",
]
