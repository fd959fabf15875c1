"""Crawls of the publish spider against a portal, and what they leave on it.

A crawl of its own process takes more than a second, most of it to start: the scenarios run in
one worker (this module as a program), each a real crawl on the real reactor. What
``scrapy crawl`` adds, its exit status and its line for a bad argument, is the same code.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import json
import logging
import os
import random
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

from crawling import ROOT
from logs import has_code, note
from portals import Portal
from stdnum import luhn

from dume_spider.decp.folder import OutputFolder
from dume_spider.decp.regime import ContractType, Regime

SIRET = "21750001600019"
OTHER_SIRET = "21690123100011"
TODAY = date(2026, 11, 21)

#: Waits as short as a portal on this machine allows: it has no two files of a name in a second.
QUICK = {
    "dume_spider.datagouv.publisher.WAITS": [0.05, 1.1, 1.1],
    "dume_spider.middlewares.FIRST_WAIT": 0.01,
}

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Done:
    """A finished crawl: exit status, log (DEBUG included), what it printed, its summary."""

    status: int
    log: str
    printed: str
    summary: dict[str, Any] | None

    @property
    def actions(self) -> dict[str, str]:
        """What was done, by the name of the file."""
        return {each["file"]: each["action"] for each in self.summary["published"]}

    def __post_init__(self) -> None:
        said = re.findall(r"^(?:WARNING|ERROR) dume_spider\.\S+: (.*)$", self.log, re.MULTILINE)
        assert [line for line in said if not has_code(line)] == []
        note(self.log)

    @property
    def coded_errors(self) -> list[str]:
        """The lines of the log that tell an error, without those of the end."""
        found = re.findall(r"^ERROR (?:\S+): (.*)$", self.log, re.MULTILINE)
        return [line for line in found if not line.startswith("[DECP-10] Run publish-")]

    @property
    def errors(self) -> list[str]:
        """The same lines without their codes."""
        return [line.partition("] ")[2] for line in self.coded_errors]


@dataclass
class Publishing:
    """The publish spider at work in ``folder``, with the store and the runs in it."""

    worker: subprocess.Popen[str]
    folder: Path
    #: Every key that was used, to be looked for afterwards.
    keys: set[str] = field(default_factory=set)

    def __call__(
        self,
        portal: Portal,
        arguments: dict[str, Any],
        role: str | None = "owner",
        *,
        key: str | None = None,
        settings: dict[str, Any] | None = None,
        patch: dict[str, Any] | None = None,
    ) -> Done:
        """Run it with the key of a role of the portal, or with another one, or with none."""
        if key is None and role is not None:
            key = portal.keys[role]
        given = {
            "DATAGOUV_API_URL": portal.url,
            "DECP_FILES_URI": str(self.folder / "decp"),
            "DECP_STORE_URL": f"sqlite:///{self.folder / 'store.sqlite'}",
            "DECP_RUNS_DIR": str(self.folder / "runs"),
            "DOWNLOAD_DELAY": 0,
            "LOG_LEVEL": "DEBUG",
        }
        job = {
            "arguments": {name: str(value) for name, value in arguments.items()},
            "settings": given | (settings or {}),
            "patch": QUICK | (patch or {}),
            "key": key,
        }
        self.worker.stdin.write(json.dumps(job) + "\n")
        self.worker.stdin.flush()
        line = self.worker.stdout.readline()
        assert line, "the worker has died"
        done = Done(**json.loads(line))
        if key is not None and key.strip():
            self.keys.add(key.strip())
        self.look_for_keys(done.log + done.printed)
        return done

    def look_for_keys(self, text: str = "") -> None:
        """Fail if a key that was used stands in ``text`` or in any file that was left."""
        for key in self.keys:
            assert key not in text
            for path in self.folder.rglob("*"):
                if path.is_file():
                    assert key.encode() not in path.read_bytes(), path

    def files(self, *numbers: int, siret: str = SIRET, day: date = TODAY) -> list[Path]:
        """DECP files of a day, one contract in each."""
        return [make_file(self.folder / "decp", number, siret=siret, day=day) for number in numbers]


def make_file(
    folder: Path,
    number: int,
    *,
    siret: str = SIRET,
    day: date = TODAY,
    format: str = "json",
    contract: str | None = None,
    contracts: int = 1,
) -> Path:
    """A valid DECP file of 2022, in the place of one of its name.

    ``contract`` tells contents apart (default: by the number).
    """
    golden = json.loads((ROOT / "tests" / "decp" / "golden" / "2022.json").read_text("utf-8"))
    record = golden["marches"]["marche"][1]
    # In a folder of its own, where no number is taken.
    out = OutputFolder(folder / "new")
    out.check()
    with out.new_files(siret, day, [format], Regime.R2022, number - 1) as files:
        for index in range(contracts):
            record["id"] = f"{contract or number}-{index}"
            files.add(ContractType.MARCHE, json.dumps(record).encode())
        (made,) = files.commit()
    return (out.path / made.name).replace(folder / made.name)


def new_siret() -> str:
    """A SIRET that no other test has: an organization has one data set per buyer."""
    siren = f"{random.randrange(10**8):08}"
    siren += luhn.calc_check_digit(siren)
    return f"{siren}0001{luhn.calc_check_digit(siren + '0001')}"


def api(
    portal: Portal, method: str, path: str, body: Any = None, role: str | None = "owner"
) -> Any:
    """What the portal answers to a call that is not ours; ``None`` if it refuses."""
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    if role:
        headers["X-API-KEY"] = portal.keys[role]
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{portal.url}/{path}", content, headers, method=method)
    try:
        with _OPENER.open(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        error.close()
        return None


def new_dataset(portal: Portal, role: str = "owner", **fields: Any) -> str:
    """A data set of the test's own, by its id."""
    body = {
        "title": f"Essai {uuid4()}",
        "description": "x",
        "organization": portal.organization,
        "tags": ["données-essentielles", "commande-publique"],
        "license": "fr-lo",
        "frequency": "daily",
    }
    return api(portal, "POST", "datasets/", body | fields, role)["id"]


def resources(portal: Portal, dataset: str) -> dict[str, dict[str, Any]]:
    """The resources of a data set by title; fails if two have the same."""
    found = api(portal, "GET", f"datasets/{dataset}/")["resources"]
    by_title = {each["title"]: each for each in found}
    assert len(by_title) == len(found), [each["title"] for each in found]
    return by_title


@contextlib.contextmanager
def worker() -> Iterator[subprocess.Popen[str]]:
    """The process that crawls."""
    environment = os.environ | {
        "PYTHONWARNINGS": "error",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "SCRAPY_SETTINGS_MODULE": "dume_spider.settings",
    }
    environment.pop("DATAGOUV_API_KEY", None)
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as process:
        yield process
        process.stdin.close()


def _patch(path: str, value: Any) -> Any:
    """Set a value of a module, given by its path; the value it had."""
    module, _, name = path.rpartition(".")
    before = getattr(importlib.import_module(module), name)
    setattr(importlib.import_module(module), name, value)
    return before


async def _crawl(job: dict[str, Any]) -> dict[str, Any]:
    from scrapy.crawler import AsyncCrawlerRunner
    from scrapy.utils.project import get_project_settings

    from dume_spider.exceptions import DumeSpiderError
    from dume_spider.spiders.publish import PublishSpider

    stock = {path: _patch(path, value) for path, value in job["patch"].items()}
    os.environ.pop("DATAGOUV_API_KEY", None)
    if job["key"] is not None:
        os.environ["DATAGOUV_API_KEY"] = job["key"]
    settings = get_project_settings()
    settings.setdict(job["settings"], priority="cmdline")
    log, printed = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    summary = None
    try:
        with contextlib.redirect_stdout(printed):
            PublishSpider.read_arguments(job["arguments"])
            PublishSpider.check_settings(settings)
            runner = AsyncCrawlerRunner(settings)
            crawler = runner.create_crawler(PublishSpider)
            await runner.crawl(crawler, **job["arguments"])
            run = crawler.spider.run
            status, summary = run.exit_status, run.summary()
            assert not run.folder.is_dir() or (run.folder / "summary.json").exists()
    except DumeSpiderError as error:
        status = 1
        log.write(f"ERROR arguments: {error.line}\n")
    finally:
        root.removeHandler(handler)
        for path, value in stock.items():
            _patch(path, value)
    return {
        "status": status,
        "log": log.getvalue(),
        "printed": printed.getvalue(),
        "summary": summary,
    }


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        answer = json.dumps(await _crawl(json.loads(line)))
        print(answer, flush=True)


def _main() -> None:
    from scrapy.utils.reactor import install_reactor

    install_reactor("twisted.internet.asyncioreactor.AsyncioSelectorReactor")
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    def start() -> None:
        served = Deferred.fromFuture(asyncio.ensure_future(_serve()))
        served.addErrback(lambda failure: failure.printTraceback(sys.stderr))
        served.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run()


if __name__ == "__main__":
    _main()
