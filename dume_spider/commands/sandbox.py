"""``scrapy sandbox``: local replicas of the services, to try and to test without them."""

from __future__ import annotations

import argparse
import gc
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scrapy.commands import ScrapyCommand
from scrapy.exceptions import UsageError
from scrapy.utils.log import configure_logging

from dume_spider.dume.query import CAP
from dume_spider.exceptions import ArgumentError, DumeSpiderError
from dume_spider.run import PARIS
from dume_spider.sandbox.rows import ServedRow, read_rows

_EPILOG = (
    "example: scrapy sandbox --dume-port 8100 --records 5000 --seed 1 --from 2026-01-01 "
    "--to 2026-01-31, then in another terminal: scrapy crawl dume -a date_start=2026-01-01 "
    "-a date_end=2026-01-31 -s DUME_API_URL=http://127.0.0.1:8100/dumes/donneesEssentielles. "
    "To publish: scrapy sandbox --datagouv-port 8200, then with DATAGOUV_API_KEY set to a key "
    "that it printed: scrapy crawl publish -a create=true -a organization=ID_THAT_IT_PRINTED "
    "-a structure=acheteur -a siret=SIRET -a name=Essai -a files='data/decp/DECP-SIRET-*.json' "
    "-s DATAGOUV_API_URL=http://127.0.0.1:8200/api/1. "
    "Notices: scrapy sandbox --boamp-port 8300, then scrapy crawl boamp "
    "-s BOAMP_API_URL=http://127.0.0.1:8300/api/explore/v2.1"
)
#: Days that are generated when neither ``--from`` nor ``--to`` is given.
_DAYS = 30


class Command(ScrapyCommand):
    """Serve replicas on 127.0.0.1 until SIGTERM or SIGINT.

    Prints one line, ``READY`` and a JSON object, when everything listens. ``dume`` is the
    address of the DUME service, ``stats`` and ``references`` those of its counts;
    ``dume_rows``, ``dume_references`` and ``dume_days`` say what is served. ``boamp``,
    ``boamp_stats``, ``boamp_references``, ``boamp_rows`` and ``boamp_days`` are the same of the
    BOAMP. ``datagouv`` is the address of data.gouv.fr's API, ``datagouv_stats`` and
    ``datagouv_references`` those of its counts; ``datagouv_keys``, ``datagouv_organization``
    and ``datagouv_other_organization`` are what a client needs to know.
    """

    requires_project = True
    requires_crawler_process = False

    def syntax(self) -> str:
        return "[--dume-port PORT] [--boamp-port PORT] [--datagouv-port PORT] [options]"

    def short_desc(self) -> str:
        return "Serve local replicas of the DUME service, of the BOAMP and of data.gouv.fr"

    def long_desc(self) -> str:
        return (
            "Serve replicas on 127.0.0.1, until Ctrl-C. That of the DUME service holds the "
            "records of DECP files, served in the assumed shape of the service's rows, or "
            "generated ones; that of the BOAMP generated notices, or those of a file. That of "
            "data.gouv.fr is empty; it has two organizations and keys to publish with, is read "
            "only below /read-only, and takes bodies of up to N bytes below /max-N. Prints one "
            "line READY with their addresses when they listen."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        super().add_options(parser)
        parser.epilog = _EPILOG
        group = parser.add_argument_group(title="Sandbox Options")
        group.add_argument(
            "--dume-port",
            type=_number(int, 0, 65535),
            metavar="PORT",
            help="serve the DUME replica on this port; 0 takes a free one",
        )
        group.add_argument(
            "--datagouv-port",
            type=_number(int, 0, 65535),
            metavar="PORT",
            help="serve the data.gouv.fr replica on this port; 0 takes a free one",
        )
        group.add_argument(
            "--boamp-port",
            type=_number(int, 0, 65535),
            metavar="PORT",
            help="serve the BOAMP replica on this port; 0 takes a free one",
        )
        group.add_argument(
            "--boamp-records",
            type=_number(int, 0),
            default=1000,
            metavar="N",
            help="notices to generate (by default 1000)",
        )
        group.add_argument(
            "--boamp-file",
            type=Path,
            metavar="FILE",
            help="serve the records of this JSON file instead, a list or an answer of the API",
        )
        group.add_argument(
            "--boamp-quota",
            type=_number(int, 0),
            metavar="N",
            help="requests of the BOAMP API until the quota of the day is used up",
        )
        group.add_argument(
            "--data",
            type=Path,
            nargs="+",
            action="extend",
            metavar="FILE",
            default=[],
            help="DECP files of either regime, .json or .json.gz",
        )
        group.add_argument(
            "--records",
            type=_number(int, 0),
            metavar="N",
            help="references to generate (by default 1000; with --data 0)",
        )
        group.add_argument(
            "--seed",
            type=int,
            default=0,
            help="of the records and the faults (by default 0)",
        )
        group.add_argument(
            "--faulty",
            type=_number(float, 0, 1),
            default=0.03,
            metavar="SHARE",
            help="share of generated records that cannot be published (by default 0.03)",
        )
        group.add_argument(
            "--from",
            dest="first_day",
            type=_day,
            metavar="DATE",
            help=f"first publication day, YYYY-MM-DD (by default {_DAYS - 1} days before --to)",
        )
        group.add_argument(
            "--to",
            dest="last_day",
            type=_day,
            metavar="DATE",
            help="last publication day (by default yesterday)",
        )
        group.add_argument(
            "--cap",
            type=_number(int, 1),
            default=CAP,
            metavar="N",
            help=f"most rows of an answer (by default {CAP}, as the service)",
        )
        group.add_argument(
            "--faults",
            type=_number(float, 0, 1),
            default=0.0,
            metavar="SHARE",
            help="share of requests that fail (429, 500, 503, reset, cut JSON, HTML page)",
        )
        group.add_argument(
            "--latency",
            type=_number(float, 0),
            default=0.0,
            metavar="SECONDS",
            help="wait before each answer",
        )
        group.add_argument(
            "--down-after",
            type=_number(int, 1),
            metavar="N",
            help="from request N on, reset every connection",
        )

    def process_options(self, args: list[str], opts: argparse.Namespace) -> None:
        super().process_options(args, opts)
        if args:
            raise UsageError(f"unknown argument: {args[0]} (see --help)", print_help=False)
        if opts.dume_port is None and opts.boamp_port is None and opts.datagouv_port is None:
            raise UsageError(
                "give --dume-port, --boamp-port or --datagouv-port (0 takes a free port)",
                print_help=False,
            )
        if opts.records is None:
            opts.records = 0 if opts.data else 1000
        opts.last_day = opts.last_day or max(
            datetime.now(tz=PARIS).date() - timedelta(days=1), opts.first_day or date.min
        )
        opts.first_day = opts.first_day or opts.last_day - timedelta(days=_DAYS - 1)
        if opts.first_day > opts.last_day:
            raise UsageError(
                f"--to {opts.last_day} is before --from {opts.first_day}", print_help=False
            )

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        # Imported here: importing the reactor chooses it, and every command is imported
        # by each call of scrapy.
        from twisted.internet import reactor
        from twisted.internet.error import CannotListenError

        from dume_spider.sandbox.boamp import BoampReplica
        from dume_spider.sandbox.datagouv import DatagouvReplica
        from dume_spider.sandbox.dume import DumeReplica
        from dume_spider.sandbox.server import Faults, Replica, serve

        configure_logging(self.settings)
        ready: dict[str, Any] = {}

        def start(name: str, port: int, replica: Replica, counts: str) -> None:
            faults = Faults(opts.seed, opts.faults, opts.down_after)
            listening = serve(reactor, replica, port, faults, opts.latency)
            base = f"http://{listening.getHost().host}:{listening.getHost().port}"
            ready[name] = base + replica.address
            for what in ("stats", "references"):
                ready[counts + what] = f"{base}/_sandbox/{what}"
            ready.update({f"{name}_{key}": value for key, value in replica.describe().items()})

        with ExitStack() as stack:
            try:
                if opts.dume_port is not None:
                    replica = DumeReplica(_rows(opts), cap=opts.cap)
                    start("dume", opts.dume_port, replica, counts="")
                if opts.boamp_port is not None:
                    boamp = BoampReplica(_notices(opts), opts.boamp_quota)
                    start("boamp", opts.boamp_port, boamp, counts="boamp_")
                if opts.datagouv_port is not None:
                    folder = stack.enter_context(TemporaryDirectory(prefix="dume-spider-"))
                    portal = DatagouvReplica(Path(folder))
                    start("datagouv", opts.datagouv_port, portal, counts="datagouv_")
            except DumeSpiderError as error:
                self._fail(error)
                return
            except CannotListenError as error:
                why = f"port {error.port} cannot be listened on: {error.socketError.strerror}"
                self._fail(ArgumentError(f"{why}; choose another, or 0 for a free one"))
                return
            # What is loaded stays to the end: the collector need not look at it again.
            gc.freeze()
            reactor.callWhenRunning(print, f"READY {json.dumps(ready)}", flush=True)
            reactor.run()

    def _fail(self, error: DumeSpiderError) -> None:
        print(f"scrapy sandbox: {error.line}", file=sys.stderr)
        self.exitcode = 1


def _rows(opts: argparse.Namespace) -> Iterator[ServedRow]:
    from dume_spider.sandbox.generator import generate

    yield from read_rows(opts.data, opts.first_day, opts.last_day)
    for made in generate(
        opts.records, opts.seed, opts.first_day, opts.last_day, faulty=opts.faulty
    ):
        yield made.served


def _notices(opts: argparse.Namespace) -> Iterable[dict[str, Any]]:
    from dume_spider.sandbox.boamp_rows import generate_notices, read_notices
    from dume_spider.sandbox.generator import generated_buyers

    if opts.boamp_file is not None:
        return read_notices(opts.boamp_file)
    made = opts.seed, opts.first_day, opts.last_day
    # Notices that announce the contracts of the other replica, as far as buyers go.
    both = opts.dume_port is not None and opts.records
    buyers = generated_buyers(opts.records, *made) if both else []
    return generate_notices(opts.boamp_records, *made, buyers)


def _number(
    kind: Callable[[str], float], least: float, most: float | None = None
) -> Callable[[str], float]:
    """A parser of numbers for argparse, between two bounds, both allowed."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        highest = sys.float_info.max if most is None else most
        if value is None or not least <= value <= highest:
            limits = f"from {least} on" if most is None else f"from {least} to {most}"
            noun = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {noun} {limits}")
        return value

    return parse


def _day(text: str) -> date:
    if not re.fullmatch(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a date YYYY-MM-DD of this century")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day of the calendar") from None
