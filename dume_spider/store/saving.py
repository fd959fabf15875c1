"""Saving a batch of records: one transaction of some ten statements, whatever its size.

What becomes of each reference is decided by :func:`~dume_spider.store.doors.settle`; here
it is given what the store knows, two references are kept from holding the same record, and
what changes is written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.version import Rank
from dume_spider.store.compression import compress
from dume_spider.store.database import Database, MetError
from dume_spider.store.doors import (
    OLDER,
    REPLACED,
    TWICE,
    Candidate,
    Door,
    Outcome,
    Settled,
    Version,
    contract_of,
    is_eligible,
    order,
    same_data,
    settle,
)
from dume_spider.store.tables import owed, records, rejections, runs, versions

T = TypeVar("T")

#: Values in one ``IN`` list, well below what any engine takes.
CHUNK = 1000


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """Lists of :data:`CHUNK` values, the last one shorter."""
    chunk: list[T] = []
    for value in values:
        chunk.append(value)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """``column IN (the list given as parameter name)``."""
    return column.in_(bindparam(name, expanding=True))


_TO_WRITE = (Door.NEW, Door.UPDATED)

#: The columns of ``records`` that say where a debt stands in ``owed``.
DEBT_KEY = tuple(column.name for column in owed.primary_key)
#: The debt of a line of ``records``.
OF_RECORD = and_(*(owed.c[name] == records.c[name] for name in DEBT_KEY))

#: In the order of references, so that two transactions lock in the same order.
_KNOWN = (
    select(records)
    .where(records.c.source == bindparam("of_source"), among(records.c.reference, "references"))
    .order_by(records.c.reference)
    .with_for_update()
)
_DEBTS = (
    select(owed.c.record_id, owed.c.run, owed.c.door)
    .join(records, OF_RECORD)
    .where(among(records.c.id, "ids"))
    .order_by(*owed.primary_key)
    .with_for_update(of=owed)
)
PAY = delete(owed).where(*(column == bindparam(column.name) for column in owed.primary_key))
OWE = insert(owed).from_select(
    [*DEBT_KEY, "run", "door", "record_id", "version"],
    select(
        *(records.c[name] for name in DEBT_KEY),
        bindparam("this_run", type_=owed.c.run.type),
        bindparam("this_door", type_=owed.c.door.type),
        records.c.id,
        records.c.version,
    ).where(among(records.c.id, "ids")),
)
_HISTORY = select(*(column for column in versions.c if column.name != "raw")).where(
    among(versions.c.record_id, "ids")
)
_HOLDERS = (
    select(records.c.fingerprint, records.c.reference)
    .where(
        records.c.source == bindparam("of_source"),
        among(records.c.fingerprint, "fingerprints"),
        records.c.alias_of.is_(None),
    )
    .with_for_update()
)
_ALIASES = (
    select(records)
    .where(
        records.c.source == bindparam("of_source"),
        among(records.c.fingerprint, "fingerprints"),
        records.c.alias_of.is_not(None),
        records.c.door_run == bindparam("this_run"),
    )
    .order_by(records.c.reference)
    .with_for_update()
)
_SEEN = update(records).where(among(records.c.id, "ids")).values(last_run=bindparam("this_run"))
_UNCHANGED = _SEEN.values(
    door_run=bindparam("this_run"),
    door=Door.UNCHANGED,
    base_version=records.c.version,
    base_last=records.c.last_version,
    base_done=True,
)
#: Out of the way of the unique index while fingerprints change hands.
_LET_GO = update(records).where(among(records.c.id, "ids")).values(alias_of=records.c.reference)
_CHANGE = update(records).where(records.c.id == bindparam("record_id"))
_ADDED = select(records.c.reference, records.c.id).where(
    records.c.source == bindparam("of_source"),
    among(records.c.reference, "references"),
    records.c.first_run == bindparam("this_run"),
)
#: Close the rejections of references that are accepted now.
RESOLVE = (
    update(rejections)
    .where(
        rejections.c.source == bindparam("of_source"),
        among(rejections.c.reference, "references"),
        rejections.c.resolved_run.is_(None),
        rejections.c.last_run != bindparam("this_run"),
    )
    .values(resolved_run=bindparam("this_run"))
)


_ADD_VERSION = insert(versions)


@lru_cache(maxsize=4)
def _add_record(database: Database) -> Any:
    return database.insert(records).on_conflict_do_nothing()


class _Case:
    """One reference of the batch: what stands, what arrived, what it becomes.

    ``row`` is its line in ``records``, ``owed_by`` the run that owes it, by what door;
    ``arrivals`` are (position in the batch, candidate); ``before`` is the door that this
    run has given it already, ``base`` what stood before this run, ``best`` the fingerprint
    of the newest version as received. ``now`` is what the line becomes; ``None`` when it
    stays as it is.
    """

    __slots__ = (
        "arrivals",
        "base",
        "base_done",
        "base_last",
        "base_version",
        "before",
        "best",
        "in_run",
        "kept",
        "moves",
        "now",
        "owed_by",
        "owed_door",
        "record",
        "reference",
        "row",
        "run",
        "winner",
    )

    def __init__(self, reference: str, run: int):
        self.reference = reference
        self.run = run
        self.arrivals: list[tuple[int, Candidate]] = []
        self.row: Row[Any] | None = None
        self.owed_by: int | None = None
        self.owed_door: Door | None = None
        self.base: Version | None = None
        self.base_version: int | None = None
        self.base_last = 0
        self.base_done = False
        self.before: Door | None = None
        self.best: bytes | None = None
        self.in_run = False
        self.now: dict[str, Any] | None = None
        self.record: bytes | None = None
        self.winner: Candidate | None = None
        self.kept: list[Candidate] = []
        self.moves: list[tuple[Door, Door]] = []

    def start(self, row: Row[Any], debt: Row[Any] | None) -> None:
        """Take what stands: either what this run has decided before, or its base."""
        self.row = row
        if debt is not None:
            self.owed_by, self.owed_door = debt.run, Door(debt.door)
        mine = self.owed_door if self.owed_by == self.run else None
        door = Door(row.door)
        # What this run has decided holds no more once it is written, or is another run's,
        # or when its file could not be put in place after all.
        self.in_run = row.door_run == self.run and mine is (door if door in _TO_WRITE else None)
        if self.in_run:
            self.before = door
            self.base_version, self.base_last = row.base_version, row.base_last
            self.base_done = row.base_done
        else:
            self.before = mine
            self.base_version, self.base_last = row.version, row.last_version
            self.base_done = self.is_written

    @property
    def is_written(self) -> bool:
        """Whether the current version is in a file."""
        return self.row is not None and self.owed_by is None and self.row.alias_of is None

    @property
    def was_written(self) -> bool:
        """Whether some version is in a file."""
        return self.row is not None and (self.row.written or self.is_written)

    @property
    def door_to_write(self) -> Door:
        """The door of what is to be written."""
        return Door.UPDATED if self.was_written else Door.NEW

    @property
    def differs(self) -> bool:
        """Whether something else than the stored version arrived."""
        row = self.row
        return row is None or any(c.received != row.received for _, c in self.arrivals)

    @property
    def claims_again(self) -> bool:
        """Whether what this run has decided may have changed without an arrival: the holder of
        an alias has moved on, or what seemed to be in a file is not, and another run owes it."""
        return self.in_run and (self.before is Door.SUPERSEDED or self.is_owed_by_another)

    @property
    def is_owed_by_another(self) -> bool:
        """Whether another run than this one owes the current version."""
        return self.owed_by not in (None, self.run)

    def decide(self, history: Sequence[tuple[int, Version]]) -> None:
        """Decide what the reference becomes, other references left aside.

        ``history`` is every stored version with the run that received it, read only if
        the case :attr:`differs` or :attr:`claims_again`.
        """
        row = self.row
        for _, version in history:
            if version.number == self.base_version:
                self.base = version
                if version.fingerprint == row.fingerprint and row.alias_of is None:
                    self.base_done = self.is_written  # it may have been placed since, or not
        if not self.differs:
            self.best = row.received
            if not self.in_run or self.claims_again:
                self.now = {name: getattr(row, name) for name in _STATE}
            if self.before is None:
                self.winner = self.arrivals[0][1]
            return
        seen: list[Version] = []
        known: set[bytes] = set()
        for of_run, version in history:
            if of_run == self.run and version.number > self.base_last:
                seen.append(version)
            else:
                known.add(version.received)
        stored = known | {version.received for version in seen}
        if self.in_run and self.base is not None and row.received == self.base.received:
            seen.append(self.base)  # it was received again and is the best so far
        arrived = [candidate for _, candidate in self.arrivals]
        settled = settle(self.base, [*seen, *arrived], known)
        # An older one counts only for what it adds.
        if settled is not None and (
            any(is_eligible(candidate, self.base) for candidate in arrived)
            or settled.fingerprint != row.fingerprint
        ):
            self._become(settled)
            stored.add(self.best)
        for candidate in arrived:
            if candidate.received not in stored:
                stored.add(candidate.received)
                self.kept.append(candidate)

    def _become(self, settled: Settled) -> None:
        row, best = self.row, settled.best
        self.best = best.received
        self.now = {
            "type": best.type,
            "regime": best.regime,
            "buyer": best.buyer,
            "published": best.published,
            "fingerprint": settled.fingerprint,
            "received": best.received,
            "additions": best.rank.additions,
            "latest": best.rank.latest,
            "fields": best.fields,
            "contract": best.contract
            if isinstance(best, Candidate)
            else contract_of(orjson.loads(best.record), best.type, best.regime),
        }
        standing = None if row is None else (row.received, row.fingerprint)
        if best is self.base and settled.fingerprint == best.fingerprint:
            self.now["version"] = best.number
        elif standing == (best.received, settled.fingerprint):
            self.now["version"] = row.version
        else:
            self.record = settled.record
        if self.before is None or row.received != best.received:
            arrived = [candidate for _, candidate in self.arrivals]
            # Where only older ones arrived, that which is the newest of them.
            self.winner = next(
                (candidate for candidate in arrived if candidate.received == best.received),
                max(arrived, key=order),
            )

    @property
    def base_fingerprint(self) -> bytes | None:
        """The fingerprint of the record that stood before this run."""
        if self.base is not None:
            return self.base.fingerprint
        return self.row.fingerprint if self.base_version is not None else None

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """The outcome of each arrival, by its position in the batch."""
        moves = tuple((a, b) for a, b in self.moves if a is not b)
        for position, candidate in self.arrivals:
            if candidate is self.winner:
                door, why = Door(self.now["door"]), ""
                if door is Door.SUPERSEDED:
                    why = same_data(self.now["alias_of"])
            else:
                door, why = Door.SUPERSEDED, self._why_superseded(candidate)
            yield position, Outcome(door, why, moves)
            moves = ()

    def _why_superseded(self, candidate: Candidate) -> str:
        if candidate.received == self.best:
            return TWICE
        return REPLACED if is_eligible(candidate, self.base) else OLDER


#: What a line of ``records`` says of the current version.
_STATE = (
    "type",
    "regime",
    "buyer",
    "published",
    "fingerprint",
    "received",
    "additions",
    "latest",
    "fields",
    "contract",
    "version",
)


class Saver:
    """Saves the candidates of one source in an open transaction.

    ``counts`` collects, by the number of the run, what its counts change by.
    """

    def __init__(
        self,
        database: Database,
        connection: Connection,
        run: int,
        source: str,
        counts: dict[int, Counter[str]],
    ):
        self._database = database
        self._connection = connection
        self._run = run
        self._source = source
        self._counts = counts

    def save(self, candidates: Sequence[tuple[int, Candidate]]) -> Iterator[tuple[int, Outcome]]:
        """Save candidates, each with its position in the batch; yield their outcomes.

        Raises :class:`MetError` when another run added one of them in the meantime.
        """
        cases: dict[str, _Case] = {}
        for position, candidate in candidates:
            case = cases.get(candidate.reference)
            if case is None:
                case = cases[candidate.reference] = _Case(candidate.reference, self._run)
            case.arrivals.append((position, candidate))
        references = sorted(cases)
        rows = self._execute(_KNOWN, "references", references, of_source=self._source)
        # Read after the rows are locked: what a debt says then holds until the end.
        ids = [row.id for row in rows]
        debts = {debt.record_id: debt for debt in self._execute(_DEBTS, "ids", ids)}
        for row in rows:
            cases[row.reference].start(row, debts.get(row.id))
        self._decide(cases.values())
        promoted = self._claim(cases)
        self._write(cases.values(), promoted)
        self._execute(RESOLVE, "references", references, of_source=self._source, this_run=self._run)
        for case in cases.values():
            for position, outcome in case.outcomes():
                self._count(outcome)
                yield position, outcome

    def _decide(self, cases: Iterable[_Case]) -> None:
        history: dict[int, list[tuple[int, Version]]] = defaultdict(list)
        ids = [c.row.id for c in cases if c.row is not None and (c.differs or c.claims_again)]
        for row in self._execute(_HISTORY, "ids", ids):
            history[row.record_id].append((row.run, _version(row)))
        for case in cases:
            case.decide(history[case.row.id] if case.row is not None else ())

    def _claim(self, cases: dict[str, _Case]) -> list[Row[Any]]:
        """Give each case its door; of references with the same record, one holds it.

        Returns the lines of further references: aliases of this run whose holder now has
        another record, so that they hold theirs themselves.
        """
        changed = [case for case in cases.values() if case.now is not None]
        claims = [case for case in changed if not _holds_already(case)]
        wanted = sorted({case.now["fingerprint"] for case in claims})
        holders = {
            row.fingerprint: row.reference
            for row in self._execute(_HOLDERS, "fingerprints", wanted, of_source=self._source)
        }
        left: dict[bytes, _Case] = {}
        for case in claims:
            row = case.row
            if row is not None and row.alias_of is None:
                left[row.fingerprint] = case
                holders.pop(row.fingerprint, None)
        for case in changed:
            case.now["alias_of"] = None
        for case in claims:
            holder = holders.setdefault(case.now["fingerprint"], case.reference)
            case.now["alias_of"] = None if holder == case.reference else holder
        for case in changed:
            self._give_door(case)
        promoted: dict[bytes, Row[Any]] = {}
        free = sorted(left.keys() - holders.keys())
        for row in self._execute(
            _ALIASES, "fingerprints", free, of_source=self._source, this_run=self._run
        ):
            case = cases.get(row.reference)
            if (case is None or case.now is None) and row.fingerprint not in promoted:
                promoted[row.fingerprint] = row
                left[row.fingerprint].moves.append((Door.SUPERSEDED, _door_of_alias(row)))
        return list(promoted.values())

    def _give_door(self, case: _Case) -> None:
        now = case.now
        if now["alias_of"] is not None:
            now["door"] = Door.SUPERSEDED
        elif case.base_done and now["fingerprint"] == case.base_fingerprint:
            now["door"] = Door.UNCHANGED
        else:
            now["door"] = case.door_to_write
        if case.before is not None:
            # Of two arrivals of one reference, the one that does not win is superseded.
            after = Door.SUPERSEDED if case.winner is not None else now["door"]
            case.moves.append((case.before, after))
        if case.is_owed_by_another:
            taken = self._counts[case.owed_by]
            taken[case.owed_door] -= 1
            taken[Door.SUPERSEDED] += 1
            taken["taken"] += 1

    def _write(self, cases: Iterable[_Case], promoted: list[Row[Any]]) -> None:
        run = self._run
        added: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        unchanged: list[int] = []
        seen: list[int] = []
        letting_go: list[int] = []
        kept: list[dict[str, Any]] = []
        paid: list[dict[str, Any]] = []
        owing = {door: [] for door in _TO_WRITE}
        new_versions: list[tuple[_Case, dict[str, Any]]] = []
        copies: list[_Case] = []
        for case in cases:
            now, row = case.now, case.row
            number = row.last_version if row is not None else 0
            for candidate in case.kept:
                number += 1
                version = self._version(number, candidate, candidate.received, candidate.record)
                new_versions.append((case, version))
            if case.record is not None:
                number += 1
                now["version"] = number
                if case.winner is None or case.winner.received != case.best:
                    copies.append(case)
                else:
                    version = self._version(number, case.winner, now["fingerprint"], case.record)
                    new_versions.append((case, version))
            if now is None:
                seen.append(row.id)
                if case.kept:
                    kept.append({"record_id": row.id, "last_version": number})
                continue
            if case.is_written and not case.differs:
                unchanged.append(row.id)
                continue
            now.update(
                last_version=number,
                last_run=run,
                written=row.written if now["door"] is Door.UNCHANGED else case.was_written,
                door_run=run,
                base_version=case.base_version,
                base_last=case.base_last,
                base_done=case.base_done,
            )
            if case.owed_by is not None:
                paid.append({name: getattr(row, name) for name in DEBT_KEY})
            if row is None:
                now.update(source=self._source, reference=case.reference, first_run=run)
                added.append(now)
                continue
            if now["door"] in _TO_WRITE:
                owing[now["door"]].append(row.id)
            now["record_id"] = row.id
            changed.append(now)
            if row.alias_of is None and row.fingerprint != now["fingerprint"]:
                letting_go.append(row.id)
        for row in promoted:
            owing[_door_of_alias(row)].append(row.id)
        self._execute(_SEEN, "ids", seen, this_run=run)
        self._execute(_UNCHANGED, "ids", unchanged, this_run=run)
        self._execute(_LET_GO, "ids", letting_go)
        self._execute_many(PAY, paid)
        self._execute_many(_CHANGE, changed)
        self._execute_many(_CHANGE, kept)
        self._execute_many(
            _CHANGE,
            [
                {"record_id": row.id, "alias_of": None, "door": _door_of_alias(row)}
                for row in promoted
            ],
        )
        ids = self._add(added)
        for line in added:
            if line["door"] in _TO_WRITE:
                owing[line["door"]].append(ids[line["reference"]])
        for door, owed_ids in owing.items():
            self._execute(OWE, "ids", owed_ids, this_run=run, this_door=door)
        for case, version in new_versions:
            version["record_id"] = case.row.id if case.row is not None else ids[case.reference]
        self._execute_many(_ADD_VERSION, [version for _, version in new_versions])
        for case in copies:
            self._copy(case)

    def _add(self, rows: list[dict[str, Any]]) -> dict[str, int]:
        """Insert lines of ``records``; return their ids by reference."""
        if not rows:
            return {}
        # Sorted, so that two transactions that add the same references wait and do not lock
        # each other out; the second then finds that it did not add them.
        rows.sort(key=lambda row: row["reference"])
        self._execute_many(_add_record(self._database), rows)
        references = [row["reference"] for row in rows]
        ids = {
            row.reference: row.id
            for row in self._execute(
                _ADDED, "references", references, of_source=self._source, this_run=self._run
            )
        }
        if len(ids) < len(rows):
            raise MetError
        return ids

    def _version(
        self, number: int, candidate: Candidate, fingerprint: bytes, record: bytes
    ) -> dict[str, Any]:
        return {
            "number": number,
            "run": self._run,
            "type": candidate.type,
            "regime": candidate.regime,
            "buyer": candidate.buyer,
            "published": candidate.published,
            "fingerprint": fingerprint,
            "received": candidate.received,
            "additions": candidate.rank.additions,
            "latest": candidate.rank.latest,
            "fields": candidate.fields,
            "found": candidate.found,
            "repairs": candidate.repairs,
            "warnings": candidate.warnings,
            "record": record,
            "received_record": None if record is candidate.record else candidate.record,
            "raw": compress(candidate.raw),
        }

    def _copy(self, case: _Case) -> None:
        """Store the best version again, with what an older arrival adds to it."""
        row = self._connection.execute(
            select(versions).where(
                versions.c.record_id == case.row.id, versions.c.number == case.row.version
            )
        ).one()
        values = {
            **row._mapping,
            "number": case.now["version"],
            "run": self._run,
            "fingerprint": case.now["fingerprint"],
            "record": case.record,
            "received_record": row.received_record or row.record,
        }
        self._connection.execute(insert(versions), values)

    def _count(self, outcome: Outcome) -> None:
        counts = self._counts[self._run]
        counts[outcome.door] += 1
        for before, after in outcome.moves:
            counts[before] -= 1
            counts[after] += 1

    def _execute(
        self, statement: Any, name: str, values: Sequence[Any], **parameters: Any
    ) -> list[Row[Any]]:
        """Run a statement over a list of values, in chunks; its rows, if it has any."""
        rows: list[Row[Any]] = []
        for chunk in chunks(values):
            result = self._connection.execute(statement, {name: chunk, **parameters})
            if result.returns_rows:
                rows += result.all()
        return rows

    def _execute_many(self, statement: Any, rows: list[dict[str, Any]]) -> None:
        self._database.execute_many(self._connection, statement, rows)


def _door_of_alias(row: Row[Any]) -> Door:
    """The door of an alias whose record is to be written after all."""
    return Door.UPDATED if row.written else Door.NEW


def _holds_already(case: _Case) -> bool:
    row = case.row
    return row is not None and row.alias_of is None and row.fingerprint == case.now["fingerprint"]


def _version(row: Row[Any]) -> Version:
    return Version(
        number=row.number,
        type=ContractType(row.type),
        regime=Regime(row.regime),
        buyer=row.buyer,
        published=row.published,
        fingerprint=row.fingerprint,
        received=row.received,
        rank=Rank(row.additions, row.latest),
        fields=row.fields,
        record=row.record,
        own_record=row.received_record or row.record,
    )


def add_counts(connection: Connection, counts: dict[int, Counter[str]]) -> None:
    """Add to the counts of runs; last in a transaction and in their order, so that two
    transactions that both have locked records do not lock each other out here."""
    for run, changes in sorted(counts.items()):
        values = {name: runs.c[name] + n for name, n in changes.items() if n}
        if values:
            connection.execute(update(runs).where(runs.c.number == run).values(values))
