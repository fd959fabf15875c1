"""Verdicts on whole files: the official examples, the real files, duplicates."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from dume_spider.decp import verification
from dume_spider.decp.rules import RULES
from dume_spider.decp.verification import FileVerdict, verify_file

GOLDEN = Path(__file__).parent / "golden"
DAY = date(2026, 11, 20)


def verify(path: Path, **options: Any) -> FileVerdict:
    return verify_file(path, day=DAY, **options)


def counts(reasons: dict) -> dict[str, int]:
    return {f"{field}: {rule}": reason.records for (field, rule), reason in reasons.items()}


@pytest.mark.parametrize("regime", ["2019", "2022"])
def test_xml_has_the_verdict_of_the_json(regime: str) -> None:
    of_json, of_xml = (verify(GOLDEN / f"{regime}.{suffix}") for suffix in ("json", "xml"))
    assert of_json.records == of_xml.records == 4
    assert counts(of_json.errors) == counts(of_xml.errors)
    assert counts(of_json.warnings) == counts(of_xml.warnings)


@pytest.fixture
def records() -> list[Any]:
    """Three records of 2019."""
    return json.loads((GOLDEN / "2019.json").read_text(encoding="utf-8"))["marches"][:3]


def of(tmp_path: Path, marches: Any) -> FileVerdict:
    (tmp_path / "file").write_text(json.dumps({"marches": marches}), encoding="utf-8")
    return verify(tmp_path / "file")


def test_the_same_record_twice(tmp_path: Path, records: list[Any]) -> None:
    first = records[0]
    shuffled = dict(reversed(first.items()))
    verdict = of(tmp_path, [first, records[1], shuffled, first])
    reason = verdict.errors["record", "uniqueItems"]
    assert (reason.records, reason.first.path) == (2, "marches.2")
    assert reason.first.message == "is the same as marches.0"
    assert verdict.invalid == 2


def test_the_same_contract_twice(tmp_path: Path, records: list[Any]) -> None:
    later = dict(records[0], datePublicationDonnees="2019-09-01")
    verdict = of(tmp_path, [records[0], later])
    reason = verdict.warnings["record", "duplicate"]
    assert (reason.records, reason.first.path) == (1, "marches.1")
    assert reason.first.message == "is the same contract as marches.0 by the State's key"
    assert ("record", "uniqueItems") not in verdict.errors


def test_reasons_have_a_bound(tmp_path: Path, monkeypatch, records: list[Any]) -> None:
    monkeypatch.setattr(verification, "MOST_REASONS", 2)
    bad = dict(records[0], _type=1, id=1, objet=1, nature=1)
    verdict = of(tmp_path, [bad])
    assert len(verdict.errors) == 3
    assert counts(verdict.errors)["…: others"] == 1


def test_records_before_a_break_are_judged(tmp_path: Path) -> None:
    whole = (GOLDEN / "2022.json").read_bytes()
    (tmp_path / "file").write_bytes(whole[:-40])
    verdict = verify(tmp_path / "file")
    assert (verdict.records, verdict.is_valid) == (3, False)
    assert verdict.problem.endswith("it ends in the middle; correct it or fetch it again")


RULE_IDS = {rule.id for rule in RULES}


def test_official_examples_have_no_schema_error(shared: Path) -> None:
    files = sorted((shared / "official").glob("*/examples/*/*"))
    assert len(files) == 16
    broken = {}
    for file in files:
        verdict = verify(file)
        assert not verdict.problem
        assert verdict.records
        assert {rule for _, rule in verdict.errors} <= RULE_IDS, file
        if verdict.errors:
            broken[file.name] = counts(verdict.errors)
    assert broken == OFFICIAL


@pytest.mark.parametrize("name", ["aife", "marches-publics.info"])
def test_real_files(shared: Path, name: str) -> None:
    verdict = verify(shared / "data" / f"real-{name}-2019.json.gz")
    assert not verdict.problem
    found = (verdict.records, verdict.invalid, counts(verdict.errors), counts(verdict.warnings))
    assert found == REAL[name]


#: Errors of the official examples: rules alone.
OFFICIAL = {
    "mar-avec-modifications.json": {
        "dateNotification: date-years": 1,
        "datePublicationDonnees: date-years": 1,
        "modifications.dateNotificationModification: date-years": 1,
        "modifications.datePublicationDonneesModification: date-years": 1,
    },
    "mar-basique-avec-uid.json": {
        "dateNotification: date-years": 1,
        "datePublicationDonnees: date-years": 1,
    },
    "mar-basique.json": {
        "dateNotification: date-years": 1,
        "datePublicationDonnees: date-years": 1,
    },
    "paquet-avec-uid.json": {
        "dateNotification: date-years": 1,
        "datePublicationDonnees: date-years": 1,
    },
    "paquet-result.json": {"titulaires.id: siret": 1, "acheteur.id: siret": 1},
    "paquet.json": {"dateNotification: date-years": 1, "datePublicationDonnees: date-years": 1},
    "concessions.json": {"autoriteConcedante.id: siret": 2},
    "concessions_avec_modifications.json": {"autoriteConcedante.id: siret": 2},
    "marches_avec_modifications.json": {"acheteur.id: siret": 1},
    "marches_concessions.json": {"autoriteConcedante.id: siret": 2, "acheteur.id: siret": 1},
    "Contrat-concession-modification.xml": {"autoriteConcedante.id: siret": 2},
    "Contrat-concession.xml": {"autoriteConcedante.id: siret": 2},
}

#: Records, invalid ones, errors and warnings of the real files.
REAL = {
    "aife": (
        4530,
        4242,
        {
            "datePublicationDonnees: required": 4113,
            "dateNotification: required": 2511,
            "procedure: enum": 190,
            "record: uniqueItems": 167,
            "codeCPV: pattern": 93,
            "titulaires.typeIdentifiant: enum": 35,
            "montant: test-record": 34,
            "objet: required": 26,
            "id: test-record": 23,
            "nature: enum": 22,
            "lieuExecution.typeCode: enum": 22,
            "valeurGlobale: type": 22,
            "modifications.dateNotificationModification: required": 20,
            "donneesExecution.datePublicationDonneesExecution: required": 18,
            "acheteur.id: siret": 11,
            "modifications.dateSignatureModification: required": 11,
            "lieuExecution.typeCode: required": 8,
            "id: required": 7,
            "titulaires: required": 6,
            "nature: required": 6,
            "titulaires: uniqueItems": 5,
            "titulaires.id: siret": 4,
            "codeCPV: required": 4,
            "procedure: required": 2,
            "acheteur: required": 1,
            "lieuExecution: required": 1,
            "formePrix: required": 1,
        },
        {
            "codeCPV: cpv-division": 37,
            "record: duplicate": 17,
            "objet: text-replacement": 22,
            "lieuExecution.nom: text-replacement": 10,
            "acheteur.nom: text-replacement": 8,
            "acheteur.id: siren": 5,
            "titulaires.denominationSociale: text-replacement": 4,
            "lieuExecution.code: lieu-code": 1,
        },
    ),
    "marches-publics.info": (
        4509,
        299,
        {
            "procedure: enum": 135,
            "titulaires.id: siret": 84,
            "montant: montant-min": 52,
            "acheteur.id: siret": 8,
            "codeCPV: pattern": 7,
            "modifications: uniqueItems": 3,
            "dateNotification: date-years": 2,
            "concessionnaires.id: siret": 1,
            "montant: montant-suspect": 1,
            "id: id": 1,
            "titulaires.id: identifiant": 1,
            "valeurGlobale: montant-min": 1,
            "dateDebutExecution: pattern": 1,
            "titulaires: uniqueItems": 1,
            "modifications.dureeMois: type": 1,
        },
        {
            "objet: text-html": 322,
            "lieuExecution.code: lieu-code": 182,
            "record: duplicate": 5,
            "modifications.objetModification: text-html": 4,
            "modifications.montant: montant-other": 2,
            "lieuExecution.nom: text-html": 2,
            "titulaires.id: siret-other": 1,
            "modifications.dateNotificationModification: modification-dates": 1,
            "titulaires.id: tva": 1,
            "titulaires.id: siren": 1,
        },
    ),
}
