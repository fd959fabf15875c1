"""Saving notices of the BOAMP: each state that one was served in is kept, once.

Nothing is merged, and no file is owed: a notice that is new or updated is written when it is
in the store. What it means is not stored but read from its row
(:func:`dume_spider.boamp.notice.read_notice`), always by the rules of today.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import orjson
from sqlalchemy import Connection, bindparam, insert, select, update

from dume_spider.store.compression import compress
from dume_spider.store.database import Database, MetError
from dume_spider.store.doors import TWICE, Door, Outcome, plain
from dume_spider.store.saving import RESOLVE, among, chunks
from dume_spider.store.tables import notice_versions, notices

#: The source of the rows of notices, where rows of several sources stand together.
SOURCE = "boamp"


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice as served, accepted: ``raw`` is its row (JSON), ``reference`` its ``idweb``.

    ``published`` is its ``dateparution`` (``YYYY-MM-DD``) or empty; ``fingerprint`` tells
    whether the row has changed.
    """

    reference: str
    published: str
    raw: bytes
    fingerprint: bytes

    @classmethod
    def of(cls, reference: str, published: str | None, row: Mapping[str, Any]) -> Self:
        """The row of an accepted notice.

        Raises :class:`ValueError` for a reference that no database can hold.
        """
        if not reference or plain(reference) != reference:
            raise ValueError(f"a reference that cannot be kept: {reference!r}")
        canonical = orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
        fingerprint = hashlib.blake2b(canonical, digest_size=16).digest()
        return cls(reference, published or "", orjson.dumps(row), fingerprint)


class NoticeSaver:
    """Saves notices in an open transaction.

    ``counts`` collects what the counts of the run change by.
    """

    def __init__(self, database: Database, connection: Connection, run: int, counts: Counter[str]):
        self._database = database
        self._connection = connection
        self._run = run
        self._counts = counts

    def save(self, rows: Sequence[NoticeRow]) -> list[Outcome]:
        """Save rows; the outcome of each, in their order.

        Raises :class:`MetError` when another run added one of them in the meantime.
        """
        references = sorted({row.reference for row in rows})
        known = {line.reference: dict(line._mapping) for line in self._find(_KNOWN, references)}
        added: dict[str, dict[str, Any]] = {}
        changed: dict[str, dict[str, Any]] = {}
        versions: list[tuple[str, dict[str, Any]]] = []
        outcomes: list[Outcome] = []
        for row in rows:
            line = known.get(row.reference)
            outcome = self._outcome(row, line)
            if line is None:
                line = added[row.reference] = known[row.reference] = {
                    "reference": row.reference,
                    "version": 0,
                    "first_run": self._run,
                }
            elif row.reference not in added:
                changed[row.reference] = line
            if outcome.door in (Door.NEW, Door.UPDATED):
                line |= {
                    "published": row.published,
                    "version": line["version"] + 1,
                    "fingerprint": row.fingerprint,
                }
                version = {"number": line["version"], "run": self._run, "raw": compress(row.raw)}
                versions.append((row.reference, version))
                self._counts["written"] += 1
            line["last_run"] = self._run
            self._counts[outcome.door] += 1
            outcomes.append(outcome)
        self._write(added, changed, versions)
        self._find(RESOLVE, references, of_source=SOURCE, this_run=self._run)
        return outcomes

    def _outcome(self, row: NoticeRow, line: Mapping[str, Any] | None) -> Outcome:
        if line is None:
            return Outcome(Door.NEW)
        if line["fingerprint"] != row.fingerprint:
            return Outcome(Door.UPDATED)
        if line["last_run"] == self._run:
            return Outcome(Door.SUPERSEDED, TWICE)
        return Outcome(Door.UNCHANGED)

    def _write(
        self,
        added: Mapping[str, dict[str, Any]],
        changed: Mapping[str, dict[str, Any]],
        versions: Iterable[tuple[str, dict[str, Any]]],
    ) -> None:
        ids = {reference: line["id"] for reference, line in changed.items()}
        if added:
            # In their order, so that two transactions that add the same notices wait and do not
            # lock each other out; the second then finds that it did not add them.
            self._connection.execute(
                self._database.insert(notices).on_conflict_do_nothing(),
                [added[reference] for reference in sorted(added)],
            )
            mine = self._find(_ADDED, sorted(added), this_run=self._run)
            if len(mine) < len(added):
                raise MetError
            ids |= {line.reference: line.id for line in mine}
        if changed:
            lines = [
                {"notice_id": line["id"]} | {name: line[name] for name in _CHANGING}
                for _, line in sorted(changed.items())
            ]
            self._connection.execute(_CHANGE, lines)
        lines = [version | {"notice_id": ids[reference]} for reference, version in versions]
        if lines:
            self._connection.execute(insert(notice_versions), lines)

    def _find(self, statement: Any, references: Sequence[str], **parameters: Any) -> list[Any]:
        lines: list[Any] = []
        for chunk in chunks(references):
            result = self._connection.execute(statement, {"references": chunk, **parameters})
            if result.returns_rows:
                lines += result.all()
        return lines


_CHANGING = ("published", "version", "fingerprint", "last_run")
_KNOWN = (
    select(notices)
    .where(among(notices.c.reference, "references"))
    .order_by(notices.c.reference)
    .with_for_update()
)
_ADDED = select(notices.c.reference, notices.c.id).where(
    among(notices.c.reference, "references"), notices.c.first_run == bindparam("this_run")
)
_CHANGE = update(notices).where(notices.c.id == bindparam("notice_id"))
