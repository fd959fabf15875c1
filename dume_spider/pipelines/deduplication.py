"""Keep one version of each reference, in the store, and say what is new."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

import orjson
from scrapy.exceptions import DropItem

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.exceptions import StoreError
from dume_spider.extensions.keeper import Keeper
from dume_spider.items import NoticeItem, StoredItem
from dume_spider.store.store import Candidate, Door, NoticeRow

if TYPE_CHECKING:
    from scrapy.crawler import Crawler


class UnchangedRecord(DropItem):
    """A record is already in a published file, or a notice in the store, as it is."""

    def __init__(self, reference: str):
        super().__init__(f"unchanged {reference}", log_level=logging.DEBUG)


class SupersededRecord(DropItem):
    """A record gives way to another: a newer version, or the same data elsewhere."""

    def __init__(self, reference: str, why: str):
        super().__init__(f"superseded {reference}: {why}", log_level=logging.DEBUG)


class UnsavedRecord(DropItem):
    """A record could not be saved; the run ends, and the next one asks for it again."""

    def __init__(self, reference: str):
        super().__init__(f"not saved: {reference}", log_level=logging.INFO)


class DeduplicationPipeline:
    """Saves records in the store and lets only new and updated ones pass.

    The newest version of a record's reference wins (most modifications, then the latest
    dates); the others leave as ``superseded``, and what only they have of modifications, acts
    and execution data is merged into it. A record that is in a file already leaves as
    ``unchanged``, and so does a notice whose row is in the store already.
    """

    def __init__(self, crawler: Crawler):
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def process_item(self, item: Any) -> Any:
        """Return a new or updated item once it is saved.

        Raises :class:`UnchangedRecord`, :class:`SupersededRecord`, and
        :class:`UnsavedRecord` when the store could not take it.
        """
        if not isinstance(item, StoredItem):
            return item
        keeper = self.crawler.get_extension(Keeper)
        try:
            outcome = await keeper.save(item, _candidate(item))
        except StoreError as error:
            self.crawler.spider.run.fail_reference(item.key, str(error))
            raise UnsavedRecord(item.key) from error
        if outcome.door is Door.UNCHANGED:
            raise UnchangedRecord(item.key)
        if outcome.door is Door.SUPERSEDED:
            raise SupersededRecord(item.key, outcome.why)
        return item

    def close_spider(self) -> None:
        """Save what still waits."""
        self.crawler.get_extension(Keeper).flush()


def _candidate(item: StoredItem) -> Candidate | NoticeRow:
    origin = item.origin
    if isinstance(item, NoticeItem):
        return NoticeRow.of(item["idweb"], item["dateparution"], origin.raw)
    return Candidate.of(
        origin.source,
        item["reference"],
        ContractType(item["type"]),
        Regime(item["regime"]),
        item["record"],
        orjson.dumps(origin.raw),
        repairs=origin.repairs,
        warnings=origin.warnings,
    )
