"""What the store remembers of publications, and what is owed, on both engines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import select

from dume_spider.decp.folder import OutputFile
from dume_spider.decp.regime import Regime
from dume_spider.store.doors import Door
from dume_spider.store.ledger import Harvest, take_up
from dume_spider.store.publications import (
    OwedFile,
    Publication,
    Publications,
    datasets_of,
    published_names,
)
from dume_spider.store.shards import hand_over
from dume_spider.store.store import Candidate, RecordKeys, Store
from dume_spider.store.tables import publications

STARTED = datetime(2026, 11, 21, tzinfo=UTC)
BUYER = "21750001600019"
PORTAL = "https://www.data.gouv.fr/api/1"
FOLDER = "/data/decp"


@pytest.fixture
def store(store_url: str) -> Any:
    store = Store(store_url)
    yield store
    store.close()


@pytest.fixture
def written(store: Store, candidate: Callable[..., Candidate]) -> Callable[..., Harvest]:
    """A run that has put one file in place, of a harvest that asks for ``asked``."""

    def write(run: str, asked: str, status: str | None = "complete") -> Harvest:
        harvest = take_up(
            store, {"n": asked}, run=run, spider="dume", arguments={}, started=STARTED
        )
        store.save(harvest.run, [candidate(run, objet=run)])
        (record,) = store.pending(harvest.run)
        keys = RecordKeys(Regime.R2022, BUYER)
        keys.add(record)
        file = OutputFile(name(run), 1, 10, sha1(run))
        assert store.place(
            harvest.run, [keys], folder=FOLDER, commit=lambda announce: announce([[file]])
        )
        if status is not None:
            store.end_run(harvest.run, status, {})
            harvest.end()
        return harvest

    return write


def name(run: str) -> str:
    return f"DECP-{BUYER}-2026-11-21-{int(run):02}.json"


def sha1(run: str) -> str:
    return run.zfill(40)


def publication(run: str, dataset: str = "d", **changes: Any) -> Publication:
    return Publication(name(run), sha1(run), 10, dataset, f"r{run}", "u")._replace(**changes)


def lines(store: Store) -> list[tuple[Any, ...]]:
    with store.database.reading() as connection:
        columns = (publications.c.run, publications.c.name, publications.c.dataset)
        return [tuple(line) for line in connection.execute(select(*columns).order_by("id"))]


def test_notes_and_counts(store: Store) -> None:
    store.begin_run("run", "publish", {}, STARTED)
    known = Publications(store, PORTAL)
    known.note("run", publication("1"), Door.NEW)
    known.note("run", publication("1", sha1="f" * 40), Door.UPDATED)
    # Of what is unchanged, only what was not known.
    known.note("run", publication("1"), Door.UNCHANGED)
    known.note("run", publication("2"), Door.UNCHANGED)
    known.note("run", publication("2"), Door.UNCHANGED)
    assert lines(store) == [(1, name("1"), "d"), (1, name("1"), "d"), (1, name("2"), "d")]
    counts = store.counts_of("run")
    assert (counts.new, counts.updated, counts.unchanged, counts.written) == (1, 1, 3, 2)
    assert published_names(store.database, date(2026, 11, 22)) == []
    assert sorted(published_names(store.database, date(2026, 11, 21))) == [name("1"), name("2")]


def test_what_is_owed(store: Store, written: Callable[..., Harvest]) -> None:
    known = Publications(store, PORTAL)
    for run in ("1", "2"):
        written(run, run)
        known.intend(run, "d")
    known.intend("1", "d")  # said twice
    written("3", "3")  # not to be published
    written("4", "4")
    known.intend("4", "another")
    owed = [OwedFile(FOLDER, name(run), run) for run in ("1", "2")]
    assert known.owed("d") == owed
    assert known.owed("another") == [OwedFile(FOLDER, name("4"), "4")]
    assert Publications(store, "https://demo.data.gouv.fr/api/1").owed("d") == []
    # In another data set, or with another content, it is not this file that was published.
    known.note("1", publication("1", "another"), Door.NEW)
    known.note("1", publication("1", sha1="f" * 40), Door.NEW)
    assert known.owed("d") == owed
    known.note("1", publication("1"), Door.NEW)
    assert known.owed("d") == owed[1:]
    # What docs/reference.md says gives it up.
    with store.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM destinations WHERE dataset = 'another'")
    assert known.owed("another") == []
    # Its content is there, under the number that it was given since.
    known.note("2", publication("2")._replace(name="renamed"), Door.NEW)
    assert known.owed("d") == []


@pytest.mark.parametrize("status", ["incomplete", "failed", None])
def test_runs_that_did_not_end_well(
    store: Store, written: Callable[..., Harvest], status: str | None
) -> None:
    """Their files wait until a later run of the same harvest ends well."""
    known = Publications(store, PORTAL)
    first = written("1", "same", status)
    known.intend("1", "d")
    written("2", "other")
    known.intend("2", "d")
    assert known.owed("d") == [OwedFile(FOLDER, name("2"), "2")]
    if status is None:  # it was running, or killed: it is carried on in the same run
        store.end_run("1", "complete", {})
        first.end()
    else:
        written("3", "same", "probable")
    assert known.owed("d") == [OwedFile(FOLDER, name(run), run) for run in ("1", "2")]


def test_what_shards_were_to_publish(store: Store, candidate: Callable[..., Candidate]) -> None:
    """The run that writes their files has it published, where each of them was to."""
    known = Publications(store, PORTAL)
    shards = ("first", "second", "third")
    for run in (*shards, "export"):
        store.begin_run(run, "dume", {}, STARTED)
        store.save(run, [candidate(run, objet=run)])
        store.end_run(run, "complete", {})
    for run in shards[:2]:
        known.intend(run, "d")
    for _ in range(2):  # it was killed
        hand_over(store, shards, "export")
    assert datasets_of(store, "export") == ["d"]
    assert datasets_of(store, "third") == []
    keys = RecordKeys(Regime.R2022, BUYER)
    for record in store.pending("export"):
        keys.add(record)
    file = OutputFile(name("1"), len(keys), 10, sha1("1"))
    store.place("export", [keys], folder=FOLDER, commit=lambda announce: announce([[file]]))
    assert known.owed("d") == [OwedFile(FOLDER, name("1"), "export")]


def test_a_second_worker_that_was_killed(store: Store, written: Callable[..., Harvest]) -> None:
    """Its files are published when the first ends well, which closes its harvest too: nobody
    carries it on."""
    known = Publications(store, PORTAL)
    first = written("1", "same", None)
    second = written("2", "same", None)
    for run in ("1", "2"):
        known.intend(run, "d")
    second.let_go()
    assert known.owed("d") == []
    store.end_run("1", "complete", {})
    first.end()
    assert known.owed("d") == [OwedFile(FOLDER, name(run), run) for run in ("1", "2")]
