"""Changes sweeps in the job table, then informs waiting clients and workers, and sends tickets."""

from __future__ import annotations

from app.cancellation import announce_all
from app.services import Services
from leym.contract.records import JobState, Sweep
from leym.frames.layout import job_prefix


def pause(services: Services, sweep_id: str) -> Sweep:
    """Pause a sweep and return it.

    Raises:
        Problem: 404 if there is no such sweep.
    """
    live = services.table.live_rows(sweep_id)
    fenced = set(services.table.pause_sweep(sweep_id))
    announce_all(services, [job for job in live if job.id in fenced], JobState.PAUSED)
    return services.table.get_sweep(sweep_id)


def resume(services: Services, sweep_id: str) -> Sweep:
    """Resume a paused sweep and return it.

    Raises:
        Problem: 404 if there is no such sweep.
    """
    services.ticket_sender.send(services.table.resume_sweep(sweep_id))
    return services.table.get_sweep(sweep_id)


def retry(services: Services, sweep_id: str) -> Sweep:
    """Run the failed members of a sweep again and return the sweep.

    Raises:
        Problem: 404 if there is no such sweep; 409 if version 0.1.0 accepted it; 429 or 503 if a quota is reached; 507
            if the disk is nearly full.
    """
    services.disk.check()
    _, rows = services.table.retry_sweep(sweep_id)
    services.ticket_sender.send([row for row in rows if row.state == JobState.QUEUED])
    return services.table.get_sweep(sweep_id)


def set_priority(services: Services, sweep_id: str, priority: int) -> Sweep:
    """Change the priority of a sweep and return it.

    Raises:
        Problem: 404 if there is no such sweep.
    """
    services.ticket_sender.send(services.table.set_sweep_priority(sweep_id, priority))
    return services.table.get_sweep(sweep_id)


def delete(services: Services, sweep_id: str) -> None:
    """Remove the results of a sweep.

    Raises:
        Problem: 404 if there is no such sweep; 409 if it has not ended, or if a live job starts from a member.
    """
    for row_id in services.table.delete_sweep(sweep_id):  # the rows first, so that nobody finds what is being removed
        services.store.delete_prefix(job_prefix(row_id))
