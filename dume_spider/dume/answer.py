"""What the DUME service answers: the envelope read tolerantly, one exception per fault.

The service answers HTTP 200 even for an error of its own, so the status proves nothing:
only the envelope does (facts known of the service: ``{"response": {"messageList": […],
"donneesEssentielles": […]}}``, each part possibly missing, null or a single object).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from dume_spider.decp.verdict import quote, shortened
from dume_spider.exceptions import EnvelopeError, RefusedError
from dume_spider.json_answer import decode, writable


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the service: only the kind ``ERREUR`` is known to mean failure."""

    kind: str
    code: str
    text: str

    def __str__(self) -> str:
        return shortened(" ".join(f"{self.kind} {self.code}: {self.text}".split()))


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of one answer as they came, and the messages that are not errors.

    ``unknown`` are the keys of the envelope that nothing is known of: a count of all rows, or
    pages, would be one.
    """

    rows: tuple[Any, ...]
    notices: tuple[Message, ...]
    unknown: tuple[str, ...] = ()


def read_answer(body: bytes) -> Answer:
    """Read the answer to a search or detail request.

    Raises the subclasses of :class:`AnswerError` (see :func:`.json_answer.decode`), among them
    :class:`EnvelopeError` for JSON that is no answer of this service, and
    :class:`RefusedError` when the service says ``ERREUR`` (or ``ERROR``, …).
    """
    value = decode(body)
    response = value.get("response") if isinstance(value, dict) else None
    if not isinstance(response, dict):
        raise EnvelopeError(f"the answer has no object 'response' (it has: {_keys(value)})")
    messages = [_message(item) for item in _as_list(response, _MESSAGES)]
    errors = [message for message in messages if message.kind.upper().startswith("ERR")]
    if errors:
        raise RefusedError("; ".join(map(str, errors)), code=errors[0].code)
    unknown = [shortened(f"response.{key}") for key in response if key not in (_MESSAGES, _ROWS)]
    if unknown and _ROWS not in response:
        # A list of another name must not pass for a day without contracts.
        raise EnvelopeError(f"the answer has no list '{_ROWS}' (it has: {_keys(response)})")
    unknown += (shortened(key) for key in value if key != "response")
    return Answer(writable(_as_list(response, _ROWS)), tuple(messages), tuple(unknown))


_MESSAGES, _ROWS = "messageList", "donneesEssentielles"


def row_key(reference: str | None, row: object) -> str:
    """The identity of one version of a record: its reference and a hash of the raw row."""
    raw = orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
    return f"{reference or ''}:{blake2b(raw, digest_size=12).hexdigest()}"


def reference_of(key: str) -> str:
    """The reference in a :func:`row_key`, empty when the row had none."""
    return key.rpartition(":")[0]


def _as_list(response: dict[str, Any], key: str) -> list[Any]:
    value = response.get(key)
    if value is None:
        return []
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list):
        return value
    raise EnvelopeError(f"'{key}' of the answer is neither a list nor an object: {quote(value)}")


def _keys(value: object) -> str:
    if not isinstance(value, dict):
        return type(value).__name__
    return ", ".join(list(value)[:5]) or "nothing"


def _message(item: object) -> Message:
    if not isinstance(item, dict):
        return Message("", "", str(item))
    return Message(*(str(item.get(key) or "") for key in ("type", "code", "message")))
