"""The planner against a model of the service: everything is collected, or it is named."""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
import sys
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dume_spider.decp.regime import ContractType
from dume_spider.dume.planner import FIELDS, Planner, RowFacts, estimate_missing, listed_labels
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


def test_days_that_are_not_over_are_probable() -> None:
    query = SearchQuery(TODAY - timedelta(2), TODAY + timedelta(2))
    planner, got = run(some(3, TODAY), query)
    why = "its days are not over: more may be published"
    window = {"date_start": "2026-01-15", "date_end": "2026-01-17"}
    assert named(planner) == [(window, "probable", why)]
    assert (planner.status, len(got), planner.unproven[0].rows) == ("probable", 3, 3)
    before, _ = run(some(3, TODAY), replace(query, date_end=TODAY - timedelta(1)))
    assert before.status == "complete"
    # An end that nobody has named is none that may be missed.
    assert run(some(3, TODAY), SearchQuery(reference="r1"))[0].status == "complete"
    shares = [Planner(query, today=TODAY, shard=(number, 5)) for number in range(1, 6)]
    for share in shares:
        harvest(share, Service([], 100).answer)
    days = [day for share in shares for window, _, _ in named(share) for day in window.values()]
    assert sorted({*days}) == ["2026-01-15", "2026-01-16", "2026-01-17"]


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
@settings(max_examples=50)
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
@settings(max_examples=30)
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


# Requests against the offline optimum.


def requests(rows: list, query: SearchQuery, room: int, shuffled: int | None) -> int:
    rng = None if shuffled is None else random.Random(shuffled)
    planner, got = run(rows, query, room=room, rng=rng)
    assert len(got) == len(rows)
    assert planner.status in ("complete", "probable")
    return len(planner.windows)


@pytest.mark.parametrize(("room", "shuffled"), MANNERS)
@pytest.mark.parametrize(
    ("query", "per_weekday", "noise", "seed", "best", "limit"),
    [
        (MARCH, 60, 0.2, 5, 18, 1.45),
        (MARCH, 60, 0.25, 1, 19, 1.45),
        (YEAR, 60, 0.2, 0, 243, 1.2),
        (YEAR, 60, 0.25, 5, 229, 1.2),
        (YEAR, 20, 0.2, 2, 59, 1.3),
    ],
)
def test_requests_of_days_under_the_cap(
    query, per_weekday, noise, seed, best, limit, room, shuffled
):
    rows = model.real_life(query.date_start, query.date_end, per_weekday, noise=noise, seed=seed)
    assert model.optimum(rows) == best
    assert requests(rows, query, room, shuffled) <= limit * best


@pytest.fixture(scope="module")
def heavy_years() -> dict[str, tuple[list, int]]:
    """A year at 250 rows a weekday, where the heaviest cells have to be split by CPV codes and
    buyers, and one where procedures and natures are enough; each with its optimum."""
    even = {"Marché": 0.45, "Accord-cadre": 0.35, "Marché subséquent": 0.2}
    years = {}
    for name, natures, noise in (("real", model.NATURES_2019, 0.2), ("even", even, 0.1)):
        rows = model.real_life(
            YEAR.date_start, YEAR.date_end, 250, natures=natures, noise=noise, buyers=2000
        )
        years[name] = rows, model.optimum(rows)
    return years


@pytest.mark.slow
@pytest.mark.parametrize(("name", "room", "shuffled"), [("real", 8, 3), ("even", 1, None)])
def test_requests_of_a_heavy_year(heavy_years, name, room, shuffled):
    rows, best = heavy_years[name]
    assert requests(rows, YEAR, room, shuffled) <= 2.2 * best


@pytest.mark.parametrize(("room", "shuffled"), MANNERS)
@pytest.mark.slow
@pytest.mark.parametrize("natures", [model.NATURES_2019, model.NATURES_2022])
def test_a_heavy_month_with_a_very_heavy_day(natures, room, shuffled):
    """With a buyer per 20 records, as the sandbox has; rows under labels that no other row of
    the month tells cannot be found, whoever asks."""
    rows = model.real_life(
        MARCH.date_start, MARCH.date_end, 250, heavy={DAY: 1500}, natures=natures, buyers=330
    )
    rng = None if shuffled is None else random.Random(shuffled)
    planner, got = run(rows, room=room, rng=rng)
    assert len(got) == len(rows)
    assert {state for _, state, _ in named(planner)} == {"probable"}


def test_a_day_that_is_asked_again_and_again_costs_a_few_requests():
    """The daily harvest: a light day, a heavy one, one whose cells need nothing but lists."""
    counts = {}
    for count in (90, 110, 152, 250):
        rows = model.real_life(DAY, DAY, count, heavy={DAY: count})
        planner, got = run(rows, SearchQuery(DAY, DAY))
        assert len(got) == len(rows)
        counts[count] = len(planner.windows), planner.status
    assert counts == {
        90: (2, "complete"),  # of which one shows that nothing was cut
        110: (14, "probable"),
        152: (14, "probable"),
        250: (20, "probable"),
    }


# A cap that is lower than it was.


@pytest.mark.parametrize(("room", "shuffled"), MANNERS)
@pytest.mark.parametrize(
    ("query", "per_weekday"),
    [
        *((SearchQuery(DAY, DAY), 60), (MARCH, 5), (MARCH, 20), (MARCH, 60), (YEAR, 5), (YEAR, 20)),
        (replace(MARCH, acheteur_id="20000000000011"), 5),
    ],
)
def test_a_service_that_cuts_earlier_is_found_out(query, per_weekday, room, shuffled):
    rows = model.real_life(query.date_start, query.date_end, per_weekday)
    if query.acheteur_id:
        rows = [
            row._replace(facts=row.facts._replace(acheteur_id=query.acheteur_id)) for row in rows
        ]
    assert len(rows) > 50
    rng = None if shuffled is None else random.Random(shuffled)
    planner = Planner(query, today=TODAY)
    got = harvest(planner, Service(rows, 50).answer, room=room, rng=rng)
    assert planner.cap == 50
    assert len(got) == len(rows)
    assert planner.status in ("complete", "probable")


@given(served(), queries, st.integers(10, 30), st.integers(1, 30), orders)
@settings(max_examples=50)
def test_a_lower_cap_is_that_of_the_service_and_keeps_the_promise(rows, query, cap, more, order):
    room, shuffled = order
    rng = None if shuffled is None else random.Random(shuffled)
    planner = Planner(query, today=TODAY, cap=cap + more)
    got = harvest(planner, Service(rows, cap).answer, room=room, rng=rng)
    assert planner.done
    assert planner.cap in (cap, cap + more)
    if planner.cap == cap or len(got) == len(rows):
        check_promise(planner, rows, query, got)


@pytest.mark.parametrize("stop", [1, 17, 18, 19, 20, 60])
def test_a_lower_cap_is_found_out_in_a_run_that_is_resumed(stop):
    rows = model.real_life(YEAR.date_start, YEAR.date_end, 5)
    service, answers = Service(rows, 50), {}

    def answer(window):
        assert window not in answers
        answers[window] = service.answer(window)
        return answers[window]

    first, second = Planner(YEAR, today=TODAY), Planner(YEAR, today=TODAY)
    harvest(first, answer, limit=stop)
    assert (first.status == "incomplete") == bool(first.unproven) == (not first.done)
    for window, facts in answers.items():
        second.answered(window, facts)
    harvest(second, answer)
    assert (second.cap, second.status) == (50, "complete")
    assert {row.key for facts in answers.values() for row in facts} == {
        row.facts.key for row in rows
    }


def test_what_shows_whether_answers_are_cut():
    """One search, where there is a doubt and a label that tells; if it fails, it is named."""
    day = SearchQuery(DAY, DAY)
    natures = some(8) + some(4, start=8, nature="Accord-cadre")
    for rows in (some(12), natures[:9]):
        planner, got = run(rows, day)
        assert (planner.status, len(got), len(planner.windows)) == ("complete", len(rows), 1)
    planner = Planner(day, today=TODAY)
    planner.answered(day, [row.facts for row in natures])
    (sample,) = planner.next(8)
    assert sample == replace(day, nature="Marché")
    asked = {"date_start": "2024-03-13", "date_end": "2024-03-13"}
    why = "the run ended before it was known whether an answer was cut"
    assert named(planner) == [(asked, "incomplete", why)]
    planner.failed(sample, "HTTP 500")
    assert planner.next(8) == []
    why = "no answer: HTTP 500"
    assert planner.done
    assert named(planner) == [(asked | {"nature": "Marché"}, "incomplete", why)]


def test_real_records(shared: Path):
    """A platform's real file: up to 152 records a day, 112 in one (day, procedure, nature)."""
    path = shared / "data" / "real-marches-publics.info-2019.json.gz"
    rows = []
    for number, record in enumerate(json.loads(gzip.decompress(path.read_bytes()))["marches"]):
        concession = record["_type"] != "Marché"
        facts = RowFacts(
            f"r{number}:0",
            f"r{number}",
            CC if concession else MP,
            record.get("procedure"),
            record.get("nature"),
            record.get("codeCPV"),
            (record.get("acheteur") or record.get("autoriteConcedante") or {}).get("id"),
            tuple(holder["id"] for holder in record.get("titulaires") or () if holder.get("id")),
        )
        rows.append(Row(date.fromisoformat(record["datePublicationDonnees"][:10]), facts))
    query = SearchQuery(min(row.day for row in rows), max(row.day for row in rows))
    planner, got = run(rows, query, room=8)
    assert len(got) == len(rows) == 4509
    assert planner.status == "probable"
    assert len(planner.windows) < 1000


# What is proven, and what is named.


def test_nothing_served():
    planner, got = run([], room=8)
    assert (got, planner.status, planner.unproven) == ({}, "complete", [])
    assert set(planner.windows.values()) == {"closed"}


def test_before_it_is_done_it_is_incomplete_and_names_what_is_left():
    planner = Planner(MARCH, today=TODAY)
    assert (planner.done, planner.status) == (False, "incomplete")
    march = {"date_start": "2024-03-01", "date_end": "2024-03-31"}
    assert named(planner) == [(march, "incomplete", "the run ended before it was asked")]
    (window,) = planner.next(8)
    assert planner.next(7) == []  # the density of the first answer decides the next windows
    assert named(planner) == [(march, "incomplete", "the run ended before it was asked")]
    planner.answered(window, [])
    (left,) = planner.unproven
    assert left.window.date_start == window.date_end + timedelta(1)


def test_days_done_for_a_display():
    planner = Planner(MARCH, today=TODAY)
    assert planner.days_done() == (0, 31)
    done = 0
    while windows := planner.next(8):
        for window in windows:
            planner.answered(window, [])
            # Nothing is split: these are the very days that are answered.
            done += (window.date_end - window.date_start).days + 1
            assert planner.days_done() == (done, 31)
    assert planner.days_done() == (31, 31)


def test_days_done_of_days_that_are_split():
    planner = Planner(MARCH, today=TODAY)
    service = Service(model.real_life(MARCH.date_start, MARCH.date_end, 300), 100)
    seen = []
    while windows := planner.next(4):
        for window in windows:
            planner.answered(window, service.answer(window))
            seen.append(planner.days_done())
    assert {asked for _, asked in seen} == {31}
    assert all(0 <= done <= 31 for done, _ in seen)
    assert len({done for done, _ in seen}) > 10
    assert planner.days_done() == (31, 31)


def test_a_failed_window_is_named_and_the_rest_collected():
    rows = model.real_life(MARCH.date_start, MARCH.date_end, 60)
    service = Service(rows)
    asked = []

    def answer(window):
        asked.append(window)
        if len(asked) == 5:
            raise OSError("HTTP status 503")
        return service.answer(window)

    planner = Planner(MARCH, today=TODAY)
    got = harvest(planner, answer, room=8)
    assert named(planner) == [(asked[4].filters(), "incomplete", "no answer: HTTP status 503")]
    assert planner.windows[asked[4]] == "failed"
    assert len(got) + sum(model.matches(row, asked[4]) for row in rows) == len(rows)
    check_promise(planner, rows, MARCH, got)


def test_a_row_without_nature_is_a_stranger():
    """On a day that natures enumerate; procedures show it."""
    rows = some(90, procedure="Procédure adaptée", nature="Marché")
    rows += some(60, start=90, procedure="Appel d'offres ouvert", nature="Accord-cadre")
    rows += some(1, start=150, procedure="Appel d'offres ouvert", nature=None)
    planner, got = run(rows, SearchQuery(DAY, DAY))
    assert len(got) == 151
    (found,) = planner.unproven
    assert found.as_dict() == {
        "filters": {"date_start": "2024-03-13", "date_end": "2024-03-13", "type_de": "MP"},
        "state": "incomplete",
        "why": "1 rows that other answers showed, such as r150, are in no part of the split by "
        "nature",
        "rows": 151,
        "missing_estimate": {"missing": 0.0, "low": 0.0, "high": 4.7},
    }


def test_an_unlisted_label_that_a_row_tells_is_asked():
    others = {"cpv_code": None, "acheteur_id": None, "titulaire_ids": ()}
    rows = some(60, procedure="Procédure adaptée", nature="Marché", **others)
    rows += some(60, start=60, procedure="Procédure maison", nature="Accord-cadre", **others)
    planner, got = run(rows, SearchQuery(DAY, DAY))
    assert len(got) == 120
    assert [(state, why) for _, state, why in named(planner)] == [
        (
            "probable",
            "full days, enumerated by nature; the cross-check by procedure saw 120 of the 120 "
            "rows again and no other",
        )
    ]


def test_rows_that_no_filter_tells_apart_are_named():
    planner, got = run(some(130), SearchQuery(DAY, DAY))
    assert len(got) == 100
    window = {
        "date_start": "2024-03-13",
        "date_end": "2024-03-13",
        "type_de": "MP",
        "procedure": "Procédure adaptée",
        "nature": "Marché",
        "cpv_code": "45000000",
        "acheteur_id": "20000000000011",
        "titulaire_id": "30000000000013",
    }
    assert (window, "incomplete", "still full, and no filter is left to split it by") in named(
        planner
    )


@pytest.mark.parametrize(
    ("per_weekday", "null"),
    [(110, 0.02), (250, 0.0005), (250, 0.04)],
)
def test_real_life_with_rows_without_procedure_keeps_the_promise(per_weekday, null):
    rows = model.real_life(MARCH.date_start, MARCH.date_end, per_weekday, null=null)
    planner, got = run(rows, room=8)
    check_promise(planner, rows, MARCH, got)
    assert len(got) > 0.99 * len(rows)


def test_the_estimate_of_what_is_missing_is_near_the_truth():
    """Days whose rows have more labels than rows seen: what stays hidden is estimated."""
    missing, estimated, inside = 0, 0.0, 0
    for seed in range(6):
        rows = model.real_life(
            DAY, DAY, 400, heavy={DAY: 400}, seed=seed, natures=model.NATURES_2022
        )
        planner, got = run(rows, SearchQuery(DAY, DAY))
        hidden = len(rows) - len(got)
        (found,) = planner.unproven
        assert found.state == "incomplete"
        assert found.why.endswith("and no other, but unknown labels are likely")
        missing += hidden
        estimated += found.estimate.missing
        inside += found.estimate.low <= hidden <= found.estimate.high
    assert 0.6 * missing < estimated < 1.7 * missing
    assert inside >= 5


@pytest.mark.parametrize(
    ("first", "second", "both", "collected", "expected"),
    [
        (100, 100, 100, 100, (0.0, 0.0, 3.8)),
        (100, 50, 40, 110, (14.6, 2.7, 39.3)),
        (30, 20, 10, 40, (18.2, 2.8, 60.2)),
        (10, 10, 0, 20, None),
        (0, 0, 0, 0, None),
    ],
)
def test_capture_and_recapture(first, second, both, collected, expected):
    estimate = estimate_missing(first, second, both, collected)
    assert (estimate and tuple(round(value, 1) for value in estimate)) == expected


# A service that does not honour its filters.


def ignoring(*fields: str):
    return lambda window: replace(window, **dict.fromkeys(fields))


@pytest.mark.parametrize(
    ("change", "per_weekday", "dishonoured", "most"),
    [
        (ignoring("date_end"), 60, "dates", 40),
        (ignoring("date_end"), 250, "dates", 40),
        (ignoring("date_start"), 60, "dates", 40),
        (ignoring("date_start", "date_end"), 60, "dates", 40),
        (lambda window: SearchQuery(), 250, "dates", 40),
        (ignoring("type_de"), 120, "type_de", 200),
        (ignoring("procedure"), 120, "procedure", 800),
        (ignoring("nature"), 120, "nature", 800),
        (ignoring("type_de", *FIELDS), 250, "procedure", 100),
    ],
)
def test_a_filter_without_effect_is_found_out(change, per_weekday, dishonoured, most):
    rows = model.real_life(MARCH.date_start, MARCH.date_end, per_weekday)
    service = Service(rows)
    planner = Planner(MARCH, today=TODAY)
    got = harvest(planner, lambda window: service.answer(change(window)), room=8, limit=5000)
    why = f"the service does not honour {dishonoured}"
    assert (MARCH.filters(), "incomplete", why) in named(planner)
    assert planner.status == "incomplete"
    assert service.requests <= most
    assert len(got) >= 100


def test_an_end_date_that_is_excluded_is_found_out_by_the_rows_that_do_not_come_back():
    rows = model.real_life(MARCH.date_start, MARCH.date_end, 60)
    service = Service(rows)
    planner = Planner(MARCH, today=TODAY)
    got = harvest(
        planner,
        lambda window: service.answer(replace(window, date_end=window.date_end - timedelta(1))),
    )
    assert len(got) < len(rows)
    assert planner.status == "incomplete"
    assert {why.split("are ")[-1] for _, _, why in named(planner)} == {
        "in no part of the split by date and type_de"
    }


def test_types_that_only_the_question_tells():
    """A row that does not say its type has the type that was asked, and is no contradiction."""
    rows = model.real_life(MARCH.date_start, MARCH.date_end, 150)
    service = Service(rows)
    planner = Planner(MARCH, today=TODAY)
    harvest(
        planner,
        lambda window: [row._replace(type_de=window.type_de) for row in service.answer(window)],
    )
    assert planner.status == "probable"


# Filters, open dates, shards, resumption.


def test_a_query_that_is_likely_to_be_small_is_asked_as_it_is():
    for query in (
        SearchQuery(reference="AIFEDUME-daoxup8c"),
        SearchQuery(internal_id="2024-0001"),
        SearchQuery(date_start=DAY, reference="AIFEDUME-daoxup8c"),
    ):
        assert Planner(query, today=TODAY).next(8) == [query]


@pytest.mark.parametrize("party", ["acheteur_id", "titulaire_id"])
def test_a_buyer_or_winner_without_a_type_is_asked_once_per_type(party):
    query = SearchQuery(DAY, DAY, **{party: "20000000000011"})
    planner = Planner(query, today=TODAY)
    assert set(planner.next(8)) == set(query.typed())
    for window in query.typed():
        planner.answered(window, [])
    assert planner.next(8) == []
    assert (planner.done, planner.status) == (True, "complete")


def test_without_dates_the_windows_cover_all_time():
    rows = model.real_life(date(2023, 12, 20), date(2024, 1, 20), 60)
    rows += some(3, date(1985, 5, 5), 10**6) + some(3, date(2018, 5, 5), 10**6 + 10)
    rows += some(3, date(2040, 1, 1), 10**6 + 20)
    planner, got = run(rows, SearchQuery(), room=8)
    assert len(got) == len(rows)
    assert planner.status == "complete"
    closed = sorted(
        (w.date_start or date.min, w.date_end or date.max)
        for w, state in planner.windows.items()
        if state == "closed"
    )
    assert (closed[0][0], closed[-1][1]) == (date.min, date.max)
    for (_, end), (start, _) in pairwise(closed):
        assert start <= end + timedelta(1)


def test_the_filters_of_the_query_stay_in_every_window():
    rows = model.real_life(MARCH.date_start, MARCH.date_end, 200)
    query = replace(MARCH, type_de=MP, nature="Marché")
    planner, got = run(rows, query, room=8)
    check_promise(planner, rows, query, got)
    assert {(w.type_de, w.nature) for w in planner.windows} == {(MP, "Marché")}


@pytest.mark.parametrize(("query", "shards"), [(MARCH, 4), (YEAR, 8), (SearchQuery(), 3)])
def test_the_shards_are_disjoint_and_together_the_query(query, shards):
    rows = model.real_life(date(2024, 3, 1), date(2024, 3, 31), 100)
    everything = {row.facts.key for row in rows if model.matches(row, query)}
    parts = []
    for number in range(1, shards + 1):
        planner = Planner(query, today=TODAY, shard=(number, shards))
        got = harvest(planner, Service(rows).answer, room=8)
        assert planner.status in ("complete", "probable")
        parts.append(set(got))
    assert set().union(*parts) == everything
    assert sum(map(len, parts)) == len(everything)


@given(st.integers(1, 90), st.integers(1, 6), st.data())
@settings(max_examples=8)
def test_each_window_belongs_to_one_shard_whatever_its_worker_has_learnt(days, shards, data):
    """Each worker meets another service, some are resumed: the windows never overlap."""
    query = SearchQuery(DAY, DAY + timedelta(days - 1))
    owner = {}
    for number in range(1, shards + 1):
        rate, seed = data.draw(st.sampled_from([0, 5, 60, 150])), data.draw(st.integers(0, 9))
        service = Service(model.real_life(DAY, query.date_end, rate, seed=seed), 30)
        planner = Planner(query, today=TODAY, cap=30, shard=(number, shards))
        harvest(planner, service.answer, room=4, limit=data.draw(st.integers(0, 20)))
        again = Planner(query, today=TODAY, cap=30, shard=(number, shards))
        for window, state in planner.windows.items():
            if state != "asked":
                again.answered(window, service.answer(window))
        harvest(again, service.answer, room=2, limit=200)
        for window in (*planner.windows, *again.windows):
            for ordinal in range(window.date_start.toordinal(), window.date_end.toordinal() + 1):
                assert owner.setdefault(ordinal, number) == number, (window.filters(), number)
    assert len(owner) == days


@pytest.mark.parametrize("shard", [(0, 2), (3, 2)])
def test_a_bad_shard_is_refused(shard):
    with pytest.raises(ValueError, match=f"shard {shard[0]}/2 is not between 1 and 2"):
        Planner(MARCH, today=TODAY, shard=shard)


def test_a_query_that_ends_before_it_starts_is_refused():
    with pytest.raises(ValueError, match="ends on 2024-03-12, before it starts on 2024-03-13"):
        Planner(SearchQuery(DAY, DAY - timedelta(1)), today=TODAY)


@pytest.mark.parametrize("per_weekday", [60, 130, pytest.param(250, marks=pytest.mark.slow)])
def test_what_was_answered_before_an_interruption_is_not_asked_again(per_weekday):
    rows = model.real_life(MARCH.date_start, MARCH.date_end, per_weekday)
    whole, _ = run(rows, room=8)
    for stop in (20, 300):
        service = Service(rows)
        first = Planner(MARCH, today=TODAY)
        answers = {}

        def answer(window, answers=answers, service=service):
            answers[window] = service.answer(window)
            return answers[window]

        harvest(first, answer, room=8, limit=stop)
        second = Planner(MARCH, today=TODAY)
        for window, facts in answers.items():
            second.answered(window, facts)
        got = {row.key for facts in answers.values() for row in facts}
        got |= set(harvest(second, answer, room=8))
        assert got == {row.facts.key for row in rows}
        assert second.status == whole.status
        assert service.requests <= 1.2 * len(whole.windows) + 8


def test_a_window_of_another_query_is_refused():
    planner = Planner(MARCH, today=TODAY)
    for window in (YEAR, replace(MARCH, internal_id="1"), replace(MARCH, date_end=None)):
        with pytest.raises(ValueError, match="not a part of the query"):
            planner.answered(window, [])


def test_labels_known_from_earlier_harvests_uncover_rows():
    """Rows that share no label with any row shown are found by labels that the store knows."""
    known = [row.facts for row in model.real_life(date(2024, 2, 1), date(2024, 3, 12), 250)]
    hidden = {}
    for name, told in (("alone", ()), ("with the store", known)):
        hidden[name] = 0
        for seed in (1, 2, 3):
            rows = model.real_life(DAY, DAY, 400, heavy={DAY: 400}, seed=seed)
            planner = Planner(SearchQuery(DAY, DAY), today=TODAY, known=told)
            hidden[name] += len(rows) - len(harvest(planner, Service(rows).answer))
    assert hidden["with the store"] < 0.5 * hidden["alone"]


def test_the_labels_are_those_of_both_regimes():
    assert listed_labels(MP, "procedure") == (
        "Procédure adaptée",
        "Appel d'offres ouvert",
        "Appel d'offres restreint",
        "Procédure avec négociation",
        "Marché passé sans publicité ni mise en concurrence préalable",
        "Dialogue compétitif",
    )
    assert set(listed_labels(MP, "nature")) == {
        "Marché",
        "Marché de partenariat",
        "Marché de défense ou de sécurité",
        "Accord-cadre",
        "Marché subséquent",
    }
    assert set(listed_labels(None, "nature")) == {
        *listed_labels(MP, "nature"),
        *listed_labels(CC, "nature"),
    }
    assert listed_labels(MP, "cpv_code") == ()
