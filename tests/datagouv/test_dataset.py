"""The conventions of the publication guide, as data."""

from __future__ import annotations

from typing import Any

import pytest

from dume_spider.datagouv.dataset import (
    FREQUENCIES,
    TAGS,
    DecpDataset,
    dataset_differences,
    format_of,
    name_of,
    resource_differences,
    resource_metadata,
    slug,
    with_tags,
)

SIRET = "21750001600019"
BUYER = DecpDataset("acheteur", SIRET, "Ville d'Orléans", "fr-lo", "daily")
PLATFORM = DecpDataset("plateforme", SIRET, "achats {publics}", "lov2", "weekly")


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (
            BUYER,
            {
                "title": "Données essentielles des marchés publics - Ville d'Orléans",
                "tags": ["données-essentielles", "commande-publique"],
                "extras": {"siret": SIRET},
                "license": "fr-lo",
                "frequency": "daily",
            },
        ),
        (
            PLATFORM,
            {
                "title": "Données essentielles des marchés publics - achats {publics}",
                "tags": ["données-essentielles", "commande-publique"],
                "extras": {},
                "license": "lov2",
                "frequency": "weekly",
            },
        ),
    ],
)
def test_metadata(dataset: DecpDataset, expected: dict[str, Any]) -> None:
    metadata = dataset.metadata()
    description = metadata.pop("description")
    assert metadata == expected
    assert dataset.name in description
    assert SIRET in description
    assert "DECP-{SIRET}-{année}-{mois}-{jour}-{numéro}.json" in description
    assert description.count("](https://") == 3


def test_the_structures_are_described_differently() -> None:
    assert "de l'acheteur Ville d'Orléans" in BUYER.description
    assert "publiées par la plateforme achats {publics}" in PLATFORM.description


SAME = {"title": BUYER.title, "extras": {"siret": SIRET}, "tags": ["donnees-essentielles"]}


@pytest.mark.parametrize(
    ("changes", "buyer", "platform"),
    [
        ({}, True, False),
        ({"title": "Renommé"}, True, False),
        ({"tags": ["voirie"]}, True, False),
        ({"tags": None, "title": "Budget"}, False, False),
        ({"extras": {"siret": "21690123100011"}}, False, False),
        ({"extras": {}}, True, False),
        ({"extras": None, "title": PLATFORM.title}, False, True),
        ({"extras": {"siret": SIRET}, "title": PLATFORM.title}, True, False),
        ({"extras": None, "title": "Autre"}, False, False),
    ],
)
def test_which_one_is_meant(changes: dict[str, Any], buyer: bool, platform: bool) -> None:
    assert BUYER.is_meant_by(SAME | changes) is buyer
    assert PLATFORM.is_meant_by(SAME | changes) is platform


def test_name_of() -> None:
    assert name_of(BUYER.title) == BUYER.name
    assert name_of("Marchés de la ville") == ""


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("données-essentielles", "donnees-essentielles"),
        ("commande-publique", "commande-publique"),
        (" Marchés  Publics! ", "marches-publics"),
        ("œuvre", "uvre"),
    ],
)
def test_slug(tag: str, expected: str) -> None:
    assert slug(tag) == expected


def test_with_tags() -> None:
    assert with_tags([]) == list(TAGS)
    assert with_tags(["donnees-essentielles", "eau"]) == [
        "donnees-essentielles",
        "eau",
        "commande-publique",
    ]


def test_forty_frequencies() -> None:
    assert len(set(FREQUENCIES)) == len(FREQUENCIES) == 40


@pytest.mark.parametrize(
    ("name", "expected"), [("a.json", "json"), ("A.XML", "xml"), ("x/y.b.json", "json")]
)
def test_format_of(name: str, expected: str) -> None:
    assert format_of(name) == expected


@pytest.mark.parametrize("name", ["", "json", "a.json.gz", "a.csv"])
def test_no_format(name: str) -> None:
    with pytest.raises(ValueError, match="is no DECP file; accepted: json or xml"):
        format_of(name)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"mime": "text/xml", "further": 1}, []),
        ({"mime": "text/html"}, ["mime is 'text/html' instead of 'application/xml'"]),
        ({"title": "a.XML"}, ["title is 'a.XML' instead of 'A.xml'"]),
        ({"type": "other"}, ["type is 'other' instead of 'main'"]),
        ({"format": None}, ["format is None instead of 'xml'"]),
    ],
)
def test_resource_differences(changes: dict[str, Any], expected: list[str]) -> None:
    wanted = resource_metadata("A.xml", "xml")
    assert resource_differences(wanted, wanted | changes) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"tags": ["commande-publique", "donnees-essentielles", "eau"]}, []),
        ({"extras": {"siret": SIRET, "more": 1}}, []),
        ({"description": BUYER.description.replace("\n", "\r\n")}, []),
        (
            {"tags": ["eau"]},
            ["tags is ['eau'] instead of ['données-essentielles', "],
        ),
        ({"tags": None}, ["tags is None instead of "]),
        ({"extras": None}, [f"extras is None instead of {{'siret': '{SIRET}'}}"]),
        ({"license": "notspecified"}, ["license is 'notspecified' instead of 'fr-lo'"]),
        ({"organization": {"id": "b"}}, ["organization is {'id': 'b'} instead of 'a'"]),
        ({"organization": None}, ["organization is None instead of 'a'"]),
        ({"description": "x"}, ["description is 'x' instead of …"]),
    ],
)
def test_dataset_differences(changes: dict[str, Any], expected: list[str]) -> None:
    wanted = BUYER.metadata() | {"organization": "a"}
    found = dataset_differences(wanted, wanted | {"organization": {"id": "a"}} | changes)
    assert len(found) == len(expected)
    assert all(text.startswith(start) for text, start in zip(found, expected, strict=True)), found
