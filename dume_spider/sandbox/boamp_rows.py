"""Records of the BOAMP for its replica: made up, of every payload format, or from a file.

The same seed gives the same records. Payloads have the structure of real ones: XML turned
into JSON, where one child is an object and several are a list, and text beside attributes is
``#text``. Calls, awards, corrections and cancellations refer to each other.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from dume_spider.boamp.notice import EXPECTED_COLUMNS
from dume_spider.boamp.query import DEPARTEMENTS
from dume_spider.sandbox.generator import CPV_CODES, sirets
from dume_spider.sandbox.rows import DataFileError

#: Formats, as many as on a day of September 2026, and some of the years before.
_KINDS = {"eforms": 224, "fnsimple": 165, "mapa": 24, "dsp": 4, "v230": 6}
_FAMILLES = {
    "eforms": ("JOUE", "Marché européen"),
    "fnsimple": ("FNS", "Marché entre 90 k€ et seuils européens"),
    "mapa": ("MAPA", "Marché inférieur à 90 k€"),
    "dsp": ("DSP", "Délégation de service public"),
    "v230": ("DIVERS", "Divers"),
}
_NATURES = {
    "ATTRIBUTION": (40, "Résultat de marché"),
    "APPEL_OFFRE": (44, "Avis de marché"),
    "RECTIFICATIF": (8, "Rectificatif"),
    "ANNULATION": (3, "Annulation"),
    "MODIFICATION": (2, "Modification"),
    "PRE-INFORMATION": (3, "Avis de préinformation"),
}
#: These are about an earlier notice, and change what it says.
_CHANGES = ("RECTIFICATIF", "ANNULATION", "MODIFICATION")
#: Notices of a Sunday or Saturday, against 1 for a working day.
_WEEKEND = 0.3
#: Earlier calls that later notices may be about.
_REMEMBERED = 300

_OBJECTS = (
    "Réfection de la voirie communale",
    "Travaux de rénovation thermique de l'école &amp; du gymnase",
    "Fourniture de repas en liaison froide",
    "Maintenance des installations de chauffage",
    "Maîtrise d'œuvre pour la construction d'une médiathèque",
    "Assurances : dommages aux biens\net responsabilité",
    "Nettoyage des bâtiments administratifs",
    "Acquisition de véhicules électriques",
)
_BUYERS = ("Commune de", "Département de", "Centre hospitalier de", "Syndicat des eaux de")
_PLACES = ("Villeneuve", "Saint-Martin", "Bourg-le-Roi", "L'Isle", "Mont-Saint-Éloi", "Fontaine")
_FIRMS = ("Travaux Publics", "Bâtir & Fils", "Énergies", "Services Propreté", "Ingénierie")

#: Buyers that notices are of.
_MOST_BUYERS = 60


class _Buyer(NamedTuple):
    name: str
    siret: str
    departement: str

    @property
    def postcode(self) -> str:
        return f"{self.departement[:2]}000"


class _Subject(NamedTuple):
    """What a notice is about; ``initial`` is the idweb of the earlier one that it refers to."""

    idweb: str
    day: date
    kind: str
    nature: str
    buyer: _Buyer
    about: str
    initial: str | None
    winners: list[tuple[str, str]]

    @property
    def link(self) -> dict[str, Any]:
        """The reference to the earlier notice, as national forms have it."""
        return {"avisInitial": {"idWeb": self.initial}} if self.initial else {}


def generate_notices(
    count: int, seed: int, first: date, last: date, buyers: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Make ``count`` records published from ``first`` to ``last``, in the order of days.

    There are some on each day, if there are as many as days. ``buyers`` are SIRETs that two
    thirds of the buyers have, if there are so many, such as those of contracts.
    """
    rng = random.Random(f"boamp {seed}")  # noqa: S311 - no secret: a seed repeats it
    maker = _Maker(rng, buyers)
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    weights = [_WEEKEND if day.weekday() > 4 else 1.0 for day in days]
    chosen = days[:count] + rng.choices(days, weights, k=max(count - len(days), 0))
    for number, day in enumerate(sorted(chosen)):
        yield maker.make(f"{day:%y}-{100_000 + number}", day)


def read_notices(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON file: a list of objects, or an answer with ``results``.

    Raises :class:`DataFileError` when it is none.
    """
    try:
        content = orjson.loads(path.read_bytes())
    except OSError as error:
        raise DataFileError(f"{path} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise DataFileError(f"{path} is not JSON: {error}") from error
    rows = content.get("results") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataFileError(f"{path} is not a list of records, nor an answer of the API")
    return rows


class _Maker:
    def __init__(self, rng: random.Random, known: Sequence[str]):
        self._rng = rng
        own = sirets(rng, _MOST_BUYERS, "12")
        shared = known[: _MOST_BUYERS * 2 // 3]
        self._buyers = [
            _Buyer(f"{rng.choice(_BUYERS)} {rng.choice(_PLACES)}", siret, rng.choice(DEPARTEMENTS))
            for siret in [*shared, *own[len(shared) :]]
        ]
        self._firms = [
            (f"{rng.choice(_FIRMS)} {rng.choice(_PLACES)}", siret)
            for siret in sirets(rng, 200, "3456789")
        ]
        #: Calls that a later notice may be about: idweb, format, buyer, object.
        self._calls: deque[tuple[str, str, _Buyer, str]] = deque(maxlen=_REMEMBERED)

    def make(self, idweb: str, day: date) -> dict[str, Any]:
        """One record."""
        rng = self._rng
        kind = rng.choices([*_KINDS], [*_KINDS.values()])[0]
        nature = rng.choices([*_NATURES], [weight for weight, _ in _NATURES.values()])[0]
        buyer, about, initial = rng.choice(self._buyers), rng.choice(_OBJECTS), None
        if nature not in ("APPEL_OFFRE", "PRE-INFORMATION") and self._calls:
            initial, kind, buyer, about = rng.choice(self._calls)
        elif nature == "APPEL_OFFRE":
            self._calls.append((idweb, kind, buyer, about))
        winners = rng.sample(self._firms, rng.choices((1, 2, 3), (8, 2, 1))[0])
        subject = _Subject(idweb, day, kind, nature, buyer, about, initial, winners)
        payloads = {
            "eforms": self._eforms,
            "fnsimple": self._fnsimple,
            "mapa": self._mapa,
            "dsp": self._dsp,
            "v230": self._v230,
        }
        award = nature == "ATTRIBUTION"
        famille, famille_label = _FAMILLES[kind]
        code = buyer.departement
        row: dict[str, Any] = dict.fromkeys(EXPECTED_COLUMNS)
        row |= {
            "idweb": idweb,
            "id": idweb.replace("-", "_"),
            "filename": idweb,
            "contractfolderid": self._folder() if kind == "eforms" else None,
            "objet": about,
            "nomacheteur": buyer.name,
            "famille": famille,
            "famille_libelle": famille_label,
            # Not always padded with a zero.
            "code_departement": [code.lstrip("0") if rng.random() < 0.1 else code],
            "code_departement_prestation": code if rng.random() < 0.3 else None,
            "dateparution": day.isoformat(),
            "datefindiffusion": (day + timedelta(days=30)).isoformat(),
            "datelimitereponse": None if award else f"{day + timedelta(days=28)}T12:00:00+00:00",
            "titulaire": [name for name, _ in winners] if award else None,
            "type_procedure": "OUVERT",
            "soustype_procedure": "OUVERT/",
            "procedure_libelle": "Procédure ouverte",
            "nature": nature,
            "nature_libelle": _NATURES[nature][1],
            "nature_categorise": nature.lower(),
            "nature_categorise_libelle": _NATURES[nature][1],
            "criteres": ["sociaux"] if rng.random() < 0.2 else None,
            "etat": nature if nature in _CHANGES else "INITIAL",
            "descripteur_code": ["45"],
            "dc": ["45"],
            "descripteur_libelle": ["Bâtiment"],
            "type_marche": [rng.choice(("SERVICES", "TRAVAUX", "FOURNITURES"))],
            "type_avis": ["10", "6"] if award else ["5", "1"],
            "annonce_lie": [initial] if initial else None,
            "source_schema": "2.3.0" if kind == "v230" else "3.2.5",
            "url_avis": f"https://www.boamp.fr/pages/avis/?q=idweb:{idweb}",
            "gestion": _packed(_gestion(subject)),
            "donnees": _packed(payloads[kind](subject)),
        }
        row["type_marche_facette"] = row["type_marche"]
        return row

    def _folder(self) -> str:
        digits = f"{self._rng.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def _amount(self) -> str:
        return f"{self._rng.lognormvariate(11, 1.2):.2f}"

    def _eforms(self, subject: _Subject) -> dict[str, Any]:
        rng = self._rng
        lots = [f"LOT-{n:04}" for n in range(1, len(subject.winners) + 1)]
        companies = [_company("ORG-0001", subject.buyer.name, subject.buyer.siret)]
        extension: dict[str, Any] = {}
        if subject.nature in _CHANGES and subject.initial:
            extension["efac:Changes"] = {"efbc:ChangedNoticeIdentifier": subject.initial}
        if subject.nature == "ATTRIBUTION":
            companies += [
                _company(f"ORG-{n:04}", name, siret)
                for n, (name, siret) in enumerate(subject.winners, start=2)
            ]
            extension["efac:NoticeResult"] = self._result(lots, subject.day)
        extension["efac:Organizations"] = {"efac:Organization": _few(companies)}
        root = {
            "ATTRIBUTION": "ContractAwardNotice",
            "PRE-INFORMATION": "PriorInformationNotice",
        }.get(subject.nature, "ContractNotice")
        parts = [
            _id(lot, "Lot")
            | {
                "cac:ProcurementProject": {
                    "cbc:Name": f"{subject.about} ({lot})",
                    **self._project(),
                }
            }
            for lot in lots
        ]
        notice = {
            "ext:UBLExtensions": {
                "ext:UBLExtension": {"ext:ExtensionContent": {"efext:EformsExtension": extension}}
            },
            "cbc:IssueDate": f"{subject.day.isoformat()}+02:00",
            "cac:ContractingParty": {
                "cac:Party": {"cac:PartyIdentification": _id("ORG-0001", "organization")}
            },
            "cac:TenderingProcess": {"cbc:ProcedureCode": {"#text": rng.choice(("open", "neg"))}},
            "cac:ProcurementProject": {"cbc:Name": subject.about, **self._project()},
            "cac:ProcurementProjectLot": _few(parts),
        }
        if subject.nature == "ATTRIBUTION":
            # A dummy that every notice has.
            notice["cac:TenderResult"] = {"cbc:AwardDate": "2000-01-01Z"}
        return {"EFORMS": {root: notice}}

    def _project(self) -> dict[str, Any]:
        return {
            "cac:MainCommodityClassification": {
                "cbc:ItemClassificationCode": {
                    "@listName": "cpv",
                    "#text": self._rng.choice(CPV_CODES),
                }
            },
            "cac:RealizedLocation": {
                "cac:Address": {"cbc:CountrySubentityCode": {"@listName": "nuts", "#text": "FRK26"}}
            },
            "cac:PlannedPeriod": {"cbc:DurationMeasure": {"@unitCode": "MONTH", "#text": "24"}},
        }

    def _result(self, lots: list[str], day: date) -> dict[str, Any]:
        """The results of lots, each with one tender by the company of its number."""
        rng = self._rng
        results, tenders, parties, contracts = [], [], [], []
        for number, lot in enumerate(lots, start=1):
            if rng.random() < 0.05:
                results.append({"cbc:TenderResultCode": "clos-nw", "efac:TenderLot": _id(lot)})
                continue
            ids = {name: f"{name}-{number:04}" for name in ("TEN", "TPA", "CON")}
            results.append(
                {
                    "cbc:TenderResultCode": {"#text": "selec-w"},
                    "efac:LotTender": _id(ids["TEN"]),
                    "efac:SettledContract": _id(ids["CON"]),
                    "efac:TenderLot": _id(lot),
                    "efac:ReceivedSubmissionsStatistics": [
                        {
                            "efbc:StatisticsCode": {"#text": code},
                            "efbc:StatisticsNumeric": str(rng.randint(1, 9)),
                        }
                        for code in ("tenders", "t-esubm")
                    ],
                }
            )
            amount = {"@currencyID": "EUR", "#text": self._amount()}
            tenders.append(
                {
                    **_id(ids["TEN"]),
                    "cac:LegalMonetaryTotal": {"cbc:PayableAmount": amount},
                    "efac:TenderingParty": _id(ids["TPA"]),
                    "efac:TenderLot": _id(lot),
                    "efac:SubcontractingTerm": {"efbc:TermCode": rng.choice(("yes", "no"))},
                }
            )
            parties.append(_id(ids["TPA"]) | {"efac:Tenderer": _id(f"ORG-{number + 1:04}")})
            contracts.append(
                {
                    **_id(ids["CON"]),
                    "cbc:IssueDate": f"{(day - timedelta(days=9)).isoformat()}+02:00",
                    "efac:ContractReference": {"cbc:ID": f"M{day:%y}{rng.randrange(10**5):05}"},
                    "efac:LotTender": _id(ids["TEN"]),
                }
            )
        named = {
            "efac:LotResult": results,
            "efac:LotTender": tenders,
            "efac:TenderingParty": parties,
            "efac:SettledContract": contracts,
        }
        return {name: _few(nodes) for name, nodes in named.items() if nodes}

    def _fnsimple(self, subject: _Subject) -> dict[str, Any]:
        rng, siret = self._rng, subject.buyer.siret
        market = {
            "intitule": subject.about,
            "codeCPV": {"objetPrincipal": {"classPrincipale": rng.choice(CPV_CODES)}},
        }
        content: dict[str, Any] = {
            "organisme": {
                "nomOfficiel": subject.buyer.name,
                "codeIdentificationNational": f"{siret[:3]} {siret[3:6]} {siret[6:9]} {siret[9:]}",
                "cp": subject.buyer.postcode,
                "ville": rng.choice(_PLACES),
            }
        }
        link = subject.link
        if subject.nature == "ATTRIBUTION":
            text = "\n".join(
                f"Marché n° : {subject.day:%y}-{rng.randrange(999):03}\n"
                f"Date d'attribution : {(subject.day - timedelta(days=12)):%d/%m/%y}\n"
                f"Nombre d'offres reçues : {rng.randint(1, 8)}\n"
                f"{name}, {rng.randint(1, 90)} rue des Lilas, 69003 Lyon\n"
                f"Montant HT : {self._amount()} Euros"
                for name, _ in subject.winners[:1]
            )
            content["attribution"] = {**link, "natureMarche": market, "attributionMarche": text}
        elif subject.nature in _CHANGES:
            content["rectificatif"] = {**link, "rectif": "Date limite reportée."}
        else:
            content["initial"] = {"natureMarche": market, "criteres": "Prix 60 %, valeur 40 %"}
        return {"FNSimple": content}

    def _mapa(self, subject: _Subject) -> dict[str, Any]:
        content: dict[str, Any] = {
            "organisme": {
                "acheteurPublic": subject.buyer.name,
                "adr": {"cp": subject.buyer.postcode, "ville": self._rng.choice(_PLACES)},
            }
        }
        link = subject.link
        if subject.nature == "ATTRIBUTION":
            given = [
                {"titulaire": name, "montant": {"@devise": "EUR", "valeur": self._amount()}}
                for name, _ in subject.winners
            ]
            content["attribution"] = {
                **link,
                "attribution": {"resultat": {"attribue": _few(given)}},
                "autresInformations": {"nbOffresRecues": str(self._rng.randint(1, 6))},
            }
        elif subject.nature in _CHANGES:
            content["rectificatif"] = {**link, "texte": "Le règlement est modifié."}
        else:
            content["initial"] = {"description": {"objet": subject.about}}
        return {"MAPA": content}

    def _dsp(self, subject: _Subject) -> dict[str, Any]:
        description = {
            "titreMarche": subject.about,
            "description": f"Délégation de service public : {subject.about}",
            "CPV": {"objetPrincipal": {"classPrincipale": self._rng.choice(CPV_CODES)}},
        }
        content: dict[str, Any] = {"organisme": {"acheteurPublic": subject.buyer.name}}
        name = "rectificatif" if subject.nature in _CHANGES else "initial"
        content[name] = {**subject.link, "descriptionMarche": description}
        return {"DSP": content}

    def _v230(self, subject: _Subject) -> dict[str, Any]:
        content: dict[str, Any] = {
            "IDENTITE": {"DENOMINATION": subject.buyer.name, "CP": subject.buyer.postcode},
            "OBJET": {
                "OBJET_COMPLET": subject.about,
                "CPV": {"PRINCIPAL": self._rng.choice(CPV_CODES)},
            },
            "PROCEDURE": {"TYPE_PROCEDURE": {"OUVERT": ""}},
        }
        if subject.nature == "ATTRIBUTION":
            decisions = [
                {
                    "NUM_LOT": str(number),
                    "TITULAIRE": {"DENOMINATION": name, "CP": "69003"},
                    "RENSEIGNEMENT": {
                        "DATE_ATTRIBUTION": (subject.day - timedelta(days=20)).isoformat(),
                        "NB_OFFRE_RECU": str(self._rng.randint(1, 9)),
                        "MONTANT": {"@DEVISE": "EUR", "#text": self._amount()},
                    },
                }
                for number, (name, _) in enumerate(subject.winners, start=1)
            ]
            content["ATTRIBUTION"] = {"DECISION": _few(decisions)}
        return content


def _gestion(subject: _Subject) -> dict[str, Any]:
    """The index card; its codes are names of elements."""
    reference: dict[str, Any] = {
        "IDWEB": subject.idweb,
        "TYPE_AVIS": {
            "FAMILLE": {_FAMILLES[subject.kind][0]: ""},
            "NATURE": {subject.nature: ""},
            "STATUT": {"INITIAL": ""},
        },
    }
    if subject.initial:
        reference["ANNONCE_ANTERIEUR"] = {"IDWEB": subject.initial}
    return {
        "REFERENCE": reference,
        "INDEXATION": {
            "SCHEMA": "3.2.5",
            "NOMORGANISME": subject.buyer.name,
            "DATE_PUBLICATION": subject.day.isoformat(),
            "DEP_PUBLICATION": subject.buyer.departement,
            "RESUME_OBJET": subject.about[:200],
        },
    }


def _packed(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _few(nodes: list[Any]) -> Any:
    """Children as XML turned into JSON has them: a single one is no list."""
    return nodes[0] if len(nodes) == 1 else nodes


def _id(text: str, scheme: str = "") -> dict[str, Any]:
    return {"cbc:ID": {"@schemeName": scheme, "#text": text} if scheme else text}


def _company(id: str, name: str, siret: str) -> dict[str, Any]:
    return {
        "efac:Company": {
            "cac:PartyIdentification": _id(id, "organization"),
            "cac:PartyName": {"cbc:Name": {"@languageID": "FRA", "#text": name}},
            "cac:PostalAddress": {
                "cbc:PostalZone": "69003",
                "cac:Country": {"cbc:IdentificationCode": {"#text": "FRA"}},
            },
            "cac:PartyLegalEntity": {"cbc:CompanyID": siret},
        }
    }
