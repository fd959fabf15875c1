from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from dume_spider.decp.regime import ContractType
from dume_spider.dume.facts import facts_of
from dume_spider.dume.mapping import load_field_names
from dume_spider.dume.planner import RowFacts
from dume_spider.sandbox.generator import generate
from dume_spider.spiders.dume import facts_of_json

NAMES = load_field_names()
MP, CC = ContractType.MARCHE, ContractType.CONCESSION


@pytest.mark.parametrize(
    ("row", "asked", "expected"),
    [
        (
            {
                "referenceUnique": "R1",
                "procedure": "PROCEDURE ADAPTEE",
                "nature": "Marché",
                "donneesMP": {
                    "idAcheteur": "217 500 016 00019",
                    "codeCPV": 3111000,
                    "titulaires": [
                        {"typeIdentifiant": "SIRET", "id": "1"},
                        {"titulaire": {"id": "2"}},
                        [{"id": 3}],
                        "x",
                    ],
                },
            },
            None,
            (
                "R1",
                MP,
                "PROCEDURE ADAPTEE",
                "Marché",
                "3111000",
                "217 500 016 00019",
                ("1", "2", "3"),
            ),
        ),
        (
            {
                "referenceUnique": "R2",
                "donneesCC": {
                    "idAutoriteConcedante": "9",
                    "concessionnaires": {"concessionnaire": {"id": "8"}},
                },
            },
            None,
            ("R2", CC, None, None, None, "9", ("8",)),
        ),
        ({"referenceUnique": 7, "nature": None}, CC, ("7", CC, None, None, None, None, ())),
    ],
)
def test_raw_values(
    row: dict[str, Any], asked: ContractType | None, expected: tuple[Any, ...]
) -> None:
    assert facts_of(row, NAMES, asked)[1:] == expected


@pytest.mark.parametrize("row", [None, "text", 3, ["a"]])
def test_what_is_no_row_has_a_key_only(row: object) -> None:
    facts = facts_of(row, NAMES, MP)
    assert facts == RowFacts(facts.key)
    assert facts.key.startswith(":")


def test_the_facts_of_generated_rows_are_those_of_their_records() -> None:
    days = date(2026, 3, 1), date(2026, 3, 31)
    for made in generate(100, 3, *days, faulty=0, trapped=0):
        facts = facts_of(made.served.row, NAMES, None)
        record = made.record
        assert facts.reference == made.served.reference
        assert facts.type_de == made.type
        assert facts.nature == record["nature"]
        assert facts.procedure == record["procedure"]
        assert facts.acheteur_id == (record.get("acheteur") or record["autoriteConcedante"])["id"]


def test_the_labels_of_all_rows_are_held_once() -> None:
    text = '{"procedure": "Procédure adaptée", "donneesMP": {"titulaires": [{"id": "35600"}]}}'
    one, other = (facts_of(json.loads(text), NAMES, None) for _ in range(2))
    assert one.procedure is other.procedure
    again = facts_of_json(json.loads(json.dumps(one)))
    assert again == one
    assert again.procedure is one.procedure
    assert again.titulaire_ids[0] is one.titulaire_ids[0]


def test_a_label_that_is_too_long_to_be_asked_for_is_none() -> None:
    assert facts_of({"procedure": "p" * 200}, NAMES, None).procedure == "p" * 200
    assert facts_of({"procedure": "p" * 201}, NAMES, None).procedure is None
