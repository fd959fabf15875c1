"""Hand-made notices of the BOAMP, and the awards that are expected of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from dume_spider.boamp.notice import EXPECTED_COLUMNS, ReadNotice, notice_schema, read_notice
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.schema import record_schema

VALIDATOR = jsonschema_rs.validator_for(notice_schema())


def _partial(type: ContractType) -> jsonschema_rs.Validator:
    """What holds of the fields that a DECP record has, whichever they are."""
    schema = record_schema(type, Regime.R2022)
    return jsonschema_rs.validator_for({k: v for k, v in schema.items() if k != "required"})


PARTIAL = {type.value: _partial(type) for type in ContractType}

#: Invented, with right check sums; the last one is La Poste's form.
CITY, WORKS, PAINT = "21990001600011", "41230001400013", "51230004700010"
LA_POSTE = "35600000000001"

#: The required fields of a marché and of a concession (regime of 2022).
MARCHE = (
    "id acheteur nature objet codeCPV techniques modalitesExecution marcheInnovant ccag "
    "offresRecues attributionAvance typeGroupementOperateurs sousTraitanceDeclaree procedure "
    "lieuExecution dureeMois dateNotification datePublicationDonnees montant typesPrix "
    "formePrix titulaires considerationsSociales considerationsEnvironnementales"
)
CONCESSION = (
    "id autoriteConcedante nature objet procedure dureeMois dateSignature "
    "datePublicationDonnees dateDebutExecution valeurGlobale montantSubventionPublique "
    "concessionnaires considerationsSociales considerationsEnvironnementales"
)


def record(**columns: Any) -> dict[str, Any]:
    """A whole record: every column is there, null if not given; objects are packed."""
    row: dict[str, Any] = dict.fromkeys(EXPECTED_COLUMNS)
    row |= {"idweb": "26-100", "nature": "ATTRIBUTION", "gestion": "{}", "donnees": "{}"}
    for name, value in columns.items():
        row[name] = json.dumps(value) if isinstance(value, dict) else value
    return row


def read(**columns: Any) -> ReadNotice:
    """What is read of a record. If accepted, it is valid, and its paths lead somewhere."""
    result = read_notice(record(**columns))
    if not result.problems:
        check(result.notice)
    return result


def check(notice: dict[str, Any]) -> None:
    """A notice is valid, can be written, and every path in its awards and links is in it."""
    VALIDATOR.validate(notice)
    json.dumps(notice, allow_nan=False).encode()
    for found in notice["awards"]:
        PARTIAL[found["contract_type"]].validate(found["decp"])
    for path in paths([notice["links"], notice["awards"]]):
        node: Any = notice
        for part in path.split("."):
            node = node[int(part)] if isinstance(node, list) else node[part]


def paths(value: Any) -> Iterator[str]:
    """Every ``path`` in a value."""
    if isinstance(value, dict):
        if isinstance(value.get("path"), str):
            yield value["path"]
        for inner in value.values():
            yield from paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner)


def v(value: Any, path: str, **more: Any) -> dict[str, Any]:
    """A value with its path."""
    return {"value": value, "path": path, **more}


def note(path: str, rule: str, message: str) -> dict[str, str]:
    return {"path": path, "rule": rule, "message": message}


def award(**given: Any) -> dict[str, Any]:
    """An award in full; what is not given is empty, ``missing`` what ``decp`` lacks."""
    expected: dict[str, Any] = {
        "status": "awarded",
        "contract_type": "MP",
        "lot": None,
        "title": None,
        "reference": None,
        "buyers": [],
        "winners": [],
        "grouping": None,
        "amounts": [],
        "offers": None,
        "dates": [],
        "cpv": [],
        "nuts": [],
        "places": [],
        "duration": None,
        "renewable": None,
        "subcontracting": None,
        "procedure": None,
        "techniques": [],
        "text": None,
        "notes": [],
        "candidates": {},
        "decp": {},
    }
    assert given.keys() <= expected.keys() | {"missing"}
    expected |= given
    required = CONCESSION if expected["contract_type"] == "CC" else MARCHE
    expected.setdefault(
        "missing", [name for name in required.split() if name not in expected["decp"]]
    )
    return expected


# ---------------------------------------------------------------------------- eForms

EXTENSION = (
    "donnees.EFORMS.ContractAwardNotice.ext:UBLExtensions.ext:UBLExtension."
    "ext:ExtensionContent.efext:EformsExtension"
)
RESULT = f"{EXTENSION}.efac:NoticeResult"
PROJECT = "donnees.EFORMS.ContractAwardNotice.cac:ProcurementProject"
LOT = "donnees.EFORMS.ContractAwardNotice.cac:ProcurementProjectLot"


def id_(text: str, scheme: str = "x") -> dict[str, Any]:
    """An identifier as eForms has it, text beside an attribute."""
    return {"cbc:ID": {"@schemeName": scheme, "#text": text}}


def euros(text: str, currency: str = "EUR") -> dict[str, str]:
    return {"@currencyID": currency, "#text": text}


def company(org: str, name: str, number: Any, country: str = "FRA", zone: str = "69001") -> Any:
    """An organisation; ``number`` is its CompanyID."""
    return {
        "efac:Company": {
            "cac:PartyIdentification": id_(org, "organization"),
            "cac:PartyName": {"cbc:Name": {"@languageID": "FRA", "#text": name}},
            "cac:PartyLegalEntity": {"cbc:CompanyID": number},
            "cac:PostalAddress": {
                "cbc:PostalZone": zone,
                "cac:Country": {"cbc:IdentificationCode": {"@listName": "c", "#text": country}},
            },
        }
    }


def lot(id: str, name: str, **project: Any) -> dict[str, Any]:
    return {**id_(id, "Lot"), "cac:ProcurementProject": {"cbc:Name": name, **project}}


def result(lot: str, *, tender: Any = (), contract: Any = (), code: str = "selec-w", **more: Any):
    """A LotResult; ``tender`` and ``contract`` are the identifiers that it refers to."""

    def references(ids: Any) -> Any:
        nodes = [id_(id) for id in ([ids] if isinstance(ids, str) else ids)]
        return nodes[0] if len(nodes) == 1 else nodes

    return {
        "cbc:TenderResultCode": {"@listName": "winner-selection-status", "#text": code},
        "efac:LotTender": references(tender),
        "efac:SettledContract": references(contract),
        "efac:TenderLot": id_(lot, "Lot"),
        **more,
    }


def tender(id: str, lot: str, party: str, amount: Any = None, **more: Any) -> dict[str, Any]:
    node = {**id_(id), "efac:TenderLot": id_(lot), "efac:TenderingParty": id_(party), **more}
    if amount is not None:
        node["cac:LegalMonetaryTotal"] = {"cbc:PayableAmount": amount}
    return node


def group(id: str, *organisations: str) -> dict[str, Any]:
    """A TenderingParty."""
    members = [id_(organisation, "organization") for organisation in organisations]
    return {**id_(id), "efac:Tenderer": members[0] if len(members) == 1 else members}


def contract(id: str, *tenders: str, reference: str | None = None, **dates: str) -> dict[str, Any]:
    """A SettledContract; dates: ``awarded``, ``issued``."""
    node: dict[str, Any] = {**id_(id)}
    if tenders:
        node["efac:LotTender"] = [id_(t) for t in tenders] if len(tenders) > 1 else id_(tenders[0])
    if reference:
        node["efac:ContractReference"] = {"cbc:ID": reference}
    if "awarded" in dates:
        node["cbc:AwardDate"] = dates["awarded"]
    if "issued" in dates:
        node["cbc:IssueDate"] = dates["issued"]
    return node


def statistics(code: str, number: str) -> dict[str, Any]:
    return {"efbc:StatisticsCode": {"#text": code}, "efbc:StatisticsNumeric": number}


def eforms(
    *,
    organisations: Any,
    lots: Any = None,
    project: Any = None,
    buyer: Any = "ORG-1",
    procedure: str | None = None,
    notice: Any = None,
    **results: Any,
) -> dict[str, Any]:
    """A ContractAwardNotice; ``results`` are the parts of its NoticeResult by short names."""
    names = {
        "results": "efac:LotResult",
        "tenders": "efac:LotTender",
        "parties": "efac:TenderingParty",
        "contracts": "efac:SettledContract",
    }
    body: dict[str, Any] = {
        "ext:UBLExtensions": {
            "ext:UBLExtension": {
                "ext:ExtensionContent": {
                    "efext:EformsExtension": {
                        "efac:Organizations": {"efac:Organization": organisations},
                        "efac:NoticeResult": {
                            names.get(name, name): part for name, part in results.items()
                        },
                    }
                }
            }
        },
        "cac:ContractingParty": {"cac:Party": {"cac:PartyIdentification": id_(buyer)}},
        # What every notice of eForms has there: no date.
        "cac:TenderResult": {"cbc:AwardDate": "2000-01-01Z"},
    }
    if lots is not None:
        body["cac:ProcurementProjectLot"] = lots
    if project is not None:
        body["cac:ProcurementProject"] = project
    if procedure is not None:
        body["cac:TenderingProcess"] = {"cbc:ProcedureCode": {"#text": procedure}}
    return {"EFORMS": {"ContractAwardNotice": body | (notice or {})}}


BUYER = company("ORG-1", "Ville de Test", CITY)


def simple(**parts: Any) -> dict[str, Any]:
    """A notice with one lot, one tender and one contract, some parts replaced."""
    usual: dict[str, Any] = {
        "organisations": [BUYER, company("ORG-2", "Travaux SA", WORKS)],
        "lots": lot("LOT-0001", "Lot unique"),
        "results": result("LOT-0001", tender="TEN-1", contract="CON-1"),
        "tenders": tender("TEN-1", "LOT-0001", "TPA-1", euros("1000")),
        "parties": group("TPA-1", "ORG-2"),
        "contracts": contract("CON-1", "TEN-1", reference="M1", issued="2026-05-04Z"),
    }
    return eforms(**usual | parts)


def fnsimple(text: Any, **nature: Any) -> dict[str, Any]:
    return {
        "FNSimple": {
            "organisme": {
                "nomOfficiel": "Commune de Test",
                "codeIdentificationNational": "219 900 016 00011",
                "cp": "01000",
                "ville": "Test",
            },
            "attribution": {
                "avisInitial": {"idWeb": "26-50"},
                "natureMarche": {
                    "intitule": "Réfection de la voirie",
                    "codeCPV": {"objetPrincipal": {"classPrincipale": "45233140"}},
                    **nature,
                },
                "attributionMarche": text,
            },
        }
    }


def mapa(resultat: Any, offers: Any = None) -> dict[str, Any]:
    return {
        "MAPA": {
            "organisme": {
                "acheteurPublic": "Université de Test",
                "adr": {"cp": "69100", "ville": "Test"},
                "coord": {"mel": "personne@example.org"},
            },
            "attribution": {
                "avisInitial": {"idWeb": "26-60"},
                "attribution": {"resultat": resultat},
                "autresInformations": {"nbOffresRecues": offers},
            },
        }
    }


def attribue(name: Any, amount: str | None = None, currency: str = "EUR") -> dict[str, Any]:
    node: dict[str, Any] = {"titulaire": name}
    if amount is not None:
        node["montant"] = {"@devise": currency, "valeur": amount}
    return node


def dsp(**blocks: Any) -> dict[str, Any]:
    return {
        "DSP": {
            "organisme": {"acheteurPublic": "Commune de Test", "codeNUTS": "FRK26"},
            "initial": {
                "descriptionMarche": {
                    "titreMarche": "Gestion du camping",
                    "description": "Délégation de service public",
                    "CPV": {"objetPrincipal": {"classPrincipale": "55220000"}},
                    "lot": {
                        "lieuCodeNUTS": {"codeNUTS": "FRK26"},
                        "estimationValeur": {"@devise": "EUR", "valeur": "400000"},
                    },
                }
            },
            **blocks,
        }
    }


def v230(*decisions: Any, objet: Any = None, **block: Any) -> dict[str, Any]:
    return {
        "IDENTITE": {
            "DENOMINATION": "C.C.A.S. de Test",
            "CODE_IDENT_NATIONAL": CITY,
            "CP": "83051",
            "MEL": "personne@example.org",
        },
        "OBJET": {"OBJET_COMPLET": "Denrées", "CPV": {"PRINCIPAL": "15890000"}, **(objet or {})},
        "PROCEDURE": {"TYPE_PROCEDURE": {"OUVERT": ""}},
        "ATTRIBUTION": {
            "DECISION": decisions[0] if len(decisions) == 1 else list(decisions),
            **block,
        },
    }


def holder(name: str, **more: str) -> dict[str, str]:
    return {"DENOMINATION": name, "CP": "83170", **more}


def details(amount: str | None = None, **more: Any) -> dict[str, Any]:
    node: dict[str, Any] = {"DATE_ATTRIBUTION": "2016-10-20", "NB_OFFRE_RECU": "4", **more}
    if amount is not None:
        node["MONTANT"] = {"@DEVISE": "EUR", "#text": amount}
    return node


def system(code: str) -> dict[str, Any]:
    """A technique (framework agreement, dynamic purchasing system)."""
    return {"cbc:ContractingSystemTypeCode": {"@listName": "x", "#text": code}}
