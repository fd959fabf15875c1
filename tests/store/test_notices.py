"""Notices in the store, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Thread
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from dume_spider.decp.verdict import Problem
from dume_spider.store.doors import TWICE, Door
from dume_spider.store.notices import NoticeRow
from dume_spider.store.reading import StoreReader
from dume_spider.store.store import Rejection, Store
from dume_spider.store.tables import notice_versions, notices, rejections

STARTED = datetime(2026, 11, 21, tzinfo=UTC)


def notice(idweb: str, day: str = "2026-11-20", **columns: Any) -> NoticeRow:
    return NoticeRow.of(idweb, day, {"idweb": idweb, "dateparution": day, **columns})


def refused(idweb: str) -> Rejection:
    problem = Problem("idweb", "idweb", "is not one")
    return Rejection("boamp", idweb, None, None, [problem], orjson.dumps({"idweb": idweb}))


@pytest.fixture
def runs(store: Store) -> Store:
    """The store with a second run begun."""
    store.begin_run("next", "boamp", {}, STARTED)
    return store


@pytest.fixture
def reader(runs: Store, store_url: str) -> Iterator[StoreReader]:
    reader = StoreReader(store_url)
    yield reader
    reader.close()


def doors(store: Store, run: str, *rows: NoticeRow) -> list[Door]:
    return [outcome.door for outcome in store.save(run, rows)]


def test_each_notice_leaves_by_its_door(runs: Store) -> None:
    assert doors(runs, "run", notice("26-1"), notice("26-2")) == [Door.NEW, Door.NEW]
    assert doors(
        runs, "next", notice("26-1"), notice("26-2", objet="corrected"), notice("26-3")
    ) == [Door.UNCHANGED, Door.UPDATED, Door.NEW]
    counts = runs.counts_of("next")
    assert (counts.new, counts.updated, counts.unchanged, counts.superseded) == (1, 1, 1, 0)
    # Nothing is owed: it is written when it is in the store.
    assert (counts.written, counts.owed) == (2, 0)
    assert list(runs.pending("next")) == []


def test_the_same_row_twice_in_a_run(runs: Store) -> None:
    assert doors(runs, "run", notice("26-1"), notice("26-1")) == [Door.NEW, Door.SUPERSEDED]
    (again,) = runs.save("run", [notice("26-1")])
    assert again.why == TWICE
    # A row that changes while it is collected is kept in both states.
    assert doors(runs, "run", notice("26-1", objet="b"), notice("26-1", objet="c")) == [
        Door.UPDATED,
        Door.UPDATED,
    ]
    counts = runs.counts_of("run")
    assert (counts.new, counts.updated, counts.superseded, counts.written) == (1, 2, 2, 3)


def test_earlier_states_are_kept(runs: Store, reader: StoreReader) -> None:
    runs.save("run", [notice("26-1", objet="a"), notice("26-2")])
    runs.save("next", [notice("26-1", day="2026-11-21", objet="b")])
    with runs.database.reading() as connection:
        found = connection.execute(
            select(notices.c.reference, notice_versions.c.number, notice_versions.c.run)
            .join(notice_versions)
            .order_by(notices.c.reference, notice_versions.c.number)
        ).all()
    assert found == [("26-1", 1, 1), ("26-1", 2, 2), ("26-2", 1, 1)]
    assert [(r.reference, r.published, orjson.loads(r.raw)) for r in reader.notices()] == [
        ("26-2", "2026-11-20", {"idweb": "26-2", "dateparution": "2026-11-20"}),
        ("26-1", "2026-11-21", {"idweb": "26-1", "dateparution": "2026-11-21", "objet": "b"}),
    ]


def test_reading_by_day_and_run(runs: Store, reader: StoreReader) -> None:
    runs.save("run", [notice(f"26-{n}", day=f"2026-11-{n:02}") for n in range(1, 31)])
    runs.save("next", [notice("26-5", day="2026-11-05", objet="b"), notice("26-6", "2026-11-06")])
    runs.save("next", [NoticeRow.of("26-99", None, {"idweb": "26-99"})])

    def found(**chosen: str) -> list[str]:
        return [row.reference for row in reader.notices(**chosen)]

    assert found(since="2026-11-29") == ["26-29", "26-30"]
    assert found(until="2026-11-02") == ["26-1", "26-2"]
    assert found(since="2026-11-04", until="2026-11-05") == ["26-4", "26-5"]
    assert found(run="next") == ["26-99", "26-5"]  # without a date first
    assert len(found()) == 31


def test_reading_takes_no_more_than_a_page_at_once(
    runs: Store, reader: StoreReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dume_spider.store.reading.PAGE", 7)
    runs.save("run", [notice(f"26-{n:03}") for n in range(40)])
    assert [row.reference for row in reader.notices()] == [f"26-{n:03}" for n in range(40)]


def test_a_rejection_is_closed_when_the_notice_is_accepted(runs: Store) -> None:
    runs.reject("run", [refused("26-1"), refused("26-2")])
    runs.save("next", [notice("26-1")])
    with runs.database.reading() as connection:
        found = connection.execute(
            select(rejections.c.reference, rejections.c.resolved_run).order_by("reference")
        ).all()
    assert found == [("26-1", 2), ("26-2", None)]


def test_notices_and_records_are_saved_together(runs: Store, candidate: Any) -> None:
    outcomes = runs.save("run", [candidate("A"), notice("26-1"), candidate("B"), notice("26-1")])
    assert [o.door for o in outcomes] == [Door.NEW, Door.NEW, Door.SUPERSEDED, Door.SUPERSEDED]
    outcomes = runs.save("run", [candidate("C", objet="other")])
    assert [o.door for o in outcomes] == [Door.NEW]
    counts = runs.counts_of("run")
    assert (counts.new, counts.written, counts.owed, counts.superseded) == (3, 1, 2, 2)


def test_two_runs_that_save_the_same_notices_at_once(runs: Store, store_url: str) -> None:
    rows = [notice(f"26-{n:03}") for n in range(100)]
    other = Store(store_url)
    found: dict[str, list[Door]] = {}

    def save(store: Store, run: str, order: int) -> None:
        found[run] = [
            door for at in range(0, 100, 10) for door in doors(store, run, *rows[::order][at:][:10])
        ]

    threads = [
        Thread(target=save, args=(runs, "run", 1)),
        Thread(target=save, args=(other, "next", -1)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    together = found["run"] + found["next"]
    assert (together.count(Door.NEW), together.count(Door.UNCHANGED)) == (100, 100)


@pytest.mark.parametrize("reference", ["", "26-\0", "26-\ud800"])
def test_a_reference_that_no_database_can_hold(reference: str) -> None:
    with pytest.raises(ValueError, match="a reference that cannot be kept"):
        NoticeRow.of(reference, None, {})
