"""The portals that publishing is tested against: the replica, and a real udata.

Both hold the same: two organizations, and users with a key each. :func:`faulty` puts a proxy
in front of one that spoils chosen requests.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from email.message import Message
from functools import cache
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps, loads
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from crawling import ROOT

UDATA = ROOT / "tests" / "udata"
#: The virtual environment of the real udata, and how to have it.
UDATA_VENV = Path(os.environ.get("UDATA_VENV") or ROOT / ".venv-udata")
UDATA_HINT = (
    "needs a real udata: python3 -m venv .venv-udata && "
    ".venv-udata/bin/pip install -r tests/udata/requirements.txt"
)


@dataclass(frozen=True)
class Reply:
    """An answer of a portal."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        """The body, that has to be JSON; ``None`` when there is none."""
        return loads(self.body) if self.body else None


@dataclass(frozen=True)
class Form:
    """A multipart body: fields, and a file as its name and content."""

    fields: Mapping[str, object] = field(default_factory=dict)
    file: tuple[str, bytes] | None = None

    content_type: ClassVar[str] = "multipart/form-data; boundary=a-boundary"

    @property
    def body(self) -> bytes:
        """As a browser writes it."""
        start = b'--a-boundary\r\nContent-Disposition: form-data; name="%b"'
        parts = [
            start % name.encode() + b"\r\n\r\n%b\r\n" % str(value).encode()
            for name, value in self.fields.items()
        ]
        if self.file is not None:
            name, content = self.file
            parts.append(start % b"file" + b'; filename="%b"\r\n' % name.encode())
            parts.append(b"Content-Type: application/octet-stream\r\n\r\n%b\r\n" % content)
        return b"".join([*parts, b"--a-boundary--\r\n"])


@dataclass(frozen=True)
class Portal:
    """A portal with the API of data.gouv.fr.

    ``kind`` is ``replica`` or ``udata``; ``url`` ends with ``/api/1``. ``keys`` has one of
    each: ``owner`` (admin), ``editor`` and ``partial`` (partial_editor) of ``organization``,
    ``outsider`` (admin of ``other_organization``), ``sysadmin``, ``inactive``, ``revoked``,
    ``expired``. The data last as long as the tests: each test makes data sets of its own.
    """

    kind: str
    url: str
    keys: dict[str, str]
    organization: str
    other_organization: str
    further: Callable[[bool, int | None], str] = field(repr=False)

    def call(
        self,
        method: str,
        path: str,
        role: str | None = None,
        json: Any = None,
        form: Form | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """Send a request as it is: no cookies, no redirect followed, nothing retried.

        ``path`` is below ``/api/1``, or a whole address of this portal. ``role`` says whose
        key is sent.
        """
        sent = {"Accept": "application/json"}
        if role is not None:
            sent["X-API-KEY"] = self.keys[role]
        if json is not None:
            body = dumps(json).encode()
            sent["Content-Type"] = "application/json"
        if form is not None:
            body = form.body
            sent["Content-Type"] = form.content_type
        sent |= headers or {}
        parts = urlsplit(path if path.startswith("http") else self.url + path)
        connection = HTTPConnection(parts.netloc, timeout=60)
        try:
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body, sent)
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def also(self, read_only: bool = False, max_content_length: int | None = None) -> Portal:
        """The same data on another address, read only or with a limit on bodies, in bytes."""
        return replace(self, url=self.further(read_only, max_content_length))


@contextmanager
def udata_portal(folder: Path) -> Iterator[Portal]:
    """A real udata that keeps uploaded files in ``folder``; takes some four seconds."""
    with ExitStack() as processes:

        def start(*options: str) -> dict[str, Any]:
            python, script = UDATA_VENV / "bin" / "python", UDATA / "serve.py"
            command = [python, script, "--folder", folder, *options]
            return processes.enter_context(_ready(command, folder / "udata.log"))

        first = start()
        database = str(first.pop("database"))

        @cache
        def further(read_only: bool, max_content_length: int | None) -> str:
            settings = {"READ_ONLY_MODE": read_only, "MAX_CONTENT_LENGTH": max_content_length}
            return start("--database", database, "--set", dumps(settings))["url"]

        yield Portal("udata", further=further, **first)


@contextmanager
def replica_portal(folder: Path) -> Iterator[Portal]:
    """The replica, in a child process: ``scrapy sandbox``."""
    command = [sys.executable, "-m", "scrapy", "sandbox", "--datagouv-port", "0"]
    with _ready(command, folder / "sandbox.log") as ready:
        url = ready["datagouv"]

        def further(read_only: bool, max_content_length: int | None) -> str:
            assert not (read_only and max_content_length), "the replica has one mode at a time"
            mode = "/read-only" if read_only else f"/max-{max_content_length}"
            return url.replace("/api/1", f"{mode}/api/1")

        names = ("keys", "organization", "other_organization")
        known = {name: ready[f"datagouv_{name}"] for name in names}
        yield Portal("replica", url, further=further, **known)


@contextmanager
def _ready(command: list[Any], log: Path) -> Iterator[dict[str, Any]]:
    """Start a server that says READY and ends with its standard input; give what it said."""
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        try:
            line = process.stdout.readline().decode()
            assert line.startswith("READY "), f"{command}: {log.read_text()}"
            yield loads(line.removeprefix("READY "))
        finally:
            process.terminate()


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the ``nth`` request (from 1; ``None``: each) of ``method`` whose
    path, without query, holds the pattern ``path``.

    ``what`` is a status, such as ``500``: answered so with ``body`` (its phrase in JSON), the
    portal does not see the request; ``cut``: the portal answers it, but the connection is
    reset in place of the answer.
    """

    what: str
    method: str
    path: str
    nth: int | None = 1
    body: bytes | None = None


@dataclass(frozen=True)
class Proxied(Portal):
    """A portal behind the proxy; ``asked`` has each request as ``POST /api/1/datasets/?x=1``."""

    asked: list[str] = field(default_factory=list)


@contextmanager
def faulty(portal: Portal, *faults: Fault) -> Iterator[Proxied]:
    """The portal behind a proxy that spoils the requests that ``faults`` name.

    Addresses of the portal in its answers become those of the proxy. Bodies are held whole.
    """
    server = _Proxy(urlsplit(portal.url).netloc, faults)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        known = {name: getattr(portal, name) for name in Portal.__dataclass_fields__}
        url = portal.url.replace(server.upstream, server.address, 1)
        yield Proxied(**known | {"url": url}, asked=server.asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: str, faults: tuple[Fault, ...]):
        super().__init__(("127.0.0.1", 0), _Forward)
        self.upstream = upstream
        self.address = f"127.0.0.1:{self.server_port}"
        self.asked: list[str] = []
        self._faults = faults
        self._counts = [0] * len(faults)
        self._lock = threading.Lock()

    def fault(self, method: str, target: str) -> Fault | None:
        """Note a request; what goes wrong with it."""
        found = None
        with self._lock:
            self.asked.append(f"{method} {target}")
            for at, fault in enumerate(self._faults):
                if fault.method == method and re.search(fault.path, target.partition("?")[0]):
                    self._counts[at] += 1
                    if fault.nth in (None, self._counts[at]):
                        found = found or fault
        return found


class _Forward(BaseHTTPRequestHandler):
    server: _Proxy
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        fault = self.server.fault(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault and fault.what != "cut":
            status = HTTPStatus(int(fault.what))
            said = dumps({"message": status.phrase}).encode() if fault.body is None else fault.body
            kind = "text/html" if said.startswith(b"<") else "application/json"
            self._answer(status, [("Content-Type", kind)], said)
            return
        headers = {**dict(self.headers.items()), "Host": self.server.upstream}
        upstream = HTTPConnection(self.server.upstream, timeout=60)
        try:
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        if fault:
            # Closed at once, with what is unsent thrown away: the client sees a reset.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            return
        kept = [
            (name, value.replace(self.server.upstream, self.server.address))
            for name, value in answer.getheaders()
            if name.lower() not in ("content-length", "connection", "transfer-encoding")
        ]
        if "json" in answer.headers.get("Content-Type", ""):
            content = content.replace(self.server.upstream.encode(), self.server.address.encode())
        self._answer(answer.status, kept, content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _forward

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the tests look at what the spider says."""
