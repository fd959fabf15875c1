"""Harvests of a service that changes in between: counts and files as computed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from stdnum import luhn

MARCH = {"date_start": "2026-03-01", "date_end": "2026-03-31"}
BUYER = "21750001600019"


def marche(reference: str, **changes: Any) -> dict[str, Any]:
    """A valid marché of the 2022 regime, as a file for the sandbox holds it."""
    return {
        "referenceUnique": reference,
        "id": reference[-8:],
        "acheteur": {"id": BUYER},
        "nature": "Marché",
        "objet": "Entretien des jardins",
        "codeCPV": "77310000",
        "techniques": {"technique": ["Sans objet"]},
        "modalitesExecution": {"modaliteExecution": ["Sans objet"]},
        "marcheInnovant": False,
        "ccag": "Pas de CCAG",
        "offresRecues": 3,
        "attributionAvance": False,
        "typeGroupementOperateurs": "Pas de groupement",
        "sousTraitanceDeclaree": False,
        "procedure": "Procédure adaptée",
        "lieuExecution": {"code": "75", "typeCode": "Code département"},
        "dureeMois": 12,
        "dateNotification": "2026-02-20",
        "datePublicationDonnees": "2026-03-02",
        "montant": 120000,
        "typesPrix": {"typePrix": ["Définitif ferme"]},
        "formePrix": "Forfaitaire",
        "titulaires": [{"titulaire": {"typeIdentifiant": "SIRET", "id": "35600000000048"}}],
        "considerationsSociales": {"considerationSociale": ["Clause sociale"]},
        "considerationsEnvironnementales": {
            "considerationEnvironnementale": ["Clause environnementale"]
        },
    } | changes


def siret(number: int) -> str:
    """A SIRET whose check sums, that of the SIREN in it too, are right."""
    siren = f"{number:08d}"
    siren += luhn.calc_check_digit(siren)
    return f"{siren}0001{luhn.calc_check_digit(siren + '0001')}"


def modification(number: int, day: str, montant: int) -> dict[str, Any]:
    return {
        "modification": {
            "id": number,
            "dateNotificationModification": day,
            "datePublicationDonneesModification": day,
            "montant": montant,
        }
    }


PROCEDURES = (
    "Procédure adaptée",
    "Appel d'offres ouvert",
    "Appel d'offres restreint",
    "Dialogue compétitif",
)

FIRST = modification(1, "2026-03-10", 130000)
SECOND = modification(2, "2026-03-20", 140000)


@pytest.fixture
def harvest_of(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Any], tmp_path: Path
) -> Callable[..., Any]:
    """Harvest a sandbox that serves these records, with these arguments."""

    def run(records: Sequence[dict[str, Any]], arguments: dict[str, str]) -> Any:
        data = tmp_path / "data.json"
        data.write_text(json.dumps({"marches": {"marche": records}}), encoding="utf-8")
        sandbox = start_sandbox("--data", data)
        done = crawl(sandbox.url, arguments)
        sandbox.stop()
        return done

    return run


@pytest.mark.slow
def test_three_harvests(harvest_of: Callable[..., Any], tmp_path: Path) -> None:
    def harvest(*records: dict[str, Any]) -> Any:
        done = harvest_of(records, MARCH)
        assert done.status == 0, done.output
        assert done.summary["balanced"]
        return done

    def counts(done: Any) -> dict[str, int]:
        return {name: number for name, number in done.counts.items() if number}

    def written(done: Any) -> list[dict[str, Any]]:
        files = [tmp_path / "decp" / file["name"] for file in done.summary["files"]]
        return [
            record
            for path in files
            for record in json.loads(path.read_bytes())["marches"]["marche"]
        ]

    same = marche("AIFEDUME-aaaaaaaa")
    grows = marche("AIFEDUME-bbbbbbbb", objet="Nettoyage")
    withdrawn = marche("AIFEDUME-cccccccc", objet="Gardiennage")
    wrong = marche("AIFEDUME-dddddddd", objet="Sans montant", montant=0)

    first = harvest(same, grows, withdrawn, wrong)
    assert counts(first) == {
        "rows": 4,
        "references": 4,
        "new": 3,
        "rejected": 1,
        "written": 3,
    }
    assert [record["id"] for record in written(first)] == ["aaaaaaaa", "bbbbbbbb", "cccccccc"]
    (number,) = [file["name"][-7:-5] for file in first.summary["files"]]
    assert number == "01"

    # One gets a modification, one is withdrawn, one is put right, two are new; of these one
    # is the same contract under another reference.
    twin = same | {"referenceUnique": "AIFEDUME-ffffffff"}
    second = harvest(
        same,
        grows | {"modifications": [FIRST]},
        wrong | {"montant": 50000},
        marche("AIFEDUME-eeeeeeee", objet="Peinture"),
        twin,
    )
    assert counts(second) == {
        "rows": 5,
        "references": 5,
        "new": 2,
        "updated": 1,
        "unchanged": 1,
        "superseded": 1,
        "written": 3,
    }
    assert [(record["id"], record.get("modifications")) for record in written(second)] == [
        ("bbbbbbbb", [FIRST]),
        ("dddddddd", None),
        ("eeeeeeee", None),
    ]
    (number,) = [file["name"][-7:-5] for file in second.summary["files"]]
    assert number == "02"

    # The service gives the second modification without the first, an older version of
    # another, and the withdrawn one again.
    third = harvest(
        same,
        grows | {"modifications": [SECOND]},
        wrong | {"montant": 50000},
        marche("AIFEDUME-eeeeeeee", objet="Peinture"),
        twin,
        withdrawn,
    )
    assert counts(third) == {
        "rows": 6,
        "references": 6,
        "updated": 1,
        "unchanged": 4,
        "superseded": 1,
        "written": 1,
    }
    assert [record["modifications"] for record in written(third)] == [[FIRST, SECOND]]

    fourth = harvest(grows)
    assert counts(fourth) == {"rows": 1, "references": 1, "superseded": 1}
    assert fourth.summary["files"] == []


@pytest.mark.slow
def test_a_contract_under_another_reference_is_named(
    harvest_of: Callable[..., Any],
) -> None:
    """By the State's key: the same number, buyer, titulaire, whole euros and notification."""

    def harvest(*records: dict[str, Any]) -> Any:
        done = harvest_of(records, MARCH)
        assert done.status == 0, done.output
        return done

    one = marche("AIFEDUME-aaaaaaaa", id="2026-1")
    other = marche("AIFEDUME-bbbbbbbb", id="2026-2")
    assert harvest(one, other).summary["duplicates"] == []
    again = one | {"objet": "Corrigé", "montant": 120000.4}
    third = harvest(
        one,
        other | {"dureeMois": 13},
        again | {"referenceUnique": "AIFEDUME-cccccccc"},
        again | {"referenceUnique": "AIFEDUME-dddddddd", "montant": 119999},
    )
    assert third.counts["written"] == 3
    assert third.summary["duplicates"] == [
        {"reference": "AIFEDUME-cccccccc", "same_as": "AIFEDUME-aaaaaaaa"}
    ]
    assert third.summary["warnings"]["duplicate"] == 1
    assert (
        "[DECP-05] Contracts under a further reference: 1, such as AIFEDUME-cccccccc, the same as "
        "AIFEDUME-aaaaaaaa; the State keeps the one published last"
    ) in third.output


@pytest.mark.slow
def test_labels_of_earlier_harvests_uncover_a_hidden_row(
    harvest_of: Callable[..., Any],
) -> None:
    """A procedure that no list has is asked once a harvest has met it, even in a rejected row."""
    label = "Procédure inconnue"

    def harvest(day: str, *records: dict[str, Any]) -> Any:
        done = harvest_of(records, {"date": day, "detail": "never"})
        assert done.summary["balanced"], done.output
        return done

    def crowd(day: str, last: str) -> list[dict[str, Any]]:
        """More rows of a day than an answer holds, and one that no label of theirs leads to."""
        ordinary = [
            marche(
                f"AIFEDUME-{n:08d}",
                datePublicationDonnees=day,
                procedure=PROCEDURES[n % len(PROCEDURES)],
                codeCPV=f"{45000000 + 10000 * n}",
                acheteur={"id": siret(n)},
                titulaires=[{"titulaire": {"typeIdentifiant": "SIRET", "id": siret(n)}}],
            )
            for n in range(120)
        ]
        hidden = {"procedure": label, "nature": "Nature inconnue", "codeCPV": "98000000"}
        hidden["acheteur"] = {"id": "35600000000048"}
        hidden["titulaires"] = [{"titulaire": {"typeIdentifiant": "SIRET", "id": BUYER}}]
        return [*ordinary, marche(last, datePublicationDonnees=day, **hidden)]

    unknown = harvest("2026-03-05", *crowd("2026-03-05", "AIFEDUME-unseen"))
    assert (unknown.counts["rows"], unknown.rejected) == (120, [])

    told = marche("AIFEDUME-told", procedure=label, datePublicationDonnees="2026-03-03")
    assert harvest("2026-03-03", told).counts["rejected"] == 1
    known = harvest("2026-03-05", *crowd("2026-03-05", "AIFEDUME-unseen"))
    assert [line["reference"] for line in known.rejected] == ["AIFEDUME-unseen"]
