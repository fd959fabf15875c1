"""Scrapy's scheduler without its queue on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.core.scheduler import Scheduler

if TYPE_CHECKING:
    from scrapy import Spider
    from twisted.internet.defer import Deferred


class MemoryScheduler(Scheduler):
    """Keeps requests in memory, also with the setting ``JOBDIR``.

    What is left to ask is known from the ledger: requests of an earlier process would be asked
    twice. And after a kill Scrapy's queue on disk may give an old request in the place of a
    new one, which is then lost (seen with queuelib's LIFO queue).
    """

    def open(self, spider: Spider) -> Deferred[None] | None:
        """Open it without the folder of its queue."""
        self.dqdir = None
        return super().open(spider)
