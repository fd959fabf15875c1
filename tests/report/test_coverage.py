"""What the calendar says of each day, from ledgers and summaries in a real store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dume_spider.boamp.planner import Planner
from dume_spider.boamp.query import NoticeQuery
from dume_spider.report.coverage import Scope, read_coverage
from dume_spider.spiders.base import Shard, today
from dume_spider.spiders.harvest import asked_values
from dume_spider.store.ledger import Marks, Window, take_up
from dume_spider.store.reading import StoreReader
from dume_spider.store.store import Store

WHOLE = "every search is answered whole"
STARTED = datetime(2026, 4, 1, tzinfo=UTC)


def days_of(scope: Scope) -> dict[str, str]:
    return {f"{day:%m-%d}": verdict.state for day, verdict in sorted(scope.days.items())}


def window(start: str | None, end: str | None, state: str = "closed", **filters: str) -> Window:
    dates = {"date_start": start, "date_end": end}
    given = {name: text for name, text in dates.items() if text} | filters
    return Window(given, state, [["key", "known", "MP", None, None, None, None, []]])


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.sqlite'}"


@pytest.fixture
def harvest(url: str) -> Callable[..., None]:
    """Make a harvest of March 2026, with the windows given and what its summary says."""

    def make(
        run: str,
        *windows: Window,
        status: str | None = "complete",
        is_open: bool = False,
        asked: dict[str, str] | None = None,
        start: str = "2026-03-01",
        end: str = "2026-03-03",
        **summary: Any,
    ) -> None:
        store = Store(url)
        dates = {"date_start": start, "date_end": end}
        asks = {"url": "http://dume", "detail": "always", **dates, **(asked or {})}
        taken = take_up(store, asks, run=run, spider="dume", arguments={}, started=STARTED)
        taken.save([], [], Marks(windows=list(windows)))
        if status:
            store.end_run(run, status, summary)
        if not is_open and status:
            taken.end()
        taken.let_go()
        store.close()

    return make


@pytest.fixture
def coverage(url: str) -> Iterator[Callable[..., list[Scope]]]:
    readers = []

    def read(**choice: Any) -> list[Scope]:
        readers.append(StoreReader(url))
        choice.setdefault("made", datetime.now(UTC))
        return read_coverage(readers[-1], {r.name: r for r in readers[-1].runs()}, **choice)

    yield read
    for reader in readers:
        reader.close()


ALL = window("2026-03-01", "2026-03-03")
UNPROVEN = {
    "filters": {"date_start": "2026-03-02", "date_end": "2026-03-02", "type_de": "MP"},
    "state": "probable",
    "why": "full days",
    "rows": 120,
    "missing_estimate": None,
}
DOUBT = {
    "state": "incomplete",
    "why": "still full",
    "missing_estimate": {"missing": 3.5, "low": 1.0, "high": 12.0},
}
NO_ANSWER = {"window": {"date_start": "2026-03-03", "date_end": "2026-03-03"}, "error": "HTTP 500"}


@pytest.mark.parametrize(
    ("summary", "expected", "day", "why"),
    [
        ({}, ["complete"] * 3, 1, WHOLE),
        ({"unproven": [UNPROVEN]}, ["complete", "probable", "complete"], 2, "full days"),
        (
            {"unproven": [UNPROVEN, UNPROVEN | DOUBT]},
            ["complete", "incomplete", "complete"],
            2,
            "still full; by estimate 3.5 rows are missing (1 to 12)",
        ),
        (
            {"status": "incomplete", "failures": [NO_ANSWER]},
            ["complete", "complete", "incomplete"],
            3,
            "no answer: HTTP 500",
        ),
        (
            {"status": None},
            ["incomplete"] * 3,
            1,
            "the run has not ended; the same command carries it on once it is no longer running",
        ),
        (
            {"status": "failed", "errors": ["the disk is full"]},
            ["incomplete"] * 3,
            1,
            "the run failed; the disk is full",
        ),
        (
            # Nobody knows any more on which day it was found: none of them is complete.
            {"status": "incomplete", "failures": [{"reference": "lost", "error": "HTTP 404"}]},
            ["incomplete"] * 3,
            2,
            "1 reference got no record, such as lost: HTTP 404",
        ),
    ],
)
def test_a_harvest(
    harvest: Callable,
    coverage: Callable,
    summary: dict[str, Any],
    expected: list[str],
    day: int,
    why: str,
) -> None:
    harvest("run", ALL, **summary)
    (scope,) = coverage()
    assert list(days_of(scope).values()) == expected
    assert scope.days[date(2026, 3, day)] == (expected[day - 1], why, "run")
    assert scope.title == "dume: all contracts"


def test_the_day_of_a_lost_reference_is_known_while_the_harvest_is_open(
    harvest: Callable, coverage: Callable
) -> None:
    found = window("2026-03-02", "2026-03-02", type_de="MP")
    found.facts[0][1] = "lost"
    wide = window("2026-03-01", "2026-03-03", "full")
    wide.facts[0][1] = "lost"
    failures = [{"reference": "lost", "error": "HTTP 500"}]
    harvest("run", wide, found, status="incomplete", is_open=True, failures=failures)
    (scope,) = coverage()
    assert days_of(scope) == {"03-01": "complete", "03-02": "incomplete", "03-03": "complete"}


def test_a_window_that_was_never_answered_is_asked_all_the_same(
    harvest: Callable, coverage: Callable
) -> None:
    late = {"date_start": "2026-03-02", "date_end": "2026-03-03"}
    why = "the run ended before it was asked"
    unproven = [UNPROVEN | {"filters": late, "state": "incomplete", "why": why}]
    harvest("run", window("2026-03-01", "2026-03-01"), status="incomplete", unproven=unproven)
    (scope,) = coverage()
    assert days_of(scope) == {"03-01": "complete", "03-02": "incomplete", "03-03": "incomplete"}
    assert scope.count("incomplete") == 2


def test_the_best_harvest_of_a_day_counts_and_each_choice_is_its_own(
    harvest: Callable, coverage: Callable
) -> None:
    harvest("first", ALL, unproven=[UNPROVEN])
    harvest("second", window("2026-03-02", "2026-03-04"), end="2026-03-04", status="failed")
    typed = window("2026-03-01", "2026-03-03", type_de="MP", procedure="Marché")
    harvest("third", typed, asked={"type_de": "MP"})
    marches, everything = coverage()
    states = {"03-01": "complete", "03-02": "probable", "03-03": "complete", "03-04": "incomplete"}
    assert days_of(everything) == states
    assert everything.runs == ["second", "first"]
    assert everything.days[date(2026, 3, 2)].run == "first"
    assert marches.title == "dume: type_de=MP"
    assert [w.filters for w in marches.windows] == ["procedure=Marché"]
    assert [scope.title for scope in coverage(run="first")] == ["dume: all contracts"]
    since = coverage(since=date(2026, 3, 4))
    assert [days_of(scope) for scope in since] == [{"03-04": "incomplete"}]


def test_a_day_that_was_not_over_is_not_complete(harvest: Callable, coverage: Callable) -> None:
    day = today()
    before = str(day - timedelta(1))
    harvest("run", window(before, str(day)), start=before, end=str(day))
    why = "it was asked before the day was over"
    # As its summary says, until the day is over.
    for later, state in ((0, "probable"), (1, "incomplete")):
        (scope,) = coverage(made=datetime.now(UTC) + timedelta(later))
        assert scope.days[day - timedelta(1)].state == "complete"
        assert scope.days[day] == (state, why, "run")


def test_a_day_that_was_not_over_of_which_no_search_is_kept(
    harvest: Callable, coverage: Callable
) -> None:
    """As the BOAMP's planner does: what it says of today is true until today is over."""
    day = today()
    before = day - timedelta(1)
    asked = NoticeQuery(date_start=before, date_end=day)
    planner = Planner(asked, today=day)
    while pages := planner.next(9):
        for page in pages:
            planner.answered(page, 1, [f"{page.window.date_start}"])
    unproven = [
        {"filters": u.window.filters(), "state": u.state, "why": u.why} for u in planner.unproven
    ]
    assert len(unproven) == 1
    closed = window(str(before), str(before))
    harvest("run", closed, start=str(before), end=str(day), unproven=unproven)
    for later, state in ((0, "probable"), (1, "incomplete")):
        (scope,) = coverage(made=datetime.now(UTC) + timedelta(later))
        assert scope.days[before].state == "complete"
        assert scope.days[day].state == state
    assert scope.days[day].why == "it was asked before the day was over"


def test_shares_are_one_scope(harvest: Callable, coverage: Callable) -> None:
    for number, day in ((1, "2026-03-01"), (2, "2026-03-02")):
        asked = asked_values({"shard": Shard(number, 2)})
        harvest(f"run {number}", window(day, day), asked=asked, end="2026-03-02")
    (scope,) = coverage()
    assert days_of(scope) == {"03-01": "complete", "03-02": "complete"}
    assert {w.filters for w in scope.windows} == {"shard=1/2", "shard=2/2"}


def test_an_open_start_and_a_single_reference(harvest: Callable, coverage: Callable) -> None:
    harvest("open", window(None, "2015-01-02"), start="", end="2015-01-02")
    harvest("one", Window({"reference": "r"}, "closed", []), asked={"reference": "r"})
    (scope,) = coverage()
    assert [f"{day}" for day in scope.days] == ["2015-01-01", "2015-01-02"]
