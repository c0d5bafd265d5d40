"""Shared links in the job table: making, finding, listing and revoking them.

A link is a text that the API signs (`app.links`); its row says whether it still holds. A link of an earlier version has
no row, and holds until it expires.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from leym.contract.identity import DEFAULT
from leym.contract.ids import new_id
from leym.contract.problems import not_found
from leym.jobs.queries import Base
from leym.jobs.schema import links


@dataclass(frozen=True)
class Link:
    """A link to the results of a job or a sweep. Times are seconds since 1970.

    Attributes:
        id: id of the link, by which its owner revokes it. It does not give access.
        kind: "job" or "sweep".
        subject: id of the job or sweep.
        project: project of the job or sweep.
        created_at: time of its creation.
        expires_at: time from which it no longer holds.
        revoked_at: time of its revocation; None if it was not revoked.
    """

    id: str
    kind: str
    subject: str
    project: str
    created_at: float
    expires_at: float
    revoked_at: float | None


class Links(Base):
    """Links to results."""

    def create_link(self, kind: str, subject: str, ttl_s: float, now: float | None = None) -> Link:
        """Make a link to a job or sweep of this project that holds for `ttl_s` seconds."""
        now = time.time() if now is None else now
        until = float(int(now + ttl_s))  # the signed text has whole seconds
        link = Link(new_id(), kind, subject, self.project or DEFAULT, now, until, None)
        with self.db.write() as connection:
            connection.execute(insert(links), [vars(link)])
        return link

    def find_link(self, link_id: str) -> Link | None:
        """Read a link of any project; None if there is none."""
        with self.db.read() as connection:
            row = connection.execute(select(links).where(links.c.id == link_id)).mappings().first()
        return None if row is None else Link(**row)

    def list_links(self, subject: str, now: float | None = None) -> list[Link]:
        """Return the links to a job or sweep that still hold, oldest first."""
        now = time.time() if now is None else now
        statement = select(links).where(
            links.c.subject == subject, links.c.revoked_at.is_(None), links.c.expires_at > now
        )
        if self.project is not None:
            statement = statement.where(links.c.project == self.project)
        with self.db.read() as connection:
            return [Link(**row) for row in connection.execute(statement.order_by(links.c.id)).mappings()]

    def revoke_link(self, subject: str, link_id: str, now: float | None = None) -> None:
        """Revoke a link to a job or sweep; it no longer gives access. Repeating it does no harm.

        Raises:
            Problem: 404 if there is no such link in this project.
        """
        now = time.time() if now is None else now
        mine = [links.c.id == link_id, links.c.subject == subject]
        if self.project is not None:
            mine.append(links.c.project == self.project)
        with self.db.write() as connection:
            held = (*mine, links.c.revoked_at.is_(None))
            changed = connection.execute(update(links).where(*held).values(revoked_at=now)).rowcount
            if not changed and connection.execute(select(links.c.id).where(*mine)).first() is None:
                raise not_found("link", link_id)
