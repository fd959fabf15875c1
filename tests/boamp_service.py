"""The BOAMP replica over HTTP in the tests' own process, so that a test can meddle with it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote

from dume_spider.sandbox.boamp import BoampReplica
from dume_spider.sandbox.server import Answer, Asked

#: How the conditions of requests for notices begin.
DETAIL = ("idweb", "(idweb")

#: What a test says to a request: its own answer, or ``None`` for that of the replica.
Meddle = Callable[[Asked], Answer | None]


class Service:
    """A replica at ``url``; ``asked`` are all requests, ``meddle`` may answer instead of it."""

    def __init__(self, rows: list[dict[str, Any]], quota: int | None = None):
        self.rows = rows
        self.quota = quota
        self.replica = BoampReplica(rows, quota)
        self.asked: list[Asked] = []
        self.meddle: Meddle = lambda _: None
        self.url = ""
        self._lock = threading.Lock()

    def publish(self, *rows: dict[str, Any]) -> None:
        """Add records; what was counted is forgotten."""
        self.rows = [*self.rows, *rows]
        self.replica = BoampReplica(self.rows, self.quota)

    def answer(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            answer = self.meddle(asked) or self.replica.answer(asked)
            self.replica.delivered(answer)
            return answer

    def wheres(self, what: str = "search") -> list[str]:
        """The conditions of the requests for records: searches, or details."""
        wheres = [asked.query["where"][0] for asked in self.asked if "where" in asked.query]
        return [where for where in wheres if where.startswith(DETAIL) == (what == "detail")]


@contextmanager
def served(rows: list[dict[str, Any]], quota: int | None = None) -> Iterator[Service]:
    """A service on a free port of the loopback interface."""
    service = Service(rows, quota)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            headers = {name.lower(): value for name, value in self.headers.items()}
            given = parse_qs(query, keep_blank_values=True)
            answer = service.answer(Asked("GET", unquote(path), given, headers, b""))
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Say nothing: the tests look at what the spider says."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}{BoampReplica.address}"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def is_search(asked: Asked) -> bool:
    """Whether a request is for a page of a search."""
    where = asked.query.get("where", [""])[0]
    return asked.path.endswith("/records") and not where.startswith(DETAIL)


def offset(asked: Asked) -> int:
    """The offset of a page."""
    return int(asked.query["offset"][0])
