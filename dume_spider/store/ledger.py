"""The ledger: what a harvest has asked and what has left, so that it can be carried on.

A *harvest* is what one set of arguments asks of one service. It is *open* until nothing is
left that asking again could give. Whoever asks the same takes an open harvest up, in the
same run, unless a living process holds it: then both go on, each in a run of its own.

Marks are written in the transaction of the rows they speak of (:meth:`Harvest.save`):
a reference is *settled* when all its rows have left through a door, and not before.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import orjson
from sqlalchemy import Connection, Table, delete, func, insert, select, update

from dume_spider.exceptions import StoreError
from dume_spider.store.compression import compress, decompress
from dume_spider.store.database import Database
from dume_spider.store.doors import Candidate, Door, Outcome
from dume_spider.store.lock import Lock
from dume_spider.store.notices import NoticeRow
from dume_spider.store.store import Rejection, Store
from dume_spider.store.tables import (
    file_sets,
    files,
    found,
    harvests,
    records,
    rejected,
    rejections,
    runs,
    settled_rows,
    tallies,
    windows,
)

#: Lines read at once.
_PAGE = 500

#: What the locks of harvests are called.
_KIND = "harvest"


class Window(NamedTuple):
    """An answered search: its filters, what it proves (``closed``, ``full``), and for each
    of its rows what the planner has to know of it (a JSON value)."""

    filters: dict[str, str]
    state: str
    facts: list[Any]


class Found(NamedTuple):
    """A reference that is asked for by itself, and the type of the search that found it."""

    reference: str
    type: str | None


@dataclass(slots=True)
class Marks:
    """What is noted in one transaction.

    ``windows`` that need not be asked again: their rows have left, or are among ``found``.
    ``settled``: references all of whose rows have left; ``rows``: keys of single rows that
    have. ``tallies`` are added to those of the harvest, by (kind, name).
    """

    windows: list[Window] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    tallies: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __iadd__(self, other: Marks) -> Self:
        self.windows += other.windows
        self.found += other.found
        self.settled += other.settled
        self.rows += other.rows
        self.tallies += other.tallies
        return self


class RejectedRow(NamedTuple):
    """A row that the run has rejected; ``problems`` and ``raw`` are JSON."""

    reference: str | None
    problems: bytes
    raw: bytes


class Duplicate(NamedTuple):
    """A record that is the same contract as another, under another reference."""

    reference: str
    same_as: str


class WrittenFile(NamedTuple):
    """A file that the run has put in place."""

    name: str
    records: int
    bytes: int
    sha1: str


class Harvest:
    """An open harvest that this process holds: see :func:`take_up`.

    ``run`` is the run that serves it and ``started`` when that began; ``is_resumed`` says
    whether an earlier process began it, ``has_progressed`` whether this one has noted
    anything that need not be asked again. Its methods raise :class:`StoreError`.
    """

    def __init__(
        self,
        store: Store,
        lock: Lock,
        asked_hash: bytes,
        run: str,
        started: datetime,
        *,
        is_resumed: bool,
    ):
        self.run = run
        self.started = started
        self.is_resumed = is_resumed
        self.has_progressed = False
        self._store = store
        self._lock = lock
        self._asked_hash = asked_hash
        self._id = lock.number

    def save(
        self,
        candidates: Sequence[Candidate | NoticeRow],
        refused: Sequence[Rejection],
        marks: Marks,
    ) -> tuple[list[Outcome], list[Outcome]]:
        """Save records and notices, rejected rows and marks, all or none.

        Returns the outcomes of the first and those of the rejected rows, in their order.
        """
        outcomes = self._store.keep(
            self.run, candidates, refused, lambda connection: self._mark(connection, marks)
        )
        self.has_progressed |= bool(marks.windows or marks.settled or marks.rows)
        return outcomes

    def _mark(self, connection: Connection, marks: Marks) -> None:
        now = _now()
        self._put(
            connection,
            windows,
            [
                {
                    "filters": _json(window.filters),
                    "state": window.state,
                    "rows": len(window.facts),
                    "answered": now,
                    "facts": compress(orjson.dumps(window.facts)),
                }
                for window in marks.windows
            ],
            ("state", "rows", "answered", "facts"),
        )
        waiting = {_escaped(each.reference): each.type for each in marks.found}
        self._put(
            connection,
            found,
            [
                {"reference": reference, "type": waiting[reference], "settled": False}
                for reference in sorted(waiting)
            ],
        )
        self._put(
            connection,
            found,
            [
                {"reference": reference, "type": None, "settled": True}
                for reference in sorted(set(map(_escaped, marks.settled)))
            ],
            ("settled",),
        )
        keys = sorted(set(map(_escaped, marks.rows)))
        self._put(connection, settled_rows, [{"key": key} for key in keys])
        lines = [
            {"harvest": self._id, "kind": kind, "name": _escaped(name), "count": count}
            for (kind, name), count in sorted(marks.tallies.items())
        ]
        if lines:
            added = self._store.database.insert(tallies)
            connection.execute(
                added.on_conflict_do_update(
                    index_elements=["harvest", "kind", "name"],
                    set_={"count": tallies.c.count + added.excluded.count},
                ),
                lines,
            )

    def _put(
        self,
        connection: Connection,
        table: Table,
        lines: list[dict[str, Any]],
        changing: Sequence[str] = (),
    ) -> None:
        """Add lines of this harvest; of those that are there, change the columns named."""
        if not lines:
            return
        added = self._store.database.insert(table)
        if changing:
            added = added.on_conflict_do_update(
                index_elements=table.primary_key.columns,
                set_={name: added.excluded[name] for name in changing},
            )
        else:
            added = added.on_conflict_do_nothing()
        connection.execute(added, [line | {"harvest": self._id} for line in lines])

    def windows(self) -> Iterator[Window]:
        """The searches that are answered."""
        after = ""
        while True:
            with self._store.database.reading() as connection:
                page = connection.execute(
                    select(windows)
                    .where(windows.c.harvest == self._id, windows.c.filters > after)
                    .order_by(windows.c.filters)
                    .limit(_PAGE)
                ).all()
            for line in page:
                facts = orjson.loads(decompress(line.facts))
                yield Window(orjson.loads(line.filters), line.state, facts)
            if len(page) < _PAGE:
                return
            after = page[-1].filters

    def settled(self) -> set[str]:
        """The references that have left. They are all held in memory: some 100 bytes each."""
        where = (found.c.harvest == self._id, found.c.settled)
        with self._store.database.reading() as connection:
            return set(map(_unescaped, connection.scalars(select(found.c.reference).where(*where))))

    def settled_rows(self) -> set[str]:
        """The keys of the single rows that have left."""
        where = settled_rows.c.harvest == self._id
        with self._store.database.reading() as connection:
            return set(map(_unescaped, connection.scalars(select(settled_rows.c.key).where(where))))

    def waiting(self) -> list[Found]:
        """The references that were found and have not left yet."""
        where = (found.c.harvest == self._id, ~found.c.settled)
        with self._store.database.reading() as connection:
            lines = connection.execute(
                select(found.c.reference, found.c.type).where(*where).order_by(found.c.reference)
            )
            return [Found(_unescaped(line.reference), line.type) for line in lines]

    def rows(self) -> int:
        """How many rows have left so far."""
        counts = self._store.counts_of(self.run)
        doors = (counts.new, counts.updated, counts.unchanged, counts.superseded, counts.rejected)
        return sum(doors)

    def tallies(self) -> dict[str, Counter[str]]:
        """What was tallied so far, by kind and name."""
        found_so_far: dict[str, Counter[str]] = defaultdict(Counter)
        with self._store.database.reading() as connection:
            for line in connection.execute(select(tallies).where(tallies.c.harvest == self._id)):
                found_so_far[line.kind][_unescaped(line.name)] = line.count
        return found_so_far

    def rejected(self) -> Iterator[RejectedRow]:
        """The rows that the run has rejected, page by page, in the order they came."""
        number = self._store.number_of(self.run)
        after = 0
        while True:
            with self._store.database.reading() as connection:
                page = connection.execute(
                    select(rejections)
                    .join(
                        rejected,
                        (rejected.c.source == rejections.c.source)
                        & (rejected.c.raw_hash == rejections.c.raw_hash),
                    )
                    .where(rejected.c.run == number, rejections.c.id > after)
                    .order_by(rejections.c.id)
                    .limit(_PAGE)
                ).all()
            for line in page:
                yield RejectedRow(line.reference, line.problems.encode(), decompress(line.raw))
            if len(page) < _PAGE:
                return
            after = page[-1].id

    def duplicates(self) -> list[Duplicate]:
        """The new and updated records of the run that are, by the State's key, a contract which
        an earlier reference of the store is too; in the order they were found."""
        mine, other = records.alias("mine"), records.alias("other")
        with self._store.database.reading() as connection:
            lines = connection.execute(
                select(mine.c.reference, func.min(other.c.reference))
                .join(
                    other,
                    (other.c.contract == mine.c.contract)
                    & (other.c.source == mine.c.source)
                    & (other.c.id < mine.c.id),
                )
                .where(
                    mine.c.door_run == self._store.number_of(self.run),
                    mine.c.door.in_((Door.NEW, Door.UPDATED)),
                    other.c.alias_of.is_(None),
                )
                .group_by(mine.c.id, mine.c.reference)
                .order_by(mine.c.id)
            )
            return [Duplicate(*line) for line in lines]

    def files(self) -> list[WrittenFile]:
        """The files that the run has put in place, in their order."""
        number = self._store.number_of(self.run)
        with self._store.database.reading() as connection:
            lines = connection.execute(
                select(files.c.name, file_sets.c.records, files.c.bytes, files.c.sha1)
                .join(file_sets)
                .where(file_sets.c.run == number, file_sets.c.placed)
                .order_by(file_sets.c.id, files.c.position)
            )
            return [WrittenFile(*line) for line in lines]

    def end(self) -> None:
        """Note that the harvest is done and let go of it: the same command begins a new one.

        Of a harvest that is done only its windows are kept, without the facts of their rows.
        Other open harvests that ask the same are done too, unless they are held: this run
        has received whatever they had.
        """
        database = self._store.database
        locks = [
            Lock.take(database, _KIND, other.id)
            for other in _open_harvests(database, self._asked_hash)
        ]
        held = [self._lock, *(lock for lock in locks if lock is not None)]
        try:
            database.write(lambda connection: _forget(connection, held))
        except StoreError:
            for lock in held:
                lock.release()
            raise
        for lock in held:
            lock.release(for_good=True)

    def let_go(self) -> None:
        """Let go of the harvest as it is; the same command takes it up. Harmless after
        :meth:`end`."""
        self._lock.release()


class _Open(NamedTuple):
    id: int
    run: str
    started: str


def take_up(
    store: Store,
    asked: Mapping[str, Any],
    *,
    run: str,
    spider: str,
    arguments: Mapping[str, Any],
    started: datetime,
) -> Harvest:
    """Take up the open harvest that asks for ``asked``, or begin one.

    ``asked`` holds plain values of JSON, everything that decides what is asked for. The
    others are those of :meth:`Store.begin_run` for a harvest that begins; one that is
    taken up keeps its own run. Raises :class:`StoreError`.
    """
    database = store.database
    text_of = _json({"spider": spider, **asked})
    asked_hash = hashlib.blake2b(text_of.encode(), digest_size=16).digest()
    for known in _open_harvests(database, asked_hash):
        lock = Lock.take(database, _KIND, known.id)
        if lock is None:
            continue
        if not any(known.id == other.id for other in _open_harvests(database, asked_hash)):
            lock.release(for_good=True)  # it was ended just before
            continue
        began = datetime.fromisoformat(known.started)
        store.begin_run(known.run, spider, arguments, began)
        return Harvest(store, lock, asked_hash, known.run, began, is_resumed=True)
    store.begin_run(run, spider, arguments, started)
    with database.writing() as connection:
        line = {
            "run": store.number_of(run),
            "asked": text_of,
            "asked_hash": asked_hash,
            "open": True,
        }
        number = connection.execute(insert(harvests).returning(harvests.c.id), line).scalar_one()
        # Before anybody else can see it.
        lock = Lock.take(database, _KIND, number)
        if lock is None:
            raise StoreError(
                f"the store {database.name}: a process that began with an earlier store of that "
                "name is still running; wait for it to end, or set DECP_STORE_URL"
            )
    return Harvest(store, lock, asked_hash, run, started, is_resumed=False)


def _open_harvests(database: Database, asked_hash: bytes) -> list[_Open]:
    with database.reading() as connection:
        lines = connection.execute(
            select(harvests.c.id, runs.c.name, runs.c.started)
            .join(runs, runs.c.number == harvests.c.run)
            .where(harvests.c.asked_hash == asked_hash, harvests.c.open)
            .order_by(harvests.c.id)
        )
        return [_Open(*line) for line in lines]


def _forget(connection: Connection, locks: Sequence[Lock]) -> None:
    ids = [lock.number for lock in locks]
    for table in (found, settled_rows, tallies):
        connection.execute(delete(table).where(table.c.harvest.in_(ids)))
    connection.execute(update(windows).where(windows.c.harvest.in_(ids)).values(facts=None))
    connection.execute(update(harvests).where(harvests.c.id.in_(ids)).values(open=False))


def _escaped(name: str) -> str:
    """A name as any database can hold it: NUL is not allowed in PostgreSQL."""
    return name.replace("\\", "\\\\").replace("\0", "\\0") if "\0" in name or "\\" in name else name


def _unescaped(text: str) -> str:
    """The name that :func:`_escaped` has made the text of."""
    return re.sub(r"\\(.)", lambda m: "\0" if m[1] == "0" else m[1], text) if "\\" in text else text


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
