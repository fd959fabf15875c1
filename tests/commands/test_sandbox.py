"""``scrapy sandbox``: the real command in a child process, asked over HTTP."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from logs import check
from scrapy.cmdline import execute
from scrapy.settings import Settings

from dume_spider.dume.query import API_VERSION_HEADERS, Requester, SearchQuery
from dume_spider.sandbox.generator import generate
from dume_spider.sandbox.server import FAULTS, Faults

ROOT = Path(__file__).resolve().parents[2]
PAYLOAD = SearchQuery().payload(Requester("12345678901011", "AAA001", "12345698765445", "AIFE"))
JANUARY = ("--from", "2025-01-01", "--to", "2025-01-31")
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def start(start_sandbox) -> Iterator[Callable[..., Any]]:
    """Start sandboxes that end with the test, not with the session."""
    started = []

    def start_one(*options: object) -> Any:
        started.append(start_sandbox(*options))
        return started[-1]

    yield start_one
    for sandbox in started:
        sandbox.stop()


def post(sandbox: Any, **filters: str) -> dict[str, Any]:
    request = urllib.request.Request(
        sandbox.url, json.dumps({**PAYLOAD, **filters}).encode(), API_VERSION_HEADERS
    )
    with OPENER.open(request, timeout=30) as answer:
        return json.load(answer)["response"]


def rows(sandbox: Any, **filters: str) -> list[dict[str, Any]]:
    response = post(sandbox, **filters)
    assert response["messageList"] == []
    return response["donneesEssentielles"]


def test_generated_records_over_http(start):
    sandbox = start("--records", "300", "--seed", "5", *JANUARY)
    made = list(generate(300, 5, date(2025, 1, 1), date(2025, 1, 31)))
    assert sandbox.ready == {
        "dume": sandbox.url,
        "stats": sandbox.url.replace("/dumes/donneesEssentielles", "/_sandbox/stats"),
        "references": sandbox.url.replace("/dumes/donneesEssentielles", "/_sandbox/references"),
        "dume_rows": len(made),
        "dume_references": 300,
        "dume_days": ["2025-01-01", max(one.served.day for one in made).isoformat()],
    }
    assert sandbox.url.startswith("http://127.0.0.1:")
    assert len(rows(sandbox)) == 100
    found = []
    for day in sorted({one.served.day.isoformat() for one in made}):
        found += rows(sandbox, dateDebutPublication=day, dateFinPublication=day)
    expected = [one.served.row for one in sorted(made, key=lambda one: one.served.day)]
    assert found == json.loads(json.dumps(expected))
    searches = 1 + len({one.served.day for one in made})
    versions = Counter(one.served.reference for one in made)
    twice, others = versions.most_common(1)[0][0], sorted(versions)[:3]
    for reference in (twice, *others, twice):
        assert len(rows(sandbox, referenceUnique=reference)) == versions[reference]
    assert versions[twice] > 1
    refused = post(sandbox, typeDE="?")
    assert [message["code"] for message in refused["messageList"]] == ["TYPE_DE"]
    asked = Counter([twice, *others, twice])
    assert sandbox.stats() == {
        "requests": {"search": searches, "detail": 5, "refused": 1},
        "references": {name: count for name, count in asked.items() if count > 1},
        "faults": {},
        "aborted": 0,
    }
    assert sandbox.references() == asked


@pytest.mark.slow
def test_two_replicas(start, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    sandbox = start("--records", "1", "--datagouv-port", "0")
    ready = sandbox.ready
    assert len(rows(sandbox)) == 1
    assert ready["datagouv"].endswith("/api/1")
    base = ready["datagouv"].removesuffix("/api/1")
    assert base != ready["stats"].removesuffix("/_sandbox/stats")
    key, identifier = ready["datagouv_keys"]["owner"], ready["datagouv_organization"]
    request = urllib.request.Request(f"{ready['datagouv']}/me/", headers={"X-API-KEY": key})
    with OPENER.open(request, timeout=30) as answer:
        assert [each["id"] for each in json.load(answer)["organizations"]] == [identifier]
    for name, expected in (
        ("stats", {"requests": {"GET 200": 1}, "faults": {}, "aborted": 0}),
        ("references", {"GET /api/1/me/": 1}),
    ):
        assert ready[f"datagouv_{name}"] == f"{base}/_sandbox/{name}"
        with OPENER.open(ready[f"datagouv_{name}"], timeout=30) as answer:
            assert json.load(answer) == expected
    # What is uploaded lies in a folder that goes with the sandbox.
    assert len(list(tmp_path.iterdir())) == 1
    assert sandbox.stop() == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_it_listens_on_the_loopback_only(start):
    sandbox = start("--records", "1")
    port = int(sandbox.url.split(":")[2].split("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=30):
        pass
    # The whole of 127.0.0.0/8 is this machine: what listens everywhere answers there too.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=30)


def test_paths_and_methods(start):
    sandbox = start("--records", "1")
    for url, status in ((sandbox.url, 405), (sandbox.url[:-1], 404)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            OPENER.open(url, timeout=30)
        with caught.value as error:
            assert error.code == status
            assert error.headers.get("Allow") == ("POST" if status == 405 else None)


def test_files(start, tmp_path):
    old = tmp_path / "old.json.gz"
    record = {"_type": "Marché", "id": "2018001", "datePublicationDonnees": "2018-05-01"}
    old.write_bytes(gzip.compress(json.dumps({"marches": [record, record]}).encode()))
    new = tmp_path / "new.json"
    new.write_text(
        json.dumps({"marches": {"contrat-concession": [{"id": "c", "referenceUnique": "kept"}]}})
    )
    sandbox = start("--data", old, new, *JANUARY)
    assert sandbox.ready["dume_references"] == sandbox.ready["dume_rows"] == 3
    assert sandbox.ready["dume_days"] == ["2018-05-01", "2025-01-01"]
    assert [row["id"] for row in rows(sandbox)] == ["2018001", "2018001", "c"]
    assert [row["referenceUnique"] for row in rows(sandbox, typeDE="CC")] == ["kept"]
    again = start("--data", old, "--data", new, "--records", "50", *JANUARY)
    assert again.ready["dume_references"] == 53
    assert rows(again, dateFinPublication="2024-12-31") == rows(
        sandbox, dateFinPublication="2024-12-31"
    )


@pytest.mark.slow
def test_real_files(start, shared):
    """4,530 and 4,509 records, each under a reference of its own."""
    sandbox = start("--data", *sorted((shared / "data").glob("*.json.gz")))
    assert sandbox.ready["dume_references"] == sandbox.ready["dume_rows"] == 9039


def seen_by_a_client(sandbox: Any) -> str:
    """The fault that a client meets, named as the sandbox does, or "none"."""
    try:
        post(sandbox)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 429:
                return str(error.code)
            wait = error.headers["Retry-After"]
            if wait == "1":
                return "429-seconds"
            told = parsedate_to_datetime(wait) - parsedate_to_datetime(error.headers["Date"])
            assert timedelta(0) <= told <= timedelta(seconds=2)
            return "429-date"
    except (ConnectionResetError, http.client.RemoteDisconnected):
        return "reset"
    except urllib.error.URLError as error:
        return "reset" if isinstance(error.reason, ConnectionResetError) else repr(error.reason)
    except json.JSONDecodeError as error:
        return "page" if error.doc.startswith("<!DOCTYPE html>") else "cut"
    return "none"


def test_faults(start):
    sandbox = start("--records", "20", "--seed", "3", "--faults", "0.7")
    seen = [seen_by_a_client(sandbox) for _ in range(60)]
    faults = Faults(3, 0.7)
    assert seen == [faults.draw() or "none" for _ in range(60)]
    counts = Counter(seen)
    assert counts.keys() == {"none", *FAULTS}
    stats = sandbox.stats()
    assert stats["requests"]["search"] == counts.pop("none")
    assert stats["faults"] == counts


@pytest.mark.slow
def test_a_faulty_answer_is_not_a_given_one(start):
    """A reference asked again because the answer was spoilt is not asked twice."""
    sandbox = start("--records", "20", "--seed", "3", "--faults", "0.7")
    while not sandbox.references():
        try:
            rows(sandbox, referenceUnique="R")
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
    stats = sandbox.stats()
    assert sum(stats["faults"].values()) >= 1
    assert (stats["requests"]["detail"], stats["references"]) == (1, {})


def test_down_after(start):
    sandbox = start("--records", "20", "--down-after", "4")
    assert [seen_by_a_client(sandbox) for _ in range(6)] == ["none"] * 3 + ["reset"] * 3
    stats = sandbox.stats()
    assert (stats["requests"]["search"], stats["faults"]) == (3, {"down": 3})


@pytest.mark.slow
def test_latency_does_not_make_others_wait(start):
    sandbox = start("--records", "20", "--latency", "1")
    started = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        lengths = list(pool.map(lambda _: len(rows(sandbox)), range(6)))
    # One after the other would take six times as long.
    assert 1 <= time.monotonic() - started < 6
    assert lengths == [sandbox.ready["dume_rows"]] * 6


@pytest.mark.slow
def test_a_client_that_leaves_is_counted(start):
    sandbox = start("--records", "20", "--latency", "2")
    body = json.dumps({**PAYLOAD, "referenceUnique": "R"}).encode()
    address = sandbox.url.split("/")[2].split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=30) as connection:
        connection.sendall(
            b"POST /dumes/donneesEssentielles HTTP/1.1\r\nHost: x\r\nX-Api-Version: 2\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        time.sleep(0.1)
    limit = time.monotonic() + 30
    while not (stats := sandbox.stats())["aborted"]:
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert stats["requests"] == {"search": 0, "detail": 0, "refused": 0}
    assert sandbox.references() == {}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_peace(start, number):
    sandbox = start("--records", "5", "--latency", "5")
    waiting = threading.Thread(target=seen_by_a_client, args=(sandbox,))
    waiting.start()
    time.sleep(0.2)
    sandbox.process.send_signal(number)
    assert sandbox.process.wait(30) == 0
    assert sandbox.process.stderr.read() == ""
    waiting.join(30)


def run(*options: object) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "scrapy", "sandbox", *map(str, options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    check(done.stderr)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --dume-port, --boamp-port or --datagouv-port (0 takes a free port)"),
        (
            ["--dume-port", "99999"],
            "argument --dume-port: '99999' is not a whole number from 0 to 65535",
        ),
        (
            ["--dume-port", "0", "--faults", "2"],
            "argument --faults: '2' is not a number from 0 to 1",
        ),
        (
            ["--dume-port", "0", "--latency", "nan"],
            "argument --latency: 'nan' is not a number from 0 on",
        ),
        (
            ["--dume-port", "0", "--down-after", "0"],
            "argument --down-after: '0' is not a whole number from 1 on",
        ),
        (
            ["--dume-port", "0", "--from", "2025-02-30"],
            "argument --from: '2025-02-30' is not a day of the calendar",
        ),
        (
            ["--dume-port", "0", "--to", "20250101"],
            "argument --to: '20250101' is not a date YYYY-MM-DD of this century",
        ),
        (
            ["--dume-port", "0", "--from", "2025-02-01", "--to", "2025-01-31"],
            "--to 2025-01-31 is before --from 2025-02-01",
        ),
        (["--dume-port", "0", "--port", "1"], "unknown argument: --port (see --help)"),
        (["--dume-port", "0", "a.json"], "unknown argument: a.json (see --help)"),
    ],
)
def test_bad_options(options, message, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    settings = Settings({"COMMANDS_MODULE": "dume_spider.commands"})
    with pytest.raises(SystemExit) as caught:
        execute(["scrapy", "sandbox", *options], settings)
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert err.splitlines()[-1].endswith(f": error: {message}")


def test_bad_options_end_the_command():
    status, out, err = run("--dume-port", "0", "--port", "1")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].endswith(": error: unknown argument: --port (see --help)")


def test_bad_file(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("{}")
    message = (
        f"{path}: not a DECP file: it has no list or object 'marches' (give a file of the "
        "format of 2019 or 2022)"
    )
    assert run("--dume-port", "0", "--data", path) == (
        1,
        "",
        f"scrapy sandbox: [DECP-00] {message}\n",
    )


@pytest.mark.slow
def test_port_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        message = (
            f"port {port} cannot be listened on: Address already in use; choose another, "
            "or 0 for a free one"
        )
        assert run("--dume-port", str(port), "--records", "1") == (
            1,
            "",
            f"scrapy sandbox: [DECP-01] {message}\n",
        )


def test_help_has_an_example():
    status, out, _ = run("--help")
    assert status == 0
    assert "example: scrapy sandbox --dume-port 8100" in " ".join(out.split())
    # Scrapy's formatter makes a title of each line that ends in a colon.
    titles = [
        line
        for line, below in zip(out.splitlines(), out.splitlines()[1:], strict=False)
        if below.startswith("===")
    ]
    assert titles == ["Usage", "Options", "Sandbox Options"]
