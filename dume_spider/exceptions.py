"""The exceptions of the project: where each is raised, and by whose fault."""

from __future__ import annotations

from typing import ClassVar


class DumeSpiderError(Exception):
    """Base of the errors that a person can act on.

    Their text is one line: what is wrong, where, and what to do. Commands print it
    without a traceback and end with status 1. ``log_code`` of its class finds it in
    docs/logs.md.
    """

    log_code: ClassVar[str] = "DECP-00"

    @property
    def line(self) -> str:
        """The error as commands and the log show it: its code and its text."""
        return f"[{self.log_code}] {self}"


class ArgumentError(DumeSpiderError):
    """A spider argument or setting is unknown or has a bad value (the caller's fault).

    Raised before the first request.
    """

    log_code = "DECP-01"


class FieldMapError(DumeSpiderError):
    """The TOML file of ``DUME_FIELD_MAP`` cannot be used (the caller's fault)."""

    log_code = "DUME-01"


class StoreError(DumeSpiderError):
    """The store cannot be opened, read or written (its disk, its server or its version)."""

    log_code = "DECP-02"


class OutputError(DumeSpiderError):
    """A file of the run cannot be written (permissions, a full disk)."""

    log_code = "DECP-03"


class UncertainOutputError(OutputError):
    """Whether a file has got its name is not known: a server failed to say. The next run finds
    out."""

    log_code = "DECP-04"


class FileRefusedError(DumeSpiderError):
    """A file is not published: by its name, its SIRET or its content (its maker's fault)."""

    log_code = "PUB-15"


class ForeignFileError(DumeSpiderError):
    """The data set has another file of the same name (nobody's fault: two machines count the
    files of a day)."""

    log_code = "PUB-21"


class AnswerError(DumeSpiderError):
    """An answer of a service cannot be used; the subclasses say why (the service's fault).

    The query it answers has failed: it is named in the summary and asked again by the
    next run.
    """


class EmptyAnswerError(AnswerError):
    """The body is empty."""


class HtmlAnswerError(AnswerError):
    """The body is a page, such as a maintenance notice or a parked domain."""


class CutAnswerError(AnswerError):
    """The body starts as JSON and stops in the middle."""


class NotJsonError(AnswerError):
    """The body is something else than JSON."""


class EnvelopeError(AnswerError):
    """The body is JSON, but not of the shape that the service is known to answer."""


class RefusedError(AnswerError):
    """The service understood the request and refused it; ``code`` is the service's."""

    def __init__(self, message: str, *, code: str):
        super().__init__(message)
        self.code = code
