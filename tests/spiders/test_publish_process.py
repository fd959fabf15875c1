"""``scrapy crawl publish`` as a process: exit statuses, signals, kills, memory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from crawling import ROOT, peak_of
from logs import check
from portals import Fault, Portal, faulty
from publishing import SIRET, TODAY, Publishing, api, make_file, new_dataset, resources

from dume_spider.store.publications import Publications
from dume_spider.store.store import Store

ONE, TWO, THREE, FOUR, FIVE = (f"DECP-{SIRET}-{TODAY}-0{at}.json" for at in range(1, 6))


def start(
    portal: Portal, publish: Publishing, role: str = "owner", **arguments: Any
) -> subprocess.Popen[str]:
    """Start ``scrapy crawl publish`` with somebody's key."""
    folder = publish.folder
    settings = {
        "DATAGOUV_API_URL": portal.url,
        "DECP_STORE_URL": f"sqlite:///{folder / 'store.sqlite'}",
        "DECP_RUNS_DIR": folder / "runs",
        "DOWNLOAD_DELAY": 0,
        "RETRY_TIMES": 1,
        "LOG_LEVEL": "DEBUG",
    }
    command = [sys.executable, "-W", "error", "-m", "scrapy", "crawl", "publish"]
    command += [part for name, value in arguments.items() for part in ("-a", f"{name}={value}")]
    command += [part for name, value in settings.items() for part in ("-s", f"{name}={value}")]
    publish.keys.add(portal.keys[role])
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"DATAGOUV_API_KEY": portal.keys[role]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(
    portal: Portal, publish: Publishing, role: str = "owner", **arguments: Any
) -> tuple[int, str]:
    """Its exit status and log."""
    with start(portal, publish, role, **arguments) as process:
        output, _ = process.communicate(timeout=300)
    publish.look_for_keys(output)
    check(output)
    return process.returncode, output


def told(output: str) -> list[str]:
    """The errors and warnings in a log, without the last one: how the run ended."""
    pattern = r"^[-0-9: ]+ \[dume_spider\.\S+\] (?:WARNING|ERROR): (.*)$"
    *lines, last = re.findall(pattern, output, re.MULTILINE)
    assert re.match(r"\[DECP-1[01]\] Run publish-\S+ (failed|is incomplete)", last)
    return lines


UPLOAD = r"/datasets/[^/]+/upload/$"


@pytest.mark.parametrize("portal", ["replica"], indirect=True)
def test_what_is_refused_for_its_own_sake(portal: Portal, publish: Publishing) -> None:
    """Each file by a line; the others are published."""
    publish.files(1, 3, 4)
    make_file(publish.folder / "decp", 2, contracts=30)
    empty = publish.folder / "decp" / f"DECP-{SIRET}-{TODAY}-06.json"
    empty.touch()
    dataset = new_dataset(portal)
    url = f"https://10.0.0.1/{FIVE}"
    faults = [
        Fault("415", "POST", UPLOAD, nth=3),
        # The portal says that it has done what it has not: the title stays the one it gave.
        Fault("200", "PUT", r"/resources/[^/]+/$", nth=2, body=b"{}"),
    ]
    with faulty(portal.also(max_content_length=10_000), *faults) as proxied:
        files = publish.folder / "decp" / "*.json"
        status, output = run(proxied, publish, dataset=dataset, files=files, remote_url=url)
    assert status == 1, output
    # The last line is a line, however many files were refused.
    assert re.search(r"failed: .*-06.json: is empty; DECP-.*; and 1 more errors; see ", output)
    there = resources(portal, dataset)
    assert set(there) == {ONE, FOUR.lower()}
    base = f"POST {proxied.url}/datasets/{dataset}"
    assert told(output) == [
        f"[PUB-15] {empty}: is empty",
        f"[PUB-07] {TWO}: {base}/upload/: HTTP status 413 (The data value transmitted exceeds the "
        "capacity limit.); the file is too large for the portal; publish fewer contracts per file",
        f"[PUB-08] {THREE}: {base}/upload/: HTTP status 415 (Unsupported Media Type); the portal "
        "does not take such files; publish JSON or XML",
        f"[PUB-14] {FOUR}, the resource {there[FOUR.lower()]['id']} is not as it was sent: title "
        f"is {FOUR.lower()!r} instead of {FOUR!r}; run the same command again; if it says the "
        "same, the portal has changed",
        f"[PUB-01] {base}/resources/: HTTP status 400 (url: URL invalide "
        f'"{url}" : adresse privée); correct what it names: an argument, a setting, or the file',
    ]


BREAK = b"<!doctype html><title>Maintenance</title>"


@pytest.mark.slow
@pytest.mark.parametrize("portal", ["replica"], indirect=True)
@pytest.mark.parametrize(
    ("role", "faults", "status", "expected"),
    [
        (
            *("owner", [Fault("409", "DELETE", "")], 1),
            "[PUB-05] DELETE {url}/datasets/{dataset}/: HTTP status 409 (Conflict); a data set "
            "with a DOI stays; ask the portal's team",
        ),
        (
            *("outsider", [], 1),
            "[PUB-06] GET {url}/datasets/{dataset}/: HTTP status 410 (Dataset has been deleted); "
            "the data set is deleted; bring it back first: -a action=restore, with the key of a "
            "member of its organization",
        ),
        (
            *("owner", [Fault("503", "GET", "/me/$", nth=None)], 3),
            "[PUB-10] GET {url}/me/: HTTP status 503 (Service Unavailable); run the same command "
            "again later",
        ),
        (
            *("owner", [Fault("200", "GET", "/me/$", body=BREAK)], 1),
            "[PUB-13] GET {url}/me/: the answer is no JSON but text/html: HTTP status 200; check "
            "DATAGOUV_API_URL; if it is right, the portal has changed",
        ),
    ],
    ids=lambda value: value[1:7] if isinstance(value, str) and value[0] == "[" else None,
)
def test_what_ends_it(
    portal: Portal,
    publish: Publishing,
    role: str,
    faults: list[Fault],
    status: int,
    expected: str,
) -> None:
    dataset = new_dataset(portal)
    if role == "outsider":
        api(portal, "DELETE", f"datasets/{dataset}/")
    with faulty(portal, *faults) as proxied:
        arguments = {"dataset": dataset, "action": "delete-dataset", "confirm": dataset}
        found, output = run(proxied, publish, role, **arguments)
    assert found == status, output
    assert told(output) == [expected.format(url=proxied.url, dataset=dataset)]


@pytest.mark.slow
def test_exit_statuses(portal: Portal, publish: Publishing) -> None:
    publish.files(1)
    dataset = new_dataset(portal)
    files = publish.folder / "decp" / "*.json"
    status, output = run(portal.also(read_only=True), publish, dataset=dataset, files=files)
    assert status == 3, output
    assert output.count("the portal is read-only for now") == 1
    status, output = run(portal, publish, dataset=dataset, files=files)
    assert status == 0, output
    assert f"{ONE}: uploaded http" in output
    assert set(resources(portal, dataset)) == {ONE}
    status, output = run(portal, publish, dataset=dataset, action="update")
    assert status == 1, output
    status, output = run(portal, publish, dataset=dataset, action="upgrade")
    assert status == 1
    assert output.endswith(
        "\nscrapy crawl: [DECP-01] publish: argument action='upgrade': not known; accepted: "
        "upload, replace, update, delete-resource, delete-dataset, restore\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_in_the_middle(portal: Portal, publish: Publishing, how: signal.Signals) -> None:
    """While the second upload waits for its next try: the same command does the rest."""
    publish.files(1, 2)
    dataset = new_dataset(portal)
    arguments = {"dataset": dataset, "files": publish.folder / "decp" / "*.json"}
    with (
        faulty(portal, *(Fault("cut", "POST", "upload", nth=nth) for nth in (2, 3))) as proxied,
        start(proxied, publish, **arguments) as process,
    ):
        deadline = time.monotonic() + 60
        while sum(line.startswith("POST") for line in proxied.asked) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(how)
        output, _ = process.communicate(timeout=60)
        if how == signal.SIGTERM:
            assert process.returncode == 3, output
            assert "is incomplete (shutdown)" in output
            assert f'"reference": "{TWO}"' in next(
                path.read_text() for path in publish.folder.glob("runs/*/summary.json")
            )
        publish.look_for_keys(output)
        # What was stored is there once, under the title that the upload gave. The portal may
        # still be at it: only the client was stopped.
        while set(resources(portal, dataset)) != {ONE, TWO.lower()}:
            assert time.monotonic() < deadline, resources(portal, dataset)
            time.sleep(0.05)
        status, output = run(proxied, publish, **arguments)
    assert status == 0, output
    assert f"{ONE}: unchanged" in output
    assert f"{TWO}: described" in output
    assert set(resources(portal, dataset)) == {ONE, TWO}


@pytest.mark.slow
@pytest.mark.parametrize("created", [False, True])
def test_one_at_a_time(portal: Portal, publish: Publishing, created: bool) -> None:
    """Who comes second waits, and only then looks at what is missing."""
    publish.files(1)
    files = publish.folder / "decp" / "*.json"
    arguments: dict[str, Any] = {"files": files}
    if created:
        named = {"structure": "plateforme", "siret": SIRET, "name": f"Ville {uuid4()}"}
        arguments |= {"create": "true", "organization": portal.organization, **named}
    else:
        arguments["dataset"] = new_dataset(portal)
    store = Store(f"sqlite:///{publish.folder / 'store.sqlite'}")
    with faulty(portal) as proxied:
        held = Publications(store, proxied.url).hold(
            portal.organization if created else arguments["dataset"]
        )
        with start(proxied, publish, **arguments) as process:
            seen = [process.stdout.readline()]
            while seen[-1] and not seen[-1].endswith(": waiting for its end\n"):
                seen.append(process.stdout.readline())
            assert seen[-1], "".join(seen)
            assert proxied.asked == ["GET /api/1/me/"]
            held.release(for_good=True)
            rest, _ = process.communicate(timeout=60)
    store.close()
    assert process.returncode == 0, rest
    assert "Published: 1 " in rest
    publish.look_for_keys("".join(seen) + rest)
    assert not list(publish.folder.glob("store.sqlite-publication-*"))


@pytest.mark.slow
@pytest.mark.parametrize("portal", ["replica"], indirect=True)
def test_memory_does_not_grow_with_the_file(portal: Portal, publish: Publishing) -> None:
    """300 MB: checked, sent in parts and compared with less than 200 MB of memory."""
    small = make_file(publish.folder / "decp", 1, contracts=1)
    grow(small, 300_000_000)
    dataset = new_dataset(portal)
    with (
        start(portal, publish, dataset=dataset, files=small) as process,
        ThreadPoolExecutor(1) as beside,
    ):
        peak = beside.submit(peak_of, process)
        output = process.stdout.read()
    assert process.returncode == 0, output
    assert resources(portal, dataset)[ONE]["filesize"] == small.stat().st_size
    assert 0 < peak.result() < 200_000, f"{peak.result()} kB"


def grow(path: Path, size: int) -> None:
    """Make a file of one contract one of as many as ``size`` bytes hold."""
    text = path.read_text(encoding="utf-8")
    at = text.index("[") + 1
    end = text.rindex("]")
    record = text[at:end].strip()
    marked = record.replace('"1-0"', '"{}"', 1)
    assert marked != record
    with path.open("w", encoding="utf-8") as file:
        file.write(text[:at] + record)
        for number in range(size // len(record)):
            file.write("," + marked.replace("{}", f"9{number}", 1))
        file.write(text[end:])
