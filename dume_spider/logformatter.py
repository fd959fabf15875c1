"""Log texts: a reference instead of an item's body."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

from scrapy.logformatter import LogFormatter

if TYPE_CHECKING:
    from scrapy import Request, Spider
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.logformatter import LogFormatterResult
    from twisted.python.failure import Failure


class QuietLogFormatter(LogFormatter):
    """The stock formatter without record bodies: they stand in the files, not in the log.

    ``lowest`` is the level of the log (``LOG_LEVEL``). What is below it is not even made into a
    record of the log, which for every item is a tenth of what Scrapy spends on it.
    """

    lowest = logging.DEBUG

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        formatter = cls()
        level = crawler.settings["LOG_LEVEL"]
        formatter.lowest = level if isinstance(level, int) else logging.getLevelName(level)
        return formatter

    def scraped(
        self, item: Any, response: Response | Failure | None, spider: Spider
    ) -> LogFormatterResult | None:
        if self.lowest > logging.DEBUG:
            return None
        return {"level": logging.DEBUG, "msg": "kept %(name)s", "args": {"name": _name(item)}}

    def dropped(
        self,
        item: Any,
        exception: BaseException,
        response: Response | Failure | None,
        spider: Spider,
    ) -> LogFormatterResult | None:
        level = getattr(exception, "log_level", None) or logging.WARNING
        if level < self.lowest:
            return None
        if level < logging.WARNING:
            return {"level": level, "msg": "%(why)s", "args": {"why": str(exception)}}
        # Not one of ours, which are no warnings.
        args = {"name": _name(item), "why": str(exception)}
        return {
            "level": level,
            "msg": "[DECP-12] A pipeline dropped %(name)s: %(why)s",
            "args": args,
        }

    def item_error(
        self,
        item: Any,
        exception: BaseException,
        response: Response | Failure | None,
        spider: Spider,
    ) -> LogFormatterResult:
        return {
            "level": logging.ERROR,
            "msg": "[DECP-06] A pipeline failed on %(name)s",
            "args": {"name": _name(item)},
        }

    def spider_error(
        self, failure: Failure, request: Request, response: Response | Failure, spider: Spider
    ) -> LogFormatterResult:
        result = super().spider_error(failure, request, response, spider)
        return {**result, "msg": f"[DECP-07] {result['msg']}"}


def _name(item: Any) -> str:
    return str(getattr(item, "key", None) or type(item).__name__)
