"""How many tickets a worker may hold: its slots and a few more, and when it is full, what is more urgent."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from redis.exceptions import RedisError

from leym import tickets
from leym.settings import Settings

log = logging.getLogger(__name__)

LOOK_AHEAD = 2  # jobs held ready for the next free slot; more would ignore the priority of later ones


class Credit:
    """now: tickets that this worker may hold at this moment, from `least` up to `most`."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.least = self.now = settings.slots + LOOK_AHEAD
        self.most = self.least + settings.slots  # every slot may go to somebody more urgent

    def look(self, held: Iterable[int]) -> None:
        """One ticket more if one waits that goes before what has a slot here. held: priorities of this worker's jobs.

        The broker serves such a ticket first, and the engine swaps the least urgent universe out for it.
        """
        urgent_first = sorted(held, reverse=True)
        if len(urgent_first) < self.least or not self.settings.redis_url:
            self.now = self.least
            return
        seated = urgent_first[self.settings.slots - 1]
        try:
            waits = tickets.waiting(self.settings.redis_url, self.settings.queue, above=seated)
        except RedisError as error:
            log.debug("no look at the queue: %s", error)
            waits = 0
        self.now = min(len(urgent_first) + bool(waits), self.most)
