"""The publish spider against the replica and a real udata: the same outcomes on both."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sqlite3
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from portals import Portal
from publishing import (
    OTHER_SIRET,
    SIRET,
    TODAY,
    Publishing,
    api,
    make_file,
    new_dataset,
    new_siret,
    resources,
)

from dume_spider.datagouv.dataset import DecpDataset, slug

DAY = TODAY.isoformat()
ONE, TWO, THREE = (f"DECP-{SIRET}-{DAY}-{number:02}.json" for number in (1, 2, 3))


def create(portal: Portal, structure: str = "plateforme", **more: Any) -> dict[str, Any]:
    """The arguments that make a data set which no other test has."""
    return {
        "create": "true",
        "structure": structure,
        "siret": SIRET,
        "name": f"Ville {uuid4()}",
        "organization": portal.organization,
        **more,
    }


def globbed(publish: Publishing) -> str:
    return str(publish.folder / "decp" / "DECP-*.*")


def stored(publish: Publishing) -> list[tuple[str, str, str]]:
    """What the store remembers: name, data set and resource, in the order it was noted."""
    with sqlite3.connect(publish.folder / "store.sqlite") as connection:
        lines = connection.execute("SELECT name, dataset, resource FROM publications ORDER BY id")
        found = lines.fetchall()
    connection.close()
    return found


@pytest.mark.parametrize(("structure", "extras"), [("acheteur", ["siret"]), ("plateforme", [])])
def test_conventions(
    portal: Portal, publish: Publishing, structure: str, extras: list[str]
) -> None:
    """Everything the guide asks for, read back from the server."""
    siret = new_siret()
    publish.files(1, siret=siret)
    make_file(publish.folder / "decp", 2, siret=siret, format="xml")
    arguments = create(portal, structure, siret=siret, files=globbed(publish), private="true")
    settings = {"DATAGOUV_LICENSE": "lov2", "DATAGOUV_FREQUENCY": "weekly"}
    done = publish(portal, arguments, settings=settings)
    assert (done.status, done.errors) == (0, [])
    dataset = done.summary["published"][0]["dataset"]
    shown = api(portal, "GET", f"datasets/{dataset}/")
    wanted = DecpDataset(structure, siret, arguments["name"], "lov2", "weekly")
    name = arguments["name"]
    assert shown["title"] == f"Données essentielles des marchés publics - {name}"
    assert shown["description"].strip() == wanted.description.strip()
    assert siret in shown["description"]
    assert "https://github.com/139bercy/format-commande-publique" in shown["description"]
    assert set(shown["tags"]) == {"donnees-essentielles", "commande-publique"}
    assert shown["extras"] == dict.fromkeys(extras, siret)
    assert shown["license"] == "lov2"
    assert shown["frequency"] == "weekly"
    assert shown["organization"]["id"] == portal.organization
    assert shown["private"] is True
    by_title = resources(portal, dataset)
    assert set(by_title) == {f"DECP-{siret}-{DAY}-01.json", f"DECP-{siret}-{DAY}-02.xml"}
    for title, resource in by_title.items():
        path = publish.folder / "decp" / title
        assert resource["type"] == "main"
        assert resource["filetype"] == "file"
        assert resource["format"] == path.suffix[1:]
        assert resource["mime"] in (f"application/{path.suffix[1:]}", f"text/{path.suffix[1:]}")
        assert resource["filesize"] == path.stat().st_size
        assert resource["checksum"]["type"] == "sha1"
        assert resource["checksum"]["value"] in {
            each["sha1"] for each in done.summary["published"] if each["file"] == title
        }


def test_a_life(portal: Portal, publish: Publishing) -> None:
    """Published, published again, changed, another day: each file is there once."""
    publish.files(1, 2, 3)
    arguments = create(portal, files=globbed(publish))
    done = publish(portal, arguments)
    assert done.status == 0
    assert done.actions == {"": "created", ONE: "uploaded", TWO: "uploaded", THREE: "uploaded"}
    assert done.summary["counts"] | {"new": 3, "written": 3, "rows": 3} == done.summary["counts"]
    assert done.summary["balanced"]
    dataset = done.summary["published"][0]["dataset"]
    before = resources(portal, dataset)
    assert stored(publish) == [(name, dataset, before[name]["id"]) for name in (ONE, TWO, THREE)]

    done = publish(portal, arguments)
    assert done.status == 0
    assert set(done.actions.values()) == {"unchanged"}
    assert done.summary["counts"]["unchanged"] == 3
    assert "write" not in done.summary["requests"]
    assert resources(portal, dataset) == before

    make_file(publish.folder / "decp", 1, contract="changed")
    done = publish(portal, {"dataset": dataset, "files": globbed(publish)})
    assert done.actions == {ONE: "replaced", TWO: "unchanged", THREE: "unchanged"}
    assert done.summary["advice"] == []
    after = resources(portal, dataset)
    assert after[ONE]["id"] == before[ONE]["id"]
    assert after[ONE]["checksum"] != before[ONE]["checksum"]
    assert {name: after[name] for name in (TWO, THREE)} == {
        name: before[name] for name in (TWO, THREE)
    }

    make_file(publish.folder / "decp", 1, day=TODAY.replace(day=22))
    done = publish(portal, {"dataset": dataset, "files": globbed(publish)})
    tomorrow = ONE.replace(DAY, "2026-11-22")
    assert done.actions[tomorrow] == "uploaded"
    assert set(resources(portal, dataset)) == {ONE, TWO, THREE, tomorrow}
    assert [name for name, _, _ in stored(publish)] == [ONE, TWO, THREE, ONE, tomorrow]


def test_a_content_from_elsewhere_is_replaced_with_a_word(
    portal: Portal, publish: Publishing
) -> None:
    """Two machines, each with a store of its own, count the files of a day alike."""
    elsewhere = {"DECP_STORE_URL": f"sqlite:///{publish.folder / 'elsewhere.sqlite'}"}
    dataset = new_dataset(portal)
    arguments = {"dataset": dataset, "files": globbed(publish)}
    # Under another name: within a second, the portal stores no two files of the same.
    (path,) = publish.files(9)
    assert publish(portal, arguments, settings=elsewhere).status == 0
    path.unlink()
    (there,) = resources(portal, dataset).values()
    theirs = there["checksum"]["value"]
    assert api(portal, "PUT", f"datasets/{dataset}/resources/{there['id']}/", {"title": ONE})
    publish.files(1)
    for dry_run, action in [
        ("true", {}),
        ("false", {ONE: "replaced"}),
        ("false", {ONE: "unchanged"}),
    ]:
        done = publish(portal, {**arguments, "dry_run": dry_run})
        assert (done.status, done.actions) == (0, action)
        if action == {ONE: "unchanged"}:
            assert done.summary["advice"] == []
        else:
            (advice,) = done.summary["advice"]
            assert advice.startswith(f"[PUB-21] {ONE}: the data set {dataset} has a file of this ")
            assert f"(sha1 {theirs}), not published from this store: it is replaced" in advice


def test_a_link(portal: Portal, publish: Publishing) -> None:
    dataset = new_dataset(portal)
    url = f"https://www.example.fr/donnees/DECP-{SIRET}-{DAY}-04.xml"
    arguments = {"dataset": dataset, "remote_url": url}
    done = publish(portal, arguments)
    assert (done.status, list(done.actions.values())) == (0, ["linked"])
    (resource,) = resources(portal, dataset).values()
    found = {name: resource[name] for name in ("title", "url", "filetype", "type", "format")}
    assert found == {
        "title": f"DECP-{SIRET}-{DAY}-04.xml",
        "url": url,
        "filetype": "remote",
        "type": "main",
        "format": "xml",
    }
    assert resource["mime"] == "application/xml"
    assert list(publish(portal, arguments).actions.values()) == ["unchanged"]
    # The file has moved: it is not linked twice.
    moved = arguments | {"remote_url": url.replace("www", "data")}
    assert list(publish(portal, moved).actions.values()) == ["described"]
    (resource,) = resources(portal, dataset).values()
    assert resource["url"] == moved["remote_url"]
    # Other names are anybody's: they are told by the address.
    for host in ("www", "data"):
        other = {"dataset": dataset, "remote_url": f"https://{host}.example.fr/decp.json"}
        assert list(publish(portal, other).actions.values()) == ["linked"]
    shown = api(portal, "GET", f"datasets/{dataset}/")["resources"]
    assert len(shown) == 3
    for each in shown[:2]:
        api(portal, "DELETE", f"datasets/{dataset}/resources/{each['id']}/")
    # Sent again, it says that the file behind it has changed.
    assert publish(portal, {"dataset": dataset, "action": "update", **NAMED}).status == 0
    (again,) = resources(portal, dataset).values()
    assert again["id"] == resource["id"]
    assert again["last_modified"] > resource["last_modified"]


NAMED = {"name": "Testville", "siret": SIRET, "structure": "acheteur"}


def test_update(portal: Portal, publish: Publishing) -> None:
    """Metadata that others have spoilt are put right; what is not ours stays."""
    publish.files(1)
    done = publish(portal, create(portal, files=globbed(publish), private="true"))
    dataset = done.summary["published"][0]["dataset"]
    resource = resources(portal, dataset)[ONE]
    spoilt = {"title": "Autre", "tags": ["voirie"], "license": "odc-odbl", "private": True}
    extras = {"siret": SIRET, "notre": "à nous"}
    coverage = {"start": "2026-01-01", "end": "2026-12-31"}
    body = spoilt | {"extras": extras, "temporal_coverage": coverage, "description": "y"}
    assert api(portal, "PUT", f"datasets/{dataset}/", body)
    path = f"datasets/{dataset}/resources/{resource['id']}/"
    assert api(portal, "PUT", path, {"title": ONE.lower(), "type": "other"})
    before = api(portal, "GET", f"datasets/{dataset}/")

    done = publish(portal, {"dataset": dataset, "action": "update", "name": "Testville"})
    assert (done.status, done.errors) == (0, [])
    assert done.actions == {"": "described", ONE: "described"}
    shown = api(portal, "GET", f"datasets/{dataset}/")
    wanted = DecpDataset("acheteur", SIRET, "Testville", "fr-lo", "daily")
    assert shown["title"] == wanted.title
    assert shown["license"] == "fr-lo"
    assert set(shown["tags"]) == {"voirie", "donnees-essentielles", "commande-publique"}
    assert shown["extras"] == extras
    assert shown["private"] is True
    assert shown["temporal_coverage"] == before["temporal_coverage"]
    (resource,) = resources(portal, dataset).values()
    assert (resource["title"], resource["type"]) == (ONE, "main")
    assert publish(portal, {"dataset": dataset, "action": "update", "private": "false"}).status == 0
    assert api(portal, "GET", f"datasets/{dataset}/", role=None)["private"] is False


def test_update_leaves_what_is_no_data_alone(portal: Portal, publish: Publishing) -> None:
    """A schema, say, is JSON too."""
    dataset = new_dataset(portal)
    body = {"title": "schema.json", "url": "https://www.example.fr/schema.json"}
    body |= {"filetype": "remote", "type": "documentation", "format": "json"}
    before = api(portal, "POST", f"datasets/{dataset}/resources/", body)
    done = publish(portal, {"dataset": dataset, "action": "update", **NAMED})
    assert (done.status, done.actions) == (0, {"": "described"})
    (after,) = resources(portal, dataset).values()
    assert after["type"] == before["type"] == "documentation"


def test_update_can_make_a_platform_of_a_buyer(portal: Portal, publish: Publishing) -> None:
    """Its SIRET is then not among the extras, as the guide says; others stay."""
    dataset = new_dataset(portal, extras={"siret": new_siret(), "notre": "à nous"})
    arguments = {"dataset": dataset, "action": "update", "name": f"Plateforme {uuid4()}"}
    siret = new_siret()
    done = publish(portal, arguments | {"structure": "plateforme", "siret": siret})
    assert (done.status, done.errors) == (0, [])
    shown = api(portal, "GET", f"datasets/{dataset}/")
    assert shown["extras"] == {"notre": "à nous"}
    assert f"SIRET {siret}" in shown["description"]
    done = publish(portal, arguments | {"structure": "acheteur", "siret": siret})
    assert api(portal, "GET", f"datasets/{dataset}/")["extras"] == {
        "notre": "à nous",
        "siret": siret,
    }


def test_update_asks_for_what_the_data_set_does_not_tell(
    portal: Portal, publish: Publishing
) -> None:
    done = publish(portal, {"dataset": new_dataset(portal), "action": "update"})
    assert done.status == 1
    assert done.errors == [
        "publish: action=update: the data set does not tell its name; give name=…"
    ]


def test_replace_and_delete_a_resource(portal: Portal, publish: Publishing) -> None:
    publish.files(1, 2)
    dataset = new_dataset(portal)
    first = str(publish.folder / "decp" / ONE)
    publish(portal, {"dataset": dataset, "files": first})
    resource = resources(portal, dataset)[ONE]["id"]
    where = {"dataset": dataset, "resource": resource, "confirm": resource}
    second = str(publish.folder / "decp" / TWO)
    for action in ("replaced", "unchanged"):
        done = publish(portal, {"action": "replace", "files": second, **where})
        assert (done.status, done.actions) == (0, {TWO: action})
        (shown,) = resources(portal, dataset).values()
        assert (shown["id"], shown["title"]) == (resource, TWO)
        assert shown["filesize"] == Path(second).stat().st_size
    for action in ("deleted", "unchanged"):
        done = publish(portal, {"action": "delete-resource", **where})
        assert (done.status, list(done.actions.values())) == (0, [action])
        assert resources(portal, dataset) == {}
    assert f"WARNING dume_spider.extensions.run_summary: {done.summary['advice'][0]}\n" in done.log
    assert done.summary["advice"] == [
        f"[PUB-17] the data set {dataset} has no resource {resource}: nothing to delete"
    ]


def test_delete_and_restore_a_data_set(portal: Portal, publish: Publishing) -> None:
    publish.files(1)
    done = publish(portal, create(portal, files=globbed(publish)))
    dataset = done.summary["published"][0]["dataset"]
    before = api(portal, "GET", f"datasets/{dataset}/")
    for action in ("deleted", "unchanged"):
        done = publish(portal, {"action": "delete-dataset", "dataset": dataset, "confirm": dataset})
        assert (done.status, done.actions) == (0, {"": action})
        assert api(portal, "GET", f"datasets/{dataset}/")["deleted"]

    done = publish(portal, {"dataset": dataset, "files": globbed(publish)})
    assert done.status == 1
    (line,) = done.errors
    assert "is deleted; bring it back first: -a action=restore" in line
    assert done.summary["counts"]["failed"] == 1

    for action in ("restored", "unchanged"):
        done = publish(portal, {"action": "restore", "dataset": dataset})
        assert (done.status, done.actions) == (0, {"": action})
    shown = api(portal, "GET", f"datasets/{dataset}/")
    same = ("title", "description", "tags", "extras", "license", "frequency", "private", "deleted")
    assert {name: shown[name] for name in same} == {name: before[name] for name in same}
    assert publish(portal, {"dataset": dataset, "files": globbed(publish)}).status == 0


def test_a_deleted_data_set_is_not_taken_for_the_one_to_create(
    portal: Portal, publish: Publishing
) -> None:
    arguments = create(portal)
    first = publish(portal, arguments).summary["published"][0]["dataset"]
    publish(portal, {"action": "delete-dataset", "dataset": first, "confirm": first})
    done = publish(portal, arguments)
    (made,) = done.summary["published"]
    assert made["action"] == "created"
    assert made["dataset"] != first


def test_a_renamed_data_set_is_still_the_one(portal: Portal, publish: Publishing) -> None:
    """Each buyer has one, whatever somebody calls it on the portal."""
    siret = new_siret()
    publish.files(1, siret=siret)
    arguments = create(portal, "acheteur", siret=siret, files=globbed(publish))
    dataset = publish(portal, arguments).summary["published"][0]["dataset"]
    body = {"title": f"Renommé {uuid4()}", "tags": ["donnees-essentielles"]}
    assert api(portal, "PUT", f"datasets/{dataset}/", body)
    done = publish(portal, arguments)
    assert (done.status, set(done.actions.values())) == (0, {"unchanged"})
    assert {each["dataset"] for each in done.summary["published"]} == {dataset}


def test_a_data_set_without_its_tags_is_still_the_one(portal: Portal, publish: Publishing) -> None:
    """Somebody has taken them off on the portal: a second data set would be made. What it lacks
    is said, with the command that puts it right."""
    siret = new_siret()
    publish.files(1, siret=siret)
    arguments = create(portal, "acheteur", siret=siret, files=globbed(publish))
    dataset = publish(portal, arguments).summary["published"][0]["dataset"]
    body = {"tags": ["voirie"], "private": True, "frequency": "weekly"}
    assert api(portal, "PUT", f"datasets/{dataset}/", body)
    done = publish(portal, arguments)
    assert (done.status, set(done.actions.values())) == (0, {"unchanged"})
    assert {each["dataset"] for each in done.summary["published"]} == {dataset}
    (advice,) = done.summary["advice"]
    start, _, command = advice.partition("; if it is the right one, bring it up to date: ")
    name = arguments["name"]
    assert start == (
        f"[PUB-22] the data set {dataset} (Données essentielles des marchés publics - {name}): "
        "tags is ['voirie'] instead of ['données-essentielles', 'commande-publique']; "
        "frequency is 'weekly' instead of 'daily'; private is True instead of False"
    )
    assert command == (
        f"scrapy crawl publish -a action=update -a dataset={dataset} -a structure=acheteur "
        f"-a siret={siret} -a 'name={name}' -a private=false"
    )
    given = [part.partition("=")[::2] for part in shlex.split(command) if "=" in part]
    assert publish(portal, dict(given)).status == 0
    assert publish(portal, arguments).summary["advice"] == []


def test_a_data_set_that_may_be_another_one_is_told(portal: Portal, publish: Publishing) -> None:
    """One id copied wrongly: what is there are no DECP, or it is hidden from all others."""
    publish.files(1)
    dataset = new_dataset(portal, tags=["budget"], private=True)
    done = publish(portal, {"dataset": dataset, "files": globbed(publish)})
    assert (done.status, done.actions) == (0, {ONE: "uploaded"})
    (advice,) = done.summary["advice"]
    assert re.search(
        r"^\[PUB-22\] .*: tags is \['budget'\] instead of .*; private is True instead of False; if "
        rf".* -a action=update -a dataset={dataset} -a private=false$",
        advice,
    )
    assert done.log.count(f"WARNING dume_spider.extensions.run_summary: {advice}") == 1


def test_a_retitled_file_is_still_the_one(portal: Portal, publish: Publishing) -> None:
    """Its content tells: it is not published twice, and gets its name again. A content that
    two files have is published under both names."""
    publish.files(1)
    dataset = new_dataset(portal)
    arguments = {"dataset": dataset, "files": globbed(publish)}
    publish(portal, arguments)
    (there,) = resources(portal, dataset).values()
    path = f"datasets/{dataset}/resources/{there['id']}/"
    assert api(portal, "PUT", path, {"title": "Marchés de novembre"})
    shutil.copy(publish.folder / "decp" / ONE, publish.folder / "decp" / TWO)
    for actions in ({ONE: "described", TWO: "uploaded"}, dict.fromkeys((ONE, TWO), "unchanged")):
        assert publish(portal, arguments).actions == actions
        assert set(resources(portal, dataset)) == {ONE, TWO}
        assert resources(portal, dataset)[ONE]["id"] == there["id"]


def test_several_data_sets_of_the_same_title(portal: Portal, publish: Publishing) -> None:
    siret = new_siret()
    arguments = create(portal, "acheteur", siret=siret)
    title = DecpDataset("acheteur", siret, arguments["name"], "fr-lo", "daily").title
    two = {new_dataset(portal, title=title, extras={"siret": siret}) for _ in range(2)}
    # Of another buyer, so that it is none of them.
    new_dataset(portal, title=title, extras={"siret": OTHER_SIRET})
    done = publish(portal, arguments)
    assert done.status == 1
    (line,) = done.errors
    assert f"the organization has 2 data sets {title!r}: " in line
    assert all(id in line for id in two)


def test_chunks(portal: Portal, publish: Publishing) -> None:
    """A large file goes in parts; what comes together is the file."""
    path = make_file(publish.folder / "decp", 1, contracts=20)
    dataset = new_dataset(portal)
    patch = {"dume_spider.datagouv.client.PART": 4096}
    for action in ("uploaded", "unchanged"):
        done = publish(portal, {"dataset": dataset, "files": path}, patch=patch)
        assert (done.status, done.actions) == (0, {ONE: action})
        shown = resources(portal, dataset)[ONE]
        assert shown["filesize"] == path.stat().st_size
        assert shown["checksum"]["value"] == done.summary["published"][0]["sha1"]
    path = make_file(publish.folder / "decp", 1, contracts=30)
    done = publish(portal, {"dataset": dataset, "files": path}, patch=patch)
    assert (done.status, done.actions) == (0, {ONE: "replaced"})
    assert resources(portal, dataset)[ONE]["filesize"] == path.stat().st_size


def test_a_file_twice_on_the_portal_is_named(portal: Portal, publish: Publishing) -> None:
    """Another one's duplicates stay, and are said."""
    publish.files(1)
    dataset = new_dataset(portal)
    publish(portal, {"dataset": dataset, "files": globbed(publish)})
    known = resources(portal, dataset)[ONE]
    (publish.folder / "decp" / ONE).rename(publish.folder / "decp" / TWO)
    publish(portal, {"dataset": dataset, "files": globbed(publish)})
    other = resources(portal, dataset)[TWO]
    path = f"datasets/{dataset}/resources/{other['id']}/"
    assert api(portal, "PUT", path, {"title": ONE.lower()})
    (publish.folder / "decp" / TWO).rename(publish.folder / "decp" / ONE)
    done = publish(portal, {"dataset": dataset, "files": globbed(publish)})
    assert done.status == 0
    (advice,) = done.summary["advice"]
    assert advice.startswith(f"[PUB-18] the data set {dataset} has {ONE} 2 times; ")
    assert known["id"] in advice
    assert other["id"] in advice


def test_files_are_checked_first(portal: Portal, publish: Publishing) -> None:
    """What must not be published is named, and the rest is published."""
    folder = publish.folder / "decp"
    publish.files(1)
    good = (folder / ONE).read_text(encoding="utf-8")
    bad = {
        "donnees.json": good,
        f"DECP-{OTHER_SIRET}-{DAY}-01.json": good,
        f"DECP-{SIRET}-{DAY}-02.json": good.replace('"montant":', '"montante":'),
        f"DECP-{SIRET}-{DAY}-03.json": good[:-20],
        f"DECP-{SIRET}-{DAY}-04.json": "",
        f"DECP-{SIRET}-{DAY}-05.xml": good,
        f"DECP-{SIRET}-{DAY}-06.json": '{"marches": {"marche": []}}',
    }
    for name, text in bad.items():
        (folder / name).write_text(text, encoding="utf-8")
    dataset = new_dataset(portal)
    files = f"{folder}/*.json,{folder}/*.xml"
    done = publish(portal, {"dataset": dataset, "files": files, "siret": SIRET})
    assert done.status == 1
    assert set(resources(portal, dataset)) == {ONE}
    assert {each["reference"] for each in done.summary["failures"]} == set(bad)
    assert done.summary["counts"]["failed"] == len(bad)
    assert {line[: line.index(" ")] for line in done.coded_errors} == {"[PUB-15]"}
    said = {Path(line.partition(": ")[0]).name: line.partition(": ")[2] for line in done.errors}
    assert said["donnees.json"].startswith("'donnees.json' is not the name of a DECP file")
    assert said[f"DECP-{OTHER_SIRET}-{DAY}-01.json"] == (
        f"is of SIRET {OTHER_SIRET}, not of {SIRET} as announced"
    )
    assert said[TWO].startswith("is not valid: 1 of 1 records; ")
    assert "see scrapy verify" in said[TWO]
    assert said[f"DECP-{SIRET}-{DAY}-04.json"] == "is empty"
    assert said[f"DECP-{SIRET}-{DAY}-05.xml"] == "is not XML, as its name says"
    assert "has no records" in said[f"DECP-{SIRET}-{DAY}-06.json"]


@pytest.mark.parametrize("announced", ["extras", "files", "nobody"])
def test_whose_files_they_are(portal: Portal, publish: Publishing, announced: str) -> None:
    """Without siret=…: as the data set says, else as its files are named."""
    extras = {"siret": SIRET} if announced == "extras" else {}
    dataset = new_dataset(portal, extras=extras)
    (own,) = publish.files(1)
    if announced == "files":
        assert publish(portal, {"dataset": dataset, "files": own}).status == 0
    (foreign,) = publish.files(1, siret=OTHER_SIRET)
    done = publish(portal, {"dataset": dataset, "files": f"{own},{foreign}"})
    assert done.status == 1
    (line,) = done.errors
    if announced == "nobody":
        assert line == (
            f"files of several SIRETs ({', '.join(sorted([SIRET, OTHER_SIRET]))}): a data set has "
            "those of one; say with siret=… of which"
        )
        assert resources(portal, dataset) == {}
    else:
        assert line.endswith(f"is of SIRET {OTHER_SIRET}, not of {SIRET} as announced")
        assert set(resources(portal, dataset)) == {ONE}
    if announced == "extras":
        arguments = {"dataset": dataset, "files": foreign, "siret": OTHER_SIRET}
        (line,) = publish(portal, arguments).errors
        assert line == f"siret={OTHER_SIRET}: the data set {dataset} is that of {SIRET}"


def test_slugs(portal: Portal, publish: Publishing) -> None:
    """An old slug leads to the data set all the same."""
    publish.files(1)
    dataset = new_dataset(portal)
    old = api(portal, "GET", f"datasets/{dataset}/")["slug"]
    title = f"Renommé {uuid4()}"
    body = {"title": title, "tags": ["commande-publique"], "slug": slug(title)}
    new = api(portal, "PUT", f"datasets/{dataset}/", body)["slug"]
    for given in (old, new):
        done = publish(portal, {"dataset": given, "files": globbed(publish)})
        assert (done.status, done.errors) == (0, [])
    assert set(resources(portal, dataset)) == {ONE}


def test_licenses_are_looked_up(portal: Portal, publish: Publishing) -> None:
    """One that the portal lacks would be dropped silently."""
    patch = {"dume_spider.spiders.publish.LICENSES": ["fr-lo", "lov2", "lov3"]}
    arguments = create(portal)
    done = publish(portal, arguments, settings={"DATAGOUV_LICENSE": "lov3"}, patch=patch)
    assert done.status == 1
    (line,) = done.errors
    assert line.startswith("DATAGOUV_LICENSE='lov3': the portal has no such licence")
    assert "fr-lo" in line
    assert publish(portal, arguments).actions == {"": "created"}


def test_the_summary_is_the_contract(portal: Portal, publish: Publishing) -> None:
    publish.files(1)
    dataset = new_dataset(portal)
    done = publish(portal, {"dataset": dataset, "files": globbed(publish)})
    (run,) = (publish.folder / "runs").iterdir()
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    (published,) = summary["published"]
    resource = resources(portal, dataset)[ONE]
    assert published == {
        "file": ONE,
        "action": "uploaded",
        "dataset": dataset,
        "resource": resource["id"],
        "sha1": resource["checksum"]["value"],
        "url": resource["url"],
    }
    assert (summary["spider"], summary["status"], summary["files"]) == ("publish", "complete", [])
    assert done.summary["published"] == summary["published"]
