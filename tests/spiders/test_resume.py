"""Harvests that are interrupted in every way, and the same command again."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from crawling import ROOT, Crawl, crawl_command, finished, settled

from dume_spider.sandbox.generator import generate

MARCH = {"date_start": "2026-03-01", "date_end": "2026-03-31"}
RECORDS = ("--seed", 11, "--from", "2026-03-01", "--to", "2026-03-31")
#: Faults and versions among few records, so that every door is used.
FEW = ("--records", 250, *RECORDS, "--faulty", 0.1)
ENVIRONMENT = os.environ | {"PYTHONWARNINGS": "error"}


def per_buyer(folder: Path) -> dict[str, Counter[str]]:
    """The records of all JSON files of a folder by the SIRET in their names, in any order."""
    records_of: dict[str, Counter[str]] = {}
    for path in (folder / "decp").glob("*.json"):
        marches = json.loads(path.read_bytes())["marches"]
        parts = [marches] if isinstance(marches, list) else marches.values()
        records = Counter(json.dumps(record, sort_keys=True) for part in parts for record in part)
        siret = path.name.split("-")[1]
        records_of[siret] = records_of.get(siret, Counter()) + records
    return records_of


def rejected_rows(crawl: Crawl) -> list[str]:
    return sorted(json.dumps(line, sort_keys=True) for line in crawl.rejected)


def check_same(done: Crawl, undisturbed: Crawl) -> None:
    """Hold a harvest that was interrupted against one that was not."""
    assert done.status == 0, done.output
    assert "Traceback" not in done.output
    summary, expected = done.summary, undisturbed.summary
    assert summary["balanced"]
    assert summary["counts"] == expected["counts"]
    assert summary["failures"] == []
    for name in ("status", "rejected_rules", "warnings", "repairs"):
        assert summary[name] == expected[name]
    assert per_buyer(done.folder) == per_buyer(undisturbed.folder)
    assert rejected_rows(done) == rejected_rows(undisturbed)
    in_json = [file for file in summary["files"] if file["name"].endswith(".json")]
    assert sum(file["records"] for file in in_json) == summary["counts"]["written"]
    assert {file["name"] for file in summary["files"]} == {
        path.name for path in (done.folder / "decp").iterdir()
    }
    # One run, whose folder holds nothing half written.
    assert {path.name for path in done.run.iterdir()} == {"summary.json", "rejected.jsonl"}
    assert list((done.folder / "runs").iterdir()) == [done.run]
    assert not list(done.folder.glob("store.sqlite-harvest-*"))


def in_folder(folder: Path) -> str:
    """The URL of the store that crawls have if they are not told another."""
    return f"sqlite:///{folder / 'store.sqlite'}"


def start(folder: Path, url: str, arguments: dict[str, str], **settings: str) -> Any:
    """Start a crawl whose log goes to a file."""
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            crawl_command(folder, url, arguments, settings),
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
        )


def requests(sandbox: Any) -> int:
    return sum(sandbox.stats()["requests"].values())


def wait_for(process: Any, sandbox: Any, more: int) -> bool:
    """Wait until a crawl has sent so many requests; ``False``: it ended before."""
    goal = requests(sandbox) + more
    while requests(sandbox) < goal:
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(scope="module")
def undisturbed(
    start_sandbox: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Crawl]:
    """A crawl of :data:`FEW` that nothing disturbs, by its further arguments."""
    done: dict[str, Crawl] = {}

    def run(**arguments: str) -> Crawl:
        name = arguments.get("detail", "always")
        if name not in done:
            folder = tmp_path_factory.mktemp(f"undisturbed-{name}")
            sandbox = start_sandbox(*FEW)
            process = start(folder, sandbox.url, MARCH | arguments)
            status = process.wait(120)
            done[name] = finished(status, (folder / "log").read_text(encoding="utf-8"), folder)
            assert status == 0, done[name].output
            counts = done[name].counts
            assert all(counts[door] for door in ("written", "superseded", "rejected"))
            sandbox.stop()
        return done[name]

    return run


class Harvest:
    """A harvest of a sandbox that is interrupted, and carried on by the same command. It sees to
    it that no reference is asked for again once it is stored.

    ``stored``: how many references were, at each interruption.
    """

    def __init__(
        self,
        sandbox: Any,
        crawl: Callable[..., Crawl],
        folder: Path,
        undisturbed: Crawl,
        arguments: dict[str, str],
        settings: dict[str, str],
    ):
        self.sandbox = sandbox
        self.folder = folder
        self.undisturbed = undisturbed
        self.arguments = arguments
        self.settings = settings
        self.stored: list[int] = []
        self._crawl = crawl
        self._given: dict[str, int] = {}

    def start(self, **settings: str) -> Any:
        """Start it in the background, with further settings."""
        return start(self.folder, self.sandbox.url, self.arguments, **self.settings | settings)

    def run(self, **options: Any) -> Crawl:
        """Run it to its end."""
        return self._crawl(self.sandbox.url, self.arguments, self.settings, **options)

    def settled(self) -> set[str]:
        """The references that are stored."""
        return settled(self.settings.get("DECP_STORE_URL", in_folder(self.folder)))

    def interrupt(self, process: Any, sign: signal.Signals = signal.SIGKILL) -> Crawl:
        """Send a started one a signal, and wait for its end."""
        process.send_signal(sign)
        log = self.folder / "log"
        stopped = finished(process.wait(30), log.read_text(encoding="utf-8"), self.folder)
        assert stopped.status == (3 if sign == signal.SIGTERM else -sign), stopped.output
        self.interrupted()
        return stopped

    def interrupted(self) -> None:
        """Note what is stored; to be called while no process runs."""
        self.check()
        given = self.sandbox.references()
        self._given = {reference: given.get(reference, 0) for reference in self.settled()}
        self.stored.append(len(self._given))

    def check(self) -> None:
        """Fail if what was stored has been asked for."""
        given = self.sandbox.references()
        assert {name: given.get(name, 0) for name in self._given} == self._given

    def carry_on(self) -> Crawl:
        """Run it to its end, which has to be that of the harvest that nothing disturbed."""
        done = self.run()
        self.check()
        check_same(done, self.undisturbed)
        return done


@pytest.fixture
def harvest(
    start_sandbox: Callable[..., Any],
    crawl: Callable[..., Crawl],
    undisturbed: Callable[..., Crawl],
    tmp_path: Path,
) -> Callable[..., Harvest]:
    """A harvest of a sandbox of :data:`FEW`, with further options of it."""

    def make(*options: object, detail: str = "always", **settings: str) -> Harvest:
        whole, arguments = undisturbed(detail=detail), MARCH | {"detail": detail}
        sandbox = start_sandbox(*FEW, *options)
        return Harvest(sandbox, crawl, tmp_path, whole, arguments, settings)

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("detail", "kills", "seed", "engine"),
    [
        ("always", 10, 1, "sqlite"),
        ("auto", 4, 2, "sqlite"),
        ("never", 4, 3, "sqlite"),
        ("always", 10, 1, "postgresql"),
    ],
)
def test_kill_9_at_random_moments(
    harvest: Callable[..., Harvest],
    request: pytest.FixtureRequest,
    detail: str,
    kills: int,
    seed: int,
    engine: str,
) -> None:
    settings = {}
    if engine == "postgresql":
        settings["DECP_STORE_URL"] = request.getfixturevalue("new_schema")()
    killed = harvest("--latency", 0.02, detail=detail, **settings)
    dice = random.Random(seed)
    total = sum(killed.undisturbed.summary["requests"].values())
    for _ in range(kills):
        process = killed.start(CONCURRENT_REQUESTS_PER_DOMAIN="4")
        wait_for(process, killed.sandbox, dice.randint(1, max(2, total // kills)))
        time.sleep(dice.uniform(0, 0.05))
        killed.interrupt(process)
    assert killed.stored == sorted(killed.stored)
    if detail == "always":
        assert len(set(killed.stored)) > kills / 2, killed.stored
    done = killed.carry_on()
    # Four requests at most were on their way at each kill: sent, and perhaps never answered.
    given = sum(killed.sandbox.references().values())
    assert done.summary["requests"]["detail"] <= given + 4 * kills


@pytest.mark.slow
def test_kill_9_while_files_are_written(harvest: Callable[..., Harvest]) -> None:
    killed = harvest()
    process = killed.start()
    while not list((killed.folder / "decp").glob("DECP-*")):
        assert process.poll() is None
        time.sleep(0.001)
    killed.interrupt(process)
    asked = requests(killed.sandbox)
    killed.carry_on()
    assert requests(killed.sandbox) == asked, "there was nothing left to ask"


@pytest.mark.slow
def test_a_disk_that_is_full_and_freed(harvest: Callable[..., Harvest]) -> None:
    filling = harvest()
    # From one on which the store's empty tables have no room; how many references each holds is
    # up to how many are written at a time.
    sizes = count(200_000, 200_000)
    while len(set(filling.stored) - {0}) < 2:
        size = next(sizes)
        full = filling.run(
            preexec_fn=lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )
        assert full.status == 1, full.output
        assert "Traceback" not in full.output
        filling.interrupted()
    assert filling.stored == sorted(filling.stored)
    assert filling.stored[0] == 0
    filling.carry_on()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sign", "jobdir"), [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGKILL, True)]
)
def test_stopped_and_carried_on_with_and_without_jobdir(
    harvest: Callable[..., Harvest], tmp_path: Path, sign: signal.Signals, jobdir: bool
) -> None:
    stopping = harvest("--latency", 0.02, **{"JOBDIR": str(tmp_path / "job")} if jobdir else {})
    for _ in range(2):
        process = stopping.start()
        assert wait_for(process, stopping.sandbox, 60)
        stopped = stopping.interrupt(process, sign)
        if sign == signal.SIGTERM:
            assert stopped.summary["status"] == "incomplete"
            assert stopped.summary["balanced"]
            assert stopped.counts["rows"] > stopped.counts["failed"]
    assert 0 < stopping.stored[0] < stopping.stored[1], stopping.stored
    stopping.carry_on()


@pytest.mark.slow
def test_a_service_that_is_down_and_comes_back(
    start_sandbox: Callable[..., Any], harvest: Callable[..., Harvest]
) -> None:
    lost = harvest("--down-after", 50, RETRY_TIMES="1")
    down = lost.run()
    assert down.status == 3, down.output
    assert down.summary["finish_reason"] == "service_down"
    assert down.summary["balanced"]
    assert down.summary["failures"]
    stored = lost.settled()
    assert 20 < len(stored) < 50
    port = urlsplit(lost.sandbox.url).port
    lost.sandbox.stop()
    # Another one: whatever it is asked for is asked for again.
    lost.sandbox = start_sandbox(*FEW, "--dume-port", port)
    lost.carry_on()
    assert not stored & set(lost.sandbox.references())


@pytest.mark.slow
def test_what_is_finished_starts_anew(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Crawl], tmp_path: Path
) -> None:
    sandbox = start_sandbox("--records", 30, *RECORDS)
    first = crawl(sandbox.url, MARCH)
    asked = requests(sandbox)
    second = crawl(sandbox.url, MARCH)
    assert first.status == second.status == 0
    assert second.run != first.run
    assert requests(sandbox) == 2 * asked
    assert second.counts["unchanged"] == first.counts["written"]
    assert second.counts["references"] == first.counts["references"]
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection:
        for table in ("found", "settled_rows", "tallies"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        facts = connection.execute("SELECT count(*), count(facts) FROM windows").fetchone()
        assert facts[0] > 0
        assert facts[1] == 0


@pytest.mark.slow
def test_another_command_is_another_harvest(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Crawl], tmp_path: Path
) -> None:
    sandbox = start_sandbox("--records", 60, *RECORDS, "--latency", 0.02)
    process = start(tmp_path, sandbox.url, MARCH)
    assert wait_for(process, sandbox, 10)
    process.kill()
    process.wait()
    other = crawl(sandbox.url, MARCH | {"type_de": "MP"})
    assert other.status == 0
    assert "carried on" not in other.output
    same = crawl(sandbox.url, MARCH)
    assert "carried on" in same.output
    assert same.summary["balanced"]
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.slow
def test_two_same_commands_at_once(
    start_sandbox: Callable[..., Any],
    undisturbed: Callable[..., Crawl],
    tmp_path: Path,
) -> None:
    sandbox = start_sandbox(*FEW, "--latency", 0.02)
    processes = []
    for number in range(2):
        with (tmp_path / f"log{number}").open("wb") as log:
            command = crawl_command(tmp_path, sandbox.url, MARCH, {})
            command[command.index("-O") + 1] = str(tmp_path / f"items{number}.jsonl")
            processes.append(
                subprocess.Popen(
                    command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=ENVIRONMENT
                )
            )
    for number, process in enumerate(processes):
        status = process.wait(120)
        log = (tmp_path / f"log{number}").read_text(encoding="utf-8")
        assert status == 0, log
        assert "carried on" not in log
        done = finished(status, log, tmp_path)
        assert done.summary["balanced"]
        assert done.counts["references"] == undisturbed().counts["references"]
        assert rejected_rows(done) == rejected_rows(undisturbed())
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert per_buyer(tmp_path) == per_buyer(undisturbed().folder)


@pytest.mark.slow
def test_what_cannot_be_had_does_not_keep_a_harvest_open_for_ever(
    serve: Callable[..., str], crawl: Callable[..., Crawl]
) -> None:
    """A reference that always fails is asked again once; then the same command starts anew."""
    asked: list[str | None] = []

    def service(request: dict[str, Any]) -> tuple[int, bytes]:
        asked.append(request.get("referenceUnique"))
        if asked[-1] == "AIFEDUME-bbbbbbbb":
            return 500, b""
        row = {"referenceUnique": "AIFEDUME-aaaaaaaa"}
        rows = [row] if asked[-1] else [row, {"referenceUnique": "AIFEDUME-bbbbbbbb"}]
        return 200, json.dumps({"response": {"donneesEssentielles": rows}}).encode()

    url = serve(service)
    once = {"RETRY_ENABLED": "False"}
    arguments = {"date": "2026-03-02"}
    first = crawl(url, arguments, once)
    assert sorted(asked, key=str) == ["AIFEDUME-aaaaaaaa", "AIFEDUME-bbbbbbbb", None]
    asked.clear()
    second = crawl(url, arguments, once)
    assert asked == ["AIFEDUME-bbbbbbbb"]
    assert first.status == second.status == 3
    assert second.run == first.run
    assert second.summary["counts"] == first.summary["counts"]
    asked.clear()
    third = crawl(url, arguments, once)
    assert None in asked
    assert third.run != first.run


def versions_of(reference: str, *objets: str) -> list[dict[str, Any]]:
    """Valid rows of one reference that differ by their objet."""
    made = next(generate(1, 5, date(2026, 3, 2), date(2026, 3, 2), faulty=0, trapped=0))
    return [made.served.row | {"referenceUnique": reference, "objet": text} for text in objets]


def service_of(*rows: dict[str, Any]) -> Callable[[dict[str, Any]], tuple[int, bytes]]:
    def service(asked: dict[str, Any]) -> tuple[int, bytes]:
        reference = asked.get("referenceUnique")
        given = [row for row in rows if reference in (None, row["referenceUnique"])]
        return 200, json.dumps({"response": {"donneesEssentielles": given}}).encode()

    return service


@pytest.mark.slow
@pytest.mark.parametrize("how", ["drop", "error"])
def test_a_row_that_another_pipeline_loses_keeps_its_reference_from_being_settled(
    serve: Callable[..., str], crawl: Callable[..., Crawl], how: str
) -> None:
    url = serve(service_of(*versions_of("A", "one", "lose me", "three"), *versions_of("B", "b")))
    day = {"date": "2026-03-02"}
    pipelines = {
        "dume_spider.pipelines.validation.ValidationPipeline": 300,
        "losing.LosingPipeline": 350,
        "dume_spider.pipelines.deduplication.DeduplicationPipeline": 400,
        "dume_spider.pipelines.decp_files.DecpFilesPipeline": 500,
    }
    environment = {"PYTHONPATH": "tests", "LOSE": how}
    lost = crawl(url, day, {"ITEM_PIPELINES": json.dumps(pipelines)}, env=environment)
    assert lost.status == 1, lost.output
    assert {
        "drop": "WARNING: [DECP-12] A pipeline dropped A: lost\n",
        "error": "ERROR: [DECP-06] A pipeline failed on A\n",
    }[how] in lost.output
    assert settled(in_folder(lost.folder)) == {"B"}
    done = crawl(url, day)
    assert done.status == 0, done.output
    assert done.run == lost.run
    assert done.counts["references"] == 2
    assert done.counts["rows"] == 4


def test_more_versions_than_scrapy_processes_at_once(
    serve: Callable[..., str], crawl: Callable[..., Crawl]
) -> None:
    url = serve(service_of(*versions_of("A", "one", "two", "three")))
    done = crawl(url, {"date": "2026-03-02"}, {"CONCURRENT_ITEMS": "1"})
    assert done.status == 0, done.output
    assert done.counts["rows"] == 3
    assert done.counts["written"] == 1
