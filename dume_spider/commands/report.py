"""``scrapy report``: one HTML file that shows what the store holds."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import Any, ClassVar

from scrapy.commands import ScrapyCommand
from scrapy.exceptions import UsageError

from dume_spider.commands.export import read_option
from dume_spider.exceptions import DumeSpiderError


class Command(ScrapyCommand):
    """Write the report; exit status 0, or 1 with one line that says why."""

    requires_project = True
    requires_crawler_process = False
    default_settings: ClassVar[dict[str, Any]] = {"LOG_ENABLED": False}

    def syntax(self) -> str:
        return "[options]"

    def short_desc(self) -> str:
        return "Write a report of the store as one HTML file"

    def long_desc(self) -> str:
        return (
            "Show what the store holds in one HTML file: the days that are covered and how far "
            "that is proven, contracts per day, rejected rows with examples, repairs, buyers, "
            "amounts and their outliers, files. It needs no network and opens from disk. "
            "Example: scrapy report --since 2026-01-01 --open"
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        # Imported here: every command is imported by each call of scrapy.
        from dume_spider.spiders.base import a_date

        super().add_options(parser)
        group = parser.add_argument_group(title="Report Options")
        group.add_argument(
            "--run",
            default="",
            metavar="RUN",
            help="what this run received, rejected, wrote and proves (the name of its folder in "
            "DECP_RUNS_DIR)",
        )
        group.add_argument(
            "--since",
            type=read_option(a_date),
            metavar="DATE",
            help="contracts published from this day on (YYYY-MM-DD), and the rejected rows and "
            "files of runs since then",
        )
        group.add_argument(
            "--folder",
            type=Path,
            default=Path("data/report"),
            metavar="FOLDER",
            help="where the file goes (by default data/report)",
        )
        group.add_argument("--open", action="store_true", help="open it in the browser")

    def process_options(self, args: list[str], opts: argparse.Namespace) -> None:
        super().process_options(args, opts)
        if args:
            raise UsageError(f"unknown argument: {args[0]} (see --help)", print_help=False)

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        try:
            path = report(self.settings["DECP_STORE_URL"], opts.folder, opts.since, opts.run)
        except DumeSpiderError as error:
            print(f"scrapy report: {error.line}", file=sys.stderr)
            self.exitcode = 1
            return
        print(f"Report: {path}")
        if opts.open and not webbrowser.open(path.as_uri()):
            print("scrapy report: no browser was found; open the file by hand", file=sys.stderr)


def report(store: str, folder: Path, since: date | None, run: str) -> Path:
    """Write the report of the store at the URL ``store``; the path of the file.

    Raises :class:`DumeSpiderError`.
    """
    from dume_spider.decp.folder import write_new
    from dume_spider.report.page import make_page
    from dume_spider.run import PARIS
    from dume_spider.store.reading import StoreReader

    made = datetime.now(PARIS)
    with closing(StoreReader(store)) as reader:
        page = make_page(reader, made=made, place=reader.name, since=since, run=run)
    return write_new(folder.absolute(), f"report-{made:%Y-%m-%d}", ".html", page.encode())
