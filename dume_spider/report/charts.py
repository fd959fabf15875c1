"""Charts as inline SVG, drawn by Vega-Lite without a browser or a network.

Each is drawn twice, for a wide and a narrow column; the style sheet shows the one that
fits. Colours are CSS variables, so that a chart follows the page from light to dark. For a
screen reader a chart is one image with a sentence; its numbers are in the table beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from dume_spider.report.words import counted

#: Units of the drawing, which are pixels where the column is as wide.
WIDE, NARROW = 880, 340
#: Periods that records are counted by: up to so many of the one before are shown.
MOST_BARS = 130

_FONT = "system-ui, sans-serif"
_COLOURS = {"MP": "var(--mp)", "CC": "var(--cc)"}
_CONFIG = {
    "background": None,
    "aria": False,
    "font": _FONT,
    "padding": 2,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "domainColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "gridColor": "var(--rule)",
        "gridOpacity": 0.7,
    },
    "text": {"color": "var(--ink)", "fontSize": 12},
}

Spec = dict[str, Any]


class Chart(NamedTuple):
    """A chart in two widths; the SVG is safe to put in a page."""

    wide: Markup
    narrow: Markup


class DayLine(NamedTuple):
    """The contracts of a day: marchés, concessions."""

    day: date
    mp: int
    cc: int


class Bar(NamedTuple):
    """A bar of a chart: its label and its value."""

    label: str
    value: float


def _draw(spec: Callable[[int], Spec], label: str) -> Chart:
    """Draw in both widths; ``label`` says in a sentence what is to be seen."""
    return Chart(*(_svg(spec(width), label, name) for width, name in _WIDTHS))


_WIDTHS = ((WIDE, "wide"), (NARROW, "narrow"))


def _svg(spec: Spec, label: str, name: str) -> Markup:
    # Imported here: it loads a JavaScript engine of 80 MB.
    import vl_convert

    text = vl_convert.vegalite_to_svg(spec | {"config": _CONFIG}, vl_version=_VERSION)
    attributes = f'<svg class="chart {name}" role="img" aria-label="{escape(label)}" '
    # Drawn to be scaled: the size is the column's.
    drawn, count = re.subn(r'^<svg [^>]*?(viewBox="[^"]*")>', attributes + r"\1>", text, count=1)
    if not count:
        raise ValueError(f"an SVG of another form than was expected: {text[:200]}")
    return Markup(drawn)  # noqa: S704 (the library escapes the texts)


#: The version of the grammar that the charts are written in; vl_convert knows several.
_VERSION = "5.21"


def per_day(days: Mapping[tuple[date, str], int]) -> tuple[Chart, str, list[DayLine]]:
    """Records by date and type as stacked bars: the chart, the period of a bar (``day``,
    ``week`` or ``month``), and the lines of its table, by day. There has to be one date."""
    first, last = min(day for day, _ in days), max(day for day, _ in days)
    span = (last - first).days + 1
    period = "day" if span <= MOST_BARS else "week" if span <= 7 * MOST_BARS else "month"
    counts: dict[date, dict[str, int]] = {}
    lines: dict[date, dict[str, int]] = {}
    for (day, kind), number in sorted(days.items()):
        for line in (counts.setdefault(_begin(day, period), {}), lines.setdefault(day, {})):
            line[kind] = line.get(kind, 0) + number
    values = [
        {"from": str(day), "to": str(_next(day, period)), **part}
        for day, line in counts.items()
        for part in _stacked(line)
    ]

    def spec(width: int) -> Spec:
        return {
            "width": width,
            "height": 240,
            "autosize": {"type": "fit", "contains": "padding"},
            "data": {"values": values},
            "mark": {"type": "bar", "binSpacing": 1 if span <= MOST_BARS else 0.5},
            "encoding": {
                "x": {
                    "field": "from",
                    "type": "temporal",
                    "scale": {"type": "utc"},
                    "axis": {
                        "title": None,
                        "grid": False,
                        # None inside a day, which would have the same label.
                        "tickCount": min(10 if width == WIDE else 6, span),
                        "labelOverlap": True,
                        "labelSeparation": 8,
                        # No label is cut at the end of the axis.
                        "labelBound": True,
                        "format": "%-d %b %Y" if period == "day" else "%b %Y",
                    },
                },
                "x2": {"field": "to"},
                **_stack(f"contracts per {period}"),
            },
        }

    seen = f"{counted(sum(days.values()), 'contract')} by {period} of publication"
    table = [DayLine(day, line.get("MP", 0), line.get("CC", 0)) for day, line in lines.items()]
    return _draw(spec, f"Bar chart: {seen}, {first} to {last}"), period, table


def _stacked(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Counts by type, one upon the other. (Vega-Lite does not stack bars with two ends.)"""
    lower = counts.get("MP", 0)
    parts = [("MP", 0, lower), ("CC", lower, lower + counts.get("CC", 0))]
    return [{"type": kind, "low": low, "high": high} for kind, low, high in parts if high > low]


def _stack(title: str) -> Spec:
    """The vertical channels of :func:`_stacked` values."""
    return {
        "y": {
            "field": "low",
            "type": "quantitative",
            "axis": {"title": title, "tickMinStep": 1, "tickCount": 5, "format": ",d"},
        },
        "y2": {"field": "high"},
        "color": {
            "field": "type",
            "type": "nominal",
            "scale": {"domain": [*_COLOURS], "range": [*_COLOURS.values()]},
            "legend": None,
        },
    }


def _begin(day: date, period: str) -> date:
    if period == "month":
        return day.replace(day=1)
    return day - timedelta(day.weekday()) if period == "week" else day


def _next(day: date, period: str) -> date:
    if period == "month":
        return (day + timedelta(31)).replace(day=1)
    return day + timedelta(7 if period == "week" else 1)


def ranked(bars: Sequence[Bar], label: str, unit: str) -> Chart:
    """Horizontal bars in the order given, each with its label and its value."""
    # Labels may be alike: the position tells the bars apart.
    values = [
        {"place": place, "label": bar.label, "n": bar.value, "shown": f"{bar.value:,.0f}"}
        for place, bar in enumerate(bars)
    ]
    # Room for the value at the end of the longest bar.
    most = max((bar.value for bar in bars), default=1) * 1.15

    def spec(width: int) -> Spec:
        # In a narrow column the label stands above its bar.
        is_narrow = width == NARROW
        down, gutter = (9, 0) if is_narrow else (0, 300)
        y = {"field": "place", "type": "ordinal", "axis": None}
        x = {"field": "n", "type": "quantitative", "scale": {"domain": [0, most]}, "axis": None}
        shape = {"type": "bar", "color": "var(--bar)", "height": 14}
        number = {"type": "text", "align": "left", "dx": 4, "baseline": "middle"}
        name = {"type": "text", "baseline": "middle", "limit": 240 if gutter else width - 30}
        name |= {"align": "left", "dy": -8} if is_narrow else {"align": "right", "dx": -8}
        return {
            "width": width - gutter - 4,
            "height": {"step": 40 if is_narrow else 24},
            "padding": {"left": 2 + gutter, "right": 2, "top": 2, "bottom": 2},
            "autosize": {"type": "none"},
            "data": {"values": values},
            "layer": [
                {"mark": shape | {"yOffset": down}, "encoding": {"y": y, "x": x}},
                {
                    "mark": number | {"yOffset": down},
                    "encoding": {"y": y, "x": x, "text": {"field": "shown"}},
                },
                {
                    "mark": name,
                    "encoding": {"y": y, "x": {"value": 0}, "text": {"field": "label"}},
                },
            ],
        }

    top = f"; the most: {bars[0].label}, {bars[0].value:,.0f} {unit}" if bars else ""
    return _draw(spec, f"Bar chart: {label}{top}")


def amounts(
    bins: Iterable[tuple[float, float, dict[str, int]]],
    outliers: Sequence[float],
    fences: tuple[float, float] | None,
) -> Chart:
    """A histogram of amounts on a log axis, by type, with a mark for each outlier named and a
    line at the fences beyond which one is an outlier."""
    known = list(bins)
    values = [
        {"from": low, "to": high, **part}
        for low, high, counts in known
        for part in _stacked(counts)
    ]
    first, last = known[0][0], known[-1][1]
    decades = [
        10.0**power for power in range(math.ceil(math.log10(first)), math.ceil(math.log10(last)))
    ]
    x = {"field": "amount", "type": "quantitative"}
    alert = "var(--alert)"
    extremes: list[Spec] = []
    if outliers:
        mark = {"type": "point", "shape": "triangle-down", "filled": True, "size": 70}
        rule = {"type": "rule", "strokeDash": [4, 4]}
        lines = [fence for fence in fences or () if first <= fence <= last]
        extremes = [
            {
                "data": {"values": [{"amount": fence} for fence in lines]},
                "mark": rule | {"color": alert},
                "encoding": {"x": x},
            },
            {
                "data": {"values": [{"amount": amount} for amount in outliers]},
                "mark": mark | {"color": alert, "opacity": 1, "yOffset": -8},
                "encoding": {"x": x, "y": {"datum": 0, "type": "quantitative"}},
            },
        ]

    def spec(width: int) -> Spec:
        every = 1 if width == WIDE else math.ceil(len(decades) / 4)
        axis = {
            "title": "amount in euros, without tax",
            "values": decades[::every],
            "format": "~s",
            "grid": False,
        }
        scale = {"type": "log", "domain": [first, last], "nice": False}
        bars = {
            "data": {"values": values},
            "mark": {"type": "bar", "binSpacing": 1},
            "encoding": {
                "x": {"field": "from", "type": "quantitative", "scale": scale, "axis": axis},
                "x2": {"field": "to"},
                **_stack("contracts"),
            },
        }
        return {
            "width": width,
            "height": 260,
            "autosize": {"type": "fit", "contains": "padding"},
            "layer": [bars, *extremes],
        }

    total = sum(sum(counts.values()) for _, _, counts in known)
    marked = counted(len(outliers), "outlier is", "outliers are")
    named = f"{marked} marked, and named below" if outliers else "no outlier"
    return _draw(spec, f"Histogram: {counted(total, 'amount')} on a logarithmic axis; {named}")
