"""``scrapy crawl``, whose exit status says how far the result can be trusted."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from scrapy import Spider
from scrapy.commands.crawl import Command as CrawlCommand
from scrapy.crawler import Crawler
from scrapy.exceptions import UsageError
from scrapy.settings import BaseSettings, default_settings

from dume_spider import settings as project
from dume_spider.decp.verdict import quote
from dume_spider.exceptions import ArgumentError, DumeSpiderError
from dume_spider.extensions.progress import is_on
from dume_spider.pipelines.decp_files import OutputSettings
from dume_spider.pipelines.validation import read_severities
from dume_spider.spiders.base import BaseSpider

logger = logging.getLogger(__name__)


class Command(CrawlCommand):
    """Scrapy's own command, with the arguments checked first and a status at the end.

    Exit status: 0 ``complete`` or ``probable``; 3 ``incomplete``; 1 anything else.
    """

    crawler: Crawler

    def long_desc(self) -> str:
        return (
            "Run a spider of this project. Exit status: 0 when the result is complete (or "
            "probably so), 3 when something is missing (it is named in the run's summary.json), "
            "1 for anything else. Example: scrapy crawl dume -a date=2024-03-01"
        )

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        try:
            super().run(args, opts)
        except DumeSpiderError as error:
            # Before the first request: one line, no traceback.
            print(f"scrapy crawl: {error.line}", file=sys.stderr)
            if self.settings["LOG_FILE"]:  # where Scrapyd's users look
                logger.error("%s", error.line)
            self.exitcode = 1
            return
        run = getattr(self.crawler.spider, "run", None)
        if run is not None and not self.exitcode:
            self.exitcode = run.exit_status

    def _create_crawler(self, spidercls: type[Spider] | str) -> Crawler:
        try:
            self.crawler = super()._create_crawler(spidercls)
        except KeyError:
            names = ", ".join(sorted(self.crawler_process.spider_loader.list()))
            raise ArgumentError(f"no spider {spidercls!r}; there are: {names}") from None
        check_numbers(self.crawler.settings)
        if issubclass(self.crawler.spidercls, BaseSpider):
            self.crawler.spidercls.read_arguments(self.spider_arguments)
            self.crawler.spidercls.check_settings(self.crawler.settings)
        OutputSettings.read(self.crawler.settings)
        read_severities(self.crawler.settings)
        is_on(self.crawler.settings)
        return self.crawler

    def process_options(self, args: list[str], opts: argparse.Namespace) -> None:
        super().process_options(args, opts)
        self.spider_arguments = opts.spargs
        for uri in opts.output or ():
            path = Path(uri.removesuffix(":xlsx"))
            if uri.endswith("xlsx") and path.exists() and path.stat().st_size:
                raise UsageError(
                    f"-o appends, and nothing can be appended to the workbook {path}; give -O, or "
                    "another name",
                    print_help=False,
                )


def check_numbers(settings: BaseSettings) -> None:
    """Check that each setting whose default is a number, or on and off, is given as one.

    Scrapy reads them here and there, with a traceback. Raises :class:`ArgumentError`.
    """
    for name, value in settings.items():
        default = getattr(project, name, getattr(default_settings, name, None))
        try:
            if isinstance(default, bool):
                settings.getbool(name)
            elif isinstance(default, int | float):
                settings.getfloat(name)
        except ValueError:
            problem = "not True or False"
            if not isinstance(default, bool):
                problem = f"not a number; give one, such as {default}"
            raise ArgumentError(f"{name}={quote(value)}: {problem}") from None
