"""Reading what the store holds: records to export, raw rows to process again, facts to report.

Each starts from a list of keys (sixteen bytes each), then reads page by page: memory does
not grow with the records, and no transaction stays open in between.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Column, Select, and_, func, make_url, null, select, update
from sqlalchemy.exc import ArgumentError

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.exceptions import StoreError
from dume_spider.store.compression import decompress
from dume_spider.store.database import Database
from dume_spider.store.doors import plain
from dume_spider.store.placing import PendingRecord
from dume_spider.store.publications import published_names
from dume_spider.store.tables import (
    file_sets,
    files,
    harvests,
    notice_versions,
    notices,
    publications,
    records,
    rejected,
    rejections,
    runs,
    versions,
    windows,
)

#: Records or rows read at once.
PAGE = 500


class NoticeLine(NamedTuple):
    """A notice of the BOAMP: its ``idweb``, its ``dateparution`` (or empty), and its row as
    served (JSON)."""

    reference: str
    published: str
    raw: bytes


class SurveyedRecord(NamedTuple):
    """A current record as a report looks at it. ``record`` is JSON; ``repairs`` and
    ``warnings`` are JSON lists, or ``None``; ``published`` is a date or empty."""

    id: int
    source: str
    reference: str
    type: str
    regime: str
    buyer: str
    published: str
    record: bytes
    repairs: str | None
    warnings: str | None


class RefusedRow(NamedTuple):
    """A rejected row without its content: ``problems`` is a JSON list."""

    id: int
    reference: str | None
    problems: str


class RunLine(NamedTuple):
    """A run; ``arguments`` and ``summary`` are values of JSON. Without ``status`` it has not
    ended: it is running, or was killed, and its summary is empty."""

    name: str
    spider: str
    arguments: dict[str, Any]
    started: str
    status: str | None
    summary: dict[str, Any]


class HarvestLine(NamedTuple):
    """What a run asked for (values of JSON), see :mod:`dume_spider.store.ledger`."""

    id: int
    run: str
    asked: dict[str, Any]


class WindowLine(NamedTuple):
    """An answered search: ``filters`` and ``facts`` (of its rows) are values of JSON;
    ``answered`` is an instant, ISO 8601. No ``facts``: the harvest is done, or they were
    not asked for."""

    filters: dict[str, str]
    state: str
    rows: int
    answered: str
    facts: list[Any] | None


class FileLine(NamedTuple):
    """A file in place, and the run that wrote it."""

    run: str
    name: str
    folder: str
    records: int
    bytes: int
    sha1: str


class PublicationLine(NamedTuple):
    """A file as a data set of a portal has it; ``sha1`` is empty for a link to a file
    elsewhere, ``published`` is an instant, ISO 8601."""

    name: str
    sha1: str
    portal: str
    dataset: str
    url: str
    published: str


class RawRow(NamedTuple):
    """A row as served (JSON), the type that it was taken for, and the source it is from.

    ``rejection`` is the key of its rejection, ``None`` for the row of an accepted record;
    ``reference`` the one it is kept under.
    """

    source: str
    type: ContractType | None
    reference: str | None
    raw: bytes
    rejection: int | None


class StoreReader:
    """A store that exists already, for reading.

    Raises :class:`StoreError` when there is none at ``url``, or when it cannot be read; so do
    all methods.
    """

    def __init__(self, url: str):
        check_exists(url)
        self._database = Database(url)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    @property
    def name(self) -> str:
        """The store as a message names it, without a password."""
        return self._database.name

    def check_run(self, run: str) -> None:
        """Raise :class:`StoreError` unless there is a run of this name."""
        self._number(run)

    def published_names(self, day: date) -> list[str]:
        """The names of the files of a day that were published."""
        return published_names(self._database, day)

    def records(
        self,
        *,
        since: str = "",
        until: str = "",
        buyer: str = "",
        regime: Regime | None = None,
        run: str = "",
        by_type: bool = False,
    ) -> Iterator[PendingRecord]:
        """The current version of each reference, in the order in which files list them.

        A reference that holds the same record as another one is left out. ``since`` and
        ``until`` are dates of publication (``YYYY-MM-DD``, both included), ``buyer`` a SIRET;
        ``run``: only versions that this run received. The order is that of
        :meth:`.store.Store.pending`.
        """
        chosen = [records.c.alias_of.is_(None)]
        if since:
            chosen.append(records.c.published >= since)
        if until:
            chosen += [records.c.published <= until, records.c.published != ""]
        if buyer:
            chosen.append(records.c.buyer == buyer)
        if regime:
            chosen.append(records.c.regime == regime)
        if run:
            chosen.append(versions.c.run == self._number(run))
        # Marchés (MP) before concessions (CC), as files have them.
        kind = records.c.type.desc()
        ordered = (kind, records.c.buyer) if by_type else (records.c.buyer, kind)
        keys = _CURRENT.where(*chosen).order_by(
            records.c.regime, *ordered, records.c.published, records.c.reference, records.c.source
        )
        for row in self._pages(keys, _RECORDS, (versions.c.record_id, versions.c.number)):
            yield PendingRecord(
                (row.record_id, row.number),
                row.source,
                row.reference,
                ContractType(row.type),
                Regime(row.regime),
                row.buyer,
                row.published,
                row.record,
            )

    def notices(self, *, since: str = "", until: str = "", run: str = "") -> Iterator[NoticeLine]:
        """The current state of each notice, in the order of ``dateparution`` and ``idweb``.

        ``since`` and ``until`` are days of publication, both included; ``run``: only states
        that this run received.
        """
        chosen: list[Any] = []
        if since:
            chosen.append(notices.c.published >= since)
        if until:
            chosen += [notices.c.published <= until, notices.c.published != ""]
        if run:
            chosen.append(notice_versions.c.run == self._number(run))
        keys = (
            select(notices.c.id, notices.c.version)
            .join(notice_versions, _CURRENT_NOTICE)
            .where(*chosen)
            .order_by(notices.c.published, notices.c.reference)
        )
        columns = (notice_versions.c.notice_id, notice_versions.c.number)
        for row in self._pages(keys, _NOTICES, columns):
            yield NoticeLine(row.reference, row.published, decompress(row.raw))

    def accepted_rows(self, source: str, run: str = "") -> Iterator[RawRow]:
        """The raw row of the current version of each reference; of ``run``: that it received.

        Earlier versions are left out: of two that are as new, an earlier one could win.
        """
        keys = _CURRENT.where(records.c.source == source).order_by(records.c.id)
        if run:
            keys = keys.where(versions.c.run == self._number(run))
        yield from self._accepted(source, keys)

    def _accepted(self, source: str, keys: Select[Any]) -> Iterator[RawRow]:
        for row in self._pages(keys, _RAW, (versions.c.record_id, versions.c.number)):
            raw = decompress(row.raw)
            yield RawRow(source, ContractType(row.type), row.reference, raw, None)

    def latest_rows(self, source: str) -> Iterator[RawRow]:
        """The raw row of the current version of each reference, the one found last first."""
        keys = _CURRENT.where(records.c.source == source).order_by(records.c.id.desc())
        yield from self._accepted(source, keys)

    def rejected_rows(self, source: str, run: str = "") -> Iterator[RawRow]:
        """The rows whose rejection is open; of ``run``: that it was the last to meet."""
        keys = select(rejections.c.id).where(
            rejections.c.source == source, rejections.c.resolved_run.is_(None)
        )
        if run:
            keys = keys.where(rejections.c.last_run == self._number(run))
        for row in self._pages(keys.order_by(rejections.c.id), _REJECTED, (rejections.c.id,)):
            type = ContractType(row.type) if row.type else None
            yield RawRow(source, type, row.reference, decompress(row.raw), row.id)

    def count_rows(self, source: str, run: str = "") -> tuple[int, int]:
        """How many rows :meth:`accepted_rows` and :meth:`rejected_rows` give."""
        accepted = _CURRENT.where(records.c.source == source)
        rejected = select(rejections.c.id).where(
            rejections.c.source == source, rejections.c.resolved_run.is_(None)
        )
        if run:
            number = self._number(run)
            accepted = accepted.where(versions.c.run == number)
            rejected = rejected.where(rejections.c.last_run == number)
        with self._database.reading() as connection:
            first, second = (
                connection.execute(select(func.count()).select_from(rows.subquery())).scalar_one()
                for rows in (accepted, rejected)
            )
        return first, second

    def survey(self, *, since: str = "", run: str = "") -> Iterator[SurveyedRecord]:
        """The records of :meth:`records` with what was repaired in them, in the order in
        which the store got to know them: each page is read from where the last one ended."""
        chosen = [records.c.alias_of.is_(None)]
        if since:
            chosen.append(records.c.published >= since)
        if run:
            chosen.append(versions.c.run == self._number(run))
        return map(SurveyedRecord._make, self._after(_SURVEYED.where(*chosen), records.c.id))

    def refusals(self, *, since: str = "", run: str = "") -> Iterator[RefusedRow]:
        """The rows whose rejection is open; of ``run``: all that it has rejected. ``since``:
        those last met by a run that began at that instant (ISO 8601, UTC) or later."""
        if run:
            chosen = _REFUSED.join(
                rejected,
                (rejected.c.source == rejections.c.source)
                & (rejected.c.raw_hash == rejections.c.raw_hash),
            ).where(rejected.c.run == self._number(run))
        else:
            chosen = _REFUSED.where(rejections.c.resolved_run.is_(None))
        if since:
            chosen = chosen.join(runs, runs.c.number == rejections.c.last_run).where(
                runs.c.started >= since
            )
        return map(RefusedRow._make, self._after(chosen, rejections.c.id))

    def rejected_raw(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The rows as served (JSON) of a few rejections, by their keys."""
        with self._database.reading() as connection:
            lines = connection.execute(
                select(rejections.c.id, rejections.c.raw).where(rejections.c.id.in_(ids))
            )
            return {line.id: decompress(line.raw) for line in lines}

    def runs(self, *, run: str = "") -> Iterator[RunLine]:
        """The runs, or one; the newest first."""
        chosen = select(*(runs.c[name] for name in RunLine._fields), runs.c.number)
        if run:
            chosen = chosen.where(runs.c.number == self._number(run))
        for line in self._after(chosen, runs.c.number, newest_first=True):
            yield RunLine(
                line.name,
                line.spider,
                orjson.loads(line.arguments),
                line.started,
                line.status,
                orjson.loads(line.summary) if line.summary else {},
            )

    def harvests(self, *, run: str = "") -> list[HarvestLine]:
        """What the runs have asked for, the newest first."""
        chosen = select(harvests.c.id, runs.c.name, harvests.c.asked).join(
            runs, runs.c.number == harvests.c.run
        )
        if run:
            chosen = chosen.where(runs.c.number == self._number(run))
        with self._database.reading() as connection:
            lines = connection.execute(chosen.order_by(harvests.c.id.desc())).all()
        return [HarvestLine(id, name, orjson.loads(asked)) for id, name, asked in lines]

    def windows(self, harvest: int, *, with_facts: bool = False) -> Iterator[WindowLine]:
        """The answered searches of a harvest."""
        facts = windows.c.facts if with_facts else null().label("facts")
        chosen = select(
            windows.c.filters, windows.c.state, windows.c.rows, windows.c.answered, facts
        ).where(windows.c.harvest == harvest)
        for line in self._after(chosen, windows.c.filters):
            known = orjson.loads(decompress(line.facts)) if line.facts else None
            yield WindowLine(
                orjson.loads(line.filters), line.state, line.rows, line.answered, known
            )

    def files(
        self, most: int, *, since: str = "", run: str = ""
    ) -> tuple[list[FileLine], int, int]:
        """The files in place, of the runs that began at the instant ``since`` (ISO 8601, UTC) or
        later, or of one: the newest of them, ``most`` at most, then how many there are and
        their bytes."""
        chosen = (
            select(
                runs.c.name.label("run"),
                files.c.name,
                files.c.folder,
                file_sets.c.records,
                files.c.bytes,
                files.c.sha1,
            )
            .join(file_sets, file_sets.c.id == files.c.file_set)
            .join(runs, runs.c.number == file_sets.c.run)
            .where(file_sets.c.placed)
        )
        if since:
            chosen = chosen.where(runs.c.started >= since)
        if run:
            chosen = chosen.where(runs.c.number == self._number(run))
        every = chosen.subquery()
        newest = chosen.order_by(file_sets.c.id.desc(), files.c.position).limit(most)
        with self._database.reading() as connection:
            lines = list(map(FileLine._make, connection.execute(newest)))
            count, size = connection.execute(
                select(func.count(), func.coalesce(func.sum(every.c.bytes), 0)).select_from(every)
            ).one()
        return lines, count, int(size)

    def publications(self, names: Sequence[str]) -> list[PublicationLine]:
        """Where files of these names were published, the latest first; without those whose
        resource has got another file since, under whatever name."""
        last = select(func.max(publications.c.id)).group_by(
            publications.c.portal, publications.c.resource
        )
        chosen = select(*(publications.c[name] for name in PublicationLine._fields)).where(
            publications.c.name.in_(names), publications.c.id.in_(last)
        )
        with self._database.reading() as connection:
            lines = connection.execute(chosen.order_by(publications.c.id.desc())).all()
        return list(map(PublicationLine._make, lines))

    def refer(self, rejection: int, reference: str) -> None:
        """Keep a rejection under the reference that its row is now read to have, so that it is
        closed when a run accepts that reference."""
        self._database.write(
            lambda connection: connection.execute(
                update(rejections)
                .where(rejections.c.id == rejection)
                .values(reference=plain(reference))
            )
        )

    def _number(self, run: str) -> int:
        with self._database.reading() as connection:
            number = connection.scalar(select(runs.c.number).where(runs.c.name == run))
        if number is None:
            raise StoreError(
                f"the store {self._database.name} knows no run {run!r}; runs are named as their "
                "folders in DECP_RUNS_DIR"
            )
        return number

    def _after(
        self, rows: Select[Any], key: Column[Any], *, newest_first: bool = False
    ) -> Iterator[Any]:
        """Rows in the order of a unique column of theirs, each page from where the last one
        ended."""
        rows = rows.order_by(key.desc() if newest_first else key).limit(PAGE)
        page = rows
        while True:
            with self._database.reading() as connection:
                found = connection.execute(page).all()
            yield from found
            if len(found) < PAGE:
                return
            last = getattr(found[-1], key.name)
            page = rows.where(key < last if newest_first else key > last)

    def _pages(self, keys: Select[Any], rows: Select[Any], columns: Sequence[Any]) -> Iterator[Any]:
        """The rows of ``keys``, in its order, looked up by ``columns``, which it gives. What is
        gone in the meantime is left out."""
        parts = [array("q") for _ in columns]
        with self._database.reading() as connection:
            for key in connection.execution_options(yield_per=PAGE).execute(keys):
                for part, value in zip(parts, key, strict=True):
                    part.append(value)
        for start in range(0, len(parts[0]), PAGE):
            page = [part[start : start + PAGE] for part in parts]
            wanted = list(zip(*page, strict=True))
            # One column at a time: SQLite would look for pairs in the whole table. What that
            # finds besides, such as another version of one of these, is not asked for below.
            chosen = [column.in_(set(part)) for column, part in zip(columns, page, strict=True)]
            with self._database.reading() as connection:
                found = {
                    tuple(getattr(row, column.name) for column in columns): row
                    for row in connection.execute(rows.where(*chosen))
                }
            yield from (found[key] for key in wanted if key in found)


_CURRENT = select(records.c.id, records.c.version).join(
    versions,
    and_(versions.c.record_id == records.c.id, versions.c.number == records.c.version),
)
_RECORDS = select(
    versions.c.record_id,
    versions.c.number,
    versions.c.type,
    versions.c.regime,
    versions.c.buyer,
    versions.c.published,
    versions.c.record,
    records.c.source,
    records.c.reference,
).join(records, records.c.id == versions.c.record_id)
_RAW = select(
    versions.c.record_id,
    versions.c.number,
    versions.c.type,
    versions.c.raw,
    records.c.reference,
).join(records, records.c.id == versions.c.record_id)
_CURRENT_NOTICE = and_(
    notice_versions.c.notice_id == notices.c.id, notice_versions.c.number == notices.c.version
)
_NOTICES = select(
    notice_versions.c.notice_id,
    notice_versions.c.number,
    notice_versions.c.raw,
    notices.c.reference,
    notices.c.published,
).join(notices)
_REJECTED = select(rejections.c.id, rejections.c.type, rejections.c.reference, rejections.c.raw)


_SURVEYED = select(
    records.c.id,
    records.c.source,
    records.c.reference,
    versions.c.type,
    versions.c.regime,
    versions.c.buyer,
    versions.c.published,
    versions.c.record,
    versions.c.repairs,
    versions.c.warnings,
).join(
    versions,
    and_(versions.c.record_id == records.c.id, versions.c.number == records.c.version),
)
_REFUSED = select(rejections.c.id, rejections.c.reference, rejections.c.problems)


def check_exists(url: str) -> None:
    """Raise :class:`StoreError` when ``url`` names a SQLite file that does not exist.

    To read a store must not make an empty one.
    """
    try:
        known = make_url(url)
    except (ArgumentError, ValueError):
        return  # said by Database in its own words
    if known.get_backend_name() == "sqlite" and known.database:
        path = Path(known.database)
        if not path.exists():
            raise StoreError(f"there is no store {path}: harvest first, or set DECP_STORE_URL")
