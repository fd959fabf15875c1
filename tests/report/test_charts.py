"""The charts as SVG: what they hold, and that data cannot break out of them."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date, timedelta

import pytest
from lxml import etree

from dume_spider.report import charts
from dume_spider.report.charts import Bar, Chart, DayLine

EVIL = "<script>alert(1)</script>\"'&]]>"


def read(chart: Chart) -> list[etree._Element]:
    return [etree.fromstring(str(svg)) for svg in chart]


def texts(svg: etree._Element) -> list[str]:
    return [element.text for element in svg.iter("{*}text")]


def test_ranked_bars_in_both_widths() -> None:
    bars = [Bar("Ville de Rennes", 1234), Bar(EVIL, 20), Bar(EVIL, 20), Bar("last", 1)]
    for svg in read(charts.ranked(bars, "contracts by buyer", "contracts")):
        assert svg.get("role") == "img"
        most = "the most: Ville de Rennes, 1,234 contracts"
        assert svg.get("aria-label") == f"Bar chart: contracts by buyer; {most}"
        shown = texts(svg)
        assert shown.count(EVIL) == 2
        assert {"1,234", "Ville de Rennes", "last"} < set(shown)
        # Names of elements only as Vega has them: nothing of the data became one.
        names = {etree.QName(element).localname for element in svg.iter()}
        assert names <= {"svg", "g", "path", "text", "line", "rect", "defs", "clipPath"}


def test_a_label_is_escaped_in_the_sentence_too() -> None:
    for svg in read(charts.ranked([Bar(EVIL, 1)], EVIL, "rows")):
        assert EVIL in svg.get("aria-label")


@pytest.mark.parametrize("days", [1, 2, 3, 31, 200, 1500])
def test_each_label_of_a_day_stands_once_and_tells_its_year(days: int) -> None:
    chart, _, _ = charts.per_day(
        {(date(2026, 3, 1) + timedelta(number), "MP"): 1 for number in range(days)}
    )
    for svg in read(chart):
        # The labels of the first axis, those of the second are numbers.
        labels = svg.xpath("(//*[contains(@class, 'role-axis-label')])[1]//*[text()]")
        shown = [each.text for each in labels if each.get("opacity") != "0"]
        assert len(shown) == len(set(shown)) > 1
        assert all(re.fullmatch(r"(\d+ )?[A-Z][a-z]{2} 20\d\d", text) for text in shown), shown


@pytest.mark.parametrize(
    ("last", "period"),
    [
        (date(2026, 3, 5), "day"),
        (date(2026, 8, 5), "week"),
        (date(2029, 3, 5), "month"),
    ],
)
def test_records_per_day(last: date, period: str) -> None:
    first = date(2026, 3, 1)
    counts = {(first, "MP"): 40, (first, "CC"): 2, (last, "MP"): 7}
    chart, found, table = charts.per_day(counts)
    assert found == period
    assert table == [DayLine(first, 40, 2), DayLine(last, 7, 0)]
    for svg in read(chart):
        assert f"49 contracts by {period} of publication" in svg.get("aria-label")
        fills = Counter(element.get("fill") for element in svg.iter("{*}path"))
        assert (fills["var(--mp)"], fills["var(--cc)"]) == (2, 1)


def test_amounts_with_their_outliers() -> None:
    bins = [(1.0, 10.0, {"MP": 1}), (1e3, 1e4, {"MP": 50, "CC": 5}), (1e9, 1e10, {"CC": 1})]
    for svg in read(charts.amounts(bins, [2.0, 5e9], (20.0, 1e8))):
        assert "57 amounts on a logarithmic axis; 2 outliers" in svg.get("aria-label")
        marked = [e for e in svg.iter("{*}path") if e.get("fill") == "var(--alert)"]
        assert len(marked) == 2
        lines = [e for e in svg.iter("{*}line") if e.get("stroke") == "var(--alert)"]
        assert len(lines) == 2
        assert {"1k", "1M"} & set(texts(svg))


def test_amounts_without_outliers() -> None:
    wide, _ = read(charts.amounts([(10.0, 100.0, {"MP": 3})], [], None))
    assert "3 amounts on a logarithmic axis; no outlier" in wide.get("aria-label")
