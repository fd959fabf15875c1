"""The JSON in an answer of a service, or the exception that says what came in its place."""

from __future__ import annotations

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
    """The JSON value of a body.

    Raises :class:`AnswerError`: of which kind tells an empty body, an HTML page, JSON
    that stops in the middle, and anything else.
    """
    text = body.removeprefix(_BOM).strip()
    if not text:
        raise EmptyAnswerError("the service answered an empty body")
    try:
        return orjson.loads(text)
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
