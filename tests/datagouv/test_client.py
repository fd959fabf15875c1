"""The client, against a fake that notes what is sent; the real thing is in the scenarios."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dume_spider.datagouv import client as module
from dume_spider.datagouv.client import Answer, ApiKey, FileToSend, PortalClient, read_url
from dume_spider.datagouv.errors import (
    InvalidError,
    KeyRefusedError,
    MissingError,
    RedirectedError,
    UnexpectedError,
)
from dume_spider.exceptions import ArgumentError

URL = "https://www.data.gouv.fr/api/1"
KEY = ApiKey("udata_secret")


class Fake:
    """A portal that gives the answers it was told, in their order, and notes the requests."""

    def __init__(self, *answers: Any):
        self.answers = list(answers)
        self.asked: list[tuple[str, str]] = []
        self.headers: list[Mapping[str, str]] = []
        self.bodies: list[bytes] = []

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.asked.append((method, url))
        self.headers.append(headers)
        self.bodies.append(body)
        answer = self.answers.pop(0)
        if isinstance(answer, Answer):
            return answer
        return Answer(200, {"content-type": "application/json"}, json.dumps(answer).encode())

    def client(self, **more: Any) -> PortalClient:
        return PortalClient(URL, self.send, KEY, **more)


def page(ids: list[str], next_page: str | None) -> dict[str, Any]:
    return {"data": [{"id": id} for id in ids], "next_page": next_page}


def test_pages_are_followed_on_our_own_address() -> None:
    """The portal may know itself by another name; the key does not go there."""
    fake = Fake(
        page(["a"], "http://internal:8080/api/1/datasets/?organization=o&page_size=100&page=2"),
        page(["b", "c"], "https://elsewhere.example/?page=3"),
        page([], None),
    )
    found = asyncio.run(fake.client().datasets("o"))
    assert [each["id"] for each in found] == ["a", "b", "c"]
    assert fake.asked == [
        ("GET", f"{URL}/datasets/?organization=o&page_size=100"),
        ("GET", f"{URL}/datasets/?organization=o&page_size=100&page=2"),
        ("GET", f"{URL}/datasets/?page=3"),
    ]
    # Without next_page in the mask there would be one page only.
    assert all("next_page" in headers["X-Fields"] for headers in fake.headers)


def test_headers() -> None:
    fake = Fake({"id": "x"})
    asyncio.run(fake.client().me())
    assert fake.headers == [{"Accept": "application/json", "X-API-KEY": "udata_secret"}]


def redirect(status: int, location: str) -> Answer:
    return Answer(status, {"location": location}, b"<html>")


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirection_on_the_same_host_is_followed_with_the_body(status: int) -> None:
    fake = Fake(redirect(status, "/api/1/datasets/new/"), {"id": "x"})
    fields = {"tags": [], "temporal_coverage": None, "private": False}
    asyncio.run(fake.client().update_dataset("old", fields))
    assert fake.asked == [("PUT", f"{URL}/datasets/old/"), ("PUT", f"{URL}/datasets/new/")]
    assert fake.bodies[0] == fake.bodies[1] != b""
    assert fake.headers[0] == fake.headers[1]


@pytest.mark.parametrize(
    "location",
    [
        "https://data.gouv.fr/api/1/me/",
        "http://www.data.gouv.fr/api/1/me/",
        "https://www.data.gouv.fr:8443/api/1/me/",
        "//evil.example/api/1/me/",
        "https://www.data.gouv.fr@evil.example/",
        "",
    ],
)
def test_other_redirections_are_refused(location: str) -> None:
    fake = Fake(redirect(308, location))
    with pytest.raises(RedirectedError, match="the key is not sent there"):
        asyncio.run(fake.client().me())
    assert len(fake.asked) == 1


def test_a_circle_of_redirections() -> None:
    fake = Fake(*(redirect(308, f"/api/1/datasets/{n}/") for n in range(9)))
    with pytest.raises(RedirectedError):
        asyncio.run(fake.client().dataset("x"))
    assert len(fake.asked) == 4


def test_302_is_not_followed_by_a_write() -> None:
    fake = Fake(redirect(302, "/api/1/x/"))
    with pytest.raises(RedirectedError):
        asyncio.run(fake.client().delete_dataset("x"))


def test_errors_do_not_show_the_key() -> None:
    """Not even when the portal says it."""
    body = b'{"message": "bad udata_secret", "errors": {"udata_secret": ["udata_secret"]}}'
    fake = Fake(Answer(401, {"x-sentry-id": "5f"}, body))
    with pytest.raises(KeyRefusedError) as raised:
        asyncio.run(fake.client().me())
    assert str(raised.value).startswith(
        f"GET {URL}/me/: HTTP status 401 (bad [the key]; [the key]: [the key]) [X-Sentry-ID 5f]; "
    )
    assert "secret" not in repr(raised.value.refusal)


def test_a_page_in_place_of_json() -> None:
    fake = Fake(Answer(200, {"content-type": "text/html; charset=utf-8"}, b"<p>"))
    with pytest.raises(UnexpectedError, match="the answer is no JSON but text/html"):
        asyncio.run(fake.client().me())


@pytest.mark.parametrize("body", [{}, None, {"data": {}, "resources": {"total": 3}}])
@pytest.mark.parametrize("call", ["dataset", "datasets", "licenses"])
def test_the_json_of_another_api(body: Any, call: str) -> None:
    """Such as that of https://www.data.gouv.fr/api/2, where resources are a link."""
    client = Fake(body).client()
    asked = getattr(client, call)(*[] if call == "licenses" else ["x"])
    with pytest.raises(UnexpectedError, match="the answer is not that of version 1 of the API; "):
        asyncio.run(asked)


def test_names_cannot_lead_elsewhere() -> None:
    fake = Fake({"resources": []})
    asyncio.run(fake.client().dataset("../../x?y#z"))
    assert fake.asked == [("GET", f"{URL}/datasets/..%2F..%2Fx%3Fy%23z/")]


def test_what_a_put_would_empty_has_to_be_sent() -> None:
    with pytest.raises(ValueError, match="temporal_coverage"):
        asyncio.run(Fake().client().update_dataset("x", {"tags": [], "private": False}))


@pytest.mark.parametrize(
    ("call", "expected", "body"),
    [
        (lambda c: c.licenses(), ("GET", "datasets/licenses/"), None),
        (lambda c: c.create_dataset({"title": "é"}), ("POST", "datasets/"), {"title": "é"}),
        (lambda c: c.delete_dataset("d"), ("DELETE", "datasets/d/"), None),
        (lambda c: c.resource("d", "r"), ("GET", "datasets/d/resources/r/"), None),
        (
            lambda c: c.add_remote("d", {"title": "t"}),
            ("POST", "datasets/d/resources/"),
            {"title": "t", "filetype": "remote"},
        ),
        (
            lambda c: c.update_resource("d", "r", {"type": "main"}),
            ("PUT", "datasets/d/resources/r/"),
            {"type": "main"},
        ),
        (lambda c: c.delete_resource("d", "r"), ("DELETE", "datasets/d/resources/r/"), None),
        (
            lambda c: c.reorder("d", ["b", "a"]),
            ("PUT", "datasets/d/resources/"),
            [{"id": "b"}, {"id": "a"}],
        ),
    ],
)
def test_calls(call: Any, expected: tuple[str, str], body: Any) -> None:
    fake = Fake([])
    asyncio.run(call(fake.client()))
    method, path = expected
    assert fake.asked == [(method, f"{URL}/{path}")]
    assert (json.loads(fake.bodies[0]) if fake.bodies[0] else None) == body
    assert ("Content-Type" in fake.headers[0]) == (body is not None)
    # The same call, planned: one line for what writes, and nothing is sent.
    plan: list[str] = []
    planned = Fake([])
    asyncio.run(call(planned.client(plan=plan.append)))
    assert len(plan) == (method != "GET")
    assert len(planned.asked) == (method == "GET")
    assert all(line.startswith(f"{method} {URL}/{path}") for line in plan)


def parts(body: bytes, content_type: str) -> dict[str, tuple[str | None, bytes]]:
    """The parts of a multipart body, by name, as the standard library reads them."""
    message = BytesParser(policy=HTTP).parsebytes(
        f"Content-Type: {content_type}\r\n\r\n".encode() + body
    )
    return {
        part.get_param("name", header="content-disposition"): (
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    }


@pytest.mark.parametrize("size", [1, 9, 10])
def test_a_small_file_is_one_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(module, "PART", 10)
    path = tmp_path / "f"
    path.write_bytes(b"\r\n--\xff\x00xyz"[:size].ljust(size, b"-"))
    fake = Fake({"id": "r"})
    file = FileToSend("DECP.json", path, size, "")
    asyncio.run(fake.client().upload("d", file, "r"))
    assert fake.asked == [("POST", f"{URL}/datasets/d/resources/r/upload/")]
    assert parts(fake.bodies[0], fake.headers[0]["Content-Type"]) == {
        "file": ("DECP.json", path.read_bytes())
    }


@settings(max_examples=30)
@given(content=st.binary(min_size=6, max_size=60))
def test_a_large_file_comes_together(tmp_path_factory: Any, content: bytes) -> None:
    """Its parts are numbered, of the size they say, and together the file."""
    path = tmp_path_factory.mktemp("file") / "f"
    path.write_bytes(content)
    count = -(-len(content) // 5)
    fake = Fake(*[{"success": True}] * count, {"id": "r"})
    file = FileToSend("DECP.json", path, len(content), hashlib.sha1(content).hexdigest())
    before, module.PART = module.PART, 5
    try:
        asyncio.run(fake.client().upload("d", file))
    finally:
        module.PART = before
    assert fake.asked == [("POST", f"{URL}/datasets/d/upload/")] * (count + 1)
    sent = [
        parts(body, headers["Content-Type"])
        for body, headers in zip(fake.bodies, fake.headers, strict=True)
    ]
    *chunks, last = sent
    assert b"".join(each["file"][1] for each in chunks) == content
    assert [int(each["partindex"][1]) for each in chunks] == list(range(count))
    assert [int(each["chunksize"][1]) for each in chunks] == [
        len(each["file"][1]) for each in chunks
    ]
    assert {int(each["totalparts"][1]) for each in sent} == {count}
    assert len({each["uuid"][1] for each in sent}) == 1
    assert "file" not in last


def test_a_part_that_fails_ends_the_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The portal answers 500 to a part that it has already."""
    monkeypatch.setattr(module, "PART", 2)
    path = tmp_path / "f"
    path.write_bytes(b"abcdef")
    fake = Fake({"success": True}, Answer(400, {}, b'{"success": false, "error": "Mismatch"}'))
    with pytest.raises(InvalidError, match="Mismatch"):
        asyncio.run(fake.client().upload("d", FileToSend("a.json", path, 6, "")))
    assert len(fake.asked) == 2


def test_404() -> None:
    fake = Fake(Answer(404, {}, b'{"error": "Not found", "status": 404}'))
    with pytest.raises(MissingError, match=r"HTTP status 404 \(Not found\); there is no such"):
        asyncio.run(fake.client().dataset("x"))


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("https://www.data.gouv.fr/api/1", "https://www.data.gouv.fr/api/1"),
        (" https://demo.data.gouv.fr/api/1/ ", "https://demo.data.gouv.fr/api/1"),
        ("http://127.0.0.1:7000/api/1", "http://127.0.0.1:7000/api/1"),
        ("http://localhost/api/1", "http://localhost/api/1"),
        ("http://[::1]:80/api/1", "http://[::1]:80/api/1"),
    ],
)
def test_addresses(given_url: str, expected: str) -> None:
    assert read_url(given_url) == expected


@pytest.mark.parametrize(
    "given_url",
    [
        "http://www.data.gouv.fr/api/1",
        "http://127.0.0.1.evil.example/",
        "http://10.0.0.1/",
        "ftp://www.data.gouv.fr/",
        "www.data.gouv.fr/api/1",
        "https:///api/1",
        "https://x/api/1?key=1",
        "https://x:99999/",
        "https://[::1",
        "",
    ],
)
def test_bad_addresses(given_url: str) -> None:
    with pytest.raises(ArgumentError, match=r"DATAGOUV_API_URL=.* cannot be used; accepted: https"):
        read_url(given_url)


def test_an_address_with_a_password_is_not_shown() -> None:
    with pytest.raises(ArgumentError) as raised:
        read_url("https://user:hidden@www.data.gouv.fr/api/1")
    assert str(raised.value) == "DATAGOUV_API_URL holds a user or password; leave it out"


def test_a_key_is_not_shown() -> None:
    assert repr(KEY) == str(KEY) == "ApiKey(…)"
    assert "secret" not in repr(Fake().client())
    assert ApiKey(" udata_secret\n").reveal() == "udata_secret"
    for text in ("", " "):
        with pytest.raises(ArgumentError, match="DATAGOUV_API_KEY is not set"):
            ApiKey(text)
    for text in ("a b", "é", "a\nb"):
        with pytest.raises(ArgumentError, match="DATAGOUV_API_KEY is no key") as raised:
            ApiKey(text)
        assert text not in str(raised.value)
