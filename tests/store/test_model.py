"""The doors, against a model that keeps everything in memory and decides naively.

The machine runs several harvests at once, in any order, with any versions of a few
references, files that cannot be placed and processes that end at any moment; after each step
the counts, what each run owes and what stands on the disk must be the model's.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dume_spider.decp.regime import Regime
from dume_spider.decp.version import merge
from dume_spider.exceptions import OutputError
from dume_spider.store.placing import File, PendingRecord
from dume_spider.store.store import Candidate, Door, Outcome, PlannedFile, RecordKeys, Store

FOLDER = "/decp"
STARTED = datetime(2024, 3, 1, tzinfo=UTC)
TO_WRITE = (Door.NEW, Door.UPDATED)


class Killed(BaseException):
    """The process ends here."""


def canonical(record: Any) -> str:
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS).decode()


def order(candidate: Candidate) -> Any:
    return candidate.rank, candidate.fields, candidate.received


@dataclass
class Standing:
    """What a reference stands at: the record to publish, and the candidate it came with."""

    record: dict[str, Any]
    newest: Candidate

    @property
    def says(self) -> str:
        return canonical(self.record)


@dataclass
class Session:
    """What one run has received of a reference."""

    run: str
    base: Standing | None
    base_done: bool
    known: set[bytes]
    pool: list[Candidate] = field(default_factory=list)
    door: Door | None = None


@dataclass
class Reference:
    """A reference in the model. ``written``: some version was put in a file."""

    name: str
    now: Standing | None = None
    owed_by: str | None = None
    owed_door: Door | None = None
    alias: bool = False
    written: bool = False
    received: set[bytes] = field(default_factory=set)
    session: Session | None = None

    @property
    def done(self) -> bool:
        return self.now is not None and self.owed_by is None and not self.alias

    @property
    def door_to_write(self) -> Door:
        return Door.UPDATED if self.written or self.done else Door.NEW


@dataclass
class Plan:
    """A set of files announced and not known to be placed."""

    run: str
    held: list[tuple[Reference, Standing, Door]]
    in_place: bool = False


class Model:
    """The store as it should be."""

    def __init__(self) -> None:
        self.references: dict[str, Reference] = {}
        self.counts: dict[str, Counter[str]] = {}
        self.plans: list[Plan] = []

    def save(self, run: str, batch: list[Candidate]) -> None:
        counts = self.counts[run]
        arrivals: dict[str, list[Candidate]] = {}
        for candidate in batch:
            arrivals.setdefault(candidate.reference, []).append(candidate)
        decided: list[tuple[Reference, Standing, Door | None]] = []
        for name, candidates in arrivals.items():
            reference = self.references.setdefault(name, Reference(name))
            counts[Door.SUPERSEDED] += len(candidates)
            session = self.session(run, reference)
            reference.received.update(c.received for c in candidates)
            base = session.base
            eligible = [
                c
                for c in candidates
                if base is None or c.rank >= base.newest.rank or c.received == base.newest.received
            ]
            pool = [*session.pool, *candidates]
            standing = self.standing(session, pool)
            if not eligible and standing.says == reference.now.says:
                continue
            if reference.owed_by not in (None, run):
                taken = self.counts[reference.owed_by]
                taken[reference.owed_door] -= 1
                taken[Door.SUPERSEDED] += 1
                taken["taken"] += 1
            reference.session = session
            session.pool = pool
            decided.append((reference, standing, session.door))
        # References with a record that is theirs already keep it; then first come.
        before = {id(r): (r.now, r.alias) for r, _, _ in decided}
        holders = {
            r.now.says: r for r in self.references.values() if r.now is not None and not r.alias
        }
        left = []
        for reference, standing, _ in decided:
            now, alias = before[id(reference)]
            if now is not None and not alias and now.says != standing.says:
                left.append(now.says)
                del holders[left[-1]]
        for reference, standing, door in decided:
            session = reference.session
            key = standing.says
            holder = holders.setdefault(key, reference)
            to_write = reference.door_to_write
            written = to_write is Door.UPDATED
            reference.now, reference.owed_by = standing, None
            reference.alias = holder is not reference
            if reference.alias:
                session.door = Door.SUPERSEDED
            elif session.base_done and key == session.base.says:
                session.door = Door.UNCHANGED
                written = reference.written
            else:
                session.door = to_write
                reference.owed_by, reference.owed_door = run, to_write
            reference.written = written
            # One row of each reference has its door, all others are superseded.
            counts[door or Door.SUPERSEDED] -= 1
            counts[session.door] += 1
        for key in left:
            waiting = [
                r
                for r in self.references.values()
                if r.alias and r.session.run == run and r.now.says == key
            ]
            if waiting and key not in holders:
                promoted = min(waiting, key=lambda r: r.name)
                promoted.alias, promoted.owed_by = False, run
                counts[Door.SUPERSEDED] -= 1
                door = Door.UPDATED if promoted.written else Door.NEW
                promoted.session.door = promoted.owed_door = door
                counts[promoted.session.door] += 1
                holders[key] = promoted

    def session(self, run: str, reference: Reference) -> Session:
        """The run's view of a reference: the one it has, or a new one."""
        session = reference.session
        mine = reference.owed_door if reference.owed_by == run else None
        if session is not None and session.run == run:
            if mine is (session.door if session.door in TO_WRITE else None):
                base = session.base
                if base is not None and not reference.alias and base.says == reference.now.says:
                    session.base_done = reference.done
                return session
        known = set(reference.received)
        return Session(run, reference.now, reference.done, known, door=mine)

    def standing(self, session: Session, pool: list[Candidate]) -> Standing:
        """What the base and all that was received amount to."""
        base = session.base
        eligible = [
            c
            for c in pool
            if base is None or c.rank >= base.newest.rank or c.received == base.newest.received
        ]
        newest = max(eligible, key=order, default=base and base.newest)
        stands = base is not None and newest.received == base.newest.received
        steps: list[tuple[Any, dict[str, Any]]] = []
        for candidate in pool:
            if candidate.received in {*session.known, newest.received}:
                continue
            age = (candidate in eligible) + 1
            steps.append(((age, order(candidate)), orjson.loads(candidate.record)))
        if base is not None:
            steps.append(((3 if stands else 1.5,), base.record))
        if not stands:
            steps.append(((3,), orjson.loads(newest.record)))
        steps.sort(key=lambda step: step[0])
        record = steps[0][1]
        for _, step in steps[1:]:
            record = merge(record, step, newest.type, newest.regime)
        if stands and canonical(record) == base.says:
            return base
        return Standing(record, base.newest if stands else newest)

    def owed(self, run: str) -> dict[str, str]:
        return {r.name: r.now.says for r in self.references.values() if r.owed_by == run}

    def plan(self, run: str, names: list[str]) -> Plan:
        references = [self.references[name] for name in names]
        held = [(r, r.now, r.owed_door) for r in references]
        for reference in references:
            assert reference.owed_by == run
            reference.owed_by = None
        plan = Plan(run, held)
        self.plans.append(plan)
        return plan

    def placed(self, plan: Plan) -> None:
        self.plans.remove(plan)
        self.counts[plan.run]["written"] += len(plan.held)

    def drop(self, plan: Plan) -> None:
        self.plans.remove(plan)
        for reference, standing, door in plan.held:
            same = reference.now.says == standing.says
            if same and not reference.alias and not reference.owed_by:
                reference.owed_by, reference.owed_door = plan.run, door
            else:
                self.counts[plan.run][door] -= 1
                self.counts[plan.run][Door.SUPERSEDED] += 1
            session = reference.session
            if session.base is standing:
                session.base_done = False


@dataclass(frozen=True)
class Named:
    """A file as a folder would announce it."""

    name: str
    bytes: int
    sha1: str


class Disk:
    """A folder of files that grows by hard links."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.contents: dict[str, list[str]] = {}

    def free(self, stem: str, sha1: str, ends: tuple[str, ...]) -> list[Named]:
        number = 1
        while f"{stem}-{number:02}.{ends[0]}" in self.files:
            number += 1
        return [Named(f"{stem}-{number:02}.{end}", 1, sha1) for end in ends]

    def is_in_place(self, folder: str, planned: list[PlannedFile]) -> bool:
        assert folder == FOLDER
        there = [f for f in planned if self.files.get(f.name) == f.sha1]
        if len(there) == len(planned):
            return True
        for file in there:
            del self.files[file.name]
        return False


ENDS = ["placed", "failed", "renamed", "killed", "killed"]
"""How an attempt to place sets of two files ends."""

VERSIONS = st.tuples(
    st.sampled_from("ABC"),  # reference
    st.sampled_from("xxy"),  # what the record says, whichever the reference
    st.sampled_from([(), (), (1,), (2,), (1, 2)]),  # its modifications
    st.sampled_from([1, 1, 2]),  # the day of its publication
    st.sampled_from([1, 1, 1, 2]),  # its buyer
)


def machine(make: Callable[[], str], candidate: Callable[..., Candidate]) -> Any:
    class Machine(RuleBasedStateMachine):
        @initialize()
        def open(self) -> None:
            self.url = make()
            self.store = Store(self.url)
            self.model = Model()
            self.disk = Disk()
            self.runs: list[str] = []
            self.begin()

        def teardown(self) -> None:
            if hasattr(self, "store"):
                self.store.close()

        @precondition(lambda self: len(self.runs) < 4)
        @rule()
        def begin(self) -> None:
            """A run begins, as every run does: by looking what others have left."""
            known = len(self.model.plans)
            assert self.store.recover(self.disk.is_in_place) == known
            for plan in list(self.model.plans):
                if plan.in_place:
                    self.model.placed(plan)
                else:
                    self.model.drop(plan)
            run = f"run {len(self.runs)}"
            self.runs.append(run)
            self.model.counts[run] = Counter()
            self.store.begin_run(run, "dume", {}, STARTED)

        @rule(
            versions=st.lists(VERSIONS, min_size=1, max_size=5),
            which=st.integers(0, 3),
        )
        def save(self, versions: list[Any], which: int) -> None:
            run = self.runs[which % len(self.runs)]
            batch = [
                candidate(
                    reference,
                    modifications,
                    day=f"2024-03-0{day}",
                    buyer=f"{buyer:014}",
                    objet=says,
                )
                for reference, says, modifications, day, buyer in versions
            ]
            before = self.store.counts_of(run)._asdict()
            outcomes = self.store.save(run, batch)
            assert len(outcomes) == len(batch)
            expected = Counter({d: before[d] for d in map(str, Door)}) + total(outcomes)
            after = self.store.counts_of(run)._asdict()
            assert {d: after[d] for d in map(str, Door)} == {d: expected[d] for d in map(str, Door)}
            self.model.save(run, batch)

        @rule(
            which=st.integers(0, 3),
            end=st.sampled_from(ENDS),
            at_once=st.integers(1, 2),
            left=st.integers(0, 4),
        )
        def place(self, which: int, end: str, at_once: int, left: int) -> None:
            run = self.runs[which % len(self.runs)]
            sets = groupby(self.store.pending(run), key=lambda r: r.buyer)
            while at_once_now := [(b, list(records)) for b, records in islice(sets, at_once)]:
                self.place_sets(run, at_once_now, end, left)

        def place_sets(
            self, run: str, sets: list[tuple[str, list[PendingRecord]]], end: str, left: int
        ) -> None:
            all_keys: list[RecordKeys] = []
            planned: list[list[Named]] = []
            for buyer, records in sets:
                all_keys.append(RecordKeys(Regime.R2022, buyer))
                for record in records:
                    all_keys[-1].add(record)
                sha1 = hashlib.sha1(b"".join(r.record for r in records)).hexdigest()
                planned.append(self.disk.free(f"DECP-{buyer}-2024-03-01", sha1, ("json", "xml")))
            files = [file for of_set in planned for file in of_set]

            def commit(announce: Callable[[list[list[File]]], None]) -> None:
                if end == "renamed":
                    announce([[Named(f"taken-{f.name}", 1, f.sha1) for f in p] for p in planned])
                announce(planned)
                if end == "failed":
                    raise OutputError("the disk is full")
                for file in files[: left if end == "killed" else None]:
                    self.disk.files[file.name] = file.sha1
                if end == "killed":
                    raise Killed

            plans = [self.model.plan(run, [r.reference for r in records]) for _, records in sets]
            try:
                placed = self.store.place(run, all_keys, folder=FOLDER, commit=commit)
            except OutputError:
                for plan in plans:
                    self.model.drop(plan)
            except Killed:
                for plan, of_set in zip(plans, planned, strict=True):
                    plan.in_place = all(file.name in self.disk.files for file in of_set)
            else:
                assert placed
                for plan in plans:
                    self.model.placed(plan)

        @rule()
        def reopen(self) -> None:
            self.store.close()
            self.store = Store(self.url)

        @invariant()
        def counts(self) -> None:
            for run in getattr(self, "runs", ()):
                counts = self.store.counts_of(run)
                expected = self.model.counts[run]
                names = [*TO_WRITE, Door.UNCHANGED, Door.SUPERSEDED, "taken", "written"]
                assert {n: getattr(counts, n) for n in names} == {n: expected[n] for n in names}
                planned = sum(len(plan.held) for plan in self.model.plans if plan.run == run)
                assert counts.new + counts.updated == counts.written + counts.owed + planned

        @invariant()
        def debts(self) -> None:
            for run in getattr(self, "runs", ()):
                pending = list(self.store.pending(run))
                assert {
                    r.reference: canonical(orjson.loads(r.record)) for r in pending
                } == self.model.owed(run)
                assert self.store.counts_of(run).owed == len(pending)

    return Machine


def total(outcomes: list[Outcome]) -> Counter[str]:
    """What the outcomes of a batch add to the counts."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts[outcome.door] += 1
        for before, after in outcome.moves:
            counts[before] -= 1
            counts[after] += 1
    return counts


@pytest.mark.slow
def test_machine(new_store_url: Callable[[], str], candidate: Callable[..., Candidate]) -> None:
    examples = 60 if "sqlite" in new_store_url() else 12
    run_state_machine_as_test(
        machine(new_store_url, candidate),
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            suppress_health_check=list(HealthCheck),
        ),
    )
