"""Notices as a flat table."""

from __future__ import annotations

from typing import Any

import pytest
from notices import (
    BUYER,
    CITY,
    PAINT,
    WORKS,
    company,
    contract,
    eforms,
    euros,
    fnsimple,
    group,
    lot,
    read,
    result,
    simple,
    system,
    tender,
)

from dume_spider.boamp.tables import NOTICE_COLUMNS, flat_rows

NAMES = [column.name for column in NOTICE_COLUMNS]
KINDS = {"text": str, "integer": int, "number": (int, float)}


def lines(**columns: Any) -> list[dict[str, Any]]:
    """The lines of a notice, without their empty cells."""
    rows = list(flat_rows(read(**columns).notice))
    for row in rows:
        assert list(row) == NAMES
        for column in NOTICE_COLUMNS:
            value = row[column.name]
            assert value is None or isinstance(value, KINDS[column.kind])
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def test_a_notice_without_awards_is_one_line() -> None:
    notice = {"nature": "APPEL_OFFRE", "objet": "Travaux", "annonce_lie": ["26-1", "26-2"]}
    assert lines(donnees={"MAPA": {}}, **notice) == [
        {
            "idweb": "26-100",
            "nature": "APPEL_OFFRE",
            "payload_kind": "mapa",
            "objet": "Travaux",
            "annonces": "26-1 | 26-2",
        }
    ]


def test_one_line_per_award() -> None:
    payload = eforms(
        organisations=[
            BUYER,
            company("ORG-2", "Travaux SA", WORKS),
            company("ORG-3", "Inconnu", ""),
            company("ORG-4", "Peinture", [f"FR46{PAINT[:9]}", PAINT]),
        ],
        lots=[lot("LOT-0001", "Un"), lot("LOT-0002", "Deux")],
        procedure="open",
        results=[
            result("LOT-0001", tender="TEN-1", contract="CON-1"),
            result("LOT-0002", code="clos-nw"),
        ],
        tenders=tender("TEN-1", "LOT-0001", "TPA-1", euros("1000.5")),
        parties=group("TPA-1", "ORG-2", "ORG-3", "ORG-4"),
        contracts=contract("CON-1", reference="M1", issued="2026-05-04Z"),
    )
    first, second = lines(
        donnees=payload, dateparution="2026-06-01", titulaire=["TRAVAUX SA", "INCONNU"]
    )
    shared = {
        "idweb": "26-100",
        "dateparution": "2026-06-01",
        "nature": "ATTRIBUTION",
        "payload_kind": "eforms",
        "titulaire": "TRAVAUX SA | INCONNU",
        "type": "MP",
        "acheteur_id": CITY,
    }
    assert first.pop("missing").split(" | ")[:2] == ["id", "nature"]
    assert first == shared | {
        "award": 1,
        "status": "awarded",
        "lot": "LOT-0001",
        "lot_objet": "Un",
        "reference": "M1",
        "titulaire_nom": "Travaux SA | Inconnu | Peinture",
        "titulaire_id": f"{WORKS} |  | {PAINT}",
        "titulaire_typeIdentifiant": "SIRET |  | SIRET",
        "montant": 1000.5,
        "montant_devise": "EUR",
        "date_conclusion": "2026-05-04",
        "procedure": "Appel d'offres ouvert",
    }
    assert second == shared | {
        "award": 2,
        "status": "not-awarded",
        "lot": "LOT-0002",
        "lot_objet": "Deux",
    }


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("Montant : 1 000 € HT\nPrix : 1 200 € TTC", {"montant": 1000, "montant_taxe": "excluded"}),
        ("maximum : 5 000 € HT", {"montant_maximum": 5000}),
        ("estimation : 5 000 € HT", {}),
        ("Prix 1 000 €\nPrix 2 000 €", {}),
    ],
)
def test_the_amount_is_the_contract_s(line: str, cells: dict[str, Any]) -> None:
    (row,) = lines(donnees=fnsimple(f"Titulaire : A SA\n{line}"))
    row.pop("montant_devise", None)
    assert {name: value for name, value in row.items() if name.startswith("montant")} == cells


@pytest.mark.parametrize(("ceilings", "cell"), [(["5", "5"], 5), (["5", "6"], None)])
def test_a_ceiling_that_is_stated_twice(ceilings: list[str], cell: int | None) -> None:
    """Of a lot's result, and in the place of the tender's amount."""
    values = {"cbc:MaximumValueAmount": [euros(ceiling) for ceiling in ceilings]}
    (row,) = lines(
        donnees=simple(
            lots={
                **lot("LOT-0001", "Lot unique"),
                "cac:TenderingProcess": {"cac:ContractingSystem": system("fa-wo-rc")},
            },
            results=result(
                "LOT-0001",
                tender="TEN-1",
                contract="CON-1",
                **{"efac:FrameworkAgreementValues": values},
            ),
            tenders=tender("TEN-1", "LOT-0001", "TPA-1", euros("5")),
        )
    )
    assert (row.get("montant"), row.get("montant_maximum")) == (None, cell)


def test_ambiguous_amounts_are_left_out() -> None:
    two = tender("TEN-1", "LOT-0001", "TPA-1", [euros("1"), euros("2")])
    (row,) = lines(donnees=simple(tenders=two))
    assert "montant" not in row
