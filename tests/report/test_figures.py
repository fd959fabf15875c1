"""The figures of a report, by hand-made records and by properties."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dume_spider.decp import rules
from dume_spider.report.cpv import DIVISIONS
from dume_spider.report.figures import NAMED, Party, Refusals, Refused, Survey
from dume_spider.store.reading import SurveyedRecord


def marche(number: int, amount: Any = 1000.0, **fields: Any) -> SurveyedRecord:
    record = {
        "acheteur": {"id": "B1"},
        "titulaires": [{"titulaire": {"id": "T1", "typeIdentifiant": "SIRET"}}],
        "objet": f"objet {number}",
        "montant": amount,
        "codeCPV": "45210000",
    } | fields
    content = {name: value for name, value in record.items() if value is not None}
    buyer, day = content["acheteur"]["id"], "2026-03-01"
    return SurveyedRecord(
        number, "dume", f"r{number}", "MP", "2022", buyer, day, orjson.dumps(content), None, None
    )


def surveyed(*records: SurveyedRecord) -> Survey:
    survey = Survey()
    for record in records:
        survey.add(record)
    return survey


def test_parties() -> None:
    twice = [{"id": "T1", "typeIdentifiant": "SIRET"}] * 2
    named = {"id": "T2", "typeIdentifiant": "SIRET", "denominationSociale": " Les  Toits "}
    concession = SurveyedRecord(
        3,
        "dume",
        "r3",
        "CC",
        "2019",
        "B2",
        "",
        orjson.dumps(
            {
                "autoriteConcedante": {"id": "B2", "nom": "Ville"},
                "concessionnaires": [named],
                "valeurGlobale": 5,
            }
        ),
        None,
        None,
    )
    survey = surveyed(marche(1, titulaires=twice), marche(2, acheteur={"id": "B2"}), concession)
    assert survey.top_buyers(5) == [Party("B2", 2, 1005.0, "Ville"), Party("B1", 1, 1000.0)]
    assert survey.top_titulaires(1) == [Party("T1", 2, 2000.0)]
    assert survey.titulaires["SIRET", "T2"].label == "Les Toits"
    assert survey.titulaires["SIRET", "T1"].label == "T1"
    assert (survey.records, survey.types) == (3, Counter(MP=2, CC=1))
    assert survey.days == Counter({("2026-03-01", "MP"): 2, ("", "CC"): 1})
    assert survey.amount == 2005.0


def test_repairs_and_warnings_count_records() -> None:
    repairs = [
        {"path": f"titulaires.{place}.id", "rule": "siret", "before": 1, "after": "1"}
        for place in range(3)
    ]
    warnings = [{"path": "", "rule": "text-html", "message": ""}] * 2
    record = marche(1)._replace(
        repairs=orjson.dumps(repairs).decode(), warnings=orjson.dumps(warnings).decode()
    )
    survey = surveyed(record, marche(2))
    assert survey.repairs == Counter({("titulaires.id", "siret"): 1})
    assert survey.warnings == Counter({"text-html": 1})
    assert survey.repaired == 1


def test_cpv_divisions() -> None:
    survey = surveyed(
        marche(1), marche(2, codeCPV="45"), marche(3, codeCPV="99000000"), marche(4, codeCPV=None)
    )
    assert survey.cpv == Counter({"45": 2, "": 2})
    assert survey.cpv_amounts["45"] == 2000.0


def test_the_divisions_are_those_of_the_rules() -> None:
    known = re.compile(rules._CPV_DIVISION.pattern)
    assert set(DIVISIONS) == {f"{n:02}" for n in range(100) if known.fullmatch(f"{n:02}")}
    assert len(DIVISIONS) == 45


def test_outliers_are_named_the_most_extreme_first() -> None:
    usual = [marche(n, 1000.0 * 1.1 ** (n % 20)) for n in range(200)]
    high = [marche(1000 + n, 10.0 ** (9 + n)) for n in range(12)]
    low = [marche(2000, 0.01)]
    survey = surveyed(*usual, *high, *low, marche(3000, 0), marche(3001, None), marche(3002, -5))
    highest, lowest, count = survey.amounts.outliers()
    assert [contract.reference for contract in highest] == [f"r{1011 - n}" for n in range(NAMED)]
    assert [(c.reference, c.amount, c.objet) for c in lowest] == [("r2000", 0.01, "objet 2000")]
    assert count == 13
    assert (survey.amounts.nothing, survey.amounts.absent) == (2, 1)


def test_examples_are_of_different_references_where_there_are() -> None:
    reason = Refusals("objet", "required")
    for id, reference in enumerate(["a", "a", "a", "a", None, "b", "c", "d"]):
        reason.add(Refused(id, reference, "is missing"))
    assert reason.rows == 8
    assert [example.id for example in reason.examples] == [0, 4, 5]
    lonely = Refusals("objet", "required")
    for id in range(5):
        lonely.add(Refused(id, "a", "is missing"))
    assert [example.id for example in lonely.examples] == [0, 1, 2]


@pytest.mark.parametrize("amounts", [[], [1.0, 2.0, 1e9], [7.0] * 50 + [1e9]])
def test_without_a_spread_nothing_is_an_outlier(amounts: list[float]) -> None:
    survey = surveyed(*(marche(n, amount) for n, amount in enumerate(amounts)))
    assert survey.amounts.outliers() == ([], [], 0)


@settings(max_examples=60)
@given(st.lists(st.floats(1e-6, 1e15), max_size=60))
def test_every_amount_is_in_its_bin(amounts: list[float]) -> None:
    survey = surveyed(*(marche(n, amount) for n, amount in enumerate(amounts)))
    bins = survey.amounts.histogram()
    assert sum(counts["MP"] for _, _, counts in bins) == len(amounts)
    for low, high, counts in bins:
        # The edges of bins are powers that a float only comes close to.
        within = sum(low * (1 - 1e-9) <= amount < high * (1 + 1e-9) for amount in amounts)
        assert within >= counts["MP"]
    highest, lowest, count = survey.amounts.outliers()
    assert count >= len(highest) + len(lowest)
    assert min(NAMED, count) <= len(highest) + len(lowest) <= 2 * NAMED
    if highest or lowest:
        low, high = survey.amounts.fences()
        assert all(contract.amount > high for contract in highest)
        assert all(contract.amount < low for contract in lowest)
