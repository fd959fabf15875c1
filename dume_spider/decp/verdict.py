"""What is said of a record: why it is refused, and what was repaired in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a record cannot be published as it is.

    ``path`` is where it stands in the DECP record, its parts joined by dots, list
    positions counted from 0 (``titulaires.0.titulaire.id``); empty for the record as a
    whole. ``rule`` is a short stable name: a JSON Schema keyword (``required``,
    ``enum``, …) or a rule of this project. ``message`` is one sentence for a person; it
    may quote the faulty value, shortened.
    """

    path: str
    rule: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """The problem as ``{"path", "rule", "message"}``, as in ``rejected.jsonl``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Repair:
    """One lossless change made to a value, so that nothing changes unseen.

    ``path`` is written as in :class:`Problem`, ``rule`` names the repair, ``before``
    and ``after`` are JSON values; a removed key has ``after`` ``None``.
    """

    path: str
    rule: str
    before: Any
    after: Any

    def as_dict(self) -> dict[str, Any]:
        """The repair as ``{"path", "rule", "before", "after"}``."""
        return asdict(self)


def quote(value: object, limit: int = 60) -> str:
    """A value as it is quoted in a message: its ``repr``, cut at ``limit`` characters."""
    return shortened(repr(value), limit)


def shortened(text: str, limit: int = 500) -> str:
    """A text cut at ``limit`` characters, the last of which is then an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
