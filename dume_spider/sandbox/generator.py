"""Made-up contracts with the shape of real life, the same for the same seed.

Each is a DECP record first, valid under the schema of its regime and right for the rules
of the State; the row that the replica serves is derived from it
(:func:`dume_spider.sandbox.rows.row_of`), and only the row is then damaged, for the shares
that are asked. So what should become of each row is known.
"""

from __future__ import annotations

import math
import random
import unicodedata
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from itertools import accumulate
from typing import Any, NamedTuple

from stdnum import luhn

from dume_spider.decp.regime import (
    BUYER_FIELD,
    DECIDING_DATE,
    FIRST_DAY_OF_2022_REGIME,
    ContractType,
    Regime,
    regime_of,
)
from dume_spider.decp.schema import record_schema, resolve
from dume_spider.sandbox.rows import REFERENCES, ServedRow, reference_text, row_of

CONCESSIONS = 0.06
#: Contracts whose row has modifications, and those among them served in several versions.
MODIFIED, VERSIONED = 0.10, 0.035
SUBCONTRACTED = 0.03
#: Contracts with a repairable trap.
TRAPPED = 0.05
#: Rows of a Saturday or Sunday, against 1 for a working day.
WEEKEND = 0.01

_MARCHE, _CONCESSION = ContractType.MARCHE, ContractType.CONCESSION
#: Prime to 36^7: different numbers give different references, and scattered ones.
_STRIDE = 48_271_000_007

# Weights of the labels that are common in the files of 2018-2019 and in the tabular data
# of today; a label of the schema that is not named here has weight 1.
_COMMON = {
    "Procédure adaptée": 51,
    "Appel d'offres ouvert": 26,
    "Marché": 97,
    "Sans objet": 12,
    "Accord-cadre": 8,
    "Bons de commande": 5,
    "Pas de CCAG": 3,
    "Travaux": 4,
    "Fournitures courantes et services": 8,
    "Forfaitaire": 4,
    "Unitaire": 3,
    "Définitif révisable": 5,
    "Définitif ferme": 4,
    "SIRET": 600,
    "Code postal": 20,
    "Code commune": 15,
    "Code département": 12,
    "Pas de considération sociale": 9,
    "Pas de considération environnementale": 6,
    "Concession de service": 3,
    "Délégation de service public": 4,
    "Procédure négociée ouverte": 8,
    "Révisable": 4,
}
#: Labels that stand alone in a list.
_ALONE = ("Sans objet", "Pas de ")

# Codes of the CPV of 2008, the common first.
CPV_CODES = tuple(
    code
    for line in (
        "45210000 45000000 66510000 77310000 45112500 45223220 45421000 45200000 33141000 50112000",
        "39830000 45110000 71300000 45454100 33696500 45442100 64200000 33140000 15800000 45330000",
        "79800000 30192000 45232410 90911200 45300000 09310000 90910000 71241000 71200000 45233141",
        "71620000 22113000 71240000 79311000 71000000 79110000 60130000 30200000 45233140 90500000",
        "79713000 55520000 45112700 34100000 45259000 45214200 45331000 45261000 71221000 50720000",
        "33600000 45311200 90919200 45212222 45212000 45310000 34351100 18100000 45321000 48000000",
        "33000000 45400000 64210000 45233000 30121100 71631300 09123000 79620000 60100000 39100000",
        "30230000 32342410 71351810 79822500 45220000 15896000 42120000 71310000 72500000 50700000",
        "72267000 31682000 50000000 92331210 45100000 45443000 85310000 44316500 45260000 71250000",
        "39130000 66515200 45233120 34928471 37400000 80500000 15100000 50413200 03212100 45211000",
        "37810000 90900000 50324200 30197630 44190000 33651600 79100000 55000000 15500000 03111000",
    )
    for code in line.split()
)

#: Purchases whose origin is to be told (food, vehicles, health products, clothing).
_WITH_ORIGIN = (
    (15100000, 15982200),
    (18100000, 18453000),
    (18800000, 18843000),
    (33100000, 33198200),
    (33600000, 33698300),
    (34100000, 34144910),
    (34510000, 34522700),
    (34600000, 34622500),
    (34710000, 34722200),
)

_WORKS = (
    "Réhabilitation thermique",
    "Fourniture et pose de mobilier",
    "Maîtrise d'œuvre pour l'extension",
    "Entretien des espaces verts & de la voirie",
    "Nettoyage des locaux",
    'Mission "contrôle technique" des travaux',
    "Acquisition de véhicules et d'équipements",
    "Prestations de R&D",
    "Assurance « dommages aux biens »",
    "Électricité, puissance souscrite < 36 kVA",
    "Denrées alimentaires : œufs, crèmerie & fruits",
    "Maintenance préventive et curative des chaufferies",
)
_PLACES_OF_WORK = (
    "du groupe scolaire Jean-Jaurès",
    "de l'hôtel de ville",
    'de la crèche "Les P\'tits Loups"',
    "du centre hospitalier",
    "des bâtiments départementaux",
    "du musée des beaux-arts",
    "de l'école maternelle « La Forêt »",
    "du réseau d'eau potable",
)
_SERVICES = (
    "Exploitation du service public de l'assainissement",
    "Délégation de la fourrière automobile",
    "Gestion du casino & de ses annexes",
    "Exploitation du camping municipal",
    "Réseau de chaleur",
    "Gestion du stationnement payant",
)


class _Place(NamedTuple):
    name: str
    commune: str
    postcode: str
    departement: str
    region: str

    def code(self, kind: str) -> str:
        """The code of the kind that a label of ``lieuExecution.typeCode`` names."""
        return {
            "Code postal": self.postcode,
            "Code commune": self.commune,
            "Code arrondissement": f"{self.departement}1",
            "Code canton": f"{self.departement}05",
            "Code département": self.departement,
            "Code région": self.region,
            "Code pays": "FR",
        }[kind]


_PLACES = tuple(
    _Place(*line.split(","))
    for line in (
        "Saint-Étienne,42218,42000,42,84",
        "Besançon,25056,25000,25,27",
        "Nîmes,30189,30000,30,76",
        "Orléans,45234,45000,45,24",
        "L'Haÿ-les-Roses,94038,94240,94,11",
        "Ajaccio,2A004,20000,2A,94",
        "Bastia,2B033,20200,2B,94",
        "Angoulême,16015,16000,16,75",
        "Évreux,27229,27000,27,28",
        "Châlons-en-Champagne,51108,51000,51,44",
        "Saint-Brieuc,22278,22000,22,53",
        "Fort-de-France,97209,97200,972,02",
        "Le Mans,72181,72000,72,52",
        "Gennevilliers,92036,92230,92,11",
        "Villefranche-sur-Saône,69264,69400,69,84",
        "Lille,59350,59000,59,32",
    )
)
_BUYERS = ("Commune", "Communauté d'agglomération", "Centre hospitalier", "Office de l'habitat")
_FIRMS = (
    "Bâti & Fils",
    "Éts Lefèvre",
    "Nord-Élec",
    "L'Atelier du Paysage",
    "Sté Générale d'Œuvres",
)


class Made(NamedTuple):
    """A generated row and the truth about it.

    ``served`` is what the replica takes. ``record`` is the DECP record, right in every
    respect, that the row was derived from, of ``type`` and ``regime``. ``damage`` names the
    fault (a key of :data:`DAMAGES`) because of which the row cannot be published, ``trap``
    the lossless disguise (a key of :data:`TRAPS`) that a repair takes off to find
    ``record`` again; at most one of the two is set.
    """

    served: ServedRow
    type: ContractType
    regime: Regime
    record: dict[str, Any]
    damage: str | None
    trap: str | None


def generate(
    records: int,
    seed: int,
    first_day: date,
    last_day: date,
    *,
    faulty: float = 0.03,
    trapped: float = TRAPPED,
) -> Iterator[Made]:
    """``records`` references and their rows, published from ``first_day`` to ``last_day``.

    A reference has one row, or several when the service holds versions of it: each has
    one modification more than the one before and is served under a later day. Rows of one
    reference follow each other; days come in no order. A row is served under the day of
    the latest publication that it tells of.

    Contracts are of the 2022 regime, unless ``first_day`` is before 2024: then those
    notified or signed before 2024 are of the 2019 regime. ``faulty`` and ``trapped`` are
    the shares of references that are damaged or disguised. The same arguments give the
    same rows.
    """
    maker = _Maker(records, seed, first_day, last_day)
    rng = maker.rng
    for number in range(records):
        type_ = _CONCESSION if rng.random() < CONCESSIONS else _MARCHE
        reference = reference_text("g", (maker.first_reference + number * _STRIDE) % REFERENCES)
        fate = rng.random()
        damage = rng.choice(_DAMAGE_NAMES) if fate < faulty else None
        traps = None
        if faulty <= fate < faulty + trapped:
            traps = rng.sample(_TRAP_NAMES, len(_TRAP_NAMES))
        sparse = rng.random() < 0.3
        for day, regime, record in maker.versions(number, type_):
            row = row_of(record, type_, reference)
            row.pop("_type", None)
            block = row["donneesMP"] or row["donneesCC"]
            if sparse:
                _drop_nulls(row, block)
            trap = None
            if damage is not None:
                DAMAGES[damage](row, block, rng)
            elif traps is not None:
                trap = next(name for name in traps if TRAPS[name](row, block, rng))
                traps = [trap]
            served = ServedRow(reference, date.fromordinal(day), row)
            yield Made(served, type_, regime, record, damage, trap)


def _drop_nulls(row: dict[str, Any], block: dict[str, Any]) -> None:
    for name in [name for name, value in block.items() if value is None]:
        del block[name]
    if row["modifications"] is None:
        del row["modifications"]


class _Weighted:
    """Values drawn by weight."""

    def __init__(self, values: Sequence[Any], weights: Sequence[float]):
        self._values = values
        self._bounds = list(accumulate(weights))

    def draw(self, rng: random.Random) -> Any:
        return self._values[bisect(self._bounds, rng.random() * self._bounds[-1])]


def _by_rank(values: Sequence[Any]) -> _Weighted:
    """Values by the law of Zipf and Mandelbrot: as buyers and CPV codes are in real files,
    where the first has 3 to 6 %.
    """
    return _Weighted(values, [1 / (rank + 6) for rank in range(len(values))])


def _labels(type_: ContractType, regime: Regime) -> dict[str, _Weighted]:
    """The labels of each field of a regime, read from its schema; keys are dotted paths."""
    root = record_schema(type_, regime)
    found: dict[str, _Weighted] = {}

    def walk(node: Mapping[str, Any], path: tuple[str, ...]) -> None:
        node = resolve(node, root)
        if "items" in node:
            walk(node["items"], path)
        for name, inner in node.get("properties", {}).items():
            walk(inner, (*path, name))
        if "enum" in node:
            values = node["enum"]
            found[".".join(path)] = _Weighted(values, [_COMMON.get(v, 1) for v in values])

    walk(root, ())
    return found


def generated_buyers(records: int, seed: int, first_day: date, last_day: date) -> list[str]:
    """The SIRETs of the buyers that :func:`generate` draws from, those of most contracts first."""
    return _Maker(records, seed, first_day, last_day).buyers


class _Maker:
    """Draws contracts; its tables are made once for a run of the generator."""

    def __init__(self, records: int, seed: int, first_day: date, last_day: date):
        self.rng = rng = random.Random(seed)  # noqa: S311 - no secret: a seed repeats it
        self.first_reference = rng.randrange(REFERENCES)
        first, last = first_day.toordinal(), last_day.toordinal()
        days = range(first, last + 1)
        weights = [
            rng.uniform(0.7, 1.3) * (WEEKEND if date.fromordinal(day).weekday() > 4 else 1)
            for day in days
        ]
        self._days = _Weighted(days, weights)
        floor = FIRST_DAY_OF_2022_REGIME.toordinal()
        # The first day that any date may be of.
        self._floor = floor if first >= floor else first - 500
        #: SIRETs, those of most contracts first.
        self.buyers = sirets(rng, max(1, records // 20), "12")
        self._buyers = _by_rank(self.buyers)
        self._winners = _by_rank(sirets(rng, max(10, records // 3), "345789"))
        self._cpv = _by_rank(CPV_CODES)
        self._label_tables: dict[tuple[ContractType, Regime], dict[str, _Weighted]] = {}
        self._makers = {
            (_MARCHE, Regime.R2022): self._marche,
            (_CONCESSION, Regime.R2022): self._concession,
            (_MARCHE, Regime.R2019): self._marche_2019,
            (_CONCESSION, Regime.R2019): self._concession_2019,
        }

    def versions(
        self, number: int, type_: ContractType
    ) -> Iterator[tuple[int, Regime, dict[str, Any]]]:
        """The versions of a contract: (ordinal of the day it is served under, regime, record)."""
        rng = self.rng
        day = published = self._days.draw(rng)
        modified: list[int] = []
        several = False
        fate = rng.random()
        if fate < VERSIONED:
            published, *modified = sorted({day, *(self._days.draw(rng) for _ in range(2))})
            several = True
        elif fate < MODIFIED:
            published = max(self._floor, day - rng.randint(20, 400))
            modified = sorted(rng.randint(published, day) for _ in range(rng.randrange(2)))
            modified.append(day)
        decided = max(self._floor, published - rng.randint(1, 60))
        regime = regime_of(date.fromordinal(decided))
        labels = self._labels(type_, regime)
        record = self._makers[type_, regime](number, labels, decided, published)
        modifications = list(self._modifications(record, type_, regime, published, modified))
        if several:
            yield published, regime, record
        for count in range(1 if several else len(modified), len(modified) + 1):
            version = record
            if count:
                version = {**record, "modifications": modifications[:count]}
            yield (modified[count - 1] if count else day), regime, version

    def _labels(self, type_: ContractType, regime: Regime) -> dict[str, _Weighted]:
        key = type_, regime
        if key not in self._label_tables:
            self._label_tables[key] = _labels(type_, regime)
        return self._label_tables[key]

    def _modifications(
        self,
        record: dict[str, Any],
        type_: ContractType,
        regime: Regime,
        published: int,
        days: list[int],
    ) -> Iterator[dict[str, Any]]:
        """One modification for each day of publication, in order."""
        rng = self.rng
        amount, signed = "montant", "dateNotificationModification"
        if type_ is _CONCESSION:
            amount, signed = "valeurGlobale", "dateSignatureModification"
        before = published
        for number, day in enumerate(days, 1):
            made: dict[str, Any] = {
                signed: _iso(rng.randint(before, day)),
                "datePublicationDonneesModification": _iso(day),
            }
            before = day
            kind = rng.random()
            if kind < 0.5:
                made[amount] = round(record[amount] * rng.uniform(1.01, 1.4), 2)
            if kind > 0.4:
                made["dureeMois"] = min(180, record["dureeMois"] + rng.randint(1, 12))
            if kind > 0.85 and type_ is _MARCHE:
                made["titulaires"] = record["titulaires"]
            if regime is Regime.R2022:
                yield {"modification": {"id": number, **made}}
            else:
                yield {"objetModification": f"Avenant n° {number} : délais & prix", **made}

    def _common(
        self, number: int, type_: ContractType, labels: dict[str, _Weighted], dates: tuple[int, int]
    ) -> dict[str, Any]:
        """The fields that every record has."""
        rng = self.rng
        decided, published = dates
        year = date.fromordinal(decided).year
        return {
            "id": f"{year}{rng.choice(_ID_MARKS)}{number:06d}00",
            BUYER_FIELD[type_]: {"id": self._buyers.draw(rng)},
            "nature": labels["nature"].draw(rng),
            "procedure": labels["procedure"].draw(rng),
            "dureeMois": rng.choice(_MONTHS),
            DECIDING_DATE[type_]: _iso(decided),
            "datePublicationDonnees": _iso(published),
        }

    def _marche(
        self, number: int, labels: dict[str, _Weighted], decided: int, published: int
    ) -> dict[str, Any]:
        rng = self.rng
        amount = self._amount(11)
        cpv = self._cpv.draw(rng)
        winners = self._parties(labels["titulaires.titulaire.typeIdentifiant"])
        record = self._common(number, _MARCHE, labels, (decided, published))
        techniques = self._some(labels["techniques.technique"])
        advance = rng.random() < 0.3
        record |= {
            "objet": self._objet(number),
            "codeCPV": cpv,
            "techniques": {"technique": techniques},
            "modalitesExecution": {
                "modaliteExecution": self._some(labels["modalitesExecution.modaliteExecution"])
            },
            "marcheInnovant": rng.random() < 0.02,
            "ccag": labels["ccag"].draw(rng),
            "offresRecues": rng.randint(1, 12),
            "attributionAvance": advance,
            "typeGroupementOperateurs": "Pas de groupement"
            if len(winners) == 1
            else rng.choice(("Conjoint", "Solidaire")),
            "sousTraitanceDeclaree": False,
            "lieuExecution": self._place(labels["lieuExecution.typeCode"]),
            "montant": amount,
            "typesPrix": {"typePrix": self._some(labels["typesPrix.typePrix"])},
            "formePrix": labels["formePrix"].draw(rng),
            "titulaires": [{"titulaire": winner} for winner in winners],
            **self._considerations(labels),
        }
        if advance and rng.random() < 0.9:
            record["tauxAvance"] = rng.choice((0.05, 0.1, 0.2, 0.3))
        if "Accord-cadre" in techniques and rng.random() < 0.2:
            record["idAccordCadre"] = f"AC{number:06d}"
        if any(low <= int(cpv) <= high for low, high in _WITH_ORIGIN):
            record["origineFrance"], record["origineUE"] = sorted(
                round(rng.random(), 2) for _ in range(2)
            )
        if rng.random() < SUBCONTRACTED:
            record |= self._subcontracting(record, labels, decided, published)
        return record

    def _subcontracting(
        self, record: dict[str, Any], labels: dict[str, _Weighted], decided: int, published: int
    ) -> dict[str, Any]:
        """Acts, and for some of them a modification, within the contract's bounds."""
        rng = self.rng
        count = rng.randint(1, 2)
        acts = [
            {
                "id": number,
                "sousTraitant": {"typeIdentifiant": "SIRET", "id": self._winners.draw(rng)},
                "dureeMois": rng.randint(1, record["dureeMois"]),
                "dateNotification": _iso(decided),
                "datePublicationDonnees": _iso(published),
                "montant": round(record["montant"] * rng.uniform(0.05, 0.3), 2),
                "variationPrix": labels["actesSousTraitance.acteSousTraitance.variationPrix"].draw(
                    rng
                ),
            }
            for number in range(1, count + 1)
        ]
        found: dict[str, Any] = {
            "sousTraitanceDeclaree": True,
            "actesSousTraitance": [{"acteSousTraitance": act} for act in acts],
        }
        if rng.random() < 0.3:
            change = {
                "id": 1,
                "dateNotificationModificationSousTraitance": _iso(published),
                "datePublicationDonnees": _iso(published),
                "montant": round(acts[0]["montant"] * 1.1, 2),
            }
            found["modificationsActesSousTraitance"] = [{"modificationActeSousTraitance": change}]
        return found

    def _concession(
        self, number: int, labels: dict[str, _Weighted], decided: int, published: int
    ) -> dict[str, Any]:
        rng = self.rng
        record = self._common(number, _CONCESSION, labels, (decided, published))
        parties = self._parties(labels["concessionnaires.concessionnaire.typeIdentifiant"])
        record |= {
            "objet": self._objet(number, _SERVICES),
            "dateDebutExecution": _iso(rng.randint(decided, published)),
            "valeurGlobale": self._amount(13),
            "montantSubventionPublique": self._amount(10) if rng.random() < 0.2 else 0,
            "concessionnaires": [{"concessionnaire": party} for party in parties],
            **self._considerations(labels),
        }
        if rng.random() < 0.3:
            record["donneesExecution"] = [
                {
                    "donneesAnnuelles": {
                        "datePublicationDonneesExecution": _iso(published),
                        "depensesInvestissement": self._amount(9),
                        "tarifs": [
                            {"tarif": tariff} for tariff in self._tariffs(rng.randint(1, 3))
                        ],
                    }
                }
            ]
        return record

    def _marche_2019(
        self, number: int, labels: dict[str, _Weighted], decided: int, published: int
    ) -> dict[str, Any]:
        record = self._common(number, _MARCHE, labels, (decided, published))
        winners = self._parties(labels["titulaires.typeIdentifiant"])
        return record | {
            "_type": "Marché",
            "acheteur": self._named_buyer(record["acheteur"]["id"]),
            "objet": self._objet(number),
            "codeCPV": self._cpv.draw(self.rng),
            "lieuExecution": self._place(labels["lieuExecution.typeCode"], named=True),
            "montant": self._amount(11),
            "formePrix": labels["formePrix"].draw(self.rng),
            "titulaires": [self._named_firm(winner) for winner in winners],
            "modifications": [],
        }

    def _concession_2019(
        self, number: int, labels: dict[str, _Weighted], decided: int, published: int
    ) -> dict[str, Any]:
        rng = self.rng
        record = self._common(number, _CONCESSION, labels, (decided, published))
        parties = self._parties(labels["concessionnaires.typeIdentifiant"])
        execution = []
        if rng.random() < 0.3:
            execution.append(
                {
                    "datePublicationDonneesExecution": _iso(published),
                    "depensesInvestissement": self._amount(9),
                    "tarifs": list(self._tariffs(2)),
                }
            )
        return record | {
            "_type": "Contrat de concession",
            "autoriteConcedante": self._named_buyer(record["autoriteConcedante"]["id"]),
            "objet": self._objet(number, _SERVICES),
            "lieuExecution": self._place(labels["lieuExecution.typeCode"], named=True),
            "dateDebutExecution": _iso(rng.randint(decided, published)),
            "valeurGlobale": self._amount(13),
            "montantSubventionPublique": 0,
            "donneesExecution": execution,
            "concessionnaires": [self._named_firm(party) for party in parties],
            "modifications": [],
        }

    def _amount(self, scale: float) -> float:
        """An amount around e^scale euros, whole for half of them, far from the State's bounds."""
        amount = min(9e7, max(500.0, math.exp(self.rng.gauss(scale, 1.5))))
        return round(amount) if self.rng.random() < 0.5 else round(amount, 2)

    def _some(self, labels: _Weighted) -> list[str]:
        """One label, or sometimes two that may stand together."""
        found = [labels.draw(self.rng)]
        if self.rng.random() < 0.15:
            other = labels.draw(self.rng)
            if other not in found and not any(
                label.startswith(_ALONE) for label in (*found, other)
            ):
                found.append(other)
        return found

    def _considerations(self, labels: dict[str, _Weighted]) -> dict[str, Any]:
        return {
            several: {one: self._some(labels[f"{several}.{one}"])}
            for several, one in (
                ("considerationsSociales", "considerationSociale"),
                ("considerationsEnvironnementales", "considerationEnvironnementale"),
            )
        }

    def _parties(self, kinds: _Weighted) -> list[dict[str, str]]:
        """One winner, sometimes two or three, none twice."""
        rng = self.rng
        count = 1 if rng.random() < 0.9 else rng.randint(2, 3)
        found: dict[str, dict[str, str]] = {}
        while len(found) < count:
            kind, siret = kinds.draw(rng), self._winners.draw(rng)
            found[siret] = {"typeIdentifiant": kind, "id": _identifier(kind, siret)}
        return list(found.values())

    def _place(self, kinds: _Weighted, *, named: bool = False) -> dict[str, str]:
        place, kind = self.rng.choice(_PLACES), kinds.draw(self.rng)
        found = {"code": place.code(kind), "typeCode": kind}
        return {**found, "nom": place.name} if named else found

    def _objet(self, number: int, works: Sequence[str] = _WORKS) -> str:
        rng = self.rng
        text = f"{rng.choice(works)} {rng.choice(_PLACES_OF_WORK)}, {rng.choice(_PLACES).name}"
        if rng.random() < 0.4:
            text += f" - lot n° {rng.randint(1, 12)}"
        return text

    def _tariffs(self, count: int) -> Iterator[dict[str, Any]]:
        for number in range(1, count + 1):
            price = round(self.rng.uniform(0.5, 90), 2)
            yield {"intituleTarif": f"Plein tarif & réductions, zone {number}", "tarif": price}

    @staticmethod
    def _named_buyer(siret: str) -> dict[str, str]:
        kind = _BUYERS[int(siret[7]) % len(_BUYERS)]
        return {"id": siret, "nom": f"{kind} de {_PLACES[int(siret[6])].name}"}

    @staticmethod
    def _named_firm(party: dict[str, str]) -> dict[str, str]:
        name = _FIRMS[sum(map(ord, party["id"])) % len(_FIRMS)]
        return {**party, "denominationSociale": name}


_ID_MARKS = ("", "", "S", "M-", "T_")
_MONTHS = (1, 3, 6, 8, 12, 12, 12, 12, 24, 24, 36, 36, 48, 48, 48, 60, 120)


def _iso(ordinal: int) -> str:
    return date.fromordinal(ordinal).isoformat()


def sirets(rng: random.Random, count: int, first_digits: str) -> list[str]:
    """Different SIRETs with right check sums, that of their SIREN included."""
    found: dict[str, None] = {}
    while len(found) < count:
        siren = f"{rng.choice(first_digits)}{rng.randrange(10**7):07d}"
        siren += luhn.calc_check_digit(siren)
        if siren != "356000000":  # La Poste: its SIRETs follow a sum of their own
            siret = f"{siren}{rng.randrange(1, 40):04d}"
            found[siret + luhn.calc_check_digit(siret)] = None
    return list(found)


def _identifier(kind: str, siret: str) -> str:
    """An identifier of a firm, of the kind that a label of ``typeIdentifiant`` names."""
    siren = siret[:9]
    match kind:
        case "TVA" | "UE":
            return f"FR{(12 + 3 * int(siren)) % 97:02d}{siren}"
        case "TAHITI":
            return siren
        case "RIDET":
            return siret[:10]
        case "FRWF":
            return f"FRWF{siret}"
        case "IREP":
            return f"{siret[:5]}AB"
        case "HORS-UE":
            return f"CH{siren}"
    return siret


# Damages: what no repair may undo. Each changes a row and its block in place, without
# touching the lists and objects in them, which they share with the record.

_Block = dict[str, Any]


def _keys(block: _Block) -> tuple[str, str, str, str]:
    """Buyer, winners, amount and deciding date of a block."""
    if "idAcheteur" in block:
        return "idAcheteur", "titulaires", "montant", "dateNotification"
    return "idAutoriteConcedante", "concessionnaires", "valeurGlobale", "dateSignature"


def _missing_field(row: _Block, block: _Block, rng: random.Random) -> None:
    name = rng.choice(("id", "objet", "nature", "procedure", "dureeMois", "datePublicationDonnees"))
    row[name] = None
    if rng.random() < 0.5:
        del row[name]


def _amount_zero(row: _Block, block: _Block, rng: random.Random) -> None:
    block[_keys(block)[2]] = 0


def _siret_length(row: _Block, block: _Block, rng: random.Random) -> None:
    buyer = _keys(block)[0]
    block[buyer] = block[buyer][:-1]


def _siret_checksum(row: _Block, block: _Block, rng: random.Random) -> None:
    buyer = _keys(block)[0]
    block[buyer] = block[buyer][:-1] + str((int(block[buyer][-1]) + 1) % 10)


def _unknown_label(row: _Block, block: _Block, rng: random.Random) -> None:
    row["procedure"] = "Procédure inconnue"


def _lost_accents(row: _Block, block: _Block, rng: random.Random) -> None:
    row["procedure"] = "Proc\ufffddure adapt\ufffde"


def _date_in_words(row: _Block, block: _Block, rng: random.Random) -> None:
    block[_keys(block)[3]] = "3 mars 2024"


def _absurd_year(row: _Block, block: _Block, rng: random.Random) -> None:
    date_key = _keys(block)[3]
    block[date_key] = f"0{block[date_key][1:]}"


def _null_winners(row: _Block, block: _Block, rng: random.Random) -> None:
    block[_keys(block)[1]] = None


def _test_record(row: _Block, block: _Block, rng: random.Random) -> None:
    row["id"] = f"2024123456789{rng.randrange(100):02d}"
    row["source"] = "AIFE_test"
    block[_keys(block)[2]] = 123456.78


DAMAGES: dict[str, Callable[[_Block, _Block, random.Random], None]] = {
    "missing-field": _missing_field,
    "amount-zero": _amount_zero,
    "siret-length": _siret_length,
    "siret-checksum": _siret_checksum,
    "unknown-label": _unknown_label,
    "lost-accents": _lost_accents,
    "date-in-words": _date_in_words,
    "absurd-year": _absurd_year,
    "null-winners": _null_winners,
    "test-record": _test_record,
}
_DAMAGE_NAMES = tuple(DAMAGES)


# Traps: disguises that lose nothing. Each returns whether the row could take it.


def _booleans_in_words(row: _Block, block: _Block, rng: random.Random) -> bool:
    if not isinstance(block.get("attributionAvance"), bool):
        return False
    words = rng.choice((("non", "oui"), ("false", "true"), (0, 1)))
    for name in ("attributionAvance", "sousTraitanceDeclaree", "marchesInnovant"):
        block[name] = words[block[name]]
    return True


def _amount_as_text(row: _Block, block: _Block, rng: random.Random) -> bool:
    amount = _keys(block)[2]
    text = f"{block[amount]:,.2f}"
    if rng.random() < 0.5:
        text = text.replace(",", " ").replace(".", ",") + " €"
    else:
        text = text.replace(",", "")
    block[amount] = text
    return True


def _spaces_in_siret(row: _Block, block: _Block, rng: random.Random) -> bool:
    buyer = _keys(block)[0]
    siret = block[buyer]
    block[buyer] = f"{siret[:3]} {siret[3:6]} {siret[6:9]} {siret[9:]}"
    return True


def _spaces_around_siret(row: _Block, block: _Block, rng: random.Random) -> bool:
    buyer = _keys(block)[0]
    block[buyer] = rng.choice(("{} ", " \t{}")).format(block[buyer])
    return True


def _cpv_integer(row: _Block, block: _Block, rng: random.Random) -> bool:
    if "codeCPV" not in block:
        return False
    block["codeCPV"] = int(block["codeCPV"])
    return True


def _date_with_zone(row: _Block, block: _Block, rng: random.Random) -> bool:
    block[_keys(block)[3]] += rng.choice(("+01:00", "T00:00:00"))
    return True


def _label_in_capitals(row: _Block, block: _Block, rng: random.Random) -> bool:
    row["procedure"] = row["procedure"].upper()
    return True


def _label_without_accents(row: _Block, block: _Block, rng: random.Random) -> bool:
    plain = unicodedata.normalize("NFD", row["procedure"]).encode("ascii", "ignore").decode()
    if plain == row["procedure"]:
        return False
    row["procedure"] = plain
    return True


def _typographic_apostrophe(row: _Block, block: _Block, rng: random.Random) -> bool:
    if "'" not in row["procedure"]:
        return False
    row["procedure"] = row["procedure"].replace("'", "\u2019")
    return True


def _single_winner(row: _Block, block: _Block, rng: random.Random) -> bool:
    winners = _keys(block)[1]
    if len(block[winners]) > 1:
        return False
    block[winners] = block[winners][0]
    return True


def _nested_winners(row: _Block, block: _Block, rng: random.Random) -> bool:
    winners = _keys(block)[1]
    block[winners] = [[winner] for winner in block[winners]]
    return True


def _wrapped_winners(row: _Block, block: _Block, rng: random.Random) -> bool:
    winners = _keys(block)[1]
    block[winners] = {winners.removesuffix("s"): block[winners]}
    return True


def _line_feeds(row: _Block, block: _Block, rng: random.Random) -> bool:
    row["objet"] = f"{row['objet'].replace(' ', chr(13) + chr(10), 1)}\n"
    return True


def _entities(row: _Block, block: _Block, rng: random.Random) -> bool:
    if "&" not in row["objet"]:
        return False
    row["objet"] = row["objet"].replace("&", "&amp;")
    return True


TRAPS: dict[str, Callable[[_Block, _Block, random.Random], bool]] = {
    "booleans-in-words": _booleans_in_words,
    "amount-as-text": _amount_as_text,
    "spaces-in-siret": _spaces_in_siret,
    "spaces-around-siret": _spaces_around_siret,
    "cpv-integer": _cpv_integer,
    "date-with-zone": _date_with_zone,
    "label-in-capitals": _label_in_capitals,
    "label-without-accents": _label_without_accents,
    "typographic-apostrophe": _typographic_apostrophe,
    "single-winner": _single_winner,
    "nested-winners": _nested_winners,
    "wrapped-winners": _wrapped_winners,
    "line-feeds": _line_feeds,
    "entities": _entities,
}
_TRAP_NAMES = tuple(TRAPS)
