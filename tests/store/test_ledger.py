"""The ledger on each engine: what is taken up, by whom, and what it then knows."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from crawling import ROOT
from sqlalchemy import inspect, text

from dume_spider.decp.verdict import Problem
from dume_spider.exceptions import StoreError
from dume_spider.store import tables
from dume_spider.store.doors import Candidate, Door
from dume_spider.store.ledger import Found, Harvest, Marks, Window, take_up
from dume_spider.store.store import Rejection, Store

STARTED = datetime(2024, 3, 1, 12, tzinfo=UTC)
ASKED = {"url": "https://example.org", "date_start": "2024-03-01"}
ODD = "a\\0b\0c\\"  # PostgreSQL takes no NUL


@pytest.fixture
def open_store(store_url: str) -> Iterator[Callable[[], Store]]:
    """Open the store once more, as another process would."""
    opened: list[Store] = []

    def new() -> Store:
        opened.append(Store(store_url))
        return opened[-1]

    yield new
    for store in opened:
        store.close()


@pytest.fixture
def take(open_store: Callable[[], Store]) -> Iterator[Callable[..., Harvest]]:
    """Take up a harvest as another process would; all are let go of at the end."""
    taken: list[Harvest] = []

    def take(run: str, asked: dict[str, Any] = ASKED) -> Harvest:
        store = open_store()
        taken.append(take_up(store, asked, run=run, spider="dume", arguments={}, started=STARTED))
        return taken[-1]

    yield take
    for harvest in taken:
        harvest.let_go()


def refused(reference: str | None, raw: str) -> Rejection:
    problem = Problem("montant", "minimum", "too small")
    return Rejection("dume", reference, None, None, [problem], orjson.dumps({"raw": raw}))


def test_a_harvest_that_is_let_go_is_taken_up_in_its_run(
    take: Callable[..., Harvest], candidate: Callable[..., Candidate]
) -> None:
    first = take("first")
    assert (first.run, first.is_resumed, first.has_progressed) == ("first", False, False)
    window = Window({"date_start": "2024-03-01"}, "closed", [["k", None, ["é"]]])
    first.save([], [], Marks(windows=[window], found=[Found("A", "MP"), Found(ODD, None)]))
    first.save(
        [candidate("A"), candidate("A", [1])],
        [refused("A", "x"), refused("A", "x"), refused(None, "y")],
        Marks(settled=["A"], rows=[":k", ODD], tallies=Counter({("requests", "search"): 2})),
    )
    first.save([], [], Marks(tallies=Counter({("requests", "search"): 1, ("repairs", ODD): 5})))
    assert first.has_progressed
    first.let_go()

    again = take("second")
    assert (again.run, again.started, again.is_resumed) == ("first", STARTED, True)
    assert not again.has_progressed
    assert list(again.windows()) == [window]
    assert again.settled() == {"A"}
    assert again.settled_rows() == {":k", ODD}
    assert again.waiting() == [Found(ODD, None)]
    assert again.tallies() == {"requests": {"search": 3}, "repairs": {ODD: 5}}
    assert again.rows() == 5
    problems = [{"path": "montant", "rule": "minimum", "message": "too small"}]
    assert [(r.reference, orjson.loads(r.problems), r.raw) for r in again.rejected()] == [
        ("A", problems, b'{"raw":"x"}'),
        (None, problems, b'{"raw":"y"}'),
    ]


def test_a_reference_that_is_found_again_stays_settled(take: Callable[..., Harvest]) -> None:
    harvest = take("run")
    harvest.save([], [], Marks(settled=["A"]))
    harvest.save([], [], Marks(found=[Found("A", "MP"), Found("B", "CC"), Found("B", "CC")]))
    harvest.save([], [], Marks(found=[Found("B", "MP")]))
    assert harvest.settled() == {"A"}
    assert harvest.waiting() == [Found("B", "CC")]


def test_one_that_is_done_starts_anew(
    open_store: Callable[[], Store], take: Callable[..., Harvest]
) -> None:
    first = take("first")
    first.save([], [], Marks(windows=[Window({"a": "b"}, "full", [])], settled=["A"], rows=["k"]))
    first.end()
    second = take("second")
    assert (second.run, second.is_resumed) == ("second", False)
    assert not [*second.windows(), *second.settled(), *second.settled_rows(), *second.waiting()]
    with open_store().database.reading() as connection:
        kept = connection.execute(text("SELECT filters, state, facts FROM windows")).all()
    assert kept == [('{"a":"b"}', "full", None)]


def test_other_arguments_are_another_harvest(take: Callable[..., Harvest]) -> None:
    take("first").let_go()
    other = take("second", ASKED | {"date_start": "2024-03-02"})
    assert (other.run, other.is_resumed) == ("second", False)


def test_one_that_is_held_is_left_alone(take: Callable[..., Harvest]) -> None:
    first, second = take("first"), take("second")
    assert (first.run, second.run, second.is_resumed) == ("first", "second", False)
    second.let_go()
    # The first is still held; the second is not.
    third = take("third")
    assert (third.run, third.is_resumed) == ("second", True)
    first.let_go()
    fourth = take("fourth")
    assert (fourth.run, fourth.is_resumed) == ("first", True)


def test_the_end_of_one_ends_those_that_asked_the_same(take: Callable[..., Harvest]) -> None:
    held, left, done = (take(name) for name in ("held", "left", "done"))
    left.save([], [], Marks(settled=["A"]))
    left.let_go()
    done.end()
    assert take("new").run == "new"
    held.let_go()
    assert take("newer").run == "held"


def test_the_lock_of_a_killed_process_is_gone(store_url: str, take: Callable[..., Harvest]) -> None:
    code = (
        "import sys, time; from datetime import UTC, datetime\n"
        "from dume_spider.store.store import Store\n"
        "from dume_spider.store.ledger import take_up\n"
        f"held = take_up(Store(sys.argv[1]), {ASKED!r}, run='killed', spider='dume',"
        " arguments={}, started=datetime.now(UTC))\n"
        "print(held.run, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, store_url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "killed\n"
        other = take("other")
        assert other.run == "other"
        process.send_signal(signal.SIGKILL)
    # A server takes a moment to notice.
    for number in range(100):
        harvest = take(f"again-{number}")
        if harvest.is_resumed:
            break
        harvest.let_go()
    assert harvest.run in ("killed", "again-0")


def test_marks_are_saved_with_their_rows_or_not_at_all(
    take: Callable[..., Harvest], candidate: Callable[..., Candidate]
) -> None:
    harvest = take("run")
    bad = candidate("B", objet="b")
    object.__setattr__(bad, "buyer", None)
    with pytest.raises(StoreError, match=r"NOT NULL|not-null"):
        harvest.save([candidate("A"), bad], [refused("C", "c")], Marks(settled=["A", "B", "C"]))
    assert harvest.settled() == set()
    assert harvest.rows() == 0
    assert not list(harvest.rejected())
    assert not harvest.has_progressed


def test_what_two_runs_reject_is_in_the_list_of_both(take: Callable[..., Harvest]) -> None:
    first, second = take("first"), take("second")
    for harvest in (first, second, first):
        _, outcomes = harvest.save([], [refused("A", "x")], Marks())
    assert outcomes[0].door is Door.SUPERSEDED, "the first run has had it already"
    assert [len(list(harvest.rejected())) for harvest in (first, second)] == [1, 1]


def test_many_of_all(take: Callable[..., Harvest]) -> None:
    harvest = take("run")
    windows = [Window({"n": str(number)}, "closed", [number]) for number in range(1201)]
    harvest.save([], [refused(str(n), str(n)) for n in range(1201)], Marks(windows=windows))
    assert sorted(harvest.windows(), key=str) == sorted(windows, key=str)
    assert len({row.reference for row in harvest.rejected()}) == 1201


def test_a_store_of_version_1_is_brought_up(store_url: str) -> None:
    """Its tables are then those of a new store, and what it knew of rejections is kept."""

    def shape(store: Store) -> dict[str, Any]:
        with store.database.reading() as connection:
            inspector = inspect(connection)
            return {
                name: (
                    [(c["name"], str(c["type"]), c["nullable"]) for c in columns],
                    inspector.get_pk_constraint(name)["constrained_columns"],
                    sorted(index["name"] for index in inspector.get_indexes(name)),
                    [key["referred_table"] for key in inspector.get_foreign_keys(name)],
                )
                for name in sorted(inspector.get_table_names())
                for columns in [inspector.get_columns(name)]
            }

    store = Store(store_url)
    expected = shape(store)
    store.begin_run("old", "dume", {}, STARTED)
    store.reject("old", [refused("A", "x")])
    with store.database.writing() as connection:
        ledger = ("windows", "found", "settled_rows", "tallies", "harvests", "rejected")
        others = ("publications", "destinations", "notice_versions", "notices")
        for table in (*ledger, *others):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("DROP INDEX records_contract"))
        connection.execute(text("ALTER TABLE records DROP COLUMN contract"))
        connection.execute(text("UPDATE store SET version = 1"))
    store.close()
    store = Store(store_url)
    assert shape(store) == expected
    with store.database.reading() as connection:
        version = connection.execute(text("SELECT version FROM store")).scalar_one()
        assert version == tables.current_version()
    store.begin_run("old", "dume", {}, STARTED)
    assert [o.door for o in store.reject("old", [refused("A", "x")])] == [Door.SUPERSEDED]
    store.close()
