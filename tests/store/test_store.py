"""Runs, doors, rejections, what is pending and files, on both engines."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, func, select

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.verdict import Problem, Repair
from dume_spider.exceptions import OutputError, StoreError, UncertainOutputError
from dume_spider.store import tables
from dume_spider.store.placing import PlannedFile, drop
from dume_spider.store.store import (
    Candidate,
    Counts,
    Door,
    Outcome,
    RecordKeys,
    Rejection,
    Store,
)

Make = Callable[..., Candidate]
STARTED = datetime(2024, 3, 1, tzinfo=UTC)
MP, CC = ContractType.MARCHE, ContractType.CONCESSION
R2019, R2022 = Regime.R2019, Regime.R2022

NEW, UPDATED, UNCHANGED = Outcome(Door.NEW), Outcome(Door.UPDATED), Outcome(Door.UNCHANGED)
OLDER = Outcome(Door.SUPERSEDED, "older than the stored version")
REPLACED = Outcome(Door.SUPERSEDED, "replaced by a newer version in this run")
TWICE = Outcome(Door.SUPERSEDED, "the same as another row of this run")


def same_data(reference: str, *moves: Any) -> Outcome:
    return Outcome(Door.SUPERSEDED, f"same contract data as reference {reference}", moves)


def counts(**given: int) -> Counts:
    return Counts(**(dict.fromkeys(Counts._fields, 0) | given))


def begin(store: Store, *runs: str) -> None:
    for run in runs:
        store.begin_run(run, "dume", {}, STARTED)


def modifications(store: Store, run: str) -> dict[str, list[int]]:
    """The ids of the modifications of each record that a run owes."""
    return {
        pending.reference: [
            entry["modification"]["id"]
            for entry in orjson.loads(pending.record).get("modifications", [])
        ]
        for pending in store.pending(run)
    }


def write(store: Store, run: str, name: str = "DECP-01.json") -> None:
    """Put all that a run owes in one file."""
    for regime in Regime:
        keys = RecordKeys(regime, "0" * 14)
        for record in store.pending(run, by_type=True):
            if record.regime is regime:
                keys.add(record)
        if len(keys):
            file = PlannedFile(f"{run}-{regime}-{name}", len(keys), 1, "0" * 40)

            def commit(announce: Any, file: PlannedFile = file) -> None:
                announce([[file]])

            assert store.place(run, [keys], folder="/decp", commit=commit)


def lines(store: Store, table: Table, *columns: str) -> list[tuple[Any, ...]]:
    with store._database.reading() as connection:
        found = connection.execute(select(*(table.c[name] for name in columns)))
        return sorted((tuple(row) for row in found), key=repr)


def test_three_harvests(store: Store, candidate: Make) -> None:
    """New references, new modifications, one withdrawn: the whole life of a store."""
    begin(store, "two", "three")
    assert store.save("run", [candidate("A"), candidate("B"), candidate("C", objet="c")]) == [
        NEW,
        same_data("A"),
        NEW,
    ]
    assert store.counts_of("run") == counts(new=2, superseded=1, owed=2)
    write(store, "run")
    assert store.counts_of("run") == counts(new=2, superseded=1, written=2)

    # The same again, B withdrawn, D is new, C has a modification.
    batch = [candidate("A"), candidate("C", [1], objet="c"), candidate("D", objet="d")]
    assert store.save("two", batch) == [UNCHANGED, UPDATED, NEW]
    assert modifications(store, "two") == {"C": [1], "D": []}
    write(store, "two")
    assert store.counts_of("two") == counts(new=1, updated=1, unchanged=1, written=2)

    # The service serves all versions: the first is older; C's second holds one more.
    batch = [
        candidate("C", objet="c"),
        candidate("C", [2], objet="c", ccag="x"),
        candidate("C", [1], objet="c"),
        candidate("D", objet="d"),
    ]
    assert store.save("three", batch) == [OLDER, UPDATED, REPLACED, UNCHANGED]
    assert modifications(store, "three") == {"C": [1, 2]}
    write(store, "three")
    assert store.counts_of("three") == counts(updated=1, unchanged=1, superseded=2, written=1)
    begin(store, "four")
    assert store.save("four", batch) == [OLDER, UNCHANGED, REPLACED, UNCHANGED]
    assert list(store.pending("four")) == []
    names = ("reference", "first_run", "last_run", "version", "last_version", "alias_of")
    assert lines(store, tables.records, *names) == [
        ("A", 1, 2, 1, 1, None),
        ("B", 1, 1, 1, 1, "A"),
        ("C", 1, 4, 3, 3, None),
        ("D", 2, 4, 1, 1, None),
    ]


def test_order_of_arrival_in_several_batches(store: Store, candidate: Make) -> None:
    """The best of a run takes the door; the others are superseded, whichever comes first."""
    versions = [candidate("A", range(1, n + 1)) for n in (1, 3, 2)]
    outcomes = [store.save("run", [version]) for version in versions]
    assert outcomes == [
        [NEW],
        [Outcome(Door.NEW, "", ((Door.NEW, Door.SUPERSEDED),))],
        [REPLACED],
    ]
    assert store.counts_of("run") == counts(new=1, superseded=2, owed=1)
    assert modifications(store, "run") == {"A": [1, 2, 3]}


def test_what_an_older_version_adds(store: Store, candidate: Make) -> None:
    """A version that does not win is merged into the one that does, also when it comes late."""
    found = candidate("A", [2, 3])
    store.save("run", [found])
    assert store.save("run", [candidate("A", [1])]) == [REPLACED]
    assert modifications(store, "run") == {"A": [1, 2, 3]}
    names = ("number", "received", "received_record")
    rows = lines(store, tables.versions, *names)
    assert [(n, r == found.received, own == found.record) for n, r, own in rows] == [
        (1, True, False),
        (2, False, False),
        (3, True, True),
    ]
    # It may change the door of the one that wins.
    write(store, "run")
    begin(store, "two")
    last, first = sorted(
        [candidate("A", [1, 2, 3]), candidate("A", [1, 2, 4])], key=lambda c: c.received
    )
    begin(store, "three")
    store.save("two", [first])
    write(store, "two")
    assert store.save("three", [first]) == [UNCHANGED]
    moved = REPLACED._replace(moves=((Door.UNCHANGED, Door.UPDATED),))
    assert store.save("three", [last]) == [moved]
    assert store.counts_of("three") == counts(updated=1, superseded=1, owed=1)
    assert modifications(store, "three") == {"A": [1, 2, 3, 4]}


def test_back_to_what_stood(store: Store, candidate: Make) -> None:
    """Of two versions as new as each other, the stored one may come second."""
    one, other = sorted(
        [candidate("A", objet="x"), candidate("A", objet="y")], key=lambda c: c.received
    )
    store.save("run", [other])
    write(store, "run")
    begin(store, "two")
    assert store.save("two", [one]) == [UPDATED]
    assert store.save("two", [other]) == [
        Outcome(Door.UNCHANGED, "", ((Door.UPDATED, Door.SUPERSEDED),))
    ]
    assert store.counts_of("two") == counts(unchanged=1, superseded=1)
    assert list(store.pending("two")) == []


def test_a_correction_without_a_new_date(store: Store, candidate: Make) -> None:
    store.save("run", [candidate("A", objet="x")])
    write(store, "run")
    begin(store, "two")
    assert store.save("two", [candidate("A", objet="y")]) == [UPDATED]


def test_delta_rows(store: Store, candidate: Make) -> None:
    """A service that serves each modification alone: none is lost, none is asked twice."""
    for number in (1, 2, 3):
        begin(store, f"run {number}")
        assert store.save(f"run {number}", [candidate("A", [number])]) == [
            NEW if number == 1 else UPDATED
        ]
        assert modifications(store, f"run {number}") == {"A": list(range(1, number + 1))}
        write(store, f"run {number}")
    begin(store, "again")
    assert store.save("again", [candidate("A", [3])]) == [UNCHANGED]


def test_delta_rows_backwards(store: Store, candidate: Make) -> None:
    """Also when the past is harvested after the present; and the newest says the rest."""
    for number in (3, 2, 1):
        begin(store, f"run {number}")
        found = candidate("A", [number], day=f"2024-05-0{number}", objet=f"{number}")
        assert store.save(f"run {number}", [found]) == [NEW if number == 3 else UPDATED]
        assert modifications(store, f"run {number}") == {"A": list(range(number, 4))}
        [pending] = store.pending(f"run {number}")
        assert orjson.loads(pending.record)["objet"] == "3"
        write(store, f"run {number}")
    # It is the newest that is current, in a row of the run that completed it.
    names = ("run", "number", "received")
    newest = candidate("A", [3], day="2024-05-03", objet="3")
    rows = lines(store, tables.versions, *names)
    assert [(r, n) for r, n, received in rows if received == newest.received] == [
        (1 + 1, 1),
        (1 + 2, 3),
        (1 + 3, 5),
    ]
    begin(store, "again")
    assert store.save("again", [found]) == [OLDER]
    assert store.save("again", [newest]) == [UNCHANGED]


def test_another_regime(store: Store, candidate: Make) -> None:
    """A corrected date may move a contract to the other format: nothing is mixed."""
    store.save("run", [candidate("A", [1], regime=R2019)])
    write(store, "run")
    begin(store, "two")
    new = candidate("A", [1], day="2024-06-01")
    assert store.save("two", [new]) == [UPDATED]
    [pending] = store.pending("two")
    assert (pending.regime, pending.record) == (R2022, new.record)


def test_taken_over(store: Store, candidate: Make) -> None:
    """What another run has not written is this run's to write, as if it were new."""
    store.save("run", [candidate("A", objet="a"), candidate("B", objet="b")])
    begin(store, "two")
    batch = [candidate("A", objet="a"), candidate("B", [1], objet="b")]
    assert store.save("two", batch) == [NEW, NEW]
    assert store.counts_of("run") == counts(superseded=2, taken=2)
    assert store.counts_of("two") == counts(new=2, owed=2)
    # And back again, the other one still being at work.
    assert store.save("run", batch) == [NEW, NEW]
    assert store.counts_of("two") == counts(superseded=2, taken=2)
    assert store.counts_of("run") == counts(new=2, superseded=2, taken=2, owed=2)
    assert modifications(store, "run") == {"A": [], "B": [1]}


def test_a_run_taken_up_again(store: Store, candidate: Make) -> None:
    store.save("run", [candidate("A")])
    store.end_run("run", "incomplete", {})
    begin(store, "run")
    assert store.save("run", [candidate("A")]) == [TWICE]
    assert store.counts_of("run") == counts(new=1, superseded=1, owed=1)
    assert lines(store, tables.runs, "name", "finished", "status") == [("run", None, None)]
    with pytest.raises(StoreError, match="has a run 'run' of the spider 'dume'; give another name"):
        store.begin_run("run", "boamp", {}, STARTED)


def test_the_same_data_under_two_references(store: Store, candidate: Make) -> None:
    batch = [candidate("A"), candidate("B"), candidate("C", source="boamp")]
    assert store.save("run", batch) == [NEW, same_data("A"), NEW]
    write(store, "run")
    # Again, and in another order: the same.
    for run in ("two", "three"):
        begin(store, run)
        batch.reverse()
        expected = {"A": UNCHANGED, "B": same_data("A"), "C": UNCHANGED}
        assert store.save(run, batch) == [expected[c.reference] for c in batch]
        assert store.counts_of(run) == counts(unchanged=2, superseded=1)
    # A moves on: B now says something of its own.
    begin(store, "four")
    assert store.save("four", [candidate("A", [1]), candidate("B")]) == [UPDATED, NEW]


def test_the_holder_moves_on_after_its_alias(store: Store, candidate: Make) -> None:
    """In one run the order of arrival does not count: B is published after all."""
    assert store.save("run", [candidate("A")]) == [NEW]
    assert store.save("run", [candidate("C")]) == [same_data("A")]
    assert store.save("run", [candidate("B")]) == [same_data("A")]
    assert store.save("run", [candidate("A", [1])]) == [
        Outcome(Door.NEW, "", ((Door.NEW, Door.SUPERSEDED), (Door.SUPERSEDED, Door.NEW)))
    ]
    assert modifications(store, "run") == {"A": [1], "B": []}
    assert store.counts_of("run") == counts(new=2, superseded=2, owed=2)
    write(store, "run")
    begin(store, "two")
    batch = [candidate("A", [1]), candidate("B"), candidate("C")]
    assert store.save("two", batch) == [UNCHANGED, UNCHANGED, same_data("B")]


def test_two_references_exchange_their_data(store: Store, candidate: Make) -> None:
    store.save("run", [candidate("A", objet="x"), candidate("B", objet="y")])
    write(store, "run")
    begin(store, "two")
    batch = [candidate("A", objet="y"), candidate("B", objet="x")]
    assert store.save("two", batch) == [UPDATED, UPDATED]


def test_an_alias_gets_data_of_its_own(store: Store, candidate: Make) -> None:
    store.save("run", [candidate("A"), candidate("B")])
    write(store, "run")
    begin(store, "two")
    assert store.save("two", [candidate("B", [1])]) == [NEW]


def test_what_is_kept(store: Store, candidate: Make) -> None:
    """Every version with its raw row, compressed; repairs and warnings."""
    record = {"acheteur": {"id": "1"}, "datePublicationDonnees": "2024-03-05"}
    repairs = [Repair("montant", "number", "12", 12)]
    warnings = [Problem("objet", "short", "is short")]
    of = Candidate.of(
        *("dume", "A", MP, R2022, record, b'{"raw":1}'),
        found="2024-03-01",
        repairs=repairs,
        warnings=warnings,
    )
    store.save("run", [of])
    store.save("run", [candidate("A", [1], raw=b'{"raw":2}')])
    names = ("number", "record", "raw", "found", "repairs", "warnings")
    first, second = lines(store, tables.versions, *names)
    assert first[1] == of.record
    assert [zlib.decompress(row[2]) for row in (first, second)] == [b'{"raw":1}', b'{"raw":2}']
    assert first[3:] == (
        "2024-03-01",
        '[{"path":"montant","rule":"number","before":"12","after":12}]',
        '[{"path":"objet","rule":"short","message":"is short"}]',
    )
    assert second[3:] == (None, None, None)


def test_older_versions_are_kept_once(store: Store, candidate: Make) -> None:
    for number in range(3):
        begin(store, f"run {number}")
        store.save(f"run {number}", [candidate("A", [1, 2]), candidate("A", [1])])
        store.save(f"run {number}", [candidate("A", [1]), candidate("A")])
        write(store, f"run {number}")
    assert len(lines(store, tables.versions, "number")) == 3


def test_no_candidates(store: Store) -> None:
    assert store.save("run", []) == []
    assert store.reject("run", []) == []
    assert list(store.pending("run")) == []


def test_all_or_none(store: Store, candidate: Make) -> None:
    """A batch that cannot be saved leaves nothing behind."""
    bad = candidate("B", objet="b")
    object.__setattr__(bad, "buyer", None)
    with pytest.raises(StoreError, match=r"the store .*(NOT NULL|not-null)"):
        store.save("run", [candidate("A"), bad])
    assert store.counts_of("run") == counts()
    assert lines(store, tables.records, "id") == []


def test_unknown_run(store: Store, candidate: Make) -> None:
    with pytest.raises(StoreError, match=r"the store .* knows no run 'other'$"):
        store.save("other", [candidate("A")])


def test_runs(store: Store) -> None:
    store.begin_run("two", "boamp", {"date": "2024-03-01"}, STARTED)
    store.end_run("two", "complete", {"balanced": True, "counts": {"new": 0}})
    names = ("name", "spider", "arguments", "started", "status", "summary")
    assert lines(store, tables.runs, *names) == [
        ("run", "dume", "{}", "2024-03-01T00:00:00+00:00", None, None),
        (
            "two",
            "boamp",
            '{"date":"2024-03-01"}',
            "2024-03-01T00:00:00+00:00",
            "complete",
            '{"balanced":true,"counts":{"new":0}}',
        ),
    ]


# Order of what is written


def test_pending_order(store: Store, candidate: Make) -> None:
    records = [
        candidate(f"{'é' if n % 2 else 'Z'}{n}", type=type, regime=regime, buyer=buyer, day=day)
        for n, (regime, buyer, type, day) in enumerate(
            (regime, buyer, type, day)
            for regime in (R2022, R2019)
            for buyer in ("9" * 14, "1" * 14, "5" * 14)
            for type in (CC, MP)
            for day in ("2024-03-02", "2024-03-01", "")
        )
    ]
    store.save("run", records[::2])
    store.save("run", records[1::2])

    def key(c: Any, *first: Any) -> Any:
        return (c.regime, *first, c.published, c.reference.encode())

    found = list(store.pending("run"))
    assert [(r.reference, r.record) for r in found] == [
        (c.reference, c.record)
        for c in sorted(records, key=lambda c: key(c, c.buyer, c.type is CC))
    ]
    found = list(store.pending("run", by_type=True))
    assert [r.reference for r in found] == [
        c.reference for c in sorted(records, key=lambda c: key(c, c.type is CC, c.buyer))
    ]


def test_pending_in_pages(store: Store, candidate: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are read page by page, also while files are placed and others come."""
    records = [
        candidate(f"R{n:04}", buyer=f"{n % 7:014}", type=CC if n % 3 else MP, objet=str(n))
        for n in range(1300)
    ]
    store.save("run", records[:600])
    store.save("run", records[600:])
    seen = []
    keys = RecordKeys(R2022, "1" * 14)
    for number, record in enumerate(store.pending("run")):
        seen.append(record.reference)
        keys.add(record)
        if number % 90 == 89:
            place(store, keys, f"{number}.json")
            keys = RecordKeys(R2022, "1" * 14)
    place(store, keys, "last.json")
    expected = sorted(records, key=lambda c: (c.buyer, c.type is CC, c.reference))
    assert seen == [c.reference for c in expected]
    assert store.counts_of("run") == counts(new=1300, written=1300)


def place(store: Store, keys: RecordKeys, *names: str, run: str = "run", fail: Any = None) -> bool:
    files = [PlannedFile(name, len(keys), 10, "a" * 40) for name in names]

    def commit(announce: Any) -> None:
        announce([files])
        if fail:
            raise fail

    return store.place(run, [keys], folder="/decp", commit=commit)


def keys_of(records: Iterable[Any]) -> RecordKeys:
    keys = RecordKeys(R2022, "1" * 14)
    for record in records:
        keys.add(record)
    return keys


# Files


def test_files(store: Store, candidate: Make) -> None:
    store.save("run", [candidate("A", objet="a"), candidate("B", objet="b", type=CC)])
    keys = keys_of(store.pending("run"))
    assert place(store, keys, "DECP-01.json", "DECP-01.xml")
    columns = ("run", "regime", "buyer", "records", "placed")
    assert lines(store, tables.file_sets, *columns) == [(1, "2022", "1" * 14, 2, True)]
    assert lines(store, tables.files, "position", "name", "folder", "sha1", "bytes") == [
        (0, "DECP-01.json", "/decp", "a" * 40, 10),
        (1, "DECP-01.xml", "/decp", "a" * 40, 10),
    ]
    assert lines(store, tables.contents, "record_id", "version", "door") == [
        (1, 1, "new"),
        (2, 1, "new"),
    ]
    assert not place(store, keys, "DECP-02.json"), "they are written already"


@pytest.fixture
def three_sets(store: Store, candidate: Make) -> list[RecordKeys]:
    """What is pending of three buyers, the first and last with records of both types."""
    records = [
        candidate(f"R{n}", buyer=f"{n % 3:014}", type=CC if n in (3, 5) else MP, objet=str(n))
        for n in range(6)
    ]
    store.save("run", records)
    sets = []
    for buyer, pending in groupby(store.pending("run"), key=lambda record: record.buyer):
        sets.append(RecordKeys(R2022, buyer))
        for record in pending:
            sets[-1].add(record)
    return sets


def place_three(store: Store, sets: list[RecordKeys], fail: Any = None) -> bool:
    files = [[PlannedFile(f"{keys.buyer}.json", len(keys), 10, "a" * 40)] for keys in sets]

    def commit(announce: Any) -> None:
        announce(files)
        if fail:
            raise fail

    return store.place("run", sets, folder="/decp", commit=commit)


def held(store: Store) -> dict[str, list[str]]:
    """Which references the file sets hold, by their SIRET."""
    query = (
        select(tables.file_sets.c.buyer, tables.records.c.reference)
        .join(tables.contents, tables.contents.c.file_set == tables.file_sets.c.id)
        .join(tables.records, tables.records.c.id == tables.contents.c.record_id)
        .order_by(tables.records.c.reference)
    )
    found: dict[str, list[str]] = {}
    with store._database.reading() as connection:
        for buyer, reference in connection.execute(query):
            found.setdefault(buyer, []).append(reference)
    return found


def test_sets_at_once(store: Store, three_sets: list[RecordKeys]) -> None:
    assert place_three(store, three_sets)
    expected = {f"{n:014}": [f"R{n}", f"R{n + 3}"] for n in range(3)}
    assert held(store) == expected
    assert lines(store, tables.file_sets, "buyer", "records", "placed") == [
        (buyer, 2, True) for buyer in expected
    ]
    assert lines(store, tables.files, "file_set", "name") == [
        (number, f"{buyer}.json") for number, buyer in enumerate(expected, 1)
    ]
    assert store.counts_of("run") == counts(new=6, written=6)


def test_sets_at_once_that_cannot_be_written(store: Store, three_sets: list[RecordKeys]) -> None:
    with pytest.raises(OutputError, match="the disk is full"):
        place_three(store, three_sets, OutputError("the disk is full"))
    assert lines(store, tables.file_sets, "id") == []
    assert store.counts_of("run") == counts(new=6, owed=6)


def test_sets_at_once_of_which_one_is_lost(
    store: Store, three_sets: list[RecordKeys], candidate: Make
) -> None:
    """None is put in place: which records are still this run's has to be asked again."""
    begin(store, "two")
    store.save("two", [candidate("R4", buyer=f"{1:014}", objet="4")])
    assert not place_three(store, three_sets)
    assert lines(store, tables.file_sets, "id") == []
    assert store.counts_of("run") == counts(new=5, superseded=1, taken=1, owed=5)


def test_sets_at_once_of_which_another_run_drops_one(
    store: Store, three_sets: list[RecordKeys]
) -> None:
    """A run that begins in between takes them for those of a killed one."""

    def commit(announce: Any) -> None:
        announce([[PlannedFile(f"{keys.buyer}.json", 2, 10, "a" * 40)] for keys in three_sets])
        placing = announce.__self__
        placing._lock.close()  # between the two transactions of announce()
        store._database.write(lambda connection: drop(connection, placing._plans[1]))
        placing._connection = placing._lock.enter_context(store._database.writing())
        placing._check(placing._connection)
        pytest.fail("must not be placed")

    assert not store.place("run", three_sets, folder="/decp", commit=commit)
    assert lines(store, tables.file_sets, "id") == []
    assert store.counts_of("run") == counts(new=6, owed=6)


def test_killed_while_sets_at_once_are_put_in_place(
    store: Store, three_sets: list[RecordKeys]
) -> None:
    """What became of each is found out by itself."""
    with pytest.raises(Killed):
        place_three(store, three_sets, Killed())
    first = f"{0:014}"
    assert store.recover(lambda folder, files: files[0].name == f"{first}.json") == 3
    assert held(store) == {first: ["R0", "R3"]}
    assert store.counts_of("run") == counts(new=6, written=2, owed=4)
    assert place_three(store, three_sets[1:])
    assert store.counts_of("run") == counts(new=6, written=6)


def test_a_file_without_all_records(store: Store, candidate: Make) -> None:
    """A record that cannot be written in a format stays owed."""
    store.save("run", [candidate(f"R{n}", objet=str(n)) for n in range(5)])
    assert place(store, keys_of(list(store.pending("run"))[1::2]), "DECP-01.json")
    assert [r.reference for r in store.pending("run")] == ["R0", "R2", "R4"]


def test_a_file_that_cannot_be_written(store: Store, candidate: Make) -> None:
    store.save("run", [candidate("A")])
    with pytest.raises(OutputError, match="the disk is full"):
        place(store, keys_of(store.pending("run")), "1.json", fail=OutputError("the disk is full"))
    assert store.counts_of("run") == counts(new=1, owed=1)
    assert lines(store, tables.file_sets, "id") == lines(store, tables.files, "name") == []
    assert place(store, keys_of(store.pending("run")), "1.json")
    assert store.counts_of("run") == counts(new=1, written=1)


def test_names_that_are_taken(store: Store, candidate: Make) -> None:
    store.save("run", [candidate("A")])
    attempts = [[PlannedFile(f"{n}.json", 1, 10, "a" * 40)] for n in (1, 2)]

    def commit(announce: Any) -> None:
        for files in attempts:
            announce([files])

    keys = keys_of(store.pending("run"))
    assert store.place("run", [keys], folder="/decp", commit=commit)
    assert lines(store, tables.files, "name") == [("2.json",)]


def test_records_taken_over_before_they_are_placed(store: Store, candidate: Make) -> None:
    begin(store, "two")
    store.save("run", [candidate("A", objet="a"), candidate("B", objet="b")])
    keys = keys_of(store.pending("run"))
    store.save("two", [candidate("B", objet="b")])
    assert not place(store, keys, "1.json")
    assert lines(store, tables.file_sets, "id") == []
    # What is still its own is written.
    assert place(store, keys_of(store.pending("run")), "1.json")
    assert place(store, keys_of(store.pending("two")), "2.json", run="two")
    assert store.counts_of("run") == counts(new=1, superseded=1, taken=1, written=1)


def test_a_newer_version_before_it_is_placed(store: Store, candidate: Make) -> None:
    store.save("run", [candidate("A")])
    keys = keys_of(store.pending("run"))
    store.save("run", [candidate("A", [1])])
    assert not place(store, keys, "1.json")
    assert place(store, keys_of(store.pending("run")), "1.json")


class Killed(BaseException):
    """The process ends here, as far as the store can see."""


def test_killed_before_the_file_is_in_place(store: Store, candidate: Make) -> None:
    store.save("run", [candidate("A")])
    with pytest.raises(Killed):
        place(store, keys_of(store.pending("run")), "1.json", "1.xml", fail=Killed())
    asked = []

    def is_in_place(folder: str, files: Any) -> bool:
        asked.append((folder, files))
        return False

    assert store.recover(is_in_place) == 1
    assert asked == [
        (
            "/decp",
            [PlannedFile("1.json", 1, 10, "a" * 40), PlannedFile("1.xml", 1, 10, "a" * 40)],
        )
    ]
    assert store.counts_of("run") == counts(new=1, owed=1)
    assert store.recover(is_in_place) == 0


@pytest.mark.parametrize("fail", [Killed(), UncertainOutputError("no answer")])
def test_killed_after_the_file_is_in_place(
    store: Store, candidate: Make, fail: BaseException
) -> None:
    store.save("run", [candidate("A")])
    with pytest.raises(type(fail)):
        place(store, keys_of(store.pending("run")), "1.json", fail=fail)
    # Meanwhile the record counts as written.
    begin(store, "two")
    assert store.save("two", [candidate("A")]) == [UNCHANGED]
    assert store.recover(lambda folder, files: True) == 1
    assert store.counts_of("run") == counts(new=1, written=1)
    assert list(store.pending("run")) == []


def test_killed_and_superseded(store: Store, candidate: Make) -> None:
    """A newer version came before anyone knew that the file is missing."""
    store.save("run", [candidate("A")])
    with pytest.raises(Killed):
        place(store, keys_of(store.pending("run")), "1.json", fail=Killed())
    begin(store, "two")
    assert store.save("two", [candidate("A", [1])]) == [UPDATED]
    assert store.recover(lambda folder, files: False) == 1
    assert store.counts_of("run") == counts(superseded=1)
    assert store.counts_of("two") == counts(updated=1, owed=1)


def test_the_file_in_place_is_another_runs(store: Store, candidate: Make) -> None:
    """The same name and content, but known as a file of another run."""
    store.save("run", [candidate("A", objet="a")])
    with pytest.raises(Killed):
        place(store, keys_of(store.pending("run")), "1.json", fail=Killed())
    store.save("run", [candidate("B", objet="b")])
    assert place(store, keys_of(store.pending("run")), "1.json")
    assert store.recover(lambda folder, files: pytest.fail("is known")) == 1
    assert [r.reference for r in store.pending("run")] == ["A"]


def test_dropped_by_another_run(store: Store, candidate: Make) -> None:
    """A run that begins while another one is about to place a file takes it for killed."""
    store.save("run", [candidate("A")])
    keys = keys_of(store.pending("run"))
    file = PlannedFile("1.json", 1, 10, "a" * 40)

    def commit(announce: Any) -> None:
        announce([[file]])
        placing = announce.__self__
        placing._lock.close()  # between the two transactions of announce()
        assert store.recover(lambda folder, files: False) == 1
        placing._connection = placing._lock.enter_context(store._database.writing())
        placing._check(placing._connection)
        pytest.fail("must not be placed")

    assert not store.place("run", [keys], folder="/decp", commit=commit)
    assert store.counts_of("run") == counts(new=1, owed=1)


# Rejections


def rejection(raw: bytes, reference: str | None = "A", message: str = "is missing") -> Rejection:
    return Rejection("dume", reference, MP, None, [Problem("id", "required", message)], raw)


REJECTED = Outcome(Door.REJECTED)


def open_rejections(store: Store) -> list[Any]:
    names = ("reference", "first_run", "last_run", "resolved_run")
    return lines(store, tables.rejections, *names)


def test_rejections(store: Store, candidate: Make) -> None:
    batch = [rejection(b"1"), rejection(b"2", None), rejection(b"1"), rejection(b"3", "B\0")]
    assert store.reject("run", batch) == [REJECTED, REJECTED, TWICE, REJECTED]
    assert store.reject("run", [rejection(b"2", None)]) == [TWICE]
    assert store.counts_of("run") == counts(rejected=3, superseded=2)
    names = ("source", "reference", "type", "regime", "problems", "raw")
    rows = lines(store, tables.rejections, *names)
    problem = '[{"path":"id","rule":"required","message":"is missing"}]'
    assert [(*row[:-1], zlib.decompress(row[-1])) for row in rows] == [
        ("dume", "A", "MP", None, problem, b"1"),
        ("dume", "B\ufffd", "MP", None, problem, b"3"),
        ("dume", None, "MP", None, problem, b"2"),
    ]
    # Served again: one line, with today's reasons.
    begin(store, "two")
    assert store.reject("two", [rejection(b"1", message="is still missing")]) == [REJECTED]
    assert open_rejections(store) == [
        ("A", 1, 2, None),
        ("B\ufffd", 1, 1, None),
        (None, 1, 1, None),
    ]
    reasons = dict(lines(store, tables.rejections, "reference", "problems"))
    assert reasons == {
        "A": problem.replace("is missing", "is still missing"),
        "B\ufffd": problem,
        None: problem,
    }


def test_a_rejection_is_closed(store: Store, candidate: Make) -> None:
    store.reject("run", [rejection(b"1"), rejection(b"2", "B")])
    begin(store, "two")
    store.save("two", [candidate("A")])
    assert open_rejections(store) == [("A", 1, 1, 2), ("B", 1, 1, None)]
    # It comes back: it is open again.
    begin(store, "three")
    assert store.reject("three", [rejection(b"1")]) == [REJECTED]
    assert open_rejections(store) == [("A", 1, 3, None), ("B", 1, 1, None)]


@pytest.mark.parametrize("first", ["save", "reject"])
def test_a_faulty_version_beside_a_good_one(first: str, store: Store, candidate: Make) -> None:
    """Harvest after harvest, in any order, the faulty row stays open."""
    for number in range(3):
        run = f"run {number}"
        begin(store, run)
        for step in ("save", "reject") if first == "save" else ("reject", "save"):
            if step == "save":
                store.save(run, [candidate("A")])
            else:
                store.reject(run, [rejection(b"1")])
    assert open_rejections(store) == [("A", 2, 4, None)]


# In any order, in any batches


STORIES = st.lists(
    st.tuples(
        st.sampled_from("ABC"),
        st.lists(st.integers(1, 3), max_size=3, unique=True).map(sorted),
        st.sampled_from("xy"),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.slow
def test_no_order_counts(new_store_url: Callable[[], str], candidate: Make) -> None:
    """What a run has counted and what it owes depend on what it received, not on when."""

    @settings(
        max_examples=25 if "sqlite" in new_store_url() else 5,
        suppress_health_check=list(HealthCheck),
    )
    @given(before=STORIES, story=STORIES, data=st.data())
    def check(before: Any, story: Any, data: Any) -> None:
        def batch(found: Any) -> list[Candidate]:
            # No two references say the same: of these, the first is kept.
            return [candidate(r, numbers, objet=r + objet) for r, numbers, objet in found]

        seen = []
        for shuffled in (story, data.draw(st.permutations(story))):
            store = Store(new_store_url())
            begin(store, "run", "two")
            store.save("run", batch(before))
            write(store, "run")
            at = 0
            while at < len(shuffled):
                size = data.draw(st.integers(1, 4))
                store.save("two", batch(shuffled[at : at + size]))
                at += size
            owed = {r.reference: orjson.loads(r.record) for r in store.pending("two")}
            seen.append((store.counts_of("two"), owed))
            write(store, "two")
            # Harvested again, in one batch: nothing is new.
            begin(store, "three")
            store.save("three", batch(story))
            again = store.counts_of("three")
            assert (again.new, again.updated, again.owed) == (0, 0, 0)
            assert again.unchanged == len({r for r, _, _ in story}) - older(store, story, batch)
            store.close()
        assert seen[0] == seen[1]

    def older(store: Store, story: Any, batch: Any) -> int:
        """References of which only older versions were served."""
        with store._database.reading() as connection:
            stored = {
                row.reference: (row.additions, row.latest)
                for row in connection.execute(select(tables.records))
            }
        best: dict[str, Any] = {}
        for c in batch(story):
            best[c.reference] = max(best.get(c.reference, ()), tuple(c.rank))
        return sum(rank < stored[reference] for reference, rank in best.items())

    check()


def test_much(store: Store, candidate: Make) -> None:
    """More references than one list of values takes, with everything in one batch."""
    batch = [candidate(f"R{n}", objet=str(n)) for n in range(2500)]
    assert store.save("run", batch) == [NEW] * 2500
    write(store, "run")
    begin(store, "two")
    changed = [candidate(f"R{n}", [1], objet=str(n)) for n in range(0, 2500, 2)]
    assert store.save("two", batch[1::2] + changed) == [UNCHANGED] * 1250 + [UPDATED] * 1250
    write(store, "two")
    assert store.counts_of("two") == counts(updated=1250, unchanged=1250, written=1250)
    with store._database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(tables.contents)) == 3750
