"""FetchLimit: the number of tickets that a worker may hold at this moment."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from redis.exceptions import RedisError

from leym import tickets
from leym.contract.records import TRAINING
from leym.settings import Settings

log = logging.getLogger(__name__)

LOOK_AHEAD = 2  # jobs that wait for the next free slot; more would ignore the priority of jobs submitted later


class FetchLimit:
    """Lets a worker fetch tickets for its slots and a few more, and more urgent ones when it is full.

    Attributes:
        minimum: Slots plus LOOK_AHEAD; 1 for trainings.
        maximum: The minimum plus one for every slot, since all of them may go to more urgent jobs; 1 for trainings.
        current: The limit now.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        training = settings.worker == TRAINING  # one at a time: a training uses all that the machine has left
        self.minimum = self.current = 1 if training else settings.slots + LOOK_AHEAD
        self.maximum = 1 if training else self.minimum + settings.slots

    def update(self, priorities: Iterable[int]) -> None:
        """Allow one more ticket if the worker is full and a more urgent job waits in the queue.

        The broker serves that ticket first, and the engine swaps the least urgent universe out for its job.

        Args:
            priorities: Those of this worker's jobs.
        """
        urgent_first = sorted(priorities, reverse=True)
        if self.minimum == self.maximum or len(urgent_first) < self.minimum or not self.settings.redis_url:
            self.current = self.minimum
            return
        lowest_in_slot = urgent_first[self.settings.slots - 1]
        try:
            waiting = tickets.waiting(self.settings.redis_url, self.settings.queue, above=lowest_in_slot)
        except RedisError as error:
            log.debug("the fetch limit stays: the broker does not answer: %s", error)
            waiting = 0
        self.current = min(len(urgent_first) + bool(waiting), self.maximum)
