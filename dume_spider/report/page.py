"""The page: one HTML file that needs nothing else, made from a store."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from importlib import resources
from itertools import groupby, islice
from typing import Any, NamedTuple

import orjson
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from dume_spider.report import charts
from dume_spider.report.awards import compare
from dume_spider.report.coverage import FIRST_DAY, Scope, read_coverage
from dume_spider.report.cpv import DIVISIONS
from dume_spider.report.figures import Party, Refusals, Survey, refusals, survey
from dume_spider.report.words import counted, money, size
from dume_spider.run import PARIS, day_in_france
from dume_spider.store.reading import FileLine, PublicationLine, RunLine, StoreReader

#: Lines of charts, of tables, and scopes, months and searches of the calendar that are shown.
BARS, LINES, SCOPES, MONTHS, WINDOWS = 15, 200, 4, 60, 10_000
#: Reasons of rejection with examples, and the characters of a row that is shown.
REASONS, ROW = 60, 4000


_SHOWN = {"counts", "unproven", "failures", "errors"}


class Cell(NamedTuple):
    """A day of the calendar."""

    day: date
    state: str


class Month(NamedTuple):
    """A month of the calendar; ``before``: the months before it that were not asked at all,
    in words."""

    title: str
    before: str
    cells: list[Cell]

    @property
    def tally(self) -> list[tuple[str, int]]:
        """How many days are in each state, the states without one left out."""
        states = Counter(cell.state for cell in self.cells)
        return [(state, states[state]) for state in STATES if states[state]]


class Example(NamedTuple):
    """A rejected row; ``left_out`` is how many characters of ``row`` are not shown."""

    reference: str | None
    message: str
    row: str
    left_out: int


def make_page(
    reader: StoreReader,
    *,
    made: datetime,
    place: str,
    since: date | None = None,
    run: str = "",
) -> str:
    """The report as HTML. ``place`` names the store; ``since`` and ``run`` are as in
    :meth:`.StoreReader.survey`. Raises :class:`StoreError`.
    """
    first = since.isoformat() if since else ""
    # Runs are noted in UTC: one of the first hour of a day in France began the day before.
    begun = _midnight(since).isoformat() if since else ""
    surveyed = survey(reader, since=first, run=run)
    reasons, rejected = refusals(reader, since=begun, run=run)
    runs = {line.name: _brief(line) for line in reader.runs(run=run)}
    # Those of the most days first, whatever was asked last: days that stay unproven are asked
    # again buyer by buyer, and are not to drive the calendar away that says so.
    scopes = read_coverage(reader, runs, made=made, since=since, run=run)
    scopes.sort(key=lambda scope: -len(scope.days))
    files, files_count, files_bytes = reader.files(LINES, since=begun, run=run)
    # A run is of one service: what it received says nothing about the other.
    compared, unnamed = ([], 0) if run else compare(reader, surveyed, first)
    received = sum(1 for _ in reader.notices(since=first, run=run)) if run else 0
    shown_runs = [line for line in runs.values() if line.started >= begun]
    dated = _dated(surveyed, made.date())
    per_day, period, days = charts.per_day(dated) if dated else (None, "day", [])
    return (
        make_environment()
        .get_template("report.html")
        .render(
            made=made,
            place=place,
            since=since,
            run=run,
            survey=surveyed,
            rejected=rejected,
            reasons=reasons,
            reasons_chart=_ranked(
                ((f"{r.field}: {r.rule}", r.rows) for r in reasons),
                "rejected rows by reason",
                "rows",
            ),
            examples=list(_examples(reader, reasons[:REASONS])),
            scopes=[(scope, earlier(scope), list(months(scope))) for scope in scopes[:SCOPES]],
            scopes_left_out=scopes[SCOPES:],
            calendar=_calendar_data(scopes[:SCOPES], surveyed),
            per_day=per_day,
            period=period,
            days=days,
            undated=surveyed.records - sum(dated.values()),
            repairs=surveyed.repairs.most_common(),
            repairs_chart=_ranked(
                ((f"{f}: {rule}", n) for (f, rule), n in surveyed.repairs.most_common(BARS)),
                "repaired records by field and rule",
                "records",
            ),
            buyers=surveyed.top_buyers(BARS),
            buyers_chart=_parties(surveyed.top_buyers(BARS), "contracts by buyer"),
            titulaires=surveyed.top_titulaires(BARS),
            titulaires_chart=_parties(surveyed.top_titulaires(BARS), "contracts by titulaire"),
            histogram=surveyed.amounts.histogram(),
            outliers=surveyed.amounts.outliers(),
            amounts_chart=_amounts(surveyed),
            divisions=_divisions(surveyed),
            cpv_chart=_ranked(
                ((f"{d} {name}", n) for d, name, n, _ in _divisions(surveyed) if d),
                "contracts by CPV division",
                "contracts",
            ),
            notices=compared[:LINES],
            notices_count=len(compared),
            notices_unnamed=unnamed,
            notices_received=received,
            boamp_chart=_ranked(
                (
                    (c.name or c.buyer, c.notices - c.contracts)
                    for c in compared
                    if c.notices > c.contracts
                ),
                "award notices without as many contracts, by buyer",
                "more notices",
            ),
            files=files,
            published=_published(reader, files),
            files_count=files_count,
            files_bytes=files_bytes,
            runs=shown_runs[:LINES],
            runs_count=len(shown_runs),
        )
    )


def _day(instant: str) -> date:
    """The date in France at an instant (ISO 8601), as the names of files have it."""
    return day_in_france(datetime.fromisoformat(instant))


def _midnight(day: date) -> datetime:
    """The instant, in UTC, at which a day begins in France."""
    return datetime.combine(day, time(), PARIS).astimezone(UTC)


def _brief(run: RunLine) -> RunLine:
    """A run without what may be long and is not shown, such as the names of its files."""
    return run._replace(summary={k: v for k, v in run.summary.items() if k in _SHOWN})


def _dated(surveyed: Survey, made: date) -> Counter[tuple[date, str]]:
    """The records by day and type, as far as the day can be one of publication: rules that
    were switched off let any text pass."""
    dated: Counter[tuple[date, str]] = Counter()
    for (text, kind), count in surveyed.days.items():
        with suppress(ValueError):
            day = date.fromisoformat(text)
            if FIRST_DAY <= day <= made + timedelta(366):
                dated[day, kind] = count
    return dated


def _published(
    reader: StoreReader, files: Sequence[FileLine]
) -> dict[tuple[str, str], list[PublicationLine]]:
    """By name and sha1, the data sets that have each file, each with its last publication. One
    that has got another content under that name since then is left out, as it has the file no
    more; a link is taken for the file."""
    last: dict[str, dict[tuple[str, str], PublicationLine]] = {}
    for line in reader.publications(sorted({file.name for file in files})):
        last.setdefault(line.name, {}).setdefault((line.portal, line.dataset), line)
    return {
        (file.name, file.sha1): [
            line for line in last.get(file.name, {}).values() if line.sha1 in ("", file.sha1)
        ]
        for file in files
    }


def _ranked(bars: Iterable[tuple[str, int]], label: str, unit: str) -> charts.Chart | None:
    shown = [charts.Bar(name, value) for name, value in islice(bars, BARS)]
    return charts.ranked(shown, label, unit) if shown else None


def _parties(parties: Sequence[Party], label: str) -> charts.Chart | None:
    return _ranked(((party.label, party.contracts) for party in parties), label, "contracts")


def _amounts(surveyed: Survey) -> charts.Chart | None:
    bins = surveyed.amounts.histogram()
    highest, lowest, _ = surveyed.amounts.outliers()
    marked = [contract.amount for contract in (*highest, *lowest)]
    return charts.amounts(bins, marked, surveyed.amounts.fences()) if bins else None


def _divisions(surveyed: Survey) -> list[tuple[str, str, int, float]]:
    """Division, its name, contracts and their amounts; those without a known code last."""
    return [
        (division, DIVISIONS.get(division, "none, or of no division"), contracts, amount)
        for division, contracts, amount in sorted(
            ((d, n, surveyed.cpv_amounts[d]) for d, n in surveyed.cpv.items()),
            key=lambda line: (not line[0], -line[1], line[0]),
        )
    ]


def _examples(
    reader: StoreReader, reasons: Sequence[Refusals]
) -> Iterator[tuple[Refusals, list[Example]]]:
    """The reasons, each with the first of its rows."""
    for reason in reasons:
        raw = reader.rejected_raw([example.id for example in reason.examples])
        shown = []
        for id, reference, message in reason.examples:
            row = _pretty(raw[id])
            shown.append(Example(reference, message, row[:ROW], max(0, len(row) - ROW)))
        yield reason, shown


def _pretty(raw: bytes) -> str:
    """A row as a person reads it."""
    try:
        return orjson.dumps(orjson.loads(raw), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        # Rows may hold what only Python's own reader takes, such as integers of any size.
        return raw.decode("utf-8", "replace")


def _asked_months(scope: Scope) -> list[date]:
    return sorted({day.replace(day=1) for day in scope.days})


def earlier(scope: Scope) -> str:
    """What became of the days before the months of :func:`months`, in words; empty: none."""
    asked = _asked_months(scope)
    if len(asked) <= MONTHS:
        return ""
    first = asked[-MONTHS]
    states = Counter(verdict.state for day, verdict in scope.days.items() if day < first)
    counts = ", ".join(f"{states[state]:,} {state}" for state in STATES if states[state])
    return f"before {first:%B %Y}: {counts}"


def months(scope: Scope) -> Iterator[Month]:
    """The latest months in which something was asked, each day with its state."""
    previous: date | None = None
    for first in _asked_months(scope)[-MONTHS:]:
        gap = ""
        if previous is not None and (following := _next_month(previous)) < first:
            last = first - timedelta(1)
            gap = f"{following:%B %Y}"
            if following != last.replace(day=1):
                gap += f" to {last:%B %Y}"
        cells = []
        day = first
        while day.month == first.month:
            verdict = scope.days.get(day)
            cells.append(Cell(day, verdict.state if verdict else "not asked"))
            day += timedelta(1)
        yield Month(f"{first:%B %Y}", gap, cells)
        previous = first


def _next_month(first: date) -> date:
    return (first + timedelta(31)).replace(day=1)


def _calendar_data(scopes: Sequence[Scope], surveyed: Survey) -> dict[str, Any]:
    """What a click on a day shows: per scope its days (why, run) and searches.

    Texts stand in a list once, and are referred to by their place in it.
    """
    texts: dict[str, int] = {}

    def place(text: str) -> int:
        return texts.setdefault(text, len(texts))

    room = WINDOWS
    data = []
    for scope in scopes:
        windows = scope.windows[:room]
        room -= len(windows)
        data.append(
            {
                "contracts": scope.spider == "dume",
                "days": {
                    day.isoformat(): [v.state, place(v.why), place(v.run)]
                    for day, v in scope.days.items()
                },
                "windows": [
                    [
                        place(w.run),
                        w.start.isoformat(),
                        w.end.isoformat(),
                        place(w.filters),
                        place(w.state),
                        w.rows,
                        place(w.answered),
                    ]
                    for w in windows
                ],
                "leftOut": len(scope.windows) - len(windows),
            }
        )
    records = {
        day: {kind: n for (_, kind), n in counts}
        for day, counts in groupby(sorted(surveyed.days.items()), key=lambda item: item[0][0])
        if day
    }
    return {"scopes": data, "texts": list(texts), "records": records}


def make_environment() -> Environment:
    """The templates of the report, with their style and script."""
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = Markup(_template("report.js"))  # noqa: S704 (a file of ours)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {
        "style": Markup(_template("report.css")),  # noqa: S704 (a file of ours)
        "script": script,
        # Nothing but this very script may run, whatever stands in the data.
        "script_hash": f"sha256-{digest}",
        "STATES": STATES,
    }
    environment.filters |= {"money": money, "size": size, "counted": counted, "day": _day}
    return environment


#: What each state of a day means.
STATES: Mapping[str, str] = {
    "complete": "every search of the day is answered whole: no row is missing (below: the "
    "rejected ones)",
    "probable": "searches that were cut were asked in two ways, and the second found nothing "
    "more; or the day is not over",
    "incomplete": "something is missing, or was not proven",
    "not asked": "no harvest asked for this day",
}


def _template(name: str) -> str:
    # Not by the file system: the package may be a zipped egg.
    folder = resources.files("dume_spider.report") / "templates"
    return (folder / name).read_text(encoding="utf-8")
