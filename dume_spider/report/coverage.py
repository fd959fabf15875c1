"""Which days the harvests cover, and how far each is proven.

What is judged is what was asked: harvests with the same filters, whatever their dates and
shares, are one *scope*. The ledger has the searches that were answered, the summaries of
the runs what those prove.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple

from dume_spider.dume.planner import NOT_OVER, RowFacts
from dume_spider.report.words import counted
from dume_spider.run import day_in_france
from dume_spider.store.reading import HarvestLine, RunLine, StoreReader, WindowLine

State = Literal["complete", "probable", "incomplete"]

#: A day is as good as the best harvest of it.
_RANK: Mapping[State, int] = {"complete": 3, "probable": 2, "incomplete": 1}
#: No essential data were published before, and the BOAMP's data set begins then: what was
#: asked for earlier is not shown.
FIRST_DAY = date(2015, 1, 1)
#: Why a day is not what its run thought of it, now that it is over.
_TOO_EARLY = "it was asked before the day was over"
#: What decides how a harvest asks, and when, but not for which records.
_NO_FILTERS = {"spider", "url", "detail", "shard", "date_start", "date_end"}


class Verdict(NamedTuple):
    """What is known of a day, why, and the run that knows it."""

    state: State
    why: str
    run: str


class ShownWindow(NamedTuple):
    """A search as a person reads it; ``start`` and ``end`` are days, both included."""

    run: str
    start: date
    end: date
    filters: str
    state: str
    rows: int
    answered: str


@dataclass(slots=True)
class Scope:
    """The days of all harvests that ask a service for the same records."""

    spider: str
    filters: dict[str, str]
    days: dict[date, Verdict] = field(default_factory=dict)
    windows: list[ShownWindow] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What is asked for, in words."""
        return f"{self.spider}: {described(self.filters) or 'all contracts'}"

    def count(self, state: State) -> int:
        """How many days are in a state."""
        return sum(verdict.state == state for verdict in self.days.values())


def described(filters: Mapping[str, str]) -> str:
    """Filters as a person reads them."""
    return ", ".join(f"{name}={value}" for name, value in filters.items())


def read_coverage(
    reader: StoreReader,
    runs: Mapping[str, RunLine],
    *,
    made: datetime,
    since: date | None = None,
    run: str = "",
) -> list[Scope]:
    """The scopes of the harvests of ``runs`` (by name), those asked last first.

    ``made`` is when it is judged: a day that was asked before it was over is ``probable``
    until it is over, ``incomplete`` then. ``since`` is the first day that counts; ``run``:
    what this one run proves.
    """
    today = day_in_france(made)
    scopes: dict[tuple[str, ...], Scope] = {}
    for harvest in reader.harvests(run=run):
        asked = harvest.asked
        if harvest.run not in runs:
            continue
        filters = {name: text for name, text in asked.items() if name not in _NO_FILTERS}
        windows = [w for w in reader.windows(harvest.id) if _has_days(w.filters)]
        found = _judged(reader, harvest, runs[harvest.run], windows, today)
        days = {day: verdict for day, verdict in found if since is None or day >= since}
        if not days:
            continue
        key = (asked["spider"], *(f"{name}={filters[name]}" for name in sorted(filters)))
        scope = scopes.setdefault(key, Scope(asked["spider"], filters))
        scope.runs.append(harvest.run)
        for day, verdict in days.items():
            known = scope.days.get(day)
            if known is None or _RANK[verdict.state] > _RANK[known.state]:
                scope.days[day] = verdict
        scope.windows += _shown(harvest.run, windows, filters, asked, max(days))
    return list(scopes.values())


def _judged(
    reader: StoreReader,
    harvest: HarvestLine,
    run: RunLine,
    windows: Sequence[WindowLine],
    today: date,
) -> Iterator[tuple[date, Verdict]]:
    """The days of a harvest with what it proves of them."""
    asked, summary = harvest.asked, run.summary
    failures = summary.get("failures", [])
    named = [(each["filters"], each["state"], _why(each)) for each in summary.get("unproven", [])]
    named += [
        (each["window"], "incomplete", f"no answer: {each['error']}")
        for each in failures
        if "window" in each
    ]
    lost = {each["reference"]: each["error"] for each in failures if each.get("reference")}
    last = _last_day([w.filters for w in windows] + [filters for filters, _, _ in named], asked)
    if last is None:
        return
    days: dict[date, tuple[State, str]] = {}
    for window in windows:
        for day in _days(window.filters, last):
            days.setdefault(day, ("complete", "every search is answered whole"))
    for window in windows:
        over = day_in_france(datetime.fromisoformat(window.answered))
        for day in _days(window.filters, last, first=over):
            state = "probable" if day >= today else "incomplete"
            days[day] = (state, _TOO_EARLY)
    for filters, state, why in named:
        for day in _days(filters, last):
            # The BOAMP's ledger keeps no search of such a day, so that it is asked again.
            is_over = why == NOT_OVER and day < today
            judged = ("incomplete", _TOO_EARLY) if is_over else (state, why)
            if day not in days or _RANK[judged[0]] < _RANK[days[day][0]]:
                days[day] = judged
    if lost:
        for day in _days_of_lost(reader, harvest, lost, last) or list(days):
            example = next(iter(lost))
            missing = counted(len(lost), "reference")
            why = f"{missing} got no record, such as {example}: {lost[example]}"
            days[day] = ("incomplete", why)
    ended = None
    if run.status is None:
        ended = "the run has not ended; the same command carries it on once it is no longer running"
    elif run.status == "failed":
        ended = "; ".join(["the run failed", *summary.get("errors", [])])
    for day, (state, why) in days.items():
        yield (
            day,
            Verdict("incomplete", ended, run.name) if ended else Verdict(state, why, run.name),
        )


def _why(unproven: Mapping[str, Any]) -> str:
    """Why a window is not proven, and what may be missing from it."""
    why, estimate = unproven["why"], unproven.get("missing_estimate")
    if estimate and estimate["high"]:
        missing, low, high = (f"{estimate[name]:g}" for name in ("missing", "low", "high"))
        why += f"; by estimate {missing} rows are missing ({low} to {high})"
    return why


def _days_of_lost(
    reader: StoreReader, harvest: HarvestLine, lost: Iterable[str], last: date
) -> set[date]:
    """The days on which references were found; none when the ledger does not know any more.

    An open harvest keeps what its searches found. The smallest window tells the day best.
    """
    wanted = set(lost)
    best: dict[str, list[date]] = {}
    for window in reader.windows(harvest.id, with_facts=True):
        if window.facts is None or harvest.asked["spider"] != "dume":
            return set()
        if not _has_days(window.filters):
            continue
        for fact in map(RowFacts._make, window.facts):
            if fact.reference in wanted:
                days = list(_days(window.filters, last))
                if len(days) < len(best.get(fact.reference, ())) or fact.reference not in best:
                    best[fact.reference] = days
    if wanted - best.keys():
        return set()
    return {day for days in best.values() for day in days}


def _has_days(filters: Mapping[str, str]) -> bool:
    return "date_start" in filters or "date_end" in filters


def _last_day(filters: Iterable[Mapping[str, str]], asked: Mapping[str, str]) -> date | None:
    """The last day that is named; ``None`` when none is."""
    names = ("date_start", "date_end")
    named = [each[name] for each in (*filters, asked) for name in names if name in each]
    return date.fromisoformat(max(named)) if named else None


def _days(filters: Mapping[str, str], last: date, *, first: date = FIRST_DAY) -> Iterator[date]:
    """The days of a window, an open end cut at ``last``; none for filters without a date."""
    if not _has_days(filters):
        return
    start = date.fromisoformat(filters["date_start"]) if "date_start" in filters else FIRST_DAY
    end = min(last, date.fromisoformat(filters["date_end"]) if "date_end" in filters else last)
    day = max(start, first)
    while day <= end:
        yield day
        day += timedelta(1)


def _shown(
    run: str,
    windows: Iterable[WindowLine],
    filters: Mapping[str, str],
    asked: Mapping[str, str],
    last: date,
) -> Iterator[ShownWindow]:
    for window in windows:
        own = {
            name: value
            for name, value in window.filters.items()
            if name not in ("date_start", "date_end") and filters.get(name) != value
        }
        if "shard" in asked:
            own["shard"] = asked["shard"]
        start, end = (window.filters.get(name) for name in ("date_start", "date_end"))
        yield ShownWindow(
            run,
            date.fromisoformat(start) if start else FIRST_DAY,
            date.fromisoformat(end) if end else last,
            described(own),
            window.state,
            window.rows,
            window.answered,
        )
