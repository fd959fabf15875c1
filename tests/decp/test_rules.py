from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from equality import key_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dume_spider.decp import schema
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.rules import (
    ORIGIN_RANGES,
    RULES,
    Severity,
    check,
    duplicate_key,
    rules_table,
    severities_of,
)
from dume_spider.decp.verdict import Problem
from dume_spider.exceptions import ArgumentError

MP, CC = ContractType.MARCHE, ContractType.CONCESSION
R2019, R2022 = Regime.R2019, Regime.R2022
MP22, CC22, MP19, CC19 = (MP, R2022), (CC, R2022), (MP, R2019), (CC, R2019)

DAY = date(2024, 12, 31)
DEFAULTS = {rule.id: rule.severity for rule in RULES}

BUYER = "21350238800019"
WINNER = "73282932000074"
OTHER = "55208131766522"
LA_POSTE = "35600000049837"
LA_POSTE_HEAD_OFFICE = "35600000000048"
BAD_SUM = "73282932000079"
RC = "\ufffd"
LOST = "has lost characters (U+FFFD)"
NO_COMPANY = "passes the check sum of a SIRET, but no company has such a number"


def _act(**fields: Any) -> dict[str, Any]:
    act = {
        "id": 1,
        "sousTraitant": {"typeIdentifiant": "SIRET", "id": OTHER},
        "dureeMois": 6,
        "dateNotification": "2024-04-01",
        "datePublicationDonnees": "2024-04-10",
        "montant": 20000,
        "variationPrix": "Ferme",
    }
    return {"acteSousTraitance": act | fields}


def _act_change(**fields: Any) -> dict[str, Any]:
    change = {
        "id": 1,
        "dateNotificationModificationSousTraitance": "2024-06-01",
        "datePublicationDonnees": "2024-06-10",
    }
    return {"modificationActeSousTraitance": change | fields}


def _modification(type: ContractType = MP, **fields: Any) -> dict[str, Any]:
    name = "dateNotificationModification" if type is MP else "dateSignatureModification"
    change = {"id": 1, name: "2024-07-01", "datePublicationDonneesModification": "2024-07-10"}
    return {"modification": change | fields}


def _titulaire(id: str = WINNER, kind: str = "SIRET") -> dict[str, Any]:
    return {"titulaire": {"typeIdentifiant": kind, "id": id}}


def _report(**fields: Any) -> dict[str, Any]:
    report = {
        "datePublicationDonneesExecution": "2024-09-01",
        "depensesInvestissement": 0,
        "tarifs": [{"tarif": {"intituleTarif": "Plein tarif", "tarif": 4.5}}],
    }
    return {"donneesAnnuelles": report | fields}


#: By type and regime, a record that breaks no rule; every case changes some of its fields.
CLEAN: dict[tuple[ContractType, Regime], dict[str, Any]] = {
    MP22: {
        "id": "2024-12/A#1",
        "acheteur": {"id": BUYER},
        "nature": "Marché",
        "objet": "Entretien des jardins & des serres",
        "codeCPV": "77313000",
        "techniques": {"technique": ["Sans objet"]},
        "modalitesExecution": {"modaliteExecution": ["Tranches"]},
        "marcheInnovant": False,
        "ccag": "Travaux",
        "offresRecues": 3,
        "attributionAvance": False,
        "typeGroupementOperateurs": "Pas de groupement",
        "sousTraitanceDeclaree": True,
        "procedure": "Procédure adaptée",
        "lieuExecution": {"code": "35238", "typeCode": "Code commune"},
        "dureeMois": 12,
        "dateNotification": "2024-03-01",
        "datePublicationDonnees": "2024-03-05",
        "montant": 100000,
        "typesPrix": {"typePrix": ["Définitif ferme"]},
        "formePrix": "Unitaire",
        "titulaires": [_titulaire()],
        "considerationsSociales": {"considerationSociale": ["Clause sociale"]},
        "considerationsEnvironnementales": {
            "considerationEnvironnementale": ["Pas de considération environnementale"]
        },
        "actesSousTraitance": [_act()],
        "modificationsActesSousTraitance": [_act_change(montant=25000)],
        "modifications": [_modification(montant=120000, titulaires=[_titulaire(OTHER)])],
    },
    CC22: {
        "id": "2024C7",
        "autoriteConcedante": {"id": BUYER},
        "nature": "Délégation de service public",
        "objet": "Exploitation de la piscine",
        "procedure": "Procédure négociée ouverte",
        "dureeMois": 240,
        "dateSignature": "2024-03-01",
        "datePublicationDonnees": "2024-03-05",
        "dateDebutExecution": "2024-04-01",
        "valeurGlobale": 4000000.5,
        "montantSubventionPublique": 0,
        "concessionnaires": [{"concessionnaire": {"typeIdentifiant": "SIRET", "id": WINNER}}],
        "considerationsSociales": {"considerationSociale": ["Pas de considération sociale"]},
        "considerationsEnvironnementales": {
            "considerationEnvironnementale": ["Critère environnemental"]
        },
        "donneesExecution": [_report()],
        "modifications": [_modification(CC, valeurGlobale=4500000)],
    },
    MP19: {
        "id": "20190712300",
        "_type": "Marché",
        "acheteur": {"id": BUYER, "nom": "Ville"},
        "nature": "Marché",
        "objet": "Entretien des jardins",
        "codeCPV": "77313000-7",
        "procedure": "Procédure adaptée",
        "lieuExecution": {"code": "35000", "typeCode": "Code postal", "nom": "Rennes"},
        "dureeMois": 12,
        "dateNotification": "2019-03-01+01:00",
        "datePublicationDonnees": "2019-03-01",
        "montant": 100000.5,
        "formePrix": "Ferme",
        "titulaires": [{"typeIdentifiant": "SIRET", "id": WINNER, "denominationSociale": "Alpha"}],
        "modifications": [
            {
                "objetModification": "Avenant",
                "dateNotificationModification": "2019-05-01",
                "datePublicationDonneesModification": "2019-05-02",
                "montant": 110000,
            }
        ],
    },
    CC19: {
        "id": "2019C0700",
        "_type": "Contrat de concession",
        "autoriteConcedante": {"id": BUYER, "nom": "Ville"},
        "nature": "Concession de service",
        "objet": "Piscine",
        "procedure": "Procédure négociée ouverte",
        "lieuExecution": {"code": "35", "typeCode": "Code département", "nom": "Rennes"},
        "dureeMois": 240,
        "dateSignature": "2019-03-01",
        "datePublicationDonnees": "2019-03-05",
        "dateDebutExecution": "2019-04-01",
        "valeurGlobale": 4000000,
        "montantSubventionPublique": 0,
        "donneesExecution": [],
        "concessionnaires": [
            {"typeIdentifiant": "SIRET", "id": WINNER, "denominationSociale": "Alpha"}
        ],
        "modifications": [],
    },
}


def changed(kind: tuple[ContractType, Regime], changes: dict[str, Any]) -> dict[str, Any]:
    """The clean record of a kind, with the value of each dotted path replaced (... removes)."""
    record = deepcopy(CLEAN[kind])
    for path, value in changes.items():
        *parents, last = path.split(".")
        node = record
        for key in parents:
            node = node[int(key) if isinstance(node, list) else key]
        if value is ...:
            del node[last]
        else:
            node[int(last) if isinstance(node, list) else last] = value
    assert schema.problems(record, *kind) == []
    return record


def found(record: dict[str, Any], kind: tuple[ContractType, Regime], **options: Any) -> list:
    """Both lists of the verdict, as ``(severity, rule, path, message)``."""
    verdict = check(record, *kind, day=options.pop("day", DAY), **options)
    return [
        (severity, problem.rule, problem.path, problem.message)
        for severity, problems in (("error", verdict.errors), ("warning", verdict.warnings))
        for problem in problems
    ]


# ------------------------------------------------------- one failing example at least a rule

T0 = "titulaires.0.titulaire"
M0 = "modifications.0.modification"
A0 = "actesSousTraitance.0.acteSousTraitance"
AM0 = "modificationsActesSousTraitance.0.modificationActeSousTraitance"
C0 = "concessionnaires.0.concessionnaire"

#: Rule, kind of contract, changes to the clean record, and every problem then found.
FAILING = [
    ("empty", MP22, {"id": "  "}, [("id", "is blank")]),
    (
        "empty",
        MP22,
        {"titulaires": [_titulaire(" ", "TVA"), "abc"]},
        [
            ("titulaires.1", "is not an object with an identifier"),
            (f"{T0}.id", "is blank"),
        ],
    ),
    ("empty", MP19, {"acheteur": "x"}, [("acheteur", "is not an object with an identifier")]),
    (
        "empty",
        CC22,
        {"concessionnaires": [7]},
        [("concessionnaires.0", "is not an object with an identifier")],
    ),
    (
        "siret",
        MP22,
        {"acheteur.id": "21350238800018"},
        [("acheteur.id", "'21350238800018' is not a SIRET: its check sum is wrong")],
    ),
    (
        "siret",
        MP22,
        {f"{T0}.id": "7328293200007"},
        [(f"{T0}.id", "'7328293200007' is not a SIRET: it is not 14 digits")],
    ),
    (
        "siret",
        CC22,
        {"autoriteConcedante.id": "12345678901234", f"{C0}.id": BAD_SUM},
        [
            ("autoriteConcedante.id", "'12345678901234' is not a SIRET: its check sum is wrong"),
            (f"{C0}.id", f"'{BAD_SUM}' is not a SIRET: its check sum is wrong"),
        ],
    ),
    (
        "siret",
        MP19,
        {"titulaires.0.id": "7328293200007A"},
        [("titulaires.0.id", "'7328293200007A' is not a SIRET: it is not 14 digits")],
    ),
    # A wrong sum for La Poste too: neither Luhn's nor its own.
    (
        "siret",
        MP22,
        {f"{T0}.id": "35600000049838"},
        [(f"{T0}.id", "'35600000049838' is not a SIRET: its check sum is wrong")],
    ),
    # Fourth by identifier, though first in the list.
    (
        "siret-other",
        MP22,
        {
            "titulaires": [
                _titulaire("99999999900079"),
                _titulaire(OTHER),
                _titulaire(WINNER),
                _titulaire(BUYER),
            ]
        },
        [(f"{T0}.id", "'99999999900079' is not a SIRET: its check sum is wrong")],
    ),
    (
        "siret-other",
        MP22,
        {f"{A0}.sousTraitant.id": BAD_SUM, f"{M0}.titulaires.0.titulaire.id": "214356"},
        [
            (f"{A0}.sousTraitant.id", f"'{BAD_SUM}' is not a SIRET: its check sum is wrong"),
            (
                f"{M0}.titulaires.0.titulaire.id",
                "'214356' is not a SIRET: it is not 14 digits",
            ),
        ],
    ),
    (
        "siret-la-poste",
        MP22,
        {f"{T0}.id": LA_POSTE},
        [
            (
                f"{T0}.id",
                f"'{LA_POSTE}' is right for La Poste, but the State's pipeline refuses it",
            )
        ],
    ),
    (
        "siren",
        CC22,
        {f"{C0}.id": "30130900605410"},
        [
            (
                f"{C0}.id",
                f"'30130900605410' {NO_COMPANY}",
            )
        ],
    ),
    (
        "siren",
        MP22,
        {f"{T0}.id": "00000000000000"},
        [
            (
                f"{T0}.id",
                f"'00000000000000' {NO_COMPANY}",
            )
        ],
    ),
    (
        "tva",
        MP22,
        {f"{T0}.id": "FR40303265046", f"{T0}.typeIdentifiant": "TVA"},
        [(f"{T0}.id", "'FR40303265046' is not a VAT number of the European Union")],
    ),
    (
        "tva",
        MP22,
        {f"{A0}.sousTraitant": {"typeIdentifiant": "TVA", "id": "CY9455349\n3"}},
        [
            (
                f"{A0}.sousTraitant.id",
                r"'CY9455349\n3' is not a VAT number of the European Union",
            )
        ],
    ),
    *(
        (
            "identifiant",
            MP22,
            {f"{T0}.id": id, f"{T0}.typeIdentifiant": kind},
            [(f"{T0}.id", f"'{id}' is no {kind} identifier: {words}")],
        )
        for kind, id, words in (
            ("TAHITI", "12345678", "9 letters or digits"),
            ("RIDET", "1234567-89", "10 letters or digits"),
            ("FRWF", "FRWF1234567890123", "FRWF and 14 letters or digits"),
            ("IREP", "W751067032", "5 digits, then letters or digits"),
            ("HORS-UE", "us123", "2 capitals, then at most 16 letters or digits"),
        )
    ),
    (
        "identifiant-other",
        MP22,
        {f"{A0}.sousTraitant": {"typeIdentifiant": "RIDET", "id": "1"}},
        [(f"{A0}.sousTraitant.id", "'1' is no RIDET identifier: 10 letters or digits")],
    ),
    (
        "id",
        MP22,
        {"id": "2024&é"},
        [("id", "'2024&é' has other characters than letters, digits, space and /-_.#")],
    ),
    (
        "id",
        MP19,
        {"id": "2018MATINFO*0400"},
        [("id", "'2018MATINFO*0400' has other characters than letters, digits, space and /-_.#")],
    ),
    (
        "id-accord-cadre",
        MP22,
        {"idAccordCadre": "AC,1"},
        [
            (
                "idAccordCadre",
                r"'AC,1' has other characters than letters, digits, space and /\-_.",
            )
        ],
    ),
    (
        "date",
        MP22,
        {"datePublicationDonnees": "2024-02-30"},
        [
            (
                "datePublicationDonnees",
                "'2024-02-30' is not a day of the calendar written YYYY-MM-DD",
            )
        ],
    ),
    (
        "date",
        MP22,
        {f"{M0}.datePublicationDonneesModification": "2024-07-10+02:00"},
        [
            (
                f"{M0}.datePublicationDonneesModification",
                "'2024-07-10+02:00' is not a day of the calendar written YYYY-MM-DD",
            )
        ],
    ),
    (
        "date",
        CC19,
        {"dateDebutExecution": "2019-02-29"},
        [
            (
                "dateDebutExecution",
                "'2019-02-29' is not a day of the calendar written YYYY-MM-DD",
            )
        ],
    ),
    (
        "date-years",
        MP19,
        {"dateNotification": "0218-10-29"},
        [("dateNotification", "'0218-10-29' is not of the years 2010 to 2039")],
    ),
    (
        "date-years",
        MP19,
        {"dateNotification": "2009-12-31"},
        [("dateNotification", "'2009-12-31' is not of the years 2010 to 2039")],
    ),
    (
        "date-years",
        CC19,
        {"dateSignature": "1999-12-31"},
        [("dateSignature", "'1999-12-31' is not of the years 2000 to 2099")],
    ),
    (
        "regime",
        MP19,
        {
            "dateNotification": "2024-01-01+01:00",
            "datePublicationDonnees": "2024-01-02",
            "modifications": [],
        },
        [
            (
                "dateNotification",
                "'2024-01-01' is not before 2024: publish it in the format of 2022",
            )
        ],
    ),
    (
        "regime",
        CC19,
        {
            "dateSignature": "2024-01-01",
            "datePublicationDonnees": "2024-01-02",
            "dateDebutExecution": "2024-02-01",
        },
        [("dateSignature", "'2024-01-01' is not before 2024: publish it in the format of 2022")],
    ),
    (
        "date-future",
        MP22,
        {"datePublicationDonnees": "2025-01-01"},
        [
            (
                "datePublicationDonnees",
                "'2025-01-01' is in the future (the record was checked on 2024-12-31)",
            )
        ],
    ),
    (
        "date-future-start",
        CC22,
        {"dateDebutExecution": "2025-01-01"},
        [
            (
                "dateDebutExecution",
                "'2025-01-01' is in the future (the record was checked on 2024-12-31)",
            )
        ],
    ),
    (
        "date-future-other",
        MP22,
        {f"{AM0}.datePublicationDonnees": "2025-01-02"},
        [
            (
                f"{AM0}.datePublicationDonnees",
                "'2025-01-02' is in the future (the record was checked on 2024-12-31)",
            )
        ],
    ),
    (
        "date-order",
        MP22,
        {"datePublicationDonnees": "2024-02-29"},
        [("datePublicationDonnees", "'2024-02-29' is before dateNotification, 2024-03-01")],
    ),
    (
        "date-order",
        CC22,
        {"datePublicationDonnees": "2024-02-29", "dateDebutExecution": "2024-02-01"},
        [
            ("datePublicationDonnees", "'2024-02-29' is before dateSignature, 2024-03-01"),
            ("dateDebutExecution", "'2024-02-01' is before dateSignature, 2024-03-01"),
        ],
    ),
    (
        "modification-dates",
        MP19,
        {
            "modifications.0.dateNotificationModification": "2019-02-01",
            "modifications.0.datePublicationDonneesModification": "2019-01-31+01:00",
        },
        [
            (
                "modifications.0.dateNotificationModification",
                "'2019-02-01' is before the contract itself, 2019-03-01",
            ),
            (
                "modifications.0.datePublicationDonneesModification",
                "'2019-01-31+01:00' is before dateNotificationModification, 2019-02-01",
            ),
        ],
    ),
    (
        "modification-dates",
        CC22,
        {
            "modifications": [
                _modification(CC),
                _modification(CC, id=2, dateSignatureModification="2024-06-30"),
            ]
        },
        [
            (
                "modifications.1.modification.dateSignatureModification",
                "'2024-06-30' is before an earlier modification, 2024-07-01",
            )
        ],
    ),
    (
        "modification-dates",
        MP22,
        {
            "modifications": [
                _modification(id=id, dateNotificationModification=f"2024-0{month}-01")
                for id, month in ((1, 4), (2, 6), (3, 5))
            ]
        },
        [
            (
                "modifications.2.modification.dateNotificationModification",
                "'2024-05-01' is before an earlier modification, 2024-06-01",
            )
        ],
    ),
    (
        "acte-dates",
        MP22,
        {
            f"{A0}.dateNotification": "2024-02-28",
            f"{A0}.datePublicationDonnees": "2024-02-27",
            f"{AM0}.dateNotificationModificationSousTraitance": "2024-02-01",
            f"{AM0}.datePublicationDonnees": "2024-01-31",
        },
        [
            (f"{A0}.dateNotification", "'2024-02-28' is before the contract itself, 2024-03-01"),
            (f"{A0}.datePublicationDonnees", "'2024-02-27' is before dateNotification, 2024-02-28"),
            (
                f"{AM0}.dateNotificationModificationSousTraitance",
                "'2024-02-01' is before the act it modifies, 2024-02-28",
            ),
            (
                f"{AM0}.datePublicationDonnees",
                "'2024-01-31' is before dateNotificationModificationSousTraitance, 2024-02-01",
            ),
        ],
    ),
    (
        "execution-dates",
        CC22,
        {"donneesExecution.0.donneesAnnuelles.datePublicationDonneesExecution": "2024-02-01"},
        [
            (
                "donneesExecution.0.donneesAnnuelles.datePublicationDonneesExecution",
                "'2024-02-01' is before dateSignature, 2024-03-01",
            )
        ],
    ),
    ("montant-min", MP19, {"montant": 0}, [("montant", "0 is below 1")]),
    ("montant-min", CC19, {"valeurGlobale": -5.5}, [("valeurGlobale", "-5.5 is below 1")]),
    (
        "montant-max",
        MP22,
        {"montant": 3000000000.01},
        [("montant", "3000000000.01 is above 3000000000")],
    ),
    (
        "montant-max",
        CC22,
        {"valeurGlobale": 15000000001},
        [("valeurGlobale", "15000000001 is above 15000000000")],
    ),
    ("montant-suspect", MP22, {"montant": 999999999}, [("montant", "999999999 looks made up")]),
    ("montant-suspect", MP22, {"montant": 166666669.6}, [("montant", "166666669.6 looks made up")]),
    (
        "montant-suspect",
        CC22,
        {"valeurGlobale": 1234567890},
        [("valeurGlobale", "1234567890 looks made up")],
    ),
    (
        "montant-other",
        MP19,
        {"modifications.0.montant": 0},
        [("modifications.0.montant", "0 is below 1")],
    ),
    (
        "montant-other",
        CC22,
        {
            "modifications": [
                _modification(CC, valeurGlobale=2e10),
                _modification(CC, id=2, valeurGlobale=777777777),
            ]
        },
        [
            (f"{M0}.valeurGlobale", "20000000000.0 is above 15000000000"),
            ("modifications.1.modification.valeurGlobale", "777777777 looks made up"),
        ],
    ),
    ("duree", MP22, {"dureeMois": 181}, [("dureeMois", "181 is not 1 to 180 months")]),
    ("duree", CC19, {"dureeMois": 361}, [("dureeMois", "361 is not 1 to 360 months")]),
    (
        "duree-other",
        MP22,
        {f"{M0}.dureeMois": 200},
        [(f"{M0}.dureeMois", "200 is not 1 to 180 months")],
    ),
    (
        "duree-other",
        MP19,
        {"modifications.0.dureeMois": 0},
        [("modifications.0.dureeMois", "0 is not 1 to 180 months")],
    ),
    ("objet", MP22, {"objet": "1234"}, [("objet", "'1234' has 4 characters, fewer than 5")]),
    (
        "cpv-division",
        MP22,
        {"codeCPV": "74400000"},
        [("codeCPV", "'74400000' is of no division of the CPV of 2008")],
    ),
    *(
        (
            "lieu-code",
            kind,
            {"lieuExecution.typeCode": type_code, "lieuExecution.code": code},
            [("lieuExecution.code", f"'{code}' is no {type_code}: {words}")],
        )
        for kind, type_code, code, words in (
            (MP22, "Code postal", "76", "5 digits"),
            (MP19, "Code commune", "2C004", "5 digits, or 2A or 2B and 3 digits"),
            (
                MP22,
                "Code arrondissement",
                "75",
                "a département and one digit, or an arrondissement of Paris, Lyon or Marseille",
            ),
            (MP22, "Code canton", "352", "a département and two digits"),
            (CC19, "Code département", "078", "01 to 95, 2A, 2B, or three digits overseas"),
            (MP19, "Code région", "820", "2 digits"),
            (MP19, "Code pays", "250", "99 and 3 digits, or 2 or 3 capitals"),
        )
    ),
    (
        "considerations",
        MP22,
        {
            "considerationsSociales.considerationSociale": [
                "Pas de considération sociale",
                "Clause sociale",
            ],
            "considerationsEnvironnementales.considerationEnvironnementale": [
                "Clause environnementale",
                "Pas de considération environnementale",
            ],
        },
        [
            (
                "considerationsSociales.considerationSociale",
                "'Pas de considération sociale' stands beside another value",
            ),
            (
                "considerationsEnvironnementales.considerationEnvironnementale",
                "'Pas de considération environnementale' stands beside another value",
            ),
        ],
    ),
    (
        "considerations-concession",
        CC22,
        {
            "considerationsSociales.considerationSociale": [
                "Concession réservée",
                "Pas de considération sociale",
            ]
        },
        [
            (
                "considerationsSociales.considerationSociale",
                "'Pas de considération sociale' stands beside another value",
            )
        ],
    ),
    (
        "origine-order",
        MP22,
        {"origineFrance": 0.6, "origineUE": 0.5},
        [("origineFrance", "0.6 is above origineUE, 0.5")],
    ),
    (
        "origine-missing",
        MP22,
        {"codeCPV": "33690000-3"},
        [
            ("origineUE", "is missing, though codeCPV is '33690000-3'"),
            ("origineFrance", "is missing, though codeCPV is '33690000-3'"),
        ],
    ),
    (
        "origine-missing",
        MP22,
        {"codeCPV": "33690000", "origineUE": 0.5},
        [("origineFrance", "is missing, though codeCPV is '33690000'")],
    ),
    *(
        (
            "origine-missing",
            MP22,
            {"codeCPV": str(code), "origineFrance": 0},
            [("origineUE", f"is missing, though codeCPV is '{code}'")],
        )
        for ends in ORIGIN_RANGES
        for code in ends
    ),
    (
        "taux-avance-zero",
        MP22,
        {"attributionAvance": True, "tauxAvance": 0},
        [("tauxAvance", "is 0, though attributionAvance is true: the rate is unknown")],
    ),
    (
        "taux-avance-alone",
        MP22,
        {"tauxAvance": 0.1},
        [("tauxAvance", "is 0.1, though attributionAvance is false")],
    ),
    (
        "modification-id",
        MP22,
        {
            "modifications": [
                _modification(id=2),
                _modification(),
                _modification(id=2, dateNotificationModification="2024-07-02"),
            ]
        },
        [
            ("modifications.1.modification.id", "1 comes after 2: ids must increase"),
            ("modifications.2.modification.id", "2 is already the id of another modification"),
        ],
    ),
    (
        "acte-id",
        MP22,
        {"actesSousTraitance": [_act(id=2), _act(), _act(id=2, montant=1)]},
        [
            ("actesSousTraitance.1.acteSousTraitance.id", "1 comes after 2: ids must increase"),
            (
                "actesSousTraitance.2.acteSousTraitance.id",
                "2 is already the id of another act",
            ),
        ],
    ),
    (
        "acte-undeclared",
        MP22,
        {"sousTraitanceDeclaree": False},
        [("sousTraitanceDeclaree", "is false, though acts are given: 1")],
    ),
    (
        "acte-unknown",
        MP22,
        {f"{AM0}.id": 7},
        [(f"{AM0}.id", "7 is the id of no act of this contract")],
    ),
    (
        "acte-excess",
        MP22,
        {f"{A0}.montant": 120000.5, f"{A0}.dureeMois": 13},
        [
            (f"{A0}.montant", "120000.5 is above the contract's, 120000"),
            (f"{A0}.dureeMois", "13 is above the contract's, 12"),
        ],
    ),
    (
        "acte-excess",
        MP22,
        {"actesSousTraitance": [_act(), _act(id=2, montant=100000.5)]},
        [("actesSousTraitance", "add up to 125000.5, above the contract's, 120000")],
    ),
    (
        "acte-excess",
        MP22,
        {"actesSousTraitance": [_act(), _act(id=2, montant=120001)]},
        [
            (
                "actesSousTraitance.1.acteSousTraitance.montant",
                "120001 is above the contract's, 120000",
            )
        ],
    ),
    ("text-blank", MP22, {"lieuExecution.code": " "}, [("lieuExecution.code", "is blank")]),
    ("text-blank", CC22, {"objet": ""}, [("objet", "is blank")]),
    (
        "text-blank",
        MP22,
        {f"{A0}.sousTraitant.id": ""},
        [(f"{A0}.sousTraitant.id", "is blank")],
    ),
    (
        "text-replacement",
        MP19,
        {"acheteur.nom": "For\ufffdt", "titulaires.0.denominationSociale": "\ufffd"},
        [
            ("acheteur.nom", "'For\ufffdt' has lost characters (U+FFFD)"),
            ("titulaires.0.denominationSociale", "'\ufffd' has lost characters (U+FFFD)"),
        ],
    ),
    (
        "text-html",
        MP19,
        {
            "objet": "Travaux<br />de voirie",
            "modifications.0.objetModification": "200 &euro; de plus",
        },
        [
            ("objet", "has HTML left in it: '<br />'"),
            ("modifications.0.objetModification", "has HTML left in it: '&euro;'"),
        ],
    ),
    (
        "text-html",
        CC22,
        {
            "donneesExecution.0.donneesAnnuelles.tarifs.0.tarif.intituleTarif": "<b>Plein</b>",
        },
        [
            (
                "donneesExecution.0.donneesAnnuelles.tarifs.0.tarif.intituleTarif",
                "has HTML left in it: '<b>'",
            )
        ],
    ),
    (
        "test-record",
        MP19,
        {"id": "2018123456789100", "montant": 123456.78, "source": "AIFE_test"},
        [
            ("id", "'2018123456789100' is the id of a test"),
            ("montant", "123456.78 is the amount of a test"),
            ("source", "'AIFE_test' is the source of tests"),
        ],
    ),
]

#: Rule, kind of contract, and changes that come near to breaking the rule without doing so.
PASSING = [
    ("empty", MP22, {"id": "1"}),
    ("siret", MP22, {"acheteur.id": LA_POSTE_HEAD_OFFICE, f"{T0}.id": "732 829 320.00074"}),
    ("siret", CC19, {"concessionnaires.0.id": LA_POSTE_HEAD_OFFICE}),
    ("siret-other", MP22, {f"{A0}.sousTraitant.id": LA_POSTE_HEAD_OFFICE}),
    ("siret-la-poste", MP22, {f"{T0}.id": LA_POSTE_HEAD_OFFICE}),
    ("siren", MP22, {f"{T0}.id": OTHER}),
    *(
        ("tva", MP22, {f"{T0}.id": id, f"{T0}.typeIdentifiant": "TVA"})
        for id in ("FR 40 303 265 045", "DE243659508", "EL094259216", "BE697449992")
    ),
    *(
        ("identifiant", MP22, {f"{T0}.id": id, f"{T0}.typeIdentifiant": kind})
        for kind, id in (
            ("TAHITI", "587857001"),
            ("RIDET", "000123A001"),
            ("FRWF", "FRWF12345678901234"),
            ("IREP", "12345"),
            ("HORS-UE", "CH"),
            ("HORS-UE", "GB1234567890123456"),
        )
    ),
    (
        "identifiant-other",
        MP22,
        {f"{A0}.sousTraitant": {"typeIdentifiant": "RIDET", "id": "0001234001"}},
    ),
    ("id", MP22, {"id": "A/b-c_d e.f#09ZZ"}),
    ("id", CC19, {"id": "2019é&;00"}),  # the State looks at no id of a concession of 2019
    ("id-accord-cadre", MP22, {"idAccordCadre": "AC 1/2-3_4.5\\6"}),
    ("date", MP19, {"datePublicationDonnees": "2020-02-29+01:00Z"}),
    ("date-years", MP19, {"dateNotification": "2010-01-01"}),
    ("date-years", CC19, {"dateSignature": "2000-01-01"}),
    ("date-years", MP22, {"dateNotification": "2039-12-31"}),
    ("date-years", CC22, {"dateSignature": "2099-12-31"}),
    ("regime", MP19, {"dateNotification": "2023-12-31+01:00"}),
    # Modified, or published, under the new format: it stays in the one that it began in.
    ("regime", MP19, {"datePublicationDonnees": "2024-06-01"}),
    ("date-future", MP22, {"dateNotification": "2024-03-05"}),
    ("date-future-start", CC22, {"dateDebutExecution": "2024-12-31"}),
    ("date-future-other", MP22, {f"{M0}.datePublicationDonneesModification": "2024-12-31"}),
    ("date-order", CC22, {"dateDebutExecution": "2024-03-01"}),
    (
        "modification-dates",
        MP22,
        {
            "modifications": [
                _modification(dateNotificationModification="2024-03-01"),
                _modification(id=2, dateNotificationModification="2024-03-01"),
            ]
        },
    ),
    ("acte-dates", MP22, {f"{A0}.dateNotification": "2024-03-01"}),
    (
        "execution-dates",
        CC22,
        {"donneesExecution.0.donneesAnnuelles.datePublicationDonneesExecution": "2024-03-01"},
    ),
    ("montant-min", MP22, {"montant": 1}),
    ("montant-max", MP22, {"montant": 3000000000}),
    ("montant-max", CC22, {"valeurGlobale": 15000000000}),
    ("montant-suspect", MP22, {"montant": 99999999.99}),
    ("montant-suspect", MP22, {"montant": 122222211}),
    ("montant-other", MP22, {f"{M0}.montant": 3000000000.0}),
    ("duree", MP22, {"dureeMois": 180}),
    ("duree", CC22, {"dureeMois": 360.0}),
    ("duree-other", CC22, {f"{M0}.dureeMois": 1}),
    ("duree-other", CC22, {f"{M0}.dureeMois": 360}),
    ("objet", MP22, {"objet": "Pain!"}),
    ("objet", MP22, {"objet": "Pain", "codeCPV": "77313000-7"}),
    ("objet", CC22, {"objet": "Eau"}),
    ("cpv-division", MP22, {"codeCPV": "03000000-1"}),
    *(
        ("lieu-code", MP22, {"lieuExecution.typeCode": kind, "lieuExecution.code": code})
        for kind, codes in (
            ("Code postal", "01000 98800"),
            ("Code commune", "2A004 97411"),
            ("Code arrondissement", "651 2B1 9741 75112 13216 69381"),
            ("Code canton", "3504 2A11 97401"),
            ("Code département", "01 95 2B 974 987 69M"),
            ("Code région", "53 01"),
            ("Code pays", "99100 FR FRA"),
        )
        for code in codes.split()
    ),
    (
        "considerations",
        MP22,
        {
            "considerationsSociales.considerationSociale": ["Clause sociale", "Critère social"],
        },
    ),
    (
        "considerations-concession",
        CC22,
        {"considerationsSociales.considerationSociale": ["Pas de considération sociale"]},
    ),
    ("origine-order", MP22, {"origineFrance": 0.5, "origineUE": 0.5}),
    ("origine-order", MP22, {"origineFrance": 1}),
    ("origine-missing", MP22, {"codeCPV": "33690000-3", "origineFrance": 0, "origineUE": 0}),
    *(
        ("origine-missing", MP22, {"codeCPV": f"{code:08}"})
        for first, last in ORIGIN_RANGES
        for code in (first - 1, last + 1)
    ),
    ("taux-avance-zero", MP22, {"attributionAvance": True, "tauxAvance": 0.05}),
    ("taux-avance-zero", MP22, {"attributionAvance": True}),
    ("taux-avance-alone", MP22, {"tauxAvance": 0}),
    ("modification-id", CC22, {f"{M0}.id": 9}),
    ("acte-id", MP22, {"actesSousTraitance": [_act(), _act(id=4)]}),
    (
        "acte-undeclared",
        MP22,
        {
            "sousTraitanceDeclaree": False,
            "actesSousTraitance": ...,
            "modificationsActesSousTraitance": ...,
        },
    ),
    (
        "acte-unknown",
        MP22,
        {
            "actesSousTraitance": [_act(), _act(id=4)],
            "modificationsActesSousTraitance": [_act_change(id=4), _act_change(id=1)],
        },
    ),
    ("acte-excess", MP22, {f"{A0}.montant": 120000, f"{A0}.dureeMois": 12}),
    ("acte-excess", MP22, {"actesSousTraitance": [_act(), _act(id=2, montant=95000.0)]}),
    # The act's last amount counts, not the sum of its versions.
    ("acte-excess", MP22, {f"{A0}.montant": 90000, f"{AM0}.montant": 110000.5}),
    ("text-blank", MP22, {f"{AM0}.dureeMois": 1}),
    ("text-replacement", MP22, {"objet": "Maîtrise d'œuvre – « forêt »"}),
    ("text-html", MP22, {"objet": "R&D; a < b > c & moins de 5 &amp"}),
    ("test-record", MP19, {"id": "2018012345678", "montant": 123456.79, "source": "AIFE"}),
]


def _name(case: tuple) -> str:
    return f"{case[0]}-{case[1][0]}{case[1][1]}"


@pytest.mark.parametrize("kind", CLEAN, ids="".join)
def test_clean_records_break_no_rule(kind: tuple[ContractType, Regime]) -> None:
    assert found(changed(kind, {}), kind) == []


@pytest.mark.parametrize("case", FAILING, ids=_name)
def test_failing(case: tuple) -> None:
    rule, kind, changes, problems = case
    severity = DEFAULTS[rule].value
    assert found(changed(kind, changes), kind) == [
        (severity, rule, path, message) for path, message in problems
    ]


@pytest.mark.parametrize("case", PASSING, ids=_name)
def test_passing(case: tuple) -> None:
    rule, kind, changes = case
    record = changed(kind, changes)
    assert rule in {r.id for r in RULES}
    assert [problem for problem in found(record, kind) if problem[1] == rule] == []


def test_every_rule_has_examples_of_both_kinds_for_what_it_applies_to() -> None:
    for rule in RULES:
        failing = {kind for id, kind, *_ in FAILING if id == rule.id}
        assert failing, rule.id
        assert failing <= set(rule.applies), rule.id
        assert any(id == rule.id for id, *_ in PASSING), rule.id


# ------------------------------------------------------------------- real records, by index

TYPE = {"Marché": MP, "Contrat de concession": CC}
REAL_DAY = date(2020, 1, 1)
AIFE, AWS = "real-aife-2019.json.gz", "real-marches-publics.info-2019.json.gz"


@pytest.fixture(scope="session")
def real(shared: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of both real files, by the name of the file."""
    return {
        name: json.loads(gzip.decompress((shared / "data" / name).read_bytes()))["marches"]
        for name in (AIFE, AWS)
    }


#: File, index and id of a record as published, and all that is found in it.
REAL = [
    (
        AIFE,
        889,
        "20182018F1820000",
        [("siret", "titulaires.0.id", "'53365899300032' is not a SIRET: its check sum is wrong")],
    ),
    (
        AWS,
        292,
        "201919005a00",
        [("siret", "titulaires.1.id", "'301984563000678' is not a SIRET: it is not 14 digits")],
    ),
    (
        AWS,
        2329,
        "20184200",
        [("siret-other", "titulaires.1.id", "'823316509' is not a SIRET: it is not 14 digits")],
    ),
    (
        AWS,
        3822,
        "20181802003300",
        [
            (
                "siren",
                "titulaires.0.id",
                f"'30130900605410' {NO_COMPANY}",
            )
        ],
    ),
    (
        AWS,
        3747,
        "201818AC011000",
        [
            (
                "tva",
                "titulaires.0.id",
                "'0405.069.723' is not a VAT number of the European Union",
            )
        ],
    ),
    (
        AWS,
        3625,
        "201918FCS30B00",
        [
            (
                "identifiant",
                "titulaires.0.id",
                "'W751067032' is no IREP identifier: 5 digits, then letters or digits",
            )
        ],
    ),
    (
        AWS,
        3172,
        "2018MATINFO*0400",
        [
            (
                "id",
                "id",
                "'2018MATINFO*0400' has other characters than letters, digits, space and /-_.#",
            )
        ],
    ),
    (
        AWS,
        523,
        "021803cloture00",
        [
            (
                "date-years",
                "dateNotification",
                "'0218-10-29' is not of the years 2010 to 2039",
            )
        ],
    ),
    (
        AWS,
        3254,
        "201818A0450101",
        [
            (
                "modification-dates",
                "modifications.0.dateNotificationModification",
                "'2018-12-06' is before the contract itself, 2018-12-11",
            )
        ],
    ),
    (AWS, 0, "2018MC1804600", [("montant-min", "montant", "0 is below 1")]),
    (AWS, 2552, "2018E030000", [("montant-suspect", "montant", "999999999 looks made up")]),
    (AWS, 629, "2019616101", [("montant-other", "modifications.0.montant", "0 is below 1")]),
    (
        AWS,
        88,
        "2019s021200",
        [("lieu-code", "lieuExecution.code", "'76' is no Code postal: 5 digits")],
    ),
    (AWS, 6, "2019010000", [("text-html", "objet", "has HTML left in it: '<br />'")]),
    (
        AIFE,
        251,
        "2018iUQ7ABqV3200",
        [
            ("cpv-division", "codeCPV", "'74400000' is of no division of the CPV of 2008"),
            (
                "text-replacement",
                "objet",
                f"'Communication g{RC}n{RC}rale de la 42{RC}me Foire Agricole de Bras-… {LOST}",
            ),
            (
                "text-replacement",
                "lieuExecution.nom",
                "'Ile de la R\ufffdunion' has lost characters (U+FFFD)",
            ),
        ],
    ),
    (
        AIFE,
        2332,
        "20181234567891",
        [
            ("test-record", "id", "'20181234567891' is the id of a test"),
            ("test-record", "montant", "123456.78 is the amount of a test"),
            ("cpv-division", "codeCPV", "'12345678' is of no division of the CPV of 2008"),
        ],
    ),
    # Nothing is found in these, which come near to breaking a rule:
    (AWS, 3717, "2019180052200", []),  # the head office of La Poste
    (AWS, 884, "20181803101PA00", []),  # a German VAT number
    (AWS, 152, "2019010100", []),  # more than three titulaires
    (AWS, 15, "20180001-0200", []),  # dates with a zone, CPV with its check digit, a dash
    (AWS, 20, "2019MAPA28201801", []),  # published on the day, modified, an ampersand
    (AWS, 4061, "20181600102", []),  # two modifications
    (AWS, 1319, "20190213A00", []),  # a place by arrondissement
    (AWS, 934, "2018S1812DCP100", []),  # a place by région
    (AWS, 69, "2018JDC03", []),  # a place by commune
    (AIFE, 951, "2018120005859500", []),  # over 50 million euros
    (AWS, 268, "2018DSPRETENUE00", []),  # a concession
]


@pytest.mark.parametrize("case", REAL, ids=lambda case: f"{case[0][5:8]}-{case[1]}")
def test_real_records(case: tuple, real: dict[str, list[dict[str, Any]]]) -> None:
    name, index, id, problems = case
    record = real[name][index]
    assert record["id"] == id
    type = TYPE[record["_type"]]
    assert schema.is_valid(record, type, R2019)
    assert found(record, (type, R2019), day=REAL_DAY) == [
        (DEFAULTS[rule].value, rule, path, message) for rule, path, message in problems
    ]


#: By real file: valid records, those of them that are rejected, problems by rule.
REAL_COUNTS = {
    AIFE: (
        331,
        38,
        {
            "cpv-division": 37,
            "lieu-code": 1,
            "siren": 5,
            "siret": 15,
            "test-record": 57,
            "text-replacement": 44,
        },
    ),
    AWS: (
        4361,
        151,
        {
            "date-years": 2,
            "id": 1,
            "identifiant": 1,
            "lieu-code": 182,
            "modification-dates": 1,
            "montant-min": 53,
            "montant-other": 2,
            "montant-suspect": 1,
            "siren": 1,
            "siret": 93,
            "siret-other": 1,
            "text-html": 328,
            "tva": 1,
        },
    ),
}


@pytest.mark.parametrize("name", REAL_COUNTS)
def test_counts_over_a_real_file(name: str, real: dict[str, list[dict[str, Any]]]) -> None:
    valid = rejected = 0
    counts: Counter[str] = Counter()
    for record in real[name]:
        type = TYPE[record["_type"]]
        if schema.is_valid(record, type, R2019):
            errors, warnings = check(record, type, R2019, day=REAL_DAY)
            valid += 1
            rejected += bool(errors)
            counts.update(problem.rule for problem in errors + warnings)
    assert (valid, rejected, dict(sorted(counts.items()))) == REAL_COUNTS[name]


# ------------------------------------------------------------------------ official examples

_CONCESSION = ["error siret autoriteConcedante.id", "warning date-order dateDebutExecution"]
_CONCESSION_MODIFIED = [
    *_CONCESSION,
    f"warning modification-dates {M0}.dateSignatureModification",
]
_MARCHE_MODIFIED = [
    f"warning siret-other {A0}.sousTraitant.id",
    f"warning siret-other {M0}.titulaires.0.titulaire.id",
    f"warning modification-dates {M0}.dateNotificationModification",
    f"warning acte-dates {A0}.dateNotification",
    f"warning acte-dates {AM0}.dateNotificationModificationSousTraitance",
    "warning taux-avance-zero tauxAvance",
]
_MARCHE_BEFORE_2010 = [
    "error date-years dateNotification",
    "error date-years datePublicationDonnees",
]

#: By official example: the id of each record, marchés first, and what is found in it.
OFFICIAL = {
    "1.5.0/cc-avec-modifications.json": [
        (
            "20010345211202",
            [
                "warning duree-other modifications.0.dureeMois",
                "warning duree-other modifications.1.dureeMois",
            ],
        )
    ],
    "1.5.0/cc-basique-avec-uid.json": [("20010345211200", [])],
    "1.5.0/cc-basique.json": [("20010345211200", [])],
    "1.5.0/mar-avec-modifications.json": [
        (
            "2010345211201",
            [
                *_MARCHE_BEFORE_2010,
                "error date-years modifications.0.dateNotificationModification",
                "error date-years modifications.0.datePublicationDonneesModification",
                "warning siret-other modifications.0.titulaires.1.id",
            ],
        )
    ],
    "1.5.0/mar-basique-avec-uid.json": [("2010345211200", _MARCHE_BEFORE_2010)],
    "1.5.0/mar-basique.json": [("2010345211200", _MARCHE_BEFORE_2010)],
    "1.5.0/paquet-avec-uid.json": [
        ("2010345211200", _MARCHE_BEFORE_2010),
        ("200103452112", []),
    ],
    "1.5.0/paquet-result.json": [
        ("201890230", ["error siret titulaires.1.id"]),
        ("201890299", ["error siret acheteur.id"]),
    ],
    "1.5.0/paquet.json": [("2010345211200", _MARCHE_BEFORE_2010), ("200103452112", [])],
    "2.0.4/concessions.json": [
        ("0612202306122024", _CONCESSION),
        ("0612202306122023", _CONCESSION),
    ],
    "2.0.4/concessions_avec_modifications.json": [
        ("0612202306122024", _CONCESSION_MODIFIED),
        ("0612202306122023", _CONCESSION_MODIFIED),
    ],
    "2.0.4/marches_avec_modifications.json": [
        ("TEST2022", ["error siret acheteur.id", *_MARCHE_MODIFIED]),
        ("TEST2022Bis", _MARCHE_MODIFIED),
    ],
    "2.0.4/marches_concessions.json": [
        ("TEST2022", ["error siret acheteur.id", *_MARCHE_MODIFIED]),
        ("TEST2022Bis", _MARCHE_MODIFIED),
        ("0612202306122024", _CONCESSION_MODIFIED),
        ("0612202306122023", _CONCESSION_MODIFIED),
    ],
}


def test_official_examples(shared: Path) -> None:
    verdicts = {}
    for path in sorted((shared / "official").glob("*/examples/json/*.json")):
        version = path.parts[-4]
        regime = R2019 if version == "1.5.0" else R2022
        marches = json.loads(path.read_bytes())["marches"]
        if regime is R2019:
            records = [(CC if "autoriteConcedante" in record else MP, record) for record in marches]
        else:
            records = [(MP, record) for record in marches.get("marche", ())]
            records += [(CC, record) for record in marches.get("contrat-concession", ())]
        verdicts[f"{version}/{path.name}"] = [
            (record["id"], [" ".join(line[:3]) for line in found(record, (type, regime))])
            for type, record in records
        ]
    assert verdicts == OFFICIAL


# ----------------------------------------------------------------------------- severities


def test_a_verdict_has_problems() -> None:
    verdict = check(changed(MP22, {"dureeMois": 181, "codeCPV": "01000000"}), *MP22, day=DAY)
    assert verdict.errors == (Problem("dureeMois", "duree", "181 is not 1 to 180 months"),)
    assert verdict.warnings == (
        Problem("codeCPV", "cpv-division", "'01000000' is of no division of the CPV of 2008"),
    )


def test_severities_override_the_defaults() -> None:
    record = changed(MP22, {"dureeMois": 181, "montant": 3000000001, "codeCPV": "01000000"})
    severities = {"duree": "warning", "montant-max": "off", "cpv-division": "error"}
    assert [line[:2] for line in found(record, MP22, severities=severities)] == [
        ("error", "cpv-division"),
        ("warning", "duree"),
    ]
    assert [line[:2] for line in found(record, MP22)] == [
        ("error", "montant-max"),
        ("error", "duree"),
        ("warning", "cpv-division"),
    ]
    assert severities_of(severities) == DEFAULTS | {
        "duree": Severity.WARNING,
        "montant-max": Severity.OFF,
        "cpv-division": Severity.ERROR,
    }


@pytest.mark.parametrize(
    ("severities", "message"),
    [
        (
            {"siret": "fatal"},
            "bad severity 'fatal' of rule siret; it is one of: error, warning, off",
        ),
        (
            {"siret": "Error"},
            "bad severity 'Error' of rule siret; it is one of: error, warning, off",
        ),
        (
            {"siret": "off", "sirett": "off"},
            f"unknown rule 'sirett'; the rules are: {', '.join(DEFAULTS)}",
        ),
    ],
)
def test_bad_severities(severities: dict[str, str], message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{re.escape(message)}$"):
        severities_of(severities)
    with pytest.raises(ArgumentError, match=f"^{re.escape(message)}$"):
        check(CLEAN[MP22], *MP22, day=DAY, severities=severities)


# ------------------------------------------------------------------------------- the table


def test_ids_are_unique_and_stable_in_form() -> None:
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", id) for id in ids)


def test_rules_table() -> None:
    header, line, *rows = rules_table().splitlines()
    assert header == "| rule | default | contracts | what must hold | source |"
    assert line == "| --- | --- | --- | --- | --- |"
    assert len(rows) == len(RULES)
    assert rows[-1] == (
        "| `test-record` | error | all | The record is not a test: no 123456789 in its id, no "
        "amount of exactly 123456.78, no source AIFE_test. | State's pipeline: rejected (the "
        "source); this project (the others, seen on AIFE's tests) |"
    )
    scopes = {row.split(" | ")[0].strip("| `"): row.split(" | ")[2] for row in rows}
    assert {
        id: scopes[id] for id in ("id", "objet", "lieu-code", "modification-id", "acte-id")
    } == {
        "id": "MP, CC 2022",
        "objet": "MP",
        "lieu-code": "MP, CC 2019",
        "modification-id": "2022",
        "acte-id": "MP 2022",
    }
    assert rules_table().endswith("|\n")


# ------------------------------------------------------------------------- the duplicate key


@pytest.mark.parametrize(
    ("kind", "changes", "key"),
    [
        (MP22, {}, f'["MP","2024-12/A#1","{BUYER}","{WINNER}",100000,"2024-03-01"]'),
        (
            MP22,
            {"montant": 100000.99, "titulaires": [_titulaire(), "abc", _titulaire(OTHER)]},
            f'["MP","2024-12/A#1","{BUYER}","{OTHER}",100000,"2024-03-01"]',
        ),
        (MP22, {"titulaires": ["abc"]}, None),
        (MP19, {}, f'["MP","20190712300","{BUYER}","{WINNER}",100000,"2019-03-01"]'),
        (MP19, {"acheteur": ["x"]}, None),
        (
            MP19,
            {"id": 'Été"2019', "dateNotification": "2019-19-39"},
            f'["MP","Été\\"2019","{BUYER}","{WINNER}",100000,"2019-19-39"]',
        ),
        (CC22, {}, f'["CC","2024C7","{BUYER}","2024-04-01","{WINNER}",4000000.5]'),
        (
            CC22,
            {"valeurGlobale": 4000000.0},
            f'["CC","2024C7","{BUYER}","2024-04-01","{WINNER}",4000000]',
        ),
        (
            CC19,
            {"dateDebutExecution": "2019-04-31", "valeurGlobale": 10**30},
            f'["CC","2019C0700","{BUYER}","2019-04-31","{WINNER}",{10**30}]',
        ),
        (CC19, {}, f'["CC","2019C0700","{BUYER}","2019-04-01","{WINNER}",4000000]'),
    ],
)
def test_duplicate_key(
    kind: tuple[ContractType, Regime], changes: dict[str, Any], key: str | None
) -> None:
    assert duplicate_key(changed(kind, changes), *kind) == key


def test_the_duplicate_key_ignores_what_the_state_ignores() -> None:
    same = {"objet": "Autre", "datePublicationDonnees": "2024-06-01", "dureeMois": 13}
    assert duplicate_key(changed(MP22, same), *MP22) == duplicate_key(CLEAN[MP22], *MP22)
    for other in ({"id": "B"}, {"acheteur.id": OTHER}, {"montant": 100001}):
        assert duplicate_key(changed(MP22, other), *MP22) != duplicate_key(CLEAN[MP22], *MP22)


def test_duplicates_in_a_real_file(real: dict[str, list[dict[str, Any]]]) -> None:
    keys = Counter(
        duplicate_key(record, MP, R2019)
        for record in real[AWS]
        if record["_type"] == "Marché" and schema.is_valid(record, MP, R2019)
    )
    twice = {json.loads(key)[1]: count for key, count in keys.items() if count > 1}
    assert twice == {
        "2019M18428S00": 2,
        "2019M18434S00": 2,
        "2019M18438S00": 2,
        "2019M1903900": 2,
        "2019M1904000": 2,
    }


# ------------------------------------------------------- whatever the schema lets through

ODD_TEXTS = [
    "", " ", "a", "\n", WINNER, f"{WINNER}\n", BAD_SUM, LA_POSTE, "0" * 14, "\uff11" * 14,
    "٣" * 14, "FR40303265045", "CY9455349\n3", "GB", "FRWF", "<br />", "&euro;", "\ufffd",
    "123456789", "33690000", "2A004", "75", "AIFE_test",
]  # fmt: skip
ODD_DATES = [
    "2024-05-25", "2024-05-26", "2023-12-31", "2024-02-30", "0000-01-01", "0218-10-29",
    "9999-19-39", "2019-01-01+01:00", "2019-01-01-29:59Z", "x2024-05-25", "2024-05-250",
    "le 2024-05-25\n",
]  # fmt: skip
ODD_NUMBERS = [
    0, 1, 2, 180, 181, 361, 4.0, 0.5, -7, 100000001, 123456.78, 123456789, 999999999,
    3000000001, 1e16, 1.5e308, 10**30, 10**400, -0.0, 5e-324,
]  # fmt: skip
SCALARS = st.one_of(st.none(), st.booleans(), st.sampled_from([0, 1.5, "abc", []]))


def _valid(node: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy:
    """Values that a node of a record's schema lets through, the odd ones often."""
    node = schema.resolve(node, root)
    if "enum" in node:
        return st.sampled_from(node["enum"])
    kind = node.get("type")
    if kind == "string":
        odd = ODD_DATES if node is root["definitions"]["date"] else ODD_TEXTS
        sure = [st.text(max_size=8)]
        if "pattern" in node:
            sure = [st.from_regex(re.compile(node["pattern"], re.ASCII), fullmatch=True)]
        sizes = range(node.get("minLength", 0), node.get("maxLength", 10**6) + 1)
        allowed = [
            text
            for text in odd
            if len(text) in sizes
            and re.search(node.get("pattern", "").replace("$", r"\Z"), text, re.ASCII)
        ]
        return st.one_of(*([st.sampled_from(allowed)] if allowed else []), *sure).filter(
            lambda text: len(text) in sizes
        )
    if kind in ("integer", "number"):
        low, high = node.get("minimum", -(10**9)), node.get("maximum", 10**9)
        whole = kind == "integer"
        exact = root["$schema"].endswith("draft-04/schema#")
        allowed = [
            number
            for number in ODD_NUMBERS
            if low <= number <= node.get("maximum", number)
            and (not whole or (number == int(number) and not (exact and isinstance(number, float))))
        ]
        numbers = (
            st.integers(-(-low // 1), high // 1) if whole or high > 1 else st.floats(low, high)
        )
        return st.one_of(st.sampled_from(allowed), numbers)
    if kind == "boolean":
        return st.booleans()
    if kind == "array":
        return st.lists(
            _valid(node["items"], root),
            min_size=node.get("minItems", 0),
            max_size=5,
            unique_by=key_of if node.get("uniqueItems") else None,
        )
    fields = {name: _valid(child, root) for name, child in node["properties"].items()}
    required = {name: fields[name] for name in node.get("required", ())}
    optional = {name: value for name, value in fields.items() if name not in required}
    objects = st.fixed_dictionaries(required, optional=optional)
    if node.get("additionalProperties", True):
        extra = st.dictionaries(
            st.sampled_from(["montant", "titulaires", "source", "nom"]), SCALARS
        )
        objects = st.builds(lambda more, fields: more | fields, extra, objects)
    return objects if kind == "object" else st.one_of(objects, SCALARS)


def _leads_somewhere(path: str, record: dict[str, Any]) -> bool:
    """Whether a path names a value of the record, or a field missing from one of its objects."""
    *parents, last = path.split(".")
    node: Any = record
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node[key]
    return int(last) < len(node) if isinstance(node, list) else isinstance(node, dict)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CLEAN, ids="".join)
def test_a_valid_record_never_makes_a_rule_fail(kind: tuple[ContractType, Regime]) -> None:
    root = schema.record_schema(*kind)
    valid = []

    @settings(max_examples=80, suppress_health_check=list(HealthCheck), database=None)
    @given(_valid(root, root))
    def run(record: dict[str, Any]) -> None:
        if not schema.is_valid(record, *kind):
            return
        valid.append(record)
        before = deepcopy(record)
        verdict = check(record, *kind, day=DAY)
        for problem in verdict.errors + verdict.warnings:
            assert _leads_somewhere(problem.path, record), problem
            assert "\n" not in problem.message
        assert len(set(verdict.errors + verdict.warnings)) == len(verdict.errors + verdict.warnings)
        key = duplicate_key(record, *kind)
        assert key is None or json.loads(key)[:2] == [kind[0], record["id"]]
        assert record == before

    run()
    assert len(valid) >= 40
