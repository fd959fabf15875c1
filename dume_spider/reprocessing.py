"""The spider of ``scrapy reprocess``: rows of the store instead of answers of the service.

It is no spider of ``scrapy crawl``: it asks nobody for anything. The pipelines, the run and
its summary are those of every spider.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import orjson
from scrapy import signals

from dume_spider.dume.mapping import MissingFields, map_row
from dume_spider.exceptions import ArgumentError, StoreError
from dume_spider.extensions.run_summary import stop
from dume_spider.items import DecpItem
from dume_spider.spiders.base import Argument, BaseSpider, a_text, one_of
from dume_spider.spiders.dume import item_of, read_names
from dume_spider.store.reading import PAGE, RawRow, StoreReader

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings

#: The source whose rows can be mapped again.
SOURCE = "dume"


class ReprocessSpider(BaseSpider):
    """Sends raw rows of the store through mapping and pipelines again.

    ``run``: the rows that a run brought in, as far as they are current or still rejected;
    ``rows``: ``all`` (the current row of each reference, and the rejected rows) or
    ``rejected``.
    """

    name = "reprocess"
    arguments: ClassVar[Mapping[str, Argument]] = {
        "run": Argument(a_text, "the rows of this run"),
        "rows": Argument(one_of("all", "rejected"), "all rows, or the rejected ones"),
    }

    @classmethod
    def check_arguments(cls, values: dict[str, Any]) -> None:
        if not values:
            raise ArgumentError("reprocess: which rows? give --run RUN, --rejected or --all")

    @classmethod
    def check_settings(cls, settings: BaseSettings) -> None:
        read_names(settings)

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.names = read_names(crawler.settings)
        spider.missing = MissingFields(spider.names)
        spider.seen = set()
        spider.in_flight = 0
        spider.landed = asyncio.Event()
        for signal in (signals.item_scraped, signals.item_dropped, signals.item_error):
            crawler.signals.connect(spider.item_left, signal=signal)
        return spider

    def command(self) -> str:
        options = {"all": "--all", "rejected": "--rejected"}[self.values.get("rows", "all")]
        if run := self.values.get("run"):
            options = f"{options} --run {run}".removeprefix("--all ")
        return f"scrapy reprocess {options}"

    async def start(self) -> AsyncIterator[DecpItem]:
        """Yield the items, a page at a time: the next one when all have left."""
        try:
            reader = StoreReader(self.settings["DECP_STORE_URL"])
            try:
                for row in self.rows(reader):
                    yield self.item(row, reader)
                    self.in_flight += 1
                    while self.in_flight >= PAGE:
                        self.landed.clear()
                        await self.landed.wait()
            finally:
                reader.close()
        except StoreError as error:
            stop(self.run, error)
        self.run.proof = "complete"

    def rows(self, reader: StoreReader) -> Iterator[RawRow]:
        """The rows asked for."""
        run = self.values.get("run", "")
        # Which are rejected is read now: of the accepted rows some may become so.
        rejected = reader.rejected_rows(SOURCE, run)
        first = next(rejected, None)
        if self.values.get("rows") != "rejected":
            yield from reader.accepted_rows(SOURCE, run)
        if first is not None:
            yield first
            yield from rejected

    def item(self, row: RawRow, reader: StoreReader) -> DecpItem:
        """The item of a row, counted."""
        content = orjson.loads(row.raw)
        mapped = map_row(content, self.names, row.type)
        self.missing.add(mapped)
        if row.rejection is not None and mapped.reference not in (None, row.reference):
            reader.refer(row.rejection, mapped.reference)
        if mapped.reference is not None and mapped.reference not in self.seen:
            self.seen.add(mapped.reference)
            self.run.references += 1
            self.run.references_done += 1
        self.run.rows += 1
        return item_of(mapped, content)

    def item_left(self) -> None:
        """Note that an item has left the pipelines."""
        self.in_flight -= 1
        self.landed.set()

    def closed(self, reason: str) -> None:
        """Say what the field map misses."""
        for text in self.missing.advice():
            self.run.advise("DUME-04", text)
