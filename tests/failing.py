"""A spider with a bug in it, to see what the log says."""

from __future__ import annotations

from typing import Any

from dume_spider.spiders.dume import DumeSpider


class FailingSpider(DumeSpider):
    """``scrapy crawl dume`` whose searches are not understood."""

    def parse_search(self, response: Any, filters: dict[str, str]) -> Any:
        raise ZeroDivisionError("a bug")
