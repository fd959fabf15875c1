"""The planner against a model of the service that answers its queries."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dume_spider.boamp import planner as module
from dume_spider.boamp.planner import FIRST_DAY, Closed, Page, Planner
from dume_spider.boamp.query import DEPARTEMENTS, FAMILLES, OTHER, NoticeQuery, spellings

MONDAY = date(2026, 6, 1)
TODAY = date(2026, 11, 21)
DAY = timedelta(days=1)


class Row(NamedTuple):
    idweb: str
    day: date
    departements: tuple[str, ...] | None = ("75",)
    famille: str | None = "FNS"


class Model:
    """The rows of the service; ``asked`` counts the pages it has given."""

    def __init__(self, rows: Iterable[Row]):
        self.rows = list(rows)
        self.asked = 0
        self._found: dict[NoticeQuery, list[tuple[date, str]]] = {}

    def add(self, *rows: Row) -> None:
        self.rows += rows
        self._found.clear()

    def withdraw(self, at: int, count: int = 1) -> None:
        del self.rows[at : at + count]
        self._found.clear()

    def answer(self, page: Page) -> tuple[int, list[str]]:
        self.asked += 1
        window = page.window
        if window not in self._found:
            rows = (row for row in self.rows if matches(window, row))
            self._found[window] = sorted((row.day, row.idweb) for row in rows)
        found = self._found[window]
        assert page.offset + module.PAGE <= module.MAX_ROWS
        part = found[page.offset : page.offset + module.PAGE]
        return len(found), [idweb for _, idweb in part]


def matches(query: NoticeQuery, row: Row) -> bool:
    return (
        query.date_start <= row.day <= query.date_end
        and is_among(query.departements, DEPARTEMENTS, row.departements or ())
        and is_among(query.familles, FAMILLES, (row.famille,) if row.famille else ())
    )


def is_among(wanted: tuple[str, ...], listed: tuple[str, ...], values: tuple[str, ...]) -> bool:
    if wanted == (OTHER,):
        return codes(listed).isdisjoint(values)
    return not wanted or not codes(wanted).isdisjoint(values)


@cache
def codes(values: tuple[str, ...]) -> frozenset[str]:
    return frozenset(spellings(values))


class Harvested(NamedTuple):
    idwebs: set[str]
    closed: list[Closed]


def harvest(
    planner: Planner,
    model: Model,
    *,
    room: int = 4,
    order: random.Random | None = None,
    before: Callable[[Page], object] = lambda _: None,
    fails: Callable[[Page], bool] = lambda _: False,
    most: int = 100_000,
) -> Harvested:
    """Ask until the planner is done, or has asked ``most`` pages."""
    flying: list[Page] = []
    found: set[str] = set()
    closed: list[Closed] = []
    for _ in range(most):
        flying += planner.next(room - len(flying))
        if not flying:
            assert planner.done, "the planner neither asks nor is done"
            break
        page = flying.pop(order.randrange(len(flying)) if order else 0)
        before(page)
        if fails(page):
            closed += planner.failed(page, "HTTP status 500")
            continue
        total, idwebs = model.answer(page)
        found.update(idwebs)
        closed += planner.answered(page, total, idwebs)
    return Harvested(found, closed)


def plan(days: int = 30, today: date = TODAY, **more: object) -> Planner:
    return Planner(
        NoticeQuery(date_start=MONDAY, date_end=MONDAY + (days - 1) * DAY), today=today, **more
    )


def some_rows(count: int, days: int, *, first: int = 0) -> list[Row]:
    return [Row(f"26-{first + n}", MONDAY + (n * days // count) * DAY) for n in range(count)]


def test_a_quiet_month_takes_few_requests() -> None:
    model, planner = Model(some_rows(4_500, 30)), plan()
    found = harvest(planner, model).idwebs
    assert planner.status == "complete"
    assert planner.judgement() == []
    assert found == {row.idweb for row in model.rows}
    assert model.asked <= 45 + 4
    assert planner.days_done == planner.days_asked == 30


def test_a_quarter_with_a_day_that_overflows() -> None:
    quarter = 92
    big = MONDAY + 40 * DAY
    codes = [*spellings(DEPARTEMENTS), "99"]
    rows = some_rows(14_500, quarter)
    rows += [
        Row(f"26-9{n:05}", big, (codes[n % len(codes)],) if n % 50 else None) for n in range(10_500)
    ]
    model, planner = Model(rows), plan(quarter)
    closed = harvest(planner, model).closed
    assert planner.status == "complete"
    assert frozenset().union(*(each.idwebs for each in closed)) == {row.idweb for row in rows}
    windows = len(closed)
    assert model.asked <= 1.2 * -(-len(rows) // 100) + windows
    assert model.asked <= 250 + windows + 6


def test_everything_in_one_department_is_split_by_famille() -> None:
    familles = [*FAMILLES, None, "NEW"]
    rows = [
        Row(f"26-{n}", MONDAY, ("1", "69") if n % 2 else ("01",), familles[n % len(familles)])
        for n in range(12_000)
    ]
    model, planner = Model(rows), plan(1)
    assert harvest(planner, model).idwebs == {row.idweb for row in rows}
    assert planner.status == "complete"


def test_what_cannot_be_split_is_named_with_what_was_collected() -> None:
    rows = [Row(f"26-{n}", MONDAY) for n in range(10_200)]
    model, planner = Model(rows), plan(1)
    assert len(harvest(planner, model).idwebs) == 10_000
    assert planner.status == "incomplete"
    (unproven,) = planner.judgement()
    assert unproven.as_dict() == {
        "filters": {
            "date_start": "2026-06-01",
            "date_end": "2026-06-01",
            "departements": "75",
            "familles": "FNS",
        },
        "state": "incomplete",
        "why": "a part of a day that holds 10200 rows, of which pages reach 10000",
        "rows": 10_000,
        "missing_estimate": {"missing": 200.0, "low": 200.0, "high": 200.0},
    }


def test_a_count_that_moves_is_asked_again() -> None:
    model, planner = Model(some_rows(1_000, 7)), plan(7)

    def publish(page: Page) -> None:
        if model.asked == 5:
            model.add(*some_rows(30, 7, first=5_000))

    assert harvest(planner, model, before=publish).idwebs == {row.idweb for row in model.rows}
    assert planner.status == "complete"
    assert 11 < model.asked <= 5 + 11 + 4


def test_rows_that_are_withdrawn_are_no_gap() -> None:
    model, planner = Model(some_rows(1_000, 7)), plan(7)

    def withdraw(page: Page) -> None:
        if model.asked == 5:
            model.withdraw(0, 30)

    closed = harvest(planner, model, before=withdraw).closed
    assert planner.status == "complete"
    assert [len(each.idwebs) for each in closed] == [970]


def test_a_count_that_never_rests_is_probable_when_all_was_seen() -> None:
    model, planner = Model(some_rows(1_000, 7)), plan(7)

    def publish(page: Page) -> None:
        # The last row of the window: every page before it stays as it is.
        if page.offset == 900:
            model.add(Row(f"26-99{len(model.rows)}", MONDAY + 6 * DAY))

    found = harvest(planner, model, before=publish)
    assert found.idwebs == {row.idweb for row in model.rows}
    assert planner.status == "probable"
    assert found.closed == []
    (unproven,) = planner.judgement()
    assert unproven.why == "its count kept moving; all 1004 rows that it had last were collected"


def test_pages_that_repeat_rows_do_not_pass_for_whole() -> None:
    model, planner = Model(some_rows(300, 7)), plan(7)
    answer = model.answer

    def unstable(page: Page) -> tuple[int, list[str]]:
        # An ordering with ties: the second page gives the rows of the first again.
        return answer(page._replace(offset=0) if page.offset == 100 else page)

    model.answer = unstable
    assert len(harvest(planner, model).idwebs) == 200
    (unproven,) = planner.judgement()
    assert (unproven.state, unproven.rows, unproven.total) == ("incomplete", 200, 300)
    assert unproven.why == "it holds 300 rows; 4 passes over its pages gave 200"


def test_a_page_that_fails_leaves_the_other_pages_collected() -> None:
    model, planner = Model(some_rows(2_400, 14)), plan(14)
    found = harvest(planner, model, fails=lambda page: page.offset == 300)
    assert planner.status == "incomplete"
    # Of two windows, each lacks its fourth page.
    assert len(found.idwebs) == 2_200
    assert found.closed == []
    assert planner.judgement() == []  # it is named as a failure
    assert planner.days_done == 14


def test_a_first_page_that_fails_ends_its_window() -> None:
    model, planner = Model(some_rows(100, 7)), plan(7)
    assert harvest(planner, model, fails=lambda _: True) == (set(), [])
    assert (planner.status, planner.done, model.asked) == ("incomplete", True, 0)


@pytest.mark.parametrize(
    ("published", "days", "filters", "expected"),
    [
        ([], 7, {}, [("2026-06-01", "2026-06-07")]),
        ([], 1, {}, []),
        ([], 7, {"nature": "ATTRIBUTION"}, [("2026-06-01", "2026-06-07")]),
        # A filter may well match nothing.
        ([], 7, {"keyword": "phare"}, []),
        ([], 7, {"nature": "PERIODIQUE"}, []),
        ([], 7, {"departement": "976"}, []),
        ([], 7, {"where": "1=1"}, []),
    ],
)
def test_a_week_without_notices_is_not_complete(
    published: list[Row], days: int, filters: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    planner = plan(days)
    planner.query = replace(planner.query, **filters)
    harvest(planner, Model(published))
    judged = planner.judgement()
    assert [(u.window.date_start.isoformat(), u.window.date_end.isoformat()) for u in judged] == (
        expected
    )
    assert planner.status == ("incomplete" if expected else "complete")


def test_an_empty_week_end_is_nothing_special() -> None:
    saturday = MONDAY + 5 * DAY
    query = NoticeQuery(date_start=saturday, date_end=saturday + 2 * DAY)
    planner = Planner(query, today=TODAY)
    harvest(planner, Model([]))
    assert planner.status == "complete"  # one working day, the Monday


def test_empty_days_in_several_windows_are_one_silence() -> None:
    planner = plan(801, today=date(2030, 1, 1))
    harvest(planner, Model([]))
    assert [u.window.filters() for u in planner.judgement()] == [
        {"date_start": "2026-06-01", "date_end": "2028-08-09"}
    ]


@pytest.mark.parametrize("shard", [(1, 1), (2, 3)])
def test_before_the_first_notice_there_is_no_silence(shard: tuple[int, int]) -> None:
    """A harvest without a first day asks for all days since 1990: it would never be complete."""
    end, today = MONDAY + 41 * DAY, date(2030, 1, 1)
    query = NoticeQuery(date_start=FIRST_DAY, date_end=end)

    def judged(query: NoticeQuery, rows: list[Row]) -> list[tuple[date, date]]:
        planner = Planner(query, today=today, shard=shard)
        harvest(planner, Model(rows))
        silent = [(u.window.date_start, u.window.date_end) for u in planner.judgement()]
        assert planner.status == ("incomplete" if silent else "complete")
        return silent

    assert judged(query, some_rows(400, 42)) == []
    # Later ones are told, and if it is all that there is.
    later = judged(query.on(FIRST_DAY, MONDAY + 900 * DAY), some_rows(400, 42))
    assert later
    assert all(low >= MONDAY for low, _ in later)
    assert min(judged(query, []))[0] < FIRST_DAY + 14 * DAY
    # Who gives a first day knows that there is something.
    assert min(judged(query.on(FIRST_DAY + DAY, end), some_rows(400, 42)))[0].year == 1990


def test_a_day_that_is_not_over_is_probable_and_stands_apart() -> None:
    model = Model(some_rows(500, 10))
    planner = plan(10, today=MONDAY + 8 * DAY)
    found = harvest(planner, model)
    assert planner.status == "probable"
    assert [u.window.filters() for u in planner.judgement()] == [
        {"date_start": "2026-06-09", "date_end": "2026-06-10"}
    ]
    # Not noted as closed: it is asked again.
    assert [each.window.date_end for each in found.closed] == [MONDAY + 7 * DAY]


def test_parts_that_hold_less_than_the_whole_are_incomplete() -> None:
    rows = [Row(f"26-{n}", MONDAY, (DEPARTEMENTS[n % 90],)) for n in range(10_500)]
    model, planner = Model(rows), plan(1)
    answer = model.answer

    def forgetful(page: Page) -> tuple[int, list[str]]:
        if page.window.departements == (OTHER,):
            return 0, []
        if not page.window.departements:
            return answer(page)[0] + 40, answer(page)[1]  # forty that no part shows
        return answer(page)

    model.answer = forgetful
    harvest(planner, model)
    (unproven,) = planner.judgement()
    assert planner.status == unproven.state == "incomplete"
    assert unproven.why == "its parts hold 10500 of its 10540 rows"
    assert unproven.window == planner.query


def test_a_whole_that_moves_while_its_parts_are_asked_is_counted_again() -> None:
    rows = [Row(f"26-{n}", MONDAY, (DEPARTEMENTS[n % 90],)) for n in range(10_500)]
    model, planner = Model(rows), plan(1)

    def publish(page: Page) -> None:
        if model.asked == 1:
            model.add(Row("26-99999", MONDAY, None))

    assert len(harvest(planner, model, before=publish).idwebs) == 10_501
    assert planner.status == "complete"


def test_shares_are_disjoint_and_together_everything() -> None:
    model = Model(some_rows(3_000, 60))
    parts = []
    for number in range(1, 4):
        planner = plan(60, shard=(number, 3))
        parts.append(harvest(planner, model).idwebs)
        assert planner.status == "complete"
    assert sum(map(len, parts)) == 3_000
    assert set().union(*parts) == {row.idweb for row in model.rows}


@pytest.mark.parametrize(
    "query",
    [NoticeQuery(), NoticeQuery(date_start=MONDAY), NoticeQuery(None, MONDAY)]
    + [NoticeQuery(date_start=MONDAY, date_end=MONDAY - DAY)],
)
def test_a_query_without_days_is_refused(query: NoticeQuery) -> None:
    with pytest.raises(ValueError, match="not a range of days"):
        Planner(query, today=TODAY)


@st.composite
def services(draw: st.DrawFn) -> list[Row]:
    codes = st.sampled_from(["01", "1", "2A", "69", "75", "971", "99", "x"])
    entry = st.tuples(
        st.integers(0, 20),
        st.none() | st.lists(codes, max_size=3).map(tuple),
        st.none() | st.sampled_from([*FAMILLES, "NEW"]),
        st.integers(1, 25),
    )
    rows = []
    for day, departements, famille, count in draw(st.lists(entry, max_size=12)):
        for _ in range(count):
            rows.append(Row(f"26-{len(rows)}", MONDAY + day * DAY, departements, famille))
    return rows


@pytest.fixture(scope="module")
def small() -> Iterable[None]:
    """A service with small pages, so that few rows split windows in every way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAGE", 5)
        patch.setattr(module, "MAX_ROWS", 20)
        patch.setattr(module, "TARGET", 10)
        yield


@given(rows=services(), room=st.integers(1, 6), seed=st.randoms(use_true_random=False))
@settings(max_examples=60)
@pytest.mark.usefixtures("small")
def test_whatever_is_published_all_is_found_or_named(
    rows: list[Row], room: int, seed: random.Random
) -> None:
    model, planner = Model(rows), plan(21)
    found = harvest(planner, model, room=room, order=seed)
    everything = {row.idweb for row in rows}
    cut = [u for u in planner.judgement() if u.total]
    if cut:
        # Only a department and famille of one day with more rows than pages reach is cut.
        assert all("of which pages reach 20" in u.why for u in cut)
        assert len(everything - found.idwebs) <= sum(u.total - u.rows for u in cut)
    else:
        assert found.idwebs == everything
    assert planner.days_done == planner.days_asked == 21


@given(
    rows=services(),
    most=st.integers(0, 60),
    seed=st.randoms(use_true_random=False),
)
@settings(max_examples=60)
@pytest.mark.usefixtures("small")
def test_a_harvest_goes_on_where_it_was_stopped(
    rows: list[Row], most: int, seed: random.Random
) -> None:
    model = Model(rows)
    undisturbed = plan(21)
    harvest(undisturbed, model)
    first = plan(21)
    begun = harvest(first, model, most=most, order=seed)
    asked = model.asked
    second = plan(21, known=begun.closed)
    rest = harvest(second, model, order=seed)
    again = [page for page in rest.closed if page in begun.closed]
    assert again == []
    known = set().union(*(each.idwebs for each in begun.closed)) | rest.idwebs
    if undisturbed.status == "complete":
        assert second.status == "complete"
        assert known == {row.idweb for row in rows}
    else:
        assert second.status == "incomplete"
    if not begun.closed:
        assert model.asked - asked >= 1


@given(
    rows=services(),
    seed=st.randoms(use_true_random=False),
    rate=st.floats(0, 0.5),
    grows=st.booleans(),
)
@settings(max_examples=60)
@pytest.mark.usefixtures("small")
def test_never_complete_with_a_gap(
    rows: list[Row], seed: random.Random, rate: float, grows: bool
) -> None:
    """Rows come, or go, and pages fail at random: what is called complete is complete."""
    model, planner = Model(rows), plan(21)
    spare = some_rows(40, 21, first=90_000)

    def change(page: Page) -> None:
        if seed.random() < rate / 2:
            if grows and spare:
                model.add(spare.pop())
            elif model.rows and not grows:
                model.withdraw(seed.randrange(len(model.rows)))

    standing = {row.idweb for row in rows}
    found = harvest(
        planner,
        model,
        order=seed,
        before=change,
        fails=lambda _: seed.random() < rate / 10,
    )
    standing &= {row.idweb for row in model.rows}
    if planner.status == "complete":
        # Those that were there from the first to the last moment.
        assert standing <= found.idwebs
    for window, idwebs in found.closed:
        there = {row.idweb for row in rows if matches(window, row)}
        assert standing & there <= idwebs
