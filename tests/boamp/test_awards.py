"""The awards of each format of payload: hand-made notices, and all that is said of them."""

from __future__ import annotations

from typing import Any

import pytest
from notices import (
    BUYER,
    CITY,
    EXTENSION,
    LA_POSTE,
    LOT,
    PAINT,
    PROJECT,
    RESULT,
    WORKS,
    attribue,
    award,
    company,
    contract,
    details,
    dsp,
    eforms,
    euros,
    fnsimple,
    group,
    holder,
    id_,
    lot,
    mapa,
    note,
    read,
    result,
    simple,
    statistics,
    system,
    tender,
    v,
    v230,
)


def awards(**columns: Any) -> list[dict[str, Any]]:
    return read(**columns).notice["awards"]


def siret(number: str, path: str) -> dict[str, str]:
    return {"type": "SIRET", **v(number, path)}


def org(position: int | None, name: str, *identifiers: dict[str, str]) -> dict[str, Any]:
    """The party of an organisation of eForms; ``position``: None if it is alone."""
    return {
        "name": v(name, f"{at(position)}.cac:PartyName.cbc:Name"),
        "identifiers": [*identifiers],
    }


def at(position: int | None) -> str:
    place = "" if position is None else f".{position}"
    return f"{EXTENSION}.efac:Organizations.efac:Organization{place}.efac:Company"


def number(position: int) -> str:
    """Where the CompanyID of an organisation is."""
    return f"{at(position)}.cac:PartyLegalEntity.cbc:CompanyID"


def titulaire(*sirets: str) -> list[dict[str, Any]]:
    return [{"titulaire": {"typeIdentifiant": "SIRET", "id": siret}} for siret in sirets]


BOUGHT = org(0, "Ville de Test", siret(CITY, number(0)))

# ---------------------------------------------------------------------------- eForms


def test_eforms_one_lot_in_full() -> None:
    """Single nodes are objects; spaced SIRET, years, zones, several statistics codes."""
    payload = eforms(
        organisations=[BUYER, company("ORG-2", "Œuvres &amp; Fils", "412 300 014 00013")],
        lots={
            **lot(
                "LOT-0001",
                "Gros œuvre",
                **{
                    "cac:MainCommodityClassification": {
                        "cbc:ItemClassificationCode": {"@listName": "cpv", "#text": "45223220"}
                    },
                    "cac:AdditionalCommodityClassification": [
                        {"cbc:ItemClassificationCode": "45262300-4"},
                        {"cbc:ItemClassificationCode": "béton"},
                    ],
                    "cac:RealizedLocation": {
                        "cac:Address": {
                            "cbc:PostalZone": "69003",
                            "cbc:CountrySubentityCode": {"@listName": "nuts", "#text": "FRK26"},
                            "cac:Country": {"cbc:IdentificationCode": "FRA"},
                        }
                    },
                    "cac:PlannedPeriod": {
                        "cbc:DurationMeasure": {"@unitCode": "YEAR", "#text": "2"}
                    },
                },
            ),
            "cac:TenderingProcess": {
                "cac:ContractingSystem": [system("none"), system("none")],
                "cac:AuctionTerms": {"cbc:AuctionConstraintIndicator": "true"},
            },
        },
        procedure="open",
        results=result(
            "LOT-0001",
            tender="TEN-1",
            contract="CON-1",
            **{
                "efac:ReceivedSubmissionsStatistics": [
                    statistics("t-esubm", "3"),
                    statistics("tenders", "4"),
                ]
            },
        ),
        tenders=tender(
            "TEN-1",
            "LOT-0001",
            "TPA-1",
            euros("87500.50"),
            **{"efac:SubcontractingTerm": {"efbc:TermCode": {"#text": "no"}}},
        ),
        parties=group("TPA-1", "ORG-2"),
        contracts=contract(
            "CON-1", "TEN-1", reference="2026-001", awarded="2026-07-01+02:00", issued="2026-07-13Z"
        ),
    )
    project = f"{LOT}.cac:ProcurementProject"
    place = f"{project}.cac:RealizedLocation.cac:Address"
    amount = f"{RESULT}.efac:LotTender.cac:LegalMonetaryTotal.cbc:PayableAmount"
    additional = f"{project}.cac:AdditionalCommodityClassification"
    issued = v("2026-07-13", f"{RESULT}.efac:SettledContract.cbc:IssueDate")
    reference = v("2026-001", f"{RESULT}.efac:SettledContract.efac:ContractReference.cbc:ID")
    assert awards(donnees=payload, objet="Construction d'une école", famille="JOUE") == [
        award(
            lot=v("LOT-0001", f"{RESULT}.efac:LotResult.efac:TenderLot.cbc:ID"),
            title=v("Gros œuvre", f"{project}.cbc:Name"),
            reference=reference,
            buyers=[BOUGHT],
            winners=[org(1, "Œuvres & Fils", siret(WORKS, number(1)))],
            grouping="single",
            amounts=[{"kind": "contract", **v(87500.5, amount), "currency": "EUR", "tax": None}],
            offers=v(
                4,
                f"{RESULT}.efac:LotResult.efac:ReceivedSubmissionsStatistics.1"
                ".efbc:StatisticsNumeric",
            ),
            dates=[
                {
                    "kind": "decision",
                    **v("2026-07-01", f"{RESULT}.efac:SettledContract.cbc:AwardDate"),
                },
                {"kind": "conclusion", **issued},
            ],
            cpv=[
                {
                    "kind": "main",
                    **v(
                        "45223220",
                        f"{project}.cac:MainCommodityClassification.cbc:ItemClassificationCode",
                    ),
                },
                {
                    "kind": "additional",
                    **v("45262300-4", f"{additional}.0.cbc:ItemClassificationCode"),
                },
            ],
            nuts=[v("FRK26", f"{place}.cbc:CountrySubentityCode")],
            places=[{"kind": "postcode", **v("69003", f"{place}.cbc:PostalZone")}],
            duration={
                "unit": "YEAR",
                **v(2, f"{project}.cac:PlannedPeriod.cbc:DurationMeasure"),
            },
            subcontracting=v(
                False, f"{RESULT}.efac:LotTender.efac:SubcontractingTerm.efbc:TermCode"
            ),
            procedure=v(
                "open",
                "donnees.EFORMS.ContractAwardNotice.cac:TenderingProcess.cbc:ProcedureCode",
            ),
            techniques=[
                v(
                    "true",
                    f"{LOT}.cac:TenderingProcess.cac:AuctionTerms.cbc:AuctionConstraintIndicator",
                )
            ],
            notes=[
                note(
                    f"{additional}.1.cbc:ItemClassificationCode",
                    "cpv",
                    "'béton' is not a code of the CPV",
                )
            ],
            candidates={"id": reference, "dateNotification": issued},
            decp={
                "acheteur": {"id": CITY},
                "objet": "Gros œuvre",
                "codeCPV": "45223220",
                "techniques": {"technique": ["Enchère électronique"]},
                "offresRecues": 4,
                "typeGroupementOperateurs": "Pas de groupement",
                "sousTraitanceDeclaree": False,
                "procedure": "Appel d'offres ouvert",
                "lieuExecution": {"code": "69003", "typeCode": "Code postal"},
                "dureeMois": 24,
                "montant": 87500.5,
                "titulaires": titulaire(WORKS),
            },
            missing=[
                "id",
                "nature",
                "modalitesExecution",
                "marcheInnovant",
                "ccag",
                "attributionAvance",
                "dateNotification",
                "datePublicationDonnees",
                "typesPrix",
                "formePrix",
                "considerationsSociales",
                "considerationsEnvironnementales",
            ],
        )
    ]


def test_eforms_lots_with_a_group_and_one_without_award() -> None:
    """Two lots; the notice's own code is used where a lot has none; La Poste; a group."""
    payload = eforms(
        organisations=[
            BUYER,
            company("ORG-2", "Travaux SA", WORKS),
            company("ORG-3", "La Poste", LA_POSTE, country="FRA"),
        ],
        lots=[lot("LOT-0001", "Courrier"), lot("LOT-0002", "Colis")],
        project={"cac:MainCommodityClassification": {"cbc:ItemClassificationCode": "64110000"}},
        procedure="oth-single",
        results=[
            result("LOT-0001", tender="TEN-1"),
            result("LOT-0002", code="clos-nw"),
        ],
        tenders=[tender("TEN-1", "LOT-0001", "TPA-1", euros("0"))],
        parties=[group("TPA-1", "ORG-3", "ORG-2")],
    )
    cpv = {
        "kind": "main",
        **v("64110000", f"{PROJECT}.cac:MainCommodityClassification.cbc:ItemClassificationCode"),
    }
    procedure = v(
        "oth-single", "donnees.EFORMS.ContractAwardNotice.cac:TenderingProcess.cbc:ProcedureCode"
    )
    assert awards(donnees=payload) == [
        award(
            lot=v("LOT-0001", f"{RESULT}.efac:LotResult.0.efac:TenderLot.cbc:ID"),
            title=v("Courrier", f"{LOT}.0.cac:ProcurementProject.cbc:Name"),
            buyers=[BOUGHT],
            winners=[
                org(2, "La Poste", siret(LA_POSTE, number(2))),
                org(1, "Travaux SA", siret(WORKS, number(1))),
            ],
            grouping="group",
            amounts=[
                {
                    "kind": "contract",
                    **v(0, f"{RESULT}.efac:LotTender.0.cac:LegalMonetaryTotal.cbc:PayableAmount"),
                    "currency": "EUR",
                    "tax": None,
                }
            ],
            cpv=[cpv],
            procedure=procedure,
            decp={
                "acheteur": {"id": CITY},
                "objet": "Courrier",
                "codeCPV": "64110000",
                "titulaires": titulaire(LA_POSTE, WORKS),
            },
        ),
        award(
            status="not-awarded",
            lot=v("LOT-0002", f"{RESULT}.efac:LotResult.1.efac:TenderLot.cbc:ID"),
            title=v("Colis", f"{LOT}.1.cac:ProcurementProject.cbc:Name"),
            buyers=[BOUGHT],
            cpv=[cpv],
            procedure=procedure,
            missing=[],
        ),
    ]


def test_eforms_concession() -> None:
    payload = eforms(
        organisations=[BUYER, company("ORG-2", "Exploitant", WORKS)],
        lots=lot(
            "LOT-0001",
            "Exploitation du port",
            **{
                "cac:PlannedPeriod": {"cbc:DurationMeasure": {"@unitCode": "MONTH", "#text": "120"}}
            },
        ),
        results=result("LOT-0001", tender="TEN-1", contract="CON-1"),
        tenders=tender("TEN-1", "LOT-0001", "TPA-1"),
        parties=group("TPA-1", "ORG-2"),
        contracts=contract("CON-1", issued="2026-05-04Z"),
    )
    issued = v("2026-05-04", f"{RESULT}.efac:SettledContract.cbc:IssueDate")
    assert awards(donnees=payload, famille="JOUE", type_avis=["6", "8"]) == [
        award(
            contract_type="CC",
            lot=v("LOT-0001", f"{RESULT}.efac:LotResult.efac:TenderLot.cbc:ID"),
            title=v("Exploitation du port", f"{LOT}.cac:ProcurementProject.cbc:Name"),
            buyers=[BOUGHT],
            winners=[org(1, "Exploitant", siret(WORKS, number(1)))],
            grouping="single",
            dates=[{"kind": "conclusion", **issued}],
            duration={
                "unit": "MONTH",
                **v(120, f"{LOT}.cac:ProcurementProject.cac:PlannedPeriod.cbc:DurationMeasure"),
            },
            candidates={"dateSignature": issued},
            decp={
                "autoriteConcedante": {"id": CITY},
                "objet": "Exploitation du port",
                "dureeMois": 120,
                "concessionnaires": [
                    {"concessionnaire": {"typeIdentifiant": "SIRET", "id": WORKS}}
                ],
            },
        )
    ]


def only(payload: dict[str, Any], **columns: Any) -> dict[str, Any]:
    (found,) = awards(donnees=payload, **columns)
    return found


def test_trap_the_buyer_is_the_one_that_is_referenced() -> None:
    """The first organisation may be who sent the notice, another one a court."""
    payload = simple(
        organisations=[
            company("ORG-7", "Plateforme d'envoi", PAINT),
            company("ORG-8", "Tribunal administratif", LA_POSTE),
            company("ORG-2", "Travaux SA", WORKS),
            company("ORG-1", "Ville de Test", CITY),
        ]
    )
    found = only(payload)
    assert found["buyers"] == [org(3, "Ville de Test", siret(CITY, number(3)))]
    assert found["decp"]["acheteur"] == {"id": CITY}
    assert found["decp"]["titulaires"] == titulaire(WORKS)


def test_a_reference_to_a_department_of_a_company() -> None:
    organisation = company("ORG-1", "Ville de Test", CITY)
    organisation["efac:TouchPoint"] = {"cac:PartyIdentification": id_("TPO-1")}
    found = only(simple(organisations=[organisation, company("ORG-2", "A", WORKS)], buyer="TPO-1"))
    assert found["buyers"] == [BOUGHT]


def test_a_contract_of_another_tender_is_not_taken() -> None:
    found = only(simple(contracts=contract("CON-1", "TEN-9", reference="M1")))
    assert (found["status"], found["reference"]) == ("awarded", None)
    assert found["notes"] == [
        note(f"{RESULT}.efac:LotResult", "contracts", "its contracts are of other tenders")
    ]


def test_trap_several_buyers_are_no_acheteur() -> None:
    two = [
        {"cac:Party": {"cac:PartyIdentification": id_("ORG-1")}},
        {"cac:Party": {"cac:PartyIdentification": id_("ORG-2")}},
    ]
    found = only(simple(notice={"cac:ContractingParty": two}))
    assert [buyer["name"]["value"] for buyer in found["buyers"]] == ["Ville de Test", "Travaux SA"]
    assert "acheteur" in found["missing"]


@pytest.mark.parametrize(
    ("id", "country", "zone", "type", "value"),
    [
        (WORKS, "FRA", "69001", "SIRET", WORKS),
        ("412 300 014 00013", "FRA", "", "SIRET", WORKS),
        ("412.300.014-00013", "FRA", "", "SIRET", WORKS),
        ({"@schemeName": "siret", "#text": f" {WORKS}\n"}, "FRA", "", "SIRET", WORKS),
        (WORKS, "REU", "97400", "SIRET", WORKS),
        (WORKS, "", "69001", "SIRET", WORKS),
        (LA_POSTE, "FRA", "75015", "SIRET", LA_POSTE),
        # Fourteen digits elsewhere are something else, and so are those with a wrong sum.
        (WORKS, "NLD", "1012 AB", "other", WORKS),
        (WORKS, "", "1012 AB", "other", WORKS),
        ("41230001400014", "FRA", "69001", "other", "41230001400014"),
        ("00000000000000", "FRA", "69001", "other", "00000000000000"),
        ("412 300 014", "FRA", "69001", "SIREN", "412300014"),
        ("000000000", "FRA", "69001", "other", "000000000"),
        ("FR 92 412 300 014", "FRA", "69001", "TVA", "FR92412300014"),
        ("DE136695976", "DEU", "10115", "TVA", "DE136695976"),
        ("FR00412300014", "FRA", "69001", "other", "FR00412300014"),
        ("1800932-1-1-1", "FRA", "69001", "other", "1800932-1-1-1"),
        ("voir annexe", "FRA", "69001", "other", "voir annexe"),
        ("٤١٢٣٠٠٠١٤٠٠٠١٣", "FRA", "69001", "other", "٤١٢٣٠٠٠١٤٠٠٠١٣"),
    ],
)
def test_trap_company_ids_are_told_apart(
    id: Any, country: str, zone: str, type: str, value: str
) -> None:
    holder = company("ORG-2", "X", id, country, zone)
    found = only(simple(organisations=[BUYER, holder]))
    assert found["winners"] == [org(1, "X", {"type": type, **v(value, number(1))})]
    holders = [{"titulaire": {"typeIdentifiant": type, "id": value}}]
    assert found["decp"].get("titulaires") == (holders if type in ("SIRET", "TVA") else None)


def test_trap_one_holder_without_identifier_leaves_none() -> None:
    payload = simple(
        organisations=[
            BUYER,
            company("ORG-2", "Travaux SA", WORKS),
            company("ORG-3", "Sans numéro", ""),
        ],
        parties=group("TPA-1", "ORG-2", "ORG-3"),
    )
    found = only(payload)
    assert len(found["winners"]) == 2
    assert "titulaires" in found["missing"]
    assert found["grouping"] == "group"
    assert "typeGroupementOperateurs" in found["missing"]


@pytest.mark.parametrize("date", ["2000-01-01Z", "2000-01-01", "1970-01-01Z", "9999-12-31Z"])
def test_trap_placeholder_dates_are_no_dates(date: str) -> None:
    found = only(simple(contracts=contract("CON-1", "TEN-1", awarded=date, issued="2026-05-04Z")))
    assert [day["value"] for day in found["dates"]] == ["2026-05-04"]
    path = f"{RESULT}.efac:SettledContract.cbc:AwardDate"
    assert found["notes"] == [note(path, "date-placeholder", f"{date!r} stands for no date")]


def test_trap_the_award_date_of_the_notice_is_never_read() -> None:
    real_looking = {"cac:TenderResult": {"cbc:AwardDate": "2026-04-01Z"}}
    found = only(simple(contracts=contract("CON-1", "TEN-1"), notice=real_looking))
    assert found["dates"] == []
    assert found["candidates"] == {}


@pytest.mark.parametrize("date", ["2026-02-30Z", "04/05/2026", "bientôt"])
def test_what_is_no_date_is_told(date: str) -> None:
    found = only(simple(contracts=contract("CON-1", "TEN-1", issued=date)))
    assert found["dates"] == []
    assert [told["rule"] for told in found["notes"]] == ["date"]


def framework(**parts: Any) -> dict[str, Any]:
    lots = {
        **lot("LOT-0001", "Accord-cadre"),
        "cac:TenderingProcess": {"cac:ContractingSystem": system("fa-wo-rc")},
    }
    return simple(lots=lots, **parts)


def test_trap_ceilings_and_totals_are_no_contract_amounts() -> None:
    payload = framework(
        tenders=tender("TEN-1", "LOT-0001", "TPA-1"),
        results=result(
            "LOT-0001",
            tender="TEN-1",
            contract="CON-1",
            **{
                "efac:FrameworkAgreementValues": {
                    "cbc:MaximumValueAmount": euros("200000"),
                    "efbc:ReestimatedValueAmount": euros("150000"),
                }
            },
        ),
        **{
            "cbc:TotalAmount": euros("590880"),
            "efbc:OverallMaximumFrameworkContractsAmount": euros("200000"),
        },
    )
    found = only(payload)
    values = f"{RESULT}.efac:LotResult.efac:FrameworkAgreementValues"
    assert found["amounts"] == [
        {
            "kind": "maximum",
            **v(200000, f"{values}.cbc:MaximumValueAmount"),
            "currency": "EUR",
            "tax": None,
        },
        {
            "kind": "estimate",
            **v(150000, f"{values}.efbc:ReestimatedValueAmount"),
            "currency": "EUR",
            "tax": None,
        },
    ]
    assert "montant" in found["missing"]
    assert found["decp"]["techniques"] == {"technique": ["Accord-cadre"]}


@pytest.mark.parametrize("amount", ["200000", "200000.00"])
@pytest.mark.parametrize(
    "parts",
    [
        {"efbc:OverallMaximumFrameworkContractsAmount": euros("200000.0")},
        {"notice": {"cac:Extra": [{"efbc:FrameworkMaximumAmount": euros("200000")}]}},
    ],
)
def test_trap_the_ceiling_given_as_the_tender_s_amount(parts: Any, amount: str) -> None:
    tenders = tender("TEN-1", "LOT-0001", "TPA-1", euros(amount))
    found = only(framework(tenders=tenders, **parts))
    path = f"{RESULT}.efac:LotTender.cac:LegalMonetaryTotal.cbc:PayableAmount"
    assert found["amounts"] == [
        {"kind": "maximum", **v(200000, path), "currency": "EUR", "tax": None}
    ]
    assert found["notes"] == [
        note(path, "amount-ceiling", "is the ceiling of the framework agreement")
    ]
    # Without a framework agreement it is a coincidence.
    assert only(simple(tenders=tenders, **parts))["decp"]["montant"] == 200000


@pytest.mark.parametrize(
    ("amount", "amounts"),
    [
        (euros("12.5"), [(12.5, "EUR")]),
        (euros("900", "CHF"), [(900, "CHF")]),
        ("900", [(900, None)]),
        (euros("-1"), []),
        (euros("NaN"), []),
        (euros("1e9"), []),
        (euros("1.234.567"), []),
        (euros(""), []),
        ([euros("1"), euros("2")], [(1, "EUR"), (2, "EUR")]),
    ],
)
def test_amounts_are_numbers_with_their_currency(amount: Any, amounts: Any) -> None:
    found = only(simple(tenders=tender("TEN-1", "LOT-0001", "TPA-1", amount)))
    assert [(a["value"], a["currency"]) for a in found["amounts"]] == amounts
    in_euros = len(amounts) == 1 and amounts[0][1] == "EUR"
    assert found["decp"].get("montant") == (amounts[0][0] if in_euros else None)


@pytest.mark.parametrize(
    ("unit", "text", "months"),
    [
        ("MONTH", "36", 36),
        ("YEAR", "4", 48),
        ("YEAR", "0.5", 6),
        ("MONTH", "1.5", None),
        ("DAY", "90", None),
        ("WEEK", "8", None),
        ("MONTH", "0", None),
        ("", "12", None),
        ("MONTH", "UNLIMITED", None),
    ],
)
def test_trap_durations_have_a_unit(unit: str, text: str, months: int | None) -> None:
    measure = {"cbc:DurationMeasure": {"@unitCode": unit, "#text": text}}
    found = only(simple(lots=lot("LOT-0001", "L", **{"cac:PlannedPeriod": measure})))
    assert found["decp"].get("dureeMois") == months


@pytest.mark.parametrize(("times", "months"), [("0", 12), ("3", None)])
def test_trap_renewals_stand_apart(times: str, months: int | None) -> None:
    project = {
        "cac:PlannedPeriod": {"cbc:DurationMeasure": {"@unitCode": "MONTH", "#text": "12"}},
        "cac:ContractExtension": {"cbc:MaximumNumberNumeric": times},
    }
    found = only(simple(lots=lot("LOT-0001", "L", **project)))
    path = f"{LOT}.cac:ProcurementProject.cac:ContractExtension.cbc:MaximumNumberNumeric"
    assert found["renewable"] == v(times != "0", path)
    assert found["duration"]["value"] == 12
    assert found["decp"].get("dureeMois") == months


@pytest.mark.parametrize(
    ("given", "offers"),
    [
        ([statistics("tenders", "0")], 0),
        ([statistics("tenders", "2"), statistics("tenders", "2")], 2),
        ([statistics("tenders", "1"), statistics("tenders", "2")], None),
        ([statistics("t-esubm", "7"), statistics("t-sme", "1")], None),
        ([statistics("tenders", "1.5")], None),
        ([statistics("tenders", "²")], None),
        ([], None),
    ],
)
def test_trap_only_the_code_tenders_counts_offers(given: Any, offers: int | None) -> None:
    results = result("LOT-0001", tender="TEN-1", **{"efac:ReceivedSubmissionsStatistics": given})
    found = only(simple(results=results))
    assert (found["offers"] or {}).get("value") == offers
    # The format wants one offer at least.
    assert found["decp"].get("offresRecues") == (offers or None)


def test_trap_several_winners_of_a_lot_are_several_awards() -> None:
    """Each tender with a contract has won; one without has not."""
    payload = simple(
        organisations=[
            BUYER,
            company("ORG-2", "Travaux SA", WORKS),
            company("ORG-3", "Peinture", PAINT),
        ],
        results=result("LOT-0001", tender=["TEN-1", "TEN-2", "TEN-3"], contract=["CON-1", "CON-2"]),
        tenders=[
            tender("TEN-1", "LOT-0001", "TPA-1", euros("1000")),
            tender("TEN-2", "LOT-0001", "TPA-2", euros("2000")),
            tender("TEN-3", "LOT-0001", "TPA-1", euros("3000")),
        ],
        parties=[group("TPA-1", "ORG-2"), group("TPA-2", "ORG-3")],
        contracts=[
            contract("CON-1", "TEN-1", reference="M1"),
            contract("CON-2", "TEN-2", reference="M2"),
        ],
    )
    found = awards(donnees=payload)
    assert [
        (a["status"], a["reference"]["value"], a["decp"]["montant"], a["decp"]["titulaires"])
        for a in found
    ] == [
        ("awarded", "M1", 1000, titulaire(WORKS)),
        ("awarded", "M2", 2000, titulaire(PAINT)),
    ]
    losing = note(f"{RESULT}.efac:LotResult", "tender-losing", "the tender 'TEN-3' has no contract")
    assert [a["notes"] for a in found] == [[losing], [losing]]


def test_trap_several_tenders_and_no_contract_are_kept_apart_and_unclear() -> None:
    payload = simple(
        results=result("LOT-0001", tender=["TEN-1", "TEN-2"]),
        tenders=[
            tender("TEN-1", "LOT-0001", "TPA-1", euros("1000")),
            tender("TEN-2", "LOT-0001", "TPA-1", euros("2000")),
        ],
        contracts=[],
    )
    found = awards(donnees=payload)
    told = note(
        f"{RESULT}.efac:LotResult", "tenders", "several tenders, and which one won is not said"
    )
    assert [(a["status"], a["amounts"][0]["value"], a["notes"]) for a in found] == [
        ("unclear", 1000, [told]),
        ("unclear", 2000, [told]),
    ]
    assert all(not {"montant", "titulaires"} & a["decp"].keys() for a in found)


def test_trap_several_contracts_of_one_tender_are_not_merged() -> None:
    payload = simple(
        results=result("LOT-0001", tender="TEN-1", contract=["CON-1", "CON-2"]),
        contracts=[
            contract("CON-1", "TEN-1", reference="M1", issued="2026-05-04Z"),
            contract("CON-2", "TEN-1", reference="M2", issued="2026-05-05Z"),
        ],
    )
    found = only(payload)
    assert (found["status"], found["reference"], found["dates"]) == ("unclear", None, [])
    assert found["notes"] == [
        note(
            f"{RESULT}.efac:LotResult",
            "contracts",
            "one tender has several contracts: 'CON-1', 'CON-2'",
        )
    ]


def test_a_contract_over_several_lots() -> None:
    payload = simple(
        lots=[lot("LOT-0001", "Un"), lot("LOT-0002", "Deux")],
        results=[
            result("LOT-0001", tender="TEN-1", contract="CON-1"),
            result("LOT-0002", tender="TEN-2", contract="CON-1"),
        ],
        tenders=[
            tender("TEN-1", "LOT-0001", "TPA-1", euros("1000")),
            tender("TEN-2", "LOT-0002", "TPA-1", euros("2000")),
        ],
        contracts=contract("CON-1", "TEN-1", "TEN-2", reference="M1"),
    )
    found = awards(donnees=payload)
    assert [(a["reference"]["value"], a["decp"]["montant"]) for a in found] == [
        ("M1", 1000),
        ("M1", 2000),
    ]


@pytest.mark.parametrize(
    ("parts", "rule", "message"),
    [
        (
            {"tenders": []},
            "reference-broken",
            "'TEN-1' names nothing",
        ),
        (
            {"organisations": [BUYER, BUYER, company("ORG-2", "Travaux SA", WORKS)]},
            "reference-ambiguous",
            "'ORG-1' names 2",
        ),
        (
            {"parties": group("TPA-1", "ORG-2", "ORG-404")},
            "winner-missing",
            "not all of its companies are there",
        ),
        (
            {"parties": group("TPA-9", "ORG-2")},
            "winner-missing",
            "the tender does not say whose it is",
        ),
        (
            {"results": result("LOT-0001")},
            "tender-missing",
            "the result names no tender",
        ),
        (
            {"results": result("LOT-0001", tender="TEN-1", code="perhaps")},
            "result-code",
            "the result does not say who was chosen",
        ),
        (
            {"tenders": tender("TEN-1", "LOT-0002", "TPA-1", euros("1"))},
            "lot",
            "the tender is for the lot 'LOT-0002'",
        ),
    ],
)
def test_trap_broken_references_are_told_and_nothing_is_guessed(
    parts: dict[str, Any], rule: str, message: str
) -> None:
    found = only(simple(**parts))
    assert (rule, message) in [(told["rule"], told["message"]) for told in found["notes"]]
    if rule == "reference-ambiguous":
        assert "acheteur" in found["missing"]
    else:
        assert found["status"] == "unclear"
        assert not {"montant", "titulaires"} & found["decp"].keys()


@pytest.mark.parametrize(
    ("columns", "status"),
    [
        ({}, "awarded"),
        ({"nature": "INTENTION_CONCLURE"}, "intended"),
        ({"nature": "MODIFICATION"}, "modified"),
        ({"nature": "ANNULATION"}, "cancelled"),
        ({"etat": "ANNULATION"}, "cancelled"),
        ({"etat": "RECTIFICATIF"}, "awarded"),
    ],
)
def test_only_an_award_gives_an_amount_and_holders(columns: Any, status: str) -> None:
    found = only(simple(), **columns)
    assert found["status"] == status
    given = {"montant", "titulaires"} & found["decp"].keys()
    assert given == ({"montant", "titulaires"} if status == "awarded" else set())
    assert (found["decp"], found["missing"]) != ({}, []) or status == "cancelled"


@pytest.mark.parametrize(
    ("nature", "status"), [("INTENTION_CONCLURE", "intended"), ("MODIFICATION", "modified")]
)
@pytest.mark.parametrize("has_result", [True, False])
def test_an_intention_and_a_modification_have_no_result_code(
    nature: str, status: str, has_result: bool
) -> None:
    """The code is not allowed in their subtypes, and a result is not needed."""
    results = result("LOT-0001", tender="TEN-1", contract="CON-1")
    del results["cbc:TenderResultCode"]
    found = only(simple(results=results if has_result else []), nature=nature)
    assert (found["status"], found["notes"]) == (status, [])
    assert found["lot"]["value"] == "LOT-0001"
    assert found["title"]["value"] == "Lot unique"
    assert found["reference"]["value"] == "M1"
    assert [amount["value"] for amount in found["amounts"]] == [1000]
    assert [winner["name"]["value"] for winner in found["winners"]] == ["Travaux SA"]


def test_an_award_notice_without_results_is_not_lost() -> None:
    found = only(simple(results=[]))
    assert found["status"] == "unclear"
    assert [told["rule"] for told in found["notes"]] == ["result-code"]
    assert [winner["name"]["value"] for winner in found["winners"]] == ["Travaux SA"]


def withheld(*fields: str) -> dict[str, Any]:
    """What a node says of fields that are not published yet (BT-195)."""
    return {"efac:FieldsPrivacy": [{"efbc:FieldIdentifierCode": {"#text": f}} for f in fields]}


def test_what_is_withheld_is_no_value() -> None:
    """A mask stands in its place: in the examples of the eForms SDK, 9.99 for an amount."""
    found = only(
        simple(
            results=result(
                "LOT-0001",
                tender="TEN-1",
                contract="CON-1",
                **{
                    "efac:ReceivedSubmissionsStatistics": [
                        statistics("tenders", "3") | withheld("rec-sub-typ", "rec-sub-cou"),
                        statistics("t-sme", "3"),
                    ],
                    "efac:FrameworkAgreementValues": {
                        "cbc:MaximumValueAmount": euros("1"),
                        "efbc:ReestimatedValueAmount": euros("2"),
                        **withheld("max-val"),
                    },
                },
            ),
            tenders=tender(
                "TEN-1",
                "LOT-0001",
                "TPA-1",
                euros("9.99"),
                **withheld("ten-ran", "win-ten-val"),
                **{
                    "efac:SubcontractingTerm": {
                        "efbc:TermCode": {"#text": "no"},
                        **withheld("sub-con"),
                    }
                },
            ),
        )
    )
    assert found["status"] == "awarded"
    assert [(each["kind"], each["value"]) for each in found["amounts"]] == [("estimate", 2)]
    assert (found["offers"], found["subcontracting"]) == (None, None)
    assert [(told["rule"], told["message"]) for told in found["notes"]] == [
        ("withheld", f"the field '{field}' is not published yet")
        for field in ("rec-sub-cou", "max-val", "win-ten-val", "sub-con")
    ]


def test_a_winner_is_not_certain_if_the_choice_is_withheld() -> None:
    choice = result("LOT-0001", tender="TEN-1", contract="CON-1", **withheld("win-cho"))
    found = only(simple(results=choice))
    assert found["status"] == "unclear"
    message = "the field 'win-cho' is not published yet"
    assert found["notes"] == [note(f"{RESULT}.efac:LotResult", "withheld", message)]
    assert not {"montant", "titulaires"} & found["decp"].keys()


@pytest.mark.parametrize(
    ("code", "label"),
    [
        ("open", "Appel d'offres ouvert"),
        ("restricted", "Appel d'offres restreint"),
        ("neg-w-call", "Procédure avec négociation"),
        ("neg-wo-call", "Marché passé sans publicité ni mise en concurrence préalable"),
        ("comp-dial", "Dialogue compétitif"),
        ("innovation", None),
        ("oth-mult", None),
    ],
)
def test_procedures_of_eforms(code: str, label: str | None) -> None:
    assert only(simple(procedure=code))["decp"].get("procedure") == label


def test_an_objet_too_long_for_the_format_is_told() -> None:
    found = only(simple(lots=lot("LOT-0001", "x" * 1001)))
    assert "objet" in found["missing"]
    path = f"{LOT}.cac:ProcurementProject.cbc:Name"
    assert found["notes"] == [note(path, "objet-long", "has 1001 characters, more than 1000")]


def test_places_that_are_none() -> None:
    place = {
        "cbc:PostalZone": "1012 AB",
        "cbc:CountrySubentityCode": ["FRK26", "Rhône", ""],
        "cac:Country": {"cbc:IdentificationCode": "NLD"},
    }
    address = {"cac:RealizedLocation": {"cac:Address": place}}
    found = only(simple(lots=lot("LOT-0001", "L", **address)))
    assert ([nuts["value"] for nuts in found["nuts"]], found["places"]) == (["FRK26"], [])
    assert [told["message"] for told in found["notes"]] == ["'Rhône' is not a code of the NUTS"]


def test_several_places_are_no_lieu_execution() -> None:
    two = [{"cac:Address": {"cbc:PostalZone": zone}} for zone in ("69001", "69002")]
    found = only(simple(lots=lot("LOT-0001", "L", **{"cac:RealizedLocation": two})))
    assert [place["value"] for place in found["places"]] == ["69001", "69002"]
    assert "lieuExecution" in found["missing"]


@pytest.mark.parametrize(
    ("names", "title"),
    [
        ([("FRA", "Voirie"), ("ENG", "Roads")], "Voirie"),
        ([("ENG", "Roads"), ("FRA", "Voirie")], "Voirie"),
        ([("FRA", "Voirie"), ("FRA", "Voirie")], "Voirie"),
        ([("ENG", "Roads")], "Roads"),
        ([("ENG", "Roads"), ("DEU", "Straßen")], None),
        ([("FRA", "Voirie"), ("FRA", "Rues")], None),
    ],
)
def test_names_in_several_languages(names: Any, title: str | None) -> None:
    nodes = [{"@languageID": language, "#text": text} for language, text in names]
    found = only(simple(lots=lot("LOT-0001", "") | {"cac:ProcurementProject": {"cbc:Name": nodes}}))
    assert (found["title"] or {}).get("value") == title


def test_a_result_that_names_no_lot() -> None:
    results = result("LOT-0001", tender="TEN-1") | {"efac:TenderLot": ""}
    found = only(simple(results=results), objet="Travaux")
    assert (found["lot"], found["title"], found["decp"]["objet"]) == (None, None, "Travaux")
    assert found["notes"] == [
        note(f"{RESULT}.efac:LotResult", "lot", "the result does not name one lot")
    ]


def test_a_call_for_tenders_has_no_awards() -> None:
    assert awards(donnees={"EFORMS": {"ContractNotice": {"cac:ProcurementProject": {}}}}) == []


@pytest.mark.parametrize(
    ("column", "code"), [("1", "01"), ("69", "69"), ("2A", "2A"), ("974", "974"), ("99", None)]
)
def test_the_department_of_execution(column: str, code: str | None) -> None:
    found = only(simple(), code_departement_prestation=column, code_departement=["75"])
    place = {"code": code, "typeCode": "Code département"}
    assert found["decp"].get("lieuExecution") == (place if code else None)


# ---------------------------------------------------------------------------- FNSimple

FN = "donnees.FNSimple.attribution"
PROSE = f"{FN}.attributionMarche"


FN_BUYER = {
    "name": v("Commune de Test", "donnees.FNSimple.organisme.nomOfficiel"),
    "identifiers": [siret(CITY, "donnees.FNSimple.organisme.codeIdentificationNational")],
}
FN_TITLE = v("Réfection de la voirie", f"{FN}.natureMarche.intitule")
FN_CPV = {
    "kind": "main",
    **v("45233140", f"{FN}.natureMarche.codeCPV.objetPrincipal.classPrincipale"),
}
FN_DECP = {
    "acheteur": {"id": CITY},
    "objet": "Réfection de la voirie",
    "codeCPV": "45233140",
}


def prose(value: Any) -> dict[str, Any]:
    return v(value, PROSE)


def fn_award(text: str, **given: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "title": FN_TITLE,
        "buyers": [FN_BUYER],
        "cpv": [FN_CPV],
        "text": prose(text),
        "decp": FN_DECP,
    }
    return award(**usual | given)


def test_fnsimple_with_labels() -> None:
    text = (
        "Nombre d'offres reçues : 8\nDate d'attribution : 01/10/26\nMarché n° : 2026-TX\n"
        "Travaux SA, 30 Rue de l'Égalité, 95230 Soisy\nMontant Ht : 935 220,50 Euros\n"
        "Sous-traitance : non."
    )
    assert awards(donnees=fnsimple(text, dureeMois="6"), type_procedure="PROCEDURE_ADAPTE") == [
        fn_award(
            text,
            reference=prose("2026-TX"),
            winners=[{"name": prose("Travaux SA"), "identifiers": []}],
            grouping="unknown",
            amounts=[{"kind": "contract", **prose(935220.5), "currency": "EUR", "tax": "excluded"}],
            offers=prose(8),
            dates=[{"kind": "decision", **prose("2026-10-01")}],
            duration={"unit": "MONTH", **v(6, f"{FN}.natureMarche.dureeMois")},
            subcontracting=prose(False),
            procedure=v("PROCEDURE_ADAPTE", "type_procedure"),
            candidates={"id": prose("2026-TX"), "dateNotification": prose("2026-10-01")},
            decp=FN_DECP
            | {
                "offresRecues": 8,
                "sousTraitanceDeclaree": False,
                "procedure": "Procédure adaptée",
                "dureeMois": 6,
                "montant": 935220.5,
            },
        )
    ]


def test_fnsimple_with_a_siret_and_a_notification() -> None:
    text = (
        f"Le marché a été attribué à l'entreprise DUBOIS - SIRET {WORKS[:9]} {WORKS[9:]}\n"
        "Prix global forfaitaire: 118 105,94Euros HT.\nNotifié le 30/09/2026"
    )
    assert awards(donnees=fnsimple(text), titulaire=["DUBOIS"]) == [
        fn_award(
            text,
            winners=[{"name": prose("DUBOIS"), "identifiers": [siret(WORKS, PROSE)]}],
            grouping="unknown",
            amounts=[
                {"kind": "contract", **prose(118105.94), "currency": "EUR", "tax": "excluded"}
            ],
            dates=[{"kind": "notification", **prose("2026-09-30")}],
            decp=FN_DECP
            | {
                "dateNotification": "2026-09-30",
                "montant": 118105.94,
                "titulaires": titulaire(WORKS),
            },
        )
    ]


def test_fnsimple_lot_by_lot() -> None:
    first = "Lot n° 1 - Terrassement\nTitulaire : TRAVAUX SA\nMontant HT : 10 000,00 €"
    second = "Lot n° 2 : PEINTURE SARL pour un montant de 124 350.37€ HT"
    third = "Lot n° 3 - Clôtures\nDéclaré sans suite"
    text = "\n".join(["Date d'attribution : 01/10/2026", first, second, third])
    listed = ["PEINTURE SARL", "TRAVAUX SA"]
    assert awards(donnees=fnsimple(text), titulaire=listed) == [
        fn_award(
            first,
            lot=prose("1"),
            title=prose("Terrassement"),
            winners=[{"name": prose("TRAVAUX SA"), "identifiers": []}],
            grouping="unknown",
            amounts=[{"kind": "contract", **prose(10000), "currency": "EUR", "tax": "excluded"}],
            decp=FN_DECP | {"objet": "Terrassement", "montant": 10000},
        ),
        fn_award(
            second,
            lot=prose("2"),
            winners=[{"name": prose("PEINTURE SARL"), "identifiers": []}],
            grouping="unknown",
            amounts=[
                {"kind": "contract", **prose(124350.37), "currency": "EUR", "tax": "excluded"}
            ],
            decp=FN_DECP | {"montant": 124350.37},
        ),
        fn_award(
            third,
            status="not-awarded",
            lot=prose("3"),
            title=prose("Clôtures"),
            decp={},
            missing=[],
        ),
    ]


@pytest.mark.parametrize(
    ("text", "lots"),
    [
        ("Le lot n° 07 est attribué à TRAVAUX SA.", [("7", None)]),
        # The line of the lot may name the lot or who won it: only with a winner elsewhere.
        ("Lot 1 : TRAVAUX SARL", [("1", None)]),
        ("Lot 1 : Voirie\nTitulaire : X SARL", [("1", "Voirie")]),
        (
            "Lot 1 : Voirie\nInfructueux\nLot 02 - Bâti : Titulaire : Y",
            [("1", "Voirie"), ("2", None)],
        ),
        ("- LOT n°3a – Enduits\n4 rue X\nAttributaire : X SARL", [("3a", "Enduits")]),
    ],
)
def test_fnsimple_lots(text: str, lots: list[tuple[str, str | None]]) -> None:
    found = awards(donnees=fnsimple(text), titulaire=["TRAVAUX SA", "TRAVAUX SARL"])
    told = [(a["lot"]["value"], a["title"]["value"]) for a in found]
    assert told == [(number, title or "Réfection de la voirie") for number, title in lots]


@pytest.mark.parametrize(
    "text",
    [
        "Lot 1 : X SARL\nLot 1 : Y SARL",
        "Lot 1 : X SARL\nComme le lot 2",
        "Lot 1 et 2 : X SARL",
        "Lots n° 1, 3 : X SARL\nLot 2 : Y SARL",
        "Tous les lots : X SARL",
        "Lot 1 : X SARL Lot 2 : Y SARL",
    ],
)
def test_fnsimple_lots_not_one_by_one(text: str) -> None:
    found = only(fnsimple(text), titulaire=["X SARL"])
    assert (found["status"], found["lot"], found["winners"]) == ("unclear", None, [])
    assert [told["rule"] for told in found["notes"]] == ["prose-lots"]


def test_fnsimple_what_is_said_before_the_only_lot_is_about_it() -> None:
    found = only(
        fnsimple("Nombre d'offres reçues : 3\nLot 2 - Voirie\nTitulaire : X SARL"), objet="Rues"
    )
    assert (found["lot"]["value"], found["title"]["value"]) == ("2", "Voirie")
    assert found["offers"] == prose(3)


def test_fnsimple_what_is_said_in_two_ways_is_left_out() -> None:
    text = (
        "Titulaire : TRAVAUX SA\nMarché n° : A\nMarché n° : B\nSous-traitance : oui\n"
        "Sous-traitance : non\nNombre d'offres reçues : 2\nNombre d'offres reçues : 3\n"
        "Date d'attribution : 01/10/26\nDate d'attribution : 02/10/26\n"
        "Date de notification : 31/02/2026"
    )
    found = only(fnsimple(text))
    assert (found["reference"], found["subcontracting"], found["offers"]) == (None, None, None)
    assert found["dates"] == []
    assert [told["message"] for told in found["notes"]] == [
        "the text has several numbers of offers",
        "the text has several contract numbers",
        "the text has several answers on sub-contracting",
        "the text has several dates of decision",
        "'2026-02-31' is not a date for certain",
    ]


def test_fnsimple_lots_that_cannot_be_told_apart_are_kept_as_text() -> None:
    text = "Lots 1 et 2 : TRAVAUX SA, 10 000 € HT"
    assert awards(donnees=fnsimple(text), titulaire=["TRAVAUX SA"]) == [
        fn_award(
            text,
            status="unclear",
            notes=[note(PROSE, "prose-lots", "the text is about several lots, not one by one")],
        )
    ]


@pytest.mark.parametrize(
    ("line", "amounts"),
    [
        ("Montant HT : 1 000,00 Euros", [("contract", 1000, "EUR", "excluded")]),
        ("Montant attribué : 414215 HT", [("contract", 414215, None, "excluded")]),
        ("Montant : 12,5 €", [("contract", 12.5, "EUR", None)]),
        ("Montant : 1\u00a0200 euro(s)", [("contract", 1200, "EUR", None)]),
        (
            "Montant HT : 1 000 €\nMontant TTC : 1 200 €",
            [("contract", 1000, "EUR", "excluded"), ("contract", 1200, "EUR", "included")],
        ),
        ("Montant TTC : 1 200 €", [("contract", 1200, "EUR", "included")]),
        ("Montant Ht min : 935 220,00 Euros", [("minimum", 935220, "EUR", "excluded")]),
        (
            "Montant mini : 1 000 € HT, maxi : 5 000 € HT",
            [("minimum", 1000, "EUR", "excluded"), ("maximum", 5000, "EUR", "excluded")],
        ),
        ("Montant : 50 000 € HT maximum", [("maximum", 50000, "EUR", "excluded")]),
        ("Plafond : 50 000 € HT", [("maximum", 50000, "EUR", "excluded")]),
        ("Montant estimé : 50 000 € HT", [("estimate", 50000, "EUR", "excluded")]),
        # What may be a ceiling, a part or one of several is nobody's contract amount.
        ("Montant : 9 € HT\nLes montants sont les maximums de l'accord-cadre.", []),
        ("Montant : 9 € HT\nLes montants sont des maximums.", []),
        (
            "Montant : 9 € HT\nMontant maximum : 20 € HT",
            [("contract", 9, "EUR", "excluded"), ("maximum", 20, "EUR", "excluded")],
        ),
        ("Accord-cadre à bons de commande\nMontant : 9 € HT", []),
        ("Montant de l'accord-cadre : 9 € HT maximum", [("maximum", 9, "EUR", "excluded")]),
        ("Montant : 9 € HT\nMontant : 10 € HT", []),
        ("Montant annuel : 9 000 € HT", []),
        ("Capital : 9 000 €", []),
        ("Capital : 9 000 €\nPrix : 10 € HT", [("contract", 10, "EUR", "excluded")]),
        ("Tranche ferme : 9 000 € HT", []),
        ("Montant : 1.234,56 € HT", []),
        ("Montant : 1 000 € HT soit 1.200,00 € TTC", []),
        ("Montant : dix mille euros", []),
        ("Montant : 10 k€ HT", []),
        ("Valeur totale, hors TVA : 9 €", [("contract", 9, "EUR", "excluded")]),
        ("Prix accepté par l'acheteur : 9 €", [("contract", 9, "EUR", None)]),
        ("Montant, TVA comprise : 9 €", [("contract", 9, "EUR", "included")]),
        # The number of a lot, or that of the euros?
        ("Montant du lot 1 250 000 € HT", []),
        ("Montant du marché n° 2 350 000 € HT", []),
        ("Montant du lot n° 1 : 250 € HT", [("contract", 250, "EUR", "excluded")]),
        # Not what the contract costs.
        ("Montant : de 0 à 9 000 € HT", []),
        ("Montant : 9 € HT / mois", []),
        ("Prix du m² : 9 € HT", []),
        ("Prix : 9 € HT de l'heure", []),
        ("Montant : jusqu'à 9 € HT", [("maximum", 9, "EUR", "excluded")]),
        ("Montant : 5 € HT minimum et 9 € HT maximum", [("maximum", 9, "EUR", "excluded")]),
        ("Montant : 5 € HT (mini) et 9 € HT", []),
        ("Voir 75001 Paris", []),
    ],
)
def test_fnsimple_amounts(line: str, amounts: Any) -> None:
    found = only(fnsimple(f"Titulaire : TRAVAUX SA\n{line}"))
    assert found["status"] == "awarded"
    assert [(a["kind"], a["value"], a["currency"], a["tax"]) for a in found["amounts"]] == amounts
    exact = [a for a in amounts if a[0] == "contract" and a[3] != "included" and a[2] == "EUR"]
    assert found["decp"].get("montant") == (exact[0][1] if exact else None)


@pytest.mark.parametrize("about", ["Accord-cadre de voirie", "Voirie, montant maximum 9 €"])
def test_fnsimple_amounts_of_a_framework_agreement(about: str) -> None:
    text = "Titulaire : TRAVAUX SA\nMontant : 9 € HT"
    assert only(fnsimple(text, intitule=about))["amounts"] == []
    assert only(fnsimple(text), objet=about)["amounts"] == []
    assert len(only(fnsimple(text), objet="Voirie")["amounts"]) == 1


@pytest.mark.parametrize(
    ("text", "listed", "status", "winners"),
    [
        ("Nom du titulaire : GUINTOLI SAS", [], "awarded", ["GUINTOLI SAS"]),
        ("Titulaire du marché : A B, 3 rue X", [], "awarded", ["A B"]),
        ("Attributaires SAS MIRECO - 134 RUE", ["SAS MIRECO"], "awarded", ["SAS MIRECO"]),
        ("Titulaire : MIRECO - 134 rue", ["MIRECO"], "awarded", ["MIRECO"]),
        ("notifié à la SARL 2 LIVES.", ["SARL 2 LIVES"], "awarded", ["SARL 2 LIVES"]),
        ("Le marché est attribué.", ["TRAVAUX SA"], "awarded", ["TRAVAUX SA"]),
        # More are listed than are told: members of a group, it may be.
        ("Il y a un marché. B SA.", ["A", "B SA"], "unclear", ["B SA"]),
        ("Titulaire : EIFFAGE IDF", ["EIFFAGE Île-de-France"], "awarded", ["EIFFAGE IDF"]),
        ("Le marché est attribué.", ["A SA", "B SA"], "unclear", ["A SA", "B SA"]),
        # Not a word of the text, though its letters stand there.
        ("Attribué à VARENNE SA", ["ARENN", "VARENNE SA"], "unclear", ["VARENNE SA"]),
        ("Titulaire : A B (mandataire), C", [], "unclear", ["A B (mandataire)"]),
        ("Groupement conjoint\nTitulaire : A B", [], "unclear", ["A B"]),
        ("Titulaire : A B\nCo traitants : C, D", [], "unclear", ["A B"]),
        ("Titulaire : A B\nMandataire du groupement : A B", [], "unclear", ["A B"]),
        ("Pour un groupement de commandes\nTitulaire : A B", [], "awarded", ["A B"]),
        ("C, mandataire de la ville\nTitulaire : A B", [], "awarded", ["A B"]),
        ("Le marché est attribué.", [], "unclear", []),
        ("Titulaire : voir annexe", [], "unclear", []),
        ("Titulaire : NC", [], "unclear", []),
        (f"Titulaire : DUBOIS (SIRET {WORKS})", [], "awarded", ["DUBOIS"]),
        ("Titulaire : DUBOIS - 412 300 014 00013", [], "awarded", ["DUBOIS"]),
        (
            "Marché n° : 1\nA SA, 1 rue X, 69001 Lyon\nB SA, 2 rue X, 69002 Lyon",
            [],
            "unclear",
            ["A SA", "B SA"],
        ),
        # Courts have an address, too.
        ("Marché n° : 1\nSource\nTribunal de X, 1 rue X, 69001 Lyon", [], "unclear", []),
        ("Cet avis a été déclaré Infructueux", [], "not-awarded", []),
        ("Cet avis a été déclaré Infructueux", ["TRAVAUX SA"], "not-awarded", []),
        ("Titulaire : TRAVAUX SA\nLot déclaré infructueux", [], "unclear", ["TRAVAUX SA"]),
    ],
)
def test_fnsimple_winners(text: str, listed: list[str], status: str, winners: list[str]) -> None:
    found = only(fnsimple(text), titulaire=listed)
    assert found["status"] == status
    assert [winner["name"]["value"] for winner in found["winners"]] == winners


ONE_LINE = "Attribution : attribué à {} entreprise(s) {} Notifié le 05/06/2026 Montant : {} euros"


def test_fnsimple_all_lots_on_one_line() -> None:
    """As in notice 26-81190, whose winners are listed nowhere."""
    text = "  ".join(
        [
            "Lot 1 : Ouvrage d'art "
            + ONE_LINE.format(1, f" - TRAVAUX - BTP ({WORKS})", "213400.41"),
            "Lot 2 : Berges " + ONE_LINE.format(1, f" - SOCIETE P'IN 52 ({PAINT})", "17530"),
            "Lot 3 : Clôture Attribution : infructueux",
        ]
    )
    found = awards(donnees=fnsimple(text), titulaire=None)
    assert [
        (
            each["status"],
            each["lot"]["value"],
            each["title"]["value"],
            [winner["name"]["value"] for winner in each["winners"]],
            each["decp"].get("titulaires"),
            each["decp"].get("montant"),
            each["decp"].get("dateNotification"),
        )
        for each in found
    ] == [
        (
            "awarded",
            "1",
            "Ouvrage d'art",
            ["TRAVAUX - BTP"],
            titulaire(WORKS),
            213400.41,
            "2026-06-05",
        ),
        ("awarded", "2", "Berges", ["SOCIETE P'IN 52"], titulaire(PAINT), 17530, "2026-06-05"),
        ("not-awarded", "3", "Clôture", [], None, None, None),
    ]


@pytest.mark.parametrize(
    ("count", "status", "names"), [(2, "unclear", ["A SA", "B SA"]), (3, "unclear", [])]
)
def test_fnsimple_as_many_names_as_are_counted(count: int, status: str, names: list[str]) -> None:
    found = only(fnsimple(ONE_LINE.format(count, f" - A SA ({WORKS})  - B SA ({PAINT})", "5")))
    assert found["status"] == status
    assert [winner["name"]["value"] for winner in found["winners"]] == names


@pytest.mark.parametrize(
    ("text", "sirets"),
    [
        (f"Titulaire : DUBOIS\n1 rue X\nSIREN : {WORKS}", [WORKS]),
        (f"DUBOIS ({WORKS}) et DUBOIS {WORKS}", [WORKS]),
        (f"DUBOIS {LA_POSTE}", [LA_POSTE]),
        # Before the winner is named, or of someone else.
        (f"SIRET {PAINT}\nTitulaire : DUBOIS", []),
        (f"Titulaire : DUBOIS\nAcheteur : {PAINT}", []),
        # Two numbers, and no numbers at all.
        (f"Titulaire : DUBOIS {WORKS}\nSIRET {PAINT}", []),
        ("Titulaire : DUBOIS 41230001400014", []),
        (f"Titulaire : DUBOIS 9{WORKS}", []),
    ],
)
def test_fnsimple_identifiers(text: str, sirets: list[str]) -> None:
    (winner,) = only(fnsimple(text), titulaire=["DUBOIS"])["winners"]
    assert [id["value"] for id in winner["identifiers"]] == sirets


def test_fnsimple_the_buyer_s_number_is_no_winner_s() -> None:
    found = only(fnsimple(f"Titulaire : TRAVAUX SA\n{CITY}"))
    assert found["winners"] == [{"name": prose("TRAVAUX SA"), "identifiers": []}]


def test_fnsimple_numbers_of_several_winners_are_not_paired() -> None:
    found = only(fnsimple(f"Titulaire : A SA\nTitulaire : B SA\nSIRET {WORKS} et {PAINT}"))
    assert [winner["identifiers"] for winner in found["winners"]] == [[], []]
    assert [told["rule"] for told in found["notes"]] == ["identifiers", "winners"]


@pytest.mark.parametrize("text", [None, "", {}, ["a", "b"], {"p": "a"}])
def test_fnsimple_without_one_text(text: Any) -> None:
    found = only(fnsimple(text))
    assert (found["status"], found["text"]) == ("unclear", None)
    assert found["decp"] == FN_DECP


def test_national_open_procedures_may_be_adapted_ones() -> None:
    text = "Titulaire : TRAVAUX SA"
    assert only(fnsimple(text), type_procedure="OUVERT/")["procedure"] == v(
        "OUVERT/", "type_procedure"
    )
    assert "procedure" in only(fnsimple(text), type_procedure="OUVERT/", famille="FNS")["missing"]
    european = only(fnsimple(text), type_procedure="OUVERT/", famille="JOUE")
    assert european["decp"]["procedure"] == "Appel d'offres ouvert"


# ---------------------------------------------------------------------------- MAPA

MAPA = "donnees.MAPA.attribution"


MAPA_BUYER = {
    "name": v("Université de Test", "donnees.MAPA.organisme.acheteurPublic"),
    "identifiers": [],
}


def test_mapa_one_winner() -> None:
    payload = mapa({"attribue": attribue({"PersonneMorale": "Lumière SAS "}, "50044")}, "5")
    payload["MAPA"]["attribution"]["autresInformations"]["dateAttribution"] = "2026-08-10"
    node = f"{MAPA}.attribution.resultat.attribue"
    day = v("2026-08-10", f"{MAPA}.autresInformations.dateAttribution")
    assert awards(donnees=payload, objet="Luminaires", type_procedure="PROCEDURE_ADAPTE") == [
        award(
            buyers=[MAPA_BUYER],
            winners=[
                {
                    "name": v("Lumière SAS", f"{node}.titulaire.PersonneMorale"),
                    "identifiers": [],
                }
            ],
            grouping="unknown",
            amounts=[
                {
                    "kind": "contract",
                    **v(50044, f"{node}.montant.valeur"),
                    "currency": "EUR",
                    "tax": None,
                }
            ],
            offers=v(5, f"{MAPA}.autresInformations.nbOffresRecues"),
            dates=[{"kind": "decision", **day}],
            candidates={"dateNotification": day},
            procedure=v("PROCEDURE_ADAPTE", "type_procedure"),
            decp={
                "objet": "Luminaires",
                "offresRecues": 5,
                "procedure": "Procédure adaptée",
                "montant": 50044,
            },
        )
    ]


def test_mapa_several_awards_share_no_number_of_offers() -> None:
    payload = mapa(
        {"attribue": [attribue("A SA", "10 000,50"), attribue("B SA", "20000", "CHF")]}, "7"
    )
    node = f"{MAPA}.attribution.resultat.attribue"
    offers = note(
        f"{MAPA}.autresInformations.nbOffresRecues",
        "offers",
        "the number is that of several awards",
    )

    def expected(n: int, name: str, value: float, currency: str, decp: Any) -> dict[str, Any]:
        return award(
            buyers=[MAPA_BUYER],
            winners=[{"name": v(name, f"{node}.{n}.titulaire"), "identifiers": []}],
            grouping="unknown",
            amounts=[
                {
                    "kind": "contract",
                    **v(value, f"{node}.{n}.montant.valeur"),
                    "currency": currency,
                    "tax": None,
                }
            ],
            notes=[offers],
            decp=decp,
        )

    assert awards(donnees=payload) == [
        expected(0, "A SA", 10000.5, "EUR", {"montant": 10000.5}),
        expected(1, "B SA", 20000, "CHF", {}),
    ]


def test_mapa_without_winner() -> None:
    assert awards(donnees=mapa({"infructueux": ""}, "2")) == [
        award(
            status="not-awarded",
            buyers=[MAPA_BUYER],
            offers=v(2, f"{MAPA}.autresInformations.nbOffresRecues"),
            missing=[],
        )
    ]


@pytest.mark.parametrize(
    ("resultat", "rule"),
    [
        ({}, "result"),
        ("", "result"),
        (None, "result"),
        ({"autre": ""}, "result"),
        ({"autre": "", "infructueux": ""}, "result"),
        ({"attribue": ""}, "winner-missing"),
        ({"attribue": attribue(["A SA", "B SA"], "5")}, "winners"),
    ],
)
def test_mapa_results_that_say_nothing_certain(resultat: Any, rule: str) -> None:
    found = only(mapa(resultat))
    assert found["status"] == "unclear"
    assert rule in [told["rule"] for told in found["notes"]]
    assert "montant" not in found["decp"]


# ---------------------------------------------------------------------------- DSP

DSP = "donnees.DSP.initial.descriptionMarche"


def dsp_award(**given: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "contract_type": "CC",
        "title": v("Gestion du camping", f"{DSP}.titreMarche"),
        "buyers": [
            {
                "name": v("Commune de Test", "donnees.DSP.organisme.acheteurPublic"),
                "identifiers": [],
            }
        ],
        "amounts": [
            {
                "kind": "estimate",
                **v(400000, f"{DSP}.lot.estimationValeur.valeur"),
                "currency": "EUR",
                "tax": None,
            }
        ],
        "cpv": [{"kind": "main", **v("55220000", f"{DSP}.CPV.objetPrincipal.classPrincipale")}],
        "nuts": [v("FRK26", f"{DSP}.lot.lieuCodeNUTS.codeNUTS")],
        "decp": {"objet": "Gestion du camping"},
    }
    return award(**usual | given)


def listed(n: int, name: str) -> dict[str, Any]:
    return {"name": v(name, f"titulaire.{n}"), "identifiers": []}


def test_dsp_the_winner_of_the_index_card() -> None:
    assert awards(donnees=dsp(), famille="DSP", titulaire=["Camping SA"]) == [
        dsp_award(winners=[listed(0, "Camping SA")], grouping="unknown")
    ]


def test_dsp_several_names_are_unclear() -> None:
    assert awards(donnees=dsp(attribution={}), famille="DSP", titulaire=["A", "B"]) == [
        dsp_award(
            status="unclear",
            winners=[listed(0, "A"), listed(1, "B")],
            grouping="unknown",
            notes=[note("titulaire", "winners", "2 winners are listed")],
        )
    ]


def test_dsp_without_names() -> None:
    assert awards(donnees=dsp(), famille="DSP") == [
        dsp_award(status="unclear", notes=[note("titulaire", "winners", "no winners are listed")])
    ]


def test_dsp_with_a_result_or_a_text() -> None:
    block = {
        "descriptionMarche": {"titreMarche": "Port"},
        "attribution": {"resultat": {"attribue": attribue("Port SA")}},
    }
    found = only(dsp(attribution=block))
    assert (found["contract_type"], found["status"]) == ("CC", "awarded")
    assert found["title"] == v("Port", "donnees.DSP.attribution.descriptionMarche.titreMarche")
    assert found["winners"][0]["name"]["value"] == "Port SA"
    found = only(dsp(attribution={"attributionMarche": f"Titulaire : Port SA\nSIRET {WORKS}"}))
    assert found["decp"]["concessionnaires"] == [
        {"concessionnaire": {"typeIdentifiant": "SIRET", "id": WORKS}}
    ]


def test_dsp_a_call_has_no_awards() -> None:
    assert awards(donnees=dsp(), nature="APPEL_OFFRE", titulaire=[]) == []


# ---------------------------------------------------------------------------- v230


V_BUYER = {
    "name": v("C.C.A.S. de Test", "donnees.IDENTITE.DENOMINATION"),
    "identifiers": [siret(CITY, "donnees.IDENTITE.CODE_IDENT_NATIONAL")],
}
V_CPV = {"kind": "main", **v("15890000", "donnees.OBJET.CPV.PRINCIPAL")}
V_PROCEDURE = v("OUVERT", "donnees.PROCEDURE.TYPE_PROCEDURE.OUVERT")
DECISION = "donnees.ATTRIBUTION.DECISION"


def v_award(**given: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "buyers": [V_BUYER],
        "cpv": [V_CPV],
        "procedure": V_PROCEDURE,
        "decp": {
            "acheteur": {"id": CITY},
            "objet": "Denrées",
            "codeCPV": "15890000",
            "procedure": "Appel d'offres ouvert",
        },
    }
    return award(**usual | given)


def test_v230_lots() -> None:
    """The lot's own code and place; a lot without award; a contract number."""
    payload = v230(
        {
            "ATTRIBUE": "",
            "NUM_MARCHE": "16-383",
            "NUM_LOT": "1",
            "TITULAIRE": holder("Félix SARL", CODE_IDENT_NATIONAL=WORKS),
            "RENSEIGNEMENT": details("13000", SOUSTRAITANCE_NON=""),
        },
        {"INFRUCTUEUX": "", "NUM_LOT": "2", "INTITULE": "Compotes"},
        objet={
            "LOTS": {
                "LOT": [
                    {
                        "NUM": "1",
                        "INTITULE": "Surgelés",
                        "CPV": {"PRINCIPAL": "15896000"},
                        "CODE_NUTS": "FR825",
                    },
                    {"NUM": "2"},
                ]
            }
        },
    )
    day = v("2016-10-20", f"{DECISION}.0.RENSEIGNEMENT.DATE_ATTRIBUTION")
    reference = v("16-383", f"{DECISION}.0.NUM_MARCHE")
    assert awards(donnees=payload, objet="Denrées", famille="JOUE") == [
        v_award(
            lot=v("1", f"{DECISION}.0.NUM_LOT"),
            title=v("Surgelés", "donnees.OBJET.LOTS.LOT.0.INTITULE"),
            reference=reference,
            winners=[
                {
                    "name": v("Félix SARL", f"{DECISION}.0.TITULAIRE.DENOMINATION"),
                    "identifiers": [siret(WORKS, f"{DECISION}.0.TITULAIRE.CODE_IDENT_NATIONAL")],
                }
            ],
            grouping="unknown",
            amounts=[
                {
                    "kind": "contract",
                    **v(13000, f"{DECISION}.0.RENSEIGNEMENT.MONTANT"),
                    "currency": "EUR",
                    "tax": None,
                }
            ],
            offers=v(4, f"{DECISION}.0.RENSEIGNEMENT.NB_OFFRE_RECU"),
            dates=[{"kind": "decision", **day}],
            cpv=[{"kind": "main", **v("15896000", "donnees.OBJET.LOTS.LOT.0.CPV.PRINCIPAL")}],
            nuts=[v("FR825", "donnees.OBJET.LOTS.LOT.0.CODE_NUTS")],
            subcontracting=v(False, f"{DECISION}.0.RENSEIGNEMENT.SOUSTRAITANCE_NON"),
            candidates={"id": reference, "dateNotification": day},
            decp={
                "acheteur": {"id": CITY},
                "objet": "Surgelés",
                "codeCPV": "15896000",
                "offresRecues": 4,
                "sousTraitanceDeclaree": False,
                "procedure": "Appel d'offres ouvert",
                "montant": 13000,
                "titulaires": titulaire(WORKS),
            },
        ),
        v_award(
            status="not-awarded",
            lot=v("2", f"{DECISION}.1.NUM_LOT"),
            title=v("Compotes", f"{DECISION}.1.INTITULE"),
            decp={},
            missing=[],
        ),
    ]


def test_v230_winners_and_details_that_alternated() -> None:
    """What all details say holds. They alternate for the members of a group, too: one award.

    As in notice 16-185754: one contract of a mandataire and co-traitants.
    """
    payload = v230(
        {
            "TITULAIRE": [holder("Un (mandataire)"), holder("Deux (co-traitant)")],
            "RENSEIGNEMENT": [details("150000"), {"DATE_ATTRIBUTION": "2016-10-20"}],
        }
    )
    day = v("2016-10-20", f"{DECISION}.RENSEIGNEMENT.0.DATE_ATTRIBUTION")
    assert awards(donnees=payload, objet="Denrées", famille="JOUE") == [
        v_award(
            status="unclear",
            winners=[
                {"name": v(name, f"{DECISION}.TITULAIRE.{n}.DENOMINATION"), "identifiers": []}
                for n, name in enumerate(["Un (mandataire)", "Deux (co-traitant)"])
            ],
            grouping="unknown",
            dates=[{"kind": "decision", **day}],
            notes=[
                note(DECISION, "winners", "several names: a group, or several winners"),
                note(
                    f"{DECISION}.RENSEIGNEMENT.0",
                    "amount",
                    "whose MONTANT is whose cannot be told",
                ),
            ],
            candidates={"dateNotification": day},
        )
    ]


def test_v230_a_decision_dated_once_with_ceilings() -> None:
    payload = v230(
        {
            "TITULAIRE": holder("Un"),
            "RENSEIGNEMENT": {
                "MONTANT_MINI": {"@DEVISE": "EUR", "#text": "1000"},
                "MONTANT_MAXI": {"@DEVISE": "EUR", "#text": "5000"},
                "ESTIMATION_INITIALE": {"@DEVISE": "EUR", "#text": "4000"},
            },
        },
        DATE_DECISION="2016-12-14",
        VALEUR_TOTALE={"@DEVISE": "EUR", "#text": "5000"},
    )
    day = v("2016-12-14", "donnees.ATTRIBUTION.DATE_DECISION")
    node = f"{DECISION}.RENSEIGNEMENT"
    assert awards(donnees=payload, famille="FNS", objet="Denrées") == [
        v_award(
            winners=[{"name": v("Un", f"{DECISION}.TITULAIRE.DENOMINATION"), "identifiers": []}],
            grouping="unknown",
            amounts=[
                {"kind": kind, **v(value, f"{node}.{name}"), "currency": "EUR", "tax": None}
                for kind, value, name in (
                    ("minimum", 1000, "MONTANT_MINI"),
                    ("maximum", 5000, "MONTANT_MAXI"),
                    ("estimate", 4000, "ESTIMATION_INITIALE"),
                )
            ],
            dates=[{"kind": "decision", **day}],
            candidates={"dateNotification": day},
            decp={"acheteur": {"id": CITY}, "objet": "Denrées", "codeCPV": "15890000"},
        )
    ]


@pytest.mark.parametrize(
    ("holders", "facts", "expected"),
    [
        (1, [], ("awarded", "unknown", 1, [])),
        (1, [details("5")], ("awarded", "unknown", 1, [5])),
        (2, [details("5", GROUPEMENT_ECONOMIQUE="")], ("awarded", "group", 2, [5])),
        # A group, or several winners; what they share may be the contract's, or of each.
        (2, [details("5")], ("unclear", "unknown", 2, [5])),
        (2, [details("5"), details("5")], ("unclear", "unknown", 2, [5])),
        (2, [details("5"), details("6")], ("unclear", "unknown", 2, [])),
        (2, [details("5"), details()], ("unclear", "unknown", 2, [])),
        # Each of several winners may be a group.
        (2, [details(GROUPEMENT_ECONOMIQUE="")] * 2, ("unclear", "unknown", 2, [])),
        (0, [details("5")], ("unclear", None, 0, [5])),
    ],
)
def test_v230_pairs_only_what_is_certain(
    holders: int, facts: Any, expected: tuple[Any, ...]
) -> None:
    names = [holder(f"N{n}") for n in range(holders)]
    found = only(v230({"TITULAIRE": names, "RENSEIGNEMENT": facts}))
    assert (
        found["status"],
        found["grouping"],
        len(found["winners"]),
        [amount["value"] for amount in found["amounts"]],
    ) == expected


def test_v230_several_main_codes_are_no_code() -> None:
    codes = [{"PRINCIPAL": "45314320"}, {"PRINCIPAL": "45311000"}]
    found = only(v230({"TITULAIRE": holder("Un")}, objet={"CPV": codes}))
    assert [code["value"] for code in found["cpv"]] == ["45314320", "45311000"]
    assert "codeCPV" in found["missing"]


@pytest.mark.parametrize(
    ("address", "type"),
    [
        ({}, "SIRET"),
        ({"CP": "83051"}, "SIRET"),
        ({"PAYS": "France"}, "SIRET"),
        ({"PAYS": "BE"}, "other"),
    ],
)
def test_v230_the_buyer_s_number(address: dict[str, str], type: str) -> None:
    payload = v230({"TITULAIRE": holder("Un")})
    payload["IDENTITE"] = {"CODE_IDENT_NATIONAL": CITY, **address}
    (buyer,) = only(payload)["buyers"]
    assert [id["type"] for id in buyer["identifiers"]] == [type]


@pytest.mark.parametrize(
    ("block", "decision", "status", "told"),
    [
        # The block speaks of the whole, and need not have any decision.
        ({"TOTALEMENT_INFRUCTUEUX": ""}, None, "not-awarded", []),
        ({"SANS_SUITE": ""}, None, "not-awarded", []),
        ({"VALEUR_TOTALE": "5"}, None, "unclear", ["winner-missing"]),
        ({"SANS_SUITE": ""}, {"NUM_LOT": "1"}, "not-awarded", []),
        ({"ATTRIBUE_COMPORTE_LOT_INFRUCTUEUX": ""}, {"SANS_SUITE": ""}, "not-awarded", []),
        ({}, {"SANS_SUITE": "", "TITULAIRE": holder("Un")}, "unclear", ["status"]),
        ({"SANS_SUITE": ""}, {"TITULAIRE": holder("Un")}, "unclear", ["status"]),
        # As in a notice of 2016: three lots awarded to nobody.
        ({"SANS_SUITE": ""}, {"ATTRIBUE": ""}, "unclear", ["status", "winner-missing"]),
    ],
)
def test_v230_no_award(block: Any, decision: Any, status: str, told: list[str]) -> None:
    payload = v230(decision, **block)
    if decision is None:
        del payload["ATTRIBUTION"]["DECISION"]
    found = only(payload)
    assert (found["status"], [each["rule"] for each in found["notes"]]) == (status, told)


def test_v230_the_place_of_the_whole() -> None:
    place = {"LIEU_EXEC_LIVR": {"CP": "76400", "CODE_NUTS": "FR232"}}
    found = only(v230({"TITULAIRE": holder("Un")}, objet=place))
    assert found["nuts"] == [v("FR232", "donnees.OBJET.LIEU_EXEC_LIVR.CODE_NUTS")]


# ---------------------------------------------------------------------------- all


@pytest.mark.parametrize("donnees", [None, "{", "[]", {"MARCHE": {"attribution": {}}}, {}])
def test_nothing_is_read_of_an_unknown_payload(donnees: Any) -> None:
    assert awards(donnees=donnees, titulaire=["TRAVAUX SA"]) == []


def test_no_contact_of_the_buyer_is_in_an_award() -> None:
    text = str(awards(donnees=mapa({"attribue": attribue("A SA")})) + awards(donnees=v230({})))
    assert "example.org" not in text
