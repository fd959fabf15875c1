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

import jobs
import pytest
import servers
from crawling import ROOT
from jobs import DUME, PUBLISH, Job
from logs import check
from publishing import new_dataset

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

    def schedule(self, job: Job, sandbox: Any, folder: Path, **more: str) -> str:
        settings = job.settings(sandbox, folder) | more
        answer = self.ask(
            "schedule.json",
            project=PROJECT,
            spider=job.spider,
            setting=[f"{name}={value}" for name, value in settings.items()],
            **job.arguments(sandbox, folder),
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
        log = self.log(job)
        check(log)
        return log

    def log(self, job: str) -> str:
        paths = list((self.folder / "logs").glob(f"*/*/{job}.log"))
        return paths[0].read_text(encoding="utf-8") if paths else ""


DOCUMENTATION = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scrapyd(
    clone: Path,
    sandbox: Any,
    start_sandbox: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
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
    assert f"    export {jobs.KEY}=" in DOCUMENTATION
    yesterday = str(today() - timedelta(days=1))
    daily = start_sandbox(
        *("--records", 9, "--boamp-port", 0, "--boamp-records", 30),
        *("--from", yesterday, "--to", yesterday),
    )
    environment = {name: value.replace("/srv/dume", str(folder)) for name, value in variables}
    environment |= {
        "DUME_API_URL": daily.ready["dume"],
        "BOAMP_API_URL": daily.ready["boamp"],
        "DATAGOUV_API_URL": sandbox.ready["datagouv"],
        jobs.KEY: jobs.portal(sandbox).keys["owner"],
        "DECP_STRUCTURE": "plateforme",
        "DECP_PLATFORM_SIRET": jobs.SIRET,
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
        assert set(spiders) == {job.spider for job in jobs.JOBS}
        yield server
    jobs.look_for_key(environment[jobs.KEY], folder)


def test_the_lines_of_the_crontab(scrapyd: Scrapyd, sandbox: Any) -> None:
    """A job of each spider, one after the other; a second publication finds nothing to do."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl (apt-get install curl)")
    dataset = new_dataset(jobs.portal(sandbox))
    lines = re.findall(r"^    \d+ \d+ \* \* \* (curl .*)$", DOCUMENTATION, re.M)
    assert len(lines) == len(jobs.JOBS)
    for line in [*lines, lines[-1]]:
        here = (
            line.replace("http://localhost:6800", scrapyd.url)
            .replace("/srv/dume", str(scrapyd.folder))
            .replace("DATASET", dataset)
        )
        done = subprocess.run(
            ["bash", "-c", here], capture_output=True, text=True, check=True, timeout=60
        )
        log = scrapyd.wait(json.loads(done.stdout)["jobid"])
        assert re.search(r"Run [a-z]+-\S+ is complete: ", log), log
        assert "Traceback" not in log
    done = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (scrapyd.folder / "runs").glob("*/summary.json")
    ]
    done.sort(key=lambda summary: summary["finished"])
    assert [summary["spider"] for summary in done] == ["dume", "boamp", "publish", "publish"]
    files = {file["name"]: file["sha1"] for file in done[0]["files"]}
    assert set(files) == {path.name for path in (scrapyd.folder / "decp").iterdir()}
    assert done[1]["counts"]["new"]
    jobs.check_published(sandbox, done[2], files)
    assert {each["action"] for each in done[3]["published"]} == {"unchanged"}


def test_a_scheduled_job(scrapyd: Scrapyd, job: Job, sandbox: Any, tmp_path: Path) -> None:
    for step in job.steps():
        log = scrapyd.wait(scrapyd.schedule(step, sandbox, tmp_path))
        summary = step.summary(tmp_path)
        assert summary["status"] == "complete", log
        assert f"Run {summary['run']} is complete" in log
        assert "Traceback" not in log
        assert "_job" not in summary["arguments"]
        jobs.look_for_key(jobs.portal(sandbox).keys["owner"], tmp_path, log)
    assert summary["counts"]["new"]
    if job.spider == "boamp":
        assert summary["counts"]["new"] == sandbox.ready["boamp_rows"]
        return
    files = {file["name"]: file["sha1"] for file in DUME.summary(tmp_path)["files"]}
    assert set(files) == {path.name for path in (tmp_path / "decp").iterdir()}
    assert files
    if job.spider == "publish":
        jobs.check_published(sandbox, summary, files)


def test_a_job_whose_files_are_published(scrapyd: Scrapyd, sandbox: Any, tmp_path: Path) -> None:
    """By setting: in the same job, whose log tells of both runs."""
    dataset = new_dataset(jobs.portal(sandbox))
    log = scrapyd.wait(scrapyd.schedule(DUME, sandbox, tmp_path, PUBLISH_DATASET=dataset))
    summary, published = DUME.summary(tmp_path), PUBLISH.summary(tmp_path)
    for run in (summary, published):
        assert f"Run {run['run']} is complete" in log
    assert "Traceback" not in log
    files = {file["name"]: file["sha1"] for file in summary["files"]}
    jobs.check_published(sandbox, published, files)
    jobs.look_for_key(jobs.portal(sandbox).keys["owner"], tmp_path, log)


def test_a_job_that_was_cancelled_is_carried_on(
    scrapyd: Scrapyd, harvest: Job, start_sandbox: Callable[..., Any], tmp_path: Path
) -> None:
    sandbox = start_sandbox(*jobs.SANDBOX)
    first = scrapyd.schedule(harvest, sandbox, tmp_path, DOWNLOAD_DELAY="0.2")
    deadline = time.monotonic() + 60
    while len(sandbox.references(harvest.spider)) < 10:
        assert time.monotonic() < deadline, scrapyd.log(first)
        time.sleep(0.1)
    scrapyd.ask("cancel.json", project=PROJECT, job=first)
    log = scrapyd.wait(first)
    assert "is incomplete (shutdown)" in log
    kept = int(re.findall(r"Counts: (\d+) rows", log)[-1])
    assert kept
    log = scrapyd.wait(scrapyd.schedule(harvest, sandbox, tmp_path))
    summary = harvest.summary(tmp_path)
    assert f"Run {summary['run']} carried on" in log
    assert summary["status"] == "complete", log
    assert summary["balanced"]
    # At most what was on its way when the job was cancelled is asked for again.
    asked = sandbox.references(harvest.spider)
    assert sum(asked.values()) <= len(asked) + 1
    assert {file["name"] for file in summary["files"]} == {
        path.name for path in tmp_path.glob("decp/*")
    }


def test_bad_arguments_end_a_job_before_the_first_request(
    scrapyd: Scrapyd, start_sandbox: Callable[..., Any], tmp_path: Path
) -> None:
    sandbox = start_sandbox(*jobs.SANDBOX)
    bad = Job("dume", {"dat": "2026-03-01"})
    log = scrapyd.wait(scrapyd.schedule(bad, sandbox, tmp_path))
    assert "dume: unknown argument 'dat' ('2026-03-01'); accepted: " in log
    assert not any(sandbox.stats()["requests"].values())
