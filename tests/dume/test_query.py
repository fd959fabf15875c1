from __future__ import annotations

import pickle
from datetime import date

import pytest

from dume_spider.decp.regime import ContractType
from dume_spider.dume.query import Requester, SearchQuery

REQUESTER = Requester("12345678901011", "AAA001", "12345698765445", "AIFE")
ENVELOPE = {
    "operation": "recupererDEV2",
    "plateforme": {"idPlateforme": "12345678901011", "idTechniquePlateforme": "AAA001"},
    "idDemandeur": "12345698765445",
    "rsDemandeur": "AIFE",
}
MP, CC = ContractType.MARCHE, ContractType.CONCESSION
BUYER, WINNER = "21750001600019", "35600000000048"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (SearchQuery(), {}),
        (
            SearchQuery(date_start=date(2024, 3, 1), date_end=date(2024, 3, 2)),
            {"dateDebutPublication": "2024-03-01", "dateFinPublication": "2024-03-02"},
        ),
        (
            SearchQuery(reference="AIFEDUME-daoxup8c", internal_id="2024-01"),
            {"referenceUnique": "AIFEDUME-daoxup8c", "id": "2024-01"},
        ),
        (
            SearchQuery(procedure="Appel d'offres ouvert", nature="Marché", cpv_code="45210000"),
            {"procedure": "Appel d'offres ouvert", "nature": "Marché", "codeCPV": "45210000"},
        ),
        (
            SearchQuery(type_de=MP, acheteur_id=BUYER, titulaire_id=WINNER),
            {"typeDE": "MP", "idAcheteur": BUYER, "idTitulaire": WINNER},
        ),
        (
            SearchQuery(type_de=CC, acheteur_id=BUYER, titulaire_id=WINNER),
            {"typeDE": "CC", "idAutoriteConcedante": BUYER, "idConcessionnaire": WINNER},
        ),
    ],
)
def test_payload(query: SearchQuery, expected: dict[str, str]) -> None:
    assert query.payload(REQUESTER) == ENVELOPE | expected
    assert SearchQuery.of_filters(query.filters()) == query
    assert pickle.loads(pickle.dumps(query.filters())) == query.filters()


@pytest.mark.parametrize("party", ["acheteur_id", "titulaire_id"])
def test_a_party_without_a_type_is_asked_for_both_types(party: str) -> None:
    query = SearchQuery(**{party: BUYER})
    with pytest.raises(ValueError, match="needs a type_de"):
        query.payload(REQUESTER)
    assert query.typed() == (
        SearchQuery(type_de=MP, **{party: BUYER}),
        SearchQuery(type_de=CC, **{party: BUYER}),
    )


def test_a_query_that_needs_no_type_stays_one() -> None:
    for query in (SearchQuery(nature="Marché"), SearchQuery(type_de=CC, acheteur_id=BUYER)):
        assert query.typed() == (query,)
