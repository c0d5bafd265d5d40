"""Labels of jobs and sweeps: a name, a note, a star and tags, which users change at any time.

They are no part of the spec: they change neither results nor digests nor what `reuse` finds.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Table, delete, func, insert, or_, select, update

from leym.contract.problems import Problem, conflict, not_found
from leym.jobs.members import get_any
from leym.jobs.queries import Base, change_job, dump
from leym.jobs.schema import jobs, sweeps, tags
from leym.jobs.submit import tag_text

LABELS = ("name", "note", "starred", "tags")


class Labels(Base):
    """Changes to the labels of jobs and sweeps."""

    def label_job(self, job_id: str, **labels: Any) -> None:
        """Change labels of a job, in whatever state it is.

        Args:
            job_id: the job.
            **labels: some of `LABELS`. None removes a name or a note; tags take the place of all before.

        Raises:
            Problem: 404 if there is no such job; 409 for a member of a sweep, which has no row of its own; 410 if the
                job was deleted.
        """
        with self.db.write() as connection:
            job = get_any(connection, self.plans, job_id, self.project)
            if job.block is not None:
                raise conflict(f"job {job_id} is a member of sweep {job.sweep}: label the sweep instead")
            if job.deleted_at is not None:
                raise Problem(410, "Gone", f"job {job_id!r} has been deleted")
            if labels:
                change_job(connection, job_id, **_columns(labels))
            if "tags" in labels:
                connection.execute(delete(tags).where(tags.c.job == job_id))
                new = [{"tag": tag_text(*tag), "job": job_id} for tag in labels["tags"].items()]
                if new:
                    connection.execute(insert(tags), new)

    def label_sweep(self, sweep_id: str, **labels: Any) -> None:
        """Change labels of a sweep, as `label_job` does.

        Raises:
            Problem: 404 if there is no such sweep.
        """
        with self.db.write() as connection:
            project = connection.execute(select(sweeps.c.project).where(sweeps.c.id == sweep_id)).scalar()
            if project is None or self.project not in (None, project):
                raise not_found("sweep", sweep_id)
            if labels:
                connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(**_columns(labels)))


def labelled(table: Table, starred: bool | None, q: str | None) -> list[ColumnElement[bool]]:
    """Return the conditions that select rows by their labels.

    Args:
        table: jobs or sweeps.
        starred: True for rows with a star, False for those without, None for all.
        q: text that occurs in the name, the note or the tags. The case of a to z does not matter.
    """
    found: list[ColumnElement[bool]] = []
    if starred is not None:
        found.append(table.c.starred == int(starred))
    if q is not None:
        texts = [table.c.name, table.c.note, *([] if table is jobs else [table.c.tags_now])]
        places = [func.lower(text).contains(q.lower(), autoescape=True) for text in texts]
        if table is jobs:
            having = select(tags.c.job).where(func.lower(tags.c.tag).contains(q.lower(), autoescape=True))
            places.append(jobs.c.id.in_(having))
        found.append(or_(*places))
    return found


def _columns(labels: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {key: labels[key] for key in ("name", "note") if key in labels}
    if "starred" in labels:
        columns["starred"] = int(labels["starred"])
    return columns | ({"tags_now": dump(labels["tags"])} if "tags" in labels else {})
