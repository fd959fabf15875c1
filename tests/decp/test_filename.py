"""Names of DECP files: written, read back, refused, numbered."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dume_spider.decp.filename import FORMATS, DecpFilename, last_numbers

SIRET = "21690123100011"
OTHER = "21350238800019"
DAY = date(2026, 3, 7)


@pytest.mark.parametrize(
    ("number", "format", "name"),
    [
        (1, "json", "DECP-21690123100011-2026-03-07-01.json"),
        (99, "xml", "DECP-21690123100011-2026-03-07-99.xml"),
        (100, "json", "DECP-21690123100011-2026-03-07-100.json"),
        (1000, "xml", "DECP-21690123100011-2026-03-07-1000.xml"),
    ],
)
def test_name(number, format, name):
    filename = DecpFilename(SIRET, DAY, number, format)
    assert str(filename) == name
    assert DecpFilename.parse(name) == filename


def test_the_guides_example_and_its_title_on_data_gouv_fr():
    filename = DecpFilename("89764547841001", date(2018, 11, 28), 1, "xml")
    assert DecpFilename.parse("DECP-89764547841001-2018-11-28-01.xml") == filename
    assert DecpFilename.parse("decp-89764547841001-2018-11-28-01.xml") == filename
    assert DecpFilename.parse("DECP-89764547841001-2018-11-28-01.XML") == filename


@given(
    st.from_regex("[0-9]{14}", fullmatch=True),
    st.dates(),
    st.integers(1, 100_000),
    st.sampled_from(FORMATS),
    st.sampled_from([str, str.lower, str.upper]),
)
def test_a_name_is_read_back_in_any_case(siret, day, number, format, case):
    filename = DecpFilename(siret, day, number, format)
    assert DecpFilename.parse(case(str(filename))) == filename


@pytest.mark.parametrize(
    ("siret", "number", "format", "message"),
    [
        ("2169012310001", 1, "json", "'2169012310001' is not a SIRET of 14 digits"),
        ("21690123100011\n", 1, "json", "'21690123100011\\n' is not a SIRET of 14 digits"),
        ("../../../etc/pw", 1, "json", "'../../../etc/pw' is not a SIRET of 14 digits"),
        ("٢١٦٩٠١٢٣١٠٠٠١١", 1, "json", "'٢١٦٩٠١٢٣١٠٠٠١١' is not a SIRET of 14 digits"),
        (SIRET, 0, "json", "0 is not a file number: they start at 1"),
        (SIRET, 1, "csv", "'csv' is not a format: json or xml"),
    ],
)
def test_what_enters_no_name(siret, number, format, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        DecpFilename(siret, DAY, number, format)


NOT_A_NAME = "is not the name of a DECP file: DECP-{SIRET}-{yyyy}-{mm}-{dd}-{nn}.json or .xml"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", NOT_A_NAME),
        ("readme.txt", NOT_A_NAME),
        ("DECP-2169012310001-2026-03-07-01.json", NOT_A_NAME),
        ("DECP-21690123100011-2026-03-07-1.json", NOT_A_NAME),
        ("DECP-21690123100011-2026-03-07-001.json", NOT_A_NAME),
        ("DECP-21690123100011-2026-03-07-01.json.part", NOT_A_NAME),
        ("DECP-21690123100011-2026-03-07-01.json\n", NOT_A_NAME),
        ("x/DECP-21690123100011-2026-03-07-01.json", NOT_A_NAME),
        ("DECP-21690123100011-2026-03-07-٠١.json", NOT_A_NAME),
        (
            "DECP-21690123100011-2026-02-30-01.json",
            "is not the name of a DECP file: 2026-02-30 is no date",
        ),
        (
            "DECP-21690123100011-2026-03-07-00.json",
            "is not the name of a DECP file: numbers start at 01",
        ),
    ],
)
def test_what_is_no_name(name, reason):
    with pytest.raises(ValueError, match=f"^{re.escape(f'{name!r} {reason}')}$"):
        DecpFilename.parse(name)


NAMES = [
    "DECP-21690123100011-2026-03-07-01.json",
    "DECP-21690123100011-2026-03-07-01.xml",
    "decp-21690123100011-2026-03-07-03.xml",
    "DECP-21690123100011-2026-03-06-08.json",
    "DECP-21350238800019-2026-03-07-100.json",
    "DECP-21350238800019-2026-03-07-99.json",
    "DECP-21350238800019-2026-03-07-101.json.bak",
    "notes-2026-03-07-.txt",
    ".decp-0123456789abcdef.part",
]


def test_last_numbers():
    """Over formats and cases, past 99, each SIRET and day for itself."""
    assert last_numbers(iter(NAMES), DAY) == {SIRET: 3, OTHER: 100}
    assert last_numbers(NAMES[3:4], DAY) == last_numbers([], DAY) == {}
