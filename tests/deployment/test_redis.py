"""scrapy-redis as the scheduler, by settings alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jobs
import pytest
import servers
from crawling import ROOT, settled
from jobs import PUBLISH, Job
from logs import check

pytestmark = pytest.mark.slow

#: As in docs/deployment.md.
SETTINGS = {
    "SCHEDULER": "scrapy_redis.scheduler.Scheduler",
    "DUPEFILTER_CLASS": "scrapy_redis.dupefilter.RFPDupeFilter",
    "SCHEDULER_QUEUE_KEY": "dume:1:requests",
    "SCHEDULER_FLUSH_ON_START": "True",
}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a server that keeps nothing on disk."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs redis-server (apt-get install redis-server)")
    library = pytest.importorskip("redis")
    pytest.importorskip("scrapy_redis")
    folder = tmp_path_factory.mktemp("redis")
    port = servers.free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    with servers.running(command, port, folder / "log"):
        client = library.Redis("127.0.0.1", port)
        yield client
        client.close()


def settings_for(job: Job, redis: Any) -> dict[str, str]:
    port = redis.connection_pool.connection_kwargs["port"]
    return SETTINGS | {
        "REDIS_URL": f"redis://127.0.0.1:{port}",
        "SCHEDULER_QUEUE_KEY": f"{job.spider}:1:requests",
    }


def test_the_settings_are_those_of_the_documentation() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    for name, value in SETTINGS.items():
        assert f"-s {name}={value}" in text


def run(job: Job, sandbox: Any, folder: Path, settings: dict[str, str]) -> dict[str, bytes]:
    """Run a job to its end; the files."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        job.command(sandbox, folder, settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {jobs.KEY: jobs.portal(sandbox).keys["owner"]},
    )
    assert done.returncode == 0, done.stderr
    check(done.stderr)
    return {path.name: path.read_bytes() for path in folder.glob("decp/*")}


def test_a_harvest(harvest: Job, sandbox: Any, redis: Any, tmp_path: Path) -> None:
    plain = run(harvest, sandbox, tmp_path / "plain", {})
    before = redis.info("stats")["total_commands_processed"]
    assert run(harvest, sandbox, tmp_path / "redis", settings_for(harvest, redis)) == plain
    without, summary = (harvest.summary(tmp_path / name) for name in ("plain", "redis"))
    assert summary["counts"] == without["counts"]
    assert summary["counts"]["new"]
    # Each request went through Redis, none was asked twice, and none is left.
    assert summary["requests"] == without["requests"]
    asked = sum(summary["requests"].values())
    assert redis.info("stats")["total_commands_processed"] - before >= 2 * asked
    assert redis.keys() == []


def test_a_publication(sandbox: Any, redis: Any, tmp_path: Path) -> None:
    """Its requests go one by one to the downloader: none waits in Redis, with the key."""
    for step in PUBLISH.steps():
        files = run(step, sandbox, tmp_path, settings_for(step, redis))
    expected = {name: hashlib.sha1(data).hexdigest() for name, data in files.items()}
    jobs.check_published(sandbox, PUBLISH.summary(tmp_path), expected)
    assert redis.keys() == []


def test_what_a_killed_worker_left_in_redis_is_not_asked_twice(
    harvest: Job, start_sandbox: Callable[..., Any], redis: Any, tmp_path: Path
) -> None:
    sandbox = start_sandbox(*jobs.SANDBOX)
    settings = harvest.settings(sandbox, tmp_path) | settings_for(harvest, redis)
    process = subprocess.Popen(
        harvest.command(sandbox, tmp_path, settings | {"DOWNLOAD_DELAY": "0.1"}),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while sum(sandbox.references(harvest.spider).values()) < 10:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert redis.zcard(settings["SCHEDULER_QUEUE_KEY"])
    stored = settled(settings["DECP_STORE_URL"])
    run(harvest, sandbox, tmp_path, settings)
    assert harvest.summary(tmp_path)["status"] == "complete"
    asked = sandbox.references(harvest.spider)
    assert stored
    assert {asked[reference] for reference in stored} == {1}
    assert redis.keys() == []
