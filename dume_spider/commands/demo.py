"""``scrapy demo``: the whole story on this machine, against local replicas of the services."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from scrapy.commands import ScrapyCommand
from scrapy.exceptions import UsageError

from dume_spider.exceptions import OutputError

if TYPE_CHECKING:
    from rich.table import Table

#: The month that is harvested, and how many contracts it holds.
FIRST_DAY, LAST_DAY, RECORDS = "2026-03-01", "2026-03-31", 1000

#: The day of the BOAMP that is read, and how many notices the month holds.
NOTICE_DAY, NOTICES = "2026-03-10", 4000

#: The platform whose files are written and published; a SIRET of La Poste.
PLATFORM_SIRET, PLATFORM = "35600000000048", "Démonstration"

#: What each status of a run means.
MEANING = {
    "complete": "every search is proven to hold nothing more",
    "probable": "nothing more was found by a second way of asking",
    "incomplete": "something is missing: it is named in the summary",
    "failed": "the run cannot be trusted: see the log",
}

#: The same of a publication.
PUBLISHED = MEANING | {
    "complete": "all is there, read back and compared",
    "incomplete": "the same command carries on",
}

#: Seconds that the replicas may take to stop.
PATIENCE = 30


@dataclass(frozen=True)
class Step:
    """A command that has ended: its exit status, its seconds, and its run's summary, if any."""

    status: int
    seconds: float
    run: Path | None
    summary: dict[str, Any]


class Command(ScrapyCommand):
    """Harvest, write, publish and report, with the real spiders over real HTTP."""

    requires_project = True
    default_settings: ClassVar[dict[str, Any]] = {"LOG_ENABLED": False}

    def syntax(self) -> str:
        return "[options]"

    def short_desc(self) -> str:
        return "Harvest, write, publish and report against local replicas, and show the results"

    def long_desc(self) -> str:
        return (
            "Start replicas of the DUME service, of the BOAMP and of data.gouv.fr on this machine; "
            "harvest a month of contracts and a day of award notices over HTTP, write the DECP "
            "files, publish them, make the report, and show what came of it. Nothing leaves this "
            "machine. Example: scrapy demo --folder demo"
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        super().add_options(parser)
        parser.add_argument(
            "--folder",
            default="demo",
            metavar="FOLDER",
            help="where the files, the store and the logs go (by default demo)",
        )

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        if args:
            raise UsageError(f"unknown argument: {args[0]} (see --help)", print_help=False)
        # Not at import: Scrapy imports every command at each call.
        from rich.console import Console

        folder = Path(opts.folder).resolve() / time.strftime("%Y%m%dT%H%M%S")
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            line = OutputError(
                f"{error.strerror}: {error.filename}; name a folder that can be written (--folder)"
            ).line
            print(f"scrapy demo: {line}", file=sys.stderr)
            self.exitcode = 1
            return
        self.exitcode = tell(folder, Console(highlight=False))


def tell(folder: Path, console: Any) -> int:
    """The whole story; its exit status is the first one that is not 0."""
    console.print(
        f"Replicas on this machine: {RECORDS:,} contracts of March 2026 on the DUME service, "
        f"{NOTICES:,} notices on the BOAMP, an empty data.gouv.fr.",
        soft_wrap=True,
    )
    with replicas(folder / "replicas.log") as ready:
        place = Place(folder, ready)
        harvest = place.crawl("dume", date_start=FIRST_DAY, date_end=LAST_DAY)
        if harvest.run is None:
            console.print(f"The harvest did not start: see {folder / 'dume.log'}", soft_wrap=True)
            return harvest.status or 1
        console.print(table_of_harvest(harvest))
        notices = place.crawl("boamp", date=NOTICE_DAY, detail="auto")
        console.print(table_of_notices(notices, folder / "boamp.jsonl"))
        publication = place.crawl(
            "publish",
            files=str(folder / "decp" / "DECP-*"),
            create="true",
            structure="plateforme",
            siret=PLATFORM_SIRET,
            name=PLATFORM,
            organization=ready["datagouv_organization"],
        )
        console.print(table_of_publication(publication))
    report = place.report()
    places = {
        "DECP files": folder / "decp",
        "rejected rows": harvest.run / "rejected.jsonl",
        "run summary": harvest.run / "summary.json",
        "award notices": folder / "boamp.jsonl",
        "report": next((folder / "report").glob("*.html"), folder / "report.log"),
        "logs": folder,
    }
    for name, path in places.items():
        console.print(f"{name:14} {path}", soft_wrap=True)
    steps = (harvest, notices, publication, report)
    return next((step.status for step in steps if step.status), 0)


@contextmanager
def replicas(log: Path) -> Iterator[dict[str, Any]]:
    """Start ``scrapy sandbox`` in a child process; give what its first line says; stop it."""
    command = [
        *(sys.executable, "-m", "scrapy", "sandbox", "--seed", "1"),
        *("--from", FIRST_DAY, "--to", LAST_DAY),
        *("--dume-port", "0", "--records", str(RECORDS)),
        *("--boamp-port", "0", "--boamp-records", str(NOTICES)),
        *("--datagouv-port", "0"),
    ]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,  # noqa: S603
    ):
        try:
            assert process.stdout is not None  # noqa: S101
            line = process.stdout.readline().decode()
            if not line.startswith("READY "):
                raise RuntimeError(f"the replicas did not start: see {log}")
            yield json.loads(line.removeprefix("READY "))
        finally:
            process.terminate()
            process.wait(PATIENCE)


class Place:
    """The folder that everything goes to, and the replicas that everything asks."""

    def __init__(self, folder: Path, ready: dict[str, Any]):
        self.folder = folder
        self.settings = {
            "DUME_API_URL": ready["dume"],
            "BOAMP_API_URL": ready["boamp"],
            "DATAGOUV_API_URL": ready["datagouv"],
            "DECP_FILES_URI": str(folder / "decp"),
            "DECP_STORE_URL": f"sqlite:///{folder / 'store.sqlite'}",
            "DECP_RUNS_DIR": str(folder / "runs"),
            "DECP_FORMATS": "json,xml",
            "DECP_STRUCTURE": "plateforme",
            "DECP_PLATFORM_SIRET": PLATFORM_SIRET,
            # The replicas are ours: no need to be as slow as towards the State's services.
            "DOWNLOAD_DELAY": "0",
            "CONCURRENT_REQUESTS_PER_DOMAIN": "8",
        }
        self.key = ready["datagouv_keys"]["editor"]

    def crawl(self, spider: str, **arguments: str) -> Step:
        """Run ``scrapy crawl``; its log and its items go to files named for the spider."""
        command = ["crawl", spider, "-O", str(self.folder / f"{spider}.jsonl")]
        for name, value in arguments.items():
            command += ["-a", f"{name}={value}"]
        return self._run(spider, command)

    def report(self) -> Step:
        """Run ``scrapy report``."""
        return self._run("report", ["report", "--folder", str(self.folder / "report")])

    def _run(self, name: str, command: list[str]) -> Step:
        for setting, value in self.settings.items():
            command += ["-s", f"{setting}={value}"]
        started = time.monotonic()
        with (self.folder / f"{name}.log").open("wb") as log:
            status = subprocess.run(  # noqa: S603
                [sys.executable, "-m", "scrapy", *command],
                check=False,
                stdout=log,
                stderr=log,
                env=os.environ | {"DATAGOUV_API_KEY": self.key},
            ).returncode
        seconds = time.monotonic() - started
        path = next((self.folder / "runs").glob(f"{name}-*/summary.json"), None)
        if path is None:
            return Step(status, seconds, None, {})
        return Step(status, seconds, path.parent, json.loads(path.read_text(encoding="utf-8")))


def table_of_harvest(step: Step) -> Table:
    """What came of the harvest of contracts."""
    counts, requests = step.summary["counts"], step.summary["requests"]
    files = step.summary["files"]
    size = sum(file["bytes"] for file in files)
    table = _table("Contracts of March 2026, from DUME", step)
    table.add_row("contracts found", f"{counts['references']:,}", f"{counts['rows']:,} versions")
    table.add_row("written", f"{counts['written']:,}", f"in {len(files):,} files, {size:,} bytes")
    table.add_row("superseded", f"{counts['superseded']:,}", "older versions of the same contract")
    table.add_row("rejected", f"{counts['rejected']:,}", "of these, the most frequent reasons:")
    for reason, count in list(step.summary["rejected_rules"].items())[:5]:
        table.add_row("", f"{count:,}", reason)
    table.add_row("failed", f"{counts['failed']:,}", "")
    table.add_row(
        "requests",
        f"{sum(requests.values()):,}",
        f"{requests['search']:,} searches, {requests['detail']:,} details",
    )
    return table


def table_of_notices(step: Step, feed: Path) -> Table:
    """What came of the day of the BOAMP; ``feed`` holds the notices, one a line."""
    counts, requests = step.summary["counts"], step.summary["requests"]
    with feed.open(encoding="utf-8") as lines:
        awards = [award for line in lines for award in json.loads(line)["awards"]]
    whole = sum("montant" in award["decp"] for award in awards)
    table = _table(f"Award notices of {NOTICE_DAY}, from the BOAMP", step)
    table.add_row("notices", f"{counts['references']:,}", f"{counts['rejected']:,} rejected")
    table.add_row("awards in them", f"{len(awards):,}", f"{whole:,} with a certain amount")
    table.add_row("requests", f"{sum(requests.values()):,}", "")
    return table


def table_of_publication(step: Step) -> Table:
    """What was done on data.gouv.fr."""
    table = _table("Publication on data.gouv.fr", step, PUBLISHED)
    for done in step.summary["published"]:
        table.add_row(done["action"], "", done["file"] or f"data set {done['dataset']}")
    return table


def _table(title: str, step: Step, meaning: Mapping[str, str] = MEANING) -> Table:
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    status = step.summary["status"]
    table.add_row("status", status, meaning[status])
    table.add_row("seconds", f"{step.seconds:.1f}", "")
    return table
