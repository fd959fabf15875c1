"""``scrapy export``: DECP files and flat tables from the store, the service left alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from itertools import chain, groupby
from pathlib import Path
from typing import Any, ClassVar

import orjson
from scrapy.commands import ScrapyCommand
from scrapy.exceptions import UsageError

from dume_spider.decp.filename import FORMATS, last_numbers
from dume_spider.decp.folder import OutputFolder
from dume_spider.decp.regime import Regime
from dume_spider.decp.tables import TABLE_FORMATS, TableFiles, flat_rows
from dume_spider.exceptions import DumeSpiderError
from dume_spider.run import EXIT_STATUS
from dume_spider.store.placing import PendingRecord
from dume_spider.store.reading import StoreReader

#: The formats of notices: whole, or as a table.
NOTICE_FORMATS = ("jsonl", *TABLE_FORMATS)


class Command(ScrapyCommand):
    """Write what the store holds; exit status 0, or 1 with one line that says why."""

    requires_project = True
    requires_crawler_process = False
    default_settings: ClassVar[dict[str, Any]] = {"LOG_ENABLED": False}

    def syntax(self) -> str:
        return "[options]"

    def short_desc(self) -> str:
        return "Write DECP files, CSV or Parquet from the store"

    def long_desc(self) -> str:
        return (
            "Write the current records of the store as DECP files (json, xml) or as flat tables "
            "with one line per contract and titulaire (csv, parquet, xlsx), without a request to "
            "the service; or the notices of the BOAMP (--source boamp: jsonl, or tables with one "
            "line per award). No file is overwritten, and the store does not change. With "
            "--wait-for-shards: write, once, the files of a harvest that several workers share. "
            "Example: scrapy export --since 2026-01-01 --format csv,parquet --folder tables"
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        # Imported here: every command is imported by each call of scrapy.
        from dume_spider.spiders.base import a_date
        from dume_spider.spiders.dume import a_siret

        super().add_options(parser)
        group = parser.add_argument_group(title="Export Options")
        group.add_argument(
            "--source",
            choices=("dume", "boamp"),
            default="dume",
            help="contracts of the DUME service (default), or notices of the BOAMP",
        )
        group.add_argument(
            "--since",
            type=read_option(a_date),
            metavar="DATE",
            help="first day of publication, YYYY-MM-DD",
        )
        group.add_argument(
            "--until",
            type=read_option(a_date),
            metavar="DATE",
            help="last day of publication, included",
        )
        group.add_argument(
            "--buyer",
            type=read_option(a_siret),
            metavar="SIRET",
            help="contracts of this acheteur or autorité concédante",
        )
        group.add_argument(
            "--regime",
            type=Regime,
            choices=list(Regime),
            metavar="{2019,2022}",
            help="contracts of this regime",
        )
        group.add_argument(
            "--run",
            default="",
            metavar="RUN",
            help="contracts whose current version this run received (the name of its folder in "
            "DECP_RUNS_DIR)",
        )
        group.add_argument(
            "--format",
            type=_formats,
            metavar="FORMATS",
            help="one or more of json, xml, csv, parquet, xlsx, joined by commas (by default "
            "json), of notices jsonl, csv, parquet, xlsx (by default jsonl)",
        )
        group.add_argument(
            "--structure",
            choices=("acheteur", "plateforme"),
            help="of json and xml, one file per buyer, or one per regime named by "
            "DECP_PLATFORM_SIRET (by default DECP_STRUCTURE)",
        )
        group.add_argument(
            "--folder",
            type=Path,
            metavar="FOLDER",
            help="where the files go (by default data/export)",
        )
        group.add_argument(
            "--wait-for-shards",
            type=_shards,
            metavar="N",
            help="wait until the N shards of the newest harvest that N workers share are done, "
            "then write what they have received as a harvest writes it (DECP_FILES_URI, "
            "DECP_FORMATS, DECP_STRUCTURE); goes with no other option",
        )

    def process_options(self, args: list[str], opts: argparse.Namespace) -> None:
        super().process_options(args, opts)
        if args:
            raise UsageError(f"unknown argument: {args[0]} (see --help)", print_help=False)
        if opts.since and opts.until and opts.until < opts.since:
            raise UsageError(
                f"--until {opts.until} is before --since {opts.since}", print_help=False
            )
        accepted = NOTICE_FORMATS if opts.source == "boamp" else (*FORMATS, *TABLE_FORMATS)
        for name in opts.format or ():
            if name not in accepted:
                raise UsageError(
                    f"--format {name} is not one of --source {opts.source}; accepted: "
                    f"{', '.join(accepted)}",
                    print_help=False,
                )
        if opts.source == "boamp" and (opts.buyer or opts.regime or opts.structure):
            raise UsageError(
                "--buyer, --regime and --structure are of contracts; with --source boamp give "
                "--since, --until or --run",
                print_help=False,
            )

        others = ("since", "until", "buyer", "regime", "run", "format", "structure", "folder")
        if opts.wait_for_shards and any(getattr(opts, name) for name in others):
            raise UsageError("--wait-for-shards goes with no other option", print_help=False)

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        from dume_spider.pipelines.decp_files import OutputSettings
        from dume_spider.spiders.base import today

        if opts.wait_for_shards:
            self._write_shards(opts.wait_for_shards)
            return
        if opts.source == "boamp":
            self._export_notices(opts)
            return
        folder = opts.folder or Path("data/export")
        if opts.structure:
            self.settings.set("DECP_STRUCTURE", opts.structure, priority="cmdline")
        try:
            platform = OutputSettings.read(self.settings).platform_siret
            with closing(StoreReader(self.settings["DECP_STORE_URL"])) as reader:
                records = reader.records(
                    since=opts.since.isoformat() if opts.since else "",
                    until=opts.until.isoformat() if opts.until else "",
                    buyer=opts.buyer or "",
                    regime=opts.regime,
                    run=opts.run,
                    by_type=bool(platform),
                )
                taken = last_numbers(reader.published_names(today()), today())
                formats = opts.format or ("json",)
                count, names = export(records, folder, formats, platform, taken)
        except DumeSpiderError as error:
            self._fail(error)
            return
        if not count:
            print("Nothing to export: the store holds no such contract", file=sys.stderr)
            return
        print(f"{count:,} contracts in {_files(names)} in {folder}")

    def _export_notices(self, opts: argparse.Namespace) -> None:
        from dume_spider.boamp.export import export_notices
        from dume_spider.spiders.base import today

        folder = opts.folder or Path("data/export")
        try:
            with closing(StoreReader(self.settings["DECP_STORE_URL"])) as reader:
                notices = reader.notices(
                    since=opts.since.isoformat() if opts.since else "",
                    until=opts.until.isoformat() if opts.until else "",
                    run=opts.run,
                )
                formats = opts.format or ("jsonl",)
                count, names = export_notices(notices, folder.absolute(), today(), formats)
        except DumeSpiderError as error:
            self._fail(error)
            return
        if not count:
            print("Nothing to export: the store holds no such notice", file=sys.stderr)
            return
        print(f"{count:,} notices in {_files(names)} in {folder}")

    def _write_shards(self, shards: int) -> None:
        from dume_spider.sharing import write_when_done

        try:
            run = write_when_done(self.settings, shards, say=_say)
        except KeyboardInterrupt:
            _say("scrapy export: stopped; the same command carries on")
            self.exitcode = 1
            return
        except DumeSpiderError as error:
            self._fail(error)
            return
        self.exitcode = EXIT_STATUS[run.status]
        written = f"{run.written:,} contracts in {_files(run.files)}"
        print(f"{written}; {run.status}: {run.folder}/summary.json")
        if self.exitcode:
            _say(f"To ask again for what is missing, with the same settings:\n{run.command}")

    def _fail(self, error: DumeSpiderError) -> None:
        print(f"scrapy export: {error.line}", file=sys.stderr)
        self.exitcode = 1


def _files(files: Sequence[object]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files):,} files"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def export(
    records: Iterator[PendingRecord],
    folder: Path,
    formats: Sequence[str],
    platform: str,
    taken: Mapping[str, int],
) -> tuple[int, list[str]]:
    """Write records, in the order of files; how many, and the names of the files.

    ``platform`` is the SIRET that names all DECP files, or empty for one file per buyer;
    ``taken`` the last number of today that each SIRET has published: a file with one of those
    would take the place of the published one.
    Raises :class:`OutputError`: files that are in place by then stay, each of them whole.
    """
    from dume_spider.spiders.base import today

    first = next(records, None)
    if first is None:
        return 0, []
    out = OutputFolder(folder.absolute())
    out.check()
    day = today()
    decp = [format for format in FORMATS if format in formats]
    flat = [format for format in TABLE_FORMATS if format in formats]
    count, names = 0, []
    with TableFiles(out.path, day, flat) as table:
        groups = groupby(chain([first], records), key=lambda r: (r.regime, platform or r.buyer))
        for (regime, siret), group in groups:
            after = taken.get(siret, 0)
            with out.new_files(siret, day, decp, regime, after) if decp else nullcontext() as files:
                for record in group:
                    count += 1
                    if files is not None:
                        files.add(record.type, record.record)
                    if flat:
                        _add_rows(table, record)
                if files is not None:
                    names += [file.name for file in files.commit()]
        if flat:
            names += [path.name for path in table.commit()]
    return count, names


def _add_rows(table: TableFiles, record: PendingRecord) -> None:
    content = orjson.loads(record.record)
    for row in flat_rows(record.source, record.reference, record.type, record.regime, content):
        table.add(row)


def read_option(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader of spider arguments as one of argparse: its sentence is kept."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None

    return parse


def _shards(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 9999:
        raise argparse.ArgumentTypeError(f"{text!r}: not a number of shards; accepted: 1 to 9999")
    return int(text)


def _formats(text: str) -> tuple[str, ...]:
    accepted = dict.fromkeys((*FORMATS, *NOTICE_FORMATS))
    given = tuple(name.strip() for name in text.split(","))
    for name in given:
        if name not in accepted:
            raise argparse.ArgumentTypeError(
                f"{name!r}: not a format; accepted: {', '.join(accepted)}"
            )
    return given
