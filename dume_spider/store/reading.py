"""Reading what the store holds: records to export, raw rows to process again.

Each starts from a list of keys (sixteen bytes each), then reads page by page: memory does
not grow with the records, and no transaction stays open in between.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, func, make_url, select, tuple_, update
from sqlalchemy.exc import ArgumentError

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.exceptions import StoreError
from dume_spider.store.database import Database
from dume_spider.store.doors import plain
from dume_spider.store.placing import PendingRecord
from dume_spider.store.publications import published_names
from dume_spider.store.tables import records, rejections, runs, versions

#: Records or rows read at once.
PAGE = 500


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
            raw = zlib.decompress(row.raw)
            yield RawRow(source, ContractType(row.type), row.reference, raw, None)

    def latest_rows(self, source: str) -> Iterator[RawRow]:
        """The raw row of the current version of each reference, the one found last first."""
        keys = _CURRENT.where(records.c.source == source).order_by(records.c.id.desc())
        yield from self._accepted(source, keys)

    def rejected_rows(self, source: str, run: str = "") -> Iterator[RawRow]:
        """The rows whose rejection is open; of ``run``: that it was the last to meet."""
        keys = select(rejections.c.id, rejections.c.id).where(
            rejections.c.source == source, rejections.c.resolved_run.is_(None)
        )
        if run:
            keys = keys.where(rejections.c.last_run == self._number(run))
        for row in self._pages(keys.order_by(rejections.c.id), _REJECTED, (rejections.c.id,)):
            type = ContractType(row.type) if row.type else None
            yield RawRow(source, type, row.reference, zlib.decompress(row.raw), row.id)

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

    def _pages(self, keys: Select[Any], rows: Select[Any], columns: Sequence[Any]) -> Iterator[Any]:
        """The rows of ``keys``, in its order. What is gone in the meantime is left out."""
        parts = array("q"), array("q")
        with self._database.reading() as connection:
            for key in connection.execution_options(yield_per=PAGE).execute(keys):
                for part, value in zip(parts, key, strict=True):
                    part.append(value)
        for start in range(0, len(parts[0]), PAGE):
            page = list(zip(*(part[start : start + PAGE] for part in parts), strict=True))
            # Both engines look up pairs by the primary key.
            wanted = page if len(columns) == 2 else [(first,) for first, _ in page]
            with self._database.reading() as connection:
                found = {
                    tuple(getattr(row, column.name) for column in columns): row
                    for row in connection.execute(rows.where(tuple_(*columns).in_(wanted)))
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
_REJECTED = select(rejections.c.id, rejections.c.type, rejections.c.reference, rejections.c.raw)


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
