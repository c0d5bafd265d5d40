"""Removes laws that users have added, unless a job still needs them."""

from __future__ import annotations

from pathlib import Path

from app.services import Services
from leym.contract.problems import Problem, conflict
from leym.contract.records import LIVE
from leym.laws import versions
from leym.laws.bundle import Bundle


def added_laws_folder(services: Services) -> Path:
    """Return the folder that laws are added to. It is the last of the registry's folders, so it has precedence."""
    return services.laws.folders[-1]


def remove_law(services: Services, reference: str) -> None:
    """Remove all versions of a law, or one version by name@digest.

    Raises:
        Problem: 404 if there is no such law, 403 if it comes with the service, 409 if a live job needs it.
    """
    folder = added_laws_folder(services)
    found = services.laws.find(reference)
    if not found:
        raise Problem(404, "Not found", f"there is no law {reference!r}")
    added = [bundle for bundle in found if folder in bundle.path.parents]
    if not added:
        raise Problem(403, "Forbidden", f"law {reference!r} comes with the service and cannot be removed")
    for bundle in added:
        _check_unused(services, bundle)
    for bundle in added:
        versions.remove_version(folder, bundle)


def _check_unused(services: Services, bundle: Bundle) -> None:
    for state in sorted(LIVE):
        jobs, _ = services.table.list(law=bundle.ref, state=state, blocks=True, limit=1)
        for job in jobs:
            raise conflict(f"the {job.state} job {job.id} needs law {bundle.ref}")
