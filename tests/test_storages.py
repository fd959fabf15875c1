"""The places of files: the same promises in a folder, in a bucket, on an FTP server."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import servers
from crawling import ROOT, Crawl, crawl_command
from scrapy import Spider
from scrapy.utils.test import get_crawler
from sqlalchemy import func, insert, select

from dume_spider import storages
from dume_spider.decp.folder import Output, OutputFile
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.exceptions import ArgumentError, OutputError, UncertainOutputError
from dume_spider.extensions.run_summary import is_in_place
from dume_spider.storages import check_uri, open_output, open_place, shown
from dume_spider.store.store import Store
from dume_spider.store.tables import file_sets, files

SIRET = "21690123100011"
DAY = date(2026, 3, 7)
RECORD = b'{"id":"2025-T-017"}'
JSON = b'{"marches":{"marche":[\n' + RECORD + b"\n]}}\n"
FIRST = f"DECP-{SIRET}-2026-03-07-01"
MARCH = {"date_start": "2026-03-01", "date_end": "2026-03-31"}


@dataclass(frozen=True)
class Place:
    """A place of files, and how a test looks into it without the code that it tests."""

    uri: str
    settings: dict[str, str]
    read: Callable[[], dict[str, bytes]]
    write: Callable[[str, bytes], object]

    def open(self, **settings: str) -> Output:
        return open_output(self.uri, get_crawler(Spider, self.settings | settings))


@pytest.fixture
def s3(s3_url: str) -> Place:
    """A folder in a bucket of the test's own."""
    import boto3

    account = {"aws_access_key_id": "test", "aws_secret_access_key": "se/cret"}
    bucket = f"b-{token_hex(8)}"
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1", **account)
    client.create_bucket(Bucket=bucket)

    def read() -> dict[str, bytes]:
        found = client.list_objects_v2(Bucket=bucket, Prefix="decp/").get("Contents", [])
        return {
            each["Key"].removeprefix("decp/"): client.get_object(Bucket=bucket, Key=each["Key"])[
                "Body"
            ].read()
            for each in found
        }

    def write(name: str, data: bytes) -> None:
        client.put_object(Bucket=bucket, Key=f"decp/{name}", Body=data)

    settings = {"AWS_ENDPOINT_URL": s3_url, "AWS_REGION_NAME": "us-east-1"}
    return Place(f"s3://test:se%2Fcret@{bucket}/decp", settings, read, write)


@pytest.fixture(scope="session")
def gcs_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of Google Cloud Storage."""
    pytest.importorskip("gcp_storage_emulator")
    port = servers.free_port()
    log = tmp_path_factory.mktemp("gcs") / "log"
    command = [sys.executable, ROOT / "tests" / "gcs_server.py", str(port)]
    with servers.running(command, port, log):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def gs(gcs_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A folder in a bucket of the test's own."""
    from google.cloud.storage import Client

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
    client = Client(project="test")
    bucket = client.create_bucket(f"b-{token_hex(8)}")
    yield Place(
        f"gs://{bucket.name}/decp",
        {},
        lambda: {
            blob.name.removeprefix("decp/"): blob.download_as_bytes()
            for blob in bucket.list_blobs(prefix="decp/")
        },
        lambda name, data: bucket.blob(f"decp/{name}").upload_from_string(data),
    )
    client.close()


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[Place]:
    """An FTP server."""
    with warnings.catch_warnings(action="ignore"):  # of modules that Python 3.12 has no more
        pytest.importorskip("pyftpdlib")
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import FTPHandler
        from pyftpdlib.servers import FTPServer
    logging.getLogger("pyftpdlib").setLevel(logging.ERROR)
    root = tmp_path / "ftp"
    folder = root / "decp"
    folder.mkdir(parents=True)
    accounts = DummyAuthorizer()
    accounts.add_user("me@here", "se:cret", str(root), perm="elradfmw")
    options = {"authorizer": accounts, "auth_failed_timeout": 0}
    handler = type("Handler", (FTPHandler,), options)
    server = FTPServer(("127.0.0.1", 0), handler)
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            server.serve_forever(timeout=0.05, blocking=False)

    thread = threading.Thread(target=serve)
    thread.start()
    address = f"127.0.0.1:{server.address[1]}"
    yield Place(
        f"ftp://me%40here:se%3Acret@{address}/decp",
        {},
        lambda: {path.name: path.read_bytes() for path in folder.iterdir()},
        lambda name, data: (folder / name).write_bytes(data),
    )
    ended.set()
    thread.join()
    server.close_all()


@pytest.fixture
def local(tmp_path: Path) -> Place:
    """A folder."""
    folder = tmp_path / "decp"
    folder.mkdir()
    return Place(
        folder.as_uri(),
        {},
        lambda: {path.name: path.read_bytes() for path in folder.iterdir()},
        lambda name, data: (folder / name).write_bytes(data),
    )


@pytest.fixture(params=["local", "s3", "gs", "ftp"])
def place(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue(request.param)


def write(output: Output, *formats: Any, announce: Any = None) -> list[OutputFile]:
    with output.new_files(SIRET, DAY, formats or ("json",), Regime.R2022) as out:
        out.add(ContractType.MARCHE, RECORD)
        (files,) = output.commit([out], lambda sets: announce and announce(*sets))
    return files


def test_sets_get_the_next_number_and_overwrite_nothing(place: Place) -> None:
    output = place.open()
    output.check()
    assert place.read() == {}
    place.write(f"{FIRST[:-2]}03.xml", b"another's")
    place.write("DECP-21350238800019-2026-03-07-09.json", b"another buyer's")
    place.write(f"DECP-{SIRET}-2026-03-08-09.json", b"another day's")
    before = place.read()
    files = write(output, "json", "xml") + write(output)
    assert files[0] == OutputFile(
        f"{FIRST[:-2]}04.json", 1, len(JSON), hashlib.sha1(JSON).hexdigest()
    )
    assert [file.name[len(FIRST) - 2 :] for file in files] == ["04.json", "04.xml", "05.json"]
    after = place.read()
    assert {file.name: hashlib.sha1(after.pop(file.name)).hexdigest() for file in files} == {
        file.name: file.sha1 for file in files
    }
    assert after == before


def test_a_name_taken_at_the_last_moment_is_left_alone(place: Place) -> None:
    announced = []

    def announce(files: list[OutputFile]) -> None:
        announced.append(files[0].name[-7:-5])
        if len(announced) < 3:
            # The second format's name: the first is in place by then, and taken back.
            place.write(files[1].name, b"another's")

    files = write(place.open(), "json", "xml", announce=announce)
    assert announced == ["01", "02", "03"]
    assert sorted(place.read()) == [
        f"{FIRST[:-2]}01.xml",
        f"{FIRST[:-2]}02.xml",
        f"{FIRST[:-2]}03.json",
        f"{FIRST[:-2]}03.xml",
    ]
    assert place.read()[f"{FIRST[:-2]}01.xml"] == b"another's"
    assert [file.name for file in files] == [f"{FIRST[:-2]}03.json", f"{FIRST[:-2]}03.xml"]


@pytest.mark.parametrize("place", ["s3", "gs", "ftp"], indirect=True)
def test_a_file_is_fetched(place: Place, tmp_path: Path) -> None:
    settings = place.settings | {"DECP_FILES_URI": place.uri}
    output = open_place(shown(place.uri), get_crawler(Spider, settings))
    place.write("DECP-a.json", JSON)
    output.fetch("DECP-a.json", tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == JSON
    with pytest.raises(OutputError, match=f": {re.escape(shown(place.uri))}/DECP-b.json; check "):
        output.fetch("DECP-b.json", tmp_path / "there")


def test_what_became_of_an_announced_set(place: Place) -> None:
    output = place.open()
    files = write(output, "json", "xml")
    assert output.settle(files)
    place.write(files[1].name, b"another's")
    assert not output.settle(files)  # its first file is removed, the other's stays
    assert place.read() == {files[1].name: b"another's"}
    assert not output.settle(files)
    place.write(files[0].name, b"X" * files[0].bytes)  # of the same size
    assert not output.settle(files)
    assert len(place.read()) == 2


def test_the_account_in_the_uri(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    keys = s3.open()._client._request_signer._credentials
    assert (keys.access_key, keys.secret_key) == ("test", "se/cret")
    with pytest.raises(ArgumentError, match="'s3://bucket': Partial credentials found"):
        open_output("s3://bucket", get_crawler(Spider, {"AWS_ACCESS_KEY_ID": "mine"}))


def test_a_set_that_is_left_leaves_nothing(place: Place) -> None:
    output = place.open()
    with output.new_files(SIRET, DAY, ("json",), Regime.R2022) as out:
        out.add(ContractType.MARCHE, RECORD)
    assert place.read() == {}


@pytest.mark.slow
def test_two_processes_never_share_a_name(s3: Place) -> None:
    def work(found: list[str]) -> None:
        output = s3.open()
        found += [write(output, "json", "xml")[0].name for _ in range(4)]

    found: list[list[str]] = [[], [], []]
    threads = [threading.Thread(target=work, args=(each,)) for each in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [name for each in found for name in each]
    assert len(names) == len(set(names)) == 12
    assert {name for name in s3.read() if name.endswith("json")} == set(names)


@pytest.mark.parametrize("place", ["s3", "gs"], indirect=True)
def test_an_answer_that_was_lost_is_not_another_s_file(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library repeats a request whose answer it did not get: the file is there already."""
    from google.cloud.storage import Blob

    output = place.open()
    holder, name = (
        (output._client, "put_object") if place.uri[0] == "s" else (Blob, "upload_from_file")
    )
    send = getattr(holder, name)

    def twice(*arguments: Any, **options: Any) -> Any:
        send(*arguments, **options)
        if "Body" in options:
            options["Body"].seek(0)
        return send(*arguments, **options)

    monkeypatch.setattr(holder, name, twice)
    assert [file.name for file in write(output)] == [f"{FIRST}.json"]
    assert place.read() == {f"{FIRST}.json": JSON}


def test_a_storage_that_overwrites_is_refused(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    output = s3.open()
    send = output._client.put_object
    monkeypatch.setattr(
        output._client, "put_object", lambda IfNoneMatch, **arguments: send(**arguments)
    )
    with pytest.raises(OutputError, match=r"overwrites files \(it knows no If-None-Match\)"):
        output.check()
    assert s3.read() == {}


def check_refused(uri: str, settings: dict[str, str]) -> None:
    output = open_output(uri, get_crawler(Spider, settings))
    with pytest.raises(UncertainOutputError) as caught:
        output.check()
    text = caught.value.line
    assert text.startswith("[DECP-04] ")
    assert "\n" not in text
    assert "check DECP_FILES_URI, the account and its rights" in text


def test_a_server_that_is_gone(s3: Place) -> None:
    port = servers.free_port()
    check_refused(s3.uri, s3.settings | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"})
    check_refused(f"ftp://me@127.0.0.1:{port}/decp", {})


@pytest.mark.slow
def test_a_harvest_whose_server_is_gone(crawl: Callable[..., Crawl]) -> None:
    """It ends before the first request."""
    uri = f"ftp://127.0.0.1:{servers.free_port()}/decp"
    done = crawl("http://127.0.0.1:9/", MARCH, {"DECP_FILES_URI": uri})
    assert done.status == 1, done.output
    assert (done.summary["finish_reason"], done.counts["rows"]) == ("UncertainOutputError", 0)
    assert not any(done.summary["requests"].values())
    assert re.search(
        rf"ERROR: \[DECP-04\] \[Errno 111\] Connection refused: {uri}/\.decp-[0-9a-f]+\.part; "
        "check DECP_FILES_URI, the account and its rights, then run the same command again\n",
        done.output,
    )


def test_what_became_of_a_set_in_another_place_that_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run was killed while it sent a file; then the files were to go elsewhere. What is not
    known stays planned, and holds up nobody, unless it is the place of today."""
    gone = f"ftp://127.0.0.1:{servers.free_port()}/decp"
    plan = {"run": 1, "regime": "2022", "buyer": SIRET, "records": 0, "placed": False}
    file = {"file_set": 1, "position": 0, "name": FIRST, "folder": gone, "sha1": "", "bytes": 1}
    with closing(Store(f"sqlite:///{tmp_path / 'store.sqlite'}")) as store:

        def recover(uri: str) -> int:
            crawler = get_crawler(Spider, {"DECP_FILES_URI": uri})
            return store.recover(lambda place, planned: is_in_place(place, planned, crawler))

        with store.database.writing() as connection:
            connection.execute(insert(file_sets), plan)
            connection.execute(insert(files), file)
        assert recover(str(tmp_path)) == 0
        (text,) = caplog.messages
        assert text.startswith(f"[DECP-04] Whether {FIRST} is in place, from a run that ended ")
        assert f"Connection refused: {gone}/{FIRST}" in text
        with pytest.raises(OutputError, match="Connection refused"):
            recover(gone.replace("//", "//me:secret@"))
        with store.database.reading() as connection:
            left = connection.scalar(select(func.count()).where(~file_sets.c.placed))
        assert left == 1


@pytest.mark.parametrize("place", ["s3", "gs"], indirect=True)
def test_a_bucket_that_does_not_exist(place: Place) -> None:
    check_refused(place.uri.replace("b-", "no-"), place.settings)


def test_an_account_that_is_refused(ftp: Place) -> None:
    check_refused(ftp.uri.replace("se%3Acret", "wrong"), ftp.settings)


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("ftp://me:secret@host:21/decp/", "ftp://host:21/decp"),
        ("s3://key:secret@bucket", "s3://bucket"),
        ("data/decp", "data/decp"),
    ],
)
def test_a_uri_is_shown_without_its_password(uri: str, text: str) -> None:
    assert shown(uri) == text


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "sftp://me:secret@host/decp",
            f"'sftp://host/decp': not known; accepted: {storages.ACCEPTED}",
        ),
        ("file://host/decp", "'file://host/decp': not known; accepted: "),
        ("s3:///decp", "'s3:/decp': not known; accepted: "),
        ("ftp://me:secret@host:x/", "'ftp'://…: not a URI; accepted: "),
    ],
)
def test_a_uri_that_cannot_be_used(uri: str, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        check_uri(uri)
    assert str(caught.value).startswith(f"DECP_FILES_URI={message}")


@pytest.mark.parametrize(
    ("uri", "package"), [("s3://bucket/decp", "boto3"), ("gs://bucket", "google-cloud-storage")]
)
def test_the_package_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, uri: str, package: str
) -> None:
    monkeypatch.setattr(storages, "find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match=f"needs the package {package}: pip install {package}"):
        check_uri(uri)


def records_of(files: dict[str, bytes]) -> list[str]:
    """The records of JSON files, in any order."""
    marches = [json.loads(data)["marches"] for name, data in files.items() if name[-5:] == ".json"]
    parts = [
        part for each in marches for part in ([each] if isinstance(each, list) else each.values())
    ]
    return sorted(json.dumps(record, sort_keys=True) for part in parts for record in part)


@pytest.mark.slow
def test_a_harvest_into_a_bucket(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Crawl], s3: Place
) -> None:
    sandbox = start_sandbox("--records", 60, "--from", "2026-03-01", "--to", "2026-03-31")
    settings = s3.settings | {"DECP_FILES_URI": s3.uri, "DECP_FORMATS": "json,xml"}
    done = crawl(sandbox.url, MARCH, settings)
    assert done.status == 0, done.output
    files = {file["name"]: file for file in done.summary["files"]}
    there = s3.read()
    assert set(there) == set(files)
    for name, data in there.items():
        assert hashlib.sha1(data).hexdigest() == files[name]["sha1"]
    assert len(records_of(there)) == done.counts["written"]
    assert not re.search("se(/|%2F)cret", done.output)
    assert not done.files()


@pytest.mark.slow
def test_kill_9_while_files_are_sent(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Crawl], s3: Place, tmp_path: Path
) -> None:
    sandbox = start_sandbox("--records", 250, "--from", "2026-03-01", "--to", "2026-03-31")
    whole = crawl(sandbox.url, MARCH, folder=tmp_path / "whole")
    settings = s3.settings | {"DECP_FILES_URI": s3.uri, "DECP_FORMATS": "json,xml"}
    output = s3.open()
    for number in (1, len(whole.files())):  # half of them: there are two formats
        process = subprocess.Popen(
            crawl_command(tmp_path, sandbox.url, MARCH, settings),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while len(list(output.names("DECP-"))) < number:
            assert process.poll() is None
        process.kill()
        process.wait()
    done = crawl(sandbox.url, MARCH, settings)
    assert done.status == 0, done.output
    assert done.counts == whole.counts
    there = s3.read()
    assert {file["name"] for file in done.summary["files"]} == set(there)
    expected = {path.name: path.read_bytes() for path in whole.files()}
    assert records_of(there) == records_of(expected)
