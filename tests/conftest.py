"""Fixtures shared by all tests: real child processes, real HTTP on the loopback interface."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

#: Towards a replica of ours there is no need to be slow.
FAST = {
    "DOWNLOAD_DELAY": "0",
    "CONCURRENT_REQUESTS_PER_DOMAIN": "8",
}


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


@dataclass(frozen=True)
class Crawl:
    """A finished ``scrapy crawl`` and what it left in ``folder``."""

    status: int
    output: str
    folder: Path
    run: Path | None

    @property
    def summary(self) -> dict[str, Any]:
        """The run's ``summary.json``."""
        assert self.run is not None, self.output
        return json.loads((self.run / "summary.json").read_text(encoding="utf-8"))

    @property
    def counts(self) -> dict[str, int]:
        """The counts of the summary."""
        return self.summary["counts"]

    @property
    def rejected(self) -> list[dict[str, Any]]:
        """The lines of the run's ``rejected.jsonl``."""
        assert self.run is not None, self.output
        return lines(self.run / "rejected.jsonl")

    @property
    def items(self) -> list[dict[str, Any]]:
        """The items of the feed."""
        return lines(self.folder / "items.jsonl")

    def files(self, pattern: str = "*") -> list[Path]:
        """The DECP files in place."""
        return sorted((self.folder / "decp").glob(pattern))


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file."""
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def crawl_command(
    folder: Path, url: str, arguments: dict[str, str], settings: dict[str, str]
) -> list[str]:
    """The command of a crawl that keeps everything in ``folder``."""
    given = FAST | {
        "DUME_API_URL": url,
        "DECP_FILES_URI": str(folder / "decp"),
        "DECP_STORE_URL": f"sqlite:///{folder / 'store.sqlite'}",
        "DECP_RUNS_DIR": str(folder / "runs"),
    }
    command = [sys.executable, "-m", "scrapy", "crawl", "dume", "-O", str(folder / "items.jsonl")]
    for name, value in arguments.items():
        command += ["-a", f"{name}={value}"]
    for name, value in (given | settings).items():
        command += ["-s", f"{name}={value}"]
    return command


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
        before = set((folder / "runs").glob("*"))
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
        new = set((folder / "runs").glob("*")) - before
        return Crawl(done.returncode, done.stdout, folder, new.pop() if new else None)

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
