"""The planner against a model of the service: everything is collected, or it is named."""

from __future__ import annotations

import importlib.util
import random
import sys
from datetime import date, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dume_spider.decp.regime import ContractType
from dume_spider.dume.planner import (
    Planner,
    RowFacts,
)
from dume_spider.dume.query import SearchQuery

# A neighbour of this file: test folders are no packages.
_spec = importlib.util.spec_from_file_location(
    "planner_model", Path(__file__).with_name("planner_model.py")
)
model = sys.modules["planner_model"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(model)
Row, Service, harvest = model.Row, model.Service, model.harvest

MP, CC = ContractType.MARCHE, ContractType.CONCESSION
TODAY = date(2026, 1, 15)
DAY = date(2024, 3, 13)
MARCH = SearchQuery(date(2024, 3, 1), date(2024, 3, 31))
YEAR = SearchQuery(date(2024, 1, 1), date(2024, 12, 31))

# One request at a time; eight, answered in order; eight, answered in any order.
MANNERS = [(1, None), (8, None), (8, 3)]


def some(count: int, day: date = DAY, start: int = 0, **facts) -> list:
    """Rows of one day that differ in nothing but their key and, where not given, their labels."""
    facts = {
        "type_de": MP,
        "procedure": "Procédure adaptée",
        "nature": "Marché",
        "cpv_code": "45000000",
        "acheteur_id": "20000000000011",
        "titulaire_ids": ("30000000000013",),
    } | facts
    return [Row(day, RowFacts(f"r{n}:0", f"r{n}", **facts)) for n in range(start, start + count)]


def run(rows: list, query: SearchQuery = MARCH, cap: int = 100, **how) -> tuple[Planner, dict]:
    planner = Planner(query, today=TODAY, cap=cap)
    return planner, harvest(planner, Service(rows, cap).answer, **how)


def named(planner: Planner) -> list[tuple[dict[str, str], str, str]]:
    return [(u.window.filters(), u.state, u.why) for u in planner.unproven]


# Any distribution, any cap, any order.


def labels(*known: str):
    return st.sampled_from([None, *known])


@st.composite
def served(draw) -> list:
    """Rows over a few days: few labels, so that cells overflow; nulls, unlisted labels."""
    days = draw(st.integers(1, 12))
    day = st.integers(0, days - 1).map(lambda number: DAY + timedelta(number))
    facts = st.tuples(
        st.sampled_from([MP, MP, MP, CC]),
        labels("Procédure adaptée", "Appel d'offres ouvert", "Procédure négociée ouverte", "Autre"),
        labels("Marché", "Accord-cadre", "Concession de travaux", "Inconnue"),
        labels("45000000", "33141000", "50112000", "66510000", "1"),
        labels("A", "B", "C", "D"),
        st.sampled_from([(), ("W",), ("X",), ("Y", "Z"), ("W", "Z")]),
    )
    spread = draw(st.sampled_from([0, 1, 5]))
    found = draw(st.lists(st.tuples(day, facts), max_size=60))
    rows = [Row(d, RowFacts(f"r{n}:0", f"r{n}", *f)) for n, (d, f) in enumerate(found)]
    if spread and rows:
        # A heavy day of rows that differ, as a day of real life has.
        heavy = draw(st.integers(0, 40))
        rows += some(heavy, rows[0].day, start=1000, cpv_code="45000000", acheteur_id=None)
        rows += [
            Row(
                DAY, RowFacts(f"s{n}:0", f"s{n}", MP, None, "Marché", str(n % (7 * spread)), str(n))
            )
            for n in range(heavy)
        ]
    return rows


queries = st.one_of(
    st.builds(
        SearchQuery,
        date_start=st.sampled_from([None, DAY, DAY + timedelta(3)]),
        date_end=st.sampled_from([None, DAY + timedelta(4), DAY + timedelta(12)]),
        type_de=st.sampled_from([None, None, MP]),
        procedure=st.sampled_from([None, None, None, "Procédure adaptée"]),
        nature=st.sampled_from([None, None, None, "Marché"]),
        acheteur_id=st.sampled_from([None, None, None, "A"]),
    ),
    st.just(SearchQuery()),
)
orders = st.tuples(st.integers(1, 9), st.one_of(st.none(), st.integers(0, 99)))


def check_promise(planner: Planner, rows: list, query: SearchQuery, got: dict) -> None:
    """Every row of the query is collected, or a window that hides it is named."""
    wanted = [row for row in rows if model.matches(row, query)]
    missing = [row for row in wanted if row.facts.key not in got]
    assert set(got) <= {row.facts.key for row in wanted}
    unproven = planner.unproven
    for row in missing:
        assert any(model.matches(row, u.window) for u in unproven), row
    states = {u.state for u in unproven}
    assert planner.status == (
        "incomplete"
        if "incomplete" in states or not planner.done
        else "probable"
        if states
        else "complete"
    )
    if missing:
        assert planner.status != "complete"


@given(served(), queries, st.integers(1, 40), orders, st.integers(0, 9))
@settings(max_examples=250, deadline=None)
def test_every_row_is_collected_or_its_window_is_named(rows, query, cap, order, seed):
    random.Random(seed).shuffle(rows)
    room, shuffled = order
    rng = None if shuffled is None else random.Random(shuffled)
    planner, got = run(rows, query, cap, room=room, rng=rng)
    assert planner.done
    check_promise(planner, rows, query, got)
    # Closed windows alone never leave a doubt.
    if "full" not in planner.windows.values():
        assert planner.status == "complete"


@given(served(), st.integers(1, 40), orders, st.integers(0, 60), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_an_interrupted_run_is_resumed_from_any_part_of_its_answers(rows, cap, order, stop, seed):
    rng = random.Random(seed)
    rng.shuffle(rows)
    service = Service(rows, cap)
    query = SearchQuery(DAY, DAY + timedelta(12))
    first = Planner(query, today=TODAY, cap=cap)
    done = []

    def answer(window):
        done.append((window, service.answer(window)))
        return done[-1][1]

    got = harvest(first, answer, room=order[0], limit=stop)
    if not first.done:
        assert first.status == "incomplete"
        check_promise(first, rows, query, got)
    kept = rng.sample(done, rng.randint(0, len(done)))
    second = Planner(query, today=TODAY, cap=cap)
    collected = {}
    for window, facts in kept:
        second.answered(window, facts)
        collected.update((row.key, row) for row in facts)
    again = []

    def answer_again(window):
        again.append(window)
        return service.answer(window)

    collected |= harvest(second, answer_again, room=order[0])
    assert not set(again) & {window for window, _ in kept}
    check_promise(second, rows, query, collected)
