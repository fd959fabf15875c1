"""A real Scrapyd: the project deployed to it as docs/deployment.md says, jobs run by it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import servers
from jobs import BY_SPIDER, Job

pytestmark = pytest.mark.slow

PROJECT = "dume_spider"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Scrapyd:
    """A running Scrapyd with the project deployed."""

    url: str
    logs: Path

    def ask(self, what: str, **values: Any) -> dict[str, Any]:
        """Call its API: a GET without values, else a POST."""
        data = urllib.parse.urlencode(values, doseq=True).encode() if values else None
        with urllib.request.urlopen(f"{self.url}/{what}", data, timeout=30) as response:
            answer = json.load(response)
        assert answer["status"] == "ok", answer
        return answer

    def schedule(self, job: Job, settings: dict[str, str], **more: str) -> str:
        given = [f"{name}={value}" for name, value in (settings | more).items()]
        answer = self.ask(
            "schedule.json", project=PROJECT, spider=job.spider, setting=given, **job.arguments
        )
        return answer["jobid"]

    def wait(self, job: str) -> str:
        """Wait until a job is over; its log."""
        deadline = time.monotonic() + 120
        while not any(
            each["id"] == job for each in self.ask(f"listjobs.json?project={PROJECT}")["finished"]
        ):
            assert time.monotonic() < deadline, self.log(job)
            time.sleep(0.2)
        return self.log(job)

    def log(self, job: str) -> str:
        paths = list(self.logs.glob(f"*/*/{job}.log"))
        return paths[0].read_text(encoding="utf-8") if paths else ""


@pytest.fixture(scope="module")
def scrapyd(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scrapyd]:
    for name in ("scrapyd", "scrapyd-deploy"):
        if not (BIN / name).exists():
            pytest.skip(f"needs {name} (pip install -r requirements-dev.txt)")
    folder = tmp_path_factory.mktemp("scrapyd")
    port = servers.free_port()
    (folder / "scrapyd.conf").write_text(
        f"[scrapyd]\nhttp_port = {port}\nbind_address = 127.0.0.1\n"
        "poll_interval = 0.2\nmax_proc = 2\n",
        encoding="utf-8",
    )
    with servers.running([BIN / "scrapyd"], port, folder / "log", cwd=folder):
        configuration = clone / "scrapy.cfg"
        text = configuration.read_text(encoding="utf-8")
        assert "url = http://localhost:6800/" in text
        configuration.write_text(text.replace("localhost:6800", f"127.0.0.1:{port}"))
        done = subprocess.run(
            [BIN / "scrapyd-deploy"], cwd=clone, capture_output=True, text=True, check=False
        )
        configuration.write_text(text)
        assert f'"project": "{PROJECT}"' in done.stdout, done.stdout + done.stderr
        server = Scrapyd(f"http://127.0.0.1:{port}", folder / "logs")
        spiders = server.ask(f"listspiders.json?project={PROJECT}")["spiders"]
        assert set(spiders) >= set(BY_SPIDER)
        yield server


def test_a_scheduled_job(scrapyd: Scrapyd, job: Job, sandbox: Any, tmp_path: Path) -> None:
    log = scrapyd.wait(scrapyd.schedule(job, job.settings(sandbox, tmp_path)))
    summary = job.summary(tmp_path)
    assert summary["status"] == "complete", log
    assert f"Run {summary['run']} is complete" in log
    assert "Traceback" not in log
    assert "_job" not in summary["arguments"]
    files = {path.name for path in (tmp_path / "decp").iterdir()}
    assert files == {file["name"] for file in summary["files"]}
    assert files


def test_a_job_that_was_cancelled_is_carried_on(
    scrapyd: Scrapyd, start_sandbox: Callable[..., Any], tmp_path: Path
) -> None:
    job = BY_SPIDER["dume"]
    sandbox = start_sandbox(*job.sandbox)
    settings = job.settings(sandbox, tmp_path)
    first = scrapyd.schedule(job, settings, DOWNLOAD_DELAY="0.2")
    deadline = time.monotonic() + 60
    while len(sandbox.references()) < 10:
        assert time.monotonic() < deadline, scrapyd.log(first)
        time.sleep(0.1)
    scrapyd.ask("cancel.json", project=PROJECT, job=first)
    log = scrapyd.wait(first)
    assert "is incomplete (shutdown)" in log
    kept = int(re.findall(r"Counts: (\d+) rows", log)[-1])
    assert kept
    log = scrapyd.wait(scrapyd.schedule(job, settings))
    summary = job.summary(tmp_path)
    assert f"Run {summary['run']} carried on" in log
    assert summary["status"] == "complete", log
    assert summary["balanced"]
    # At most what was on its way when the job was cancelled is asked for again.
    asked = sandbox.references()
    assert sum(asked.values()) <= len(asked) + 1
    assert {file["name"] for file in summary["files"]} == {
        path.name for path in (tmp_path / "decp").iterdir()
    }


def test_bad_arguments_end_a_job_before_the_first_request(
    scrapyd: Scrapyd, start_sandbox: Callable[..., Any], tmp_path: Path
) -> None:
    job = BY_SPIDER["dume"]
    sandbox = start_sandbox(*job.sandbox)
    settings = job.settings(sandbox, tmp_path)
    bad = Job(job.spider, {"dat": "2026-03-01"}, (), {})
    log = scrapyd.wait(scrapyd.schedule(bad, settings))
    assert "dume: unknown argument 'dat' ('2026-03-01'); accepted: " in log
    assert not any(sandbox.stats()["requests"].values())
