"""The rules of content: what is wrong with a contract whose shape is right.

The State's own pipeline (decp-arr2022) excludes records after collecting them, by rules
that no schema tells, and tags the fields of others as missing or unusable. Here the
publisher sees both before publishing: what the State rejects is an *error* and rejects
the record, what it only tags, or what only the text of the format or plain sense forbids,
is a *warning*, kept and counted. :data:`RULES` is the table of them all; a setting may
change the severity of each.

A record is read through :class:`Contract`, which has one shape for both types and both
regimes, so that a rule is written once. The input is a record that is valid under its
schema (:mod:`dume_spider.decp.schema`); such a record never makes a rule fail.

There is no rule that a CPV code is in the list of 2008: no maintained package carries the
9,454 codes. Their 45 divisions are checked instead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from stdnum import luhn
from stdnum.eu import vat
from stdnum.fr import siret

from dume_spider.decp.regime import (
    BUYER_FIELD,
    DECIDING_DATE,
    FIRST_DAY_OF_2022_REGIME,
    ContractType,
    Regime,
)
from dume_spider.decp.verdict import Problem, quote
from dume_spider.exceptions import ArgumentError

MP, CC = ContractType.MARCHE, ContractType.CONCESSION
R2019, R2022 = Regime.R2019, Regime.R2022


class Severity(StrEnum):
    """What becomes of a record that breaks a rule."""

    ERROR = "error"
    """It is rejected."""
    WARNING = "warning"
    """It is kept, and the warning counted."""
    OFF = "off"
    """Nothing: the rule is not looked at. Only as an override, no rule is off by default."""


class Verdict(NamedTuple):
    """What the rules say of one record, in the order of :data:`RULES`."""

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


# ---------------------------------------------------------------------- reading a record


class Party(NamedTuple):
    """A buyer, titulaire, concessionnaire or sub-contractor, as its identifier names it.

    ``path`` is that of its ``id``. ``judged`` says whether the State's pipeline rejects
    the record for a wrong identifier: it looks at the buyer and at the first three
    titulaires or concessionnaires once they are sorted by identifier, and at no other.
    """

    path: str
    kind: str
    id: str
    judged: bool


class Item(NamedTuple):
    """An entry of a list of objects, out of its wrapper: its path and its fields."""

    path: str
    fields: dict[str, Any]


class When(NamedTuple):
    """A date of the record: its path, its text, and its day as ``YYYY-MM-DD``.

    ``day`` is None when the text is not a real day. ``field`` is the name of the field if
    it is one of the contract itself, None if it is one of a modification, act or report.
    """

    path: str
    text: str
    day: str | None
    field: str | None


#: The field of the holders of a contract, and what each is wrapped in from 2024 on.
_HOLDERS = {
    ContractType.MARCHE: ("titulaires", "titulaire"),
    ContractType.CONCESSION: ("concessionnaires", "concessionnaire"),
}


class Contract:
    """What the rules read of a record: the same attributes for every type and regime."""

    def __init__(self, record: dict[str, Any], type: ContractType, regime: Regime, day: date):
        self.record = record
        self.type = type
        self.regime = regime
        #: The day of the check, as ``YYYY-MM-DD``; dates are compared as text.
        self.today = day.isoformat()
        self.is_mp = type is MP
        wrapped = regime is R2022
        modified = "Notification" if self.is_mp else "Signature"

        #: The name of the contract's amount, in the record and in its modifications.
        self.amount_field = "montant" if self.is_mp else "valeurGlobale"
        self.amount = record[self.amount_field]
        self.duration = record["dureeMois"]
        #: The day of notification or signature.
        self.notified = _day_of(record[DECIDING_DATE[type]], regime)
        self.modification_field = f"date{modified}Modification"
        self.modifications = _items(record, "modifications", wrapped and "modification")
        self.acts: list[Item] = []
        self.act_changes: list[Item] = []
        self.reports: list[Item] = []
        if self.is_mp and wrapped:
            self.acts = _items(record, "actesSousTraitance", "acteSousTraitance")
            self.act_changes = _items(
                record, "modificationsActesSousTraitance", "modificationActeSousTraitance"
            )
        elif not self.is_mp:
            self.reports = _items(record, "donneesExecution", wrapped and "donneesAnnuelles")
        #: What may say another amount or duration than the contract.
        self.entries = [*self.modifications, *self.acts, *self.act_changes]

        #: Paths of the buyer or of holders that are no objects, which the schemas let pass.
        self.nobodies: list[str] = []
        self.holders = self._holders(record, "")
        self.parties = self._parties()
        self.wrong_sirets = [
            (party, kind)
            for party in self.parties
            if party.kind == "SIRET"
            and (kind := _siret_kind(party.id)) is not _Siret.RIGHT
            and party.id.strip()
        ]
        #: Those that are known by another identifier than a SIRET.
        self.others = [party for party in self.parties if party.kind != "SIRET"]
        self.dates = self._dates()
        self.future = [
            when for when in self.dates if when.day is not None and when.day > self.today
        ]
        self.texts = self._texts()

    def _holders(self, node: dict[str, Any], at: str) -> list[Item]:
        name, wrapper = _HOLDERS[self.type]
        found = []
        for position, entry in enumerate(node.get(name, ())):
            path = f"{at}{name}.{position}"
            if self.regime is R2022 and isinstance(entry, dict):
                entry = entry[wrapper]
                path = f"{path}.{wrapper}"
            if isinstance(entry, dict):
                found.append(Item(path, entry))
            else:
                self.nobodies.append(path)
        return found

    def _parties(self) -> list[Party]:
        parties = []
        name = BUYER_FIELD[self.type]
        buyer = self.record[name]
        if isinstance(buyer, dict):
            parties.append(Party(f"{name}.id", "SIRET", buyer["id"], True))
        else:
            self.nobodies.append(name)
        last = None
        if len(self.holders) > 3:
            last = sorted(item.fields["id"] for item in self.holders)[2]
        for path, fields in self.holders:
            id = fields["id"]
            judged = last is None or id <= last
            parties.append(Party(f"{path}.id", fields["typeIdentifiant"], id, judged))
        if self.is_mp:
            others = [Item(f"{path}.sousTraitant", act["sousTraitant"]) for path, act in self.acts]
            for path, modification in self.modifications:
                others += self._holders(modification, f"{path}.")
            parties += [
                Party(f"{path}.id", fields["typeIdentifiant"], fields["id"], False)
                for path, fields in others
            ]
        return parties

    def _dates(self) -> list[When]:
        record, regime = self.record, self.regime
        names = MP_DATES if self.is_mp else CC_DATES
        dates = [When(name, record[name], _day_of(record[name], regime), name) for name in names]

        def add(items: list[Item], *names: str) -> None:
            for path, fields in items:
                for name in names:
                    text = fields[name]
                    dates.append(When(f"{path}.{name}", text, _day_of(text, regime), None))

        add(self.modifications, self.modification_field, "datePublicationDonneesModification")
        add(self.acts, "dateNotification", "datePublicationDonnees")
        add(self.act_changes, "dateNotificationModificationSousTraitance", "datePublicationDonnees")
        add(self.reports, "datePublicationDonneesExecution")
        return dates

    def _texts(self) -> list[tuple[str, str]]:
        """The free texts that the format has for this type and regime, with their paths."""
        record = self.record
        texts = [("id", record["id"]), ("objet", record["objet"])]
        if self.is_mp or self.regime is R2019:
            place = record["lieuExecution"]
            texts.append(("lieuExecution.code", place["code"]))
            if self.regime is R2019:
                texts.append(("lieuExecution.nom", place["nom"]))
        if self.regime is R2019:
            name = BUYER_FIELD[self.type]
            if isinstance(record[name], dict):
                texts.append((f"{name}.nom", record[name]["nom"]))
            texts += [
                (f"{path}.denominationSociale", fields["denominationSociale"])
                for path, fields in self.holders
            ]
            texts += [
                (f"{path}.objetModification", fields["objetModification"])
                for path, fields in self.modifications
            ]
        for path, report in self.reports:
            tariffs = _items(report, "tarifs", self.regime is R2022 and "tarif")
            texts += [
                (f"{path}.{at}.intituleTarif", tariff["intituleTarif"]) for at, tariff in tariffs
            ]
        return texts


#: The dates of the contract itself; the first two are in the order in which they happen.
MP_DATES = ("dateNotification", "datePublicationDonnees")
CC_DATES = ("dateSignature", "datePublicationDonnees", "dateDebutExecution")


def _items(node: dict[str, Any], name: str, wrapper: str | bool) -> list[Item]:
    """The objects of a list, taken out of their wrapper if there is one."""
    if wrapper:
        return [
            Item(f"{name}.{position}.{wrapper}", entry[wrapper])
            for position, entry in enumerate(node.get(name, ()))
        ]
    return [Item(f"{name}.{position}", entry) for position, entry in enumerate(node.get(name, ()))]


# A zone after the date is part of the format of 2019 alone.
_DAY = {
    R2019: re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[+-][0-2][0-9]:[0-5][0-9]Z?)?"),
    R2022: re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})"),
}


@lru_cache(maxsize=1 << 15)
def _day_of(text: str, regime: Regime) -> str | None:
    """The day that a text writes, as ``YYYY-MM-DD``; None if the calendar has no such day."""
    match = _DAY[regime].fullmatch(text)
    if match is None:
        return None
    try:
        date.fromisoformat(match[1])
    except ValueError:
        return None
    return match[1]


# -------------------------------------------------------------------------- the registry

#: What a rule finds: pairs of the path and the message of each problem.
Found = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the table.

    Attributes:
        id: its stable name, used in problems, counts and settings.
        severity: what becomes of a record that breaks it, by default.
        sentence: what must hold, in one sentence for people.
        source: who says so, and what the State's pipeline does about it.
        applies: the types and regimes of contract that it is checked on.
        about: the list of :class:`Contract` that it is about: without entries, there is
            nothing to find, and most contracts have few. Empty: it is always looked at.
        find: the function that yields ``(path, message)`` for each problem of a contract.
    """

    id: str
    severity: Severity
    sentence: str
    source: str
    applies: tuple[tuple[ContractType, Regime], ...]
    about: str
    find: Callable[[Contract], Found]


_rules: list[Rule] = []

STATE = "State's pipeline: rejected"
TAGGED = "State's pipeline: tagged"
FORMAT = "text of the format"
OURS = "this project"


def _rule(
    id: str,
    severity: Severity,
    sentence: str,
    source: str,
    types: tuple[ContractType, ...] = (MP, CC),
    regimes: tuple[Regime, ...] = (R2019, R2022),
    applies: tuple[tuple[ContractType, Regime], ...] | None = None,
    about: str = "",
) -> Callable[[Callable[[Contract], Found]], Callable[[Contract], Found]]:
    """Puts a function in the table; ``applies`` wins over ``types`` and ``regimes``."""
    pairs = applies or tuple((type, regime) for type in types for regime in regimes)

    def register(find: Callable[[Contract], Found]) -> Callable[[Contract], Found]:
        _rules.append(Rule(id, severity, sentence, source, pairs, about, find))
        return find

    return register


ERROR, WARNING = Severity.ERROR, Severity.WARNING


# --------------------------------------------------------------------------- identifiers


@_rule(
    "empty",
    ERROR,
    "The contract has an id, its buyer and first three titulaires or concessionnaires have an "
    "identifier, and all are objects.",
    STATE,
)
def _empty(contract: Contract) -> Found:
    if not contract.record["id"].strip():
        yield "id", "is blank"
    for path in contract.nobodies:
        yield path, "is not an object with an identifier"
    for path, _, id, judged in contract.parties:
        if judged and not id.strip():
            yield path, "is blank"


class _Siret(StrEnum):
    """What a text is as a SIRET; the values name the rules that speak of it."""

    RIGHT = ""
    WRONG = "siret"
    LA_POSTE = "siret-la-poste"
    NO_SIREN = "siren"


@lru_cache(maxsize=1 << 16)
def _siret_kind(text: str) -> _Siret:
    """Judges a SIRET: by the Luhn sum as the State does, then as python-stdnum does.

    python-stdnum also wants a right SIREN in it, and knows that La Poste's own numbers
    have a sum of digits that 5 divides.
    """
    number = siret.compact(text)
    right = siret.is_valid(number)
    if not (len(number) == 14 and luhn.is_valid(number)):
        return _Siret.LA_POSTE if right else _Siret.WRONG
    return _Siret.RIGHT if right and number[:9] != "000000000" else _Siret.NO_SIREN


def _siret_message(id: str) -> str:
    digits = siret.compact(id)
    if len(digits) == 14 and digits.isdecimal() and digits.isascii():
        return f"{quote(id)} is not a SIRET: its check sum is wrong"
    return f"{quote(id)} is not a SIRET: it is not 14 digits"


@_rule(
    "siret",
    ERROR,
    "The SIRET of the buyer and of the first three titulaires or concessionnaires (by "
    "identifier) is 14 digits with a right check sum; La Poste's has its own.",
    f"{STATE}, La Poste's too",
    about="wrong_sirets",
)
def _siret(contract: Contract) -> Found:
    for party, kind in contract.wrong_sirets:
        if kind is _Siret.WRONG and party.judged:
            yield party.path, _siret_message(party.id)


@_rule(
    "siret-other",
    WARNING,
    "Every other SIRET (further titulaires, those of modifications, sub-contractors) is right too.",
    f"{TAGGED} (modifications, sub-contractors)",
    about="wrong_sirets",
)
def _siret_other(contract: Contract) -> Found:
    for party, kind in contract.wrong_sirets:
        if kind is _Siret.WRONG and not party.judged:
            yield party.path, _siret_message(party.id)


@_rule(
    "siret-la-poste",
    WARNING,
    "A SIRET of La Poste is right by La Poste's own check sum, but the State's pipeline "
    "refuses it.",
    f"{OURS} (python-stdnum)",
    about="wrong_sirets",
)
def _siret_la_poste(contract: Contract) -> Found:
    for party, kind in contract.wrong_sirets:
        if kind is _Siret.LA_POSTE:
            message = (
                f"{quote(party.id)} is right for La Poste, but the State's pipeline refuses it"
            )
            yield party.path, message


@_rule(
    "siren",
    WARNING,
    "The first nine digits of a SIRET are a SIREN: not zeros, and with a right check sum.",
    f"{OURS} (python-stdnum)",
    about="wrong_sirets",
)
def _siren(contract: Contract) -> Found:
    for party, kind in contract.wrong_sirets:
        if kind is _Siret.NO_SIREN:
            message = (
                f"{quote(party.id)} passes the check sum of a SIRET, but no company has such a "
                "number"
            )
            yield party.path, message


@lru_cache(maxsize=1 << 12)
def _is_vat(text: str) -> bool:
    # python-stdnum 2.2 raises ValueError on some numbers with a line feed in them.
    return text.isascii() and text.isprintable() and vat.is_valid(text)


@_rule(
    "tva",
    WARNING,
    "An identifier of type TVA is a VAT number of the European Union with right check digits.",
    f"{OURS} (python-stdnum); the State's pipeline takes any text",
    about="others",
)
def _tva(contract: Contract) -> Found:
    for path, kind, id, _ in contract.others:
        if kind == "TVA" and id.strip() and not _is_vat(id):
            yield path, f"{quote(id)} is not a VAT number of the European Union"


#: By type of identifier: its pattern in the State's pipeline, and the words for it.
_IDENTIFIERS = {
    "TAHITI": (re.compile(r"[a-zA-Z0-9]{9}"), "9 letters or digits"),
    "RIDET": (re.compile(r"[a-zA-Z0-9]{10}"), "10 letters or digits"),
    "FRWF": (re.compile(r"FRWF[a-zA-Z0-9]{14}"), "FRWF and 14 letters or digits"),
    "IREP": (re.compile(r"[0-9]{5}[a-zA-Z0-9]*"), "5 digits, then letters or digits"),
    "HORS-UE": (
        re.compile(r"[A-Z]{2}[a-zA-Z0-9]{0,16}"),
        "2 capitals, then at most 16 letters or digits",
    ),
}


def _identifiers(contract: Contract, judged: bool) -> Iterator[tuple[str, str]]:
    for party in contract.others:
        if party.kind in _IDENTIFIERS and party.judged is judged:
            pattern, words = _IDENTIFIERS[party.kind]
            if party.id.strip() and not pattern.fullmatch(party.id):
                yield party.path, f"{quote(party.id)} is no {party.kind} identifier: {words}"


@_rule(
    "identifiant",
    ERROR,
    "The other identifiers of the first three titulaires or concessionnaires have the form of "
    "their type: TAHITI 9 letters or digits, RIDET 10, FRWF and 14, IREP 5 digits and more, "
    "HORS-UE 2 capitals and up to 16.",
    STATE,
    about="others",
)
def _identifiant(contract: Contract) -> Found:
    return _identifiers(contract, True)


@_rule(
    "identifiant-other",
    WARNING,
    "Every other identifier that is no SIRET (further titulaires, those of modifications, "
    "sub-contractors) has the form of its type.",
    f"{OURS}, after the State's patterns",
    about="others",
)
def _identifiant_other(contract: Contract) -> Found:
    return _identifiers(contract, False)


# The State's pattern, which it applies to every id but that of a concession of 2019.
_ID = re.compile(r"[A-Za-z0-9/\-_ .#]{1,16}")
_ID_ACCORD_CADRE = re.compile(r"[A-Za-z0-9\-_ .\\/]{1,16}")


@_rule(
    "id",
    ERROR,
    "The id of the contract is 1 to 16 of: letters without accent, digits, space, / - _ . #",
    STATE,
    applies=((MP, R2019), (MP, R2022), (CC, R2022)),
)
def _id(contract: Contract) -> Found:
    id = contract.record["id"]
    if not _ID.fullmatch(id):
        yield "id", f"{quote(id)} has other characters than letters, digits, space and /-_.#"


@_rule(
    "id-accord-cadre",
    WARNING,
    "idAccordCadre is 1 to 16 of: letters without accent, digits, space, / \\ - _ .",
    TAGGED,
    types=(MP,),
    regimes=(R2022,),
)
def _id_accord_cadre(contract: Contract) -> Found:
    id = contract.record.get("idAccordCadre")
    if id is not None and not _ID_ACCORD_CADRE.fullmatch(id):
        yield (
            "idAccordCadre",
            f"{quote(id)} has other characters than letters, digits, space and /\\-_.",
        )


# -------------------------------------------------------------------------------- dates


@_rule(
    "date",
    ERROR,
    "Every date is a day of the calendar written YYYY-MM-DD (a zone may follow in 2019).",
    f"{STATE} (form of the main dates) and official XSD (all dates)",
)
def _date(contract: Contract) -> Found:
    for path, text, day, _ in contract.dates:
        if day is None:
            yield path, f"{quote(text)} is not a day of the calendar written YYYY-MM-DD"


_FIRST_DAY_OF_2022 = FIRST_DAY_OF_2022_REGIME.isoformat()

#: The years that the State's patterns let pass.
_YEARS = {MP: ("2010", "2039"), CC: ("2000", "2099")}


@_rule(
    "date-years",
    ERROR,
    "Every date is of the years 2010 to 2039 (concessions: 2000 to 2099).",
    f"{STATE} (main dates); {OURS} for the others",
)
def _date_years(contract: Contract) -> Found:
    first, last = _YEARS[contract.type]
    for path, text, day, _ in contract.dates:
        if day is not None and not first <= day[:4] <= last:
            yield path, f"{quote(text)} is not of the years {first} to {last}"


@_rule(
    "regime",
    ERROR,
    "A contract notified or signed from 1 January 2024 on is in the format of 2022.",
    "README of the format; the State's pipeline reads no other file",
    regimes=(R2019,),
)
def _regime(contract: Contract) -> Found:
    last = f"{_YEARS[contract.type][1]}-12-31"
    if contract.notified is not None and _FIRST_DAY_OF_2022 <= contract.notified <= last:
        yield (
            DECIDING_DATE[contract.type],
            f"{quote(contract.notified)} is not before 2024: publish it in the format of 2022",
        )


def _future(contract: Contract, fields: tuple[str | None, ...]) -> Iterator[tuple[str, str]]:
    for path, text, _, field in contract.future:
        if field in fields:
            yield (
                path,
                f"{quote(text)} is in the future (the record was checked on {contract.today})",
            )


@_rule(
    "date-future",
    ERROR,
    "The dates of notification (MP) and of publication are not after the day of the check.",
    STATE,
    about="future",
)
def _date_future(contract: Contract) -> Found:
    return _future(contract, ("dateNotification", "datePublicationDonnees"))


@_rule(
    "date-future-start",
    ERROR,
    "A concession does not start after the day of the check (publish it once it has started).",
    STATE,
    types=(CC,),
    about="future",
)
def _date_future_start(contract: Contract) -> Found:
    return _future(contract, ("dateDebutExecution",))


@_rule(
    "date-future-other",
    WARNING,
    "No other date is after the day of the check: signature, modifications, acts, yearly data.",
    OURS,
    about="future",
)
def _date_future_other(contract: Contract) -> Found:
    return _future(contract, ("dateSignature", None))


def _before(later: When, earlier: str | None, words: str) -> Iterator[tuple[str, str]]:
    """A problem if the date ``later`` is in truth before the day ``earlier``."""
    if later.day is not None and earlier is not None and later.day < earlier:
        yield later.path, f"{quote(later.text)} is before {words}, {earlier}"


def _when(contract: Contract, item: Item, name: str) -> When:
    text = item.fields[name]
    return When(f"{item.path}.{name}", text, _day_of(text, contract.regime), None)


@_rule(
    "date-order",
    WARNING,
    "A contract is notified or signed before it is published, and signed before it starts.",
    OURS,
)
def _date_order(contract: Contract) -> Found:
    first, *others = contract.dates[: 2 if contract.is_mp else 3]
    for other in others:
        yield from _before(other, first.day, first.path)


@_rule(
    "modification-dates",
    WARNING,
    "A modification is notified or signed after the contract and after the modifications "
    "before it, and published after that.",
    f"{OURS}; the order also by the {FORMAT}",
    about="modifications",
)
def _modification_dates(contract: Contract) -> Found:
    items = contract.modifications
    if contract.regime is R2022:
        items = sorted(items, key=lambda item: item.fields["id"])
    contract_day, latest = contract.notified, None
    for item in items:
        notified = _when(contract, item, contract.modification_field)
        yield from _before(notified, contract_day, "the contract itself")
        yield from _before(notified, latest, "an earlier modification")
        published = _when(contract, item, "datePublicationDonneesModification")
        yield from _before(published, notified.day, contract.modification_field)
        latest = max(filter(None, (latest, notified.day)), default=None)


@_rule(
    "acte-dates",
    WARNING,
    "An act of sous-traitance is notified after the contract, its modifications after the act, "
    "and each is published after that.",
    OURS,
    types=(MP,),
    regimes=(R2022,),
    about="entries",
)
def _acte_dates(contract: Contract) -> Found:
    notified_acts: dict[int, str | None] = {}
    for item in contract.acts:
        notified = _when(contract, item, "dateNotification")
        notified_acts.setdefault(item.fields["id"], notified.day)
        yield from _before(notified, contract.notified, "the contract itself")
        published = _when(contract, item, "datePublicationDonnees")
        yield from _before(published, notified.day, "dateNotification")
    name = "dateNotificationModificationSousTraitance"
    for item in contract.act_changes:
        notified = _when(contract, item, name)
        yield from _before(notified, notified_acts.get(item.fields["id"]), "the act it modifies")
        published = _when(contract, item, "datePublicationDonnees")
        yield from _before(published, notified.day, name)


@_rule(
    "execution-dates",
    WARNING,
    "The yearly data of a concession are published after its signature.",
    OURS,
    types=(CC,),
    about="reports",
)
def _execution_dates(contract: Contract) -> Found:
    for item in contract.reports:
        published = _when(contract, item, "datePublicationDonneesExecution")
        yield from _before(published, contract.notified, "dateSignature")


# ------------------------------------------------------------------- amounts, durations

MIN_AMOUNT = 1
MAX_AMOUNT = {MP: 3_000_000_000, CC: 15_000_000_000}
MAX_MONTHS = {MP: 180, CC: 360}

#: Above it, a digit repeated more than six times gives a made-up amount away.
_SUSPECT_FROM = 100_000_000


def _is_made_up(amount: float) -> bool:
    """Whether an amount within the bounds is one that a person types to fill a box."""
    digits = str(amount)
    if digits.startswith("123456789"):
        return True
    return amount > _SUSPECT_FROM and any(digits.count(digit) > 6 for digit in "123456789")


@_rule(
    "montant-min",
    ERROR,
    "montant (concessions: valeurGlobale) is at least 1 euro.",
    f"{STATE}; in 2022 also the schema",
)
def _montant_min(contract: Contract) -> Found:
    if contract.amount < MIN_AMOUNT:
        yield contract.amount_field, f"{quote(contract.amount)} is below {MIN_AMOUNT}"


@_rule(
    "montant-max",
    ERROR,
    "montant is at most 3,000,000,000 euros (concessions: valeurGlobale, 15,000,000,000).",
    STATE,
)
def _montant_max(contract: Contract) -> Found:
    limit = MAX_AMOUNT[contract.type]
    if contract.amount > limit:
        yield contract.amount_field, f"{quote(contract.amount)} is above {limit}"


@_rule(
    "montant-suspect",
    ERROR,
    "An amount above 100,000,000 does not repeat one digit but 0 more than six times, and none "
    "starts with 123456789.",
    f"{STATE}; its code forgets the digit 6",
)
def _montant_suspect(contract: Contract) -> Found:
    amount = contract.amount
    if MIN_AMOUNT <= amount <= MAX_AMOUNT[contract.type] and _is_made_up(amount):
        yield contract.amount_field, f"{quote(amount)} looks made up"


@_rule(
    "montant-other",
    WARNING,
    "The amounts of modifications and acts are within the same limits and not made up.",
    f"{OURS}, after the State's limits",
    about="entries",
)
def _montant_other(contract: Contract) -> Found:
    limit = MAX_AMOUNT[contract.type]
    for path, fields in contract.entries:
        amount = fields.get(contract.amount_field)
        if amount is None:
            continue
        path = f"{path}.{contract.amount_field}"
        if amount < MIN_AMOUNT:
            yield path, f"{quote(amount)} is below {MIN_AMOUNT}"
        elif amount > limit:
            yield path, f"{quote(amount)} is above {limit}"
        elif _is_made_up(amount):
            yield path, f"{quote(amount)} looks made up"


@_rule(
    "duree",
    ERROR,
    "dureeMois is 1 to 180 (concessions: 1 to 360).",
    STATE,
)
def _duree(contract: Contract) -> Found:
    if not 1 <= contract.duration <= MAX_MONTHS[contract.type]:
        yield (
            "dureeMois",
            f"{quote(contract.duration)} is not 1 to {MAX_MONTHS[contract.type]} months",
        )


@_rule(
    "duree-other",
    WARNING,
    "The durations of modifications and acts are 1 to 180 months (concessions: 1 to 360).",
    f"{OURS}, after the State's limits",
    about="entries",
)
def _duree_other(contract: Contract) -> Found:
    limit = MAX_MONTHS[contract.type]
    for path, fields in contract.entries:
        months = fields.get("dureeMois")
        if months is not None and not 1 <= months <= limit:
            yield f"{path}.dureeMois", f"{quote(months)} is not 1 to {limit} months"


# --------------------------------------------------------------------- objet, CPV, place


@_rule(
    "objet",
    ERROR,
    "objet has at least 5 characters, unless codeCPV is given with its check digit.",
    STATE,
    types=(MP,),
)
def _objet(contract: Contract) -> Found:
    text = contract.record["objet"]
    if len(text) < 5 and len(contract.record["codeCPV"]) < 10:
        yield "objet", f"{quote(text)} has {len(text)} characters, fewer than 5"


#: The first two digits of the CPV of 2008, regulation (EC) No 213/2008.
_CPV_DIVISION = re.compile(
    "0[39]|1[45689]|2[24]|3[0-5789]|4[1-58]|5[015]|6[03-6]|7[0-35679]|8[05]|9[028]"
)


@_rule(
    "cpv-division",
    WARNING,
    "codeCPV is of one of the 45 divisions of the CPV of 2008.",
    f"{TAGGED}, or replaced by a more general code",
    types=(MP,),
)
def _cpv_division(contract: Contract) -> Found:
    code = contract.record["codeCPV"]
    if not _CPV_DIVISION.match(code):
        yield "codeCPV", f"{quote(code)} is of no division of the CPV of 2008"


#: By type of code: its form, from the geographic codes of INSEE, and the words for it.
_PLACES = {
    "Code postal": (r"[0-9]{5}", "5 digits"),
    "Code commune": (r"[0-9]{5}|2[AB][0-9]{3}", "5 digits, or 2A or 2B and 3 digits"),
    "Code arrondissement": (
        r"(?:[0-9]{2}|2[AB])[0-9]|97[0-9]{2}|751[0-9]{2}|132[0-9]{2}|6938[0-9]",
        "a département and one digit, or an arrondissement of Paris, Lyon or Marseille",
    ),
    "Code canton": (r"(?:[0-9]{2}|2[AB])[0-9]{2}|97[0-9]{3}", "a département and two digits"),
    "Code département": (
        r"0[1-9]|[1-8][0-9]|9[0-5]|2[AB]|69[DM]|97[1-8]|98[46-9]",
        "01 to 95, 2A, 2B, or three digits overseas",
    ),
    "Code région": (r"[0-9]{2}", "2 digits"),
    "Code pays": (r"99[0-9]{3}|[A-Z]{2,3}", "99 and 3 digits, or 2 or 3 capitals"),
}
_PLACE_PATTERNS = {kind: re.compile(pattern) for kind, (pattern, _) in _PLACES.items()}


@_rule(
    "lieu-code",
    WARNING,
    "lieuExecution.code has the form of its typeCode, such as 5 digits for a Code postal.",
    f"{OURS}, after the codes of INSEE",
    applies=((MP, R2019), (MP, R2022), (CC, R2019)),
)
def _lieu_code(contract: Contract) -> Found:
    place = contract.record["lieuExecution"]
    code, kind = place["code"], place["typeCode"]
    if code.strip() and not _PLACE_PATTERNS[kind].fullmatch(code):
        yield "lieuExecution.code", f"{quote(code)} is no {kind}: {_PLACES[kind][1]}"


# ---------------------------------------------------------- fields that go with each other


def _considerations(contract: Contract) -> Iterator[tuple[str, str]]:
    for holder, name in (
        ("considerationsSociales", "considerationSociale"),
        ("considerationsEnvironnementales", "considerationEnvironnementale"),
    ):
        labels = contract.record[holder][name]
        if len(labels) > 1:
            for label in labels:
                if label.startswith("Pas de considération"):
                    yield f"{holder}.{name}", f"{quote(label)} stands beside another value"


@_rule(
    "considerations",
    ERROR,
    "Pas de considération sociale (environnementale) stands alone.",
    STATE,
    types=(MP,),
    regimes=(R2022,),
)
def _considerations_mp(contract: Contract) -> Found:
    return _considerations(contract)


@_rule(
    "considerations-concession",
    WARNING,
    "In a concession too, Pas de considération sociale (environnementale) stands alone.",
    OURS,
    types=(CC,),
    regimes=(R2022,),
)
def _considerations_cc(contract: Contract) -> Found:
    return _considerations(contract)


#: CPV codes of food, vehicles, health and clothing: origins are required (arrêté, annex).
ORIGIN_RANGES = (
    (15100000, 15982200),
    (34100000, 34144910),
    (34510000, 34522700),
    (34600000, 34622500),
    (34710000, 34722200),
    (33100000, 33198200),
    (33600000, 33698300),
    (18100000, 18453000),
    (18800000, 18843000),
)


@_rule(
    "origine-order",
    WARNING,
    "origineFrance is at most origineUE.",
    FORMAT,
    types=(MP,),
    regimes=(R2022,),
)
def _origine_order(contract: Contract) -> Found:
    france, union = contract.record.get("origineFrance"), contract.record.get("origineUE")
    if france is not None and union is not None and france > union:
        yield "origineFrance", f"{quote(france)} is above origineUE, {quote(union)}"


@_rule(
    "origine-missing",
    WARNING,
    "origineUE and origineFrance are given for food, vehicles, health products and clothing "
    "(nine ranges of CPV codes).",
    f"{TAGGED}; annex of the arrêté",
    types=(MP,),
    regimes=(R2022,),
)
def _origine_missing(contract: Contract) -> Found:
    record = contract.record
    if "origineUE" in record and "origineFrance" in record:
        return
    code = int(record["codeCPV"][:8])
    if any(first <= code <= last for first, last in ORIGIN_RANGES):
        for name in ("origineUE", "origineFrance"):
            if name not in record:
                yield name, f"is missing, though codeCPV is {quote(record['codeCPV'])}"


@_rule(
    "taux-avance-zero",
    WARNING,
    "tauxAvance is above 0 if attributionAvance is true (the format takes 0 for an unknown rate).",
    f"{TAGGED}, against the {FORMAT}",
    types=(MP,),
    regimes=(R2022,),
)
def _taux_avance_zero(contract: Contract) -> Found:
    rate = contract.record.get("tauxAvance")
    if rate == 0 and contract.record["attributionAvance"]:
        yield "tauxAvance", "is 0, though attributionAvance is true: the rate is unknown"


@_rule(
    "taux-avance-alone",
    WARNING,
    "tauxAvance is absent or 0 if attributionAvance is false.",
    OURS,
    types=(MP,),
    regimes=(R2022,),
)
def _taux_avance_alone(contract: Contract) -> Found:
    rate = contract.record.get("tauxAvance")
    if rate and not contract.record["attributionAvance"]:
        yield "tauxAvance", f"is {quote(rate)}, though attributionAvance is false"


# ---------------------------------------------------------- modifications, sous-traitance


def _ids(items: list[Item], what: str) -> Iterator[tuple[str, str]]:
    seen: set[int] = set()
    highest = 0
    for path, fields in items:
        id = fields["id"]
        if id in seen:
            yield f"{path}.id", f"{quote(id)} is already the id of another {what}"
        elif id < highest:
            yield f"{path}.id", f"{quote(id)} comes after {quote(highest)}: ids must increase"
        seen.add(id)
        highest = max(highest, id)


@_rule(
    "modification-id",
    WARNING,
    "The ids of modifications are unique and increase.",
    FORMAT,
    regimes=(R2022,),
    about="modifications",
)
def _modification_id(contract: Contract) -> Found:
    return _ids(contract.modifications, "modification")


@_rule(
    "acte-id",
    WARNING,
    "The ids of acts of sous-traitance are unique and increase.",
    FORMAT,
    types=(MP,),
    regimes=(R2022,),
    about="acts",
)
def _acte_id(contract: Contract) -> Found:
    return _ids(contract.acts, "act")


@_rule(
    "acte-undeclared",
    WARNING,
    "sousTraitanceDeclaree is true if there are acts of sous-traitance.",
    f"{OURS}; the {FORMAT} speaks of the day of notification only",
    types=(MP,),
    regimes=(R2022,),
    about="acts",
)
def _acte_undeclared(contract: Contract) -> Found:
    if not contract.record["sousTraitanceDeclaree"]:
        yield "sousTraitanceDeclaree", f"is false, though acts are given: {len(contract.acts)}"


@_rule(
    "acte-unknown",
    WARNING,
    "A modification of an act names an act of the contract.",
    FORMAT,
    types=(MP,),
    regimes=(R2022,),
    about="act_changes",
)
def _acte_unknown(contract: Contract) -> Found:
    known = {fields["id"] for _, fields in contract.acts}
    for path, fields in contract.act_changes:
        if fields["id"] not in known:
            yield f"{path}.id", f"{quote(fields['id'])} is the id of no act of this contract"


@_rule(
    "acte-excess",
    WARNING,
    "No act of sous-traitance, first or modified, is above the contract in amount or duration "
    "(the highest ever given), nor are all acts together in amount.",
    OURS,
    types=(MP,),
    regimes=(R2022,),
    about="acts",
)
def _acte_excess(contract: Contract) -> Found:
    excess = False
    for name, limit in (("montant", contract.amount), ("dureeMois", contract.duration)):
        limit = max([limit, *(fields.get(name, limit) for _, fields in contract.modifications)])
        amounts: dict[int, float] = {}
        for path, fields in (*contract.acts, *contract.act_changes):
            value = fields.get(name)
            if value is None:
                continue
            amounts[fields["id"]] = value
            if value > limit:
                excess = True
                yield f"{path}.{name}", f"{quote(value)} is above the contract's, {quote(limit)}"
        # Beyond the State's limit an amount may be too large to be added up.
        if name == "montant" and not excess and limit <= MAX_AMOUNT[MP]:
            total = round(math.fsum(amounts.values()), 2)
            if total > limit:
                yield (
                    "actesSousTraitance",
                    f"add up to {quote(total)}, above the contract's, {quote(limit)}",
                )


# --------------------------------------------------------------------------------- texts


@_rule(
    "text-blank",
    WARNING,
    "No required text is blank: objet, place, names, titles, identifiers of other parties.",
    f"{TAGGED} (objet, place)",
)
def _text_blank(contract: Contract) -> Found:
    for path, text in contract.texts:
        if path != "id" and not text.strip():
            yield path, "is blank"
    for path, _, id, judged in contract.parties:
        if not judged and not id.strip():
            yield path, "is blank"


@_rule(
    "text-replacement",
    WARNING,
    "No text has the character U+FFFD, which stands where a conversion lost a letter.",
    OURS,
)
def _text_replacement(contract: Contract) -> Found:
    for path, text in contract.texts:
        if "\ufffd" in text:
            yield path, f"{quote(text)} has lost characters (U+FFFD)"


_HTML = re.compile(
    r"</?[A-Za-z][^<>]*>|<!--|&(?:[A-Za-z][A-Za-z0-9]{1,31}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});"
)


@_rule(
    "text-html",
    WARNING,
    "No text has HTML tags or entities left in it.",
    OURS,
)
def _text_html(contract: Contract) -> Found:
    for path, text in contract.texts:
        if ("<" in text or "&" in text) and (match := _HTML.search(text)):
            yield path, f"has HTML left in it: {quote(match[0])}"


# --------------------------------------------------------------------------------- tests

TEST_AMOUNT = 123456.78


@_rule(
    "test-record",
    ERROR,
    "The record is not a test: no 123456789 in its id, no amount of exactly 123456.78, no "
    "source AIFE_test.",
    f"{STATE} (the source); {OURS} (the others, seen on AIFE's tests)",
)
def _test_record(contract: Contract) -> Found:
    id = contract.record["id"]
    if "123456789" in id:
        yield "id", f"{quote(id)} is the id of a test"
    if contract.amount == TEST_AMOUNT:
        yield contract.amount_field, f"{quote(contract.amount)} is the amount of a test"
    if contract.record.get("source") == "AIFE_test":
        yield "source", "'AIFE_test' is the source of tests"


# ------------------------------------------------------------------------ the public table

#: Every rule, in the order in which they are checked and documented.
RULES: tuple[Rule, ...] = tuple(_rules)


def severities_of(overrides: Mapping[str, str] | None = None) -> dict[str, Severity]:
    """The severity of every rule by its id: the defaults, changed by ``overrides``.

    ``overrides`` gives ``error``, ``warning`` or ``off`` by rule id. Raises ArgumentError,
    in one line, for an id or a value that does not exist.
    """
    table = {rule.id: rule.severity for rule in RULES}
    for id, value in (overrides or {}).items():
        if id not in table:
            raise ArgumentError(f"unknown rule {quote(id)}; the rules are: {', '.join(table)}")
        if value not in list(Severity):
            raise ArgumentError(
                f"bad severity {quote(value)} of rule {id}; it is one of: {', '.join(Severity)}"
            )
        table[id] = Severity(value)
    return table


@lru_cache(maxsize=64)
def _plan(
    type: ContractType, regime: Regime, overrides: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, Callable[[Contract], Found], str, bool], ...]:
    """The rules to check on this type and regime: ``id``, ``find``, ``about``, whether each
    rejects."""
    severities = severities_of(dict(overrides))
    return tuple(
        (rule.id, rule.find, rule.about, severities[rule.id] is ERROR)
        for rule in RULES
        if (type, regime) in rule.applies and severities[rule.id] is not Severity.OFF
    )


def check(
    record: dict[str, Any],
    type: ContractType,
    regime: Regime,
    *,
    day: date,
    severities: Mapping[str, str] | None = None,
) -> Verdict:
    """What the rules say of a record that is valid under its schema.

    Args:
        record: the DECP record. It is not changed.
        type: its type of contract.
        regime: its regime.
        day: the day of the check, after which a date is in the future.
        severities: ``error``, ``warning`` or ``off`` by rule id, where it is not to be
            the default. Raises ArgumentError as :func:`severities_of` does.
    """
    overrides = ()
    if severities:
        overrides = tuple((str(id), str(value)) for id, value in severities.items())
    contract = Contract(record, type, regime, day)
    parts = vars(contract)
    errors: list[Problem] = []
    warnings: list[Problem] = []
    for rule, find, about, rejects in _plan(type, regime, overrides):
        if about and not parts[about]:
            continue
        for path, message in find(contract):
            (errors if rejects else warnings).append(Problem(path, rule, message))
    return Verdict(tuple(errors), tuple(warnings))


def rules_table() -> str:
    """The table of rules as Markdown, for docs/reference.md; it ends with a line feed."""
    lines = [
        "| rule | default | contracts | what must hold | source |",
        "| --- | --- | --- | --- | --- |",
    ]
    for rule in RULES:
        cells = (
            f"`{rule.id}`",
            rule.severity.value,
            _scope(rule.applies),
            rule.sentence,
            rule.source,
        )
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _scope(applies: tuple[tuple[ContractType, Regime], ...]) -> str:
    """The types and regimes of a rule, in few words."""
    if len(applies) == len(ContractType) * len(Regime):
        return "all"
    regimes = {type: [r for t, r in applies if t is type] for type in ContractType}
    if len({tuple(found) for found in regimes.values()}) == 1:
        return " ".join(regimes[MP])
    return ", ".join(
        type.value if len(found) == len(Regime) else f"{type.value} {' '.join(found)}"
        for type, found in regimes.items()
        if found
    )


# ------------------------------------------------------------------------------ duplicates


_as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def duplicate_key(record: dict[str, Any], type: ContractType, regime: Regime) -> str | None:
    """The State's key: two records that have the same one are the same contract.

    For a marché: id, buyer, first titulaire by identifier, amount cut to whole euros, date
    of notification. For a concession: id, buyer, date of start, first concessionnaire by
    identifier, valeurGlobale. The key is a JSON list that starts with the type. None if the
    record has no such key, because its buyer or its holders are no objects with an
    identifier. Source: decp-arr2022, which keeps the record published last.

    ``record`` is valid under its schema, as for :func:`check`.
    """
    buyer = record[BUYER_FIELD[type]]
    name, wrapper = _HOLDERS[type]
    holders = [entry for entry in record.get(name, ()) if isinstance(entry, dict)]
    if not isinstance(buyer, dict) or not holders:
        return None
    holder = min((entry[wrapper] if regime is R2022 else entry)["id"] for entry in holders)
    if type is MP:
        when, amount = record["dateNotification"], int(record["montant"])
        parts = [record["id"], buyer["id"], holder, amount, _day_of(when, regime) or when]
    else:
        when, amount = record["dateDebutExecution"], record["valeurGlobale"]
        value = int(amount) if amount == int(amount) else float(amount)
        parts = [record["id"], buyer["id"], _day_of(when, regime) or when, holder, value]
    return _as_json([type.value, *parts])
