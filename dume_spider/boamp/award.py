"""What an award is: its values, what they give of a DECP record, and what they do not.

Nothing is put in an award that the notice does not state. What is stated in a way that can
be read in two ways is left out and told in ``notes``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from stdnum.eu import vat
from stdnum.fr import siren, siret

from dume_spider.boamp.tree import Found, Node, found
from dume_spider.decp.regime import BUYER_FIELD, ContractType, Regime
from dume_spider.decp.repair import calendar_day, number_of
from dume_spider.decp.schema import record_schema
from dume_spider.decp.verdict import Problem, quote

#: Decisions are of the BOAMP's electronic age: earlier dates stand where there is none
#: (eForms fills ``2000-01-01``).
_YEARS = range(2005, 2100)

#: The longest ``objet`` of a DECP record.
_LONGEST_OBJET = 1000

#: France and those of its territories whose organisations have a SIRET (ISO 3166, both ways).
_FRANCE = {"FRANCE", "FRA", "FR", "GLP", "GP", "MTQ", "MQ", "GUF", "GF", "REU", "RE"} | {
    "MYT",
    "YT",
    "SPM",
    "PM",
    "BLM",
    "BL",
    "MAF",
    "MF",
}
_POSTCODE = re.compile(r"[0-9]{5}")
_DEPARTMENT = re.compile(r"[0-9]{1,3}|2[AB]")
_CPV = re.compile(r"[0-9]{8}(-[0-9])?")
_NUTS = re.compile(r"[A-Z]{2}[0-9A-Z]{1,3}")
_VAT = re.compile(r"[A-Z]{2}[0-9A-Z]{2,13}")
_BETWEEN_DIGITS = re.compile(r"[\s.\-]")

#: The labels of ``procedure`` by the codes of eForms and by the words of the BOAMP. Open and
#: restricted national procedures (``OUVERT``, ``RESTREINT``) may be adapted ones: only those
#: of a European notice are certain, see :func:`_procedure`.
_PROCEDURES = {
    "open": "Appel d'offres ouvert",
    "restricted": "Appel d'offres restreint",
    "neg-w-call": "Procédure avec négociation",
    "neg-wo-call": "Marché passé sans publicité ni mise en concurrence préalable",
    "comp-dial": "Dialogue compétitif",
    "PROCEDURE_ADAPTE": "Procédure adaptée",
    "DIALOGUE_COMPETITIF": "Dialogue compétitif",
}
_EUROPEAN_PROCEDURES = {
    "OUVERT": "Appel d'offres ouvert",
    "RESTREINT": "Appel d'offres restreint",
}

_TECHNIQUES = {
    "fa-wo-rc": "Accord-cadre",
    "fa-w-rc": "Accord-cadre",
    "fa-mix": "Accord-cadre",
    "dps-list": "Système d'acquisition dynamique",
    "dps-nlist": "Système d'acquisition dynamique",
    "true": "Enchère électronique",
}

#: Months of a unit of duration; weeks and days are no whole months.
_MONTHS = {"MONTH": 1, "YEAR": 12}

#: ``type_avis`` of concessions: calls, awards, intentions.
_CONCESSION_NOTICES = {"2", "8", "9"}
#: Subtypes of eForms for concessions: calls, ex ante notices, awards, modifications
#: (regulation (EU) 2019/1780, annex).
_CONCESSION_SUBTYPES = {"14", "19", "28", "32", "35", "40"}


def is_concession(notice: dict[str, Any], subtype: str | None = None) -> bool:
    """Whether a notice is about concessions: by family, kind of notice, or eForms subtype."""
    return (
        notice["famille"] == "DSP"
        or not _CONCESSION_NOTICES.isdisjoint(notice["type_avis"] or ())
        or subtype in _CONCESSION_SUBTYPES
    )


@dataclass(slots=True)
class Award:
    """One award while it is read: a winning tender of a lot, or a lot without one.

    ``status`` is ``awarded``, ``not-awarded``, ``pending`` (not decided yet) or ``unclear``
    (who won what cannot be told for certain); :meth:`as_dict` makes of ``awarded`` what the
    notice makes of it. The other attributes are the keys of :meth:`as_dict`.
    """

    status: str
    concession: bool
    lot: Found | None = None
    title: Found | None = None
    reference: Found | None = None
    buyers: list[dict[str, Any]] = field(default_factory=list)
    winners: list[dict[str, Any]] = field(default_factory=list)
    grouping: str | None = None
    amounts: list[dict[str, Any]] = field(default_factory=list)
    offers: Found | None = None
    dates: list[dict[str, Any]] = field(default_factory=list)
    cpv: list[dict[str, Any]] = field(default_factory=list)
    nuts: list[Found] = field(default_factory=list)
    places: list[dict[str, Any]] = field(default_factory=list)
    duration: dict[str, Any] | None = None
    renewable: Found | None = None
    subcontracting: Found | None = None
    procedure: Found | None = None
    techniques: list[Found] = field(default_factory=list)
    text: Found | None = None
    notes: list[Problem] = field(default_factory=list)

    # ------------------------------------------------------------------ adding values

    def note(self, path: str, rule: str, message: str) -> None:
        """Tell what was left out, and why."""
        problem = Problem(path, rule, message)
        if problem not in self.notes:
            self.notes.append(problem)

    def unclear(self, path: str, rule: str, message: str) -> None:
        """Tell why it is not certain who won what."""
        self.note(path, rule, message)
        if self.status == "awarded":
            self.status = "unclear"

    def add_amount(
        self, node: Node, kind: str, *, currency: str | None, tax: str | None = None
    ) -> None:
        """Add an amount; ``kind``: ``contract``, ``minimum``, ``maximum``, ``estimate``."""
        if (text := node.text) is None:
            return
        number = number_of(text, currency=True)
        if number is None:
            self.note(node.path, "amount", f"{quote(text)} is not an amount for certain")
            return
        self.amounts.append(
            {"kind": kind, "value": number, "currency": currency, "tax": tax, "path": node.path}
        )

    def add_date(self, node: Node, kind: str) -> None:
        """Add a date; ``kind``: ``decision``, ``conclusion``, ``notification``."""
        if (text := node.text) is None:
            return
        day = calendar_day(text)
        if day is None:
            self.note(node.path, "date", f"{quote(text)} is not a date for certain")
        elif day.year not in _YEARS:
            self.note(node.path, "date-placeholder", f"{quote(text)} stands for no date")
        else:
            self.dates.append({"kind": kind, **found(day.isoformat(), node.path)})

    def set_offers(self, nodes: Iterable[Node]) -> None:
        """Set the number of offers received, if all that state it agree."""
        told = [(node, text) for node in nodes if (text := node.text) is not None]
        if not told:
            return
        node, text = told[0]
        if len({text for _, text in told}) > 1:
            self.note(node.path, "offers", "the numbers of offers differ")
        elif text.isascii() and text.isdigit() and len(text) < 10:
            self.offers = found(int(text), node.path)
        else:
            self.note(node.path, "offers", f"{quote(text)} is not a number of offers")

    def add_cpv(self, nodes: Iterable[Node], kind: str) -> None:
        """Add codes of the CPV; ``kind``: ``main``, ``additional``."""
        for node in nodes:
            if (text := node.text) is None:
                continue
            if _CPV.fullmatch(text):
                self.cpv.append({"kind": kind, **found(text, node.path)})
            else:
                self.note(node.path, "cpv", f"{quote(text)} is not a code of the CPV")

    def add_nuts(self, nodes: Iterable[Node]) -> None:
        """Add codes of the NUTS (places of execution)."""
        for node in nodes:
            if (text := node.text) is None:
                continue
            if _NUTS.fullmatch(text):
                self.nuts.append(found(text, node.path))
            else:
                self.note(node.path, "nuts", f"{quote(text)} is not a code of the NUTS")

    def add_postcode(self, node: Node) -> None:
        """Add the French postal code of a place of execution."""
        if (text := node.text) is not None and _POSTCODE.fullmatch(text):
            self.places.append({"kind": "postcode", **found(text, node.path)})

    def set_duration(self, node: Node, unit: str | None) -> None:
        """Set the duration, without renewals; ``unit``: DAY, WEEK, MONTH, YEAR."""
        if (text := node.text) is None:
            return
        number = number_of(text, currency=False)
        if number is None or unit not in ("DAY", "WEEK", "MONTH", "YEAR"):
            self.note(node.path, "duration", f"{quote(text)} {unit or ''} is not a duration")
        else:
            self.duration = {"value": number, "unit": unit, "path": node.path}

    # ------------------------------------------------------------------ the result

    def as_dict(self, notice: dict[str, Any]) -> dict[str, Any]:
        """The award as JSON, with what it gives of a DECP record.

        * ``status``: also ``intended`` (notice of an intention), ``modified`` (as the contract
          is after a modification), ``cancelled`` (the notice cancels it);
        * ``contract_type``: ``MP`` or ``CC``, which ``decp`` and ``missing`` are about;
        * ``lot`` (its number or identifier), ``title``, ``reference`` (the contract's, as
          the buyer calls it), ``offers``, ``subcontracting``, ``renewable``, ``procedure``
          and ``techniques`` (the notice's own codes), ``text`` (the passage that the award
          was read from, where it is prose): values with their ``path``;
        * ``buyers``, ``winners``: ``name`` and ``identifiers`` (``type``: ``SIRET``,
          ``SIREN``, ``TVA``, ``other``); ``grouping``: whether the winners are one
          (``single``), a ``group``, or one cannot tell (``unknown``);
        * ``amounts``: only those of ``kind`` ``contract`` are the contract's; ``tax`` is null
          where the notice does not say whether it is in;
        * ``dates``, ``cpv``, ``nuts``, ``places``, ``duration`` (without renewals);
        * ``notes``: what was left out (``path``, ``rule``, ``message``);
        * ``candidates``: values that are like fields of a DECP record but not the same:
          ``id``, ``dateNotification`` or ``dateSignature``;
        * ``decp``: the fields of a DECP record (2022) that the notice gives;
          ``missing``: the required ones that it does not give. Without a contract both are
          empty.
        """
        self._add_department(notice)
        type = ContractType.CONCESSION if self.concession else ContractType.MARCHE
        status = self._status(notice)
        decp: dict[str, Any] = {}
        candidates: dict[str, Found] = {}
        missing: list[str] = []
        if status not in ("not-awarded", "pending", "cancelled"):
            decp = self._decp(type, status == "awarded", notice)
            candidates = self._candidates()
            missing = [
                name for name in record_schema(type, Regime.R2022)["required"] if name not in decp
            ]
        return {
            "status": status,
            "contract_type": type.value,
            "lot": self.lot,
            "title": self.title,
            "reference": self.reference,
            "buyers": self.buyers,
            "winners": self.winners,
            "grouping": self.grouping,
            "amounts": self.amounts,
            "offers": self.offers,
            "dates": self.dates,
            "cpv": self.cpv,
            "nuts": self.nuts,
            "places": self.places,
            "duration": self.duration,
            "renewable": self.renewable,
            "subcontracting": self.subcontracting,
            "procedure": self.procedure,
            "techniques": self.techniques,
            "text": self.text,
            "notes": [note.as_dict() for note in self.notes],
            "candidates": candidates,
            "decp": decp,
            "missing": missing,
        }

    def _status(self, notice: dict[str, Any]) -> str:
        if "ANNULATION" in (notice["nature"], notice["etat"]):
            return "cancelled"
        if self.status == "awarded" and notice["nature"] == "INTENTION_CONCLURE":
            return "intended"
        if self.status == "awarded" and notice["nature"] == "MODIFICATION":
            return "modified"
        return self.status

    def _add_department(self, notice: dict[str, Any]) -> None:
        code = notice["code_departement_prestation"]
        if code and _DEPARTMENT.fullmatch(code) and code != "99":
            path = "code_departement_prestation"
            self.places.append({"kind": "department", **found(code.zfill(2), path)})

    def _candidates(self) -> dict[str, Found]:
        candidates = {}
        if self.reference:
            candidates["id"] = self.reference
        for kind in ("conclusion", "decision"):
            if day := self._date(kind):
                name = "dateSignature" if self.concession else "dateNotification"
                candidates[name] = day
                break
        return candidates

    def _date(self, kind: str) -> Found | None:
        days = [date for date in self.dates if date["kind"] == kind]
        if len({date["value"] for date in days}) != 1:
            return None
        return found(days[0]["value"], days[0]["path"])

    def _decp(self, type: ContractType, certain: bool, notice: dict[str, Any]) -> dict[str, Any]:
        """The fields that hold exactly what the regulation wants in them."""
        fields: dict[str, Any] = {BUYER_FIELD[type]: self._buyer(), "objet": self._objet(notice)}
        fields["dureeMois"] = self._months()
        if type is ContractType.CONCESSION:
            if certain:
                fields["concessionnaires"] = self._holders("concessionnaire")
        else:
            codes = {code["value"] for code in self.cpv if code["kind"] == "main"}
            fields["codeCPV"] = codes.pop() if len(codes) == 1 else None
            fields["procedure"] = self._procedure(notice)
            fields["lieuExecution"] = self._place()
            labels = [_TECHNIQUES.get(code["value"]) for code in self.techniques]
            techniques = list(dict.fromkeys(label for label in labels if label))
            fields["techniques"] = {"technique": techniques} if techniques else None
            fields["offresRecues"] = (self.offers or {}).get("value") or None
            if certain:
                fields["titulaires"] = self._holders("titulaire")
                fields["montant"] = self._amount()
                fields["dateNotification"] = (self._date("notification") or {}).get("value")
                if self.grouping == "single":
                    fields["typeGroupementOperateurs"] = "Pas de groupement"
                if self.subcontracting:
                    fields["sousTraitanceDeclaree"] = self.subcontracting["value"]
        order = record_schema(type, Regime.R2022)["properties"]
        return {name: fields[name] for name in order if fields.get(name) is not None}

    def _buyer(self) -> dict[str, str] | None:
        id = _identifier_of(self.buyers[0], "SIRET") if len(self.buyers) == 1 else None
        return {"id": id} if id else None

    def _objet(self, notice: dict[str, Any]) -> str | None:
        text = self.title["value"] if self.title else notice["objet"]
        if text and len(text) > _LONGEST_OBJET:
            path = self.title["path"] if self.title else "objet"
            self.note(path, "objet-long", f"has {len(text)} characters, more than 1000")
            return None
        return text

    def _procedure(self, notice: dict[str, Any]) -> str | None:
        if self.procedure is None:
            return None
        code = self.procedure["value"].rstrip("/")
        if notice["famille"] == "JOUE" and code in _EUROPEAN_PROCEDURES:
            return _EUROPEAN_PROCEDURES[code]
        return _PROCEDURES.get(code)

    def _place(self) -> dict[str, str] | None:
        """The place if there is one alone; the more precise one if it is given twice."""
        for kind, label in (("postcode", "Code postal"), ("department", "Code département")):
            codes = {place["value"] for place in self.places if place["kind"] == kind}
            if len(codes) == 1 and len({nuts["value"] for nuts in self.nuts}) <= 1:
                return {"code": codes.pop(), "typeCode": label}
        return None

    def _months(self) -> int | None:
        """The months, which in the DECP include renewals: known only if there are none."""
        if self.duration is None or (self.renewable and self.renewable["value"]):
            return None
        months = self.duration["value"] * _MONTHS.get(self.duration["unit"], 0)
        return int(months) if months >= 1 and months == int(months) else None

    def _holders(self, wrapper: str) -> list[dict[str, Any]] | None:
        """All winners, each with an identifier of the regulation's types, or nothing."""
        holders = []
        for winner in self.winners:
            for type in ("SIRET", "TVA"):
                if id := _identifier_of(winner, type):
                    holders.append({wrapper: {"typeIdentifiant": type, "id": id}})
                    break
            else:
                return None
        return [holder for n, holder in enumerate(holders) if holder not in holders[:n]] or None

    def _amount(self) -> int | float | None:
        amounts = [a for a in self.amounts if a["kind"] == "contract" and a["tax"] != "included"]
        if len(amounts) != 1 or amounts[0]["currency"] != "EUR" or amounts[0]["value"] < 1:
            return None
        return amounts[0]["value"]


def _identifier_of(party: dict[str, Any], type: str) -> str | None:
    values = {id["value"] for id in party["identifiers"] if id["type"] == type}
    return values.pop() if len(values) == 1 else None


def party(
    name: Found | None,
    identifiers: Iterable[Node],
    *,
    country: str | None = None,
    postcode: str | None = None,
) -> dict[str, Any]:
    """A buyer or winner. Where neither country nor postcode is French, no number is a SIRET."""
    french = is_french(country, postcode)
    found_ids = [_identifier(node, french) for node in identifiers]
    return {"name": name, "identifiers": [id for id in found_ids if id]}


def is_french(country: str | None, postcode: str | None) -> bool:
    """Whether an address is in France: by its country, else by its postal code."""
    if country:
        return country.upper() in _FRANCE
    return postcode is not None and bool(_POSTCODE.fullmatch(postcode))


def _identifier(node: Node, french: bool) -> dict[str, str] | None:
    if (text := node.text) is None:
        return None
    compact = _BETWEEN_DIGITS.sub("", text).upper()
    if french and is_siret(compact):
        return {"type": "SIRET", **found(compact, node.path)}
    if french and len(compact) == 9 and siren.is_valid(compact) and compact.strip("0"):
        return {"type": "SIREN", **found(compact, node.path)}
    if _VAT.fullmatch(compact) and vat.is_valid(compact):
        return {"type": "TVA", **found(compact, node.path)}
    return {"type": "other", **found(text, node.path)}


def is_siret(text: str) -> bool:
    """Whether 14 digits are a SIRET by their check sum, La Poste's own rule included."""
    if not (text.isascii() and text.isdigit() and len(text) == 14 and text[:9].strip("0")):
        return False
    return siret.is_valid(text)
