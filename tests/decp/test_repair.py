from __future__ import annotations

import copy
import gzip
import json
from datetime import date

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.repair import (
    Ambiguous,
    Names,
    clean,
    fields_of,
    fit,
    fit_date,
    fold,
    is_null,
    join_problems,
)
from dume_spider.decp.schema import problems, record_schema
from dume_spider.decp.verdict import Problem, Repair

MP, CC = ContractType
R2019, R2022 = Regime

MARCHE_2022 = {
    "id": "2024M01",
    "acheteur": {"id": "21750001600019"},
    "nature": "Marché",
    "objet": "Entretien des espaces verts",
    "codeCPV": "77310000",
    "techniques": {"technique": ["Accord-cadre"]},
    "modalitesExecution": {"modaliteExecution": ["Bons de commande"]},
    "marcheInnovant": False,
    "ccag": "Fournitures courantes et services",
    "offresRecues": 3,
    "attributionAvance": True,
    "tauxAvance": 0.05,
    "typeGroupementOperateurs": "Pas de groupement",
    "sousTraitanceDeclaree": True,
    "actesSousTraitance": [
        {
            "acteSousTraitance": {
                "id": 1,
                "sousTraitant": {"typeIdentifiant": "SIRET", "id": "81223113200026"},
                "dureeMois": 6,
                "dateNotification": "2024-06-01",
                "datePublicationDonnees": "2024-06-10",
                "montant": 1000.5,
                "variationPrix": "Ferme",
            }
        }
    ],
    "procedure": "Procédure adaptée",
    "lieuExecution": {"code": "75", "typeCode": "Code département"},
    "dureeMois": 48,
    "dateNotification": "2024-05-15",
    "datePublicationDonnees": "2024-05-25",
    "montant": 120000,
    "typesPrix": {"typePrix": ["Définitif révisable"]},
    "formePrix": "Unitaire",
    "titulaires": [
        {"titulaire": {"typeIdentifiant": "SIRET", "id": "81223113200026"}},
        {"titulaire": {"typeIdentifiant": "TVA", "id": "DE814864138"}},
    ],
    "considerationsSociales": {"considerationSociale": ["Clause sociale"]},
    "considerationsEnvironnementales": {
        "considerationEnvironnementale": ["Pas de considération environnementale"]
    },
    "modificationsActesSousTraitance": [
        {
            "modificationActeSousTraitance": {
                "id": 1,
                "dateNotificationModificationSousTraitance": "2024-08-01",
                "datePublicationDonnees": "2024-08-10",
            }
        }
    ],
    "modifications": [
        {
            "modification": {
                "id": 1,
                "dateNotificationModification": "2024-09-01",
                "datePublicationDonneesModification": "2024-09-10",
                "montant": 130000,
                "titulaires": [{"titulaire": {"typeIdentifiant": "SIRET", "id": "81223113200026"}}],
            }
        }
    ],
}

CONCESSION_2022 = {
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
                "depensesInvestissement": 0,
                "tarifs": [{"tarif": {"intituleTarif": "Plein tarif", "tarif": 9.5}}],
            }
        }
    ],
    "concessionnaires": [{"concessionnaire": {"typeIdentifiant": "SIRET", "id": "81223113200026"}}],
    "considerationsSociales": {"considerationSociale": ["Concession réservée"]},
    "considerationsEnvironnementales": {
        "considerationEnvironnementale": ["Clause environnementale"]
    },
    "modifications": [
        {
            "modification": {
                "id": 1,
                "dateSignatureModification": "2024-09-01",
                "datePublicationDonneesModification": "2024-09-10",
                "valeurGlobale": 1100000,
            }
        }
    ],
}

MARCHE_2019 = {
    "id": "2019M0100",
    "_type": "Marché",
    "acheteur": {"id": "21750001600019", "nom": "Ville de Paris"},
    "nature": "Accord-cadre",
    "objet": "Entretien des espaces verts",
    "codeCPV": "77310000",
    "procedure": "Procédure adaptée",
    "lieuExecution": {"code": "75", "typeCode": "Code département", "nom": "Paris"},
    "dureeMois": 48,
    "dateNotification": "2019-05-15",
    "datePublicationDonnees": "2019-05-25",
    "montant": 120000,
    "formePrix": "Ferme",
    "titulaires": [
        {"typeIdentifiant": "SIRET", "id": "81223113200026", "denominationSociale": "Jardins"}
    ],
    "modifications": [
        {
            "objetModification": "Montant",
            "dateNotificationModification": "2019-09-01",
            "datePublicationDonneesModification": "2019-09-10",
        }
    ],
}

CONCESSION_2019 = {
    "id": "2019C0100",
    "_type": "Contrat de concession",
    "autoriteConcedante": {"id": "21750001600019", "nom": "Ville de Paris"},
    "nature": "Concession de service",
    "objet": "Exploitation du théâtre",
    "procedure": "Procédure négociée ouverte",
    "lieuExecution": {"code": "75", "typeCode": "Code département", "nom": "Paris"},
    "dureeMois": 60,
    "dateSignature": "2019-05-15",
    "datePublicationDonnees": "2019-05-25",
    "dateDebutExecution": "2019-06-01",
    "valeurGlobale": 1000000,
    "montantSubventionPublique": 0,
    "donneesExecution": [
        {
            "datePublicationDonneesExecution": "2019-12-31",
            "depensesInvestissement": 0,
            "tarifs": [{"intituleTarif": "Plein tarif", "tarif": 9.5}],
        }
    ],
    "concessionnaires": [
        {"typeIdentifiant": "SIRET", "id": "81223113200026", "denominationSociale": "Scène"}
    ],
    "modifications": [],
}

COMPLETE = {
    (MP, R2022): MARCHE_2022,
    (CC, R2022): CONCESSION_2022,
    (MP, R2019): MARCHE_2019,
    (CC, R2019): CONCESSION_2019,
}

#: In a table: the field is not in the record.
LEFT_OUT = object()


def outcome(kind, field, raw, also=None):
    """What becomes of a raw value of a complete record: its value, the problems, the repairs."""
    record = copy.deepcopy(COMPLETE[kind]) | (also or {})
    if raw is LEFT_OUT:
        del record[field]
    else:
        record[field] = raw
    fitted = fit(record, *kind)
    assert {key: value for key, value in fitted.record.items() if key != field} == {
        key: value for key, value in record.items() if key != field
    }
    return (
        fitted.record.get(field, LEFT_OUT),
        [(problem.path, problem.rule, problem.message) for problem in fitted.problems],
        [(repair.path, repair.rule, repair.before, repair.after) for repair in fitted.repairs],
    )


@pytest.mark.parametrize("kind", COMPLETE)
def test_a_valid_record_is_left_as_it_is(kind):
    assert problems(COMPLETE[kind], *kind) == []
    assert fit(COMPLETE[kind], *kind) == (COMPLETE[kind], (), ())


def scalar(field, raw, value, rule=None, message=None):
    """A row of the table below: a problem if there is a message, else a repair if a rule."""
    told = [(field, rule, message)] if message else []
    repaired = [(field, rule, raw, None if value is LEFT_OUT else value)]
    if message == "is missing" and isinstance(raw, str) and raw.strip():
        return field, raw, value, told, [(field, "null", raw, None)]
    return field, raw, value, told, repaired if rule and not message else []


SCALARS = [
    # Amounts as text.
    scalar("montant", "1234", 1234, "number"),
    scalar("montant", " 1 234 567,89 € ", 1234567.89, "number"),
    scalar("montant", "1\u202f234\u00a0€", 1234, "number"),
    scalar("montant", "€ 12.5", 12.5, "number"),
    scalar("montant", "12,00", 12, "number"),
    scalar("montant", "0,125", 0.125, "number"),
    # Spaces are between thousands: elsewhere they may part two numbers.
    scalar("montant", "1000 2000", "1000 2000", "type", "'1000 2000' is not a number"),
    scalar("montant", "12 34,5", "12 34,5", "type", "'12 34,5' is not a number"),
    scalar("montant", "10\n20", "10 20", "type", "'10\\n20' is not a number"),
    scalar("offresRecues", "3 5", "3 5", "type", "'3 5' is not a whole number"),
    scalar("tauxAvance", "0 1", "0 1", "type", "'0 1' is not a number"),
    scalar("montant", "1.234", "1.234", "type", "'1.234' is not a number"),
    scalar("montant", "1.234,56", "1.234,56", "type", "'1.234,56' is not a number"),
    scalar("montant", "-5", "-5", "type", "'-5' is not a number"),
    scalar("montant", "1e5", "1e5", "type", "'1e5' is not a number"),
    scalar("montant", "12 euros", "12 euros", "type", "'12 euros' is not a number"),
    scalar("montant", "١٢", "١٢", "type", "'١٢' is not a number"),
    scalar("montant", "12€€", "12€€", "type", "'12€€' is not a number"),
    scalar(
        "montant",
        "1234567890123456",
        "1234567890123456",
        "type",
        "'1234567890123456' is not a number",
    ),
    scalar("montant", True, True, "type", "True is not a number"),
    scalar("montant", {"valeur": 5}, LEFT_OUT, "type", "an object is not a number"),
    scalar("montant", [5, 6], LEFT_OUT, "type", "a list of 2 values is not a number"),
    scalar("montant", [[5], None, 5], 5, "flatten"),
    scalar("montant", {"montant": 5}, 5, "flatten"),
    scalar("montant", float("nan"), LEFT_OUT, "type", "nan is not a number"),
    scalar("montant", float("inf"), LEFT_OUT, "type", "inf is not a number"),
    scalar("montant", 10**19, LEFT_OUT, "type", "10000000000000000000 is not a number"),
    scalar("montant", 1e17, 1e17),
    scalar("montant", 0, 0),
    scalar("montant", -0.5, -0.5),
    scalar("montant", None, LEFT_OUT, "required", "is missing"),
    scalar("montant", LEFT_OUT, LEFT_OUT, "required", "is missing"),
    scalar("montant", "", LEFT_OUT, "required", "is missing"),
    scalar("montant", "NC", LEFT_OUT, "required", "is missing"),
    scalar("tauxAvance", "nc", LEFT_OUT, "null"),
    scalar("tauxAvance", " NaN ", LEFT_OUT, "null"),
    scalar("tauxAvance", None, LEFT_OUT),
    scalar("tauxAvance", "  ", LEFT_OUT),
    scalar("tauxAvance", [], LEFT_OUT),
    scalar("tauxAvance", "20 %", "20 %", "type", "'20 %' is not a number"),
    # Whole numbers.
    scalar("dureeMois", "12", 12, "number"),
    scalar("dureeMois", 12.0, 12, "number"),
    scalar("dureeMois", "12,0", 12, "number"),
    scalar("dureeMois", 12.5, 12.5, "type", "12.5 is not a whole number"),
    scalar("dureeMois", "12,5", "12,5", "type", "'12,5' is not a whole number"),
    scalar("dureeMois", "12 mois", "12 mois", "type", "'12 mois' is not a whole number"),
    scalar("dureeMois", "12 €", "12 €", "type", "'12 €' is not a whole number"),
    scalar("dureeMois", 0, 0),
    scalar("offresRecues", False, False, "type", "False is not a whole number"),
    # Booleans.
    scalar("marcheInnovant", "oui", True, "boolean"),
    scalar("marcheInnovant", "NON", False, "boolean"),
    scalar("marcheInnovant", "True", True, "boolean"),
    scalar("marcheInnovant", "0", False, "boolean"),
    scalar("marcheInnovant", 1, True, "boolean"),
    scalar("marcheInnovant", [True], True, "flatten"),
    scalar("marcheInnovant", 2, 2, "type", "2 is not true or false"),
    scalar("marcheInnovant", "O", "O", "type", "'O' is not true or false"),
    # Dates.
    scalar("dateNotification", "2018-12-31+01:00", "2018-12-31", "date"),
    scalar("dateNotification", "2018-12-31-05:00Z", "2018-12-31", "date"),
    scalar("dateNotification", "2018-12-31Z", "2018-12-31", "date"),
    scalar("dateNotification", "2018-12-31T00:00:00", "2018-12-31", "date"),
    scalar("dateNotification", "2018-12-31 00:00", "2018-12-31", "date"),
    scalar("dateNotification", "2018-12-31T00:00:00.000+0100", "2018-12-31", "date"),
    scalar("dateNotification", "2018-07-31T00:00:00+02:00", "2018-07-31", "date"),
    scalar("dateNotification", "2024-05-15\n", "2024-05-15", "date"),
    scalar("dateNotification", "5021-01-01", "5021-01-01"),
    *(
        scalar("dateNotification", raw, raw, "date", f"{raw!r} is not a date written YYYY-MM-DD")
        for raw in (
            "2018-12-31T00:00:00Z",
            "2018-12-31T00:00:00+02:00",
            "2018-12-31T23:00:00",
            "2024-02-30",
            "2019-1-1",
            "31/12/2018",
            "le 31 décembre 2018",
            "٢٠٢٤-٠١-٠١",
            "0000-01-01",
            20181231,
        )
    ),
    scalar("dateNotification", "MQ", LEFT_OUT, "required", "is missing"),
    # CPV.
    scalar("codeCPV", "77310000-6", "77310000-6"),
    scalar("codeCPV", 77310000, "77310000", "cpv"),
    scalar("codeCPV", "9310000", "09310000", "cpv"),
    scalar("codeCPV", 3111000, "03111000", "cpv"),
    scalar("codeCPV", " 77310000\n", "77310000", "cpv"),
    scalar(
        "codeCPV",
        "4500000",
        "4500000",
        "cpv",
        "'4500000' has 7 digits of 8, and which one is missing is not certain",
    ),
    scalar("codeCPV", 77310000.5, 77310000.5, "cpv", "77310000.5 is not a CPV code"),
    scalar("codeCPV", "0", "0"),
    # Texts.
    scalar("objet", "a\n  b\tc\u0085d", "a b c d", "text"),
    scalar("objet", "l\x92eau\x00", "l’eau", "text"),
    scalar("objet", "10 &euro;<br />TTC &amp;eacute;", "10 € TTC é", "text"),
    scalar("objet", "R&D &copy <b>x</b> &nothing;", "R&D &copy <b>x</b> &nothing;"),
    scalar("objet", "l'été « x » ’", "l'été « x » ’"),
    scalar("objet", "d�j�", "d�j�"),
    scalar("objet", 2024, "2024", "text"),
    scalar("objet", 1.5, 1.5, "type", "1.5 is not a text"),
    scalar("objet", "x" * 2000, "x" * 2000),
    scalar("objet", "NC", LEFT_OUT, "required", "is missing"),
    scalar("objet", "Sans objet", "Sans objet"),
    scalar("id", " 2024M01 ", "2024M01", "text"),
    scalar("id", "12345678901234567", "12345678901234567"),
    # Labels.
    scalar("procedure", "PROCEDURE_ADAPTEE", "Procédure adaptée", "label"),
    scalar("procedure", "appel d’offres ouvert", "Appel d'offres ouvert", "label"),
    scalar("procedure", "Appel d&#39;offres ouvert", "Appel d'offres ouvert", "label"),
    scalar("procedure", " Procédure adaptée ", "Procédure adaptée", "label"),
    scalar(
        "procedure",
        "Procédure concurrentielle avec négociation",
        "Procédure avec négociation",
        "label",
    ),
    scalar(
        "procedure",
        "PROCEDURE NEGOCIEE AVEC MISE EN CONCURRENCE PREALABLE",
        "Procédure avec négociation",
        "label",
    ),
    scalar(
        "procedure",
        "Marché négocié sans publicité ni mise en concurrence préalable",
        "Marché passé sans publicité ni mise en concurrence préalable",
        "label",
    ),
    scalar(
        "procedure",
        "Marché public négocié sans publicité ni mise en concurrence préalable",
        "Marché passé sans publicité ni mise en concurrence préalable",
        "label",
    ),
    scalar("ccag", "Maîtrise d'oeuvre", "Maitrise d'œuvre", "label"),
    scalar("ccag", "Pas de CCAG", "Pas de CCAG"),
    scalar(
        "formePrix", "Ferme", "Ferme", "enum",
        "'Ferme' is not one of: Unitaire, Forfaitaire, Mixte",
    ),
    scalar(
        "formePrix", "Unit�ire", "Unit�ire", "enum",
        "'Unit�ire' is not one of: Unitaire, Forfaitaire, Mixte",
    ),
    scalar("formePrix", 1, 1, "enum", "1 is not one of: Unitaire, Forfaitaire, Mixte"),
    scalar(
        "formePrix", {"code": "U"}, LEFT_OUT, "enum",
        "an object is not one of: Unitaire, Forfaitaire, Mixte",
    ),
    # A nature of 2019: the record says that it has the technique.
    scalar("nature", "ACCORD-CADRE", "Marché", "label"),
    scalar("nature", "Marché subséquent", "Marché", "label"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "raw", "value", "told", "repaired"), SCALARS)
def test_a_field_with_one_value(field, raw, value, told, repaired):
    given = repr(raw)
    found = outcome((MP, R2022), field, raw)
    assert found == (value, told, repaired)
    assert type(found[0]) is type(value)
    assert repr(raw) == given, "the raw value was changed"


@pytest.mark.parametrize(
    ("nature", "record", "value"),
    [
        ("Accord-cadre", {"techniques": {"technique": ["Concours"]}}, None),
        ("Marché subséquent", {"techniques": {"technique": ["Sans objet"]}}, None),
        (
            "Marché subséquent",
            {"techniques": {"technique": ["Sans objet"]}, "idAccordCadre": "2023AC01"},
            "Marché",
        ),
    ],
)
def test_a_nature_of_2019_needs_a_sign_in_the_record(nature, record, value):
    found, told, repaired = outcome((MP, R2022), "nature", nature, record)
    if value:
        assert (found, told, repaired) == (value, [], [("nature", "label", nature, value)])
    else:
        message = (
            f"{nature!r} is a nature of the 2019 regime, and the record has neither the "
            "technique Accord-cadre nor an idAccordCadre"
        )
        assert (found, told, repaired) == (nature, [("nature", "enum", message)], [])


SIRET = "81223113200026"
TITULAIRE = {"typeIdentifiant": "SIRET", "id": SIRET}
OTHER = {"typeIdentifiant": "TVA", "id": "DE814864138"}
PATH = "titulaires.0.titulaire"


def wrapped(*titulaires):
    return [{"titulaire": titulaire} for titulaire in titulaires]


PARTIES = [
    # (raw titulaires, fitted, problems, repairs)
    ([TITULAIRE, OTHER], wrapped(TITULAIRE, OTHER), [], []),
    (
        TITULAIRE,
        wrapped(TITULAIRE),
        [],
        [("titulaires", "wrap", TITULAIRE, [TITULAIRE])],
    ),
    (
        {"titulaire": TITULAIRE},
        wrapped(TITULAIRE),
        [],
        [("titulaires", "wrap", {"titulaire": TITULAIRE}, [TITULAIRE])],
    ),
    (
        {"titulaire": [TITULAIRE, OTHER]},
        wrapped(TITULAIRE, OTHER),
        [],
        [("titulaires", "flatten", {"titulaire": [TITULAIRE, OTHER]}, [TITULAIRE, OTHER])],
    ),
    (
        [[TITULAIRE], [[OTHER]]],
        wrapped(TITULAIRE, OTHER),
        [],
        [("titulaires", "flatten", [[TITULAIRE], [[OTHER]]], [TITULAIRE, OTHER])],
    ),
    (
        wrapped(TITULAIRE, TITULAIRE, OTHER),
        wrapped(TITULAIRE, OTHER),
        [],
        [("titulaires.1", "duplicate", {"titulaire": TITULAIRE}, None)],
    ),
    (
        [None, {}, {"typeIdentifiant": None, "id": ""}, TITULAIRE],
        wrapped(TITULAIRE),
        [],
        [("titulaires.0", "null", {"typeIdentifiant": None, "id": ""}, None)],
    ),
    ([], LEFT_OUT, [("titulaires", "required", "is missing")], []),
    (None, LEFT_OUT, [("titulaires", "required", "is missing")], []),
    (
        [{"titulaire": None}],
        LEFT_OUT,
        [("titulaires", "required", "is missing")],
        [],
    ),
    (
        "NC",
        LEFT_OUT,
        [("titulaires", "required", "is missing")],
        [(PATH, "null", "NC", None)],
    ),
    (
        [{"typeIdentifiant": "HORS_UE", "id": "US1"}, {"typeIdentifiant": "FRW", "id": "FRWF"}],
        wrapped(
            {"typeIdentifiant": "HORS-UE", "id": "US1"}, {"typeIdentifiant": "FRWF", "id": "FRWF"}
        ),
        [],
        [
            (f"{PATH}.typeIdentifiant", "label", "HORS_UE", "HORS-UE"),
            ("titulaires.1.titulaire.typeIdentifiant", "label", "FRW", "FRWF"),
        ],
    ),
    (
        [{"typeIdentifiant": "TVA_INTRACOMMUNAUTAIRE", "id": "DE 814 864 138"}],
        wrapped({"typeIdentifiant": "TVA", "id": "DE 814 864 138"}),
        [],
        [(f"{PATH}.typeIdentifiant", "label", "TVA_INTRACOMMUNAUTAIRE", "TVA")],
    ),
    (
        [{"typeIdentifiant": "UE", "id": "DE1"}],
        wrapped({"typeIdentifiant": "UE", "id": "DE1"}),
        [
            (
                f"{PATH}.typeIdentifiant",
                "enum",
                "'UE' is not one of: SIRET, TVA, TAHITI, RIDET, FRWF, IREP, HORS-UE",
            )
        ],
        [],
    ),
    (
        [{"typeIdentifiant": "SIRET", "id": "812 231 132\t00026 "}],
        wrapped(TITULAIRE),
        [],
        [(f"{PATH}.id", "siret", "812 231 132\t00026 ", SIRET)],
    ),
    (
        [{"typeIdentifiant": "SIRET", "id": 81223113200026}],
        wrapped(TITULAIRE),
        [],
        [(f"{PATH}.id", "siret", 81223113200026, SIRET)],
    ),
    (
        [{"typeIdentifiant": "SIRET", "id": "8122311320002"}],
        wrapped({"typeIdentifiant": "SIRET", "id": "8122311320002"}),
        [],
        [],
    ),
    (
        [{"id": SIRET}],
        wrapped(TITULAIRE),
        [],
        [(f"{PATH}.typeIdentifiant", "id-type", None, "SIRET")],
    ),
    (
        [SIRET],
        wrapped(TITULAIRE),
        [],
        [(f"{PATH}.typeIdentifiant", "id-type", None, "SIRET")],
    ),
    (
        [{"id": "81223113200027"}],
        wrapped({"id": "81223113200027"}),
        [(f"{PATH}.typeIdentifiant", "required", "is missing")],
        [],
    ),
    (
        [{"nom": "Jardins"}, TITULAIRE],
        wrapped({}, TITULAIRE),
        [
            (f"{PATH}.typeIdentifiant", "required", "is missing"),
            (f"{PATH}.id", "required", "is missing"),
        ],
        [],
    ),
    (
        [True],
        wrapped(None),
        [(PATH, "type", "True is not an object")],
        [],
    ),
    ([TITULAIRE | {"denominationSociale": "Jardins"}], wrapped(TITULAIRE), [], []),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "fitted", "told", "repaired"), PARTIES)
def test_a_list_of_parties(raw, fitted, told, repaired):
    assert outcome((MP, R2022), "titulaires", raw) == (fitted, told, repaired)


TECHNIQUES = (
    "Accord-cadre",
    "Concours",
    "Système de qualification",
    "Système d'acquisition dynamique",
    "Catalogue électronique",
    "Enchère électronique",
    "Sans objet",
)

LABELS = [
    ("Concours", ["Concours"], [], []),
    (["Concours", "Accord-cadre"], ["Concours", "Accord-cadre"], [], []),
    ({"technique": "Concours"}, ["Concours"], [], []),
    ([{"technique": "Concours"}], ["Concours"], [], []),
    (
        [["Concours"]],
        ["Concours"],
        [],
        [("techniques.technique", "flatten", [["Concours"]], ["Concours"])],
    ),
    (
        ["Concours", "CONCOURS"],
        ["Concours"],
        [],
        [("techniques.technique.1", "duplicate", "Concours", None)],
    ),
    (["NC", "Concours"], ["Concours"], [], [("techniques.technique.0", "null", "NC", None)]),
    ("Sans objet", ["Sans objet"], [], []),
    ([], LEFT_OUT, [("techniques", "required", "is missing")], []),
    ({"technique": []}, LEFT_OUT, [("techniques", "required", "is missing")], []),
    (
        ["Concours", {"code": 3}],
        ["Concours", None],
        [
            (
                "techniques.technique.1",
                "enum",
                f"an object is not one of: {', '.join(TECHNIQUES)}",
            )
        ],
        [],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "labels", "told", "repaired"), LABELS)
def test_a_list_of_labels(raw, labels, told, repaired):
    fitted = LEFT_OUT if labels is LEFT_OUT else {"technique": labels}
    assert outcome((MP, R2022), "techniques", raw) == (fitted, told, repaired)


MODIFICATION = MARCHE_2022["modifications"][0]["modification"]


@pytest.mark.parametrize(
    ("raw", "fitted", "told", "repaired"),
    [
        (None, LEFT_OUT, [], []),
        ([], LEFT_OUT, [], []),
        ("", LEFT_OUT, [], []),
        ({"modification": []}, LEFT_OUT, [], []),
        ([MODIFICATION], MARCHE_2022["modifications"], [], []),
        (
            {"modification": MODIFICATION},
            MARCHE_2022["modifications"],
            [],
            [("modifications", "wrap", {"modification": MODIFICATION}, [MODIFICATION])],
        ),
        (
            "avenant n° 1",
            [{"modification": None}],
            [("modifications.0.modification", "type", "'avenant n° 1' is not an object")],
            [],
        ),
        (
            [{"id": "2", "dateSignatureModification": "2024-09-01", "valeurGlobale": 3}],
            [{"modification": {"id": 2}}],
            [
                (f"modifications.0.modification.{field}", "required", "is missing")
                for field in ("dateNotificationModification", "datePublicationDonneesModification")
            ],
            [("modifications.0.modification.id", "number", "2", 2)],
        ),
    ],
)
def test_modifications(raw, fitted, told, repaired):
    found, problems_told, repairs = outcome((MP, R2022), "modifications", raw)
    assert (found, sorted(problems_told), repairs) == (fitted, sorted(told), repaired)


@pytest.mark.parametrize("raw", [LEFT_OUT, None, [], "", {}, [None]])
@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ((MP, R2019), "modifications"),
        ((CC, R2019), "modifications"),
        ((CC, R2019), "donneesExecution"),
    ],
)
def test_a_list_that_2019_wants_even_if_empty(kind, field, raw):
    found, told, _ = outcome(kind, field, raw)
    assert (found, told) == ([], [])


def test_an_act_with_too_little_is_not_hidden():
    act = {"id": 1, "sousTraitant": TITULAIRE}
    found, told, repaired = outcome((MP, R2022), "actesSousTraitance", [act])
    assert found == [{"acteSousTraitance": act}]
    assert sorted(told) == [
        (f"actesSousTraitance.0.acteSousTraitance.{field}", "required", "is missing")
        for field in (
            "dateNotification", "datePublicationDonnees", "dureeMois", "montant", "variationPrix",
        )
    ]  # fmt: skip
    assert repaired == []


@pytest.mark.parametrize(
    ("raw", "fitted", "told", "repaired"),
    [
        ({"id": " 21750001600019"}, {"id": "21750001600019"}, [], ["siret"]),
        ({"id": 21750001600019}, {"id": "21750001600019"}, [], ["siret"]),
        ({"id": "217500016"}, {"id": "217500016"}, [], []),
        ({"id": "21750001600019", "nom": "Paris"}, {"id": "21750001600019"}, [], []),
        ([{"id": "21750001600019"}], {"id": "21750001600019"}, [], ["flatten"]),
        ({"nom": "Paris"}, {}, [("acheteur.id", "required", "is missing")], []),
        ({"id": None}, LEFT_OUT, [("acheteur", "required", "is missing")], []),
        ("Paris", LEFT_OUT, [("acheteur", "type", "'Paris' is not an object")], []),
    ],
)
def test_the_buyer(raw, fitted, told, repaired):
    found, problems_told, repairs = outcome((MP, R2022), "acheteur", raw)
    assert (found, problems_told, [rule for _, rule, *_ in repairs]) == (fitted, told, repaired)


@pytest.mark.parametrize(
    ("raw", "fitted", "told"),
    [
        ({"code": "NC", "typeCode": "Code pays"}, {"code": "NC", "typeCode": "Code pays"}, []),
        ({"code": "MQ", "typeCode": "CODE PAYS"}, {"code": "MQ", "typeCode": "Code pays"}, []),
        (
            {"code": "NC", "typeCode": "Code postal"},
            {"typeCode": "Code postal"},
            [("lieuExecution.code", "required", "is missing")],
        ),
        (
            {"code": 75001, "typeCode": "code  postal"},
            {"code": "75001", "typeCode": "Code postal"},
            [],
        ),
    ],
)
def test_the_place(raw, fitted, told):
    found, problems_told, _ = outcome((MP, R2022), "lieuExecution", raw)
    assert (found, problems_told) == (fitted, told)


def test_the_wrappers_of_the_xml_in_2019():
    concession = CONCESSION_2019 | {
        "concessionnaires": {"concessionnaire": CONCESSION_2019["concessionnaires"][0]},
        "donneesExecution": {
            "donneesAnnuelles": CONCESSION_2019["donneesExecution"][0]
            | {"tarifs": {"tarif": [{"intituleTarif": "Plein tarif", "tarif": "9,50 €"}]}}
        },
        "modifications": {},
    }
    fitted = fit(concession, CC, R2019)
    assert (fitted.record, fitted.problems) == (CONCESSION_2019, ())
    assert [(repair.path, repair.rule) for repair in fitted.repairs] == [
        ("donneesExecution", "wrap"),
        ("donneesExecution.0.tarifs", "flatten"),
        ("donneesExecution.0.tarifs.0.tarif", "number"),
        ("concessionnaires", "wrap"),
    ]


def test_an_empty_list_of_execution_data_is_left_out_in_2022():
    assert outcome((CC, R2022), "donneesExecution", []) == (LEFT_OUT, [], [])


def test_all_faults_of_a_record_are_told_at_once():
    fitted = fit(
        {
            "id": 7,
            "acheteur": {"id": None},
            "dateNotification": "hier",
            "montant": "NC",
            "extra": 1,
        },
        MP,
        R2019,
    )
    assert fitted.record == {"id": "7", "dateNotification": "hier", "modifications": []}
    assert {(problem.path, problem.rule) for problem in fitted.problems} == {
        ("dateNotification", "date"),
        *(
            (field, "required")
            for field in (
                "acheteur", "nature", "objet", "codeCPV", "procedure", "lieuExecution",
                "dureeMois", "datePublicationDonnees", "montant", "formePrix", "titulaires",
            )
        ),
    }  # fmt: skip
    assert fitted.repairs == (
        Repair("id", "text", 7, "7"),
        Repair("montant", "null", "NC", None),
    )


def test_a_field_told_to_be_ambiguous():
    class TwoKeys(Names):
        def fields(self, raw, where):
            return raw if where else raw | {"montant": Ambiguous(("Montant", "MONTANT"))}

    fitted = fit(MARCHE_2022, MP, R2022, TwoKeys())
    assert fitted.record == {k: v for k, v in MARCHE_2022.items() if k != "montant"}
    assert fitted.problems == (
        Problem(
            "montant",
            "ambiguous",
            "is given two different values, by the keys Montant and MONTANT",
        ),
    )


def test_the_same_problem_is_told_once():
    fitted = fit(MARCHE_2022 | {"montant": "NC", "dureeMois": "un an", "id": ""}, MP, R2022)
    found = problems(fitted.record | {"objet": "x" * 1001}, MP, R2022)
    joined = join_problems(fitted.problems, found)
    assert [(problem.path, problem.rule) for problem in joined] == [
        ("dureeMois", "type"),
        ("id", "required"),
        ("montant", "required"),
        ("objet", "maxLength"),
    ]


@pytest.mark.parametrize(
    ("raw", "day"),
    [
        ("2024-05-15", date(2024, 5, 15)),
        ("2024-05-15T00:00:00+02:00", date(2024, 5, 15)),
        ({"dateNotification": "2024-05-15"}, date(2024, 5, 15)),
        ("2024-05-15T10:00:00", None),
        ("NC", None),
        (None, None),
        (20240515, None),
        (Ambiguous(("a", "b")), None),
    ],
)
def test_fit_date(raw, day):
    assert fit_date(raw, "dateNotification") == day


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("", ""),
        (" \n ", ""),
        ("\ud83d\ude00", "\U0001f600"),
        ("a\ud83db", "a\ufffdb"),
        ("a\ufffe\uffff", "a\ufffd\ufffd"),
        ("&amp;amp;amp;", "&"),
        ("&lt;BR/&gt;x", "x"),
        ("&#0;&#xFFFE;&#128;&#1114112;", "&#0;&#xFFFE;€&#1114112;"),
        ("a&nbsp;b", "a b"),
        ("\x7f\x81\x93x\x94", "“x”"),
    ],
)
def test_clean(text, cleaned):
    assert clean(text) == cleaned


@given(st.text(st.characters(codec=None)) | st.text("&;#amplt<br>x3 \n"))
def test_clean_text_fits_json_and_xml_and_stays(text):
    cleaned = clean(text)
    element = etree.Element("t")
    element.text = cleaned
    assert etree.fromstring(etree.tostring(element)).text in (cleaned or None, cleaned)
    assert orjson.loads(orjson.dumps(cleaned)) == cleaned
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("raw", "null"),
    [
        (None, True), ("", True), (" NC ", True), ("mq", True), ([None, {"a": ""}], True),
        (0, False), (False, False), ("Sans objet", False), (" " * 99, True), ("x" * 99, False),
    ],
)  # fmt: skip
def test_is_null(raw, null):
    assert is_null(raw) is null


def test_fold():
    assert fold("Système d’ACQUISITION_dynamique – œuvre") == "systemedacquisitiondynamiqueoeuvre"


def test_fields_of_names_every_property_of_the_schemas():
    assert list(fields_of(MP, R2019)[""]) == [
        "id", "uid", "_type", "acheteur.id", "acheteur.nom", "nature", "objet", "codeCPV",
        "procedure", "lieuExecution.code", "lieuExecution.typeCode", "lieuExecution.nom",
        "dureeMois", "dateNotification", "datePublicationDonnees", "montant", "formePrix",
        "titulaires", "modifications",
    ]  # fmt: skip
    for kind in COMPLETE:
        heads = {name.partition(".")[0] for name in fields_of(*kind)[""]}
        assert heads == set(record_schema(*kind)["properties"])
    assert fields_of(CC, R2022)["donneesExecution.tarifs"] == {
        "intituleTarif": False,
        "tarif": False,
    }


# ------------------------------------------------------------------------ any input

WORDS = st.sampled_from(
    ["NC", "oui", "12", "1 234,5 €", "2024-05-15", "2024-05-15T00:00:00", "SIRET", SIRET,
     "Marché", "ACCORD-CADRE", "Concours", "\ud800", "&amp;#10;", ""]
)  # fmt: skip
KEYS = st.sampled_from(
    sorted(
        {part for kind in COMPLETE for fields in fields_of(*kind).values() for name in fields
         for part in name.split(".")}
        | {"titulaire", "modification", "tarif", "technique", "acteSousTraitance"}
    )
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.sampled_from(list(COMPLETE)), st.dictionaries(KEYS, JSON, max_size=6))
def test_whatever_a_record_holds(kind, changes):
    fitted = fit(COMPLETE[kind] | changes, *kind)

    orjson.dumps(fitted.record)
    orjson.dumps([told.as_dict() for told in (*fitted.problems, *fitted.repairs)])
    found = problems(fitted.record, *kind)
    told = {problem.path for problem in fitted.problems}
    for problem in found:
        # What the value is was decided here; how large or long it may be was not.
        assert problem.rule not in ("json", "additionalProperties")
        assert problem.path in told or problem.rule not in ("required", "type", "enum")
    if not join_problems(fitted.problems, found):
        assert fit(fitted.record, *kind) == (fitted.record, (), ())


# ------------------------------------------------------------------------ real records


def kind_of(record):
    return CC if "autoriteConcedante" in record else MP


def known(value, schema_fields, where=""):
    """A record of 2019 without the keys that its format does not know."""
    if isinstance(value, list):
        return [known(item, schema_fields, where) for item in value]
    if not isinstance(value, dict):
        return value
    names = (
        {name.partition(".")[0] for name in schema_fields[where]}
        if where in schema_fields
        else None
    )
    return {
        key: known(inner, schema_fields, f"{where}.{key}".removeprefix("."))
        for key, inner in value.items()
        if names is None or key in names
    }


def test_official_examples_are_left_as_they_are(shared):
    seen = 0
    for regime, folder in ((R2019, "1.5.0"), (R2022, "2.0.4")):
        for path in sorted((shared / "official" / folder / "examples/json").glob("*.json")):
            marches = json.loads(path.read_bytes())["marches"]
            records = marches if regime is R2019 else [r for kind in marches.values() for r in kind]
            for record in records:
                fitted = fit(record, kind_of(record), regime)
                seen += 1
                assert fitted.problems == ()
                # Three examples have the zone that schema 1.5.0 allows behind a date.
                assert {repair.rule for repair in fitted.repairs} <= {"date"}
                for repair in fitted.repairs:
                    assert fitted.record[repair.path] == repair.before.removesuffix("+02:00")
                cut = {repair.path: repair.after for repair in fitted.repairs}
                assert fitted.record == record | cut
    assert seen == 22


@pytest.mark.parametrize(
    ("name", "valid_before", "valid_after"),
    [
        ("real-aife-2019.json.gz", 331, 359),
        ("real-marches-publics.info-2019.json.gz", 4361, 4505),
    ],
)
def test_real_records(shared, name, valid_before, valid_after):
    records = json.loads(gzip.decompress((shared / "data" / name).read_bytes()))["marches"]
    before = after = 0
    for record in records:
        kind = (kind_of(record), R2019)
        fitted = fit(record, *kind)
        valid = not join_problems(fitted.problems, problems(fitted.record, *kind))
        after += valid
        if problems(record, *kind):
            continue
        before += 1
        assert valid
        assert {repair.rule for repair in fitted.repairs} <= {
            "text", "siret", "date", "label", "duplicate",
        }  # fmt: skip
        if not fitted.repairs:
            assert fitted.record == known(record, fields_of(*kind))
    assert (before, after) == (valid_before, valid_after)
