"""What the BOAMP API answers: pages of records, the data set's columns, refusals, quotas.

A page of HTML with status 200 (a parked domain, a firewall) is a fault, never an empty answer.
Source of the shapes: Opendatasoft's documents and published answers; the body of a refusal
has ``error_code`` and ``message``, that of a quota ``errorcode`` and ``error``, so both are
accepted for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dume_spider.decp.verdict import quote
from dume_spider.exceptions import AnswerError, EnvelopeError
from dume_spider.json_answer import decode, writable

#: Without these nothing can be collected, proven or kept.
ESSENTIAL_COLUMNS = ("idweb", "dateparution", "donnees")


@dataclass(frozen=True, slots=True)
class Records:
    """A page of records: how many there are in all, and the rows of this page as they came."""

    total_count: int
    rows: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota that is used up: what the service said, and when it starts anew, if it said so."""

    message: str
    reset: datetime | None


def read_records(body: bytes) -> Records:
    """Read a page of records.

    Raises :class:`AnswerError`: see :func:`dume_spider.json_answer.decode`, and
    :class:`EnvelopeError` for JSON without ``total_count`` and ``results``.
    """
    value = decode(body)
    total, rows = (value.get(name) if isinstance(value, dict) else None for name in _ENVELOPE)
    if isinstance(total, bool) or not isinstance(total, int) or total < 0:
        raise EnvelopeError(f"the answer has no number 'total_count': {_shape(value)}")
    if not isinstance(rows, list):
        raise EnvelopeError(f"the answer has no list 'results': {_shape(value)}")
    return Records(total, writable(rows))


_ENVELOPE = ("total_count", "results")


def read_columns(body: bytes) -> tuple[str, ...]:
    """The names of the data set's columns, from its description. Raises :class:`AnswerError`."""
    value = decode(body)
    fields = value.get("fields") if isinstance(value, dict) else None
    if not isinstance(fields, list) or not fields:
        raise EnvelopeError(f"the description of the data set has no 'fields': {_shape(value)}")
    names = [field.get("name") if isinstance(field, dict) else None for field in fields]
    if not all(isinstance(name, str) for name in names):
        raise EnvelopeError("a field in the description of the data set has no name")
    return tuple(names)


def read_idweb(row: object) -> str | None:
    """The key of a row; ``None`` when it has none."""
    value = row.get("idweb") if isinstance(row, dict) else None
    return value if isinstance(value, str) and value else None


def read_refusal(status: int, body: bytes) -> str:
    """A refusal in one line: the HTTP status and what the service says, if it says anything."""
    value = _object(body)
    code, message = _first(value, "error_code", "errorcode"), _first(value, "message", "error")
    said = ": ".join(" ".join(str(part).split()) for part in (code, message) if part)
    return f"HTTP status {status}" + (f", {said}" if said else "")


def read_quota(status: int, headers: Mapping[str, str], body: bytes) -> Quota | None:
    """The quota that an answer says to be used up; ``None``: it does not speak of one.

    ``headers`` has lower-case names. A 429 without such a body asks to go slower, no more.
    """
    value = _object(body)
    if status != 429 or not (code := _first(value, "errorcode", "error_code")):
        return None
    unit, limit = value.get("limit_time_unit"), value.get("call_limit")
    parts = [str(_first(value, "error", "message") or "the quota is used up"), f"code {code}"]
    if limit:
        parts.append(f"{limit} calls a {unit or 'period'}")
    return Quota(", ".join(" ".join(part.split()) for part in parts), _reset(value, headers))


def _reset(value: Mapping[str, Any], headers: Mapping[str, str]) -> datetime | None:
    """When a quota starts anew: ``reset_time`` of the body, or ``X-RateLimit-Reset``."""
    for text in (value.get("reset_time"), headers.get("x-ratelimit-reset")):
        try:
            if isinstance(text, int) or (isinstance(text, str) and text.isdecimal()):
                return datetime.fromtimestamp(int(text), UTC)
            if isinstance(text, str):
                moment = datetime.fromisoformat(text)
                return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError, OSError):
            continue
    return None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = decode(body)
    except AnswerError:
        return {}
    return value if isinstance(value, dict) else {}


def _first(value: Mapping[str, Any], *names: str) -> Any:
    return next((value[name] for name in names if value.get(name)), None)


def _shape(value: object) -> str:
    if isinstance(value, dict):
        return f"it has: {', '.join(map(str, list(value)[:5])) or 'nothing'}"
    return quote(value)
