"""Keeps what the pipelines give it in the store: whole references, with the ledger's marks."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from scrapy import signals

from dume_spider.exceptions import StoreError
from dume_spider.extensions.run_summary import RunSummary
from dume_spider.items import StoredItem
from dume_spider.run import without_positions
from dume_spider.store.ledger import Found, Marks, Window
from dume_spider.store.store import Candidate, NoticeRow, Outcome, Rejection

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

    from dume_spider.run import Run

logger = logging.getLogger(__name__)

#: Rows saved in one transaction, about.
BATCH = 500
#: Seconds that a row waits for others to be saved with, once its group is whole.
PATIENCE = 0.02

LOST = "another row of its reference was lost in a pipeline"


@dataclass(eq=False, slots=True)
class Group:
    """Rows that are saved in one transaction: all or none.

    ``coming`` is how many have not come to the keeper yet. ``reference`` is settled with
    them, if they are all of its rows; ``key`` is that of a single row. ``needs`` are keys of
    single rows that must have left before the reference is settled; ``found`` are references
    that have to be asked for because of these rows.
    """

    coming: int
    reference: str | None = None
    key: str | None = None
    needs: frozenset[str] = frozenset()
    found: tuple[Found, ...] = ()
    is_lost: bool = False
    accepted: list[tuple[StoredItem, Candidate | NoticeRow, asyncio.Future[Outcome]]] = field(
        default_factory=list
    )
    rejected: list[tuple[StoredItem, Rejection]] = field(default_factory=list)

    def has(self, item: StoredItem) -> bool:
        """Whether an item has come to the keeper."""
        return any(item is each[0] for each in (*self.accepted, *self.rejected))


class Keeper:
    """Saves rows in the store in batches, and notes in the ledger what need not be asked again.

    A row waits until its group is whole and its transaction is through. Spiders say by
    :class:`Group` which rows belong together; all of a group have to come from one response,
    and no more than ``CONCURRENT_ITEMS`` of them, since Scrapy processes no more at once.
    """

    def __init__(self, crawler: Crawler):
        self.crawler = crawler
        self._whole: list[Group] = []
        self._size = 0
        #: Keys of single rows on their way.
        self._unsaved: set[str] = set()
        self._waiting: list[tuple[frozenset[str], Marks]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._error: StoreError | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        keeper = cls(crawler)
        crawler.signals.connect(keeper.item_left, signal=signals.item_error)
        crawler.signals.connect(keeper.item_left, signal=signals.item_dropped)
        return keeper

    @property
    def run(self) -> Run:
        """The run of the spider."""
        return self.crawler.spider.run

    def single(self, key: str) -> Group:
        """The group of a single row, taken as the search gave it; ``key`` identifies it."""
        self._unsaved.add(key)
        return Group(1, key=key)

    def answered(self, window: Window, rows: Iterable[str], found: Iterable[Found]) -> None:
        """Note an answered search once its single ``rows``, given by their keys, are saved;
        ``found`` are the references that have to be asked for because of it."""
        self._waiting.append((frozenset(rows), Marks(windows=[window], found=list(found))))
        self._flush_soon()

    def settled(self, group: Group) -> None:
        """Note that a reference has left whose rows had all come before: an empty group."""
        self._add(group)

    async def save(self, item: StoredItem, candidate: Candidate | NoticeRow) -> Outcome:
        """Save a record or notice; its outcome. Raises :class:`StoreError` when it is not saved."""
        saved: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        group = _group_of(item)
        group.accepted.append((item, candidate, saved))
        self._arrived(group)
        return await saved

    def reject(self, item: StoredItem, rejection: Rejection) -> None:
        """Keep a row that cannot be accepted."""
        group = _group_of(item)
        group.rejected.append((item, rejection))
        self._arrived(group)

    def _arrived(self, group: Group) -> None:
        group.coming -= 1
        if group.is_lost:
            self._lose(group, LOST)
        elif not group.coming:
            self._add(group)

    def _add(self, group: Group) -> None:
        self._whole.append(group)
        self._size += len(group.accepted) + len(group.rejected)
        if self._size >= BATCH:
            self.flush()
        else:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self.flush)

    def flush(self) -> None:
        """Save what waits, now. A store that fails ends the run, and is not tried again: what
        a later transaction notes may rest on the one that failed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        groups, self._whole, self._size = self._whole, [], 0
        books = self.crawler.get_extension(RunSummary)
        if self._error is None and books.is_open:
            accepted = [each for group in groups for each in group.accepted]
            rejections = [rejection for group in groups for _, rejection in group.rejected]
            for item, _, _ in accepted:
                self._tally(item)
            for item in (item for group in groups for item, _ in group.rejected):
                self._tally_unknown(item)
            try:
                outcomes, _ = books.harvest.save(
                    [candidate for _, candidate, _ in accepted], rejections, self._marks(groups)
                )
            except StoreError as error:
                self._error = error
                books.give_up(error)
            except Exception as error:
                # A bug; the rows must not wait for ever.
                logger.exception("[DECP-08] The store could not be written")
                self._error = StoreError(f"the store could not be written: {error!r}")
                books.give_up(self._error)
            else:
                for (_, _, saved), outcome in zip(accepted, outcomes, strict=True):
                    saved.set_result(outcome)
                for group in groups:
                    # An item knows its group: let the two go at once.
                    group.accepted, group.rejected = [], []
        if self._error is not None:
            for group in groups:
                self._lose(group, str(self._error))

    def _marks(self, groups: Iterable[Group]) -> Marks:
        """What is to be noted with the rows of these groups."""
        marks = Marks(rows=[group.key for group in groups if group.key is not None])
        self._unsaved.difference_update(marks.rows)
        self._waiting += (
            (group.needs, Marks(settled=[group.reference], found=list(group.found)))
            for group in groups
            if group.reference is not None
        )
        waiting, self._waiting = self._waiting, []
        for needs, mark in waiting:
            if self._unsaved.isdisjoint(needs):
                marks += mark
            else:
                self._waiting.append((needs, mark))
        marks.tallies, self.run.untold = self.run.untold, Counter()
        return marks

    def _tally(self, item: StoredItem) -> None:
        self._tally_unknown(item)
        for repair in item.origin.repairs:
            self.run.tally("repairs", f"{without_positions(repair.path)}: {repair.rule}")
        for warning in item.origin.warnings:
            self.run.tally("warnings", warning.rule)

    def _tally_unknown(self, item: StoredItem) -> None:
        for path in item.origin.unknown:
            self.run.tally("unknown_keys", path)

    def item_left(self, item: Any) -> None:
        """Let go of a group that will never be whole: one of its rows was lost on its way."""
        group = item.origin.group if isinstance(item, StoredItem) else None
        if group is not None and group.coming and not group.has(item):
            self._lose(group, LOST)

    def _lose(self, group: Group, why: str) -> None:
        """Name the rows of a group that are not saved; the same command asks for them again."""
        group.is_lost = True
        for _, _, saved in group.accepted:
            saved.set_exception(StoreError(why))
        for _, rejection in group.rejected:
            self.run.fail_reference(rejection.reference, why)
        group.accepted, group.rejected = [], []


def _group_of(item: StoredItem) -> Group:
    group = item.origin.group
    return Group(1) if group is None else group
