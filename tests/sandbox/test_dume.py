"""The replica of the DUME service: envelope, filters, cap, versions, counts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dume_spider.decp.regime import ContractType
from dume_spider.dume.query import API_VERSION_HEADERS, Requester, SearchQuery
from dume_spider.sandbox.dume import DumeReplica, encode
from dume_spider.sandbox.generator import generate
from dume_spider.sandbox.rows import ServedRow, row_of
from dume_spider.sandbox.server import Asked

MP, CC = ContractType.MARCHE, ContractType.CONCESSION
HEADERS = {name.lower(): value for name, value in API_VERSION_HEADERS.items()}
FIRST, LAST = date(2025, 1, 1), date(2025, 1, 31)
REQUESTER = Requester("12345678901011", "AAA001", "12345698765445", "AIFE")
ENVELOPE = SearchQuery().payload(REQUESTER)


def post(replica: DumeReplica, body: Any, **headers: str):
    asked = Asked("POST", replica.path, {}, {**HEADERS, **headers}, orjson.dumps(body))
    return replica.answer(asked)


def ask(replica: DumeReplica, query: SearchQuery) -> list[dict[str, Any]]:
    answer = post(replica, query.payload(REQUESTER))
    content = orjson.loads(answer.body)["response"]
    assert (answer.status, content["messageList"]) == (200, [])
    return content["donneesEssentielles"]


def served(reference: str, day: date, type_: ContractType = MP, **record: Any) -> ServedRow:
    return ServedRow(reference, day, row_of(record, type_, reference))


def references(rows: list[dict[str, Any]]) -> list[str]:
    return [row["referenceUnique"] for row in rows]


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ENVELOPE.items() if key != name}


def platform(**change: Any) -> dict[str, Any]:
    return {**ENVELOPE, "plateforme": {**ENVELOPE["plateforme"], **change}}


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ([], "ENVELOPPE", "Le corps de la requête doit être un objet JSON."),
        (without("operation"), "OPERATION", "operation doit valoir recupererDEV2."),
        (
            {**ENVELOPE, "operation": "recupererDE"},
            "OPERATION",
            "operation doit valoir recupererDEV2.",
        ),
        (without("plateforme"), "ENVELOPPE", "plateforme est obligatoire."),
        (
            platform(idPlateforme=None),
            "ENVELOPPE",
            "idPlateforme est obligatoire (14 caractères au moins).",
        ),
        (
            platform(idPlateforme="123456789012345"),
            "ENVELOPPE",
            "idPlateforme dépasse 14 caractères.",
        ),
        (
            platform(typeIdPlateforme="4"),
            "ENVELOPPE",
            "idPlateforme dépasse 10 caractères.",
        ),
        (
            platform(typeIdPlateforme=6),
            "ENVELOPPE",
            "typeIdPlateforme doit être compris entre 1 et 5.",
        ),
        (
            platform(idTechniquePlateforme=""),
            "ENVELOPPE",
            "idTechniquePlateforme est obligatoire (1 caractères au moins).",
        ),
        (
            without("idDemandeur"),
            "ENVELOPPE",
            "idDemandeur est obligatoire (1 caractères au moins).",
        ),
        (
            {**ENVELOPE, "rsDemandeur": "x" * 101},
            "ENVELOPPE",
            "rsDemandeur dépasse 100 caractères.",
        ),
        ({**ENVELOPE, "cpv": "45"}, "PARAMETRE", "Le paramètre cpv est inconnu."),
        (
            {**ENVELOPE, "codeCPV": 45000000},
            "PARAMETRE",
            "Le paramètre codeCPV doit être un texte non vide.",
        ),
        (
            {**ENVELOPE, "nature": ""},
            "PARAMETRE",
            "Le paramètre nature doit être un texte non vide.",
        ),
        ({**ENVELOPE, "typeDE": "mp"}, "TYPE_DE", "typeDE doit valoir MP ou CC."),
        (
            {**ENVELOPE, "dateDebutPublication": "01/02/2025"},
            "DATE",
            "dateDebutPublication doit être une date au format AAAA-MM-JJ.",
        ),
        (
            {**ENVELOPE, "dateFinPublication": "2025-02-30"},
            "DATE",
            "dateFinPublication doit être une date au format AAAA-MM-JJ.",
        ),
        (
            {
                **ENVELOPE,
                "dateDebutPublication": "2025-02-02",
                "dateFinPublication": "2025-02-01",
            },
            "PERIODE",
            "La date de fin précède la date de début.",
        ),
    ],
)
def test_business_errors(body, code, text):
    answer = post(DumeReplica([]), body)
    assert (answer.status, answer.kind) == (200, "refused")
    assert orjson.loads(answer.body) == {
        "response": {
            "messageList": [{"type": "ERREUR", "code": code, "message": text}],
            "donneesEssentielles": [],
        }
    }


@pytest.mark.parametrize("version", ["", "1", "2.0"])
def test_version_header(version):
    answer = post(DumeReplica([]), ENVELOPE, **{"x-api-version": version})
    assert orjson.loads(answer.body)["response"]["messageList"] == [
        {
            "type": "ERREUR",
            "code": "VERSION_API",
            "message": "L'en-tête X-Api-Version doit valoir 2.",
        }
    ]


@pytest.mark.parametrize(
    ("method", "content_type", "body", "status"),
    [
        ("GET", "application/json", b"", 405),
        ("POST", "text/plain", orjson.dumps(ENVELOPE), 415),
        ("POST", "", orjson.dumps(ENVELOPE), 415),
        ("POST", "application/json", b"{", 400),
        ("POST", "application/json; charset=utf-8", orjson.dumps(ENVELOPE), 200),
    ],
)
def test_http_errors(method, content_type, body, status):
    headers = {**HEADERS, "content-type": content_type}
    asked = Asked(method, DumeReplica.path, {}, headers, body)
    assert DumeReplica([]).answer(asked).status == status


DAY = date(2025, 1, 15)
WINNER = {"typeIdentifiant": "SIRET", "id": "w1"}
ROWS = [
    served(
        "plain",
        DAY,
        id="a",
        nature="Marché",
        procedure="Procédure adaptée",
        codeCPV="45000000",
        acheteur={"id": "b1"},
        titulaires=[{"titulaire": WINNER}, {"titulaire": {"id": "w2"}}],
    ),
    served(
        "concession", DAY, CC, id="a", autoriteConcedante={"id": "b1"}, concessionnaires=[WINNER]
    ),
    served("nulls", DAY, titulaires=None),
    served("dirty", DAY, id=7, codeCPV=3000000, acheteur={"id": 12}, titulaires=[[WINNER], None]),
    served(
        "wrapped", DAY, titulaires={"titulaire": [WINNER, WINNER]}, procedure=["x"], nature=True
    ),
    served("before", DAY - timedelta(1)),
    served("after", DAY + timedelta(1)),
]
EVERYTHING = ["before", "plain", "concession", "nulls", "dirty", "wrapped", "after"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (SearchQuery(), EVERYTHING),
        (SearchQuery(date_start=DAY), EVERYTHING[1:]),
        (SearchQuery(date_end=DAY), EVERYTHING[:-1]),
        (SearchQuery(date_start=DAY, date_end=DAY), EVERYTHING[1:-1]),
        (SearchQuery(date_start=DAY + timedelta(2)), []),
        (SearchQuery(type_de=CC), ["concession"]),
        (SearchQuery(type_de=MP, date_end=DAY), [*EVERYTHING[:2], *EVERYTHING[3:-1]]),
        (SearchQuery(internal_id="a"), ["plain", "concession"]),
        (SearchQuery(internal_id="7"), ["dirty"]),
        (SearchQuery(nature="Marché"), ["plain"]),
        (SearchQuery(nature="marché"), []),
        (SearchQuery(nature="True"), []),
        (SearchQuery(procedure="Procédure adaptée"), ["plain"]),
        (SearchQuery(procedure="x"), []),
        (SearchQuery(cpv_code="45000000"), ["plain"]),
        (SearchQuery(cpv_code="4500000"), []),
        (SearchQuery(cpv_code="3000000"), ["dirty"]),
        (SearchQuery(type_de=MP, acheteur_id="b1"), ["plain"]),
        (SearchQuery(type_de=MP, acheteur_id="12"), ["dirty"]),
        (SearchQuery(type_de=CC, acheteur_id="b1"), ["concession"]),
        (SearchQuery(type_de=MP, titulaire_id="w1"), ["plain", "dirty", "wrapped"]),
        (SearchQuery(type_de=MP, titulaire_id="w2"), ["plain"]),
        (SearchQuery(type_de=CC, titulaire_id="w1"), ["concession"]),
        (SearchQuery(type_de=CC, titulaire_id="w2"), []),
        (SearchQuery(type_de=MP, titulaire_id="w1", acheteur_id="b1"), ["plain"]),
        (SearchQuery(type_de=MP, titulaire_id="w1", cpv_code="3000000"), ["dirty"]),
        (SearchQuery(reference="plain"), ["plain"]),
        (SearchQuery(reference="plain", internal_id="b"), []),
        (SearchQuery(reference="plain", date_end=DAY - timedelta(1)), []),
        (SearchQuery(reference="unknown"), []),
        (SearchQuery(date_start=DAY, date_end=DAY, internal_id="a", type_de=CC), ["concession"]),
    ],
    ids=lambda value: (
        " ".join(f"{k}={v}" for k, v in value.filters().items())
        if isinstance(value, SearchQuery)
        else ""
    ),
)
def test_filters(query, found):
    assert references(ask(DumeReplica(ROWS), query)) == found


@pytest.mark.parametrize("filters", [{"idAcheteur": "b1"}, {"idTitulaire": "w2"}])
def test_filters_of_one_type_match_its_rows_alone(filters):
    """Without a type, and with the other one."""
    replica = DumeReplica(ROWS)
    for type_, found in (({}, 1), ({"typeDE": "MP"}, 1), ({"typeDE": "CC"}, 0)):
        content = orjson.loads(post(replica, {**ENVELOPE, **filters, **type_}).body)
        assert len(content["response"]["donneesEssentielles"]) == found


@pytest.mark.parametrize(
    "value",
    ['É & "quotes" \u2028', "\ud800", 2**70, -(2**63), 1e300, None, [[]], {"": {}}],
)
def test_rows_come_as_they_are(value):
    row = row_of({"objet": value, "source": "x"}, MP, "R")
    assert json.loads(encode(row)) == row
    answer = post(DumeReplica([ServedRow("R", DAY, row)]), ENVELOPE)
    assert json.loads(answer.body)["response"]["donneesEssentielles"] == [row]


@pytest.mark.parametrize(("cap", "expected"), [(100, 100), (7, 7), (1000, 250)])
def test_the_cap_says_nothing(cap, expected):
    rows = [served(f"{number:03}", DAY) for number in range(250)]
    replica = DumeReplica(rows, cap=cap)
    assert references(ask(replica, SearchQuery())) == [f"{n:03}" for n in range(expected)]


def test_versions_of_one_reference():
    rows = [
        served("R", DAY, modifications=[{"id": 1}]),
        served("R", DAY - timedelta(5)),
        served("R", DAY, modifications=[{"id": 1}, {"id": 2}]),
        served("S", DAY),
    ]
    replica = DumeReplica(rows)
    found = ask(replica, SearchQuery(reference="R"))
    assert [row["modifications"] for row in found] == [None, [{"id": 1}], [{"id": 1}, {"id": 2}]]
    assert replica.describe() == {"rows": 4, "references": 2, "days": ["2025-01-10", "2025-01-15"]}


def test_an_empty_service():
    replica = DumeReplica([])
    assert ask(replica, SearchQuery(date_start=DAY, type_de=MP, cpv_code="45000000")) == []
    assert ask(replica, SearchQuery(reference="R")) == []
    assert replica.describe() == {"rows": 0, "references": 0, "days": []}


def test_counts_are_of_what_was_delivered():
    replica = DumeReplica(ROWS)
    search, refused = post(replica, ENVELOPE), post(replica, {})
    details = [post(replica, {**ENVELOPE, "referenceUnique": name}) for name in ("plain", "x")]
    assert replica.stats() == {
        "requests": {"search": 0, "detail": 0, "refused": 0},
        "references": {},
    }
    for answer in (search, refused, *details, details[0]):
        replica.delivered(answer)
    assert replica.stats() == {
        "requests": {"search": 1, "detail": 3, "refused": 1},
        "references": {"plain": 2},
    }
    assert replica.references() == {"plain": 2, "x": 1}


MADE = [made.served for made in generate(400, 4, FIRST, LAST, faulty=0.3, trapped=0.3)]
REPLICA = DumeReplica(MADE, cap=10)


def scalar(value: object) -> str | None:
    if isinstance(value, bool):
        return None
    return str(value) if isinstance(value, str | int) else None


def ids(value: object) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(ids, value))
    if isinstance(value, dict):
        return {str(value["id"])} if "id" in value else set().union(*map(ids, value.values()))
    return set()


def matches(query: SearchQuery, made: ServedRow) -> bool:
    """Whether a row answers a query: every filter checked one by one, on the row itself."""
    row = made.row
    type_ = CC if row["donneesCC"] else MP
    block = row["donneesCC"] or row["donneesMP"]
    buyer = block.get("idAutoriteConcedante" if type_ is CC else "idAcheteur")
    winners = block.get("concessionnaires" if type_ is CC else "titulaires")
    return (
        (query.date_start is None or query.date_start <= made.day)
        and (query.date_end is None or made.day <= query.date_end)
        and query.type_de in (None, type_)
        and query.reference in (None, made.reference)
        and query.internal_id in (None, scalar(row.get("id")))
        and query.nature in (None, scalar(row.get("nature")))
        and query.procedure in (None, scalar(row.get("procedure")))
        and query.cpv_code in (None, scalar(block.get("codeCPV")))
        and query.acheteur_id in (None, scalar(buyer))
        and (query.titulaire_id is None or query.titulaire_id in ids(winners))
    )


@st.composite
def queries(draw) -> SearchQuery:
    """A query that some row may answer: filters taken from one row, some from another."""
    query = SearchQuery()
    for made in draw(st.lists(st.sampled_from(MADE), min_size=1, max_size=2)):
        row = made.row
        type_ = CC if row["donneesCC"] else MP
        block = row["donneesCC"] or row["donneesMP"]
        winners = sorted(ids(block.get("concessionnaires") or block.get("titulaires")))
        filters = {
            "date_start": made.day - timedelta(draw(st.integers(0, 9))),
            "date_end": made.day + timedelta(draw(st.integers(0, 9))),
            "type_de": type_,
            "reference": made.reference,
            "internal_id": scalar(row.get("id")),
            "nature": scalar(row.get("nature")),
            "procedure": scalar(row.get("procedure")),
            "cpv_code": scalar(block.get("codeCPV")),
            "acheteur_id": scalar(block.get("idAutoriteConcedante") or block.get("idAcheteur")),
            "titulaire_id": winners[0] if winners else None,
        }
        for name in draw(st.lists(st.sampled_from(sorted(filters)), max_size=4)):
            if filters[name]:
                query = replace(query, **{name: filters[name]})
        if query.acheteur_id or query.titulaire_id:
            query = replace(query, type_de=query.type_de or type_)
    return query


@settings(max_examples=300)
@given(queries())
def test_answers_are_those_of_a_naive_search(query):
    if query.date_start and query.date_end and query.date_start > query.date_end:
        query = replace(query, date_end=query.date_start)
    expected = [
        made.row for made in sorted(MADE, key=lambda made: made.day) if matches(query, made)
    ]
    assert ask(REPLICA, query) == orjson.loads(orjson.dumps(expected[:10]))
