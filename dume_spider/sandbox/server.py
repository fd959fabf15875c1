"""What the replicas share: an HTTP server on the loopback interface, and its faults."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

import orjson
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.web.http import datetimeToString
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

LOOPBACK = "127.0.0.1"
#: Seconds that a fault 429 asks to wait.
RETRY_AFTER = 1

_JSON = "application/json;charset=UTF-8"
_PAGE = (
    "<!DOCTYPE html>\n<html lang='fr'><head><title>Maintenance</title></head>"
    "<body><h1>Service momentanément indisponible</h1></body></html>\n"
).encode()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to a replica.

    ``path`` is decoded and has no query; ``query`` has the values of each name; ``headers``
    has lower-case names.
    """

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of a replica: status, body, further headers.

    ``kind`` is what was asked, for the counts; ``reference`` the record asked for, if one.
    """

    status: int
    body: bytes
    kind: str
    reference: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Replica(Protocol):
    """A service served at ``path`` and below: its answers, and what it counts.

    ``address`` is the path that its clients are told, ``describe`` what else they need.
    ``answer`` does what was asked, even when the answer is then spoilt or lost;
    ``delivered`` is told of each answer that was sent whole.
    """

    path: str
    address: str

    def describe(self) -> dict[str, Any]: ...

    def answer(self, asked: Asked) -> Answer: ...

    def delivered(self, answer: Answer) -> None: ...

    def stats(self) -> dict[str, Any]: ...

    def references(self) -> dict[str, int]: ...


class Faults:
    """Which requests go wrong, and how: the same for the same seed and order of requests.

    ``rate`` is the share of requests (0 to 1) that get one of :data:`FAULTS`;
    ``down_after`` the number (from 1) of the first request from which on each connection
    is reset, ``None`` for never.
    """

    def __init__(self, seed: int, rate: float = 0.0, down_after: int | None = None):
        self._random = random.Random(f"faults {seed}")  # noqa: S311 - no secret: a seed repeats it
        self._rate = rate
        self._down_after = down_after
        self._asked = 0

    def draw(self) -> str | None:
        """The fault of the next request, ``None`` when it goes well."""
        self._asked += 1
        if self._down_after is not None and self._asked >= self._down_after:
            return "down"
        if self._random.random() < self._rate:
            return self._random.choice(list(FAULTS))
        return None


def _too_many(request: Request, answer: Answer, wait: str) -> None:
    request.setHeader("Retry-After", wait)
    _finish(request, 429, b"")


def _page(request: Request, answer: Answer) -> None:
    request.setHeader("Content-Type", "text/html;charset=UTF-8")
    _finish(request, 200, _PAGE)


def _reset(request: Request, answer: Answer) -> None:
    request.transport.abortConnection()


#: The faults by name, and how each is sent in place of an answer.
FAULTS: dict[str, Callable[[Request, Answer], None]] = {
    "429-seconds": lambda request, answer: _too_many(request, answer, str(RETRY_AFTER)),
    "429-date": lambda request, answer: _too_many(
        request, answer, datetimeToString(time.time() + RETRY_AFTER).decode()
    ),
    "500": lambda request, answer: _finish(request, 500, b""),
    "503": lambda request, answer: _finish(request, 503, b""),
    "reset": _reset,
    "cut": lambda request, answer: _finish(request, 200, answer.body[: len(answer.body) // 2]),
    "page": _page,
}


class _Endpoint(Resource):
    """The address of a replica: each request answered, after the latency, or spoilt."""

    isLeaf = True

    def __init__(self, replica: Replica, faults: Faults, latency: float, clock: IReactorTime):
        super().__init__()
        self._replica = replica
        self._faults = faults
        self._latency = latency
        self._clock = clock
        self._sent: Counter[str] = Counter()
        self._aborted = 0

    def render(self, request: Request) -> int:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        fault = self._faults.draw()
        path, _, query = request.uri.decode("latin-1").partition("?")
        asked = Asked(
            request.method.decode("latin-1"),
            unquote(path),
            parse_qs(query, keep_blank_values=True),
            {
                name.decode("latin-1").lower(): values[-1].decode("latin-1")
                for name, values in request.requestHeaders.getAllRawHeaders()
            },
            request.content.read(),
        )
        answer = self._replica.answer(asked)
        self._clock.callLater(self._latency, self._send, request, gone, fault, answer)
        return NOT_DONE_YET

    def _send(
        self, request: Request, gone: list[object], fault: str | None, answer: Answer
    ) -> None:
        if gone:
            self._aborted += 1
            return
        request.setHeader("Content-Type", _JSON)
        if fault is not None:
            self._sent[fault] += 1
            FAULTS.get(fault, _reset)(request, answer)
            return
        self._replica.delivered(answer)
        for name, value in answer.headers.items():
            request.setHeader(name, value)
        _finish(request, answer.status, answer.body)

    def stats(self) -> dict[str, Any]:
        return {**self._replica.stats(), "faults": dict(self._sent), "aborted": self._aborted}


class _Report(Resource):
    """A JSON document made at each GET; never late, never spoilt."""

    isLeaf = True

    def __init__(self, make: Callable[[], Any]):
        super().__init__()
        self._make = make

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", _JSON)
        return orjson.dumps(self._make())


class _Everything(Resource):
    """All addresses lead to one endpoint, save those put beside it."""

    def __init__(self, endpoint: Resource):
        super().__init__()
        self._endpoint = endpoint

    def getChild(self, path: bytes, request: Request) -> Resource:
        return self._endpoint


def serve(
    reactor: Any, replica: Replica, port: int, faults: Faults, latency: float = 0.0
) -> IListeningPort:
    """Serve a replica on the loopback interface; ``port`` 0 takes a free one.

    ``latency`` is in seconds, before each answer. Beside the service stand
    ``/_sandbox/stats`` (``requests`` answered whole, by kind; ``faults`` sent, by name;
    ``aborted``: the client left before its answer; ``references`` given more than once)
    and ``/_sandbox/references`` (how often each was given): what tests need to prove that
    nothing is asked twice. The requests, the faults and the aborted ones are together all
    that was received.

    Raises ``twisted.internet.error.CannotListenError`` when the port is taken.
    """
    endpoint = _Endpoint(replica, faults, latency, reactor)
    root = Resource()
    if replica.path == "/":
        root = _Everything(endpoint)
    else:
        _put(root, replica.path, endpoint)
    _put(root, "/_sandbox/stats", _Report(endpoint.stats))
    _put(root, "/_sandbox/references", _Report(replica.references))
    # Forms are for the replica to read: with the names of uploaded files, and their errors.
    site = Site(root, parsePOSTFormSubmission=False)
    return reactor.listenTCP(port, site, interface=LOOPBACK)


def _put(root: Resource, path: str, leaf: Resource) -> None:
    *folders, name = path.strip("/").encode().split(b"/")
    for folder in folders:
        child = root.getStaticEntity(folder)
        if child is None:
            child = Resource()
            root.putChild(folder, child)
        root = child
    root.putChild(name, leaf)


def _finish(request: Request, status: int, body: bytes) -> None:
    request.setResponseCode(status)
    request.setHeader("Content-Length", str(len(body)))
    request.write(body)
    request.finish()
