"""``scrapy reprocess``: rows of the store again through mapping, rules, store and files."""

from __future__ import annotations

import argparse
import sys

from scrapy.commands import BaseRunSpiderCommand
from scrapy.exceptions import UsageError

from dume_spider.exceptions import DumeSpiderError
from dume_spider.run import EXIT_STATUS


class Command(BaseRunSpiderCommand):
    """Run the rows of the store through the pipelines; exit status as ``scrapy crawl``."""

    requires_project = True

    def syntax(self) -> str:
        return "--all | --rejected | --run RUN [options]"

    def short_desc(self) -> str:
        return "Process rows of the store again, without a request to the service"

    def long_desc(self) -> str:
        return (
            "Send rows that the store kept as they were served through mapping, repair, rules, "
            "store and files again, without a request to the service: what a better field map "
            "(DUME_FIELD_MAP) or other rules (DECP_RULES) need. Records that change are written "
            "to new files, rejected rows that are accepted now too. Exit status as for scrapy "
            "crawl: 0, 3 when it was interrupted, 1 for anything else. "
            "Example: scrapy reprocess --rejected -s DUME_FIELD_MAP=fields.toml"
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        super().add_options(parser)
        group = parser.add_argument_group(title="Reprocess Options")
        group.add_argument(
            "--all",
            action="store_true",
            help="the current row of every reference, and the rejected rows",
        )
        group.add_argument(
            "--rejected", action="store_true", help="the rows that are still rejected"
        )
        group.add_argument(
            "--run",
            metavar="RUN",
            help="the rows that this run brought in (the name of its folder in DECP_RUNS_DIR), "
            "as far as they are current or still rejected; with --rejected, the latter",
        )

    def process_options(self, args: list[str], opts: argparse.Namespace) -> None:
        super().process_options(args, opts)
        if args:
            raise UsageError(f"unknown argument: {args[0]} (see --help)", print_help=False)
        if not (opts.all or opts.rejected or opts.run):
            raise UsageError("which rows? give --all, --rejected or --run RUN", print_help=False)
        if opts.all and (opts.rejected or opts.run):
            raise UsageError("--all does not go with --rejected or --run", print_help=False)

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        # Imported here: every command is imported by each call of scrapy.
        from dume_spider.extensions.progress import is_on
        from dume_spider.pipelines.decp_files import OutputSettings
        from dume_spider.pipelines.validation import read_severities
        from dume_spider.reprocessing import SOURCE, ReprocessSpider
        from dume_spider.store.reading import StoreReader

        arguments = {"rows": "rejected" if opts.rejected else "all"}
        if opts.run:
            arguments["run"] = opts.run
        assert self.crawler_process is not None  # noqa: S101
        crawler = self.crawler_process.create_crawler(ReprocessSpider)
        try:
            OutputSettings.read(crawler.settings)
            read_severities(crawler.settings)
            is_on(crawler.settings)
            ReprocessSpider.check_settings(crawler.settings)
            reader = StoreReader(crawler.settings["DECP_STORE_URL"])
            try:
                accepted, rejected = reader.count_rows(SOURCE, opts.run or "")
            finally:
                reader.close()
        except DumeSpiderError as error:
            print(f"scrapy reprocess: {error.line}", file=sys.stderr)
            self.exitcode = 1
            return
        if not rejected and (opts.rejected or not accepted):
            print("scrapy reprocess: the store has no such rows", file=sys.stderr)
            return
        self.crawler_process.crawl(crawler, **arguments)
        self.crawler_process.start()
        run = getattr(crawler.spider, "run", None)
        if self.crawler_process.bootstrap_failed or run is None:
            self.exitcode = 1
        else:
            self.exitcode = EXIT_STATUS[run.status]
