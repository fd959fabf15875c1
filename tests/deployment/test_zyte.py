"""Jobs of Zyte Scrapy Cloud: its own entry point runs them and reports through a pipe."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from crawling import ROOT
from jobs import BY_SPIDER, Job

START = Path(sys.executable).with_name("start-crawl")
#: What a job may use, in MB.
LIMIT = 950


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
    """A running job: the lines of its pipe by kind, as they come."""

    def __init__(self, folder: Path, job: Job, settings: dict[str, str]):
        folder.mkdir()
        pipe = folder / "pipe"
        os.mkfifo(pipe)
        self.lines: dict[str, list[Any]] = defaultdict(list)
        self._reader = threading.Thread(target=self._read, args=(pipe,))
        self._reader.start()
        data = {
            "key": "1/2/3",
            "auth": "no secret",
            "spider": job.spider,
            "spider_args": dict(job.arguments),
        }
        # The settings of the project, as its owner has put them in the dashboard.
        self._output = (folder / "output").open("wb")
        self.process = subprocess.Popen(
            [START],
            cwd=folder,
            stdout=self._output,
            stderr=self._output,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(folder),
                "SCRAPY_SETTINGS_MODULE": "dume_spider.settings",
                "SHUB_JOB_DATA": json.dumps(data),
                "SHUB_SETTINGS": json.dumps({"project_settings": settings}),
                "SHUB_FIFO_PATH": str(pipe),
                "SHUB_JOB_MEMORY_LIMIT": str(LIMIT),
            },
        )

    def _read(self, pipe: Path) -> None:
        with pipe.open("rb") as stream:
            for line in stream:
                kind, _, content = line.partition(b" ")
                self.lines[kind.decode()].append(json.loads(content))

    def wait(self) -> tuple[int, float]:
        """Wait until it has ended: its exit status, and the most memory it had, in MB."""
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self._reader.join(30)
        self._output.close()
        return self.process.returncode, used.ru_maxrss / 1024

    @property
    def log(self) -> str:
        return "\n".join(line["message"] for line in self.lines["LOG"])


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
        given = {setting: sandbox.ready[key] for setting, key in job.addresses.items()}
        self.started.append(CloudJob(self.folder / name, job, self.settings | given | more))
        return self.started[-1]

    def files(self) -> dict[str, bytes]:
        """The files in the bucket."""
        return {
            found["Key"]: self.s3.get_object(Bucket=self.bucket, Key=found["Key"])["Body"].read()
            for found in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        }


@pytest.fixture
def cloud(postgresql: str, s3_url: str, tmp_path: Path) -> Iterator[Cloud]:
    if not START.exists():
        pytest.skip("needs scrapinghub-entrypoint-scrapy (pip install -r requirements-dev.txt)")
    import boto3
    import psycopg

    name = f"zyte-{secrets.token_hex(6)}"
    account = {"aws_access_key_id": "test", "aws_secret_access_key": "secret"}
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1", **account)
    client.create_bucket(Bucket=name)
    settings = {
        "DECP_STORE_URL": f"{postgresql}?options=-csearch_path%3D{name.replace('-', '_')}",
        "DECP_FILES_URI": f"s3://test:secret@{name}/decp",
        "AWS_ENDPOINT_URL": s3_url,
        "AWS_REGION_NAME": "us-east-1",
        "DOWNLOAD_DELAY": "0",
    }
    address = postgresql.replace("+psycopg", "")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name.replace('-', '_')}")
        cloud = Cloud(tmp_path, settings, client, name)
        yield cloud
        for job in cloud.started:
            if job.process.returncode is None:
                job.process.kill()
                job.wait()
        connection.execute(f"DROP SCHEMA {name.replace('-', '_')} CASCADE")


def records_in(files: dict[str, bytes]) -> list[str]:
    found = []
    for data in files.values():
        marches = json.loads(data)["marches"]
        for part in [marches] if isinstance(marches, list) else marches.values():
            found += [json.dumps(record, sort_keys=True) for record in part]
    return sorted(found)


def records_of(items: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(item["record"], sort_keys=True) for item in items)


@pytest.mark.slow
def test_a_job(cloud: Cloud, job: Job, sandbox: Any) -> None:
    ran = cloud.run("job", job, sandbox)
    status, memory = ran.wait()
    lines = ran.lines
    assert status == 0, ran.log
    assert lines["FIN"] == [{"outcome": "finished"}]
    assert "is complete: " in ran.log
    assert "secret" not in ran.log.replace("no secret", "")
    assert "Traceback" not in ran.log
    assert {line["status"] for line in lines["REQ"]} == {200}
    items = lines["ITM"]
    assert items
    assert {"reference", "type", "regime", "record"} <= items[0].keys()
    assert lines["STA"][-1]["stats"]["item_scraped_count"] == len(items)
    assert records_in(cloud.files()) == records_of(items)
    assert memory < LIMIT / 2


@pytest.mark.slow
def test_a_job_after_one_that_was_killed(cloud: Cloud, start_sandbox: Callable[..., Any]) -> None:
    """What the first has got is not on its disk, which is lost."""
    job = BY_SPIDER["dume"]
    sandbox = start_sandbox(*job.sandbox)
    killed = cloud.run("killed", job, sandbox, DOWNLOAD_DELAY="0.1")
    while len(killed.lines["ITM"]) < 10:
        assert killed.process.poll() is None, killed.log
        time.sleep(0.02)
    killed.process.kill()
    killed.wait()
    assert not killed.lines["FIN"]
    again = cloud.run("again", job, sandbox)
    status, _ = again.wait()
    assert status == 0, again.log
    assert " carried on: " in again.log
    items = {item["reference"]: item for job in (killed, again) for item in job.lines["ITM"]}
    assert records_in(cloud.files()) == records_of(list(items.values()))


@pytest.mark.slow
def test_a_bad_argument(cloud: Cloud, start_sandbox: Callable[..., Any]) -> None:
    job = BY_SPIDER["dume"]
    bad = Job(job.spider, {"dat": "x"}, job.sandbox, job.addresses)
    ran = cloud.run("bad", bad, start_sandbox(*job.sandbox))
    status, _ = ran.wait()
    assert status == 1
    assert "dume: unknown argument 'dat' ('x'); accepted: " in ran.log
    assert not ran.lines["REQ"]
