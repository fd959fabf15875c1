"""Search requests against the offline optimum of somebody who knows all rows (c)."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

from bench.timing import ROOT, Comparison
from dume_spider.dume.planner import Planner
from dume_spider.dume.query import SearchQuery

#: (name, first day, last day, rows a weekday, noise, one day of so many, times the optimum)
PERIODS = (
    ("a month, 60 a weekday", (2024, 3, 1), (2024, 3, 31), 60, 0.2, None, "1.45"),
    ("a month, 250 a weekday, one day of 1,500", (2024, 3, 1), (2024, 3, 31), 250, 0.2, 1500, ""),
    ("a year, 20 a weekday", (2024, 1, 1), (2024, 12, 31), 20, 0.2, None, "1.3"),
    ("a year, 60 a weekday", (2024, 1, 1), (2024, 12, 31), 60, 0.2, None, "1.2"),
    ("a bursty year, 60 a weekday", (2024, 1, 1), (2024, 12, 31), 60, 0.5, None, ""),
    ("a year, 250 a weekday", (2024, 1, 1), (2024, 12, 31), 250, 0.2, None, "2.2"),
)
HEAVY_DAY = date(2024, 3, 13)


def comparisons(folder: Path, scale: float) -> list[Comparison]:
    """c: requests, each repetition with another seed; ``scale`` leaves long ones out."""
    sys.path.insert(0, str(ROOT / "tests" / "dume"))
    import planner_model as model

    made = []
    for name, first, last, per_weekday, noise, burst, limit in PERIODS:
        query = SearchQuery(date(*first), date(*last))
        days = (query.date_end - query.date_start).days + 1
        if made and scale < 1 and days * per_weekday > 30_000 * scale:
            continue
        made.append(_period(model, name, query, per_weekday, noise, burst, limit))
    return made


def _period(model, name, query, per_weekday, noise, burst, limit) -> Comparison:
    seeds = {"optimum": iter(range(100)), "dume_spider": iter(range(100))}

    def rows(side: str) -> list:
        return model.real_life(
            query.date_start,
            query.date_end,
            per_weekday,
            noise=noise,
            seed=next(seeds[side]),
            heavy={HEAVY_DAY: burst} if burst else None,
        )

    def ours() -> float:
        planner = Planner(query, today=date(2026, 1, 1))
        model.harvest(planner, model.Service(rows("dume_spider")).answer, room=8)
        return len(planner.windows)

    return Comparison(
        f"c ({name})",
        f"Search requests of {name}",
        "requests",
        {"optimum": lambda: model.optimum(rows("optimum")), "dume_spider": ours},
        base="optimum",
        goal=limit and f"at most {limit} times the optimum",
    )
