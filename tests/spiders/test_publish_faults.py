"""Publishing when something goes wrong: one clear line, the right exit status, what was done is
noted, and the same command ends in the same state as an undisturbed one."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from portals import Fault, Portal, faulty
from publishing import SIRET, TODAY, Publishing, api, make_file, new_dataset, resources

DAY = TODAY.isoformat()
ONE, TWO, THREE = (f"DECP-{SIRET}-{DAY}-{number:02}.json" for number in (1, 2, 3))

UPLOAD = r"/datasets/[^/]+/upload/$"
REPLACE = r"/resources/[^/]+/upload/$"
CREATE = r"/api/1/datasets/$"
DATASET = r"/datasets/[^/]+/$"
RESOURCE = r"/resources/[^/]+/$"
ADD = r"/resources/$"


def globbed(publish: Publishing) -> str:
    return str(publish.folder / "decp" / "DECP-*.*")


def posts(asked: list[str]) -> int:
    return sum(line.startswith("POST") for line in asked)


def case(name: str, *faults: Fault, posts: int, marks: Any = ()) -> Any:
    return pytest.param(faults, posts, id=name, marks=marks)


SLOW = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "expected_posts"),
    [
        # Stored, but nobody said so: not sent again.
        case("first upload lost", Fault("cut", "POST", UPLOAD), posts=3),
        case("second upload lost", Fault("cut", "POST", UPLOAD, nth=2), posts=3, marks=SLOW),
        case("replacement lost", Fault("cut", "POST", REPLACE), posts=3),
        # Not stored: sent again.
        case("upload failed", Fault("500", "POST", UPLOAD), posts=4),
        case(
            "upload failed, then lost",
            *(Fault("500", "POST", UPLOAD), Fault("cut", "POST", UPLOAD, nth=2)),
            posts=4,
            marks=SLOW,
        ),
        case("replacement failed", Fault("500", "POST", REPLACE), posts=4, marks=SLOW),
        # What can be sent again is, by Scrapy's retries.
        case(
            "reads",
            *(Fault("500", "GET", DATASET), Fault("cut", "GET", RESOURCE)),
            posts=3,
            marks=SLOW,
        ),
        case(
            "metadata",
            *(Fault("500", "PUT", RESOURCE), Fault("cut", "PUT", RESOURCE, nth=3)),
            posts=3,
        ),
        case(
            "key",
            *(Fault("500", "GET", "/me/$"), Fault("cut", "GET", "/me/$", nth=2)),
            posts=3,
            marks=SLOW,
        ),
    ],
)
def test_passing_faults(
    portal: Portal, publish: Publishing, faults: tuple[Fault, ...], expected_posts: int
) -> None:
    """Two uploads and a replacement, disturbed: the state is that of an undisturbed run."""
    dataset = new_dataset(portal)
    # Under another name: within a second, the portal stores no two files of the same.
    (path,) = publish.files(9)
    assert publish(portal, {"dataset": dataset, "files": path}).status == 0
    path.unlink()
    (before,) = resources(portal, dataset).values()
    renamed = {"title": ONE.lower()}
    assert api(portal, "PUT", f"datasets/{dataset}/resources/{before['id']}/", renamed)
    paths = publish.files(1, 2, 3)
    with faulty(portal, *faults) as proxied:
        done = publish(proxied, {"dataset": dataset, "files": globbed(publish)})
        assert (done.status, done.errors) == (0, [])
        assert done.actions == {ONE: "replaced", TWO: "uploaded", THREE: "uploaded"}
        assert posts(proxied.asked) == expected_posts
    after = resources(portal, dataset)
    assert set(after) == {ONE, TWO, THREE}
    assert after[ONE]["id"] == before["id"]
    assert [after[path.name]["filesize"] for path in paths] == [
        path.stat().st_size for path in paths
    ]
    done = publish(portal, {"dataset": dataset, "files": globbed(publish)})
    assert set(done.actions.values()) == {"unchanged"}


@pytest.mark.parametrize("what", ["cut", "500"])
def test_creation_is_not_repeated(portal: Portal, publish: Publishing, what: str) -> None:
    name = f"Ville {uuid4()}"
    arguments = {
        "create": "true",
        "structure": "plateforme",
        "siret": SIRET,
        "name": name,
        "organization": portal.organization,
    }
    with faulty(portal, Fault(what, "POST", CREATE)) as proxied:
        done = publish(proxied, arguments)
        assert (done.status, done.actions) == (0, {"": "created"})
        assert posts(proxied.asked) == (1 if what == "cut" else 2)
    page = api(portal, "GET", f"datasets/?organization={portal.organization}&page_size=1000")
    assert sum(each["title"].endswith(name) for each in page["data"]) == 1


@pytest.mark.parametrize("what", ["cut", "500"])
def test_a_link_is_not_repeated(portal: Portal, publish: Publishing, what: str) -> None:
    dataset = new_dataset(portal)
    url = f"https://www.example.fr/DECP-{SIRET}-{DAY}-01.json"
    with faulty(portal, Fault(what, "POST", ADD)) as proxied:
        done = publish(proxied, {"dataset": dataset, "remote_url": url})
        assert (done.status, list(done.actions.values())) == (0, ["linked"])
    assert set(resources(portal, dataset)) == {ONE}


@pytest.mark.parametrize("what", ["dataset", "resource"])
def test_a_deletion_whose_answer_is_lost(portal: Portal, publish: Publishing, what: str) -> None:
    dataset = new_dataset(portal)
    publish.files(1)
    publish(portal, {"dataset": dataset, "files": globbed(publish)})
    resource = resources(portal, dataset)[ONE]["id"]
    with faulty(portal, Fault("cut", "DELETE", "")) as proxied:
        if what == "dataset":
            arguments = {"action": "delete-dataset", "confirm": dataset}
        else:
            arguments = {"action": "delete-resource", "resource": resource, "confirm": resource}
        done = publish(proxied, {"dataset": dataset, **arguments})
        assert (done.status, done.errors) == (0, [])
        assert list(done.actions.values()) == ["deleted"]
    if what == "dataset":
        assert api(portal, "GET", f"datasets/{dataset}/")["deleted"]
    else:
        assert resources(portal, dataset) == {}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_portal_that_fails(portal: Portal, publish: Publishing, chunked: bool) -> None:
    """From the second upload on: the first file is noted, and the next run does the rest."""
    publish.files(1, 2, 3)
    dataset = new_dataset(portal)
    arguments = {"dataset": dataset, "files": globbed(publish)}
    patch = {"dume_spider.datagouv.publisher.WAITS": [0.01]}
    if chunked:
        patch["dume_spider.datagouv.client.PART"] = 1000
    publish(portal, {"dataset": dataset, "files": publish.folder / "decp" / ONE})
    with faulty(portal, Fault("500", "POST", UPLOAD, nth=None)) as proxied:
        done = publish(proxied, arguments, patch=patch)
        assert posts(proxied.asked) == 4
    assert done.status == 3
    # It may have been the one file; after a second one it is the portal.
    first, line = done.errors
    assert first == f"{TWO}: {line}"
    assert line == (
        f"POST {proxied.url}/datasets/{dataset}/upload/: HTTP status 500 (Internal Server Error); "
        "run the same command again later"
    )
    assert done.actions == {ONE: "unchanged"}
    assert done.summary["status"] == "incomplete"
    assert done.summary["failures"] == [
        {"reference": TWO, "error": first},
        {"reference": THREE, "error": line},
    ]
    assert done.summary["counts"]["failed"] == 2
    assert done.summary["balanced"]
    assert set(resources(portal, dataset)) == {ONE}
    done = publish(portal, arguments, patch=patch if chunked else None)
    assert done.actions == {ONE: "unchanged", TWO: "uploaded", THREE: "uploaded"}
    assert done.status == 0
    assert set(resources(portal, dataset)) == {ONE, TWO, THREE}


def test_a_file_that_the_portal_fails_on_does_not_keep_the_others_back(
    portal: Portal, publish: Publishing
) -> None:
    """The front gives up on one upload each time, as it may on a large file."""
    publish.files(1, 2, 3)
    dataset = new_dataset(portal)
    patch = {"dume_spider.datagouv.publisher.WAITS": [0.01]}
    faults = [Fault("504", "POST", UPLOAD, nth=nth) for nth in (2, 3)]
    with faulty(portal, *faults) as proxied:
        done = publish(proxied, {"dataset": dataset, "files": globbed(publish)}, patch=patch)
    assert done.status == 3
    (line,) = done.errors
    assert line.startswith(f"{TWO}: POST {proxied.url}/datasets/{dataset}/upload/: HTTP status 504")
    assert done.actions == {ONE: "uploaded", THREE: "uploaded"}
    assert [each["reference"] for each in done.summary["failures"]] == [TWO]
    assert "to do what is missing, with the same settings: scrapy crawl publish" in done.log


@pytest.mark.slow
def test_a_resource_that_somebody_removes_meanwhile(portal: Portal, publish: Publishing) -> None:
    """Its file fails, and is uploaded by the next run; the others are published."""
    dataset = new_dataset(portal)
    arguments = {"dataset": dataset, "files": globbed(publish)}
    publish.files(1, 2)
    publish(portal, arguments)
    for number in (1, 2):
        make_file(publish.folder / "decp", number, contract=f"new-{number}")
    with faulty(portal, Fault("404", "POST", REPLACE)) as proxied:
        done = publish(proxied, arguments)
        assert (done.status, done.actions) == (1, {TWO: "replaced"})
    (line,) = done.errors
    assert line.startswith(f"{ONE}: POST {proxied.url}/datasets/{dataset}/resources/")
    assert publish(portal, arguments).actions == {ONE: "replaced", TWO: "unchanged"}


def test_a_portal_that_goes_away(portal: Portal, publish: Publishing) -> None:
    """The answers to all uploads are lost, and nothing can be asked any more."""
    publish.files(1, 2, 3)
    dataset = new_dataset(portal)
    arguments = {"dataset": dataset, "files": globbed(publish)}
    settings = {"RETRY_TIMES": 1}
    faults = [Fault("cut", "POST", UPLOAD, nth=None)]
    faults += [Fault("cut", "GET", DATASET, nth=nth) for nth in (2, 3, 4, 5)]
    with faulty(portal, *faults) as proxied:
        done = publish(proxied, arguments, settings=settings)
    assert done.status == 3
    first, line = done.errors
    assert first.startswith(f"{ONE}: GET {proxied.url}/datasets/{dataset}/: no answer: ")
    assert line.startswith(f"GET {proxied.url}/datasets/{dataset}/: no answer: ")
    # The first ones are there, without their titles; the next run finds them.
    assert set(resources(portal, dataset)) == {ONE.lower(), TWO.lower()}
    done = publish(portal, arguments)
    assert done.status == 0
    assert done.actions == {ONE: "described", TWO: "described", THREE: "uploaded"}
    assert set(resources(portal, dataset)) == {ONE, TWO, THREE}


@pytest.mark.slow
def test_nobody_listens(portal: Portal, publish: Publishing) -> None:
    publish.files(1)
    arguments = {"dataset": "0" * 24, "files": globbed(publish)}
    gone = replace(portal, url="http://127.0.0.1:9/api/1")
    done = publish(gone, arguments, settings={"RETRY_TIMES": 1})
    assert done.status == 3
    (line,) = done.errors
    assert line.startswith("GET http://127.0.0.1:9/api/1/me/: no answer: ")
    assert line.endswith("check the network and DATAGOUV_API_URL, and run the same command again")
    assert done.coded_errors == [f"[PUB-11] {line}"]


def test_read_only(portal: Portal, publish: Publishing) -> None:
    publish.files(1, 2)
    dataset = new_dataset(portal)
    for arguments, failed in [
        ({"dataset": dataset, "files": globbed(publish)}, 2),
        (
            {
                "create": "true",
                "structure": "plateforme",
                "siret": SIRET,
                "name": f"Ville {uuid4()}",
                "organization": portal.organization,
            },
            0,
        ),
    ]:
        done = publish(portal.also(read_only=True), arguments)
        assert done.status == 3
        (line,) = done.errors
        assert ": HTTP status 423 (" in line
        assert line.endswith("; the portal is read-only for now; run the same command again later")
        assert done.coded_errors == [f"[PUB-09] {line}"]
        assert done.summary["counts"]["failed"] == failed
        done = publish(portal, arguments)
        assert (done.status, done.errors) == (0, [])
    assert set(resources(portal, dataset)) == {ONE, TWO}


UNKNOWN_KEY = "udata_" + "x" * 64
REFUSED = "the portal does not accept the key in DATAGOUV_API_KEY"
NO_RIGHT = "the owner of the key has no right to do this"


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("revoked", REFUSED),
        ("expired", REFUSED),
        ("inactive", REFUSED),
        (UNKNOWN_KEY, REFUSED),
        ("outsider", NO_RIGHT),
        ("partial", NO_RIGHT),
    ],
)
def test_keys_that_may_not(portal: Portal, publish: Publishing, role: str, expected: str) -> None:
    """And with a good key the same command does it."""
    publish.files(1)
    dataset = new_dataset(portal)
    arguments = {"dataset": dataset, "files": globbed(publish)}
    key = role if role == UNKNOWN_KEY else portal.keys[role]
    done = publish(portal, arguments, key=key)
    assert done.status == 1
    (line,) = done.errors
    assert expected in line
    assert (done.summary["status"], done.summary["counts"]["failed"]) == ("failed", 1)
    assert resources(portal, dataset) == {}
    assert publish(portal, arguments, "editor").status == 0


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, "DATAGOUV_API_KEY is not set; put your key of the portal into this environment "),
        (" \n", "DATAGOUV_API_KEY is not set; "),
        ("udata_a b", "DATAGOUV_API_KEY is no key: it has spaces or other characters inside"),
        ("udata_é", "DATAGOUV_API_KEY is no key: "),
        ("udata_a\r\nX-Other: b", "DATAGOUV_API_KEY is no key: "),
    ],
)
def test_no_key(portal: Portal, publish: Publishing, key: str | None, expected: str) -> None:
    publish.files(1)
    with faulty(portal) as proxied:
        arguments = {"dataset": "0" * 24, "files": globbed(publish)}
        done = publish(proxied, arguments, None, key=key)
        assert proxied.asked == []
    assert done.status == 1
    (line,) = done.errors
    assert line.startswith(expected)


def test_a_key_with_spaces_around(portal: Portal, publish: Publishing) -> None:
    publish.files(1)
    arguments = {"dataset": new_dataset(portal), "files": globbed(publish)}
    assert publish(portal, arguments, key=f" {portal.keys['owner']}\n").status == 0


def test_a_key_as_a_setting_is_refused(portal: Portal, publish: Publishing) -> None:
    settings = {"DATAGOUV_API_KEY": portal.keys["owner"]}
    done = publish(portal, {"dataset": "0" * 24, "action": "restore"}, settings=settings)
    assert done.status == 1
    (line,) = done.errors
    assert line.startswith("DATAGOUV_API_KEY is given as a setting, where others can see it")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("api_key", "anything"),
        ("DATAGOUV_API_KEY", "anything"),
        ("dataset", UNKNOWN_KEY),
        ("name", "a new-style-key, say"),
    ],
)
def test_a_key_as_an_argument_is_refused_and_not_shown(
    portal: Portal, publish: Publishing, name: str, text: str
) -> None:
    arguments = {"dataset": "0" * 24, "action": "restore", name: text}
    done = publish(portal, arguments, key="new-style-key")
    assert (done.status, done.errors) == (
        1,
        [
            f"publish: argument {name} is a key, where others can see it; give it as the "
            "environment variable DATAGOUV_API_KEY only, and make a new one"
        ],
    )
    assert text not in done.log


def test_a_partial_editor_has_data_sets_of_its_own(portal: Portal, publish: Publishing) -> None:
    publish.files(1)
    arguments = {
        "create": "true",
        "structure": "plateforme",
        "siret": SIRET,
        "name": f"Ville {uuid4()}",
        "organization": portal.organization,
        "files": globbed(publish),
    }
    done = publish(portal, arguments, "partial")
    assert done.actions == {"": "created", ONE: "uploaded"}
    # In an organization that is not theirs, they may not.
    foreign = arguments | {"organization": portal.other_organization}
    done = publish(portal, foreign, "partial")
    assert done.status == 1
    (line,) = done.errors
    assert "/datasets/: HTTP status 400 (" in line
    assert "organization: " in line


def test_a_data_set_that_is_not_there(portal: Portal, publish: Publishing) -> None:
    publish.files(1)
    done = publish(portal, {"dataset": "0" * 24, "files": globbed(publish)})
    assert done.status == 1
    (line,) = done.errors
    assert line.startswith(f"GET {portal.url}/datasets/{'0' * 24}/: HTTP status 404")
    assert line.endswith("there is no such thing, or the key's owner may not see it; check the id")


def test_a_data_set_deleted_meanwhile(portal: Portal, publish: Publishing) -> None:
    """Its members see it still, others not."""
    dataset = new_dataset(portal)
    api(portal, "DELETE", f"datasets/{dataset}/")
    for role in ("owner", "outsider"):
        done = publish(portal, {"dataset": dataset, "action": "update"}, role)
        assert done.status == 1
        (line,) = done.errors
        assert "bring it back first: -a action=restore, with the key of a member" in line


def test_a_file_too_large(portal: Portal, publish: Publishing) -> None:
    """It alone is refused: the others are published."""
    publish.files(1, 3)
    large = make_file(publish.folder / "decp", 2, contracts=30)
    small = portal.also(max_content_length=10_000)
    assert large.stat().st_size > 10_000
    dataset = new_dataset(portal)
    done = publish(small, {"dataset": dataset, "files": globbed(publish)})
    assert done.status == 1
    (line,) = done.errors
    assert f"/datasets/{dataset}/upload/: HTTP status 413" in line
    assert line.startswith(f"{TWO}: POST ")
    assert line.endswith("the file is too large for the portal; publish fewer contracts per file")
    assert done.actions == {ONE: "uploaded", THREE: "uploaded"}
    (failure,) = done.summary["failures"]
    assert failure["reference"] == TWO


def test_a_file_that_is_gone(portal: Portal, publish: Publishing) -> None:
    publish.files(2)
    missing = publish.folder / "decp" / ONE
    missing.symlink_to(publish.folder / "nowhere")
    dataset = new_dataset(portal)
    done = publish(portal, {"dataset": dataset, "files": f"{missing.parent}/DECP-*"})
    assert done.status == 1
    (line,) = done.errors
    assert line == f"{missing}: No such file or directory; put the file back or leave it out"
    assert done.coded_errors == [f"[PUB-16] {line}"]
    assert set(resources(portal, dataset)) == {TWO}


def test_the_plan(portal: Portal, publish: Publishing) -> None:
    """A dry run prints every call, sends GETs only, and needs no key."""
    dataset = new_dataset(portal)
    publish.files(1)
    publish(portal, {"dataset": dataset, "files": globbed(publish)})
    before = resources(portal, dataset)
    make_file(publish.folder / "decp", 1, contract="changed")
    publish.files(2)
    arguments = {"dataset": dataset, "files": globbed(publish), "dry_run": "true"}
    with faulty(portal) as proxied:
        done = publish(proxied, arguments, None)
        assert {line.partition(" ")[0] for line in proxied.asked} == {"GET"}
    assert (done.status, done.errors) == (0, [])
    base = f"{proxied.url}/datasets/{dataset}"
    lines = done.printed.splitlines()
    assert [line.partition(" {")[0].partition(" (")[0] for line in lines] == [
        f"POST {base}/resources/{before[ONE]['id']}/upload/ file {ONE}",
        f"PUT {base}/resources/{before[ONE]['id']}/",
        f"POST {base}/upload/ file {TWO}",
        f"PUT {base}/resources/{{new resource}}/",
    ]
    assert f'"title":"{TWO}"' in lines[-1]
    assert "INFO dume_spider.extensions.run_summary: Planned: 4 calls that would write" in done.log
    assert resources(portal, dataset) == before
    assert done.summary["published"] == []


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("create", ["POST {url}/datasets/", "POST {url}/datasets/{{new data set}}/upload/"]),
        ("update", ["PUT {url}/datasets/{dataset}/", "PUT {url}/datasets/{dataset}/resources/"]),
        ("delete-dataset", ["DELETE {url}/datasets/{dataset}/"]),
        ("delete-resource", ["DELETE {url}/datasets/{dataset}/resources/{resource}/"]),
        ("remote", ["POST {url}/datasets/{dataset}/resources/"]),
    ],
)
def test_the_plan_of_each_action(
    portal: Portal, publish: Publishing, action: str, expected: list[str]
) -> None:
    dataset = new_dataset(portal, extras={"siret": SIRET})
    publish.files(1)
    publish(portal, {"dataset": dataset, "files": globbed(publish)})
    resource = resources(portal, dataset)[ONE]["id"]
    arguments: dict[str, Any] = {
        "create": {
            "create": "true",
            "structure": "plateforme",
            "siret": SIRET,
            "name": f"Ville {uuid4()}",
            "organization": portal.organization,
            "files": globbed(publish),
        },
        "update": {"dataset": dataset, "action": action, "name": "Ville"},
        "delete-dataset": {"dataset": dataset, "action": action, "confirm": dataset},
        "delete-resource": {
            "dataset": dataset,
            "action": action,
            "resource": resource,
            "confirm": resource,
        },
        "remote": {"dataset": dataset, "remote_url": "https://www.example.fr/decp.json"},
    }[action]
    before = api(portal, "GET", f"datasets/{dataset}/")
    done = publish(portal, arguments | {"dry_run": "true"})
    assert (done.status, done.errors) == (0, [])
    lines = done.printed.splitlines()
    for line in expected:
        start = line.format(url=portal.url, dataset=dataset, resource=resource)
        assert any(each.startswith(start) for each in lines), lines
    assert api(portal, "GET", f"datasets/{dataset}/") == before
    again = publish(portal, arguments | {"dry_run": "true"})
    assert again.printed == done.printed


@contextmanager
def recording(target: str | None = None) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that notes the headers it gets, and redirects to ``target`` or answers ``{}``."""
    seen: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(308 if target else 200)
            if target:
                self.send_header("Location", target + self.path)
            self.send_header("Set-Cookie", "session=someone-else")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_key_goes_to_one_host_only(publish: Publishing) -> None:
    with recording() as (other, seen_there), recording(other) as (url, seen_here):
        portal = Portal("fake", f"{url}/api/1", {"owner": "udata_secret-key"}, "", "", len)
        done = publish(portal, {"dataset": "0" * 24, "action": "restore"})
    assert seen_there == []
    assert [each["x-api-key"] for each in seen_here] == ["udata_secret-key"]
    assert done.status == 1
    (line,) = done.errors
    assert f"/me/ is redirected to {other.rpartition(':')[0]}" in line
    assert line.endswith("; the key is not sent there; check DATAGOUV_API_URL")
    assert done.coded_errors == [f"[PUB-12] {line}"]


def test_no_session_is_kept(publish: Publishing) -> None:
    """On the portal a cookie would beat the key."""
    with recording() as (url, seen):
        portal = Portal("fake", f"{url}/api/1", {"owner": "udata_secret-key"}, "", "", len)
        done = publish(
            portal,
            {"dataset": "0" * 24, "action": "restore"},
            settings={"COOKIES_ENABLED": True},
        )
    assert done.status == 1
    assert len(seen) == 2
    assert not any("cookie" in each for each in seen)
