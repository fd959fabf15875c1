"""For the planner's tests: a model of the service, rows like real life, the offline optimum."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from itertools import groupby, islice
from typing import NamedTuple

from dume_spider.decp.regime import ContractType
from dume_spider.dume.planner import FIELDS, Planner, RowFacts
from dume_spider.dume.query import SearchQuery

MP, CC = ContractType.MARCHE, ContractType.CONCESSION


class Row(NamedTuple):
    """A row of the model and the day under which it is served."""

    day: date
    facts: RowFacts


def matches(row: Row, window: SearchQuery) -> bool:
    """Whether a row belongs to a window: dates included on both sides, labels exact."""
    return (
        (window.date_start is None or window.date_start <= row.day)
        and (window.date_end is None or row.day <= window.date_end)
        and (window.type_de is None or row.facts.type_de == window.type_de)
        and (window.reference is None or row.facts.reference == window.reference)
        and all(
            (label := getattr(window, field)) is None or label in row.facts.values(field)
            for field in FIELDS
        )
    )


class Service:
    """Answers windows as the DUME service does: exact filters, silently cut at the cap.

    Rows come by day, within a day in the order given.
    """

    def __init__(self, rows: Iterable[Row], cap: int = 100):
        self.cap = cap
        self.requests = 0
        self.rows = sorted(rows, key=lambda row: row.day)
        self.index: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in self.rows:
            for field in ("type_de", *FIELDS):
                for label in row.facts.values(field):
                    self.index[field, label].append(row)

    def answer(self, window: SearchQuery) -> list[RowFacts]:
        self.requests += 1
        rows = min(
            (
                self.index[field, label]
                for field in ("type_de", *FIELDS)
                if (label := getattr(window, field)) is not None
            ),
            key=len,
            default=self.rows,
        )
        start = bisect_left(rows, window.date_start or date.min, key=lambda row: row.day)
        end = bisect_right(rows, window.date_end or date.max, key=lambda row: row.day)
        found = (rows[i].facts for i in range(start, end) if matches(rows[i], window))
        return list(islice(found, self.cap))


def harvest(
    planner: Planner,
    answer: Callable[[SearchQuery], Sequence[RowFacts]],
    *,
    room: int = 1,
    rng: random.Random | None = None,
    limit: int = 10**9,
) -> dict[str, RowFacts]:
    """Drive a planner to its end with ``room`` requests in flight.

    Answers come in the order of the requests, or in any order with ``rng``. An answer that
    is an exception is a failure. Returns the rows collected by key. No more than ``limit``
    windows are answered.
    """
    flying: list[SearchQuery] = []
    collected: dict[str, RowFacts] = {}
    asked = set()
    for _ in range(limit):
        for window in planner.next(room - len(flying)):
            assert window not in asked, f"asked twice: {window.filters()}"
            asked.add(window)
            flying.append(window)
        if not flying:
            assert planner.done, "nothing to ask, nothing on its way, yet not done"
            break
        window = flying.pop(rng.randrange(len(flying)) if rng else 0)
        try:
            rows = answer(window)
        except OSError as error:
            planner.failed(window, str(error))
            continue
        collected.update((row.key, row) for row in rows)
        planner.answered(window, rows)
    return collected


PROCEDURES = {
    "Procédure adaptée": 0.63,
    "Appel d'offres ouvert": 0.32,
    "Marché passé sans publicité ni mise en concurrence préalable": 0.03,
    "Procédure avec négociation": 0.012,
    "Appel d'offres restreint": 0.006,
    "Dialogue compétitif": 0.002,
}
CONCESSION_PROCEDURES = {
    "Procédure négociée ouverte": 0.6,
    "Procédure non négociée ouverte": 0.3,
    "Procédure négociée restreinte": 0.1,
}
#: As in the real files of 2019, and as in the format of 2022, where one label prevails.
NATURES_2019 = {"Marché": 0.6, "Accord-cadre": 0.3, "Marché subséquent": 0.1}
NATURES_2022 = {
    "Marché": 0.97,
    "Marché de partenariat": 0.02,
    "Marché de défense ou de sécurité": 0.01,
}
CONCESSION_NATURES = {
    "Concession de service": 0.6,
    "Délégation de service public": 0.3,
    "Concession de travaux": 0.1,
}


def real_life(
    first: date,
    last: date,
    per_weekday: float,
    *,
    seed: int = 0,
    noise: float = 0.2,
    natures: dict[str, float] = NATURES_2019,
    buyers: int = 600,
    heavy: dict[date, int] | None = None,
    null: float = 0.0,
) -> list[Row]:
    """Rows as the service is likely to have them.

    As many distinct CPV codes and buyers in so many rows as the real files of 2019 have
    (3,000 rows: 790 codes, 390 to 480 buyers), but independent of each other and of the
    rest, which is harder than real life. The days vary by ``noise`` (standard deviation
    over mean), week-ends have 2 %; 6 % are concessions; CPV codes, buyers and winners
    follow Zipf's law. ``heavy`` gives days their own number of rows; ``null`` is the share
    of rows without a procedure.
    """
    rng = random.Random(seed)

    def zipf(count: int, start: float) -> Callable[[], int]:
        weights = [1 / (rank + start) for rank in range(1, count + 1)]
        total, cumulated = 0.0, []
        for weight in weights:
            cumulated.append(total := total + weight)
        return lambda: rng.choices(range(count), cum_weights=cumulated)[0]

    def pick(labels: dict[str, float]) -> str:
        return rng.choices(list(labels), list(labels.values()))[0]

    cpv, buyer, winner = zipf(2000, 3), zipf(buyers, 20), zipf(20000, 20)
    rows: list[Row] = []
    day = first
    while day <= last:
        mean = per_weekday * (1.0 if day.weekday() < 5 else 0.02)
        count = max(0, round(rng.gauss(mean, noise * mean)))
        for _ in range((heavy or {}).get(day, count)):
            concession = rng.random() < 0.06
            number = len(rows)
            facts = RowFacts(
                f"AIFEDUME-{number:08d}:0",
                f"AIFEDUME-{number:08d}",
                CC if concession else MP,
                pick(CONCESSION_PROCEDURES if concession else PROCEDURES),
                pick(CONCESSION_NATURES if concession else natures),
                f"{10000000 + 37 * cpv()}",
                f"{20000000000000 + 11 * buyer()}",
                (f"{30000000000000 + 13 * winner()}",),
            )
            if rng.random() < null:
                facts = facts._replace(procedure=None)
            rows.append(Row(day, facts))
        day += timedelta(1)
    # The service's order within a day is unknown: not the order of anything.
    rng.shuffle(rows)
    return rows


def optimum(rows: Iterable[Row], cap: int = 100) -> int:
    """The requests that somebody who knows all rows would send.

    Consecutive days are packed greedily into windows under the cap; a day that does not
    fit is split by type, then by the enumeration with the fewest cells.
    """
    by_day = defaultdict(list)
    for row in rows:
        by_day[row.day].append(row.facts)
    requests, open_window = 0, None
    for day in sorted(by_day):
        if len(by_day[day]) >= cap:
            open_window = None
            for type_de in ContractType:
                cell = [facts for facts in by_day[day] if facts.type_de == type_de]
                requests += _cells(cell, FIELDS[:4], cap) if cell else 0
        elif open_window is not None and open_window + len(by_day[day]) < cap:
            open_window += len(by_day[day])
        else:
            requests += 1
            open_window = len(by_day[day])
    return requests


def _cells(rows: list[RowFacts], fields: tuple[str, ...], cap: int) -> int:
    if len(rows) < cap or not fields:
        return 1
    best = []
    for field in fields:
        rest = tuple(other for other in fields if other != field)

        def label(facts: RowFacts, field: str = field) -> str:
            return next(iter(facts.values(field)), "")

        best.append(
            sum(
                _cells(list(cell), rest, cap)
                for key, cell in groupby(sorted(rows, key=label), label)
                if key
            )
        )
    return min(best)


def depth(window: SearchQuery) -> str:
    """The kind of a window, for counts: the names of its filters."""
    return "+".join(name for name in window.filters() if not name.startswith("date")) or "dates"


def kinds(planner: Planner) -> Counter[str]:
    """How many windows of each kind were asked, with what became of them."""
    return Counter(f"{depth(window)} {state}" for window, state in planner.windows.items())
