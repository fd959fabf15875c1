"""When a POST is sent again, without a portal: the rest is in the scenarios."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from dume_spider.datagouv import publisher
from dume_spider.datagouv.client import Answer, ApiKey, FileToSend, PortalClient
from dume_spider.datagouv.errors import (
    DeletedError,
    InvalidError,
    MismatchError,
    NoAnswerError,
    NotAllowedError,
    PortalFailureError,
)
from dume_spider.datagouv.publisher import Publisher

SHOWN = {"id": "d", "title": "t", "deleted": None, "resources": [], "extras": {}}


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, which take no time here."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(publisher.asyncio, "sleep", sleep)
    return waits


def link(*answers: Answer | Exception) -> list[str]:
    """Link a file on a portal that gives these answers to POSTs and has nothing to show: the
    methods that were sent."""
    left = list(answers)
    sent: list[str] = []

    async def send(method: str, url: str, headers: Any, body: bytes) -> Answer:
        sent.append(method)
        if method == "GET":
            return Answer(200, {}, b'{"resources": []}')
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = PortalClient("https://x", send, ApiKey("k"))
    try:
        asyncio.run(Publisher(client, SHOWN, print).link("a.json", "https://y/a.json", "json"))
    except Exception as error:
        error.add_note(",".join(sent))
        raise
    return sent


def test_waits_grow_and_are_those_that_the_portal_asks_for(slept: list[float]) -> None:
    busy = [
        Answer(429, {"retry-after": "40"}, b""),
        Answer(503, {"retry-after": "0"}, b""),
        Answer(503, {"retry-after": "86400"}, b""),
        Answer(503, {}, b""),
    ]
    with pytest.raises(PortalFailureError) as raised:
        link(*busy)
    assert slept == [40.0, 5.0, 300.0]
    assert raised.value.__notes__ == ["POST,GET,POST,GET,POST,GET,POST"]


def test_what_is_refused_is_not_sent_again(slept: list[float]) -> None:
    with pytest.raises(InvalidError) as raised:
        link(NoAnswerError("cut"), Answer(400, {}, b""))
    assert slept == [1.5]
    assert raised.value.__notes__ == ["POST,GET,POST"]


@pytest.mark.parametrize(
    ("shown", "kind"),
    [
        ({"deleted": "2026-11-21"}, DeletedError),
        ({"permissions": {"edit": True, "edit_resources": False}}, NotAllowedError),
        ({"permissions": {"edit": False}}, NotAllowedError),
        ({"permissions": {"edit": True}}, None),
        ({"permissions": None}, None),
        ({"resources": None, "extras": None}, None),
    ],
)
def test_what_cannot_be_written_to(shown: dict[str, Any], kind: type[Exception] | None) -> None:
    client = PortalClient("https://x", None, ApiKey("k"))
    if kind is None:
        assert Publisher(client, SHOWN | shown, print).names() == []
        return
    with pytest.raises(kind, match=r"the data set d \(t\) cannot be written to; "):
        Publisher(client, SHOWN | shown, print)


@pytest.mark.parametrize(
    ("titles", "checksum", "expected"),
    [
        (["A", "a.JSON"], {"type": "sha1", "value": "s"}, "is used, remove the others (-a "),
        (["A", "a.JSON"], {"type": "md5", "value": "s"}, "others, whose content is not the same"),
        (["a.json", "A.json"], None, "others, whose content is not the same (-a "),
    ],
)
def test_of_two_of_a_name_the_one_with_the_content_is_taken(
    titles: list[str], checksum: dict[str, str] | None, expected: str
) -> None:
    """What is said of the other may not have a content removed."""
    resources = [
        {"id": str(at), "title": title, "filetype": "file", "checksum": checksum, "type": "main"}
        for at, (title, checksum) in enumerate(
            zip([*titles, "a.json"], [None, checksum, SHA1], strict=True)
        )
    ]
    notes: list[tuple[str, str]] = []
    client = PortalClient("https://x", None, None, plan=lambda _: None)
    known = Publisher(
        client, SHOWN | {"resources": resources}, lambda code, text: notes.append((code, text))
    )
    file = FileToSend("a.json", None, 1, "s")
    done = asyncio.run(known.publish(file, "json"))
    assert done.resource == ("1" if checksum == SHA1 else "2")
    assert {code for code, _ in notes} == {"PUB-18"}
    assert all(expected in text for _, text in notes)


def test_what_is_read_back_is_compared() -> None:
    shown = {"id": "d", "deleted": "2026-01-01", "tags": [], "temporal_coverage": None}
    shown |= {"private": False, "resources": []}

    async def send(method: str, url: str, headers: Any, body: bytes) -> Answer:
        """Says yes to everything and does nothing."""
        return Answer(200, {}, orjson.dumps(shown))

    client = PortalClient("https://x", send, ApiKey("k"))
    with pytest.raises(MismatchError) as caught:
        asyncio.run(publisher.restore_dataset(client, shown))
    assert caught.value.line.startswith("[PUB-14] the data set d is not as it was sent: deleted")


SHA1 = {"type": "sha1", "value": "s"}
