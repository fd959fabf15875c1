"""Jobs of Zyte Scrapy Cloud: its own entry point runs them and reports through a pipe."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import jobs
import pytest
from crawling import ROOT
from jobs import DAYS, DUME, PUBLISH, Job
from logs import check
from publishing import new_dataset

from dume_spider.sandbox.boamp_rows import generate_notices
from dume_spider.sandbox.generator import generated_buyers

START = Path(sys.executable).with_name("start-crawl")
#: What a job may use, in MB.
LIMIT = 950
#: Starts a command from a small process, as the platform does: the peak of memory that a
#: process is told, and is stopped for, begins with what its parent had.
LAUNCH = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
with open("memory", "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""


def requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def test_the_requirements_are_those_of_the_project_and_two_more() -> None:
    tests = requirements("requirements-dev.txt")
    further = [line for line in tests if line.startswith(("psycopg", "boto3"))]
    assert len(further) == 2
    assert sorted(requirements("requirements-deploy.txt")) == sorted(
        requirements("requirements.txt") + further
    )


class CloudJob:
    """A running job: the lines of its pipe by kind, as they come.

    ``key`` is that of the portal: the platform puts it into the environment of the job.
    """

    def __init__(
        self,
        folder: Path,
        spider: str,
        arguments: dict[str, str],
        settings: dict[str, str],
        key: str,
    ):
        self.folder = folder
        folder.mkdir()
        pipe = folder / "pipe"
        os.mkfifo(pipe)
        self.lines: dict[str, list[Any]] = defaultdict(list)
        self._reader = threading.Thread(target=self._read, args=(pipe,))
        self._reader.start()
        data = {
            "key": "1/2/3",
            "auth": "no secret",
            "spider": spider,
            "spider_args": arguments,
        }
        self._output = (folder / "output").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, START],
            cwd=folder,
            start_new_session=True,
            stdout=self._output,
            stderr=self._output,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(folder),
                "SCRAPY_SETTINGS_MODULE": "dume_spider.settings",
                "SHUB_JOB_DATA": json.dumps(data),
                # The settings of the project, as its owner has put them in the dashboard.
                "SHUB_SETTINGS": json.dumps({"project_settings": settings}),
                "SHUB_FIFO_PATH": str(pipe),
                "SHUB_JOB_MEMORY_LIMIT": str(LIMIT),
                jobs.KEY: key,
            },
        )

    def _read(self, pipe: Path) -> None:
        with pipe.open("rb") as stream:
            for line in stream:
                kind, _, content = line.partition(b" ")
                self.lines[kind.decode()].append(json.loads(content))

    def wait(self) -> int:
        """Wait until it has ended: its exit status."""
        status = self.process.wait()
        self._reader.join(30)
        self._output.close()
        check(self.log)
        return status

    def kill(self) -> None:
        """Kill it, and wait."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()

    @property
    def memory(self) -> float:
        """The most memory it had, in MB; known once it has ended by itself."""
        return int((self.folder / "memory").read_text()) / 1024

    @property
    def log(self) -> str:
        """As Scrapy writes it, without the times."""
        parts = [(line["message"].partition("] "), line["level"]) for line in self.lines["LOG"]]
        return "\n".join(
            f"{name}] {logging.getLevelName(level)}: {text}" for (name, _, text), level in parts
        )


@dataclass(frozen=True)
class Cloud:
    """A project whose store and files are on servers of the test's own."""

    folder: Path
    settings: dict[str, str]
    s3: Any
    bucket: str
    started: list[CloudJob] = field(default_factory=list)

    def run(self, name: str, job: Job, sandbox: Any, **more: str) -> CloudJob:
        """Start a job, with further settings."""
        given = {setting: sandbox.ready[key] for setting, key in jobs.ADDRESSES.items()}
        self.started.append(
            CloudJob(
                self.folder / name,
                job.spider,
                job.arguments(sandbox, self.folder),
                self.settings | given | job.further | more,
                jobs.portal(sandbox).keys["owner"],
            )
        )
        return self.started[-1]

    def files(self) -> dict[str, bytes]:
        """The files in the bucket."""
        return {
            found["Key"]: self.s3.get_object(Bucket=self.bucket, Key=found["Key"])["Body"].read()
            for found in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        }


@pytest.fixture
def cloud(new_schema: Callable[[], str], s3_url: str, tmp_path: Path) -> Iterator[Cloud]:
    if not START.exists():
        pytest.skip("needs scrapinghub-entrypoint-scrapy (pip install -r requirements-dev.txt)")
    import boto3

    name = f"zyte-{secrets.token_hex(6)}"
    account = {"aws_access_key_id": "test", "aws_secret_access_key": "secret"}
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1", **account)
    client.create_bucket(Bucket=name)
    settings = {
        "DECP_STORE_URL": new_schema(),
        "DECP_FILES_URI": f"s3://test:secret@{name}/decp",
        "AWS_ENDPOINT_URL": s3_url,
        "AWS_REGION_NAME": "us-east-1",
        "DOWNLOAD_DELAY": "0",
    }
    cloud = Cloud(tmp_path, settings, client, name)
    yield cloud
    for job in cloud.started:
        if job.process.returncode is None:
            job.kill()


def records_in(files: dict[str, bytes]) -> Counter[str]:
    found: Counter[str] = Counter()
    for data in files.values():
        marches = json.loads(data)["marches"]
        for part in [marches] if isinstance(marches, list) else marches.values():
            found.update(json.dumps(record, sort_keys=True) for record in part)
    return found


def check_items(job: Job, items: list[dict[str, Any]], cloud: Cloud, *, untold: int = 0) -> None:
    """Hold what the item store got against the files, or against what was served.

    ``untold`` is how many it may lack: those that a job had saved, and not told, when it was
    killed.
    """
    for item in items:
        assert job.keys <= item.keys()
    if job.spider == "dume":
        kept = records_in(cloud.files())
        told = Counter(json.dumps(item["record"], sort_keys=True) for item in items)
    else:
        days = [date.fromisoformat(day) for day in DAYS.values()]
        buyers = generated_buyers(jobs.RECORDS, 0, *days)
        notices = [*generate_notices(jobs.NOTICES, 0, *days, buyers)]
        kept = Counter(f"{notice['idweb']} {notice['donnees']}" for notice in notices)
        told = Counter(f"{item['idweb']} {item['donnees_raw']}" for item in items)
        assert cloud.files() == {}
    assert told <= kept
    assert (kept - told).total() <= untold


def check_ended(ran: CloudJob, sandbox: Any) -> None:
    """Wait until a job has ended well, and look at what it left."""
    assert ran.wait() == 0, ran.log
    lines = ran.lines
    assert lines["FIN"] == [{"outcome": "finished"}]
    assert "is complete: " in ran.log
    assert "Traceback" not in ran.log
    assert {line["status"] for line in lines["REQ"]} <= {200, 201}
    assert lines["STA"][-1]["stats"].get("item_scraped_count", 0) == len(lines["ITM"])
    assert ran.memory < LIMIT / 2
    # Neither the key of the portal nor the account of the object storage.
    told = json.dumps(lines)
    assert "secret" not in told.replace("no secret", "")
    jobs.look_for_key(jobs.portal(sandbox).keys["owner"], ran.folder, told)


@pytest.mark.slow
def test_a_job(cloud: Cloud, harvest: Job, sandbox: Any) -> None:
    ran = cloud.run("job", harvest, sandbox)
    check_ended(ran, sandbox)
    assert ran.lines["ITM"]
    check_items(harvest, ran.lines["ITM"], cloud)


@pytest.mark.slow
def test_a_job_that_publishes(cloud: Cloud, sandbox: Any) -> None:
    """Files that are on its disk; here another job's."""
    for job in PUBLISH.steps():
        ran = cloud.run(job.spider, job, sandbox, DECP_FILES_URI=str(cloud.folder / "decp"))
        check_ended(ran, sandbox)
    assert {line["method"] for line in ran.lines["REQ"]} == {"GET", "POST", "PUT"}
    assert ran.lines["ITM"] == []
    (path,) = ran.folder.glob("data/runs/*/summary.json")
    files = {
        path.name: hashlib.sha1(path.read_bytes()).hexdigest()
        for path in (cloud.folder / "decp").iterdir()
    }
    jobs.check_published(sandbox, json.loads(path.read_text(encoding="utf-8")), files)


@pytest.mark.slow
def test_a_job_whose_files_are_published(cloud: Cloud, sandbox: Any) -> None:
    """By setting, from the object storage: one job, with one outcome and its own items."""
    dataset = new_dataset(jobs.portal(sandbox))
    ran = cloud.run("job", DUME, sandbox, PUBLISH_DATASET=dataset)
    check_ended(ran, sandbox)
    check_items(DUME, ran.lines["ITM"], cloud)
    files = {
        name.removeprefix("decp/"): hashlib.sha1(data).hexdigest()
        for name, data in cloud.files().items()
    }
    (path,) = ran.folder.glob("data/runs/publish-*/summary.json")
    jobs.check_published(sandbox, json.loads(path.read_text(encoding="utf-8")), files)


@pytest.mark.slow
def test_a_job_after_one_that_was_killed(
    cloud: Cloud, harvest: Job, start_sandbox: Callable[..., Any]
) -> None:
    """What the first has got is not on its disk, which is lost."""
    sandbox = start_sandbox(*jobs.SANDBOX)
    killed = cloud.run("killed", harvest, sandbox, DOWNLOAD_DELAY="0.1")
    while len(killed.lines["ITM"]) < 10:
        assert killed.process.poll() is None, killed.log
        time.sleep(0.02)
    killed.kill()
    assert not killed.lines["FIN"]
    again = cloud.run("again", harvest, sandbox)
    check_ended(again, sandbox)
    assert " carried on: " in again.log
    items = {item[harvest.key]: item for job in (killed, again) for item in job.lines["ITM"]}
    check_items(harvest, list(items.values()), cloud, untold=10)


@pytest.mark.slow
def test_a_bad_argument(cloud: Cloud, start_sandbox: Callable[..., Any]) -> None:
    ran = cloud.run("bad", Job("dume", {"dat": "x"}), start_sandbox(*jobs.SANDBOX))
    assert ran.wait() == 1
    assert "dume: unknown argument 'dat' ('x'); accepted: " in ran.log
    assert not ran.lines["REQ"]
