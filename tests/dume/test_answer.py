from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dume_spider import exceptions
from dume_spider.dume.answer import Message, read_answer, row_key

GOOD = orjson.dumps({"response": {"messageList": [], "donneesEssentielles": [{"a": 1}, {"b": 2}]}})


def envelope(**parts: object) -> bytes:
    return orjson.dumps({"response": parts})


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (GOOD, ({"a": 1}, {"b": 2})),
        (b"\xef\xbb\xbf" + GOOD + b"\n", ({"a": 1}, {"b": 2})),
        (envelope(), ()),
        (envelope(donneesEssentielles=None, messageList=None), ()),
        (envelope(donneesEssentielles=[]), ()),
        (envelope(donneesEssentielles={"a": 1}), ({"a": 1},)),
    ],
)
def test_rows(body: bytes, rows: tuple[object, ...]) -> None:
    answer = read_answer(body)
    assert answer.rows == rows
    assert answer.notices == ()


def test_other_messages_are_notices() -> None:
    message = {"type": "INFO", "code": "I1", "message": "maintenance ce soir"}
    answer = read_answer(envelope(messageList=message, donneesEssentielles=None))
    assert answer.notices == (Message("INFO", "I1", "maintenance ce soir"),)


def test_keys_of_the_envelope_that_are_not_known_are_told() -> None:
    body = orjson.dumps({"response": {"donneesEssentielles": [], "total": 250}, "page": 1})
    assert read_answer(body).unknown == ("response.total", "page")
    assert read_answer(GOOD).unknown == ()
    long = read_answer(orjson.dumps({"response": {"donneesEssentielles": []}, "k" * 501: 1}))
    assert long.unknown == ("k" * 499 + "…",)


def test_a_long_message_is_shortened() -> None:
    assert str(Message("INFO", "I1", "m" * 1000)) == f"INFO I1: {'m' * 490}…"


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        (b"", exceptions.EmptyAnswerError, "the service answered an empty body"),
        (
            b"<html><body>Maintenance</body></html>",
            exceptions.HtmlAnswerError,
            "the service answered an HTML or XML page, not JSON: "
            "'<html><body>Maintenance</body></html>'",
        ),
        (
            GOOD[:40],
            exceptions.CutAnswerError,
            "the service's JSON stops in the middle, after 40 bytes",
        ),
        (
            b"\x00\x01 garbage",
            exceptions.NotJsonError,
            "the service answered no valid JSON: unexpected character, expected a JSON value: "
            "line 1 column 1 (char 0): '\\x00\\x01 garbage'",
        ),
        (
            b'{"response": NaN}',
            exceptions.NotJsonError,
            "the service answered no valid JSON: unexpected character, expected a JSON value: "
            "line 1 column 14 (char 13): '{\"response\": NaN}'",
        ),
        (
            b"[1]",
            exceptions.EnvelopeError,
            "the answer has no object 'response' (it has: list)",
        ),
        (
            b'{"error": 1, "status": 2}',
            exceptions.EnvelopeError,
            "the answer has no object 'response' (it has: error, status)",
        ),
        (
            b'{"response": null}',
            exceptions.EnvelopeError,
            "the answer has no object 'response' (it has: response)",
        ),
        (
            envelope(donneesEssentielles="beaucoup"),
            exceptions.EnvelopeError,
            "'donneesEssentielles' of the answer is neither a list nor an object: 'beaucoup'",
        ),
        (
            envelope(messageList=[], listeDonneesEssentielles=[{"a": 1}]),
            exceptions.EnvelopeError,
            "the answer has no list 'donneesEssentielles' (it has: messageList, "
            "listeDonneesEssentielles)",
        ),
        (
            envelope(code=500, erreur="interne"),
            exceptions.EnvelopeError,
            "the answer has no list 'donneesEssentielles' (it has: code, erreur)",
        ),
        (
            envelope(messageList=[{"type": "ERREUR", "code": "E42", "message": "plateforme"}]),
            exceptions.RefusedError,
            "ERREUR E42: plateforme",
        ),
        (
            envelope(messageList=[{"type": "error", "code": 500, "message": "in\nterne"}], other=1),
            exceptions.RefusedError,
            "error 500: in terne",
        ),
    ],
)
def test_faults(body: bytes, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        read_answer(body)
    assert str(raised.value) == text
    assert type(raised.value) is error


@given(st.integers(min_value=1, max_value=len(GOOD) - 1))
def test_an_answer_cut_anywhere_is_a_cut_answer(length: int) -> None:
    with pytest.raises(exceptions.CutAnswerError):
        read_answer(GOOD[:length])


def test_row_key_tells_versions_apart_whatever_the_order_of_keys() -> None:
    assert row_key("R", {"a": 1, "b": 2}) == row_key("R", {"b": 2, "a": 1})
    assert row_key("R", {"a": 1}) != row_key("R", {"a": 2})
    assert row_key("R", {}) != row_key("S", {})
