"""The store: what was received and what became of it, kept between runs.

A *run* is one execution of a spider. Each row that it gives to the store leaves through
exactly one :class:`Door`; a DECP record that is ``new`` or ``updated`` is *owed* by its run
until it stands in a file. What another run owes, killed or still running, is taken over by
the run that receives it next, so that it is written once.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import merge as merge_sorted
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, tuple_, update

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.verdict import Problem
from dume_spider.exceptions import StoreError
from dume_spider.store.compression import compress
from dume_spider.store.database import Database
from dume_spider.store.doors import TWICE, Candidate, Door, Outcome, as_json, plain
from dume_spider.store.notices import NoticeRow, NoticeSaver
from dume_spider.store.placing import (
    POSITION,
    Commit,
    LostError,
    PendingRecord,
    Placing,
    PlannedFile,
    RecordKeys,
    drop,
    lock_plans,
    mark_placed,
)
from dume_spider.store.saving import Saver, add_counts, among, chunks
from dume_spider.store.tables import (
    file_sets,
    files,
    owed,
    rejected,
    rejections,
    runs,
    versions,
)

__all__ = [
    "Candidate",
    "Counts",
    "Door",
    "NoticeRow",
    "Outcome",
    "PendingRecord",
    "PlannedFile",
    "RecordKeys",
    "Rejection",
    "Store",
]

#: Records read at once from those that a run owes.
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that cannot be published: its reasons and the row as served (JSON).

    ``reference``, ``type`` and ``regime`` are ``None`` when they cannot be told.
    """

    source: str
    reference: str | None
    type: ContractType | None
    regime: Regime | None
    problems: Sequence[Problem]
    raw: bytes


class Counts(NamedTuple):
    """How many rows of a run have left through each door, and what it has written.

    ``taken`` is how many of its new and updated records another run has taken over before
    they were written; they count as ``superseded``. ``written`` are in files, ``owed`` not
    yet: ``new + updated == written + owed``.
    """

    new: int
    updated: int
    unchanged: int
    superseded: int
    rejected: int
    taken: int
    written: int
    owed: int


class Store:
    """The store at ``url``: ``sqlite:///path`` or ``postgresql+psycopg://…``.

    It is made at first use. Every method raises :class:`StoreError`, in one line, when the
    store cannot be used; what was there is then as it was. The order of use: ``recover``,
    ``begin_run``, ``save`` and ``reject`` in batches, ``pending`` and ``place``,
    ``counts_of``, ``end_run``, ``close``.
    """

    def __init__(self, url: str):
        self._database = Database(url)
        self._numbers: dict[str, int] = {}

    @property
    def database(self) -> Database:
        """The open database."""
        return self._database

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def begin_run(
        self, run: str, spider: str, arguments: Mapping[str, Any], started: datetime
    ) -> None:
        """Note that a run begins. One of the same name is taken up again: what it owes, and
        its counts, are still there."""

        def begin(connection: Connection) -> int:
            known = connection.execute(
                select(runs.c.number, runs.c.spider).where(runs.c.name == run).with_for_update()
            ).one_or_none()
            if known is None:
                line = {
                    "name": run,
                    "spider": spider,
                    "arguments": as_json(dict(arguments)),
                    "started": _instant(started),
                }
                statement = insert(runs).returning(runs.c.number)
                return connection.execute(statement, line).scalar_one()
            if known.spider != spider:
                raise StoreError(
                    f"the store {self._database.name} has a run {run!r} of the spider "
                    f"{known.spider!r}; give another name"
                )
            connection.execute(
                update(runs)
                .where(runs.c.number == known.number)
                .values(finished=None, status=None, summary=None)
            )
            return known.number

        self._numbers[run] = self._database.write(begin)

    def end_run(self, run: str, status: str, summary: Mapping[str, Any]) -> None:
        """Note that a run has ended, with its status and its summary (values of JSON)."""
        number = self.number_of(run)
        values = {
            "finished": _instant(datetime.now(UTC)),
            "status": status,
            "summary": as_json(dict(summary)),
        }
        self._database.write(
            lambda connection: connection.execute(
                update(runs).where(runs.c.number == number).values(values)
            )
        )

    def counts_of(self, run: str) -> Counts:
        """The counts of a run. They are stored with what they count, so they are exact also
        after an interruption, and when another run took something over."""
        number = self.number_of(run)
        with self._database.reading() as connection:
            line = connection.execute(select(runs).where(runs.c.number == number)).one()
            left = connection.execute(
                select(func.count()).select_from(owed).where(owed.c.run == number)
            ).scalar_one()
        return Counts(*(getattr(line, name) for name in Counts._fields[:-1]), left)

    def save(self, run: str, candidates: Sequence[Candidate | NoticeRow]) -> list[Outcome]:
        """Save records and notices, all or none; the outcome of each, in their order.

        Give the versions of one reference in one batch where they are known together: it
        saves work, and what is decided does not depend on it.
        """
        return self.keep(run, candidates, ())[0]

    def reject(self, run: str, refused: Sequence[Rejection]) -> list[Outcome]:
        """Keep rows that cannot be published, all or none; the outcome of each.

        A row is known by its content: served again, it stays one line. Its rejection is
        closed, and kept for the record, once a run accepts its reference and does not meet
        the row again.
        """
        return self.keep(run, (), refused)[1]

    def keep(
        self,
        run: str,
        candidates: Sequence[Candidate | NoticeRow],
        refused: Sequence[Rejection],
        mark: Callable[[Connection], object] = lambda _: None,
    ) -> tuple[list[Outcome], list[Outcome]]:
        """:meth:`save` and :meth:`reject` in one transaction, and whatever ``mark`` writes
        in it; it may be called again when the transaction is."""
        number = self.number_of(run)

        def keep(connection: Connection) -> tuple[list[Outcome], list[Outcome]]:
            counts: dict[int, Counter[str]] = defaultdict(Counter)
            saved = self._save(connection, number, candidates, counts)
            kept = self._reject(connection, number, refused)
            mark(connection)
            counts[number].update(outcome.door for outcome in kept)
            add_counts(connection, counts)
            return saved, kept

        return self._database.write(keep)

    def _save(
        self,
        connection: Connection,
        run: int,
        candidates: Sequence[Candidate | NoticeRow],
        counts: dict[int, Counter[str]],
    ) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        sources: dict[str, list[tuple[int, Candidate]]] = defaultdict(list)
        rows: dict[int, NoticeRow] = {}
        for position, candidate in enumerate(candidates):
            if isinstance(candidate, NoticeRow):
                rows[position] = candidate
            else:
                sources[candidate.source].append((position, candidate))
        saved = NoticeSaver(self._database, connection, run, counts[run]).save([*rows.values()])
        outcomes.update(zip(rows, saved, strict=True))
        for source, batch in sorted(sources.items()):
            saver = Saver(self._database, connection, run, source, counts)
            outcomes.update(saver.save(batch))
        return [outcomes[position] for position in range(len(candidates))]

    def _reject(
        self, connection: Connection, run: int, refused: Sequence[Rejection]
    ) -> list[Outcome]:
        hashed = [(hashlib.blake2b(row.raw, digest_size=16).digest(), row) for row in refused]
        known = {
            (row.source, row.raw_hash)
            for chunk in chunks({raw_hash for raw_hash, _ in hashed})
            for row in connection.execute(_REJECTED, {"hashes": chunk, "run": run})
        }
        lines: dict[tuple[str, bytes], dict[str, Any]] = {}
        outcomes = []
        for raw_hash, row in hashed:
            if (row.source, raw_hash) in known:
                outcomes.append(Outcome(Door.SUPERSEDED, TWICE))
                continue
            known.add((row.source, raw_hash))
            outcomes.append(Outcome(Door.REJECTED))
            lines[row.source, raw_hash] = {
                "source": row.source,
                "reference": None if row.reference is None else plain(row.reference),
                "type": row.type,
                "regime": row.regime,
                "problems": as_json([problem.as_dict() for problem in row.problems]),
                "raw": compress(row.raw),
                "raw_hash": raw_hash,
                "first_run": run,
                "last_run": run,
            }
        if lines:
            added = self._database.insert(rejections)
            again = ("reference", "type", "regime", "problems", "last_run")
            connection.execute(
                added.on_conflict_do_update(
                    index_elements=["source", "raw_hash"],
                    set_={name: added.excluded[name] for name in again} | {"resolved_run": None},
                ),
                [line for _, line in sorted(lines.items())],
            )
            connection.execute(
                insert(rejected),
                [{"run": run, "source": source, "raw_hash": hash} for source, hash in lines],
            )
        return outcomes

    def pending(self, run: str, *, by_type: bool = False) -> Iterator[PendingRecord]:
        """The records that a run owes, in the order in which they are written.

        Ordered by regime, buyer, type (marchés first), publication date, reference;
        ``by_type``: by regime, type, buyer…, as a file with all buyers of a platform needs
        it. They are read page by page: :meth:`place` may be called in between, and
        memory does not grow.
        """
        number = self.number_of(run)
        types = (ContractType.MARCHE, ContractType.CONCESSION)
        for regime in Regime:
            streams = [self._owed(number, regime, type) for type in types]
            if by_type:
                for stream in streams:
                    yield from stream
            else:
                # The first of two streams goes first where buyers are the same.
                yield from merge_sorted(*streams, key=lambda record: record.buyer)

    def _owed(self, run: int, regime: Regime, type: ContractType) -> Iterator[PendingRecord]:
        after = dict.fromkeys((column.name for column in POSITION), "")
        while True:
            with self._database.reading() as connection:
                page = connection.execute(
                    _OWED, {"this_run": run, "of_regime": regime, "of_type": type, **after}
                ).all()
            for record_id, version, source, reference, buyer, published, record in page:
                yield PendingRecord(
                    (record_id, version), source, reference, type, regime, buyer, published, record
                )
            if len(page) < _PAGE:
                return
            after = {name: getattr(page[-1], name) for name in after}

    def place(self, run: str, sets: Sequence[RecordKeys], *, folder: str, commit: Commit) -> bool:
        """Put sets of files in place, so that their records are known to be written.

        ``sets`` are, in the order of :meth:`pending`, which records the files hold;
        ``folder`` is the absolute path or URI of the folder, ``commit`` what gives the
        files their names (:meth:`dume_spider.decp.folder.Output.commit`). On SQLite no
        other process can write in the store while they get them.

        ``False``: nothing was put in place because another run has taken over one of the
        records; write what is still :meth:`pending` anew. What ``commit`` raises is passed
        on, and the records are owed as before. After a kill :meth:`recover` finds out what
        is in place.
        """
        placing = Placing(self._database, self.number_of(run), folder, sets)
        try:
            commit(placing.announce)
        except BaseException as error:
            placing.give_up(error)
            if isinstance(error, LostError):
                return False
            raise
        placing.finish()
        return True

    def recover(self, is_in_place: Callable[[str, Sequence[PlannedFile]], bool | None]) -> int:
        """Find out what runs that were killed while they placed files have placed.

        ``is_in_place`` is given a folder and the files of one set, and says whether all of
        them are there; if not, it removes those that are
        (:meth:`dume_spider.decp.folder.OutputFolder.settle`). Sets that are there count as
        written; of the others, their runs owe the records again; ``None``: that is not known
        yet, and the set stays planned. To be called when a run begins: it leaves alone what a
        living run is placing. Returns the number of sets.
        """
        with self._database.reading() as connection:
            plans = connection.scalars(
                select(file_sets.c.id).where(~file_sets.c.placed).order_by(file_sets.c.id)
            ).all()
        return sum(
            self._database.write(
                lambda connection, plan=plan: _recover(connection, plan, is_in_place)
            )
            for plan in plans
        )

    def number_of(self, run: str) -> int:
        """The number of a run, by which the tables refer to it."""
        if run not in self._numbers:
            with self._database.reading() as connection:
                number = connection.scalar(select(runs.c.number).where(runs.c.name == run))
            if number is None:
                raise StoreError(f"the store {self._database.name} knows no run {run!r}")
            self._numbers[run] = number
        return self._numbers[run]


def _recover(
    connection: Connection,
    plan: int,
    is_in_place: Callable[[str, Sequence[PlannedFile]], bool | None],
) -> bool:
    """Whether something was found out about a plan."""
    if not (lines := lock_plans(connection, [plan], wait=False)):
        return False
    (line,) = lines
    found = connection.execute(
        select(files).where(files.c.file_set == plan).order_by(files.c.position)
    ).all()
    planned = [PlannedFile(row.name, line.records, row.bytes, row.sha1) for row in found]
    folder = found[0].folder
    # Another run may have placed the same content under the same name, which then is its.
    taken = connection.scalar(
        select(func.count())
        .select_from(files.join(file_sets))
        .where(
            file_sets.c.placed,
            files.c.folder == folder,
            files.c.name.in_([row.name for row in found]),
        )
    )
    found_there = False if taken else is_in_place(folder, planned)
    if found_there is None:
        return False
    if found_there:
        mark_placed(connection, [plan], line.run, line.records)
    else:
        drop(connection, plan)
    return True


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


_REJECTED = select(rejected.c.source, rejected.c.raw_hash).where(
    rejected.c.run == bindparam("run"), among(rejected.c.raw_hash, "hashes")
)
_OWED = (
    select(
        owed.c.record_id,
        owed.c.version,
        owed.c.source,
        owed.c.reference,
        owed.c.buyer,
        owed.c.published,
        versions.c.record,
    )
    .join(
        versions,
        (versions.c.record_id == owed.c.record_id) & (versions.c.number == owed.c.version),
    )
    .where(
        owed.c.regime == bindparam("of_regime"),
        owed.c.type == bindparam("of_type"),
        tuple_(*POSITION) > tuple_(*(bindparam(c.name, type_=c.type) for c in POSITION)),
        owed.c.run == bindparam("this_run"),
    )
    .order_by(*POSITION)
    .limit(_PAGE)
)
