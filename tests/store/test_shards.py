"""Several workers on one store: the shards of a harvest, and the files written once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from crawling import ROOT, Crawl, crawl_command, finished
from logs import check

from dume_spider.decp.reading import read_records
from dume_spider.store.ledger import Harvest, take_up
from dume_spider.store.shards import Shard, hand_over, shared_harvests
from dume_spider.store.store import Candidate, Counts, Store

STARTED = datetime(2024, 3, 1, tzinfo=UTC)
Make = Callable[..., Candidate]


def begin(store: Store, shard: str, run: str, **asked: str) -> Harvest:
    asked |= {"shard": shard} if shard else {}
    return take_up(store, asked, run=run, spider="dume", arguments={}, started=STARTED)


def end(store: Store, harvest: Harvest, status: str = "complete") -> None:
    store.end_run(harvest.run, status, {"status": status})
    harvest.end()


def test_which_shards_are_done(store_url: str) -> None:
    store = Store(store_url)
    assert shared_harvests(store, 2) == []
    begin(store, "", "alone", day="1").let_go()
    begin(store, "1/12", "of twelve", day="1").let_go()
    end(store, begin(store, "2/2", "second", day="1"))
    (shared,) = shared_harvests(store, 2)
    assert shared.asked == {"spider": "dume", "day": "1"}
    assert shared.missing == [1]
    first = begin(store, "1/2", "first", day="1")
    first.let_go()  # killed
    assert shared_harvests(store, 2)[0].missing == [1]
    again = begin(store, "1/2", "not this name", day="1")
    assert again.run == "first"
    end(store, again, "probable")
    (shared,) = shared_harvests(store, 2)
    assert shared.missing == []
    assert shared.shards == {
        1: Shard("first", True, {"status": "probable"}),
        2: Shard("second", True, {"status": "complete"}),
    }
    # The same again, and another day: the newest comes first, and older runs are known.
    begin(store, "1/2", "other day", day="2").let_go()
    begin(store, "2/2", "second again", day="1").let_go()
    # Notices are owed to no file: nobody waits for their shards.
    notices = {"run": "notices", "spider": "boamp", "arguments": {}, "started": STARTED}
    take_up(store, {"shard": "1/2"}, **notices).let_go()
    newest, other = shared_harvests(store, 2)
    assert (newest.asked["day"], newest.missing) == ("1", [2])
    assert sorted(newest.runs) == ["first", "second", "second again"]
    assert (other.asked["day"], other.missing) == ("2", [1, 2])
    store.close()


def test_a_worker_that_was_started_twice_and_killed_once(store_url: str) -> None:
    """What the killed one had begun is done with the other, but has no summary."""
    store = Store(store_url)
    first = begin(store, "1/1", "first", day="1")
    begin(store, "1/1", "killed", day="1").let_go()
    end(store, first)
    (shared,) = shared_harvests(store, 1)
    assert shared.shards == {1: Shard("first", True, {"status": "complete"})}
    assert sorted(shared.runs) == ["first", "killed"]
    store.close()


def test_what_shards_owe_is_owed_by_one_run(store: Store, candidate: Make) -> None:
    for run in ("other", "export"):
        store.begin_run(run, "dume", {}, STARTED)
    store.save("run", [candidate("A", objet="a"), candidate("B", objet="b")])
    store.save("other", [candidate("A", objet="a"), candidate("C", objet="c")])
    assert hand_over(store, ["run", "other", "run", "export"], "export") == 3
    assert hand_over(store, ["run", "other"], "export") == 0
    nothing = Counts(0, 0, 0, 0, 0, 0, 0, 0)
    assert store.counts_of("run") == nothing._replace(superseded=1, taken=1)
    assert store.counts_of("other") == nothing
    assert store.counts_of("export") == nothing._replace(new=3, owed=3)
    assert [record.reference for record in store.pending("export")] == ["A", "B", "C"]
    # Like any other run, it loses what a later one receives.
    store.begin_run("later", "dume", {}, STARTED)
    store.save("later", [candidate("B", objet="b")])
    assert store.counts_of("export") == nothing._replace(new=2, owed=2, superseded=1, taken=1)


def export(folder: Path, url: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "scrapy", "export", *options]
    for name, value in {
        "DECP_STORE_URL": url,
        "DECP_FILES_URI": folder / "decp",
        "DECP_RUNS_DIR": folder / "runs",
    }.items():
        command += ["-s", f"{name}={value}"]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def records_in(folder: Path) -> Counter[str]:
    """The records of the DECP files, in any order."""
    return Counter(
        json.dumps(found.record, sort_keys=True)
        for path in (folder / "decp").glob("*.json")
        for found in read_records(path)
    )


@pytest.mark.slow
@pytest.mark.parametrize("new_store_url", ["postgresql"], indirect=True)
def test_four_workers_one_killed(
    start_sandbox: Callable[..., Any],
    crawl: Callable[..., Crawl],
    new_store_url: Callable[[], str],
    tmp_path: Path,
) -> None:
    period = ("--from", "2026-03-01", "--to", "2026-03-31")
    sandbox = start_sandbox("--records", 400, *period, "--latency", 0.02)
    arguments = {"date_start": "2026-03-01", "date_end": "2026-03-31"}
    single = crawl(
        sandbox.url,
        arguments,
        {"DECP_STORE_URL": new_store_url()},
        folder=tmp_path / "single",
    )
    url = new_store_url()

    def work(number: int) -> subprocess.Popen[bytes]:
        folder = tmp_path / f"worker-{number}"
        folder.mkdir(exist_ok=True)
        # As politely as by default, so that there is time to kill one.
        settings = {"DECP_STORE_URL": url, "CONCURRENT_REQUESTS_PER_DOMAIN": "1"}
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                crawl_command(folder, sandbox.url, arguments | {"shard": f"{number}/4"}, settings),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def result(number: int, status: int) -> Crawl:
        folder = tmp_path / f"worker-{number}"
        return finished(status, (folder / "log").read_text(encoding="utf-8"), folder)

    writing = export(tmp_path / "shared", url, "--wait-for-shards", "4")
    workers = {number: work(number) for number in range(1, 5)}
    goal = sum(sandbox.stats()["requests"].values()) + 120
    while sum(sandbox.stats()["requests"].values()) < goal:
        assert workers[3].poll() is None
        time.sleep(0.02)
    workers[3].send_signal(signal.SIGKILL)
    assert workers[3].wait() == -signal.SIGKILL
    for number in (1, 2, 4):
        done = result(number, workers[number].wait(120))
        assert done.status == 0, done.output
        assert done.counts["written"] == 0
        assert done.counts["owed"] == done.counts["new"] > 0
        assert not done.files()
    time.sleep(1.5)
    assert writing.poll() is None, writing.communicate()
    again = result(3, work(3).wait(120))
    assert again.status == 0, again.output
    assert "carried on" in again.output
    output, errors = writing.communicate(timeout=60)
    assert writing.returncode == 0, errors
    assert "waiting for shards 3 of 4 of {" in errors
    assert "Traceback" not in errors
    check(errors)

    everything = records_in(single.folder)
    assert max(everything.values()) == 1
    assert records_in(tmp_path / "shared") == everything
    (summary,) = (tmp_path / "shared" / "runs").glob("export-*/summary.json")
    written = json.loads(summary.read_text(encoding="utf-8"))
    assert written["status"] == "complete"
    assert written["balanced"]
    assert written["counts"]["written"] == single.counts["written"] == everything.total()
    assert output.startswith(f"{everything.total():,} contracts in {len(written['files'])} files")

    # Nothing is left to write, and nothing is written twice.
    output, errors = export(tmp_path / "shared", url, "--wait-for-shards", "4").communicate()
    assert output.startswith("0 contracts in 0 files; complete")
    assert records_in(tmp_path / "shared") == everything


def test_an_interrupted_export_is_carried_on_and_says_what_is_missing(
    tmp_path: Path, candidate: Make
) -> None:
    url = f"sqlite:///{tmp_path}/store.sqlite"
    store = Store(url)
    for number, status in ((1, "complete"), (2, "incomplete")):
        harvest = begin(store, f"{number}/2", f"worker-{number}", day="1")
        record = next(read_records(ROOT / "tests" / "decp" / "golden" / "2022.json"))
        contract = record.record | {"objet": f"of worker {number}"}
        store.save(
            harvest.run,
            [Candidate.of("dume", f"R{number}", record.type, record.regime, contract, b"{}")],
        )
        lost = [{"window": {"dateDebut": "1"}, "error": "no answer"}] * (number - 1)
        summary = {"status": status, "unproven": [], "failures": lost, "spider": "dume"}
        summary["arguments"] = {"date": "2026-03-01", "shard": f"{number}/2"}
        store.end_run(harvest.run, status, summary)
        harvest.end()
    # An export that was killed when the records had just become its own.
    killed = take_up(
        store, {"shards": 2}, run="export-1", spider="export", arguments={}, started=STARTED
    )
    hand_over(store, ["worker-1", "worker-2"], "export-1")
    killed.let_go()
    store.close()
    writing = export(tmp_path, url, "--wait-for-shards", "2")
    output, errors = writing.communicate(timeout=60)
    assert errors == (
        "To ask again for what is missing, with the same settings:\n"
        "scrapy crawl dume -a date=2026-03-01 -a shard=2/2\n"
        "scrapy export --wait-for-shards 2\n"
    )
    assert writing.returncode == 3
    assert output == (f"2 contracts in 1 file; incomplete: {tmp_path}/runs/export-1/summary.json\n")
    summary = json.loads((tmp_path / "runs" / "export-1" / "summary.json").read_text())
    assert summary["failures"] == lost
    assert records_in(tmp_path).total() == 2


def test_an_export_that_is_stopped_while_it_waits(tmp_path: Path) -> None:
    writing = export(tmp_path, f"sqlite:///{tmp_path}/new.sqlite", "--wait-for-shards", "2")
    line = writing.stderr.readline()
    assert line == f"waiting for the first of 2 shards to begin in {tmp_path}/new.sqlite\n"
    writing.send_signal(signal.SIGINT)
    _, errors = writing.communicate(timeout=30)
    assert writing.returncode == 1
    assert errors == "scrapy export: stopped; the same command carries on\n"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--wait-for-shards", "0"], 2, "'0': not a number of shards; accepted: 1 to 9999"),
        (
            ["--wait-for-shards", "2", "--format", "csv"],
            2,
            "--wait-for-shards goes with no other option",
        ),
        (["--wait-for-shards", "2", "-s", "DECP_FORMATS=csv"], 1, "DECP_FORMATS='csv': not known"),
    ],
)
def test_bad_use(tmp_path: Path, options: list[str], status: int, message: str) -> None:
    writing = export(tmp_path, f"sqlite:///{tmp_path}/none.sqlite", *options)
    _, errors = writing.communicate(timeout=60)
    assert writing.returncode == status
    assert message in errors
