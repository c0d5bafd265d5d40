"""The Python SDK: `from leym.client import Client`. It speaks HTTP only."""

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
]
