"""How long k workers take for the same harvest: one process each, one store.

    python bench/workers.py postgresql+psycopg://user@host/database 1 2 4

The database is to be empty: each round gets a schema of its own. The replica answers after
50 ms; the workers are as polite as by default (one request at a time, 0.1 s between two),
unless further settings are given: ``--set DOWNLOAD_DELAY=0``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psycopg
from sqlalchemy import make_url

ROOT = Path(__file__).resolve().parents[1]
SCRAPY = [sys.executable, "-m", "scrapy"]
PERIOD = ("2025-01-01", "2025-06-30")


def main() -> None:
    """Run the rounds and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of a PostgreSQL database")
    parser.add_argument("workers", nargs="+", type=int)
    parser.add_argument("--records", default="2000")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    opts = parser.parse_args()
    options = ["--from", PERIOD[0], "--to", PERIOD[1], "--latency", "0.05"]
    sandbox = subprocess.Popen(
        [*SCRAPY, "sandbox", "--dume-port", "0", "--records", opts.records, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        ready = json.loads(sandbox.stdout.readline().removeprefix("READY "))
        for workers in opts.workers:
            measure(opts.url, workers, ready, opts.set)
    finally:
        sandbox.terminate()
        sandbox.wait()


def measure(url: str, workers: int, ready: dict[str, str], settings: list[str]) -> None:
    """One round with a new store."""
    schema = f"workers_{workers}"
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        with suppress(psycopg.errors.InvalidSchemaName):
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
        connection.execute(f"CREATE SCHEMA {schema}")
    before = requests(ready)
    with tempfile.TemporaryDirectory() as folder:
        given = [
            f"DUME_API_URL={ready['dume']}",
            f"DECP_STORE_URL={url}?options=-csearch_path%3D{schema}",
            f"DECP_FILES_URI={folder}/decp",
            f"DECP_RUNS_DIR={folder}/runs",
            "LOG_LEVEL=ERROR",
            *settings,
        ]
        sets = [part for setting in given for part in ("-s", setting)]
        start = time.perf_counter()
        days = ["-a", f"date_start={PERIOD[0]}", "-a", f"date_end={PERIOD[1]}"]
        crawls = [
            subprocess.Popen(
                [*SCRAPY, "crawl", "dume", *sets, *days, "-a", f"shard={number}/{workers}"],
                cwd=ROOT,
            )
            for number in range(1, workers + 1)
        ]
        statuses = [crawl.wait() for crawl in crawls]
        crawled = time.perf_counter() - start
        export = subprocess.run(
            [*SCRAPY, "export", "--wait-for-shards", str(workers), *sets], cwd=ROOT, check=True
        )
        total = time.perf_counter() - start
    asked = requests(ready) - before
    print(
        f"{workers} workers: {total:.1f} s ({crawled:.1f} s of crawling), {asked} requests, "
        f"{asked / crawled:.1f} a second; statuses {statuses}, export {export.returncode}",
        flush=True,
    )


#: How often the service is asked for one contract, measured: its own request, and a share of
#: the searches. With shards a contract of two days' shards is asked for twice.
REQUESTS_PER_CONTRACT = 1.1
#: From January 2018 to October 2026, 60 a working day and hardly any at week-ends: the planner's
#: first guess. Nobody publishes the number.
CONTRACTS = 140_000
#: Requests a second of one worker; the last is what one as polite as by default was measured to do.
RATES = (1, 2, 4, 7.7)


def duration_table() -> str:
    """The table of docs/deployment.md: hours for the whole, by workers and their rate."""
    lines = [
        "| workers | " + " | ".join(f"{rate:g} requests/s each" for rate in RATES) + " |",
        "| --- |" + " --- |" * len(RATES),
    ]
    for workers in (1, 2, 4, 8, 16):
        hours = (CONTRACTS * REQUESTS_PER_CONTRACT / (workers * rate) / 3600 for rate in RATES)
        lines.append(f"| {workers} | " + " | ".join(f"{each:.1f} h" for each in hours) + " |")
    return "\n".join(lines) + "\n"


def requests(ready: dict[str, str]) -> int:
    """What the replica has answered so far."""
    with urllib.request.urlopen(ready["stats"], timeout=30) as response:
        return sum(json.load(response)["requests"].values())


if __name__ == "__main__":
    main()
