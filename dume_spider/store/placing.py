"""Putting files in place so that they are known to be there, whatever happens in between.

First the plan of each set is stored: which versions, which files with which content. From
then on the records count as written. Then, in a second transaction that holds the plans'
locks, the files are put in place and the plans are marked as placed. Who finds a plan that
nobody locks knows that its run died in between (or has not begun), and may ask the folder
what is there. Sets share the two transactions, which is all that they have to do with each
other: what became of each is found out by itself.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    insert,
    select,
    tuple_,
    update,
)

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.exceptions import UncertainOutputError
from dume_spider.store.database import Database
from dume_spider.store.doors import Door
from dume_spider.store.saving import CHUNK, DEBT_KEY, OF_RECORD, OWE, PAY, add_counts, chunks
from dume_spider.store.tables import contents, file_sets, files, owed, records, versions


class File(Protocol):
    """A file that holds a set of records: its ``name`` in its folder, size and sha1."""

    @property
    def name(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def sha1(self) -> str: ...


#: Where a record stands among those of its regime and type, in the order of files.
POSITION = (owed.c.buyer, owed.c.published, owed.c.reference, owed.c.source)
Position = tuple[str, ...]


class PendingRecord(NamedTuple):
    """A record that a run owes, to be written in a file of its regime.

    ``record`` is the DECP record as UTF-8 JSON; ``key`` is the store's.
    """

    key: tuple[int, int]
    source: str
    reference: str
    type: ContractType
    regime: Regime
    buyer: str
    published: str
    record: bytes


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that a run which ended early had announced: see :meth:`.store.Store.recover`."""

    name: str
    records: int
    bytes: int
    sha1: str


#: Gives the files of all sets their names; calls its argument before each attempt with the
#: files of each set as they would be. All are in place then, or it raises with none left.
Commit = Callable[[Callable[[Sequence[Sequence[File]]], None]], object]


class _Part:
    """The records of one type in a file, in the order of files."""

    def __init__(self, first: Position):
        self.first = self.last = first
        self._ids = array("q")
        self._versions = array("q")

    def add(self, id: int, version: int, position: Position) -> None:
        self._ids.append(id)
        self._versions.append(version)
        self.last = position

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._ids, self._versions, strict=True)


class RecordKeys:
    """Which records, in which version, a set of files holds; sixteen bytes each.

    ``regime`` is theirs, ``buyer`` the SIRET in the names of the files.
    """

    def __init__(self, regime: Regime, buyer: str) -> None:
        self.regime = regime
        self.buyer = buyer
        self.parts: dict[ContractType, _Part] = {}

    def add(self, record: PendingRecord) -> None:
        """Add a record, in the order in which :meth:`.store.Store.pending` gives them."""
        position = (record.buyer, record.published, record.reference, record.source)
        part = self.parts.get(record.type)
        if part is None:
            part = self.parts[record.type] = _Part(position)
        part.add(*record.key, position)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts.values())


class LostError(Exception):
    """The records are not this run's any more, or the plan has been dropped by another run."""


class Placing:
    """Sets of files on their way: :meth:`announce`, then :meth:`finish` or :meth:`give_up`."""

    def __init__(self, database: Database, run: int, folder: str, sets: Sequence[RecordKeys]):
        self._database = database
        self._run = run
        self._folder = folder
        self._sets = sets
        self._plans: Sequence[int] = ()
        self._lock = ExitStack()
        self._connection: Connection | None = None

    def announce(self, planned: Sequence[Sequence[File]]) -> None:
        """Store the plans, durably, and lock them.

        Called again when names were taken: the plans then get the new ones. Raises
        :class:`LostError`.
        """
        self._lock.close()
        if not self._plans:
            self._plans = self._database.write(
                lambda connection: self._make_plans(connection, planned), durable=True
            )
        else:
            self._database.write(lambda connection: self._name(connection, planned), durable=True)
        self._connection = self._lock.enter_context(self._database.writing())
        self._check(self._connection)

    def finish(self) -> None:
        """Mark the plans as placed: their files are there."""
        with self._lock:
            mark_placed(self._connection, self._plans, self._run, sum(map(len, self._sets)))

    def give_up(self, error: BaseException) -> None:
        """Unlock the plans and drop them: nothing of them is in place. (When that is not known,
        or the process is being stopped, it is found out by the next run.)"""
        self._lock.__exit__(type(error), error, error.__traceback__)
        is_known = isinstance(error, Exception) and not isinstance(error, UncertainOutputError)
        if is_known:
            for plan in self._plans:
                self._database.write(lambda connection, plan=plan: drop(connection, plan))

    def _make_plans(
        self, connection: Connection, planned: Sequence[Sequence[File]]
    ) -> Sequence[int]:
        plans = connection.scalars(
            insert(file_sets).returning(file_sets.c.id, sort_by_parameter_order=True),
            [
                {
                    "run": self._run,
                    "regime": keys.regime,
                    "buyer": keys.buyer,
                    "records": len(keys),
                    "placed": False,
                }
                for keys in self._sets
            ],
        ).all()
        parts: dict[tuple[Regime, ContractType], list[tuple[int, _Part]]] = defaultdict(list)
        for plan, keys in zip(plans, self._sets, strict=True):
            for type, part in keys.parts.items():
                parts[keys.regime, type].append((plan, part))
        for (regime, type), of_type in sorted(parts.items()):
            self._take(connection, regime, type, of_type)
        self._add_files(connection, plans, planned)
        return plans

    def _take(
        self,
        connection: Connection,
        regime: Regime,
        type: ContractType,
        parts: Sequence[tuple[int, _Part]],
    ) -> None:
        """Move the records of plans from ``owed`` to ``contents``.

        Debts are read in the order of files, in which the keys are too: one walk along
        them, from the first to the last of the files, finds all.
        """
        keys = ((plan, key) for plan, part in parts for key in part)
        plan, key = next(keys)
        start = parts[0][1].first
        end = parts[-1][1].last
        while True:
            debts = connection.execute(
                _DEBTS,
                {
                    "this_run": self._run,
                    "of_regime": regime,
                    "of_type": type,
                    **dict(zip(_START, start, strict=True)),
                    **dict(zip(_END, end, strict=True)),
                },
            ).all()
            paid, held = [], []
            for debt in debts:
                if (debt.record_id, debt.version) == key:
                    paid.append(dict(zip(DEBT_KEY, debt, strict=False)))
                    held.append(
                        {
                            "file_set": plan,
                            "record_id": debt.record_id,
                            "version": debt.version,
                            "door": debt.door,
                        }
                    )
                    plan, key = next(keys, (None, None))
            self._database.execute_many(connection, PAY, paid)
            self._database.execute_many(connection, _HOLD, held)
            if key is None:
                return
            if len(debts) < CHUNK:
                raise LostError
            start = tuple(getattr(debts[-1], column.name) for column in POSITION)

    def _name(self, connection: Connection, planned: Sequence[Sequence[File]]) -> None:
        self._check(connection)
        connection.execute(delete(files).where(files.c.file_set.in_(self._plans)))
        self._add_files(connection, self._plans, planned)

    def _add_files(
        self, connection: Connection, plans: Sequence[int], planned: Sequence[Sequence[File]]
    ) -> None:
        connection.execute(
            insert(files),
            [
                {
                    "file_set": plan,
                    "position": position,
                    "name": file.name,
                    "folder": self._folder,
                    "sha1": file.sha1,
                    "bytes": file.bytes,
                }
                for plan, of_set in zip(plans, planned, strict=True)
                for position, file in enumerate(of_set)
            ],
        )

    def _check(self, connection: Connection) -> None:
        if len(lock_plans(connection, self._plans)) < len(self._plans):
            raise LostError


_HOLD = insert(contents)
_START = tuple(f"start_{column.name}" for column in POSITION)
_END = tuple(f"end_{column.name}" for column in POSITION)
_DEBTS = (
    select(*(owed.c[name] for name in DEBT_KEY), owed.c.door, owed.c.record_id, owed.c.version)
    .where(
        owed.c.regime == bindparam("of_regime"),
        owed.c.type == bindparam("of_type"),
        tuple_(*POSITION) >= tuple_(*(bindparam(name, type_=owed.c.buyer.type) for name in _START)),
        tuple_(*POSITION) <= tuple_(*(bindparam(name, type_=owed.c.buyer.type) for name in _END)),
        owed.c.run == bindparam("this_run"),
    )
    .order_by(*POSITION)
    .limit(CHUNK)
    .with_for_update()
)


def lock_plans(
    connection: Connection, plans: Sequence[int], *, wait: bool = True
) -> Sequence[Row[Any]]:
    """The lines of plans, locked; without those that are no plans any more, or (``wait=False``)
    that another process has locked."""
    return connection.execute(
        select(file_sets)
        .where(file_sets.c.id.in_(plans), ~file_sets.c.placed)
        .order_by(file_sets.c.id)
        .with_for_update(skip_locked=not wait)
    ).all()


def mark_placed(connection: Connection, plans: Sequence[int], run: int, number: int) -> None:
    """Note that the files of plans are in place, and with them so many records of their run."""
    connection.execute(update(file_sets).where(file_sets.c.id.in_(plans)).values(placed=True))
    add_counts(connection, {run: Counter(written=number)})


def drop(connection: Connection, plan: int) -> None:
    """Undo a plan of which nothing is in place: its run owes the records again.

    Those of which a newer version came in the meantime, or that another run owes by now, are
    superseded.
    """
    if not (lines := lock_plans(connection, [plan])):
        return
    (line,) = lines
    held = connection.execute(_HELD, {"plan": plan}).all()
    counts: Counter[str] = Counter()
    for door in (Door.NEW, Door.UPDATED):
        of_door = [row for row in held if row.held_door == door]
        current = [
            row.id
            for row in of_door
            if row.held_fingerprint == row.fingerprint
            and row.alias_of is None
            and row.owed_by is None
        ]
        for ids in chunks(current):
            connection.execute(OWE, {"ids": ids, "this_run": line.run, "this_door": door})
        gone = len(of_door) - len(current)
        counts[door] -= gone
        counts[Door.SUPERSEDED] += gone
    # A run that has met a version in its place takes it for written.
    for ids in chunks(row.id for row in held if row.held == row.base_version):
        connection.execute(update(records).where(records.c.id.in_(ids)).values(base_done=False))
    for table, column in ((contents, "file_set"), (files, "file_set"), (file_sets, "id")):
        connection.execute(delete(table).where(table.c[column] == plan))
    add_counts(connection, {line.run: counts})


_HELD = (
    select(
        records.c.id,
        records.c.alias_of,
        records.c.fingerprint,
        records.c.base_version,
        contents.c.version.label("held"),
        contents.c.door.label("held_door"),
        versions.c.fingerprint.label("held_fingerprint"),
        owed.c.run.label("owed_by"),
    )
    .join(contents, contents.c.record_id == records.c.id)
    .join(
        versions,
        (versions.c.record_id == contents.c.record_id) & (versions.c.number == contents.c.version),
    )
    .outerjoin(owed, OF_RECORD)
    .where(contents.c.file_set == bindparam("plan"))
    .order_by(records.c.source, records.c.reference)
    .with_for_update(of=records)
)
