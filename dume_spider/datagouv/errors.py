"""Why the portal did not do what it was asked: one exception per kind of refusal.

The shapes of its error bodies were observed on udata 17, the software of data.gouv.fr. Texts
are in the server's language, so that decisions rest on the status alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any, ClassVar, NamedTuple

import orjson

from dume_spider.exceptions import DumeSpiderError

#: Characters of a server's message that are shown.
LONGEST_MESSAGE = 300


class Refusal(NamedTuple):
    """What an error body says: its ``message`` (may be empty), and per field its faults.

    Fields inside others are joined by dots (``schema.name``).
    """

    message: str
    fields: dict[str, str]


_NOTHING = Refusal("", {})


class PortalError(DumeSpiderError):
    """The portal did not do what it was asked.

    ``status`` is the HTTP status (0: there was no answer), ``refusal`` what the body said,
    ``sentry`` the portal's own reference of the incident (``X-Sentry-ID``), if it gave one;
    ``wait`` the seconds that it asks to wait before a further try.

    Of each kind: ``advice`` is what a person can do; ``is_passing`` says that the same
    command may succeed later; ``is_of_file`` that other files may pass all the same.
    """

    advice: ClassVar[str] = "see what the portal says"
    is_passing: ClassVar[bool] = False
    is_of_file: ClassVar[bool] = False

    def __init__(
        self,
        what: str,
        *,
        status: int = 0,
        refusal: Refusal = _NOTHING,
        sentry: str = "",
        wait: float = 0.0,
    ):
        fields = [f"{name}: {text}" if name else text for name, text in refusal.fields.items()]
        said = "; ".join(filter(None, [refusal.message, *fields]))
        parts = [what]
        if status:
            parts.append(f": HTTP status {status}")
        if said:
            parts.append(f" ({said[:LONGEST_MESSAGE]})")
        if sentry:
            parts.append(f" [X-Sentry-ID {sentry}]")
        super().__init__(f"{''.join(parts)}; {self.advice}")
        self.status = status
        self.refusal = refusal
        self.sentry = sentry
        self.wait = wait


class InvalidError(PortalError):
    """400: the portal does not take these values; it names the fields (the caller's fault)."""

    log_code = "PUB-01"
    advice = "correct what it names: an argument, a setting, or the file"
    is_of_file = True


class KeyRefusedError(PortalError):
    """401: the key is unknown, revoked or expired, or its user is not active."""

    log_code = "PUB-02"
    advice = (
        "the portal does not accept the key in DATAGOUV_API_KEY (unknown, revoked, expired, or "
        "its user is inactive); make a new one in the user's settings on the portal"
    )


class NotAllowedError(PortalError):
    """403: the owner of the key may not do this."""

    log_code = "PUB-03"
    advice = (
        "the owner of the key has no right to do this; an administrator of the data set's "
        "organization can make them an editor, or assign the data set to a partial editor"
    )


class MissingError(PortalError):
    """404: there is no such data set or resource, or it is private and not the key owner's."""

    log_code = "PUB-04"
    advice = "there is no such thing, or the key's owner may not see it; check the id"
    # Of a file: somebody has removed its resource since the data set was read.
    is_of_file = True


class ConflictError(PortalError):
    """409: the data set cannot be deleted, since it has a DOI."""

    log_code = "PUB-05"
    advice = "a data set with a DOI stays; ask the portal's team"


class DeletedError(PortalError):
    """410: the data set is deleted."""

    log_code = "PUB-06"
    advice = (
        "the data set is deleted; bring it back first: -a action=restore, with the key "
        "of a member of its organization"
    )


class TooLargeError(PortalError):
    """413: the portal, or the server in front of it, takes no body of this size."""

    log_code = "PUB-07"
    advice = "the file is too large for the portal; publish fewer contracts per file"
    is_of_file = True


class FileTypeError(PortalError):
    """415: the portal does not take a file of this type."""

    log_code = "PUB-08"
    advice = "the portal does not take such files; publish JSON or XML"
    is_of_file = True


class ReadOnlyError(PortalError):
    """423: the portal is read-only for a while (maintenance)."""

    log_code = "PUB-09"
    advice = "the portal is read-only for now; run the same command again later"
    is_passing = True


class PortalFailureError(PortalError):
    """5xx, 408, 429: the portal, or the server in front of it, failed or has no time."""

    log_code = "PUB-10"
    advice = "run the same command again later"
    is_passing = True


class NoAnswerError(PortalError):
    """There was no answer: no connection, or one that was cut. What was asked may be done."""

    log_code = "PUB-11"
    advice = "check the network and DATAGOUV_API_URL, and run the same command again"
    is_passing = True


class RedirectedError(PortalError):
    """3xx that is not followed: it leads to another host, or nowhere."""

    log_code = "PUB-12"
    advice = "the key is not sent there; check DATAGOUV_API_URL"


class UnexpectedError(PortalError):
    """An answer that this API is not known to give."""

    log_code = "PUB-13"
    advice = "check DATAGOUV_API_URL; if it is right, the portal has changed"


class MismatchError(PortalError):
    """What was read back differs from what was sent."""

    log_code = "PUB-14"
    advice = "run the same command again; if it says the same, the portal has changed"
    is_passing = True
    is_of_file = True


KINDS: Mapping[int, type[PortalError]] = {
    400: InvalidError,
    401: KeyRefusedError,
    403: NotAllowedError,
    404: MissingError,
    408: PortalFailureError,
    409: ConflictError,
    410: DeletedError,
    413: TooLargeError,
    415: FileTypeError,
    423: ReadOnlyError,
    429: PortalFailureError,
}


def error_class(status: int) -> type[PortalError]:
    """The exception for an answer with this status, which is not 2xx."""
    if status >= 500:
        return PortalFailureError
    if 300 <= status < 400:
        return RedirectedError
    return KINDS.get(status, UnexpectedError)


def read_refusal(body: bytes) -> Refusal:
    """What an error body says, whatever its shape: seven are known.

    ``{"message"}``; ``{"errors": {field: [text]}}``, also nested, and with a text in the
    place of the list; both together; ``{"success": false, "error"}`` of uploads;
    ``{"error", "status"}`` outside the API; and pages, of which nothing is taken.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _NOTHING
    if not isinstance(value, dict):
        return _NOTHING
    texts = [value.get("message"), value.get("error")]
    message = "; ".join(_line(text) for text in texts if isinstance(text, str) and text)
    return Refusal(message, dict(_fields("", value.get("errors"))))


def _fields(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _fields(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list):
        texts = [each for each in value if not isinstance(each, dict | list | NoneType)]
        if texts:
            yield name, ", ".join(_line(str(text)) for text in texts)
        for each in value:
            if isinstance(each, dict | list):
                yield from _fields(name, each)
    elif value is not None:
        yield name, _line(str(value))


def _line(text: str) -> str:
    """A text in one line that a terminal can show."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
