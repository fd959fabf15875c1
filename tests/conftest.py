"""Fixtures shared by all tests: real child processes, real HTTP on the loopback interface."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from crawling import ROOT, Crawl, crawl_command, finished
from portals import UDATA_HINT, UDATA_VENV, Portal, replica_portal, udata_portal

SHARED = ROOT.parent / "shared"


def pytest_configure() -> None:
    """Have Ctrl-C work in child processes: a shell that runs the tests in the background makes
    them ignore it, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of official schemas and real records beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared (official schemas, real records)")
    return SHARED


@dataclass(frozen=True)
class Sandbox:
    """A running ``scrapy sandbox``; ``ready`` is what its first line said."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def url(self) -> str:
        """The address of the DUME replica."""
        return self.ready["dume"]

    def stats(self) -> dict[str, Any]:
        """What was asked of the replica so far."""
        return self._get("stats")

    def references(self) -> dict[str, int]:
        """How often each reference was asked for."""
        return self._get("references")

    def _get(self, what: str) -> Any:
        with urllib.request.urlopen(self.ready[what], timeout=30) as response:
            return json.load(response)

    def stop(self) -> int:
        """Stop it; give its exit status."""
        self.process.terminate()
        status = self.process.wait(timeout=10)
        self.process.stdout.close()
        self.process.stderr.close()
        return status


@pytest.fixture(scope="session")
def start_sandbox() -> Iterator[Callable[..., Sandbox]]:
    """Start ``scrapy sandbox`` with further options; all are stopped at the end."""
    started: list[Sandbox] = []

    def start(*options: object) -> Sandbox:
        process = subprocess.Popen(
            [sys.executable, "-m", "scrapy", "sandbox", "--dume-port", "0", *map(str, options)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = process.stdout.readline()
        if not line.startswith("READY "):
            process.kill()
            pytest.fail(f"scrapy sandbox did not start: {line}{process.communicate()[1]}")
        sandbox = Sandbox(process, json.loads(line.removeprefix("READY ")))
        started.append(sandbox)
        return sandbox

    yield start
    for sandbox in started:
        if sandbox.process.poll() is None:
            sandbox.stop()


@pytest.fixture
def crawl(tmp_path: Path) -> Callable[..., Crawl]:
    """Run ``scrapy crawl dume`` in a child process, in a folder of the test's own."""

    def run(
        url: str,
        arguments: dict[str, str],
        settings: dict[str, str] | None = None,
        folder: Path = tmp_path,
        **options: Any,
    ) -> Crawl:
        done = subprocess.run(
            crawl_command(folder, url, arguments, settings or {}),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=os.environ | {"PYTHONWARNINGS": "error"} | options.pop("env", {}),
            timeout=300,
            **options,
        )
        return finished(done.returncode, done.stdout, folder)

    return run


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve ``answer(body of the request) -> (status, body)`` over HTTP; gives the address."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(answer: Callable[[dict[str, Any]], tuple[int, bytes]]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, body = answer(asked)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing: the tests look at what the spider says."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/dumes/donneesEssentielles"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def portal_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Portal]]:
    """Start a portal with the API of data.gouv.fr: the ``replica`` or a real ``udata``."""
    with ExitStack() as running:

        @cache
        def start(kind: str) -> Portal:
            if kind == "udata" and not UDATA_VENV.is_dir():
                pytest.skip(UDATA_HINT)
            make = udata_portal if kind == "udata" else replica_portal
            return running.enter_context(make(tmp_path_factory.mktemp(kind)))

        yield start


@pytest.fixture(scope="session", params=["replica", pytest.param("udata", marks=pytest.mark.udata)])
def portal(request: pytest.FixtureRequest, portal_of: Callable[[str], Portal]) -> Portal:
    """A portal with the API of data.gouv.fr: the replica, then a real udata."""
    return portal_of(request.param)
