"""Putting a file in place so that it is known to be there, whatever happens in between.

First the plan is stored: which versions, which files with which content. From then on the
records count as written. Then, in a second transaction that holds the plan's lock, the
files are put in place and the plan is marked as placed. Who finds a plan that nobody locks
knows that its run died in between (or has not begun), and may ask the folder what is there.
"""

from __future__ import annotations

from array import array
from collections import Counter
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


#: Gives files their names; calls its argument before each attempt with the files as they
#: would be, and returns those in place (all of them, or it raises with none left).
Commit = Callable[[Callable[[Sequence[File]], None]], Sequence[File]]


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
    """Which records, in which version, a file holds; sixteen bytes each."""

    def __init__(self) -> None:
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
    """One set of files on its way: :meth:`announce`, then :meth:`finish` or :meth:`give_up`."""

    def __init__(
        self,
        database: Database,
        run: int,
        regime: Regime,
        buyer: str,
        folder: str,
        keys: RecordKeys,
    ):
        self._database = database
        self._run = run
        self._regime = regime
        self._buyer = buyer
        self._folder = folder
        self._keys = keys
        self._plan: int | None = None
        self._lock = ExitStack()
        self._connection: Connection | None = None

    def announce(self, planned: Sequence[File]) -> None:
        """Store the plan, durably, and lock it.

        Called again when the names were taken: the plan then gets the new ones. Raises
        :class:`LostError`.
        """
        self._lock.close()
        if self._plan is None:
            self._plan = self._database.write(
                lambda connection: self._make_plan(connection, planned), durable=True
            )
        else:
            self._database.write(lambda connection: self._name(connection, planned), durable=True)
        self._connection = self._lock.enter_context(self._database.writing())
        self._check(self._connection)

    def finish(self) -> None:
        """Mark the plan as placed: its files are there."""
        with self._lock:
            mark_placed(self._connection, self._plan, self._run, len(self._keys))

    def give_up(self, error: BaseException) -> None:
        """Unlock the plan and drop it: nothing of it is in place. (When that is not known, or
        the process is being stopped, it is found out by the next run.)"""
        self._lock.__exit__(type(error), error, error.__traceback__)
        is_known = isinstance(error, Exception) and not isinstance(error, UncertainOutputError)
        if self._plan is not None and is_known:
            self._database.write(lambda connection: drop(connection, self._plan))

    def _make_plan(self, connection: Connection, planned: Sequence[File]) -> int:
        plan = connection.execute(
            insert(file_sets).returning(file_sets.c.id),
            {
                "run": self._run,
                "regime": self._regime,
                "buyer": self._buyer,
                "records": len(self._keys),
                "placed": False,
            },
        ).scalar_one()
        for type, part in self._keys.parts.items():
            self._take(connection, plan, type, part)
        self._add_files(connection, plan, planned)
        return plan

    def _take(self, connection: Connection, plan: int, type: ContractType, part: _Part) -> None:
        """Move records from ``owed`` to ``contents``.

        Debts are read in the order of files, in which the keys are too: one walk along
        them, from the first to the last of the file, finds all.
        """
        keys = iter(part)
        key = next(keys)
        start = part.first
        while True:
            debts = connection.execute(
                _DEBTS,
                {
                    "this_run": self._run,
                    "of_regime": self._regime,
                    "of_type": type,
                    **dict(zip(_START, start, strict=True)),
                    **dict(zip(_END, part.last, strict=True)),
                },
            ).all()
            paid = []
            for debt in debts:
                if (debt.record_id, debt.version) == key:
                    paid.append(debt)
                    key = next(keys, None)
            if paid:
                debts_paid = [dict(zip(DEBT_KEY, debt, strict=False)) for debt in paid]
                self._database.execute_many(connection, PAY, debts_paid)
                held = [
                    {
                        "file_set": plan,
                        "record_id": debt.record_id,
                        "version": debt.version,
                        "door": debt.door,
                    }
                    for debt in paid
                ]
                self._database.execute_many(connection, _HOLD, held)
            if key is None:
                return
            if len(debts) < CHUNK:
                raise LostError
            start = tuple(getattr(debts[-1], column.name) for column in POSITION)

    def _name(self, connection: Connection, planned: Sequence[File]) -> None:
        self._check(connection)
        connection.execute(delete(files).where(files.c.file_set == self._plan))
        self._add_files(connection, self._plan, planned)

    def _add_files(self, connection: Connection, plan: int, planned: Sequence[File]) -> None:
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
                for position, file in enumerate(planned)
            ],
        )

    def _check(self, connection: Connection) -> None:
        if lock_plan(connection, self._plan) is None:
            self._plan = None
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


def lock_plan(connection: Connection, plan: int | None, *, wait: bool = True) -> Row[Any] | None:
    """The line of a plan, locked; ``None`` if it is no plan any more, or (``wait=False``) if
    another process has locked it."""
    return connection.execute(
        select(file_sets)
        .where(file_sets.c.id == plan, ~file_sets.c.placed)
        .with_for_update(skip_locked=not wait)
    ).one_or_none()


def mark_placed(connection: Connection, plan: int, run: int, number: int) -> None:
    """Note that the files of a plan are in place, and with them records of its run."""
    connection.execute(update(file_sets).where(file_sets.c.id == plan).values(placed=True))
    add_counts(connection, {run: Counter(written=number)})


def drop(connection: Connection, plan: int) -> None:
    """Undo a plan of which nothing is in place: its run owes the records again.

    Those of which a newer version came in the meantime, or that another run owes by now, are
    superseded.
    """
    line = lock_plan(connection, plan)
    if line is None:
        return
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
