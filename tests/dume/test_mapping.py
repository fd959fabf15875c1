from __future__ import annotations

import copy
import gzip
import json
import re
import sys
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.repair import fields_of, fit
from dume_spider.decp.schema import problems
from dume_spider.decp.verdict import Problem, Repair
from dume_spider.dume.mapping import MappedRow, MissingFields, load_field_names, map_row
from dume_spider.exceptions import FieldMapError

MP, CC = ContractType
R2019, R2022 = Regime
NAMES = load_field_names()

SIRET = "81223113200026"

#: A row as the code of two clients and the notes on version 1 let one expect it.
MARCHE_ROW = {
    "referenceUnique": "AIFEDUME-daoxup8c",
    "typeDE": "MP",
    "id": "2024M01",
    "objet": "Entretien des espaces verts",
    "nature": "Marché",
    "procedure": "Procédure adaptée",
    "dureeMois": 48,
    "datePublicationDonnees": "2024-05-25",
    "rsDemandeur": "AIFE",
    "modifications": [
        {
            "id": 1,
            "dateNotificationModification": "2024-09-01",
            "datePublicationDonneesModification": "2024-09-10",
            "dureeMois": 60,
            "montant": 130000,
            "titulaires": [{"typeIdentifiant": "SIRET", "id": SIRET}],
        }
    ],
    "donneesMP": {
        "idAcheteur": "21750001600019",
        "technique": "Accord-cadre",
        "modaliteExecution": "Bons de commande",
        "idAccordCadre": "2023AC01",
        "codeCPV": "77310000",
        "lieuExecutionCode": "75",
        "lieuExecutionTypeCode": "Code département",
        "dateNotification": "2024-05-15",
        "marchesInnovant": False,
        "attributionAvance": True,
        "sousTraitanceDeclaree": True,
        "tauxAvance": 0.05,
        "origineUE": 0.6,
        "origineFrance": 0.5,
        "ccag": "Fournitures courantes et services",
        "formePrix": "Unitaire",
        "typePrix": "Définitif révisable",
        "typeGroupementOperateurs": "Pas de groupement",
        "offresRecues": 3,
        "montant": 120000,
        "titulaires": [
            {"typeIdentifiant": "SIRET", "id": SIRET},
            {"typeIdentifiant": "TVA", "id": "DE814864138"},
        ],
        "considerationsSociales": "Clause sociale",
        "considerationsEnvironnementales": ["Pas de considération environnementale"],
        "actesSousTraitance": [
            {
                "id": 1,
                "sousTraitant": {"typeIdentifiant": "SIRET", "id": SIRET},
                "dureeMois": 6,
                "dateNotification": "2024-06-01",
                "datePublicationDonnees": "2024-06-10",
                "montant": 1000.5,
                "variationPrix": "Ferme",
            }
        ],
        "modificationsActesSousTraitance": [
            {
                "id": 1,
                "dureeMois": 8,
                "dateNotificationModificationSousTraitance": "2024-08-01",
                "datePublicationDonnees": "2024-08-10",
                "montant": 1200,
            }
        ],
    },
    "donneesCC": None,
}

MARCHE = {
    "id": "2024M01",
    "acheteur": {"id": "21750001600019"},
    "nature": "Marché",
    "objet": "Entretien des espaces verts",
    "codeCPV": "77310000",
    "techniques": {"technique": ["Accord-cadre"]},
    "modalitesExecution": {"modaliteExecution": ["Bons de commande"]},
    "idAccordCadre": "2023AC01",
    "marcheInnovant": False,
    "ccag": "Fournitures courantes et services",
    "offresRecues": 3,
    "attributionAvance": True,
    "tauxAvance": 0.05,
    "typeGroupementOperateurs": "Pas de groupement",
    "sousTraitanceDeclaree": True,
    "actesSousTraitance": [{"acteSousTraitance": MARCHE_ROW["donneesMP"]["actesSousTraitance"][0]}],
    "procedure": "Procédure adaptée",
    "lieuExecution": {"code": "75", "typeCode": "Code département"},
    "dureeMois": 48,
    "dateNotification": "2024-05-15",
    "datePublicationDonnees": "2024-05-25",
    "montant": 120000,
    "typesPrix": {"typePrix": ["Définitif révisable"]},
    "formePrix": "Unitaire",
    "origineUE": 0.6,
    "origineFrance": 0.5,
    "titulaires": [
        {"titulaire": {"typeIdentifiant": "SIRET", "id": SIRET}},
        {"titulaire": {"typeIdentifiant": "TVA", "id": "DE814864138"}},
    ],
    "considerationsSociales": {"considerationSociale": ["Clause sociale"]},
    "considerationsEnvironnementales": {
        "considerationEnvironnementale": ["Pas de considération environnementale"]
    },
    "modificationsActesSousTraitance": [
        {
            "modificationActeSousTraitance": MARCHE_ROW["donneesMP"][
                "modificationsActesSousTraitance"
            ][0]
        }
    ],
    "modifications": [
        {
            "modification": MARCHE_ROW["modifications"][0]
            | {"titulaires": [{"titulaire": {"typeIdentifiant": "SIRET", "id": SIRET}}]}
        }
    ],
}

CONCESSION_ROW = {
    "referenceUnique": "AIFEDUME-cc000001",
    "typeDE": "CC",
    "id": "2024C01",
    "objet": "Exploitation du théâtre",
    "nature": "Délégation de service public",
    "procedure": "Procédure négociée ouverte",
    "dureeMois": 60,
    "datePublicationDonnees": "2024-05-25",
    "modifications": [
        {
            "id": 1,
            "dateSignatureModification": "2024-09-01",
            "datePublicationDonneesModification": "2024-09-10",
            "dureeMois": 72,
            "valeurGlobale": 1100000,
        }
    ],
    "donneesMP": None,
    "donneesCC": {
        "idAutoriteConcedante": "21750001600019",
        "dateSignature": "2024-05-15",
        "dateDebutExecution": "2024-06-01",
        "valeurGlobale": 1000000,
        "montantSubventions": 0,
        "concessionnaires": [{"typeIdentifiant": "SIRET", "id": SIRET}],
        "considerationsSociales": ["Clause sociale", "Concession réservée"],
        "considerationsEnvironnementales": "Clause environnementale",
        "donneesExecution": [
            {
                "datePublicationDonneesExecution": "2024-12-31",
                "depensesInvestissement": 12.5,
                "tarifs": [{"intituleTarif": "Plein tarif", "tarif": 9.5}],
            }
        ],
    },
}

CONCESSION = {
    "id": "2024C01",
    "autoriteConcedante": {"id": "21750001600019"},
    "nature": "Délégation de service public",
    "objet": "Exploitation du théâtre",
    "procedure": "Procédure négociée ouverte",
    "dureeMois": 60,
    "dateSignature": "2024-05-15",
    "datePublicationDonnees": "2024-05-25",
    "dateDebutExecution": "2024-06-01",
    "valeurGlobale": 1000000,
    "montantSubventionPublique": 0,
    "donneesExecution": [
        {
            "donneesAnnuelles": {
                "datePublicationDonneesExecution": "2024-12-31",
                "depensesInvestissement": 12.5,
                "tarifs": [{"tarif": {"intituleTarif": "Plein tarif", "tarif": 9.5}}],
            }
        }
    ],
    "concessionnaires": [{"concessionnaire": {"typeIdentifiant": "SIRET", "id": SIRET}}],
    "considerationsSociales": {"considerationSociale": ["Clause sociale", "Concession réservée"]},
    "considerationsEnvironnementales": {
        "considerationEnvironnementale": ["Clause environnementale"]
    },
    "modifications": [{"modification": CONCESSION_ROW["modifications"][0]}],
}

#: Version 1, by the notes of a third party: wrapped, the titulaires an object.
V1_ROW = {
    "domainListDonneesEssentiellesMP": {
        "domainRecuperDEDeBase": {
            "donneesDeBase": {
                "acheteur": {"id": "21750001600019", "nom": "Ville de Paris"},
                "typeDE": "MP",
                "id": "2019M0100",
                "nature": "MARCHE",
                "objet": "Fourniture de poissons",
                "codeCPV": 3311000,
                "procedure": "Procédure adaptée",
                "lieuExecution": {"typeCode": "CODE_DEPARTEMENT", "code": "75", "nom": "Paris"},
                "dureeMois": 12,
                "dateSignature": None,
                "datePublicationDonnees": "2019-05-25",
                "dateNotification": "2019-05-15",
                "montant": 1000.0,
                "valeurGlobale": 0.0,
                "montantSubventions": None,
                "formePrix": "Ferme",
                "titulaires": {
                    "typeIdentifiant": "SIRET",
                    "id": SIRET,
                    "denominationSociale": "Marée",
                },
                "concessionnaires": None,
            },
            "donneesConsultation": {
                "numeroLot": "001",
                "idConsultation": "ABCDEF12345678",
                "refFonctionnelleDE": "AIFEDUME-v1v1v1v1",
                "serviceDumePublicationDate": "2019-05-26",
                "datagouvPubliable": True,
                "idDemandeur": "12345698765445",
                "rsDemandeur": "AIFE",
            },
        },
        "domainRecuperDEExecution": None,
    }
}

V1_RECORD = {
    "id": "2019M0100",
    "_type": "Marché",
    "acheteur": {"id": "21750001600019", "nom": "Ville de Paris"},
    "nature": "Marché",
    "objet": "Fourniture de poissons",
    "codeCPV": "03311000",
    "procedure": "Procédure adaptée",
    "lieuExecution": {"code": "75", "typeCode": "Code département", "nom": "Paris"},
    "dureeMois": 12,
    "dateNotification": "2019-05-15",
    "datePublicationDonnees": "2019-05-25",
    "montant": 1000,
    "formePrix": "Ferme",
    "titulaires": [
        {"typeIdentifiant": "SIRET", "id": SIRET, "denominationSociale": "Marée"},
    ],
    "modifications": [],
}


def with_block(row, block="donneesMP", /, **values):
    """A copy of a row with other values in its block."""
    return row | {block: row[block] | values}


def without(row, *keys, block="donneesMP"):
    row = {key: value for key, value in row.items() if key not in keys}
    return row | {block: {k: v for k, v in row[block].items() if k not in keys}}


def told(mapped: MappedRow):
    return [(problem.path, problem.rule, problem.message) for problem in mapped.problems]


# ------------------------------------------------------------------------ whole rows


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            MARCHE_ROW,
            MappedRow("AIFEDUME-daoxup8c", MP, R2022, MARCHE),
        ),
        (
            CONCESSION_ROW,
            MappedRow("AIFEDUME-cc000001", CC, R2022, CONCESSION),
        ),
        (
            V1_ROW,
            MappedRow(
                "AIFEDUME-v1v1v1v1",
                MP,
                R2019,
                V1_RECORD,
                repairs=(
                    Repair("nature", "label", "MARCHE", "Marché"),
                    Repair("codeCPV", "cpv", 3311000, "03311000"),
                    Repair(
                        "lieuExecution.typeCode", "label", "CODE_DEPARTEMENT", "Code département"
                    ),
                    Repair(
                        "titulaires",
                        "wrap",
                        {"typeIdentifiant": "SIRET", "id": SIRET, "denominationSociale": "Marée"},
                        [{"typeIdentifiant": "SIRET", "id": SIRET, "denominationSociale": "Marée"}],
                    ),
                ),
                unknown=(
                    (
                        (
                            "domainListDonneesEssentiellesMP.domainRecuperDEDeBase."
                            "donneesConsultation.datagouvPubliable"
                        ),
                        "boolean",
                    ),
                ),
            ),
        ),
    ],
    ids=["marché", "concession", "version 1"],
)
def test_the_rows_that_the_facts_describe(row, expected):
    given = copy.deepcopy(row)
    assert map_row(row, NAMES) == expected
    assert problems(expected.record, expected.type, expected.regime) == []
    assert row == given


def test_a_row_with_the_record_s_own_shape():
    for type, record in ((MP, MARCHE), (CC, CONCESSION)):
        mapped = map_row({"referenceUnique": "R"} | record, NAMES)
        assert (mapped.type, mapped.record, mapped.problems, mapped.unknown) == (
            type,
            record,
            (),
            (),
        )
        assert mapped.repairs == ()


def test_a_concession_of_2019_with_the_names_of_a_marche():
    row = {
        "referenceUnique": "R",
        "typeDE": "CC",
        "acheteur": {"id": "21750001600019", "nom": "Ville de Paris"},
        "dateSignature": "2019-05-15",
        "modifications": None,
    }
    mapped = map_row(row, NAMES)
    assert mapped.regime is R2019
    assert mapped.record == {
        "_type": "Contrat de concession",
        "autoriteConcedante": {"id": "21750001600019", "nom": "Ville de Paris"},
        "dateSignature": "2019-05-15",
        "donneesExecution": [],
        "modifications": [],
    }
    assert mapped.unknown == ()


def test_an_old_contract_without_the_three_names_of_2019():
    row = with_block(MARCHE_ROW | {"modifications": None}, dateNotification="2023-12-31")
    row["donneesMP"]["formePrix"] = "Ferme"
    mapped = map_row(row, NAMES)
    assert (mapped.regime, mapped.record["_type"]) == (R2019, "Marché")
    assert sorted(told(mapped)) == [
        ("acheteur.nom", "required", "is missing"),
        ("lieuExecution.nom", "required", "is missing"),
        ("titulaires.0.denominationSociale", "required", "is missing"),
        ("titulaires.1.denominationSociale", "required", "is missing"),
    ]
    assert mapped.unknown == ()


@pytest.mark.parametrize(
    ("date", "problem"),
    [
        (None, ("required", "is missing")),
        ("NC", ("required", "is missing")),
        ("hier", ("date", "'hier' is not a date written YYYY-MM-DD")),
        (
            "2024-05-15T22:00:00Z",
            ("date", "'2024-05-15T22:00:00Z' is not a date written YYYY-MM-DD"),
        ),
    ],
)
def test_without_the_deciding_date_nothing_else_is_told(date, problem):
    row = with_block(MARCHE_ROW, dateNotification=date, montant="cher", titulaires=None)
    mapped = map_row(row, NAMES)
    rule, message = problem
    assert told(mapped) == [("dateNotification", rule, f"{message}, so the regime cannot be told")]
    assert mapped.regime is None
    assert mapped.record["objet"] == "Entretien des espaces verts"


# ------------------------------------------------------------------------ rows of anything


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (None, "the row is not an object but null"),
        ([MARCHE_ROW], "the row is not an object but a list"),
        ("<html>", "the row is not an object but a text"),
        (3, "the row is not an object but an integer"),
        (True, "the row is not an object but a boolean"),
    ],
)
def test_a_row_that_is_none(row, message):
    problem = Problem("", "row", message)
    assert map_row(row, NAMES, CC) == MappedRow(None, CC, None, {}, (problem,))


def calls_to_read(size: int) -> int:
    """How many functions are called to read a row of garbage."""
    # Each "duid" can be read in two ways.
    garbage = {"duid" * size: 1, "duid" * (size - 1) + "x": 2}
    row = garbage | {f"key{n}": n for n in range(100 * size)}
    names = load_field_names()
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        mapped = map_row(row, names)
    finally:
        sys.setprofile(None)
    assert len(mapped.unknown) == len(row)
    return calls


def test_reading_a_row_of_garbage_grows_with_its_size_alone():
    few, many = calls_to_read(12), calls_to_read(24)
    assert 1.5 * few < many < 3 * few


def test_a_row_nested_too_deeply():
    deep = []
    for _ in range(900):
        deep = [deep]
    for row in ({"referenceUnique": "R", "id": deep}, {"titulaires": deep, "Titulaires": [deep]}):
        mapped = map_row(row, NAMES)
        assert mapped.problems


@pytest.mark.parametrize(
    ("keys", "reference"),
    [
        ({"referenceUnique": " R1 "}, "R1"),
        ({"referenceUnique": 12}, "12"),
        ({"reference_unique": "R1"}, "R1"),
        ({"donneesMP": {"refFonctionnelleDE": "R1"}}, "R1"),
        ({"referenceUnique": None, "refFonctionnelleDE": "R2"}, "R2"),
        ({"referenceUnique": "R1", "refFonctionnelleDE": "R2"}, "R1"),
        ({"ReferenceUnique": "R1", "REFERENCE_UNIQUE": "R2"}, None),
        ({"referenceUnique": "a\nb"}, None),
        ({"referenceUnique": "\ud800"}, None),
        ({"referenceUnique": "AIFEDUME-\ufffd"}, None),
        ({"referenceUnique": "R" * 200}, "R" * 200),
        ({"referenceUnique": "R" * 201}, None),
        ({"referenceUnique": ["R1"]}, None),
        ({"referenceUnique": True}, None),
        ({"referenceUnique": " "}, None),
        ({"reference": "R1"}, None),
        ({}, None),
    ],
)
def test_the_reference(keys, reference):
    mapped = map_row(keys, NAMES)
    assert mapped.reference == reference
    missing = Problem("", "reference", "the row has no reference")
    assert (missing in mapped.problems) is (reference is None)


@pytest.mark.parametrize(
    ("row", "asked", "type"),
    [
        ({"typeDE": "CC", "donneesMP": {"montant": 1}}, MP, CC),
        ({"typeDE": "MP", "donneesCC": {"valeurGlobale": 1}}, CC, MP),
        ({"TYPE_DE": "marché public"}, CC, MP),
        ({"_type": "Contrat de concession"}, MP, CC),
        ({"donneesMP": {"typeDE": "cc"}}, MP, CC),
        ({"typeDE": "XX", "donneesCC": {"valeurGlobale": 1}}, MP, CC),
        ({"typeDE": None, "donneesMP": None, "donneesCC": {"valeurGlobale": 1}}, MP, CC),
        ({"DONNEES_CC": {"valeurGlobale": 1}}, MP, CC),
        ({"donneesMP": {"montant": 1}, "donneesCC": {"valeurGlobale": 1}}, CC, CC),
        ({"donneesMP": {}, "donneesCC": {"valeurGlobale": None}}, CC, CC),
        ({"autoriteConcedante": {"id": "1"}}, MP, MP),
        ({"autoriteConcedante": {"id": "1"}}, None, CC),
        ({"donneesX": {"concessionnaires": [{"id": "1"}]}}, None, CC),
        ({"acheteur": {"id": "1"}, "montant": 5, "valeurGlobale": 0}, None, MP),
        ({"valeurGlobale": None}, None, MP),
        ({}, None, MP),
    ],
)
def test_the_type(row, asked, type):
    assert map_row(row, NAMES, asked).type is type


def test_a_test_row():
    mapped = map_row(MARCHE_ROW | {"source": "AIFE_test"}, NAMES)
    assert told(mapped) == [("", "test", "the row is a test: its source is 'AIFE_test'")]
    assert map_row(MARCHE_ROW | {"source": "data.gouv.fr_aife"}, NAMES).problems == ()


def test_words_that_mean_null_are_seen_to_be_dropped():
    mapped = map_row(with_block(MARCHE_ROW, tauxAvance="NC", origineUE=" "), NAMES)
    assert mapped.problems == ()
    assert mapped.repairs == (Repair("tauxAvance", "null", "NC", None),)
    assert mapped.record == {
        k: v for k, v in MARCHE.items() if k not in ("tauxAvance", "origineUE")
    }


# ------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("name", "value", "keys"),
    [
        # An exact name goes before a variant, row level before a block, non-null before null.
        ("montant", 120000, {"Montant": 5}),
        ("montant", 7, {"montant": 7}),
        ("montant", 120000, {"montant": None}),
        ("montant", 120000, {"montant": "NC"}),
        # The service's name goes before the format's.
        ("marcheInnovant", False, {"marcheInnovant": True}),
        # Variants that agree.
        ("codeCPV", "1", {"donneesMP": {"CODE_CPV": "1", "cpvCode": "1"}}),
        # Single objects in lists of one.
        ("lieuExecution", {"code": "33"}, {"donneesMP": {"lieuExecution": [{"code": "33"}]}}),
        (
            "considerationsSociales",
            {"considerationSociale": ["Clause sociale"]},
            {"donneesMP": [{"considerations": {"sociale": "Clause sociale"}}]},
        ),
    ],
)
def test_which_key_wins(name, value, keys):
    row = MARCHE_ROW | keys
    if "donneesMP" in keys:
        row["dateNotification"] = "2024-05-15"
    mapped = map_row(row, NAMES)
    assert mapped.record[name] == value
    assert not [problem for problem in mapped.problems if problem.rule == "ambiguous"]


@pytest.mark.parametrize(
    ("change", "path", "keys"),
    [
        (
            {"donneesMP": {"CODE_CPV": "77310000", "cpvCode": "77310001"}},
            "codeCPV",
            "donneesMP.CODE_CPV and donneesMP.cpvCode",
        ),
        (
            {"donneesMP": {"idsAcheteur": "1"}, "donneesX": {"ACHETEUR": {"ID": "2"}}},
            "acheteur.id",
            "donneesMP.idsAcheteur and donneesX.ACHETEUR.ID",
        ),
        (
            {"modifications": [{"Id": 1, "ID": 2}]},
            "modifications.0.modification.id",
            "Id and ID",
        ),
    ],
)
def test_two_variants_that_differ(change, path, keys):
    mapped = map_row(MARCHE_ROW | {"dateNotification": "2024-05-15"} | change, NAMES)
    message = f"is given two different values, by the keys {keys}"
    assert [told for told in mapped.problems if told.path == path] == [
        Problem(path, "ambiguous", message)
    ]


def test_a_deciding_date_given_twice():
    row = without(MARCHE_ROW, "dateNotification")
    mapped = map_row(
        row | {"DateNotification": "2024-05-15", "DATE_NOTIFICATION": "2023-05-15"}, NAMES
    )
    assert mapped.regime is None
    assert told(mapped) == [
        (
            "dateNotification",
            "ambiguous",
            (
                "is given two different values, by the keys DateNotification and "
                "DATE_NOTIFICATION, so the regime cannot be told"
            ),
        )
    ]


MODIFICATION = MARCHE_ROW["modifications"][0]
SHORT_MODIFICATION = {
    "id": 1,
    "dateNotification": "2024-05-15",
    "datePublicationDonneesModification": "2024-09-10",
}


@pytest.mark.parametrize(
    ("missing", "friend", "path"),
    [
        ("datePublicationDonnees", {"datePublicationDonneesModification": "2024-05-25"}, None),
        ("datePublicationDonnees", {"datePublication": "2024-05-25"}, None),
        ("id", {"idDE": "7"}, None),
        ("id", {"id_de": "7"}, None),
        ("id", {"idConsultation": "7"}, None),
        ("id", {"acheteur": {"nom": "Paris"}}, None),
        ("id", {"lot": {"id": "7", "objet": "Lot 7"}}, None),
        ("id", {"lid": "7"}, None),
        ("objet", {"consultation": {"objet": "Tout", "formePrix": None}}, None),
        ("montant", {"montantSubventionPublique": 5}, None),
        ("montant", {"montantSubventions": 5}, None),
        ("montant", {"lot": {"montant": 5}}, None),
        ("montant", {"montantHT": 5}, None),
        ("titulaires", {"idTitulaire": SIRET}, None),
        ("id", {"lots": [{"id": "7"}]}, None),
        ("procedure", {"procedure": {"id": 3, "libelle": "Procédure adaptée"}}, None),
        (
            None,
            {"modifications": [SHORT_MODIFICATION]},
            "modifications.0.modification.dateNotificationModification",
        ),
    ],
)
def test_false_friends(missing, friend, path):
    row = without(MARCHE_ROW, missing) | friend
    mapped = map_row(row, NAMES)
    path = path or missing
    assert (path, "required", "is missing") in told(mapped)
    assert not [problem for problem in mapped.problems if problem.rule == "ambiguous"]


AVENANT = {"montant": 5, "dureeMois": 3, "dateNotification": "2024-06-01", "offresRecues": 2}


@pytest.mark.parametrize(
    "friend",
    [
        {"dernierAvenant": AVENANT},
        {"donneesModification": AVENANT},
        {"données_actes_sous_traitance": AVENANT},
        {"lots": [AVENANT]},
    ],
)
@pytest.mark.parametrize("field", sorted(AVENANT))
def test_a_null_of_the_contract_is_not_filled_from_elsewhere(friend, field):
    """What an avenant or a lot says is not what the contract said."""
    row = MARCHE_ROW | {"donneesMP": MARCHE_ROW["donneesMP"] | {"dureeMois": None}} | friend
    for place in (row, row["donneesMP"]):
        if field in place:
            place[field] = None
    mapped = map_row(row, NAMES)
    assert [(problem.path, problem.rule) for problem in mapped.problems] == [(field, "required")]
    assert field not in mapped.record
    assert mapped.unknown


def test_a_block_that_says_again_what_the_contract_says_is_of_something_else():
    """So it gives nothing: not the rate of an avenant to a contract without an advance."""
    row = without(MARCHE_ROW, "tauxAvance", "idAccordCadre")
    strange = {"dureeMois": 3, "tauxAvance": 0.3, "idAccordCadre": "2020AC", "id": "7"}
    mapped = map_row(row | {"avenant": strange}, NAMES)
    assert mapped.record.keys() == MARCHE.keys() - {"tauxAvance", "idAccordCadre"}
    assert {key for key, _ in mapped.unknown} == {f"avenant.{key}" for key in strange}
    # The same reference and id do not make a block another's.
    whole = {key: value for key, value in MARCHE_ROW.items() if key != "donneesMP"}
    keys = {key: MARCHE_ROW[key] for key in ("referenceUnique", "id")}
    assert map_row(keys | {"marche": whole | MARCHE_ROW["donneesMP"]}, NAMES).record == MARCHE


CHANGED = ("montant", "dureeMois", "titulaires")
BARE_MODIFICATION = {key: value for key, value in MODIFICATION.items() if key not in CHANGED}


@pytest.mark.parametrize(
    ("list_", "item", "block", "fitted"),
    [
        (
            "modifications",
            BARE_MODIFICATION,
            {"ancienneValeur": {"montant": 5, "dureeMois": 3}},
            None,
        ),
        (
            "modifications",
            BARE_MODIFICATION,
            {"marche": {"id": "2024M1", "objet": "Toits", "montant": 5, "dureeMois": 3}},
            None,
        ),
        (
            "titulaires",
            {"id": SIRET},
            {"mandataire": {"id": "99", "typeIdentifiant": "TVA"}},
            {"id": SIRET, "typeIdentifiant": "SIRET"},
        ),
    ],
)
def test_an_entry_takes_nothing_from_a_block_within_it(list_, item, block, fitted):
    """The block is of something else: what was there before, the contract, another party."""
    mapped = map_row(without(MARCHE_ROW, list_) | {list_: [item | block]}, NAMES)
    assert mapped.problems == ()
    assert mapped.record[list_] == [{list_.removesuffix("s"): fitted or item}]
    ((name, inner),) = block.items()
    assert {key for key, _ in mapped.unknown} == {f"{list_}.{name}.{key}" for key in inner}


def test_an_entry_in_a_block_of_another_name():
    row = MARCHE_ROW | {"modifications": [{"avenant": MODIFICATION}]}
    mapped = map_row(row, NAMES)
    assert (mapped.record, mapped.problems, mapped.unknown) == (MARCHE, (), ())


@pytest.mark.parametrize(
    ("row", "unknown"),
    [
        (MARCHE_ROW | {"nouveau": "x"}, [("nouveau", "text")]),
        (MARCHE_ROW | {"nouveau": None}, [("nouveau", "null")]),
        (MARCHE_ROW | {"nouveau": [1]}, [("nouveau", "list")]),
        (MARCHE_ROW | {"nouveau": {}}, [("nouveau", "object")]),
        (
            MARCHE_ROW | {"donneesX": {"a": 1, "b": {"c": 1.5}}},
            [("donneesX.a", "integer"), ("donneesX.b.c", "number")],
        ),
        (MARCHE_ROW | {"lots": [{"rang": 1}]}, [("lots", "list")]),
        (MARCHE_ROW | {"lots": [{"rang": 1}, {"rang": 2}]}, [("lots", "list")]),
        (
            with_block(
                MARCHE_ROW,
                titulaires=[
                    {"typeIdentifiant": "SIRET", "id": SIRET, "adresse": None},
                    {"typeIdentifiant": "TVA", "id": "DE814864138", "adresse": {"ville": "Berlin"}},
                ],
            ),
            [
                ("donneesMP.titulaires.adresse", "null"),
                ("donneesMP.titulaires.adresse.ville", "text"),
            ],
        ),
        (
            with_block(
                MARCHE_ROW,
                titulaires=[
                    {"titulaire": {"typeIdentifiant": "SIRET", "id": SIRET}, "role": None},
                    {
                        "titulaire": {"typeIdentifiant": "TVA", "id": "DE814864138"},
                        "role": "mandataire",
                    },
                ],
            ),
            [("donneesMP.titulaires.role", "text")],
        ),
        (
            MARCHE_ROW
            | {
                "modifications": [
                    MODIFICATION
                    | {"titulaires": [{"typeIdentifiant": "SIRET", "id": SIRET, "rang": 1}]}
                ]
            },
            [("modifications.titulaires.rang", "integer")],
        ),
        # Known in the other type or in the other regime, or of no use.
        (
            MARCHE_ROW
            | {
                "valeurGlobale": None,
                "concessionnaires": None,
                "uid": "1",
                "_type": "Marché",
                "numeroLot": "001",
                "nomAcheteur": "Paris",
                "donneesConsultation": None,
            },
            [],
        ),
    ],
)
def test_unknown_keys(row, unknown):
    mapped = map_row(row, NAMES)
    assert mapped.record == MARCHE
    assert list(mapped.unknown) == unknown


# ------------------------------------------------------------------------ any plausible variant

ACCENTS = {
    "duree": "durée",
    "donnees": "données",
    "procedure": "procédure",
    "execution": "exécution",
    "declaree": "déclarée",
    "recues": "reçues",
    "considerations": "considérations",
    "modalite": "modalité",
    "operateurs": "opérateurs",
    "autorite": "autorité",
    "debut": "début",
    "depenses": "dépenses",
    "intitule": "intitulé",
}
INVARIABLE = {"mois", "sous", "prix", "taux", "ue", "cpv", "ccag"}
TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def other_number(word):
    if word in INVARIABLE:
        return word
    return word[:-1] if word.endswith("s") else word + "s"


STYLES = {
    "camel": lambda words: words[0] + "".join(word.capitalize() for word in words[1:]),
    "Pascal": lambda words: "".join(word.capitalize() for word in words),
    "snake": "_".join,
    "kebab": "-".join,
    "spaces": " ".join,
    "CAPS_SNAKE": lambda words: "_".join(words).upper(),
    "lower": "".join,
    "CAPS": lambda words: "".join(words).upper(),
}


@st.composite
def spelling(draw, name):
    """A plausible other spelling of a name in camel case."""
    words = [word.lower() for word in TOKEN.findall(name)]
    if draw(st.booleans()):
        words = [ACCENTS.get(word, word) for word in words]
    if draw(st.booleans()):
        words = [other_number(word) if draw(st.booleans()) else word for word in words]
    if len(words) > 1 and draw(st.booleans()):
        words = draw(st.permutations(words))
    if len(words) > 1 and draw(st.booleans()):
        words.insert(1, draw(st.sampled_from(["de", "du", "des", "la", "d", "l", "en"])))
    return STYLES[draw(st.sampled_from(sorted(STYLES)))](words)


@st.composite
def renamed(draw, value, name):
    """A value of a row with every key in it spelled otherwise, and in a plausible shape."""
    if isinstance(value, dict):
        return {draw(spelling(key)): draw(renamed(inner, key)) for key, inner in value.items()}
    if isinstance(value, list) and isinstance(value[0], dict):
        items = [draw(renamed(item, name)) for item in value]
        shape = draw(st.sampled_from(["list", "wrapped", "around", "nested"]))
        if shape == "wrapped":
            return [{draw(spelling(name)): item} for item in items]
        if shape == "around":
            return {draw(spelling(name)): items}
        return [items] if shape == "nested" else items
    shape = draw(st.sampled_from(["as it is", "list", "wrapped"]))
    if shape == "list" and not isinstance(value, list):
        return [value]
    return {draw(spelling(name)): value} if shape == "wrapped" else value


@st.composite
def variants(draw, row, block, heads):
    """A whole row otherwise spelled, shaped and divided into blocks."""
    fields = {key: value for key, value in row.items() if key not in ("donneesMP", "donneesCC")}
    fields |= row[block]
    plain = {key: fields.pop(key) for key in ("referenceUnique", "typeDE")}
    plain["rsDemandeur"] = fields.pop("rsDemandeur", None)
    blocks = [plain, {}, {}]
    for head, leaves in heads.items():
        values = {leaf: fields.pop(key) for leaf, key in leaves.items()}
        where = draw(st.sampled_from(blocks))
        if draw(st.booleans()):
            nested = {
                draw(spelling(leaf)): draw(renamed(value, leaf)) for leaf, value in values.items()
            }
            where[draw(spelling(head))] = nested
        else:
            for leaf, value in values.items():
                name = head + leaf[0].upper() + leaf[1:]
                where[draw(spelling(name))] = draw(renamed(value, name))
    for name, value in fields.items():
        where = draw(st.sampled_from(blocks))
        where[draw(spelling(name))] = draw(renamed(value, name))
    row, one, two = blocks
    if one:
        row[draw(st.sampled_from([block, "donneesEssentielles", "DONNEES_" + block[-2:]]))] = one
    if two:
        row[draw(st.sampled_from(["donneesX", "données", "donnees-contrat"]))] = two
    return row


VARIANTS = settings(max_examples=60)


@VARIANTS
@given(
    variants(
        MARCHE_ROW,
        "donneesMP",
        {
            "acheteur": {"id": "idAcheteur"},
            "lieuExecution": {"code": "lieuExecutionCode", "typeCode": "lieuExecutionTypeCode"},
            "considerations": {
                "sociales": "considerationsSociales",
                "environnementales": "considerationsEnvironnementales",
            },
        },
    )
)
def test_any_plausible_variant_of_a_marche(row):
    mapped = map_row(row, NAMES)
    assert (mapped.record, mapped.problems, mapped.unknown) == (MARCHE, (), ())


@pytest.mark.slow
@VARIANTS
@given(
    variants(
        CONCESSION_ROW,
        "donneesCC",
        {
            "autoriteConcedante": {"id": "idAutoriteConcedante"},
            "considerations": {
                "sociales": "considerationsSociales",
                "environnementales": "considerationsEnvironnementales",
            },
        },
    )
)
def test_any_plausible_variant_of_a_concession(row):
    mapped = map_row(row, NAMES)
    assert (mapped.record, mapped.problems, mapped.unknown) == (CONCESSION, (), ())


@pytest.mark.parametrize("block", ["marche", "contenu", "publication"])
def test_a_block_of_another_name_that_holds_the_contract(block):
    fields = {k: v for k, v in MARCHE_ROW.items() if k not in ("referenceUnique", "donneesMP")}
    row = {"referenceUnique": "R", block: fields | MARCHE_ROW["donneesMP"]}
    mapped = map_row(row, NAMES)
    assert (mapped.record, mapped.problems, mapped.unknown) == (MARCHE, (), ())


# ------------------------------------------------------------------------ any input

KEYS = st.sampled_from(
    sorted(
        {
            "referenceUnique",
            "typeDE",
            "donneesMP",
            "donneesCC",
            "donneesExecution",
            "source",
            "titulaire",
            "Titulaires",
            "idAcheteur",
            "ID",
            "Montant",
            "consultation",
            "\ud800",
        }
        | {
            part
            for type in ContractType
            for regime in Regime
            for fields in fields_of(type, regime).values()
            for name in fields
            for part in name.split(".")
        }
    )
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["NC", "2024-05-15", "2019-05-15", "MP", "CC", SIRET, "Concours", "\udfff"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=20,
)


@pytest.mark.slow
@settings(max_examples=300)
@given(JSON | st.dictionaries(KEYS, JSON), st.sampled_from([None, MP, CC]))
def test_any_json(row, asked):
    mapped = map_row(row, NAMES, asked)
    orjson.dumps(mapped.record)
    orjson.dumps([told.as_dict() for told in (*mapped.problems, *mapped.repairs)])
    orjson.dumps([mapped.reference, *mapped.unknown])
    if mapped.regime is None:
        assert mapped.problems
    else:
        assert all(
            problem.rule not in ("json", "additionalProperties")
            for problem in problems(mapped.record, mapped.type, mapped.regime)
        )


# ------------------------------------------------------------------------ the table


@pytest.mark.parametrize("type", ContractType)
def test_the_table_has_every_field_of_the_format(type):
    for regime in Regime:
        for where, fields in fields_of(type, regime).items():
            for name in fields:
                if name not in ("_type", "uid"):
                    field = f"{where}.{name}".removeprefix(".")
                    # The DECP name alone would be there without an entry in the table.
                    assert NAMES._listed(type.value, field, "common"), field


@pytest.mark.parametrize("type", ContractType)
def test_no_two_fields_of_an_object_have_the_same_words(type):
    for where, fields in {**fields_of(type, R2019), **fields_of(type, R2022)}.items():
        words = [NAMES.vocabulary.signature(tuple(name.split("."))) for name in fields]
        assert len(words) == len(set(words)), where


def test_names_of_a_file_go_first(tmp_path):
    path = tmp_path / "noms.toml"
    path.write_text(
        """
        [row]
        reference = ["ref"]
        ignored = ["nouveau"]
        [blocks]
        CC = ["concession"]
        [common]
        objet = ["intitule"]
        [MP]
        "acheteur.id" = ["acheteur.siret", "donneesMP.siretAcheteur"]
        "titulaires.id" = ["siren"]
        """,
        "utf-8",
    )
    names = load_field_names(path)
    row = MARCHE_ROW | {"ref": "R9", "intitule": "Jardins", "nouveau": 1}
    row = with_block(
        row,
        siretAcheteur="1" * 14,
        titulaires=[{"typeIdentifiant": "SIRET", "id": "x", "siren": "2" * 14}],
    )
    mapped = map_row(row, names)
    assert mapped.reference == "R9"
    assert mapped.record == MARCHE | {
        "objet": "Jardins",
        "acheteur": {"id": "1" * 14},
        "titulaires": [{"titulaire": {"typeIdentifiant": "SIRET", "id": "2" * 14}}],
    }
    assert mapped.unknown == ()
    assert map_row({"concession": {"objet": "x"}}, names).type is CC


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "DUME_FIELD_MAP: cannot read {}: No such file or directory"),
        (
            b"[MP",
            (
                "DUME_FIELD_MAP: {} is not a TOML file: Expected ']' at the end of a table "
                "declaration (at end of document)"
            ),
        ),
        (
            b"\xff",
            (
                "DUME_FIELD_MAP: {} is not a TOML file: 'utf-8' codec can't decode byte 0xff in "
                "position 0: invalid start byte"
            ),
        ),
        (
            b"[AC]",
            "DUME_FIELD_MAP: {}: there is no section AC; sections are row, blocks, common, MP, CC",
        ),
        (b"MP = 1", "DUME_FIELD_MAP: {}: MP must be a table, [MP]"),
        (
            b'[MP]\n"acheteur.siret" = ["x"]',
            "DUME_FIELD_MAP: {}: [MP] has no field acheteur.siret; did you mean acheteur.id?",
        ),
        (
            b'[MP]\nacheteur.id = ["x"]',
            (
                "DUME_FIELD_MAP: {}: [MP] has no field acheteur; quote names "
                'that have a dot ("acheteur.id" = […])'
            ),
        ),
        (b'[MP]\nvaleurGlobale = ["x"]', "DUME_FIELD_MAP: {}: [MP] has no field valeurGlobale"),
        (b'[CC]\nxyz = ["x"]', "DUME_FIELD_MAP: {}: [CC] has no field xyz"),
        (b'[row]\nkey = ["x"]', "DUME_FIELD_MAP: {}: [row] has no field key"),
        (
            b'[MP]\nmontant = "x"',
            'DUME_FIELD_MAP: {}: [MP] montant must be a list of names, such as ["montant"]',
        ),
        (
            b'[MP]\n"acheteur.id" = ["a..b"]',
            'DUME_FIELD_MAP: {}: [MP] acheteur.id must be a list of names, such as ["id"]',
        ),
        (
            b"[MP]\nmontant = [3]",
            'DUME_FIELD_MAP: {}: [MP] montant must be a list of names, such as ["montant"]',
        ),
    ],
)
def test_a_file_of_names_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "noms.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FieldMapError) as caught:
        load_field_names(path)
    assert str(caught.value) == message.format(path)


# ------------------------------------------------------------------------ advice


def advice(rows, names=NAMES):
    missing = MissingFields(names)
    for row in rows:
        missing.add(map_row(row, names))
    return missing.advice()


def test_no_advice_for_good_rows_few_rows_or_half_of_them():
    bad = without(MARCHE_ROW, "montant")
    assert advice([MARCHE_ROW] * 9) == []
    assert advice([bad] * 4) == []
    assert advice([bad] * 5 + [MARCHE_ROW] * 5) == []
    assert len(advice([bad] * 6 + [MARCHE_ROW] * 5)) == 1
    # Rows of another kind do not count.
    assert len(advice([bad] * 5 + [CONCESSION_ROW] * 9)) == 1


def test_advice_for_a_field_of_an_unknown_name(tmp_path):
    row = without(MARCHE_ROW, "considerationsSociales", "idAcheteur")
    row = with_block(
        row,
        clausesSociales=["Clause sociale"],
        siretAcheteur="21750001600019",
        autre=None,
        titulaires=[{"typeIdentifiant": "SIRET", "identification": SIRET}],
    )
    keys = (
        "donneesMP.autre (null), donneesMP.clausesSociales (list), donneesMP.siretAcheteur (text), "
        "donneesMP.titulaires.identification (text)"
    )
    lines = advice([row] * 7 + [MARCHE_ROW])
    assert lines == [
        (
            f"acheteur is missing in 7 of 8 MP rows of 2022. Unknown keys: {keys}. "
            "Likeliest: donneesMP.siretAcheteur. If the first is it, put this line in the file of "
            'the setting DUME_FIELD_MAP: MP."acheteur.id" = ["donneesMP.siretAcheteur"]'
        ),
        (
            f"considerationsSociales is missing in 7 of 8 MP rows of 2022. Unknown keys: {keys}. "
            "Likeliest: donneesMP.clausesSociales. If the first is it, put this line in the file "
            "of the setting DUME_FIELD_MAP: "
            'MP.considerationsSociales = ["donneesMP.clausesSociales"]'
        ),
        (
            f"titulaires.id is missing in 7 of 8 MP rows of 2022. Unknown keys: {keys}. "
            "Likeliest: donneesMP.titulaires.identification. If the first is it, put this line in "
            'the file of the setting DUME_FIELD_MAP: MP."titulaires.id" = ["identification"]'
        ),
    ]

    path = tmp_path / "noms.toml"
    path.write_text("\n".join(line.rpartition("DUME_FIELD_MAP: ")[2] for line in lines), "utf-8")
    mapped = map_row(row, load_field_names(path))
    assert mapped.problems == ()
    assert mapped.record == MARCHE | {"titulaires": MARCHE["titulaires"][:1]}


def test_advice_without_a_candidate():
    row = without(MARCHE_ROW, "dateNotification")
    assert advice([row] * 5) == [
        (
            "dateNotification is missing in 5 of 5 MP rows. All their keys are known: the service "
            "seems not to send it."
        )
    ]
    keys = {f"x{number}": number for number in range(10)}
    shown = ", ".join(f"x{number} (integer)" for number in range(8))
    assert advice([row | keys] * 5) == [
        (
            f"dateNotification is missing in 5 of 5 MP rows. Unknown keys: {shown}, and 2 more. "
            "None is like it."
        )
    ]


# ------------------------------------------------------------------------ real values


@pytest.mark.parametrize(
    "name", ["real-aife-2019.json.gz", "real-marches-publics.info-2019.json.gz"]
)
def test_real_records_as_rows(shared, name):
    """Real values in an assumed shape: nobody has published a row of the service."""
    records = json.loads(gzip.decompress((shared / "data" / name).read_bytes()))["marches"]
    told_regimes = 0
    for record in records:
        type = CC if "autoriteConcedante" in record else MP
        top = (
            "id",
            "objet",
            "nature",
            "procedure",
            "dureeMois",
            "datePublicationDonnees",
            "modifications",
            "source",
        )
        row = {"referenceUnique": "R"} | {key: record.get(key) for key in top}
        block = {k: v for k, v in record.items() if k not in (*top, "acheteur", "lieuExecution")}
        for head in ("acheteur", "lieuExecution"):
            for leaf, value in (record.get(head) or {}).items():
                block[head + leaf[0].upper() + leaf[1:]] = value
        row |= {"donneesMP": None, "donneesCC": None, f"donnees{type.value}": block}
        mapped = map_row(row, NAMES)
        assert mapped.type is type
        if mapped.regime is None:
            assert len(mapped.problems) == 1
            continue
        told_regimes += 1
        expected = fit({k: v for k, v in record.items() if k != "uid"}, type, mapped.regime)
        assert replace(mapped, unknown=()) == MappedRow("R", type, mapped.regime, *expected)
    assert (
        told_regimes
        == {"real-aife-2019.json.gz": 2019, "real-marches-publics.info-2019.json.gz": 4509}[name]
    )
