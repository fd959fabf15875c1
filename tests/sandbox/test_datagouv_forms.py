"""How the replica of data.gouv.fr reads forms: what no table of calls can show."""

# ruff: noqa: SIM905 - lists of words are split texts

from __future__ import annotations

from json import dumps, loads
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portals import Form

from dume_spider.sandbox.datagouv import DatagouvReplica
from dume_spider.sandbox.datagouv_forms import (
    FREQUENCIES,
    RESOURCE_TYPES,
    Refusal,
    mask,
    read_dataset,
    read_multipart,
    read_resource,
    slugify,
)
from dume_spider.sandbox.server import Asked

#: The bytes of a form's own marks are likelier here than by chance.
CONTENT = st.lists(
    st.sampled_from([b"\r\n", b"--", b"a-boundary", b"--a-boundar", b"\n", b"\x00", b"{}"])
    | st.binary(max_size=5)
).map(b"".join)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\n;\x85\u2028\u2029'))


@settings(max_examples=100)
@given(CONTENT.filter(lambda content: b"\r\n--a-boundary" not in b"\r\n" + content))
def test_a_file_comes_through_a_form_as_it_is(content):
    form = Form({"uuid": "é", "totalparts": 2}, ("a.json", content))
    fields, file = read_multipart(form.content_type, form.body)
    assert fields == {"uuid": "é", "totalparts": "2"}
    assert file == ("a.json", content)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b"x"),
        ("application/json", b"{}"),
        ("multipart/form-data", Form({"a": 1}).body),
        ("multipart/form-data; boundary=other", Form({"a": 1}).body),
        (Form.content_type, b""),
        (Form.content_type, b"--a-boundary\r\nno end"),
        (Form.content_type, b"--a-boundary\r\nno content\r\n--a-boundary--"),
    ],
)
def test_what_is_no_form(content_type, body):
    assert read_multipart(content_type, body) == ({}, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
DATASET = st.dictionaries(
    st.sampled_from(
        "title description acronym license frequency private archived deleted tags extras "
        "temporal_coverage resources unknown".split()
    ),
    JSON | st.sampled_from(FREQUENCIES),
)
RESOURCE = st.dictionaries(
    st.sampled_from(
        "title description url filetype type format mime filesize checksum extras schema".split()
    ),
    JSON | st.sampled_from([*RESOURCE_TYPES, "https://example.org/a", "//x", "http://["]),
)


@settings(max_examples=150)
@given(DATASET, st.booleans())
def test_any_data_set_is_read_or_refused(given_fields, new):
    try:
        changes, errors = read_dataset(given_fields, None if new else {})
    except Refusal:
        return
    assert errors or not new or {"title", "description"} <= changes.keys()
    assert "unknown" not in changes


@settings(max_examples=150)
@given(RESOURCE, st.booleans())
def test_any_resource_is_read_or_refused(given_fields, hosted):
    current = dict.fromkeys(("title", "url"), "x" if hosted else None) | {"filetype": "file"}
    changes, errors = read_resource(given_fields, current)
    assert errors or hosted or {"title", "url"} <= changes.keys()
    if hosted:
        assert not changes.keys() & {"url", "filesize", "format", "mime", "checksum", "filetype"}


@settings(max_examples=150)
@given(
    st.sampled_from(["POST /", "PUT /{id}/", "POST /{id}/resources/", "PUT /{id}/resources/"]),
    JSON | DATASET | RESOURCE | st.lists(RESOURCE, max_size=2),
)
def test_any_json_is_answered(replica, line, body):
    owner = {"content-type": "application/json", "x-api-key": replica.keys["owner"]}

    def send(line: str, body: Any) -> Any:
        method, path = line.split()
        return replica.answer(
            Asked(method, f"/api/1/datasets{path}", {}, owner, dumps(body).encode())
        )

    made = loads(send("POST /", {"title": "x", "description": "x"}).body)
    answer = send(line.format(**made), body)
    assert answer.status in (200, 201, 400)
    assert answer.status != 400 or loads(answer.body).keys() <= {"message", "errors"}


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    return DatagouvReplica(tmp_path_factory.mktemp("uploads"))


@pytest.mark.parametrize(
    "url", ["http://localhost/a", "http://127.0.0.1/a", "http://[::1]/a", "http://x.local/a"]
)
def test_no_address_of_this_machine(url):
    """As in production; the udata of the tests has its own files there."""
    current: dict[str, Any] = {"title": None, "url": None, "filetype": "file"}
    assert read_resource({"title": "R", "url": url}, current)[1].keys() == {"url"}


@given(st.text())
def test_a_slug_is_its_own(text):
    slug = slugify(text)
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert slugify(slug) == slug


@given(st.text("ab{},* ", max_size=12))
def test_any_mask_is_read_or_refused(wanted):
    value = {"a": {"b": [{"a": 1}, None]}, "b": None}
    try:
        found = mask(wanted, value)
    except Refusal:
        return
    assert found.keys() <= value.keys()
