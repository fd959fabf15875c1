"""Crawls in child processes, and what they leave behind."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logs import check
from sqlalchemy import create_engine, inspect, select

from dume_spider.store.tables import found

ROOT = Path(__file__).resolve().parents[1]

#: Towards a replica of ours there is no need to be slow.
FAST = {
    "DOWNLOAD_DELAY": "0",
    "CONCURRENT_REQUESTS_PER_DOMAIN": "8",
}


@dataclass(frozen=True)
class Crawl:
    """A finished ``scrapy crawl`` and what it left in ``folder``."""

    status: int
    output: str
    folder: Path
    run: Path | None

    @property
    def summary(self) -> dict[str, Any]:
        """The run's ``summary.json``."""
        assert self.run is not None, self.output
        return json.loads((self.run / "summary.json").read_text(encoding="utf-8"))

    @property
    def counts(self) -> dict[str, int]:
        """The counts of the summary."""
        return self.summary["counts"]

    @property
    def rejected(self) -> list[dict[str, Any]]:
        """The lines of the run's ``rejected.jsonl``."""
        assert self.run is not None, self.output
        return lines(self.run / "rejected.jsonl")

    @property
    def items(self) -> list[dict[str, Any]]:
        """The items of the feed."""
        return lines(self.folder / "items.jsonl")

    def files(self, pattern: str = "*") -> list[Path]:
        """The DECP files in place."""
        return sorted((self.folder / "decp").glob(pattern))


def finished(status: int, output: str, folder: Path) -> Crawl:
    """A finished crawl by its log; ``run`` is the folder of its run, which may be an old one."""
    check(output)
    name = re.search(r"Run ([a-z]+-\S+?)(?: carried on)?: ", output)
    run = folder / "runs" / name[1] if name else None
    return Crawl(status, output, folder, run if run and run.is_dir() else None)


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file."""
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def crawl_command(
    folder: Path,
    url: str,
    arguments: dict[str, str],
    settings: dict[str, str],
    spider: str = "dume",
) -> list[str]:
    """The command of a crawl that keeps everything in ``folder``."""
    given = FAST | {
        f"{spider.upper()}_API_URL": url,
        "DECP_FILES_URI": str(folder / "decp"),
        "DECP_STORE_URL": f"sqlite:///{folder / 'store.sqlite'}",
        "DECP_RUNS_DIR": str(folder / "runs"),
    }
    command = [sys.executable, "-m", "scrapy", "crawl", spider]
    command += ["-O", str(folder / "items.jsonl")]
    for name, value in arguments.items():
        command += ["-a", f"{name}={value}"]
    for name, value in (given | settings).items():
        command += ["-s", f"{name}={value}"]
    return command


def settled(store: str) -> set[str]:
    """The references that the store at this URL says have left."""
    engine = create_engine(store)
    try:
        if not inspect(engine).has_table(found.name):
            return set()
        with engine.connect() as connection:
            return set(connection.scalars(select(found.c.reference).where(found.c.settled)))
    finally:
        engine.dispose()


def peak_of(process: subprocess.Popen[Any]) -> int:
    """The most memory that a process has had until its end, in kB; 0 where that is not told.

    What ``wait4`` says of a child is at least what its parent has had.
    """
    peak = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        with contextlib.suppress(OSError):  # it ends just now
            told = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
            peak = max(peak, int(told[1]) if told else 0)
        time.sleep(0.2)
    return peak
