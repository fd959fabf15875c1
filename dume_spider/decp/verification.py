"""The verdict on a whole DECP file: each record by the schema, then by the State's rules."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from dume_spider.decp import rules
from dume_spider.decp.reading import DecpFileError, FileRecord, read_records
from dume_spider.decp.regime import Regime
from dume_spider.decp.schema import problems
from dume_spider.decp.verdict import Problem

#: At most so many pairs of field and rule are told apart: a hostile file may have no end of
#: unknown fields.
MOST_REASONS = 1000
_OTHERS = ("…", "others")


@dataclass(slots=True)
class Reason:
    """In how many records a rule is broken at a field, and the first of its problems."""

    records: int
    first: Problem


@dataclass(slots=True)
class FileVerdict:
    """What is said of a file.

    ``regime`` is ``None`` when there is no record to tell it; ``invalid`` is the number of
    ``records`` with an error. ``errors`` and ``warnings`` are by field (its path without
    list positions, ``record`` for the record as a whole) and rule. ``problem`` is why the
    file as a whole cannot be taken, in one line, or empty.
    """

    file: str
    regime: Regime | None = None
    records: int = 0
    invalid: int = 0
    problem: str = ""
    errors: dict[tuple[str, str], Reason] = field(default_factory=dict)
    warnings: dict[tuple[str, str], Reason] = field(default_factory=dict)

    @property
    def is_valid(self) -> bool:
        """Whether the file could be published as it is."""
        return not self.problem and not self.invalid

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON values: what ``scrapy verify --json`` gives of a file."""
        return {
            "file": self.file,
            "valid": self.is_valid,
            "problem": self.problem or None,
            "regime": self.regime,
            "records": self.records,
            "invalid": self.invalid,
            "errors": _as_list(self.errors),
            "warnings": _as_list(self.warnings),
        }


def most_common(reasons: Mapping[tuple[str, str], Reason]) -> list[tuple[str, str, Reason]]:
    """Field, rule and reason, that of most records first."""
    return sorted(
        ((field, rule, reason) for (field, rule), reason in reasons.items()),
        key=lambda found: (-found[2].records, found[0], found[1]),
    )


def _as_list(reasons: Mapping[tuple[str, str], Reason]) -> list[dict[str, Any]]:
    return [
        {
            "field": field,
            "rule": rule,
            "records": reason.records,
            "first": {"path": reason.first.path, "message": reason.first.message},
        }
        for field, rule, reason in most_common(reasons)
    ]


def verify_file(
    path: str | os.PathLike[str],
    *,
    day: date,
    severities: Mapping[str, str] | None = None,
) -> FileVerdict:
    """The verdict on the file at ``path``.

    Each record is judged as one that was harvested (:func:`.schema.problems`, and if it has
    none :func:`.rules.check`), by the regime of the file. Beside these:

    * ``uniqueItems`` (error): the schema of 2019 forbids the same record twice in a file;
    * ``duplicate`` (warning): two records of the file are the same contract by the State's
      key (:func:`.rules.duplicate_key`).

    Args:
        path: a file as :func:`.reading.read_records` takes it.
        day: the day of the check, after which a date is in the future.
        severities: as for :func:`.rules.check`.

    A file that cannot be read to its end, or has no records, has a ``problem``: nothing is
    raised for it. Some 100 bytes a record are remembered, to know duplicates.
    """
    verdict = FileVerdict(str(path))
    seen = _Seen()
    try:
        for found in read_records(path):
            verdict.regime = found.regime
            verdict.records += 1
            errors, warnings = _judge(found, seen, day, severities)
            verdict.invalid += bool(errors)
            _count(verdict.errors, errors, found)
            _count(verdict.warnings, warnings, found)
    except DecpFileError as error:
        verdict.problem = str(error)
    if not verdict.records and not verdict.problem:
        verdict.problem = f"{path}: has no records; a DECP file without records is not published"
    return verdict


class _Seen:
    """Where each record of a file was seen first, by eight bytes of a hash."""

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}

    def before(self, kind: bytes, key: bytes, path: str) -> str | None:
        """Where the same key stood before, if it did."""
        digest = hashlib.blake2b(key, digest_size=8, person=kind).digest()
        first = self._first.setdefault(digest, path)
        return None if first == path else first


def _judge(
    found: FileRecord, seen: _Seen, day: date, severities: Mapping[str, str] | None
) -> tuple[Sequence[Problem], Sequence[Problem]]:
    type, regime, record, path = found
    if not isinstance(record, dict):
        return [Problem(path, "type", "is not an object")], []
    errors = problems(record, type, regime, path)
    warnings: list[Problem] = []
    key = None
    if not errors:
        verdict = rules.check(record, type, regime, day=day, severities=severities)
        errors = list(_placed(verdict.errors, path))
        warnings = list(_placed(verdict.warnings, path))
        key = rules.duplicate_key(record, type, regime)
    same = None
    if regime is Regime.R2019:
        # Not orjson, which refuses some of what an invalid record may hold.
        text = json.dumps(record, sort_keys=True).encode()
        same = seen.before(b"record", text, path)
    if same:
        errors.append(Problem(path, "uniqueItems", f"is the same as {same}"))
    elif key is not None and (first := seen.before(b"contract", key.encode(), path)):
        reason = f"is the same contract as {first} by the State's key"
        warnings.append(Problem(path, "duplicate", reason))
    return errors, warnings


def _placed(problems: Sequence[Problem], at: str) -> Iterator[Problem]:
    for problem in problems:
        yield Problem(f"{at}.{problem.path}" if problem.path else at, problem.rule, problem.message)


def _count(
    reasons: dict[tuple[str, str], Reason], found: Sequence[Problem], record: FileRecord
) -> None:
    counted = set()
    for problem in found:
        inner = problem.path[len(record.path) + 1 :]
        name = ".".join(part for part in inner.split(".") if not part.isdigit())
        key = (name or "record", problem.rule)
        if key not in reasons and len(reasons) >= MOST_REASONS:
            key = _OTHERS
        if key in counted:
            continue
        counted.add(key)
        if key in reasons:
            reasons[key].records += 1
        else:
            reasons[key] = Reason(1, problem)
