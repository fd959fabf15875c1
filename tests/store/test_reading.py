"""Reading the store, on both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.verdict import Problem
from dume_spider.exceptions import StoreError
from dume_spider.store import reading
from dume_spider.store.ledger import Marks, Window, take_up
from dume_spider.store.reading import StoreReader
from dume_spider.store.store import PlannedFile, RecordKeys, Rejection, Store

A, B = "21350238800019", "21690123100011"
CC = ContractType.CONCESSION


@pytest.fixture
def reader(store: Store, store_url: str, monkeypatch) -> Iterator[StoreReader]:
    monkeypatch.setattr(reading, "PAGE", 2)
    reader = StoreReader(store_url)
    yield reader
    reader.close()


@pytest.fixture
def filled(store: Store, candidate: Callable[..., Any]) -> Store:
    """Two runs: the second brings a newer version of ``r2`` and one more reference."""
    store.save(
        "run",
        [
            candidate("r1", day="2024-03-07", buyer=B, objet="1"),
            candidate("r2", day="2024-03-05", buyer=B, objet="2"),
            candidate("r3", type=CC, buyer=A, day="2024-03-01", objet="3"),
            candidate("r4", buyer=A, day="2024-03-09", objet="4"),
            candidate("r5", regime=Regime.R2019, buyer=B, day="2023-03-09", objet="5"),
            candidate("r6", buyer=A, day="2024-03-09", objet="4"),  # an alias of r4
            candidate("r7", buyer=A, day="", objet="7"),
        ],
    )
    store.begin_run("later", "dume", {}, datetime(2024, 3, 10, tzinfo=UTC))
    store.save(
        "later",
        [
            candidate("r2", [1], day="2024-03-05", buyer=B, objet="2"),
            candidate("r8", buyer=B, day="2024-03-10", objet="8", source="boamp"),
        ],
    )
    return store


def references(reader: StoreReader, **filters: Any) -> list[str]:
    return [record.reference for record in reader.records(**filters)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["r5", "r7", "r4", "r3", "r2", "r1", "r8"]),
        ({"by_type": True}, ["r5", "r7", "r4", "r2", "r1", "r8", "r3"]),
        ({"buyer": A}, ["r7", "r4", "r3"]),
        ({"regime": Regime.R2019}, ["r5"]),
        ({"since": "2024-03-07"}, ["r4", "r1", "r8"]),
        ({"until": "2024-03-05"}, ["r5", "r3", "r2"]),
        ({"since": "2024-03-05", "until": "2024-03-07"}, ["r2", "r1"]),
        ({"run": "run"}, ["r5", "r7", "r4", "r3", "r1"]),
        ({"run": "later"}, ["r2", "r8"]),
        ({"run": "later", "since": "2024-03-06"}, ["r8"]),
        ({"buyer": "35600000000048"}, []),
    ],
)
def test_records(
    filled: Store, reader: StoreReader, filters: dict[str, Any], expected: list[str]
) -> None:
    assert references(reader, **filters) == expected


def test_records_are_those_of_pending(filled: Store, reader: StoreReader) -> None:
    pending = [*filled.pending("run"), *filled.pending("later")]
    found = list(reader.records())
    assert sorted(found) == sorted(pending)
    assert next(r for r in found if r.reference == "r2").record.count(b'"modification"') == 1


def test_accepted_rows(filled: Store, reader: StoreReader) -> None:
    rows = list(reader.accepted_rows("dume"))
    assert [row.reference for row in rows] == ["r1", "r2", "r3", "r4", "r5", "r6", "r7"]
    assert b'"modification"' in rows[1].raw
    assert (rows[2].type, rows[2].rejection) == (CC, None)
    assert [row.reference for row in reader.accepted_rows("dume", "later")] == ["r2"]
    assert reader.count_rows("dume") == (7, 0)
    assert reader.count_rows("dume", "later") == (1, 0)


def reject(store: Store, run: str, reference: str | None, raw: bytes) -> None:
    problems = [Problem("id", "required", "is missing")]
    store.reject(run, [Rejection("dume", reference, CC, None, problems, raw)])


def test_latest_rows(filled: Store, reader: StoreReader) -> None:
    latest = [row.reference for row in reader.latest_rows("dume")]
    assert sorted(latest) == ["r1", "r2", "r3", "r4", "r5", "r6", "r7"]
    assert latest == [row.reference for row in reader.accepted_rows("dume")][::-1]
    assert [row.reference for row in reader.latest_rows("boamp")] == ["r8"]


def test_rejected_rows(filled: Store, reader: StoreReader, candidate: Callable[..., Any]) -> None:
    for number in range(5):
        reject(filled, "run", f"x{number}", b"%d" % number)
    reject(filled, "later", None, b"5")
    filled.save("later", [candidate("x1", objet="x")])
    rows = list(reader.rejected_rows("dume"))
    assert [row.reference for row in rows] == ["x0", "x2", "x3", "x4", None]
    assert [row.raw for row in rows] == [b"0", b"2", b"3", b"4", b"5"]
    assert rows[0].type is CC
    assert [row.raw for row in reader.rejected_rows("dume", "later")] == [b"5"]
    assert reader.count_rows("dume", "run") == (6, 4)


def test_a_rejection_of_a_found_reference_is_closed(
    filled: Store, reader: StoreReader, candidate: Callable[..., Any]
) -> None:
    reject(filled, "run", None, b"{}")
    (row,) = reader.rejected_rows("dume")
    reader.refer(row.rejection, "x1")
    filled.save("later", [candidate("x1", objet="x")])
    assert list(reader.rejected_rows("dume")) == []


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, ["r1", "r2", "r3", "r4", "r5", "r7", "r8"]),
        ({"since": "2024-03-07"}, ["r1", "r4", "r8"]),
        ({"run": "later"}, ["r2", "r8"]),
        ({"run": "later", "since": "2024-03-06"}, ["r8"]),
    ],
)
def test_survey(
    filled: Store, reader: StoreReader, choice: dict[str, str], expected: list[str]
) -> None:
    surveyed = list(reader.survey(**choice))
    assert [record.reference for record in surveyed] == expected
    exported = {record.reference: record for record in reader.records(**choice)}
    for record in surveyed:
        same = exported[record.reference]
        assert record.record == same.record
        assert (record.source, record.type, record.regime) == (same.source, same.type, same.regime)
        assert (record.buyer, record.published) == (same.buyer, same.published)


def test_refusals(filled: Store, reader: StoreReader, candidate: Callable[..., Any]) -> None:
    for number in range(3):
        reject(filled, "run", f"x{number}", b"%d" % number)
    reject(filled, "later", None, b"5")
    filled.save("later", [candidate("x1", objet="x")])
    every = list(reader.refusals())
    assert [row.reference for row in every] == ["x0", "x2", None]
    assert every[0].problems == '[{"path":"id","rule":"required","message":"is missing"}]'
    # What a run has rejected, whatever became of it since.
    assert [row.reference for row in reader.refusals(run="run")] == ["x0", "x1", "x2"]
    assert [row.reference for row in reader.refusals(since="2024-03-05")] == [None]
    assert reader.rejected_raw([every[1].id, every[2].id]) == {every[1].id: b"2", every[2].id: b"5"}


def test_runs(filled: Store, reader: StoreReader) -> None:
    filled.begin_run("last", "reprocess", {"rows": "all"}, datetime(2024, 3, 11, tzinfo=UTC))
    filled.end_run("later", "complete", {"status": "complete"})
    assert [line.name for line in reader.runs()] == ["last", "later", "run"]
    (line,) = reader.runs(run="later")
    assert (line.spider, line.status, line.summary) == ("dume", "complete", {"status": "complete"})
    (line,) = reader.runs(run="last")
    assert (line.arguments, line.status, line.summary) == ({"rows": "all"}, None, {})


def test_harvests_and_their_windows(filled: Store, reader: StoreReader) -> None:
    started = datetime(2024, 3, 12, tzinfo=UTC)
    windows = [Window({"date_start": f"2024-03-{n:02}"}, "closed", [["k"]] * n) for n in range(5)]
    for name in ("one", "two"):
        taken = take_up(
            filled, {"of": name}, run=name, spider="dume", arguments={}, started=started
        )
        taken.save([], [], Marks(windows=windows))
        if name == "one":
            taken.end()
        taken.let_go()
    two, one = reader.harvests()
    assert (two.run, two.asked, one.run) == ("two", {"of": "two", "spider": "dume"}, "one")
    assert reader.harvests(run="one") == [one]
    for harvest, facts in ((one, None), (two, [["k"]])):
        found = list(reader.windows(harvest.id, with_facts=True))
        assert [(w.filters, w.state, w.rows) for w in found] == [
            (w.filters, "closed", len(w.facts)) for w in windows
        ]
        assert found[1].facts == facts
        assert {w.facts for w in reader.windows(harvest.id)} == {None}


def test_files(filled: Store, reader: StoreReader, tmp_path: Path) -> None:
    for run in ("run", "later"):
        record = next(filled.pending(run))
        keys = RecordKeys(record.regime, record.buyer)
        keys.add(record)
        names = [f"{run}.json", f"{run}.xml"]
        planned = [PlannedFile(name, 1, 10, "sha1") for name in names]

        def commit(announce: Callable[..., None], planned: list[PlannedFile] = planned) -> None:
            announce([planned])

        assert filled.place(run, [keys], folder="there", commit=commit)
    files, count, size = reader.files(3)
    assert [file.name for file in files] == ["later.json", "later.xml", "run.json"]
    assert (count, size) == (4, 40)
    assert files[0] == ("later", "later.json", "there", 1, 10, "sha1")
    assert reader.files(9, since="2024-03-10")[1:] == (2, 20)
    files, count, size = reader.files(9, run="run")
    assert ([file.name for file in files], count, size) == (["run.json", "run.xml"], 2, 20)


def test_an_unknown_run_is_one_line(filled: Store, reader: StoreReader) -> None:
    with pytest.raises(StoreError, match="knows no run 'nope'; runs are named as their folders"):
        references(reader, run="nope")


def test_reading_makes_no_store(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite"
    with pytest.raises(StoreError, match=r"there is no store .*none.sqlite: harvest first"):
        StoreReader(f"sqlite:///{path}")
    assert not path.exists()
    with pytest.raises(StoreError, match="cannot be used; give sqlite:///path"):
        StoreReader("nonsense")
