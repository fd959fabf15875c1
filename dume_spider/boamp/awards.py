"""The awards that a notice states, lot by lot, each value with its place in the notice.

One reader per format of payload. The formats, what they hold and how they deceive is known
from real notices; see docs/decisions.md for what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dume_spider.boamp.award import Award, is_concession, is_french, party
from dume_spider.boamp.prose import Passage, passages
from dume_spider.boamp.tree import (
    EFORMS_EXTENSION,
    Found,
    Node,
    agreed,
    eforms_notices,
    found,
)
from dume_spider.decp.repair import number_of
from dume_spider.decp.verdict import quote

Notice = dict[str, Any]

#: Any French postcode, for parties that a French form gives without an address.
_FRENCH = "00000"


def awards_of(kind: str, payload: Node, notice: Notice) -> list[dict[str, Any]]:
    """The awards of a notice, in the order of the payload.

    Args:
        kind: the format of the payload; of ``unknown`` nothing is read.
        payload: the decoded payload, with its path in the notice.
        notice: the columns of the notice, typed.

    The unit is a winning tender of a lot, not the notice; a lot without a winner is told by
    its ``status``. Keys: :meth:`dume_spider.boamp.award.Award.as_dict`.
    """
    reader = _READERS.get(kind)
    return [award.as_dict(notice) for award in reader(payload, notice)] if reader else []


# ---------------------------------------------------------------------------- eForms

_RESULTS = {"selec-w": "awarded", "clos-nw": "not-awarded", "open-nw": "pending"}
#: Of these natures no result says who was chosen: the code (BT-142) is not allowed in their
#: subtypes (25 to 28, 38 to 40), and in 28 no result at all (rules of the eForms SDK 1.13).
_NO_RESULTS = {"INTENTION_CONCLURE", "MODIFICATION"}


def _eforms(payload: Node, notice: Notice) -> Iterator[Award]:
    for document in eforms_notices(payload):
        yield from _EForms(document, notice).awards()


class _EForms:
    """A notice of eForms, whose parts point to each other by identifiers."""

    def __init__(self, document: Node, notice: Notice):
        self._document = document
        self._notice = notice
        extensions = document.all(*EFORMS_EXTENSION)
        results = [node for extension in extensions for node in extension.all("efac:NoticeResult")]
        self._results = [node for result in results for node in result.all("efac:LotResult")]
        self._tenders = _index(results, "efac:LotTender")
        self._contracts = _index(results, "efac:SettledContract")
        #: Contracts by the tenders that they are of.
        self._signers: dict[str, list[str]] = {}
        for contract in self._contracts:
            for tender in self._tenders_of(contract):
                self._signers.setdefault(tender, []).append(contract)
        # Seen in both places.
        self._parties = _index([*results, *extensions], "efac:TenderingParty")
        self._lots = _index([document], "cac:ProcurementProjectLot")
        self._companies: dict[str, list[Node]] = {}
        for extension in extensions:
            for organisation in extension.all("efac:Organizations", "efac:Organization"):
                companies = organisation.all("efac:Company")
                # A reference may be to a department of the company, too.
                points = [*companies, *organisation.all("efac:TouchPoint")]
                for id in {
                    id for p in points for id in _texts(p.all("cac:PartyIdentification", "cbc:ID"))
                }:
                    self._companies.setdefault(id, []).extend(companies)
        subtype = agreed(
            node
            for extension in extensions
            for node in extension.all("efac:NoticeSubType", "cbc:SubTypeCode")
        )
        self._concession = is_concession(notice, subtype.text if subtype else None)
        ceilings = (number_of(text, currency=True) for text in _texts(_ceilings(document)))
        self._ceilings = {number for number in ceilings if number is not None}

    def awards(self) -> Iterator[Award]:
        for result in self._results:
            yield from self._of_result(result, _texts(result.all("efac:LotTender", "cbc:ID")))
        if not self._results:
            # A tender names its lot as a result does.
            for id, nodes in self._tenders.items():
                for tender in nodes:
                    yield from self._of_result(tender, [id])

    def _status(self, result: Node) -> str:
        code = agreed(result.all("cbc:TenderResultCode"))
        if code is None and self._notice["nature"] in _NO_RESULTS:
            return "awarded"
        if _is_withheld(result, "win-cho"):
            return "unclear"
        return _RESULTS.get((code.text if code else None) or "", "unclear")

    def _of_result(self, result: Node, ids: Iterable[str]) -> Iterator[Award]:
        """The winning tenders of one lot. Several tenders or contracts are never merged."""
        status = self._status(result)
        if status in ("not-awarded", "pending"):
            yield self._award(result, status)
            return
        tenders = list(dict.fromkeys(ids))
        contracts = list(dict.fromkeys(_texts(result.all("efac:SettledContract", "cbc:ID"))))
        signed = {tender: self._signed(tender, contracts) for tender in tenders}
        # A result may point to losing tenders too: those with a contract have won.
        winning = [tender for tender in tenders if signed[tender]] or tenders
        if not tenders:
            award = self._award(result, status)
            award.unclear(result.path, "tender-missing", "the result names no tender")
            yield award
        for tender in winning:
            award = self._award(result, status)
            if status == "unclear" and not _left_out(award, result, "win-cho"):
                award.note(result.path, "result-code", "the result does not say who was chosen")
            if len(winning) > 1 and not signed[tender]:
                award.unclear(
                    result.path, "tenders", "several tenders, and which one won is not said"
                )
            for other in tenders:
                if other not in winning:
                    message = f"the tender {quote(other)} has no contract"
                    award.note(result.path, "tender-losing", message)
            unsigned = not any(self._tenders_of(contract) for contract in contracts)
            own = signed[tender] or (contracts if len(tenders) == 1 and unsigned else [])
            if contracts and not own and len(tenders) == 1:
                award.note(result.path, "contracts", "its contracts are of other tenders")
            self._add_contract(award, result, own)
            self._add_tender(award, result, tender)
            yield award

    def _tenders_of(self, contract: str) -> set[str]:
        return {
            text
            for node in self._contracts.get(contract, ())
            for text in _texts(node.all("efac:LotTender", "cbc:ID"))
        }

    def _signed(self, tender: str, contracts: list[str]) -> list[str]:
        """The contracts of a tender: of those of the result, or of all if it names none."""
        signers = self._signers.get(tender, [])
        return [contract for contract in contracts if contract in signers] if contracts else signers

    def _award(self, result: Node, status: str) -> Award:
        """What is stated of the lot of a result."""
        award = Award(status, concession=self._concession)
        ids = result.all("efac:TenderLot", "cbc:ID")
        id = agreed(ids)
        scopes = [self._document]
        if id is None:
            award.note(result.path, "lot", "the result does not name one lot")
        else:
            award.lot = id.found()
            if lot := self._target(self._lots, id, award):
                scopes = [lot, self._document]
                award.title = _label(lot.all("cac:ProcurementProject", "cbc:Name"))
        award.buyers = [
            self._party(company)
            for node in self._document.all(
                "cac:ContractingParty", "cac:Party", "cac:PartyIdentification", "cbc:ID"
            )
            if (company := self._target(self._companies, node, award))
        ]
        self._add_project(award, scopes)
        award.set_offers(
            number
            for statistics in result.all("efac:ReceivedSubmissionsStatistics")
            if [*_texts(statistics.all("efbc:StatisticsCode"))] == ["tenders"]
            and not _left_out(award, statistics, "rec-sub-cou")
            for number in statistics.all("efbc:StatisticsNumeric")
        )
        for values in result.all("efac:FrameworkAgreementValues"):
            for kind, name, code in (
                ("maximum", "cbc:MaximumValueAmount", "max-val"),
                ("estimate", "efbc:ReestimatedValueAmount", "ree-val"),
            ):
                if _left_out(award, values, code):
                    continue
                for node in values.all(name):
                    award.add_amount(node, kind, currency=node.attribute("currencyID"))
        return award

    def _add_project(self, award: Award, scopes: list[Node]) -> None:
        """Codes, places, duration and procedure: of the lot, else of the notice."""

        def nearest(*names: str) -> list[Node]:
            return next((nodes for scope in scopes if (nodes := scope.all(*names))), [])

        project = "cac:ProcurementProject"
        code = "cbc:ItemClassificationCode"
        award.add_cpv(nearest(project, "cac:MainCommodityClassification", code), "main")
        award.add_cpv(nearest(project, "cac:AdditionalCommodityClassification", code), "additional")
        for place in nearest(project, "cac:RealizedLocation", "cac:Address"):
            award.add_nuts(place.all("cbc:CountrySubentityCode"))
            country = agreed(place.all("cac:Country", "cbc:IdentificationCode"))
            for node in place.all("cbc:PostalZone"):
                if is_french(country.text if country else None, node.text):
                    award.add_postcode(node)
        durations = nearest(project, "cac:PlannedPeriod", "cbc:DurationMeasure")
        if len(durations) == 1:
            award.set_duration(durations[0], durations[0].attribute("unitCode"))
        renewals = agreed(nearest(project, "cac:ContractExtension", "cbc:MaximumNumberNumeric"))
        if renewals and (number := renewals.text):
            award.renewable = found(number.strip("0.") != "", renewals.path)
        award.procedure = _found(
            agreed(self._document.all("cac:TenderingProcess", "cbc:ProcedureCode"))
        )
        for node in nearest(
            "cac:TenderingProcess", "cac:ContractingSystem", "cbc:ContractingSystemTypeCode"
        ):
            if (text := node.text) and text != "none":
                award.techniques.append(found(text, node.path))
        for node in nearest(
            "cac:TenderingProcess", "cac:AuctionTerms", "cbc:AuctionConstraintIndicator"
        ):
            if node.text == "true":
                award.techniques.append(found("true", node.path))

    def _add_contract(self, award: Award, result: Node, contracts: list[str]) -> None:
        if len(contracts) > 1:
            names = ", ".join(map(quote, contracts))
            award.unclear(result.path, "contracts", f"one tender has several contracts: {names}")
        if len(contracts) != 1:
            return
        contract = self._target(self._contracts, Node(contracts[0], result.path), award)
        if contract is None:
            return
        award.reference = _found(agreed(contract.all("efac:ContractReference", "cbc:ID")))
        # BT-1451 and BT-145. `cac:TenderResult.cbc:AwardDate` is always a dummy.
        for name, kind in (("cbc:AwardDate", "decision"), ("cbc:IssueDate", "conclusion")):
            for node in contract.all(name):
                award.add_date(node, kind)

    def _add_tender(self, award: Award, result: Node, id: str) -> None:
        tender = self._target(self._tenders, Node(id, result.path), award)
        if tender is None:
            award.unclear(result.path, "tender-missing", f"the tender {quote(id)} is not there")
            return
        lot = agreed(tender.all("efac:TenderLot", "cbc:ID"))
        if lot and award.lot and lot.text != award.lot["value"]:
            award.unclear(lot.path, "lot", f"the tender is for the lot {quote(lot.text)}")
        amounts = tender.all("cac:LegalMonetaryTotal", "cbc:PayableAmount")
        for node in [] if _left_out(award, tender, "win-ten-val") else amounts:
            framework = any(code["value"].startswith("fa-") for code in award.techniques)
            if framework and number_of(node.text or "", currency=True) in self._ceilings:
                award.note(node.path, "amount-ceiling", "is the ceiling of the framework agreement")
                kind = "maximum"
            else:
                kind = "contract"
            award.add_amount(node, kind, currency=node.attribute("currencyID"))
        terms = agreed(
            code
            for term in tender.all("efac:SubcontractingTerm")
            if not _left_out(award, term, "sub-con")
            for code in term.all("efbc:TermCode")
        )
        if terms and terms.text in ("yes", "no"):
            award.subcontracting = found(terms.text == "yes", terms.path)
        complete = True
        for reference in tender.all("efac:TenderingParty", "cbc:ID"):
            group = self._target(self._parties, reference, award)
            members = group.all("efac:Tenderer", "cbc:ID") if group else []
            companies = [self._target(self._companies, node, award) for node in members]
            complete = complete and bool(companies) and None not in companies
            award.winners += [self._party(company) for company in companies if company]
        if not award.winners:
            award.unclear(tender.path, "winner-missing", "the tender does not say whose it is")
        elif not complete:
            award.unclear(tender.path, "winner-missing", "not all of its companies are there")
        else:
            award.grouping = "single" if len(award.winners) == 1 else "group"

    def _target(self, index: dict[str, list[Node]], reference: Node, award: Award) -> Node | None:
        """What a reference points to, if that is one thing."""
        text = reference.text
        nodes = index.get(text or "", [])
        if len(nodes) == 1:
            return nodes[0]
        rule = "reference-ambiguous" if nodes else "reference-broken"
        count = len(nodes) or "nothing"
        award.note(reference.path, rule, f"{quote(text)} names {count}")
        return None

    @staticmethod
    def _party(company: Node) -> dict[str, Any]:
        country = agreed(company.all("cac:PostalAddress", "cac:Country", "cbc:IdentificationCode"))
        postcode = agreed(company.all("cac:PostalAddress", "cbc:PostalZone"))
        return party(
            _label(company.all("cac:PartyName", "cbc:Name")),
            company.all("cac:PartyLegalEntity", "cbc:CompanyID"),
            country=country.text if country else None,
            postcode=postcode.text if postcode else None,
        )


#: The ceilings of framework agreements: of a result, of a lot, of groups, of the notice.
_CEILINGS = {
    "cbc:MaximumValueAmount",
    "efbc:FrameworkMaximumAmount",
    "efbc:GroupFrameworkMaximumValueAmount",
    "efbc:OverallMaximumFrameworkContractsAmount",
}


def _is_withheld(node: Node, field: str) -> bool:
    """Whether a node says that a field of it is withheld (BT-195).

    What stands in its place is a mask, such as ``-1``.
    """
    return field in _texts(node.all("efac:FieldsPrivacy", "efbc:FieldIdentifierCode"))


def _left_out(award: Award, node: Node, field: str) -> bool:
    """Whether a field is withheld, which is then told."""
    if is_withheld := _is_withheld(node, field):
        award.note(node.path, "withheld", f"the field {quote(field)} is not published yet")
    return is_withheld


def _index(parents: Iterable[Node], name: str) -> dict[str, list[Node]]:
    """Nodes by the text of their ``cbc:ID``."""
    index: dict[str, list[Node]] = {}
    for parent in parents:
        for node in parent.all(name):
            for id in _texts(node.all("cbc:ID")):
                index.setdefault(id, []).append(node)
    return index


def _ceilings(node: Node) -> Iterator[Node]:
    """The ceilings anywhere under a node."""
    for name in node.names:
        for child in node.all(name):
            if name in _CEILINGS:
                yield child
            else:
                yield from _ceilings(child)


def _texts(nodes: Iterable[Node]) -> Iterator[str]:
    return (text for node in nodes if (text := node.text) is not None)


def _label(nodes: list[Node]) -> Found | None:
    """A name that may be given in several languages: the French one."""
    node = agreed(nodes) or agreed(n for n in nodes if n.attribute("languageID") == "FRA")
    return _found(node)


def _found(node: Node | None) -> Found | None:
    return node.found() if node else None


# ---------------------------------------------------------------------------- FNSimple


def _fnsimple(payload: Node, notice: Notice) -> Iterator[Award]:
    for root in payload.all("FNSimple"):
        buyers = [
            party(
                _found(agreed(buyer.all("nomOfficiel"))),
                buyer.all("codeIdentificationNational"),
                postcode=_FRENCH,
            )
            for buyer in root.all("organisme")
        ]
        for block in root.all("attribution"):
            texts = [node for node in block.all("attributionMarche") if node.text]
            if len(texts) != 1:
                award = _national_award(block, buyers, notice)
                award.status = "unclear"
                award.note(block.path, "prose", f"{len(texts) or 'no'} texts state the award")
                yield award
                continue
            own = {id["value"] for buyer in buyers for id in buyer["identifiers"]}
            titles = _texts(block.all("natureMarche", "intitule"))
            for passage in _passages(texts[0], notice, titles):
                award = _national_award(block, buyers, notice)
                _add_passage(award, passage, texts[0].path, own)
                yield award


def _passages(node: Node, notice: Notice, titles: Iterable[str] = ()) -> list[Passage]:
    about = " ".join([*titles, notice["objet"] or ""])
    return passages(node.lines or "", notice["titulaire"] or [], about)


def _national_award(block: Node, buyers: list[dict[str, Any]], notice: Notice) -> Award:
    """What national forms state of the contract beside its award."""
    award = Award("awarded", concession=is_concession(notice), buyers=list(buyers))
    award.title = _found(agreed(block.all("natureMarche", "intitule")))
    award.add_cpv(block.all("natureMarche", "codeCPV", "objetPrincipal", "classPrincipale"), "main")
    durations = block.all("natureMarche", "dureeMois")
    if len(durations) == 1:
        award.set_duration(durations[0], "MONTH")
    _add_column_procedure(award, notice)
    return award


def _add_column_procedure(award: Award, notice: Notice) -> None:
    if notice["type_procedure"]:
        award.procedure = found(notice["type_procedure"], "type_procedure")


def _add_passage(award: Award, passage: Passage, path: str, own: set[str]) -> None:
    """``own`` are the buyer's identifiers, which are no winner's."""

    def at(value: str) -> Node:
        return Node(value, path)

    award.text = found(passage.text, path)
    award.lot = found(passage.lot, path) if passage.lot else None
    if passage.title:
        award.title = found(passage.title, path)
    for rule, message in passage.notes:
        award.note(path, rule, message)
    if passage.mixed:
        award.status = "unclear"
        return
    if passage.offers:
        award.set_offers([at(passage.offers)])
    award.reference = found(passage.reference, path) if passage.reference else None
    if passage.subcontracting is not None:
        award.subcontracting = found(passage.subcontracting, path)
    for kind, day in passage.dates:
        award.add_date(at(day), kind)
    for kind, number, currency, tax in passage.amounts:
        award.add_amount(at(number), kind, currency=currency, tax=tax)
    sirets = [siret for siret in passage.sirets if siret not in own]
    if passage.failed:
        if passage.names or sirets or award.amounts:
            award.unclear(path, "prose-status", "the text states an award and that there is none")
        else:
            award.status = "not-awarded"
            return
    if not passage.names:
        award.unclear(path, "winner-missing", "the text does not say for certain who won")
    elif len(passage.names) == 1 and len(sirets) <= 1:
        name = found(passage.names[0], path)
        award.winners = [party(name, map(at, sirets), postcode=_FRENCH)]
        award.grouping = "unknown"
        if passage.group:
            award.unclear(path, "winners", "a group, and the text may not name all of it")
    else:
        if sirets:
            award.note(path, "identifiers", "whose number is whose cannot be told")
        award.winners = [party(found(name, path), ()) for name in passage.names]
        award.grouping = "unknown"
        if len(passage.names) > 1:
            award.unclear(path, "winners", "several names: a group, or several winners")


# ---------------------------------------------------------------------------- MAPA


def _mapa(payload: Node, notice: Notice) -> Iterator[Award]:
    for root in payload.all("MAPA"):
        for block in root.all("attribution"):
            yield from _structured(root, block, notice)


def _structured(root: Node, block: Node, notice: Notice) -> Iterator[Award]:
    """The awards of ``attribution.resultat``, which has one ``attribue`` per winner."""
    results = block.all("attribution", "resultat")
    given = [node for result in results for node in result.all("attribue")]
    offers = block.all("autresInformations", "nbOffresRecues")
    for node in given:
        award = _simple_award(root, notice)
        titulaires = node.all("titulaire")
        for titulaire in titulaires:
            if name := _titulaire(titulaire):
                award.winners.append(party(name, ()))
        award.grouping = "unknown" if award.winners else None
        if not award.winners:
            award.unclear(node.path, "winner-missing", "the award names nobody")
        elif len(award.winners) > 1:
            award.unclear(node.path, "winners", "several names: a group, or several winners")
        for day in block.all("autresInformations", "dateAttribution"):
            award.add_date(day, "decision")
        for amount in node.all("montant"):
            for value in amount.all("valeur") or [amount]:
                currency = amount.attribute("devise")
                award.add_amount(value, "contract", currency=currency)
        if len(given) == 1:
            award.set_offers(offers)
        elif offers:
            award.note(offers[0].path, "offers", "the number is that of several awards")
        yield award
    for result in results:
        if not result.all("attribue"):
            award = _simple_award(root, notice)
            award.status = "not-awarded" if _is_failure(result) else "unclear"
            if award.status == "unclear":
                award.note(result.path, "result", "the result names no award")
            else:
                award.set_offers(offers)
            yield award
    if not results:
        award = _simple_award(root, notice)
        award.status = "unclear"
        award.note(block.path, "result", "no result is stated")
        yield award


def _is_failure(result: Node) -> bool:
    """Whether all that a result says is that there is none."""
    names = [name.casefold() for name in result.names]
    return bool(names) and all("infruct" in name or "sanssuite" in name for name in names)


def _titulaire(node: Node) -> Found | None:
    """A winner's name: the text itself, or that of what kind of person it is."""
    if node.text is not None:
        return node.found()
    return _found(
        agreed(inner for name in ("PersonneMorale", "PersonnePhysique") for inner in node.all(name))
    )


def _simple_award(root: Node, notice: Notice) -> Award:
    award = Award("awarded", concession=is_concession(notice))
    award.buyers = [
        party(_found(agreed(buyer.all("acheteurPublic"))), ()) for buyer in root.all("organisme")
    ]
    _add_column_procedure(award, notice)
    return award


# ---------------------------------------------------------------------------- DSP


def _dsp(payload: Node, notice: Notice) -> Iterator[Award]:
    """Concessions. What their award states is known of the description alone.

    A result or a text is read where MAPA and FNSimple have theirs; without either, the
    winners are those of the index card.
    """
    for root in payload.all("DSP"):
        blocks = root.all("attribution")
        if not blocks and notice["nature"] == "ATTRIBUTION":
            blocks = root.all("initial")
        for block in blocks:
            if block.all("attribution", "resultat"):
                awards = list(_structured(root, block, notice))
            elif texts := [node for node in block.all("attributionMarche") if node.text]:
                awards = []
                for passage in _passages(texts[0], notice):
                    award = _simple_award(root, notice)
                    _add_passage(award, passage, texts[0].path, set())
                    awards.append(award)
            else:
                awards = [_listed(root, notice)]
            for award in awards:
                award.concession = True
                _add_description(award, block, root)
                yield award


def _listed(root: Node, notice: Notice) -> Award:
    """An award of which only the winners are known, from the column ``titulaire``."""
    award = _simple_award(root, notice)
    names = notice["titulaire"] or []
    award.winners = [party(found(name, f"titulaire.{n}"), ()) for n, name in enumerate(names)]
    award.grouping = "unknown" if names else None
    if len(names) != 1:
        award.unclear("titulaire", "winners", f"{len(names) or 'no'} winners are listed")
    return award


def _add_description(award: Award, block: Node, root: Node) -> None:
    scopes = [block, *root.all("initial")]
    for scope in scopes:
        descriptions = scope.all("descriptionMarche")
        if not descriptions:
            continue
        for description in descriptions:
            if award.title is None:
                award.title = _found(agreed(description.all("titreMarche")))
            award.add_cpv(description.all("CPV", "objetPrincipal", "classPrincipale"), "main")
            award.add_nuts(description.all("lot", "lieuCodeNUTS", "codeNUTS"))
            for node in description.all("lot", "estimationValeur"):
                for value in node.all("valeur"):
                    award.add_amount(value, "estimate", currency=node.attribute("devise"))
        return


# ---------------------------------------------------------------------------- v230


#: What says that nothing was awarded: of all lots, or of one.
_NO_AWARD = ("TOTALEMENT_INFRUCTUEUX", "SANS_SUITE", "INFRUCTUEUX")


def _v230(payload: Node, notice: Notice) -> Iterator[Award]:
    for block in payload.all("ATTRIBUTION"):
        # A block need not have any decision; it then speaks of the whole.
        for decision in block.all("DECISION") or [block]:
            yield _decision(payload, block, decision, notice)


def _decision(payload: Node, block: Node, decision: Node, notice: Notice) -> Award:
    """The award of one decision.

    In the XML, TITULAIRE and RENSEIGNEMENT alternate, for the members of a group and for
    several winners alike; as JSON they are two lists. Whose RENSEIGNEMENT is whose can only be
    told if there is one, or if all say the same.
    """
    holders = decision.all("TITULAIRE")
    details = decision.all("RENSEIGNEMENT")
    failed = any(node.has(name) for node in (block, decision) for name in _NO_AWARD)
    if failed and not holders and not decision.has("ATTRIBUE"):
        return _v230_award(payload, block, decision, notice, "not-awarded")
    award = _v230_award(payload, block, decision, notice, "awarded")
    award.winners = [
        party(
            _found(agreed(holder.all("DENOMINATION"))),
            holder.all("CODE_IDENT_NATIONAL"),
            country=_text(holder, "PAYS"),
            postcode=_text(holder, "CP"),
        )
        for holder in holders
    ]
    award.grouping = "unknown" if holders else None
    if failed:
        award.unclear(decision.path, "status", "an award, and that there is none")
    if not holders:
        award.unclear(decision.path, "winner-missing", "the decision names nobody")
    elif len(holders) > 1 and len(details) == 1 and details[0].has("GROUPEMENT_ECONOMIQUE"):
        award.grouping = "group"
    elif len(holders) > 1:
        award.unclear(decision.path, "winners", "several names: a group, or several winners")
    _add_details(award, details)
    if not award.dates:
        for node in block.all("DATE_DECISION"):
            award.add_date(node, "decision")
    return award


def _v230_award(payload: Node, block: Node, decision: Node, notice: Notice, status: str) -> Award:
    award = Award(status, concession=is_concession(notice))
    award.buyers = [
        party(
            _found(agreed(buyer.all("DENOMINATION"))),
            buyer.all("CODE_IDENT_NATIONAL"),
            country=_text(buyer, "PAYS"),
            postcode=_text(buyer, "CP") or _FRENCH,
        )
        for buyer in payload.all("IDENTITE")
    ]
    award.reference = _found(agreed(decision.all("NUM_MARCHE")))
    number = agreed(decision.all("NUM_LOT"))
    award.lot = _found(number)
    lots = [
        lot
        for lot in payload.all("OBJET", "LOTS", "LOT")
        if number and number.text in _texts(lot.all("NUM"))
    ]
    scopes = [*lots, *payload.all("OBJET")] if len(lots) == 1 else payload.all("OBJET")
    award.title = _found(agreed(decision.all("INTITULE"))) or (
        _found(agreed(lots[0].all("INTITULE"))) if len(lots) == 1 else None
    )
    for scope in scopes:
        if not award.cpv:
            award.add_cpv(scope.all("CPV", "PRINCIPAL"), "main")
        if not award.nuts:
            # Of a lot, and of the whole.
            award.add_nuts([*scope.all("CODE_NUTS"), *scope.all("LIEU_EXEC_LIVR", "CODE_NUTS")])
    types = payload.all("PROCEDURE", "TYPE_PROCEDURE")
    if len(types) == 1 and len(types[0].names) == 1:
        (name,) = types[0].names
        award.procedure = found(name, f"{types[0].path}.{name}")
    return award


def _add_details(award: Award, details: list[Node]) -> None:
    """What all details say."""

    def same(name: str) -> Node | None:
        nodes = [node for detail in details for node in detail.all(name)]
        # A detail that does not say it may be of another contract.
        return agreed(nodes) if all(detail.has(name) for detail in details) else None

    award.set_offers(node for node in [same("NB_OFFRE_RECU")] if node)
    if day := same("DATE_ATTRIBUTION"):
        award.add_date(day, "decision")
    for name, kind in (
        ("MONTANT", "contract"),
        ("MONTANT_MINI", "minimum"),
        ("MONTANT_MAXI", "maximum"),
        ("ESTIMATION_INITIALE", "estimate"),
    ):
        if amount := same(name):
            award.add_amount(amount, kind, currency=amount.attribute("DEVISE"))
        elif any(detail.has(name) for detail in details):
            award.note(details[0].path, "amount", f"whose {name} is whose cannot be told")
    for name, value in (("SOUSTRAITANCE_OUI", True), ("SOUSTRAITANCE_NON", False)):
        if details and all(detail.has(name) for detail in details):
            award.subcontracting = found(value, details[0].all(name)[0].path)


def _text(node: Node, name: str) -> str | None:
    leaf = agreed(node.all(name))
    return leaf.text if leaf else None


_READERS: dict[str, Callable[[Node, Notice], Iterator[Award]]] = {
    "eforms": _eforms,
    "fnsimple": _fnsimple,
    "mapa": _mapa,
    "dsp": _dsp,
    "v230": _v230,
}
