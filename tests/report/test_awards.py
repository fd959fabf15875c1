"""Award notices against contracts, by buyer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from notices import CITY, holder, record, v230

from dume_spider.boamp.notice import read_notice
from dume_spider.report.awards import AWARD, Compared, compare
from dume_spider.report.figures import Party, Survey
from dume_spider.sandbox.boamp_rows import generate_notices
from dume_spider.store.reading import StoreReader
from dume_spider.store.store import NoticeRow, Store

NOTICES = list(generate_notices(200, 1, date(2026, 3, 1), date(2026, 3, 31)))


def stored(folder: Path, notices: Iterable[dict[str, Any]]) -> StoreReader:
    url = f"sqlite:///{folder / 'store.sqlite'}"
    store = Store(url)
    store.begin_run("run", "boamp", {}, datetime(2026, 4, 1, tzinfo=UTC))
    rows = [NoticeRow.of(row["idweb"], row["dateparution"], row) for row in notices]
    store.keep("run", rows, ())
    store.close()
    return StoreReader(url)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[StoreReader]:
    reader = stored(tmp_path, NOTICES)
    yield reader
    reader.close()


def test_awards_by_buyer(reader: StoreReader) -> None:
    expected: Counter[str] = Counter()
    unnamed = 0
    for row in NOTICES:
        if row["nature"] == AWARD:
            sirets = {
                each["value"]
                for award in read_notice(row).notice["awards"]
                for buyer in award["buyers"]
                for each in buyer["identifiers"]
                if each["type"] == "SIRET"
            }
            expected.update(sirets)
            unnamed += not sirets
    (often, most), *_ = expected.most_common(1)
    survey = Survey(buyers={often: Party(often, most + 3, 0.0, "Ville")})
    compared, without = compare(reader, survey)
    assert {each.buyer: each.notices for each in compared} == expected
    assert without == unnamed > 0
    names = {row["nomacheteur"] for row in NOTICES}
    assert {each.name for each in compared} <= names
    # Those with more contracts than notices come last.
    assert (compared[-1].buyer, compared[-1].contracts) == (often, most + 3)
    missing = [each.notices - each.contracts for each in compared]
    assert missing == sorted(missing, reverse=True)


def test_where_nothing_was_awarded_no_contract_is_missing(tmp_path: Path) -> None:
    """Nobody is to be told to publish the contract of a call that came to nothing."""
    infructueux, won = {"INFRUCTUEUX": ""}, {"TITULAIRE": holder("Un")}
    payloads = {
        "26-1": v230(infructueux),
        "26-2": v230(infructueux, infructueux),
        "26-3": v230(infructueux, won),
        # What is not known may be a contract.
        "26-4": v230({}),
    }
    notices = [record(idweb=idweb, donnees=payload) for idweb, payload in payloads.items()]
    reader = stored(tmp_path, [*notices, record(idweb="26-5", donnees={"MAPA": {}})])
    assert compare(reader, Survey()) == ([Compared(CITY, "C.C.A.S. de Test", 2, 0)], 1)
    reader.close()


def test_who_has_no_name_gets_that_of_the_notices(reader: StoreReader) -> None:
    """Of contracts only those of 2019 hold names."""
    awards = [
        award
        for row in NOTICES
        if row["nature"] == AWARD
        for award in read_notice(row).notice["awards"]
    ]
    expected = {
        part: {
            each["value"]: party["name"]["value"]
            for award in awards
            for party in award[part]
            for each in party["identifiers"]
            if each["type"] == "SIRET"
        }
        for part in ("buyers", "winners")
    }
    surveyed = Survey(
        buyers={siret: Party(siret) for siret in expected["buyers"]},
        titulaires={("SIRET", siret): Party(siret) for siret in expected["winners"]},
    )
    named, other = [*expected["buyers"]][:2]
    surveyed.buyers[named].name = "Ville nommée"
    surveyed.titulaires["SIRET", "unknown"] = Party("unknown")
    compare(reader, surveyed)
    assert surveyed.buyers[named].name == "Ville nommée"
    assert surveyed.buyers[other].name == expected["buyers"][other]
    assert {
        party.id: party.name for party in surveyed.titulaires.values() if party.id != "unknown"
    } == expected["winners"]
    assert surveyed.titulaires["SIRET", "unknown"].label == "unknown"


def test_since(reader: StoreReader) -> None:
    every, some = compare(reader, Survey()), compare(reader, Survey(), "2026-03-20")
    assert 0 < sum(c.notices for c in some[0]) < sum(c.notices for c in every[0])
    assert compare(reader, Survey(), "2026-04-01") == ([], 0)
