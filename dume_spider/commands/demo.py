"""``scrapy demo``: the whole job on this machine, against a local replica of the service."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from scrapy.commands import ScrapyCommand

if TYPE_CHECKING:
    from rich.table import Table

#: The month that is harvested, and how many contracts it holds.
FIRST_DAY, LAST_DAY, RECORDS = "2026-03-01", "2026-03-31", 1000

#: What each status of a run means.
MEANING = {
    "complete": "every search is proven to hold nothing more",
    "probable": "nothing more was found by a second way of asking",
    "incomplete": "something is missing: it is named in the summary",
    "failed": "the run cannot be trusted: see the log",
}

#: Seconds that the replica may take to start.
PATIENCE = 30


class Command(ScrapyCommand):
    """Harvest a month from a local replica, with the real spider over real HTTP."""

    requires_project = True
    default_settings: ClassVar[dict[str, Any]] = {"LOG_ENABLED": False}

    def syntax(self) -> str:
        return "[options]"

    def short_desc(self) -> str:
        return "Harvest a month from a local replica of the DUME service, and show the result"

    def long_desc(self) -> str:
        return (
            "Start a replica of the DUME service on this machine, harvest a month of contracts "
            "from it with the real spider over HTTP, write the DECP files and show what came of "
            "it. Nothing leaves this machine. Example: scrapy demo --folder demo"
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        super().add_options(parser)
        parser.add_argument(
            "--folder",
            default="demo",
            metavar="FOLDER",
            help="where the files, the store and the logs go (default: demo)",
        )

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        # Not at import: Scrapy imports every command at each call.
        from rich.console import Console

        folder = Path(opts.folder).resolve() / time.strftime("%Y%m%dT%H%M%S")
        folder.mkdir(parents=True)
        console = Console(highlight=False)
        console.print(
            f"Starting a replica of the DUME service with {RECORDS:,} contracts of March 2026, "
            "then harvesting it …",
            soft_wrap=True,
        )
        with replica(folder / "replica.log") as address:
            started = time.monotonic()
            status = harvest(address, folder)
            seconds = time.monotonic() - started
        summaries = sorted((folder / "runs").glob("*/summary.json"))
        if not summaries:
            console.print(f"The harvest did not start: see {folder / 'harvest.log'}")
            self.exitcode = 1
            return
        summary = json.loads(summaries[-1].read_text(encoding="utf-8"))
        console.print(table_of(summary, seconds))
        console.print(where(folder, summaries[-1].parent), soft_wrap=True)
        self.exitcode = status


@contextmanager
def replica(log: Path) -> Iterator[str]:
    """Start ``scrapy sandbox`` in a child process; give its address; stop it at the end."""
    command = [
        *(sys.executable, "-m", "scrapy", "sandbox", "--dume-port", "0"),
        *("--records", str(RECORDS), "--seed", "1", "--from", FIRST_DAY, "--to", LAST_DAY),
    ]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,  # noqa: S603
    ):
        try:
            assert process.stdout is not None  # noqa: S101
            line = process.stdout.readline().decode()
            if not line.startswith("READY "):
                raise RuntimeError(f"the replica did not start: see {log}")
            yield json.loads(line.removeprefix("READY "))["dume"]
        finally:
            process.terminate()
            process.wait(PATIENCE)


def harvest(address: str, folder: Path) -> int:
    """Run ``scrapy crawl dume`` on the replica; give its exit status."""
    settings = {
        "DUME_API_URL": address,
        "DECP_FILES_URI": str(folder / "decp"),
        "DECP_STORE_URL": f"sqlite:///{folder / 'store.sqlite'}",
        "DECP_RUNS_DIR": str(folder / "runs"),
        "DECP_FORMATS": "json,xml",
        # The replica is ours: no need to be as slow as towards the State's service.
        "DOWNLOAD_DELAY": "0",
        "CONCURRENT_REQUESTS_PER_DOMAIN": "8",
        "LOG_FILE": str(folder / "harvest.log"),
    }
    command = [sys.executable, "-m", "scrapy", "crawl", "dume"]
    command += ["-a", f"date_start={FIRST_DAY}", "-a", f"date_end={LAST_DAY}"]
    for name, value in settings.items():
        command += ["-s", f"{name}={value}"]
    return subprocess.run(command, check=False, env=os.environ).returncode  # noqa: S603


def table_of(summary: dict[str, Any], seconds: float) -> Table:
    """What came of a run, in a few lines."""
    from rich.table import Table

    counts, requests = summary["counts"], summary["requests"]
    table = Table(title="Harvest of March 2026", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    files = summary["files"]
    size = sum(file["bytes"] for file in files)
    table.add_row("status", summary["status"], MEANING[summary["status"]])
    table.add_row("contracts found", f"{counts['references']:,}", f"{counts['rows']:,} versions")
    table.add_row("written", f"{counts['written']:,}", f"in {len(files):,} files, {size:,} bytes")
    table.add_row("superseded", f"{counts['superseded']:,}", "older versions of the same contract")
    table.add_row("rejected", f"{counts['rejected']:,}", "")
    for reason, count in list(summary["rejected_rules"].items())[:5]:
        table.add_row("", f"{count:,}", reason)
    table.add_row("failed", f"{counts['failed']:,}", "")
    table.add_row(
        "requests",
        f"{sum(requests.values()):,}",
        f"{requests['search']:,} searches, {requests['detail']:,} details",
    )
    table.add_row("seconds", f"{seconds:.1f}", "")
    return table


def where(folder: Path, run: Path) -> str:
    """Where everything lies."""
    return "\n".join(
        [
            f"DECP files      {folder / 'decp'}",
            f"rejected rows   {run / 'rejected.jsonl'}",
            f"run summary     {run / 'summary.json'}",
            f"log             {folder / 'harvest.log'}",
        ]
    )
