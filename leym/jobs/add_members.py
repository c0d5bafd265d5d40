"""Addition of members to a sweep, also while it runs and after it has ended. Those it has stay as they are."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from leym.contract.limits import LIMITS
from leym.contract.problems import conflict, invalid, not_found
from leym.contract.records import Addition, Job, JobState, NewBlock, Sweep
from leym.contract.spec import stored_spec
from leym.contract.sweep_plan import SweepPlan
from leym.contract.sweeps import MoreMembers
from leym.jobs.schema import jobs, sweeps
from leym.jobs.submit import members_request
from leym.jobs.submit_sweep import SubmitSweep
from leym.jobs.sweeps import get_sweep


class AddMembers(SubmitSweep):
    """Addition of members to sweeps."""

    def add_members(
        self,
        sweep_id: str,
        more: MoreMembers,
        plan: SweepPlan,
        blocks: Sequence[NewBlock],
        stored_bytes: int,
        idempotency_key: str | None = None,
        *,
        now: float | None = None,
    ) -> tuple[Sweep, Addition, list[Job]]:
        """Add all of some members to a sweep, or none of them. Those of a paused sweep are paused.

        Args:
            sweep_id: the sweep.
            more: the request.
            plan: the members, counted from 0.
            blocks: their blocks, with indices and shapes of `plan`.
            stored_bytes: uncompressed bytes of all recordings of the members.
            idempotency_key: key of the caller. If it was used with the same request before, nothing is added.
            now: time of the request.

        Returns:
            The sweep, which of its members were added, and the new rows: none if the key was used before.

        Raises:
            Problem: 404 if there is no such sweep; 409 if it can have no more members; 422 if it would be too large, or
                as `submit_sweep`; 429 or 503 if a quota would be exceeded.
        """
        now = time.time() if now is None else now
        request = more.model_dump(mode="json")
        key = None if idempotency_key is None else key_digest(idempotency_key)

        def load(connection: Connection, existing: str) -> tuple[Sweep, Addition, list[Job]]:
            sweep = get_sweep(connection, existing, self.project)
            return sweep, added_with(sweep, idempotency_key), []

        def create(connection: Connection) -> tuple[Sweep, Addition, list[Job]]:
            row = self._locked(connection, sweep_id)
            _check_state(connection, row)
            first_shape, new = _shapes(connection, sweep_id), _addition(row, more, plan, key)
            _check_size(connection, row, new, first_shape, stored_bytes)
            state = JobState.QUEUED if row.paused_at is None else JobState.PAUSED
            made = self._insert_blocks(
                connection, sweep_id, plan, blocks, now, first=row.size, first_shape=first_shape, state=state
            )
            values = {
                "size": row.size + plan.size,
                "blocks": row.blocks + len(blocks),
                "added": _with(row, new),
                "event": None,
            }
            connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(**values))
            return get_sweep(connection, sweep_id, self.project), new, made

        asked = members_request(sweep_id, request)
        return self._once(idempotency_key, asked, sweep_id, now, load, create)[0]

    def check_grows(self, sweep_id: str) -> None:
        """Check whether a sweep can have more members at all.

        Raises:
            Problem: 404 if there is no such sweep; 409 if it can have no more members.
        """
        with self.db.read() as connection:
            _check_state(connection, self._found_sweep(connection, sweep_id))

    def check_members(self, sweep_id: str, more: MoreMembers, plan: SweepPlan, stored_bytes: int) -> None:
        """Check whether a sweep can have some more members, as `add_members` does apart from quotas.

        Raises:
            Problem: 404 if there is no such sweep; 409 if it can have no more members; 422 if it would be too large.
        """
        with self.db.read() as connection:
            row = self._found_sweep(connection, sweep_id)
            _check_state(connection, row)
            _check_size(connection, row, _addition(row, more, plan), _shapes(connection, sweep_id), stored_bytes)

    def laws_of(self, sweep_id: str) -> list[str]:
        """Return the laws of the members of a sweep: name@digest."""
        statement = select(jobs.c.law).where(jobs.c.sweep == sweep_id, *self._own()).distinct()
        with self.db.read() as connection:
            return list(connection.scalars(statement.order_by(jobs.c.law)))

    def _locked(self, connection: Connection, sweep_id: str) -> Row[Any]:
        connection.execute(select(sweeps.c.id).where(sweeps.c.id == sweep_id).with_for_update()).all()
        return self._found_sweep(connection, sweep_id)

    def _found_sweep(self, connection: Connection, sweep_id: str) -> Row[Any]:
        row = connection.execute(select(sweeps).where(sweeps.c.id == sweep_id)).first()
        if row is None or self.project not in (None, row.project):
            raise not_found("sweep", sweep_id)
        return row


def key_digest(idempotency_key: str) -> str:
    """Return the SHA-256 of an Idempotency-Key, 64 hex digits."""
    return hashlib.sha256(idempotency_key.encode()).hexdigest()


def added_with(sweep: Sweep, idempotency_key: str | None) -> Addition:
    """Return the members that a request with this Idempotency-Key added to a sweep.

    Raises:
        LookupError: there was no such request.
    """
    key = None if idempotency_key is None else key_digest(idempotency_key)
    for part in sweep.added:
        if key is not None and part.key == key:
            return part
    raise LookupError(f"no members were added to sweep {sweep.id} with this key")


def _check_state(connection: Connection, row: Row[Any]) -> None:
    """Check that a sweep may have more members at all. Raises Problem with status 409 otherwise."""
    if not row.reserved:
        raise conflict(
            f"sweep {row.id} was submitted by a version that reserved ids for its own {row.size} members only;"
            " submit the others as another sweep"
        )
    if row.cancelled_at is not None:
        raise conflict(f"sweep {row.id} was cancelled; submit the members as another sweep")
    kept = select(jobs.c.id).where(jobs.c.sweep == row.id, jobs.c.deleted_at.is_(None)).limit(1)
    if connection.execute(kept).first() is None:
        raise conflict(f"the results of sweep {row.id} were deleted; submit the members as another sweep")


def _addition(row: Row[Any], more: MoreMembers, plan: SweepPlan, key: str | None = None) -> Addition:
    shapes = plan.count_groups(plan.shaping)
    return Addition(row.size, plan.size, shapes, key=key, **more.model_dump(mode="json"))


def _with(row: Row[Any], new: Addition) -> str:
    """Return the text of the column `added` with a new part."""
    return json.dumps([*json.loads(row.added or "[]"), asdict(new)], separators=(",", ":"))


def _check_size(connection: Connection, row: Row[Any], new: Addition, shapes: int, stored_bytes: int) -> None:
    """Check the limits of a sweep with its new members. Raises Problem with status 422 if one is exceeded."""
    most = min(row.reserved, LIMITS.sweep_jobs)
    if row.size + new.size > most:
        raise invalid(f"the sweep has {row.size} jobs; {new.size} more would exceed the limit of {most}", "/axes")
    if shapes + new.shapes > LIMITS.sweep_shapes:
        detail = f"the sweep has {shapes} shapes; {new.shapes} more would exceed the limit of {LIMITS.sweep_shapes}"
        raise invalid(detail, "/axes")
    if (text := len(_with(row, new))) > LIMITS.body_bytes:
        detail = f"the axes of all additions take {text} bytes in JSON; the limit is {LIMITS.body_bytes}"
        raise invalid(f"{detail}: submit the members as another sweep", "/axes")
    total = stored_bytes + (_recorded_bytes(connection, row.id) if stored_bytes else 0)
    if total > LIMITS.sweep_bytes:
        raise invalid(
            f"the recordings of {row.size + new.size} jobs take {total} bytes; the limit is {LIMITS.sweep_bytes}",
            "/axes",
        )


def _shapes(connection: Connection, sweep_id: str) -> int:
    """Count the shapes of the members of a sweep."""
    greatest = select(func.max(jobs.c.shape)).where(jobs.c.sweep == sweep_id, jobs.c.indices.is_not(None))
    return int(connection.execute(greatest).scalar_one()) + 1


def _recorded_bytes(connection: Connection, sweep_id: str) -> int:
    """Add up the uncompressed bytes of all recordings of the members of a sweep."""
    members = func.sum(jobs.c.members - jobs.c.moved).label("n")
    of_sweep = (jobs.c.sweep == sweep_id, jobs.c.indices.is_not(None))
    shapes = select(func.min(jobs.c.id).label("id"), members).where(*of_sweep).group_by(jobs.c.shape).subquery()
    found = select(jobs.c.spec, jobs.c.d_state, shapes.c.n).join(shapes, shapes.c.id == jobs.c.id)
    return sum(
        int(row.n) * stored_spec(json.loads(row.spec)).stored_bytes(row.d_state) for row in connection.execute(found)
    )
