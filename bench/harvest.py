"""A month of contracts, harvested by us and by the client that people use today (a, b).

Both ask the sandbox, which answers after 50 ms; dume_api asks one at a time, ours eight.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.timing import ROOT, Comparison, python, run_child, told

MONTH = ("2024-03-01", "2024-03-31")
LATENCY = 0.05

PEER = """
import json, sys, time
import dume_api
dume_api.configure_client(base_url=sys.argv[1])
started = time.perf_counter()
rows = dume_api.get_contracts(date_start=sys.argv[2], date_end=sys.argv[3], complete=True)
print(json.dumps({"contracts": len(rows), "seconds": time.perf_counter() - started}))
"""


class Harvested(NamedTuple):
    """What a harvest took: seconds of the whole command, of these the crawl's, requests."""

    command: float
    crawl: float
    requests: int


@contextmanager
def sandbox(folder: Path, records: int) -> Iterator[dict[str, str]]:
    """A sandbox with so many contracts in :data:`MONTH`; gives its addresses."""
    process = subprocess.Popen(
        python(
            *("-m", "scrapy", "sandbox", "--dume-port", 0, "--records", records, "--faulty", 0),
            *("--from", MONTH[0], "--to", MONTH[1], "--latency", LATENCY),
        ),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield json.loads(process.stdout.readline().removeprefix("READY "))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def requests_answered(addresses: dict[str, str]) -> int:
    """How many requests the sandbox has answered so far."""
    with urllib.request.urlopen(addresses["stats"]) as response:
        kinds: dict[str, int] = json.load(response)["requests"]
    return sum(kinds.values())


class _Month:
    """One sandbox for all repetitions of a comparison."""

    def __init__(self, folder: Path, scale: float):
        self.folder = folder
        self.records = max(40, int(1333 * scale))

    def ours(self, detail: str) -> Harvested:
        """One harvest by ``scrapy crawl dume``; its crawl as Scrapy's own stats have it."""
        place = self.folder / "ours"
        place.mkdir()
        (place / "scrapy.cfg").write_text((ROOT / "scrapy.cfg").read_text())
        with sandbox(self.folder, self.records) as addresses:
            child = run_child(
                python(
                    *("-m", "scrapy", "crawl", "dume", "-a", f"detail={detail}"),
                    *("-a", f"date_start={MONTH[0]}", "-a", f"date_end={MONTH[1]}"),
                    *("-s", f"DUME_API_URL={addresses['dume']}", "-s", "DOWNLOAD_DELAY=0"),
                    *("-s", "CONCURRENT_REQUESTS_PER_DOMAIN=8", "-s", "LOG_LEVEL=INFO"),
                ),
                place,
            )
            asked = requests_answered(addresses)
        crawl = float(re.search(r"'elapsed_time_seconds': ([0-9.]+)", child.output)[1])
        (summary,) = place.glob("data/runs/*/summary.json")
        counts = json.loads(summary.read_text())["counts"]
        shutil.rmtree(place)
        self._check(counts["references"])
        return Harvested(child.seconds, crawl, asked)

    def peer(self) -> Harvested:
        """The same by a script with dume_api in it; its crawl is the call of its function."""
        place = self.folder / "peer"
        place.mkdir()
        with sandbox(self.folder, self.records) as addresses:
            child = run_child([sys.executable, "-c", PEER, addresses["dume"], *MONTH], place)
            asked = requests_answered(addresses)
        shutil.rmtree(place)
        found = told(child)
        self._check(found["contracts"])
        return Harvested(child.seconds, found["seconds"], asked)

    def _check(self, contracts: int) -> None:
        if contracts != self.records:
            raise RuntimeError(f"{contracts} of {self.records} contracts were collected")


def whole(folder: Path, scale: float) -> list[Comparison]:
    """a: every contract by a request of its own."""
    month = _Month(folder, scale)
    return _compared(
        "a",
        f"Harvest of {month.records:,} contracts in full, 50 ms latency, eight at a time",
        {
            "dume_spider": lambda: month.ours("always"),
            "dume_api (complete=True)": month.peer,
        },
        {"crawl": "dume_api at least 7 times dume_spider, from start to finish of the crawl"},
        ("crawl", "command"),
    )


def lists(folder: Path, scale: float) -> list[Comparison]:
    """b: the same from the search rows alone, where they are whole records."""
    month = _Month(folder, scale)
    return _compared(
        "b",
        f"Harvest of {month.records:,} contracts from search rows that are whole records",
        {
            "dume_spider, detail=always": lambda: month.ours("always"),
            "dume_spider, detail=auto": lambda: month.ours("auto"),
        },
        {"requests": "at least 20 times fewer requests with detail=auto"},
        ("crawl", "requests"),
    )


def _compared(
    key: str,
    title: str,
    sides: Mapping[str, Callable[[], Harvested]],
    goals: Mapping[str, str],
    figures: tuple[str, ...],
) -> list[Comparison]:
    """A comparison for each of the figures, of the same harvests: the first one makes them."""
    made: dict[str, list[Harvested]] = {name: [] for name in sides}
    taken: dict[tuple[str, str], int] = {}

    def measure(name: str, figure: str) -> float:
        if figure == figures[0]:
            made[name].append(sides[name]())
            return getattr(made[name][-1], figure)
        told_so_far = taken[name, figure] = taken.get((name, figure), 0) + 1
        return getattr(made[name][told_so_far - 1], figure)

    return [
        Comparison(
            f"{key} ({figure})",
            title,
            "requests" if figure == "requests" else "s",
            {name: lambda name=name, figure=figure: measure(name, figure) for name in sides},
            base=next(iter(sides)),
            goal=goals.get(figure, ""),
        )
        for figure in figures
    ]
