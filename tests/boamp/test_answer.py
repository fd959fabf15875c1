"""Answers of the BOAMP API, whole and broken."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from dume_spider.boamp.answer import (
    Quota,
    Records,
    read_columns,
    read_idweb,
    read_quota,
    read_records,
    read_refusal,
)
from dume_spider.exceptions import AnswerError


def test_a_page_of_records() -> None:
    body = b'\xef\xbb\xbf {"total_count": 2, "results": [{"idweb": "26-1"}, 5]}'
    assert read_records(body) == Records(2, ({"idweb": "26-1"}, 5))
    assert read_records(b'{"total_count":0,"results":[]}') == Records(0, ())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the service answered an empty body"),
        (b"<html></html>", "the service answered an HTML or XML page, not JSON: '<html></html>'"),
        (b'{"total_count": 3, "resu', "the service's JSON stops in the middle, after 24 bytes"),
        (b"[]", "the answer has no number 'total_count': []"),
        (b"{}", "the answer has no number 'total_count': it has: nothing"),
        (
            b'{"total_count": true, "results": []}',
            "the answer has no number 'total_count': it has: total_count, results",
        ),
        (
            b'{"total_count": -1, "results": []}',
            "the answer has no number 'total_count': it has: total_count, results",
        ),
        (b'{"total_count": 3}', "the answer has no list 'results': it has: total_count"),
        (
            b'{"total_count": 3, "results": null}',
            "the answer has no list 'results': it has: total_count, results",
        ),
    ],
)
def test_what_is_no_page(body: bytes, message: str) -> None:
    with pytest.raises(AnswerError) as caught:
        read_records(body)
    assert str(caught.value) == message


def test_columns() -> None:
    body = b'{"dataset_id": "boamp", "fields": [{"name": "idweb", "type": "text"}, {"name": "x"}]}'
    assert read_columns(body) == ("idweb", "x")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "the description of the data set has no 'fields': it has: nothing"),
        (b'{"fields": []}', "the description of the data set has no 'fields': it has: fields"),
        (b'{"fields": [5]}', "a field in the description of the data set has no name"),
        (b'{"fields": [{"name": 5}]}', "a field in the description of the data set has no name"),
    ],
)
def test_what_describes_no_data_set(body: bytes, message: str) -> None:
    with pytest.raises(AnswerError) as caught:
        read_columns(body)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("row", "idweb"),
    [({"idweb": "26-1"}, "26-1"), ({"idweb": ""}, None), ({"idweb": 5}, None), ({}, None)]
    + [(None, None), ("26-1", None), ([], None)],
)
def test_the_key_of_a_row(row: Any, idweb: str | None) -> None:
    assert read_idweb(row) == idweb


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"error_code": "ODSQLSyntaxError", "message": "unexpected (\nat position 8"},
            "HTTP status 400, ODSQLSyntaxError: unexpected ( at position 8",
        ),
        ({"errorcode": 10002, "error": "Too many"}, "HTTP status 400, 10002: Too many"),
        ({"message": "no"}, "HTTP status 400, no"),
        ([], "HTTP status 400"),
        ("<html>", "HTTP status 400"),
    ],
)
def test_refusals(body: Any, said: str) -> None:
    content = body.encode() if isinstance(body, str) else orjson.dumps(body)
    assert read_refusal(400, content) == said


RESET = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        (
            {},
            {
                "errorcode": 10002,
                "reset_time": "2026-11-22T00:00:00Z",
                "limit_time_unit": "day",
                "call_limit": 10000,
                "error": "Too many requests on the domain",
            },
            Quota("Too many requests on the domain, code 10002, 10000 calls a day", RESET),
        ),
        (
            {"x-ratelimit-reset": "1795305600"},
            {"errorcode": 10005, "error": "Too many requests for anonymous users"},
            Quota("Too many requests for anonymous users, code 10005", RESET),
        ),
        # The form of the other errors.
        (
            {},
            {"error_code": "QuotaExceeded", "message": "no", "reset_time": "2026-11-22T00:00:00"},
            Quota("no, code QuotaExceeded", RESET),
        ),
        ({}, {"errorcode": 10002}, Quota("the quota is used up, code 10002", None)),
        (
            {"x-ratelimit-reset": "soon"},
            {"errorcode": 10002, "reset_time": "tomorrow"},
            Quota("the quota is used up, code 10002", None),
        ),
        (
            {"x-ratelimit-reset": "9" * 30},
            {"errorcode": 1},
            Quota("the quota is used up, code 1", None),
        ),
        # To go slower is another thing.
        ({"retry-after": "1"}, {}, None),
        ({}, [], None),
    ],
)
def test_quotas(headers: dict[str, str], body: Any, expected: Quota | None) -> None:
    assert read_quota(429, headers, orjson.dumps(body)) == expected
    assert read_quota(400, headers, orjson.dumps(body)) is None
    assert read_quota(429, headers, b"") is None
