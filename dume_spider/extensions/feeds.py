"""Sees to it that a feed (``-O records.jsonl``) is not lost without a word.

Scrapy logs that a feed cannot be written, or a traceback per item, and goes on; the records
would be saved, and the next run, to which they are not new, would not give them again.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Self

from scrapy import Spider, signals
from scrapy.exceptions import NotConfigured
from scrapy.extensions.feedexport import FeedExporter, FeedSlot, FileFeedStorage, ItemFilter

from dume_spider.exceptions import DumeSpiderError, OutputError
from dume_spider.extensions.run_summary import stop

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

logger = logging.getLogger(__name__)


class Feeds:
    """Ends a run before its first request when a feed cannot be written, and fails it when one
    could not be stored at its end."""

    def __init__(self, crawler: Crawler):
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        if not crawler.settings.getdict("FEEDS"):
            raise NotConfigured
        extension = cls(crawler)
        crawler.signals.connect(extension.spider_opened, signal=signals.spider_opened)
        crawler.signals.connect(extension.feeds_closed, signal=signals.feed_exporter_closed)
        return extension

    def spider_opened(self, spider: Spider) -> None:
        run = getattr(spider, "run", None)
        if run is None:
            return  # a spider of somebody else's
        exporter = self.crawler.get_extension(FeedExporter)
        try:
            if exporter is None:
                uris = ", ".join(map(str, self.crawler.settings.getdict("FEEDS")))
                raise OutputError(
                    f"the feed {uris} cannot be written: Scrapy's error above says why; give "
                    "another one"
                )
            for slot in exporter.slots:
                if isinstance(slot.storage, FileFeedStorage):
                    check_writable(Path(slot.storage.path))
        except DumeSpiderError as error:
            if exporter is not None:
                exporter.slots.clear()  # it would try once more, with a traceback
            stop(run, error)

    def feeds_closed(self) -> None:
        run = getattr(self.crawler.spider, "run", None)
        exporter = self.crawler.get_extension(FeedExporter)
        if run is None or exporter is None or run.errors:
            return
        stats = self.crawler.stats.get_stats()
        stored, lost = (
            sum(n for name, n in stats.items() if name.startswith(f"feedexport/{how}_count/"))
            for how in ("success", "failed")
        )
        due = sum(bool(slot.itemcount or slot.store_empty) for slot in exporter.slots)
        scraped = stats.get("item_scraped_count", 0)
        short = [slot for slot in exporter.slots if takes_all(slot) and slot.itemcount < scraped]
        if not lost and stored >= due and not short:
            return
        source = " --source boamp" if run.spider == "boamp" else ""
        error = OutputError(
            "a feed could not be stored (see above); its records are in the store: scrapy "
            f"export{source} --run {run.id}"
        )
        logger.error("%s", error.line)
        run.fail(str(error))
        if run.finish_reason:
            run.close()  # again: the books were closed before the feed


def takes_all(slot: FeedSlot) -> bool:
    """Whether each item goes into this file: the feed has no filter, and is one file."""
    return slot.batch_id == 1 and type(slot.filter) is ItemFilter and not slot.filter.item_classes


def check_writable(path: Path) -> None:
    """Raise :class:`OutputError` when a feed cannot be written; nothing is left of the try."""
    is_new = not path.exists()
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
        with path.open("ab"):
            pass
        if is_new:
            path.unlink()
    except OSError as error:
        raise OutputError(
            f"the feed {path} cannot be written: {error.strerror}; give another one (-O, -o)"
        ) from error
