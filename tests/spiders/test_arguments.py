from __future__ import annotations

from datetime import date

import pytest
from scrapy.settings import Settings

from dume_spider.decp.regime import ContractType
from dume_spider.exceptions import ArgumentError
from dume_spider.spiders.base import BaseSpider
from dume_spider.spiders.boamp import BoampSpider
from dume_spider.spiders.dume import DumeSpider
from dume_spider.spiders.publish import PublishSpider

MAIRIE = "21750001600019"
YESTERDAY = date(2026, 3, 17)
ACCEPTED = (
    "acheteur_id, cpv_code, date, date_end, date_start, detail, internal_id, nature, procedure, "
    "reference, reference_unique, shard, titulaire_id, type_de"
)

pytestmark = pytest.mark.usefixtures("on_18_march_2026")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"date_start": YESTERDAY, "date_end": YESTERDAY}),
        ({"_job": "1"}, {"date_start": YESTERDAY, "date_end": YESTERDAY}),
        (
            {"date": "2024-02-29"},
            {"date_start": date(2024, 2, 29), "date_end": date(2024, 2, 29)},
        ),
        ({"date_start": "2024-03-01"}, {"date_start": date(2024, 3, 1), "date_end": YESTERDAY}),
        ({"date_end": "2024-03-01"}, {"date_end": date(2024, 3, 1)}),
        ({"reference": "AIFEDUME-daoxup8c"}, {"reference": "AIFEDUME-daoxup8c"}),
        ({"reference_unique": "R"}, {"reference": "R"}),
        ({"reference_unique": "R", "reference": "R"}, {"reference": "R"}),
        (
            {"date": "2024-03-01", "type_de": "marché  public", "acheteur_id": "217 500 016 00019"},
            {
                "date_start": date(2024, 3, 1),
                "date_end": date(2024, 3, 1),
                "type_de": ContractType.MARCHE,
                "acheteur_id": MAIRIE,
            },
        ),
        (
            {"reference": "R", "titulaire_id": "35600000000048", "detail": "auto", "shard": "2/8"},
            {"reference": "R", "titulaire_id": "35600000000048", "detail": "auto", "shard": (2, 8)},
        ),
    ],
)
def test_values(given: dict[str, str], expected: dict[str, object]) -> None:
    assert DumeSpider.read_arguments(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"form_date": "2024-01-01"},
            f"dume: unknown argument 'form_date' ('2024-01-01'); accepted: {ACCEPTED}",
        ),
        (
            {"date": "2024-02-30"},
            "dume: argument date='2024-02-30': not a date; accepted: YYYY-MM-DD, "
            "such as 2024-03-01",
        ),
        (
            {"date": "2024-W01-1"},
            "dume: argument date='2024-W01-1': not a date; accepted: YYYY-MM-DD, "
            "such as 2024-03-01",
        ),
        (
            {"date_start": ""},
            "dume: argument date_start='': not a date; accepted: YYYY-MM-DD, such as 2024-03-01",
        ),
        (
            {"date_start": "0202-01-01"},
            "dume: argument date_start='0202-01-01': not a date of contracts; accepted: the years "
            "1900 to 2199",
        ),
        (
            {"nature": "March\udce9"},
            "dume: argument nature='March\\udce9': is not UTF-8; set the terminal to it",
        ),
        (
            {"date": "2024-03-01", "date_end": "2024-03-02"},
            "dume: argument date does not go with date_start or date_end; give either",
        ),
        (
            {"date_start": "2024-03-02", "date_end": "2024-03-01"},
            "dume: argument date_end='2024-03-01' is before date_start='2024-03-02'; "
            "give a last day that is not before the first",
        ),
        (
            {"acheteur_id": "21750001600018"},
            "dume: argument acheteur_id='21750001600018': not a SIRET; accepted: 14 digits whose "
            "check sum is right",
        ),
        (
            {"titulaire_id": "123"},
            "dume: argument titulaire_id='123': not a SIRET; accepted: 14 digits whose check sum "
            "is right",
        ),
        (
            {"type_de": "accord"},
            "dume: argument type_de='accord': not a type of contract; accepted: MP, MARCHE, "
            "MARCHE PUBLIC, MARCHÉ PUBLIC, MARCHE PUBLICS, CC, CONCESSION, CONTRAT DE CONCESSION",
        ),
        (
            {"detail": "yes"},
            "dume: argument detail='yes': not known; accepted: always, auto, never",
        ),
        (
            {"reference": "A", "reference_unique": "B"},
            "dume: reference and reference_unique differ; give one of them",
        ),
        ({"nature": " "}, "dume: argument nature=' ': is empty; leave the argument out instead"),
        (
            {"shard": "0/4"},
            "dume: argument shard='0/4': not a share; accepted: I/N with I from 1 to N, "
            "such as 2/8",
        ),
    ],
)
def test_errors(given: dict[str, str], message: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        DumeSpider.read_arguments(given)
    assert str(raised.value) == message


@pytest.mark.parametrize("spider", [DumeSpider, BoampSpider])
@pytest.mark.parametrize(
    "url", ["", "dume.example", "ftp://dume.example/", "https://", "http://[a"]
)
def test_an_address_that_is_none(spider: type[BaseSpider], url: str) -> None:
    name = f"{spider.name.upper()}_API_URL"
    with pytest.raises(ArgumentError, match="not an address; accepted: ") as raised:
        spider.check_settings(Settings({name: url, "DUME_FIELD_MAP": ""}))
    assert str(raised.value).startswith(f"{name}={url!r}: ")
    spider.check_settings(Settings({name: "http://127.0.0.1:9/", "DUME_FIELD_MAP": ""}))


@pytest.mark.parametrize("spider", [DumeSpider, BoampSpider, PublishSpider])
def test_no_argument_has_only_a_name_that_scrapyd_keeps_for_itself(
    spider: type[BaseSpider],
) -> None:
    """Those are not given to the spider, or the job is refused with a ``TypeError``."""
    kept = {"project", "spider", "spider_name", "name", "priority", "jobid", "setting", "settings"}
    assert {
        f"structure_{name}" for name in kept & spider.arguments.keys()
    } <= spider.arguments.keys()
