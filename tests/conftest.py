"""Fixtures shared by all tests: real child processes, real HTTP on the loopback interface."""

from __future__ import annotations

import http.server
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import servers
from crawling import ROOT, Crawl, crawl_command, finished
from hypothesis import HealthCheck, settings
from logs import Seen
from portals import UDATA_HINT, UDATA_VENV, Portal, replica_portal, udata_portal

SHARED = ROOT.parent / "shared"


def pytest_configure() -> None:
    """Have Ctrl-C work in child processes: a shell that runs the tests in the background makes
    them ignore it, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # No test asserts a time, not even how long an example takes on a machine that is busy.
    settings.register_profile(
        "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _codes() -> Iterator[None]:
    """Have every test fail that makes the project log a warning or an error without a code."""
    handler = Seen()
    logger = logging.getLogger("dume_spider")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    assert not handler.uncoded


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of official schemas and real records beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared (official schemas, real records)")
    return SHARED


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone of the repository, as it is committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    folder = tmp_path_factory.mktemp("clone") / "dume_spider"
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    return folder


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

    def references(self, service: str = "dume") -> dict[str, int]:
        """How often each reference was asked for, or each notice of the ``boamp``."""
        return self._get("boamp_references" if service == "boamp" else "references")

    def _get(self, what: str) -> Any:
        with urllib.request.urlopen(self.ready[what], timeout=30) as response:
            return json.load(response)

    def stop(self) -> int:
        """Stop it; give its exit status."""
        self.process.terminate()
        status = self.process.wait(timeout=60)
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
    """Run ``scrapy crawl`` in a child process, in a folder of the test's own."""

    def run(
        url: str,
        arguments: dict[str, str],
        settings: dict[str, str] | None = None,
        folder: Path = tmp_path,
        spider: str = "dume",
        **options: Any,
    ) -> Crawl:
        done = subprocess.run(
            crawl_command(folder, url, arguments, settings or {}, spider),
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
            # Of HTTP/1.0 the client takes a connection for open that is about to be closed.
            protocol_version = "HTTP/1.1"

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


def _postgresql_programs() -> Path | None:
    """The newest of Debian's folders of PostgreSQL programs."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in found), key=lambda p: int(p.parent.name), default=None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a server on a free port, its data in a temporary folder."""
    programs = _postgresql_programs()
    if programs is None:
        pytest.skip("needs PostgreSQL (apt-get install postgresql)")
    psycopg = pytest.importorskip("psycopg")
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="dume-spider-postgresql-"))
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    port = servers.free_port()
    server = None
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "test", "-A", "trust", "-E", "UTF8", "-N"]
            # An order of texts that is not that of bytes: the store must bring its own.
            + ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=fr-FR"],
            user=user,
            cwd=folder,
            check=True,
            capture_output=True,
        )
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    programs / "postgres",
                    "-D",
                    data,
                    "-p",
                    str(port),
                    "-k",
                    folder,
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    "fsync=off",
                    "-c",
                    "deadlock_timeout=100ms",
                ],
                user=user,
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(host="127.0.0.1", port=port, user="test", dbname="postgres").close()
                break
            except psycopg.OperationalError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail((folder / "log").read_text())
                time.sleep(0.05)
        yield f"postgresql+psycopg://test@127.0.0.1:{port}/postgres"
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            server.wait(30)
        shutil.rmtree(folder)


@pytest.fixture
def new_schema(postgresql: str) -> Iterator[Callable[[], str]]:
    """A maker of URLs of stores that do not exist yet, each in a schema of its own."""
    import psycopg

    made: list[str] = []
    with psycopg.connect(postgresql.replace("+psycopg", ""), autocommit=True) as connection:

        def new() -> str:
            made.append(f"store_{len(made)}")
            connection.execute(f"CREATE SCHEMA {made[-1]}")
            return f"{postgresql}?options=-csearch_path%3D{made[-1]}"

        yield new
        for name in made:
            connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the S3 protocol."""
    pytest.importorskip("moto")
    port = servers.free_port()
    log = tmp_path_factory.mktemp("s3") / "log"
    with servers.running([*servers.S3, str(port)], port, log):
        yield f"http://127.0.0.1:{port}"
