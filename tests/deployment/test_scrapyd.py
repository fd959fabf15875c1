"""A real Scrapyd: the project deployed to it as docs/deployment.md says, jobs run by it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import servers
from crawling import ROOT
from jobs import BY_SPIDER, Job

from dume_spider.spiders.base import today

pytestmark = pytest.mark.slow

PROJECT = "dume_spider"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Scrapyd:
    """A running Scrapyd with the project deployed."""

    url: str
    folder: Path

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
        paths = list((self.folder / "logs").glob(f"*/*/{job}.log"))
        return paths[0].read_text(encoding="utf-8") if paths else ""


DOCUMENTATION = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scrapyd(
    clone: Path, start_sandbox: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scrapyd]:
    """Set up as docs/deployment.md says, in another folder than ``/srv/dume``."""
    for name in ("scrapyd", "scrapyd-deploy"):
        if not (BIN / name).exists():
            pytest.skip(f"needs {name} (pip install -r requirements-dev.txt)")
    folder = tmp_path_factory.mktemp("scrapyd")
    port = servers.free_port()
    options = "".join(re.findall(r"^    (\[scrapyd\]\n)((?:    .+\n)+)", DOCUMENTATION, re.M)[0])
    (folder / "scrapyd.conf").write_text(
        f"{textwrap.dedent(options)}\nhttp_port = {port}\npoll_interval = 0.2\nmax_proc = 2\n",
        encoding="utf-8",
    )
    variables = re.findall(r"^    export (\w+)=(\S*/srv/dume\S*)$", DOCUMENTATION, re.M)
    assert len(variables) == 3
    yesterday = str(today() - timedelta(days=1))
    environment = {name: value.replace("/srv/dume", str(folder)) for name, value in variables}
    environment |= {
        "DUME_API_URL": start_sandbox("--records", 9, "--from", yesterday, "--to", yesterday).url
    }
    with servers.running(
        [BIN / "scrapyd"], port, folder / "log", cwd=folder, env=os.environ | environment
    ):
        configuration = clone / "scrapy.cfg"
        text = configuration.read_text(encoding="utf-8")
        assert "url = http://localhost:6800/" in text
        configuration.write_text(text.replace("localhost:6800", f"127.0.0.1:{port}"))
        done = subprocess.run(
            [BIN / "scrapyd-deploy"], cwd=clone, capture_output=True, text=True, check=False
        )
        configuration.write_text(text)
        assert f'"project": "{PROJECT}"' in done.stdout, done.stdout + done.stderr
        server = Scrapyd(f"http://127.0.0.1:{port}", folder)
        spiders = server.ask(f"listspiders.json?project={PROJECT}")["spiders"]
        assert set(spiders) >= set(BY_SPIDER)
        yield server


def test_the_line_of_the_crontab(scrapyd: Scrapyd) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl (apt-get install curl)")
    (line,) = re.findall(r"^    30 5 \* \* \* (curl .*)$", DOCUMENTATION, re.M)
    done = subprocess.run(
        ["bash", "-c", line.replace("http://localhost:6800", scrapyd.url)],
        capture_output=True,
        text=True,
        check=True,
    )
    log = scrapyd.wait(json.loads(done.stdout)["jobid"])
    (path,) = (scrapyd.folder / "runs").glob("*/summary.json")
    summary = json.loads(path.read_text(encoding="utf-8"))
    assert summary["status"] == "complete", log
    assert {file["name"] for file in summary["files"]} == {
        path.name for path in (scrapyd.folder / "decp").iterdir()
    }


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
