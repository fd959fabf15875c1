"""ODSQL: values are literals, whatever they hold."""

from __future__ import annotations

from datetime import date
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dume_spider.boamp.query import (
    DEPARTEMENTS,
    FAMILLES,
    OTHER,
    NoticeQuery,
    dataset_url,
    detail_url,
    literal,
    one_line,
)
from dume_spider.sandbox.odsql import OdsqlError, parse

COLUMNS = ("idweb", "dateparution", "nature", "objet", "donnees", "code_departement", "famille")
BASE = "https://example.org/api/explore/v2.1"

#: Attempts to end a literal, or a condition, early.
INJECTIONS = (
    '" or 1=1 or nature="',
    "' or 1=1 --",
    '\\" or 1=1 or nature=\\"',
    "\\",
    '\\\\"',
    'x") or (1=1',
    '"\nor 1=1\nor nature="',
    "a\r\nb",
    "\u2028\u0085\x00",
    "date'2020-01-01'",
    "null",
    "*",
    "",
)


class Row(dict[str, Any]):
    def value(self, column: str) -> Any:
        return self.get(column)


def matches(query: NoticeQuery, **columns: Any) -> bool:
    return parse(query.odsql(), COLUMNS).test(Row(columns))


def test_the_whole_condition() -> None:
    query = NoticeQuery(
        date_start=date(2026, 9, 1),
        date_end=date(2026, 9, 30),
        nature="ATTRIBUTION",
        departement="01",
        keyword='toit "plat"',
        where="famille = 'FNS' or famille = 'JOUE'",
        familles=("DSP",),
    )
    assert query.odsql() == (
        "dateparution >= date'2026-09-01' and dateparution < date'2026-10-01' "
        'and nature = "ATTRIBUTION" and (code_departement = "01" or code_departement = "1") '
        'and famille = "DSP" '
        'and (search(objet, "toit \\"plat\\"") or search(donnees, "toit \\"plat\\"")) '
        "and (famille = 'FNS' or famille = 'JOUE')"
    )
    assert NoticeQuery().odsql() == ""
    assert NoticeQuery(date_end=date.max).odsql() == ""
    assert parse(query.odsql(), COLUMNS).needs["nature"] == ("ATTRIBUTION",)


def test_the_addresses() -> None:
    query = NoticeQuery(nature="é&a=b+c")
    address = urlsplit(query.url(BASE, columns=("idweb", "dateparution"), offset=200))
    assert address.path == "/api/explore/v2.1/catalog/datasets/boamp/records"
    assert parse_qs(address.query) == {
        "where": ['nature = "é&a=b+c"'],
        "order_by": ["dateparution,idweb"],
        "limit": ["100"],
        "offset": ["200"],
        "select": ["idweb,dateparution"],
    }
    whole = parse_qs(urlsplit(NoticeQuery().url(f"{BASE}/", columns=(), offset=0)).query)
    assert sorted(whole) == ["limit", "offset", "order_by"]
    one = parse_qs(urlsplit(detail_url(BASE, ["26-1"])).query)
    assert one["where"] == ['idweb = "26-1"']
    some = parse_qs(urlsplit(detail_url(BASE, ["26-1", '26"2'])).query)
    assert some["where"] == ['(idweb = "26-1" or idweb = "26\\"2")']
    assert dataset_url(BASE) == f"{BASE}/catalog/datasets/boamp"


@given(st.text())
@example('"')
@example("\\")
def test_a_literal_is_one_text(text: str) -> None:
    """The service's own reading gives the text back, line breaks and the like as spaces."""
    (value,) = parse(f"objet = {literal(text)}", COLUMNS).needs["objet"]
    assert len(value) == len(text)
    assert all(
        a == b or (b == " " and ord(a) < 0xA0) or a in "\u2028\u2029"
        for a, b in zip(text, value, strict=True)
    )


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize("name", ["nature", "departement"])
def test_injections_are_literals(name: str, injection: str) -> None:
    query = NoticeQuery(date_start=date(2026, 9, 1), **{name: injection})
    column = {"departement": "code_departement"}.get(name, name)
    assert not matches(query, dateparution="2026-09-02", **{column: "ATTRIBUTION"})
    as_kept = parse(f"objet = {literal(injection)}", COLUMNS).needs["objet"][0]
    assert matches(query, dateparution="2026-09-02", **{column: as_kept})
    # The other conditions hold on.
    assert not matches(query, dateparution="2026-08-31", **{column: as_kept})


@pytest.mark.parametrize("injection", INJECTIONS)
def test_injections_in_what_is_searched_and_asked_by_key(injection: str) -> None:
    query = NoticeQuery(keyword=injection)
    assert not matches(query, objet="une école", donnees="{}")
    where = parse_qs(urlsplit(detail_url(BASE, ["26-1", injection])).query)["where"][0]
    asked = parse(where, COLUMNS)
    assert asked.test(Row(idweb="26-1"))
    assert not asked.test(Row(idweb="26-2"))


@given(where=st.text(alphabet="()\"'\\` ao=r1\n"))
@example("1=1 or 1=1")
def test_no_condition_of_the_users_lets_other_days_in(where: str) -> None:
    try:
        query = NoticeQuery(date_start=date(2026, 9, 1), where=one_line(where))
    except ValueError:
        return
    try:
        condition = parse(query.odsql(), COLUMNS)
    except OdsqlError:
        return  # the service refuses it
    assert not condition.test(Row(dateparution="2026-08-31"))


@pytest.mark.parametrize(
    "where", ["famille='JOUE') or (1=1", "a = 'x", '(a = "\\"', ")(", "a in ('x'", "`a"]
)
def test_conditions_that_are_not_closed(where: str) -> None:
    with pytest.raises(
        ValueError, match="has a quotation mark or a parenthesis that is not closed"
    ):
        one_line(where)


def test_conditions_that_are() -> None:
    assert one_line(" a = 'x)' and\n(b = \"'(\\\"\") ") == "a = 'x)' and (b = \"'(\\\"\")"
    with pytest.raises(ValueError, match="is empty"):
        one_line(" \n")


def test_parts_hold_every_value_once_or_more() -> None:
    halves = [
        NoticeQuery(departements=DEPARTEMENTS[:50]),
        NoticeQuery(departements=DEPARTEMENTS[50:]),
        NoticeQuery(departements=(OTHER,)),
    ]
    for values in ([], None, ["01"], ["1"], ["2A"], ["976"], ["99"], ["x", "y"], ["69"], ["9"]):
        assert [matches(half, code_departement=values) for half in halves].count(True) == 1
    both = [matches(half, code_departement=["01", "69"]) for half in halves]
    assert both == [True, True, False]
    familles = [NoticeQuery(familles=(name,)) for name in (*FAMILLES, OTHER)]
    for value in (*FAMILLES, None, "NEW"):
        assert [matches(one, famille=value) for one in familles].count(True) == 1


@given(
    st.builds(
        NoticeQuery,
        date_start=st.none() | st.dates(),
        date_end=st.none() | st.dates(),
        nature=st.none() | st.text(min_size=1),
        keyword=st.none() | st.text(min_size=1),
        departements=st.sampled_from([(), ("01",), ("01", "2A"), (OTHER,)]),
        familles=st.sampled_from([(), ("FNS",), (OTHER,)]),
    )
)
def test_filters_describe_the_query(query: NoticeQuery) -> None:
    assert NoticeQuery.of_filters(query.filters()) == query
