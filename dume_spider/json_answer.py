"""The JSON in an answer of a service, or the exception that says what came in its place."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import orjson

from dume_spider.decp.verdict import quote
from dume_spider.exceptions import (
    CutAnswerError,
    EmptyAnswerError,
    HtmlAnswerError,
    NotJsonError,
)

_BOM = b"\xef\xbb\xbf"


def decode(body: bytes) -> Any:
    """The JSON value of a body, read by :func:`loads`.

    Raises :class:`AnswerError`: of which kind tells an empty body, an HTML page, JSON
    that stops in the middle, and anything else.
    """
    text = body.removeprefix(_BOM).strip()
    if not text:
        raise EmptyAnswerError("the service answered an empty body")
    try:
        return loads(text)
    except orjson.JSONDecodeError as error:
        start = quote(text[:60].decode("utf-8", "replace"), 80)
        if text[:1] == b"<":
            raise HtmlAnswerError(
                f"the service answered an HTML or XML page, not JSON: {start}"
            ) from error
        if text[:1] in b"{[" and error.pos >= len(text.decode("utf-8", "replace")) - 1:
            raise CutAnswerError(
                f"the service's JSON stops in the middle, after {len(body)} bytes"
            ) from error
        raise NotJsonError(f"the service answered no valid JSON: {error}: {start}") from error


def loads(text: bytes) -> Any:
    """The value of a JSON text.

    Half a surrogate pair (``\\ud83d``: a text that was cut inside a character) is lawful in JSON,
    but no text that a file or a database can hold. It becomes U+FFFD, which says that something
    was lost there (rule ``text-replacement``); the rest of the answer is as it would be without it.

    Raises :class:`orjson.JSONDecodeError`.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # What Python's own cannot read either has the error that orjson told.
        with suppress(ValueError, RecursionError):
            value = json.loads(text.decode("utf-8", "surrogatepass"))
            # In UTF-16 halves that stand side by side are one character.
            halves = json.dumps(value, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
            return orjson.loads(halves.decode("utf-16-le", "replace"))
        raise


def writable(rows: Iterable[Any]) -> tuple[Any, ...]:
    """The rows of an answer as they came; one that is nested too deeply to be written again
    (254 levels) as a text that holds its JSON, so that it is refused alone, and kept.

    Raises :class:`NotJsonError` for one that is deeper still.
    """
    return tuple(map(_writable, rows))


def _writable(row: Any) -> Any:
    try:
        orjson.dumps((row,))
    except TypeError:
        try:
            return json.dumps(row, ensure_ascii=False)
        except RecursionError as error:
            raise NotJsonError("a row of the answer is nested too deeply to be read") from error
    return row
