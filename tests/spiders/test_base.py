"""The command that does what a run leaves undone."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from scrapy.utils.test import get_crawler

from dume_spider.reprocessing import ReprocessSpider
from dume_spider.spiders.base import BaseSpider, crawl_command
from dume_spider.spiders.boamp import BoampSpider
from dume_spider.spiders.dume import DumeSpider

pytestmark = pytest.mark.usefixtures("on_18_march_2026")
YESTERDAY = "2026-03-17"


def spider_of(cls: type[BaseSpider], arguments: dict[str, str], folder: Path) -> BaseSpider:
    settings = {
        "DECP_RUNS_DIR": str(folder),
        "DUME_API_URL": "http://127.0.0.1:9/",
        "BOAMP_API_URL": "http://127.0.0.1:9/",
    }
    crawler = get_crawler(cls, settings)
    return cls.from_crawler(crawler, **arguments)


@pytest.mark.parametrize(
    ("cls", "arguments", "command"),
    [
        (DumeSpider, {}, f"scrapy crawl dume -a date={YESTERDAY}"),
        (DumeSpider, {"date": "2024-03-01"}, "scrapy crawl dume -a date=2024-03-01"),
        (
            DumeSpider,
            {"date_start": "2024-03-01", "type_de": "MP", "_job": "1"},
            f"scrapy crawl dume -a date_start=2024-03-01 -a type_de=MP -a date_end={YESTERDAY}",
        ),
        (DumeSpider, {"date_end": "2024-03-01"}, "scrapy crawl dume -a date_end=2024-03-01"),
        (
            DumeSpider,
            {"date_start": YESTERDAY, "shard": "2/8"},
            f"scrapy crawl dume -a date_start={YESTERDAY} -a shard=2/8 -a date_end={YESTERDAY}",
        ),
        (DumeSpider, {"reference": "AIFE-1"}, "scrapy crawl dume -a reference=AIFE-1"),
        (
            DumeSpider,
            {"date": "2024-03-01", "procedure": "Appel d'offres; rm -rf *"},
            "scrapy crawl dume -a date=2024-03-01 "
            """-a 'procedure=Appel d'"'"'offres; rm -rf *'""",
        ),
        (
            BoampSpider,
            {"departement": "69"},
            f"scrapy crawl boamp -a departement=69 -a date={YESTERDAY}",
        ),
        (
            BoampSpider,
            {"date_end": "1999-01-02"},
            "scrapy crawl boamp -a date_end=1999-01-02 -a date_start=1990-01-01",
        ),
        (BoampSpider, {"idweb": "24-1"}, "scrapy crawl boamp -a idweb=24-1"),
    ],
)
def test_a_command_asks_for_the_same(
    cls: type[BaseSpider], arguments: dict[str, str], command: str, tmp_path: Path
) -> None:
    spider = spider_of(cls, arguments, tmp_path)
    assert spider.run.command == command
    words = shlex.split(command)
    assert words[:3] == ["scrapy", "crawl", cls.name]
    again = dict(word.split("=", 1) for word in words[4::2])
    assert spider_of(cls, again, tmp_path).asked() == spider.asked()


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ({"rows": "all"}, "scrapy reprocess --all"),
        ({"rows": "rejected"}, "scrapy reprocess --rejected"),
        ({"rows": "all", "run": "r-1"}, "scrapy reprocess --run r-1"),
        ({"rows": "rejected", "run": "r-1"}, "scrapy reprocess --rejected --run r-1"),
    ],
)
def test_the_command_of_a_reprocessing(
    arguments: dict[str, str], command: str, tmp_path: Path
) -> None:
    assert spider_of(ReprocessSpider, arguments, tmp_path).run.command == command


def test_other_arguments_stay_as_they_were_given() -> None:
    assert crawl_command("publish", {"files": "a b*.json", "name": "Ville"}) == (
        "scrapy crawl publish -a 'files=a b*.json' -a name=Ville"
    )


def test_no_limit_of_requests_is_not_a_limit_of_none(tmp_path: Path) -> None:
    settings = {"DECP_RUNS_DIR": str(tmp_path), "CONCURRENT_REQUESTS": 0}
    spider = DumeSpider.from_crawler(
        get_crawler(DumeSpider, settings | {"DUME_API_URL": "http://a/"})
    )
    assert len(list(spider.next_searches())) == 1
