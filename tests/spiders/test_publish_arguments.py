"""The arguments of the publish spider, read before the first request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dume_spider.exceptions import ArgumentError
from dume_spider.spiders.publish import PublishSpider

DATASET = "0123456789abcdef01234567"
RESOURCE = "01234567-89ab-cdef-0123-456789abcdef"
SIRET = "21750001600019"
URL = f"https://www.example.fr/DECP-{SIRET}-2026-11-21-01.json"
CREATE = {
    "create": "true",
    "structure": "plateforme",
    "siret": SIRET,
    "name": "  Achats   publics ",
    "organization": DATASET,
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three files in the working directory, and a key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAGOUV_API_KEY", "udata_x")
    (tmp_path / "b").mkdir()
    for name in ("b/1.json", "2.json", "3.xml"):
        (tmp_path / name).touch()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"dataset": DATASET, "files": "*.json"},
            {"action": "upload", "dataset": DATASET, "files": [Path("2.json")]},
        ),
        (
            {"dataset": "mon-jeu", "files": "3.xml, **/*.json,2.json", "dry_run": "true"},
            {
                "action": "upload",
                "dataset": "mon-jeu",
                "files": [Path("b/1.json"), Path("2.json"), Path("3.xml")],
                "dry_run": True,
            },
        ),
        (
            {**CREATE, "private": "false", "_job": "1"},
            {
                "action": "upload",
                "create": True,
                "structure": "plateforme",
                "siret": SIRET,
                "name": "Achats publics",
                "organization": DATASET,
                "private": False,
            },
        ),
        (
            {"dataset": DATASET, "remote_url": URL},
            {"action": "upload", "dataset": DATASET, "remote_url": URL},
        ),
        (
            {
                "action": "replace",
                "dataset": DATASET,
                "resource": RESOURCE,
                "files": "2.json",
                "confirm": RESOURCE,
            },
            {
                "action": "replace",
                "dataset": DATASET,
                "resource": RESOURCE,
                "files": [Path("2.json")],
                "confirm": RESOURCE,
            },
        ),
        (
            {"action": "delete-dataset", "dataset": DATASET, "confirm": DATASET},
            {"action": "delete-dataset", "dataset": DATASET, "confirm": DATASET},
        ),
        ({"action": "restore", "dataset": DATASET}, {"action": "restore", "dataset": DATASET}),
    ],
)
def test_values(given: dict[str, str], expected: dict[str, Any]) -> None:
    assert PublishSpider.read_arguments(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"dateset": DATASET},
            "publish: unknown argument 'dateset' ('0123456789abcdef01234567'); accepted: action, "
            "confirm, create, dataset, dry_run, files, name, organization, private, remote_url, "
            "resource, siret, structure, structure_name",
        ),
        (
            {**CREATE, "structure_name": "another"},
            "publish: name and structure_name differ; give one of them",
        ),
        ({}, "publish: action=upload: give either dataset=… or create=true"),
        (
            {**CREATE, "dataset": DATASET},
            "publish: action=upload with create=true: give either dataset=… or create=true",
        ),
        (
            {"dataset": DATASET},
            "publish: action=upload: what is to be published? give files or remote_url",
        ),
        (
            {"create": "true", "name": "x", "structure": "acheteur"},
            "publish: action=upload with create=true: needs siret, organization",
        ),
        (
            {"dataset": DATASET, "files": "2.json", "name": "x"},
            "publish: action=upload: argument name does not go with it; accepted: "
            "action, create, dataset, dry_run, files, remote_url, siret",
        ),
        (
            {"dataset": DATASET, "files": "2.json,none-*"},
            "publish: argument files='2.json,none-*': no such file: none-*",
        ),
        (
            {"dataset": DATASET, "files": " , "},
            "publish: argument files=' , ': is empty; accepted: paths or globs, joined by commas",
        ),
        (
            {"dataset": "../x", "files": "2.json"},
            "publish: argument dataset='../x': not known; accepted: the id of a data set (24 "
            "hexadecimal characters) or its slug",
        ),
        (
            {**CREATE, "organization": "ville"},
            "publish: argument organization='ville': not known; accepted: an id of 24 hexadecimal "
            "characters",
        ),
        (
            {**CREATE, "structure": "ville"},
            "publish: argument structure='ville': not known; accepted: acheteur, plateforme",
        ),
        (
            {**CREATE, "name": "x" * 400},
            "publish: argument name='" + "x" * 58 + "…: is empty or longer than 290 characters",
        ),
        (
            {**CREATE, "create": "yes"},
            "publish: argument create='yes': not known; accepted: true, false",
        ),
        (
            {"dataset": DATASET, "remote_url": "ftp://x/a.json"},
            "publish: argument remote_url='ftp://x/a.json': not an address; accepted: https://… or "
            "http://…, without a password",
        ),
        (
            {"dataset": DATASET, "remote_url": "https://u:p@x/a.json"},
            "publish: argument remote_url='https://u:p@x/a.json': not an address; accepted: "
            "https://… or http://…, without a password",
        ),
        (
            {"dataset": DATASET, "remote_url": "https://x/a.csv"},
            "publish: argument remote_url='https://x/a.csv': '/a.csv' is no DECP file; accepted: "
            "json or xml",
        ),
        (
            {"action": "delete-dataset", "dataset": DATASET},
            "publish: action=delete-dataset: destroys what is there; repeat the id to confirm: "
            f"confirm={DATASET}",
        ),
        (
            {"action": "delete-dataset", "dataset": "mon-jeu", "confirm": "mon-jeu"},
            "publish: action=delete-dataset: argument dataset='mon-jeu': not known; accepted: an "
            "id of 24 hexadecimal characters",
        ),
        (
            {
                "action": "delete-resource",
                "dataset": DATASET,
                "resource": RESOURCE,
                "confirm": DATASET,
            },
            "publish: action=delete-resource: destroys what is there; repeat the id to confirm: "
            f"confirm={RESOURCE}",
        ),
        (
            {"action": "delete-resource", "dataset": DATASET},
            "publish: action=delete-resource: needs resource",
        ),
        (
            {
                "action": "replace",
                "dataset": DATASET,
                "resource": RESOURCE,
                "files": "*.json,b/1.json",
                "confirm": RESOURCE,
            },
            "publish: action=replace: give one file, not 2",
        ),
        (
            {"action": "restore", "dataset": DATASET, "confirm": DATASET},
            "publish: action=restore: argument confirm does not go with it; accepted: action, "
            "dataset, dry_run",
        ),
        (
            {"action": "delete-resource", "resource": "1", "dataset": DATASET},
            "publish: argument resource='1': not known; accepted: the id of a resource (a UUID)",
        ),
    ],
)
def test_errors(given: dict[str, str], message: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        PublishSpider.read_arguments(given)
    assert str(raised.value) == message


def test_a_dry_run_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAGOUV_API_KEY")
    arguments = {"dataset": DATASET, "action": "restore"}
    assert PublishSpider.read_arguments(arguments | {"dry_run": "true"})["dry_run"] is True
    with pytest.raises(ArgumentError, match="DATAGOUV_API_KEY is not set"):
        PublishSpider.read_arguments(arguments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"DATAGOUV_LICENSE": "etalab-2.0"},
            "DATAGOUV_LICENSE='etalab-2.0': not known; accepted: fr-lo, lov2",
        ),
        (
            {"DATAGOUV_FREQUENCY": "journalier"},
            "DATAGOUV_FREQUENCY='journalier': not known; accepted: continuous, oneMinute, ",
        ),
        (
            {"DATAGOUV_API_URL": "http://www.data.gouv.fr/api/1"},
            "DATAGOUV_API_URL='http://www.data.gouv.fr/api/1' cannot be used; accepted: https://",
        ),
        ({"DATAGOUV_API_KEY": "udata_x"}, "DATAGOUV_API_KEY is given as a setting, where "),
    ],
)
def test_settings(settings: dict[str, str], message: str) -> None:
    from scrapy.settings import Settings

    good = {
        "DATAGOUV_API_URL": "https://www.data.gouv.fr/api/1",
        "DATAGOUV_LICENSE": "fr-lo",
        "DATAGOUV_FREQUENCY": "daily",
    }
    PublishSpider.check_settings(Settings(good))
    with pytest.raises(ArgumentError) as raised:
        PublishSpider.check_settings(Settings(good | settings))
    assert str(raised.value).startswith(message)
    assert "udata_x" not in str(raised.value)


def test_what_scrapyd_keeps_for_itself_has_another_name() -> None:
    given = {name: value for name, value in CREATE.items() if name != "name"}
    assert PublishSpider.read_arguments(
        {**given, "structure_name": CREATE["name"]}
    ) == PublishSpider.read_arguments(CREATE)
