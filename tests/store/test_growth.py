"""What SQLite does for a job grows with the job, not with its square nor with the store.

It is counted in instructions of SQLite's own machine: no time is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert

from dume_spider.decp.folder import OutputFile
from dume_spider.decp.verdict import Problem
from dume_spider.store.database import Database
from dume_spider.store.doors import Door
from dume_spider.store.ledger import Found, Harvest, Marks, Window, take_up
from dume_spider.store.notices import NoticeRow
from dume_spider.store.publications import Publication, Publications
from dume_spider.store.reading import StoreReader
from dume_spider.store.store import Candidate, RecordKeys, Rejection, Store
from dume_spider.store.tables import destinations, file_sets, files, publications

STARTED = datetime(2024, 3, 1, tzinfo=UTC)
#: Records (or notices, files) of a small store; the large one has four times as many. Both
#: have several pages of what is read page by page.
SMALL, LARGE = 1000, 4000
Make = Callable[..., Candidate]


def steps(database: Database, work: Callable[[], Any]) -> int:
    """How many hundreds of instructions SQLite runs for a piece of work."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    def listen(raw: Any, *_: object) -> None:
        raw.set_progress_handler(tick, 100)

    event.listen(database._engine, "checkout", listen)
    work()
    event.remove(database._engine, "checkout", listen)
    with database.reading() as connection:
        connection.connection.driver_connection.set_progress_handler(None, 0)
    return count


def begin(store: Store, run: str, asked: str) -> Harvest:
    return take_up(store, {"n": asked}, run=run, spider="dume", arguments={}, started=STARTED)


def candidates(make: Make, numbers: Iterable[int], **fields: Any) -> list[Candidate]:
    return [
        make(f"r{n}", [1], buyer=f"{n % 7:014}", day=f"2024-03-{n % 28 + 1:02}", n=n, **fields)
        for n in numbers
    ]


def place(store: Store, run: str) -> list[str]:
    """Put one file per buyer in place; their names."""
    sets: dict[str, RecordKeys] = {}
    for record in store.pending(run):
        sets.setdefault(record.buyer, RecordKeys(record.regime, record.buyer)).add(record)
    names = [f"DECP-{run}-{buyer}" for buyer in sets]
    planned = [[OutputFile(name, 1, 10, name)] for name in names]
    keys = [*sets.values()]
    assert store.place(run, keys, folder="/decp", commit=lambda announce: announce(planned))
    return names


def fill(folder: Path, make: Make, size: int) -> str:
    """A store with so many contracts, of which each was rejected once, notices, and files
    that were published but the last one."""
    url = f"sqlite:///{folder / str(size)}.sqlite"
    with closing(Store(url)) as store:
        harvest = take_up(
            store, {"n": "1"}, run="run", spider="dume", arguments={}, started=STARTED
        )
        problems = [Problem("id", "required", "is missing")]
        for first in range(0, size, 100):
            numbers = range(first, first + 100)
            refused = [Rejection("dume", f"x{n}", None, None, problems, b"%d" % n) for n in numbers]
            marks = Marks(
                windows=[Window({"day": str(first)}, "closed", [])],
                found=[Found(f"r{n}", None) for n in numbers],
            )
            harvest.save(candidates(make, numbers), refused, marks)
            store.save("run", [NoticeRow.of(f"{n}", "2024-03-05", {"idweb": n}) for n in numbers])
        place(store, "run")
        store.end_run("run", "complete", {})
        harvest.end()
        # Half of the files are of a run that was incomplete and was done again by another.
        for run, status in (("tried", "incomplete"), ("again", "complete")):
            harvest = begin(store, run, "2")
            store.end_run(run, status, {})
            harvest.end()
        with store.database.writing() as connection:
            ids = range(101, 101 + size)
            line = {"regime": "2022", "buyer": "1", "records": 1, "placed": True}
            lines = [line | {"id": n, "run": 2 + n % 2} for n in ids]
            connection.execute(insert(file_sets), lines)
            line = {"position": 0, "folder": "/decp", "bytes": 1}
            lines = [line | {"file_set": n, "name": f"{n}", "sha1": f"{n}"} for n in ids]
            connection.execute(insert(files), lines)
            line = {"portal": "http://portal", "dataset": "d"}
            connection.execute(insert(destinations), [line | {"run": n} for n in (2, 3)])
            line |= {"run": 3, "published": "2024-03-05", "bytes": 1, "resource": "r", "url": "u"}
            lines = [line | {"name": f"{n}", "sha1": f"{n}"} for n in ids[:-1]]
            connection.execute(insert(publications), lines)
    return url


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory, candidate: Make) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("growth")
    return fill(folder, candidate, SMALL), fill(folder, candidate, LARGE)


@pytest.mark.parametrize(
    "work",
    [
        lambda reader: list(reader.records()),
        lambda reader: list(reader.records(run="run")),
        lambda reader: list(reader.notices()),
        lambda reader: list(reader.accepted_rows("dume")),
        lambda reader: list(reader.latest_rows("dume")),
        lambda reader: list(reader.rejected_rows("dume")),
        lambda reader: list(reader.survey()),
    ],
    ids=["records", "of a run", "notices", "accepted", "latest", "rejected", "survey"],
)
def test_reading_all_of_it(urls: tuple[str, str], work: Callable[[StoreReader], list[Any]]) -> None:
    done = []
    for url in urls:
        with closing(StoreReader(url)) as reader:
            found: list[Any] = []
            done.append(steps(reader._database, lambda: found.extend(work(reader))))  # noqa: B023
            assert len(found) in (SMALL, LARGE)
    # Sorting takes a little more than four times as much for four times as many.
    assert 2 * done[0] < done[1] < 5.5 * done[0]


def test_what_is_owed_to_a_data_set(urls: tuple[str, str]) -> None:
    done = []
    for url, size in zip(urls, (SMALL, LARGE), strict=True):
        with closing(Store(url)) as store:
            published = Publications(store, "http://portal")
            done.append(steps(store.database, lambda: published.owed("d")))  # noqa: B023
            assert [file.name for file in published.owed("d")] == [f"{100 + size}"]
    assert 2 * done[0] < done[1] < 5.5 * done[0]


def test_a_harvest_beside_all_that_is_there(urls: tuple[str, str], candidate: Make) -> None:
    """A page of answers, its files, its publication: the same in a store of any size."""

    def run(store: Store) -> None:
        harvest = take_up(
            store, {"n": "2"}, run="new", spider="dume", arguments={}, started=STARTED
        )
        news, known = candidates(candidate, range(-100, 0)), candidates(candidate, range(100))
        newer = candidates(candidate, range(100, 200), objet="another")
        marks = Marks(windows=[Window({"day": "x"}, "closed", [])])
        harvest.save([*news, *known, *newer], [], marks)
        store.save("new", [NoticeRow.of(f"{n}", "2024-03-05", {"idweb": n}) for n in range(-9, 9)])
        published = Publications(store, "http://portal")
        for name in place(store, "new"):
            published.note("new", Publication(name, name, 10, "d", "r", "u"), Door.NEW)
            assert published.has_noted("d", name, name)

    done = []
    for url in urls:
        with closing(Store(url)) as store:
            done.append(steps(store.database, lambda: run(store)))
    assert done[0] / 1.3 < done[1] < 1.3 * done[0]
