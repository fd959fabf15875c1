"""What is no JSON has its exception; each kind, with its text, is in tests/dume/test_answer.py."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dume_spider import exceptions
from dume_spider.json_answer import decode, writable


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_an_answer_error(body: bytes) -> None:
    try:
        text = repr(decode(body))
    except exceptions.AnswerError as error:
        text = str(error)
    assert "\n" not in text


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'["a\\ud83d", 1]', ["a\ufffd", 1]),
        (b'["\\ude00\\ud83d"]', ["\ufffd\ufffd"]),
        (b'["\\ud83d\\ude00", "\\ud83d"]', ["\U0001f600", "\ufffd"]),
        (b'{"\\udc00": "\\\\ud83d"}', {"\ufffd": "\\ud83d"}),
        # As some encoders of UTF-8 write halves, and pairs.
        (b'["\xed\xa0\xbd", "\xed\xa0\xbd\xed\xb8\x80"]', ["\ufffd", "\U0001f600"]),
        # Numbers are what they are in an answer without such a text.
        (
            b'["\\ud83d", 1.0, 123456789012345678901234567890, -0.0]',
            ["\ufffd", 1.0, 1.2345678901234568e29, -0.0],
        ),
    ],
)
def test_half_a_surrogate_pair_costs_one_character(body: bytes, value: object) -> None:
    read = decode(body)
    assert repr(read) == repr(value)
    assert orjson.loads(orjson.dumps(read)) == read


@pytest.mark.parametrize(
    "body", [b'["\\ud83d", NaN]', b'["\\ud83d", 1e400]', b'["\\ud83d", "\xe9"]']
)
def test_what_is_no_json_stays_none(body: bytes) -> None:
    with pytest.raises(exceptions.NotJsonError):
        decode(body)


def test_a_row_nested_too_deeply_is_kept_as_text_beside_the_others() -> None:
    deep = json.loads('{"a":' * 300 + '"é"' + "}" * 300)
    rows = writable([{"b": 1}, deep, None])
    assert (rows[0], rows[2]) == ({"b": 1}, None)
    assert json.loads(rows[1]) == deep
    orjson.dumps(rows)
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(exceptions.NotJsonError, match="nested too deeply"):
        writable([deep])
