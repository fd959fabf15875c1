"""A month of contracts, harvested by us and by the client that people use today (a, b).

Both ask the sandbox, which answers after 50 ms; dume_api asks one at a time, ours eight.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.timing import ROOT, Comparison, python, run_child

MONTH = ("2024-03-01", "2024-03-31")
LATENCY = 0.05

PEER = """
import json, sys
import dume_api
dume_api.configure_client(base_url=sys.argv[1])
rows = dume_api.get_contracts(date_start=sys.argv[2], date_end=sys.argv[3], complete=True)
print(json.dumps({"contracts": len(rows)}))
"""


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

    def ours(self, detail: str) -> tuple[float, int]:
        """Seconds and requests of one harvest."""
        place = self.folder / "ours"
        place.mkdir()
        (place / "scrapy.cfg").write_text((ROOT / "scrapy.cfg").read_text())
        with sandbox(self.folder, self.records) as addresses:
            child = run_child(
                python(
                    *("-m", "scrapy", "crawl", "dume", "-a", f"detail={detail}"),
                    *("-a", f"date_start={MONTH[0]}", "-a", f"date_end={MONTH[1]}"),
                    *("-s", f"DUME_API_URL={addresses['dume']}", "-s", "DOWNLOAD_DELAY=0"),
                    *("-s", "CONCURRENT_REQUESTS_PER_DOMAIN=8", "-s", "LOG_LEVEL=WARNING"),
                ),
                place,
            )
            asked = requests_answered(addresses)
        (summary,) = place.glob("data/runs/*/summary.json")
        counts = json.loads(summary.read_text())["counts"]
        shutil.rmtree(place)
        self._check(counts["references"])
        return child.seconds, asked

    def peer(self) -> tuple[float, int]:
        """Seconds and requests of dume_api."""
        place = self.folder / "peer"
        place.mkdir()
        with sandbox(self.folder, self.records) as addresses:
            child = run_child([sys.executable, "-c", PEER, addresses["dume"], *MONTH], place)
            asked = requests_answered(addresses)
        shutil.rmtree(place)
        self._check(json.loads(child.output.splitlines()[-1])["contracts"])
        return child.seconds, asked

    def _check(self, contracts: int) -> None:
        if contracts != self.records:
            raise RuntimeError(f"{contracts} of {self.records} contracts were collected")


def whole(folder: Path, scale: float) -> list[Comparison]:
    """a: every contract by a request of its own, from the command to its end."""
    month = _Month(folder, scale)
    return [
        Comparison(
            "a",
            f"Harvest of {month.records:,} contracts in full, 50 ms latency, eight at a time",
            "s",
            {
                "dume_spider": lambda: month.ours("always")[0],
                "dume_api (complete=True)": lambda: month.peer()[0],
            },
            base="dume_spider",
            goal="dume_api at least 7 times dume_spider",
        )
    ]


def lists(folder: Path, scale: float) -> list[Comparison]:
    """b: the same from the search rows alone, where they are whole records."""
    month = _Month(folder, scale)
    seen: dict[str, list[tuple[float, int]]] = {"auto": [], "always": []}

    def seconds(detail: str) -> float:
        seen[detail].append(month.ours(detail))
        return seen[detail][-1][0]

    def asked(detail: str) -> float:
        """As counted by the harvests of the comparison before, in their order."""
        return seen[detail].pop(0)[1]

    names = {"dume_spider, detail=always": "always", "dume_spider, detail=auto": "auto"}
    title = f"Harvest of {month.records:,} contracts from search rows that are whole records"
    base = "dume_spider, detail=always"
    return [
        Comparison(
            "b (time)",
            title,
            "s",
            {name: lambda detail=detail: seconds(detail) for name, detail in names.items()},
            base=base,
        ),
        Comparison(
            "b (requests)",
            title,
            "requests",
            {name: lambda detail=detail: asked(detail) for name, detail in names.items()},
            base=base,
            goal="at least 20 times fewer requests with detail=auto",
        ),
    ]
