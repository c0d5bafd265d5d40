"""Draws laws at random, as temporary ones: those that nobody keeps are removed again."""

from __future__ import annotations

import logging
import time

from app.law_removal import added_laws_folder, remove_law
from app.models.laws import DrawRequest
from app.services import Services
from leym.contract.problems import Problem
from leym.laws import versions
from leym.laws.bundle import Bundle
from leym.laws.drawing import drawn_law
from leym.laws.temporary import mark_temporary, overdue, temporary_until

log = logging.getLogger(__name__)

STAY_S = 86400.0  # time after which a drawn law is removed unless it is kept


def draw_laws(services: Services, wanted: DrawRequest) -> list[Bundle]:
    """Add laws with random weights, in the order of their seeds, and remove those of earlier draws that nobody kept.

    The same request gives the same laws. One that was kept stays kept.

    Raises:
        Problem: 422 for an architecture without the boundary.
    """
    remove_overdue(services)
    folder, until, drawn = added_laws_folder(services), time.time() + STAY_S, list[Bundle]()
    with versions.staging_folder(folder) as work:
        for seed in range(wanted.seed, wanted.seed + wanted.count):
            prepared = work / str(seed)
            drawn_law(prepared, wanted.architecture, wanted.d_state, wanted.hidden, seed, wanted.boundary)
            mark_temporary(prepared, until)
            bundle, is_new = versions.add_version(folder, prepared)
            if not is_new and temporary_until(bundle) is not None:
                mark_temporary(bundle.path, until)
            drawn.append(bundle)
    return drawn


def remove_overdue(services: Services) -> None:
    """Remove the temporary laws whose time is over; those that a live job needs stay until the next call."""
    found = [bundle for laws in services.laws.versions().values() for bundle in laws]
    for bundle in overdue(found):
        try:
            remove_law(services, bundle.ref)
        except Problem as problem:
            if problem.status not in (404, 409):  # another process removed it, or a job needs it
                raise
            log.info("temporary law %s stays: %s", bundle.ref, problem.detail)
