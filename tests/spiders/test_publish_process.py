"""``scrapy crawl publish`` as a process: exit statuses, signals, kills, memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from crawling import ROOT, peak_of
from portals import Fault, Portal, faulty
from publishing import SIRET, TODAY, Publishing, make_file, new_dataset, resources

ONE, TWO = (f"DECP-{SIRET}-{TODAY}-{number:02}.json" for number in (1, 2))


def start(portal: Portal, publish: Publishing, **arguments: Any) -> subprocess.Popen[str]:
    """Start ``scrapy crawl publish`` with the owner's key."""
    folder = publish.folder
    settings = {
        "DATAGOUV_API_URL": portal.url,
        "DECP_STORE_URL": f"sqlite:///{folder / 'store.sqlite'}",
        "DECP_RUNS_DIR": folder / "runs",
        "DOWNLOAD_DELAY": 0,
        "LOG_LEVEL": "DEBUG",
    }
    command = [sys.executable, "-W", "error", "-m", "scrapy", "crawl", "publish"]
    command += [part for name, value in arguments.items() for part in ("-a", f"{name}={value}")]
    command += [part for name, value in settings.items() for part in ("-s", f"{name}={value}")]
    publish.keys.add(portal.keys["owner"])
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"DATAGOUV_API_KEY": portal.keys["owner"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(portal: Portal, publish: Publishing, **arguments: Any) -> tuple[int, str]:
    """Its exit status and log."""
    with start(portal, publish, **arguments) as process:
        output, _ = process.communicate(timeout=300)
    publish.look_for_keys(output)
    return process.returncode, output


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
