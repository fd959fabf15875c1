"""Items through the pipelines: how many a second, and how much memory (d and g).

Run as a child: ``python -m bench.items SIDE COUNT`` (from a folder of its own) crawls
``COUNT`` items in pages of 100, as a search answers, and prints a JSON object.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
import warnings
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

from bench.timing import Comparison, python, run_child, told

PAGE = 100
SIDES = ("Scrapy without pipelines", "stock scrapy-jsonschema pipeline alone", "dume_spider")


def comparisons(folder: Path, scale: float) -> list[Comparison]:
    """d: items a second."""

    def rate(side: str) -> float:
        return told(crawl(folder, side, max(PAGE, int(20_000 * scale))))["per_second"]

    return [
        Comparison(
            "d",
            "Items a second through the pipelines (validate, deduplicate with the store, files)",
            "items/s",
            {side: lambda side=side: rate(side) for side in SIDES},
            base=SIDES[1],
            goal="dume_spider at least 6,000 items/s and at least 4 times the stock pipeline alone",
        )
    ]


def memory(folder: Path, scale: float) -> list[Comparison]:
    """g: peak memory; one repetition, since it hardly varies and takes minutes."""
    counts = [max(PAGE, int(count * scale)) for count in (10_000, 100_000, 200_000, 1_000_000)]
    return [
        Comparison(
            "g",
            "Peak memory of records through validation, store and files",
            "MB",
            {
                f"{count:,} records": lambda count=count: told(crawl(folder, SIDES[2], count))[
                    "megabytes"
                ]
                for count in counts
            },
            base=f"{counts[1]:,} records",
            goal="under 250 MB at 1,000,000, at most 1.20 times that of 100,000",
            repetitions=1,
        )
    ]


def crawl(folder: Path, side: str, count: int) -> Any:
    """One crawl in a child process."""
    place = folder / "items"
    place.mkdir()
    try:
        return run_child(python("-m", "bench.items", side, count), place)
    finally:
        shutil.rmtree(place)


def main(side: str, count: int) -> None:
    """Crawl, in this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scrapy import Request
        from scrapy.crawler import AsyncCrawlerProcess
        from scrapy.settings import Settings

        from dume_spider import settings as project
        from dume_spider.dume.mapping import load_field_names, map_row
        from dume_spider.items import Origin, make_item
        from dume_spider.sandbox.generator import generate
        from dume_spider.spiders.harvest import HarvestSpider

    names = load_field_names(None)
    made = generate(2000, 1, date(2024, 1, 1), date(2024, 12, 31), faulty=0)
    mapped = [(map_row(each.served.row, names, None), each.served.row) for each in made]
    mapped = list(islice((pair for pair in mapped if not pair[0].problems), 1000))

    class Items(HarvestSpider):
        name = "items"
        started = 0.0

        async def start(self) -> Any:
            Items.started = time.perf_counter()
            for first in range(0, count, PAGE):
                yield Request(f"data:,{first}", cb_kwargs={"first": first}, dont_filter=True)

        def parse(self, response: Any, first: int) -> Any:
            for number in range(first, min(first + PAGE, count)):
                row, raw = mapped[number % len(mapped)]
                self.run.rows += 1
                self.run.references += 1
                self.run.references_done += 1
                yield make_item(
                    Origin("items", raw, row.problems, row.repairs),
                    reference=f"AIFEDUME-{number:08d}",
                    type_=row.type,
                    regime=row.regime,
                    record=row.record | {"id": f"{number:016d}"},
                )

        def closed(self, reason: str) -> None:
            self.run.proof = "complete"

    settings = Settings()
    settings.setmodule(project)
    settings.update({"LOG_LEVEL": "WARNING", "DOWNLOAD_DELAY": 0}, priority="cmdline")
    if side != SIDES[2]:
        settings.set("EXTENSIONS", {}, priority="cmdline")
        stock = {"scrapy_jsonschema.JsonSchemaValidatePipeline": 300} if side == SIDES[1] else {}
        settings.set("ITEM_PIPELINES", stock, priority="cmdline")
    process = AsyncCrawlerProcess(settings)
    crawler = process.create_crawler(Items)
    process.crawl(crawler)
    process.start()
    seconds = time.perf_counter() - Items.started
    scraped = crawler.stats.get_value("item_scraped_count")
    if scraped != count:
        raise SystemExit(f"{scraped} of {count} items were scraped")
    # Not getrusage: what that says of a child includes the parent, up to its start.
    (peak,) = re.findall(r"VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
    print(json.dumps({"per_second": count / seconds, "megabytes": int(peak) / 1024}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
