"""``PUBLISH_DATASET``: harvests that are followed by a publication, as whole processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from crawling import ROOT, Crawl, crawl_command, finished
from portals import Fault, Form, Portal, faulty
from publishing import SIRET, api, make_file, new_dataset, resources

from dume_spider.spiders.base import today

DAYS = {"date_start": "2026-03-01", "date_end": "2026-03-02"}


def row(reference: str, **changes: Any) -> dict[str, Any]:
    """A row of the service: a marché of the 2022 regime."""
    golden = Path(__file__).parents[1] / "decp" / "golden" / "2022.json"
    record = json.loads(golden.read_text(encoding="utf-8"))["marches"]["marche"][1]
    stated = {
        "referenceUnique": reference,
        "id": reference,
        "acheteur": {"id": SIRET},
        "dateNotification": "2026-02-20",
        "datePublicationDonnees": "2026-03-02",
    }
    return record | stated | changes


@dataclass
class Harvest:
    """``scrapy crawl dume -s PUBLISH_DATASET=…`` with a key in the environment."""

    crawl: Callable[..., Crawl]
    start_sandbox: Callable[..., Any]
    folder: Path
    port: int = 0

    def __call__(
        self,
        portal: Portal,
        dataset: str,
        *rows: dict[str, Any],
        role: str = "owner",
        settings: dict[str, str] | None = None,
        sandbox: tuple[object, ...] = (),
    ) -> Crawl:
        records = self.folder / "records.json"
        content = {"marches": {"marche": rows}}
        records.write_text(json.dumps(content), encoding="utf-8")
        # Always on the same port: another address is another service to the store.
        replica = self.start_sandbox("--dume-port", self.port, "--data", records, *sandbox)
        self.port = urlsplit(replica.url).port
        try:
            given = {
                "PUBLISH_DATASET": dataset,
                "DATAGOUV_API_URL": portal.url,
                "LOG_LEVEL": "DEBUG",
            }
            done = self.crawl(
                replica.url,
                DAYS,
                given | (settings or {}),
                env={"DATAGOUV_API_KEY": portal.keys[role]},
            )
            self.searches = replica.stats()["requests"].get("search", 0)
        finally:
            replica.stop()
        assert portal.keys[role] not in done.output
        for path in self.folder.rglob("*"):
            if path.is_file():
                assert portal.keys[role].encode() not in path.read_bytes(), path
        return done


@pytest.fixture
def harvest(
    crawl: Callable[..., Crawl], start_sandbox: Callable[..., Any], tmp_path: Path
) -> Harvest:
    return Harvest(crawl, start_sandbox, tmp_path)


def publications(crawl: Crawl) -> list[dict[str, Any]]:
    """The summaries of the publications in the folder, in their order."""
    found = sorted((crawl.folder / "runs").glob("publish-*/summary.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in found]


def test_a_harvest_is_published(portal: Portal, harvest: Harvest) -> None:
    """Its files and no others, past the numbers that the data set has; its feed stays whole."""
    dataset = new_dataset(portal, extras={"siret": SIRET})
    for number in (1, 7):
        taken = make_file(harvest.folder / "taken", number, day=today())
        publish_by_hand(portal, dataset, taken)
    done = harvest(portal, dataset, row("A"), row("B"))
    assert done.status == 0, done.output
    (file,) = done.summary["files"]
    assert file["name"] == f"DECP-{SIRET}-{today()}-08.json"
    assert len(done.items) == 2
    assert resources(portal, dataset)[file["name"]]["checksum"]["value"] == file["sha1"]
    (published,) = publications(done)
    assert [each["file"] for each in published["published"]] == [file["name"]]
    assert len(resources(portal, dataset)) == 3


@pytest.mark.slow
def test_only_what_is_new_is_published(portal: Portal, harvest: Harvest) -> None:
    """Nothing new: nothing to publish. Then something is, and only that; the folder may be
    emptied in between."""
    dataset = new_dataset(portal)
    for rows, published in [("A", 1), ("A", 1), ("AB", 2)]:
        done = harvest(portal, dataset, *map(row, rows))
        assert done.status == 0
        assert len(publications(done)) == published
        for path in done.files():
            path.unlink()
    (file,) = done.summary["files"]
    assert [each["file"] for each in publications(done)[-1]["published"]] == [file["name"]]
    assert file["name"] == f"DECP-{SIRET}-{today()}-02.json"
    assert len(resources(portal, dataset)) == 2


def upload(portal: Portal, dataset: str, path: Path) -> None:
    """A file as another computer uploaded it."""
    form = Form(file=(path.name, path.read_bytes()))
    assert portal.call("POST", f"/datasets/{dataset}/upload/", "owner", form=form).status == 201


def publish_by_hand(portal: Portal, dataset: str, path: Path) -> None:
    """A resource as another computer published it."""
    url = f"https://www.example.fr/{path.name}"
    body = {"title": path.name, "url": url, "filetype": "remote", "type": "main"}
    assert api(portal, "POST", f"datasets/{dataset}/resources/", body)


@pytest.mark.slow
def test_a_publication_that_fails_is_made_good(portal: Portal, harvest: Harvest) -> None:
    """The harvest stands; the next one publishes what is missing, though it finds nothing new."""
    dataset = new_dataset(portal)
    # The second look at the data set (the first one is before the harvest), which Twisted
    # itself asks for twice.
    faults = [Fault("cut", "GET", rf"/datasets/{dataset}/$", nth=nth) for nth in (2, 3)]
    with faulty(portal, *faults) as proxied:
        done = harvest(proxied, dataset, row("A"), settings={"RETRY_TIMES": "0"})
        assert done.status == 3, done.output
        assert done.summary["status"] == "complete"
        (name,) = [path.name for path in done.files()]
        lines = re.findall(r"ERROR: \[PUB-11\] GET .*: no answer: .*", done.output)
        assert [line.endswith("and run the same command again") for line in lines] == [True]
        command = "scrapy crawl dume -a date_start=2026-03-01 -a date_end=2026-03-02"
        last = done.output.splitlines()[-1]
        assert f"[PUB-20] Run {done.summary['run']} is complete, but run publish-" in last
        assert last.endswith(f"publish them, with the same settings: {command}")
        assert len(re.findall(rf"\[DECP-11\] Run publish-.*: {command}\n", done.output)) == 1
        (failed,) = publications(done)
        assert (failed["status"], failed["failures"][0]["reference"]) == ("incomplete", name)
        assert resources(portal, dataset) == {}
        done = harvest(proxied, dataset, row("A"), settings={"RETRY_TIMES": "0"})
    assert done.status == 0, done.output
    assert done.summary["files"] == []
    assert set(resources(portal, dataset)) == {name}


@pytest.mark.slow
def test_a_portal_that_is_read_only_at_the_end(portal: Portal, harvest: Harvest) -> None:
    """The look before the harvest only reads, and passes."""
    dataset = new_dataset(portal)
    done = harvest(portal.also(read_only=True), dataset, row("A"))
    assert done.status == 3, done.output
    assert done.summary["status"] == "complete"
    line = "the portal is read-only for now; run the same command again later"
    assert len(re.findall(f"ERROR: .*{line}", done.output)) == 1
    # The file is lost meanwhile: each harvest says so.
    (path,) = done.files()
    path.unlink()
    done = harvest(portal.also(read_only=True), dataset, row("A"))
    assert done.status == 1, done.output
    assert (
        f"[PUB-16] {path}: No such file or directory; put the file back, or write " in done.output
    )


@pytest.mark.slow
def test_a_harvest_that_is_not_whole_is_not_published(portal: Portal, harvest: Harvest) -> None:
    """Its files wait for the harvest that asks the same and ends well."""
    dataset = new_dataset(portal)
    settings = {"RETRY_TIMES": "0"}
    done = harvest(
        portal,
        dataset,
        row("A"),
        row("B"),
        settings=settings,
        sandbox=("--down-after", 3),
    )
    assert done.status == 3, done.output
    assert done.summary["files"]
    assert publications(done) == []
    assert resources(portal, dataset) == {}
    done = harvest(portal, dataset, row("A"), row("B"))
    assert done.status == 0
    names = {each["file"] for each in publications(done)[0]["published"]}
    assert names == {path.name for path in done.files()}
    assert set(resources(portal, dataset)) == names


@pytest.mark.slow
@pytest.mark.parametrize("portal", ["replica"], indirect=True)
def test_files_in_an_object_storage(portal: Portal, harvest: Harvest, s3_url: str) -> None:
    """They are fetched to be published; one that is gone is named."""
    import boto3

    account = {"aws_access_key_id": "test", "aws_secret_access_key": "secret"}
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1", **account)
    client.create_bucket(Bucket="publication")
    settings = {
        "DECP_FILES_URI": "s3://test:secret@publication/decp",
        "AWS_ENDPOINT_URL": s3_url,
        "AWS_REGION_NAME": "us-east-1",
        "RETRY_TIMES": "0",
    }
    dataset = new_dataset(portal)
    rows = [row("A"), row("B")]
    down = ("--down-after", 3)
    done = harvest(portal, dataset, *rows, settings=settings, sandbox=down)
    assert done.status == 3, done.output
    (gone,) = [file["name"] for file in done.summary["files"]]
    client.delete_object(Bucket="publication", Key=f"decp/{gone}")
    # Its number is not given again: another's is higher.
    client.put_object(Bucket="publication", Key=f"decp/{gone}".replace("-01.", "-02."), Body=b"")
    done = harvest(portal, dataset, *rows, settings=settings)
    assert done.status == 1, done.output
    gone_at = f"s3://publication/decp/{gone}; check "
    assert (
        len(re.findall(rf"ERROR: (?!\[PUB-\d+\] |\[DECP-\d+\] Run ).*: {gone_at}", done.output))
        == 1
    )
    (published,) = publications(done)
    assert [each["reference"] for each in published["failures"]] == [gone]
    (there,) = {file["name"] for file in done.summary["files"]} - {gone}
    assert set(resources(portal, dataset)) == {there}


@pytest.mark.parametrize(
    ("role", "dataset", "code", "expected"),
    [
        ("revoked", None, "[PUB-02]", "the portal does not accept the key in DATAGOUV_API_KEY"),
        pytest.param(
            *("outsider", None, "[PUB-03]", "the owner of the key has no right to do this"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("owner", "0" * 24, "[PUB-04]", "there is no such thing, or the key's owner may not"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("owner", "a-slug", "[DECP-01]", "PUBLISH_DATASET='a-slug': not known; accepted: an "),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_refused_is_said_before_the_first_request(
    portal: Portal, harvest: Harvest, role: str, dataset: str | None, code: str, expected: str
) -> None:
    done = harvest(portal, dataset or new_dataset(portal), row("A"), role=role)
    assert done.status == 1
    assert len(re.findall(rf"ERROR: {re.escape(code)} .*{re.escape(expected)}", done.output)) == 1
    assert harvest.searches == 0
    assert done.files() == []


@pytest.mark.slow
def test_a_portal_without_an_answer_does_not_stop_a_harvest(
    portal: Portal, harvest: Harvest
) -> None:
    dataset = new_dataset(portal)
    settings = {"RETRY_TIMES": "0"}
    with faulty(portal, Fault("cut", "GET", "/me/$")) as proxied:
        done = harvest(proxied, dataset, row("A"), settings=settings)
    assert done.status == 0, done.output
    assert "[PUB-19] Publishing is tried again at the end: " in done.output
    assert len(resources(portal, dataset)) == 1


@pytest.mark.slow
def test_a_file_of_another_machine_is_left_as_it_is(portal: Portal, harvest: Harvest) -> None:
    """The portal could not be asked before the harvest, whose file takes a number that it has.
    Published under another one by hand, the file is no longer owed."""
    dataset = new_dataset(portal)
    theirs = make_file(harvest.folder / "theirs", 1, day=today(), contract="theirs")
    upload(portal, dataset, theirs)
    (before,) = resources(portal, dataset).values()
    with faulty(portal, Fault("503", "GET", "/me/$")) as proxied:
        done = harvest(proxied, dataset, row("A"), settings={"RETRY_TIMES": "0"})
        assert done.status == 1, done.output
        assert "[PUB-19] Publishing is tried again at the end: " in done.output
        (ours,) = done.files()
        assert re.search(
            rf"ERROR: \[PUB-21\] {theirs.name}: .*: it is left as it is; ", done.output
        )
        assert resources(portal, dataset) == {theirs.name.lower(): before}
        assert ours.name == theirs.name
        ours = ours.rename(ours.with_name(ours.name.replace("-01.", "-02.")))
        arguments = {"dataset": dataset, "files": str(ours)}
        settings = {"DATAGOUV_API_URL": proxied.url}
        env = {"DATAGOUV_API_KEY": portal.keys["owner"]}
        assert harvest.crawl("", arguments, settings, spider="publish", env=env).status == 0
        done = harvest(proxied, dataset, row("A"))
    assert done.status == 0, done.output
    assert set(resources(portal, dataset)) == {theirs.name.lower(), ours.name}


@pytest.mark.slow
def test_files_of_several_buyers_do_not_go_into_one_data_set(
    portal: Portal, harvest: Harvest
) -> None:
    """The one of the data set's buyer does, and the other is named."""
    dataset = new_dataset(portal, extras={"siret": SIRET})
    other = row("B", acheteur={"id": "21690123100011"})
    done = harvest(portal, dataset, row("A"), other)
    assert done.status == 1
    assert f"is of SIRET 21690123100011, not of {SIRET} as announced" in done.output
    assert len(resources(portal, dataset)) == 1
    # It does not spoil the harvests that come after, which name it all the same.
    done = harvest(portal, dataset, row("A"), other, row("C"))
    assert done.status == 0, done.output
    assert f"[PUB-15] 1 files of earlier runs are not of SIRET {SIRET}, such as DECP-2169" in (
        done.output
    )
    assert len(resources(portal, dataset)) == 2


@pytest.mark.slow
def test_several_buyers_and_a_data_set_that_is_nobodys(portal: Portal, harvest: Harvest) -> None:
    """Whose it is has to be said; what was refused does not keep back what comes after."""
    dataset = new_dataset(portal)
    rows = [row("A"), row("B", acheteur={"id": "21690123100011"})]
    done = harvest(portal, dataset, *rows)
    assert done.status == 1
    assert "a data set has those of one; have it say whose it is (scrapy crawl " in done.output
    assert resources(portal, dataset) == {}
    platform = {"DECP_STRUCTURE": "plateforme", "DECP_PLATFORM_SIRET": "21330063500017"}
    done = harvest(portal, dataset, *rows, row("C"), settings=platform)
    assert done.status == 0, done.output
    assert "[PUB-15] 2 files of earlier runs are not of SIRET 21330063500017, " in done.output
    assert [name[:19] for name in resources(portal, dataset)] == ["DECP-21330063500017"]


@pytest.mark.slow
def test_as_scrapyd_runs_it(portal: Portal, harvest: Harvest) -> None:
    """With a log file, items of its own and a folder of requests: all stay those of the harvest."""
    dataset = new_dataset(portal)
    log = harvest.folder / "job.log"
    settings = {"LOG_FILE": str(log), "JOBDIR": str(harvest.folder / "job")}
    done = harvest(portal, dataset, row("A"), settings=settings)
    assert done.status == 0, done.output
    assert done.output == ""
    text = log.read_text(encoding="utf-8")
    assert re.search("Run dume-.* is complete", text)
    assert re.search("Run publish-.* is complete", text)
    assert len(done.items) == 1
    assert len(resources(portal, dataset)) == 1


@pytest.mark.slow
def test_stopped_while_it_publishes(
    portal: Portal, harvest: Harvest, start_sandbox: Callable[..., Any]
) -> None:
    """SIGTERM, as Scrapyd cancels a job: said, and made good by the next harvest."""
    dataset = new_dataset(portal)
    records = harvest.folder / "records.json"
    records.write_text(json.dumps({"marches": {"marche": [row("A")]}}), encoding="utf-8")
    service = start_sandbox("--data", records)
    with faulty(portal, Fault("500", "POST", "upload")) as proxied:
        settings = {"PUBLISH_DATASET": dataset, "DATAGOUV_API_URL": proxied.url}
        with subprocess.Popen(
            crawl_command(harvest.folder, service.url, DAYS, settings),
            cwd=ROOT,
            env=os.environ | {"DATAGOUV_API_KEY": portal.keys["owner"], "PYTHONWARNINGS": "error"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            deadline = time.monotonic() + 60
            while not any(line.startswith("POST") for line in proxied.asked):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.terminate()
            output, _ = process.communicate(timeout=60)
        done = finished(process.returncode, output, harvest.folder)
        assert done.status == 3, output
        assert done.summary["status"] == "complete"
        (stopped,) = publications(done)
        assert (stopped["status"], stopped["finish_reason"]) == ("incomplete", "shutdown")
        assert resources(portal, dataset) == {}
        harvest.port = urlsplit(service.url).port
        service.stop()
        assert harvest(proxied, dataset, row("A")).status == 0
    assert len(resources(portal, dataset)) == 1
