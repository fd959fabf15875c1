from __future__ import annotations

import pytest

from dume_spider.report.words import counted, money, size


@pytest.mark.parametrize(
    ("number", "names", "text"),
    [
        (0, ("day",), "0 days"),
        (1, ("day",), "1 day"),
        (2000, ("day",), "2,000 days"),
        (1, ("search", "searches"), "1 search"),
        (2, ("search", "searches"), "2 searches"),
    ],
)
def test_counted(number: int, names: tuple[str, ...], text: str) -> None:
    assert counted(number, *names) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0.0, "€0"),
        (1234.5, "€1,234"),
        (2.5e6, "€2.50M"),
        (3.21e9, "€3.21bn"),
        (1.5e12, "€1.50tn"),
        (-2e6, "€-2.00M"),
    ],
)
def test_money(amount: float, text: str) -> None:
    assert money(amount) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB")]
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text
