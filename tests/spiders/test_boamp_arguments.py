from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from dume_spider.exceptions import ArgumentError
from dume_spider.spiders.boamp import BoampSpider

YESTERDAY = date(2026, 3, 17)
FIRST = date(2024, 3, 1)
AWARDS = {"nature": "ATTRIBUTION"}

pytestmark = pytest.mark.usefixtures("on_18_march_2026")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"date_start": YESTERDAY, "date_end": YESTERDAY, **AWARDS}),
        ({"_job": "1"}, {"date_start": YESTERDAY, "date_end": YESTERDAY, **AWARDS}),
        ({"date": "2024-03-01"}, {"date_start": FIRST, "date_end": FIRST, **AWARDS}),
        ({"date_start": "2024-03-01"}, {"date_start": FIRST, "date_end": YESTERDAY, **AWARDS}),
        (
            {"date_end": "2024-03-01"},
            {"date_start": date(1990, 1, 1), "date_end": FIRST, **AWARDS},
        ),
        (
            {"date_end": "1980-03-01"},
            {"date_start": date(1980, 3, 1), "date_end": date(1980, 3, 1), **AWARDS},
        ),
        (
            {"date": "2024-03-01", "nature": "All", "departement": "2a", "keyword": 'a "b"'},
            {
                "date_start": FIRST,
                "date_end": FIRST,
                "nature": "all",
                "departement": "2A",
                "keyword": 'a "b"',
            },
        ),
        (
            {"date": "2024-03-01", "nature": "rectificatif", "where": "famille =\n'JOUE'"},
            {
                "date_start": FIRST,
                "date_end": FIRST,
                "nature": "RECTIFICATIF",
                "where": "famille = 'JOUE'",
            },
        ),
        (
            {"date": "2024-03-01", "departement": "1"},
            {"date_start": FIRST, "date_end": FIRST, "departement": "01", **AWARDS},
        ),
        ({"idweb": "26-79799", "detail": "auto"}, {"idweb": "26-79799", "detail": "auto"}),
    ],
)
def test_values(given: dict[str, str], expected: dict[str, Any]) -> None:
    assert BoampSpider.read_arguments(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"siret": "1"},
            "boamp: unknown argument 'siret' ('1'); accepted: date, date_end, date_start, "
            "departement, detail, idweb, keyword, nature, shard, where",
        ),
        (
            {"idweb": "26-1", "nature": "all", "date": "2024-03-01"},
            "boamp: argument idweb does not go with date, nature; give it alone",
        ),
        (
            {"date": "2024-03-01", "date_end": "2024-03-02"},
            "boamp: argument date does not go with date_start or date_end; give either",
        ),
        (
            {"date_start": "2024-03-02", "date_end": "2024-03-01"},
            "boamp: argument date_end='2024-03-01' is before date_start='2024-03-02'; "
            "give a last day that is not before the first",
        ),
        (
            {"where": "famille = 'JOUE') or (1=1"},
            "boamp: argument where=\"famille = 'JOUE') or (1=1\": has a quotation mark or a "
            "parenthesis that is not closed",
        ),
        ({"keyword": " "}, "boamp: argument keyword=' ': is empty; leave the argument out instead"),
        (
            {"detail": "yes"},
            "boamp: argument detail='yes': not known; accepted: always, auto, never",
        ),
    ],
)
def test_errors(given: dict[str, str], message: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        BoampSpider.read_arguments(given)
    assert str(raised.value) == message
