"""Heartbeats of workers."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace

from sqlalchemy import delete, insert, not_, select, update
from sqlalchemy.exc import IntegrityError

from leym.contract.records import Worker
from leym.jobs.queries import Base, dump, not_within
from leym.jobs.schema import workers

FORGET_S = 86400.0  # time after which the row of a worker that was killed is removed


class Workers(Base):
    """The last heartbeat of each worker."""

    def heartbeat(self, worker: Worker, now: float | None = None) -> None:
        """Store the heartbeat of a worker, and set its `updated_at`."""
        now = time.time() if now is None else now
        row = {"body": dump(asdict(replace(worker, updated_at=now))), "updated_at": now}
        mine = update(workers).where(workers.c.name == worker.name).values(**row)
        try:
            with self.db.write() as connection:
                if not connection.execute(mine).rowcount:
                    connection.execute(delete(workers).where(workers.c.updated_at < now - FORGET_S))
                    connection.execute(insert(workers), {"name": worker.name, **row})
        except IntegrityError:  # on PostgreSQL, another first heartbeat of the same name came at the same time
            with self.db.write() as connection:
                connection.execute(mine)

    def workers(self, alive_s: float, now: float | None = None) -> list[Worker]:
        """Return the workers with a heartbeat in the last `alive_s` seconds, ordered by name."""
        now = time.time() if now is None else now
        lately = not_(not_within(workers.c.updated_at, alive_s, now))
        alive = select(workers.c.body).where(lately).order_by(workers.c.name)
        with self.db.read() as connection:
            return [Worker(**json.loads(body)) for body in connection.scalars(alive)]

    def lost_workers(self, alive_s: float, now: float | None = None) -> list[Worker]:
        """Return the workers that fell silent without taking leave, at most a day ago, ordered by name."""
        now = time.time() if now is None else now
        silent = (not_within(workers.c.updated_at, alive_s, now), workers.c.updated_at > now - FORGET_S)
        found = select(workers.c.body).where(*silent).order_by(workers.c.name)
        with self.db.read() as connection:
            return [Worker(**json.loads(body)) for body in connection.scalars(found)]

    def remove_worker(self, name: str) -> None:
        """Remove the row of a worker that ends."""
        with self.db.write() as connection:
            connection.execute(delete(workers).where(workers.c.name == name))
