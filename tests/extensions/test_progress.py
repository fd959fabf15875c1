"""The display of progress: in a pseudo-terminal whose screen is read, in a pipe, and off."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyte
import pytest
from crawling import ROOT, crawl_command
from logs import check
from scrapy.exceptions import NotConfigured

from dume_spider.extensions import progress
from dume_spider.extensions.progress import SPEED_OVER, Meter, Progress, State, is_on

DAYS = {"date_start": "2026-03-01", "date_end": "2026-03-10"}
#: The command of a crawl, with another pace than one line a minute.
_PACED = """
import sys
from scrapy.cmdline import execute
from dume_spider.extensions import progress
progress.PICTURE_EVERY, progress.LINE_EVERY = 0.2, 0.1
execute(["scrapy", *sys.argv[1:]])
"""
COUNTS = r"[\d,.]+ records/s, \d+ retries, \d+ rejected, (time left unknown|\d:\d\d:\d\d left)"


@pytest.fixture(scope="module")
def address(start_sandbox: Callable) -> str:
    options = ("--records", 80, "--from", "2026-03-01", "--to", "2026-03-10", "--seed", 2)
    return start_sandbox(*options, "--faulty", 0.2, "--latency", 0.08).url


def paced(folder: Path, url: str, **settings: str) -> list[str]:
    command = crawl_command(folder, url, DAYS, settings)
    return [command[0], "-c", _PACED, *command[3:]]


def watch(command: list[str], rows: int, columns: int) -> tuple[int, list[list[str]]]:
    """Run a command in a terminal of that size; its exit status and what the screen showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    shown = []
    while True:
        try:
            data = os.read(ours, 1 << 16)
        except OSError:  # how Linux says that nobody holds the other side any more
            break
        if not data:
            break
        stream.feed(data)
        shown.append([line.rstrip() for line in screen.display])
    os.close(ours)
    return process.wait(60), shown


def test_a_terminal(tmp_path: Path, address: str) -> None:
    status, shown = watch(paced(tmp_path, address), rows=400, columns=300)
    assert status == 0
    pictures = [[line for line in screen if line][-3:] for screen in shown]
    pictures = [lines for lines in pictures if lines and re.fullmatch(COUNTS, lines[-1])]
    assert len(pictures) > 4
    done = []
    for days, references, _ in pictures:
        assert re.fullmatch(r"days       [━╸╺]{32} \d+ of 10", days)
        match = re.fullmatch(r"references [━╸╺]{32} (\d+) of (\d+)", references)
        assert int(match[1]) <= int(match[2]) <= 80
        done.append(int(match[1]))
    assert done == sorted(done)
    assert len(set(done)) > 3
    # At the end the display is gone, and the log stands there as if there had been none.
    lines = [line for line in shown[-1] if line]
    assert not [line for line in lines if "records/s" in line or "━" in line]
    torn = [line for line in lines if not re.match(r"\d{4}-\d\d-\d\d [\d:]{8} \[|[ {\[]", line)]
    assert torn == []
    check("\n".join(lines))
    rejected = [line for line in lines if "INFO: rejected" in line]
    (kept,) = tmp_path.glob("runs/*/rejected.jsonl")
    assert len(rejected) == len(kept.read_bytes().splitlines()) > 5
    assert re.search(r" INFO: Run dume-\S+ is complete: ", lines[-1])


@pytest.mark.slow
def test_a_small_terminal_with_a_log_file(tmp_path: Path, address: str) -> None:
    log = tmp_path / "log"
    status, shown = watch(paced(tmp_path, address, LOG_FILE=str(log)), rows=6, columns=70)
    assert status == 0
    # Nothing but the display, always at the top.
    for screen in shown:
        assert not screen[0] or screen[0].startswith("days "), screen
    assert any(re.fullmatch(COUNTS, screen[2]) for screen in shown)
    assert not any(shown[-1])
    assert "Progress:" not in log.read_text(encoding="utf-8")


def test_a_pipe(tmp_path: Path, address: str) -> None:
    done = subprocess.run(
        paced(tmp_path, address), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "\x1b" not in done.stderr
    check(done.stderr)
    lines = re.findall(r"INFO: Progress: (.*)", done.stderr)
    assert len(lines) > 4
    for line in lines:
        assert re.fullmatch(rf"\d+ of 10 days, \d+ of \d+ references, {COUNTS}", line), line
    # No line of Scrapy's about pages.
    assert "Crawled" not in done.stderr


@pytest.mark.slow
def test_off_on_a_terminal(tmp_path: Path, address: str) -> None:
    status, shown = watch(paced(tmp_path, address, PROGRESS="off"), rows=400, columns=300)
    assert status == 0
    assert not any("records/s" in line or "Progress" in line for s in shown for line in s)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("off", False), ("OFF", False), ("0", False), ("on", True), (True, True)],
)
def test_off(value: Any, expected: bool) -> None:
    settings = {"PROGRESS": value}
    assert is_on(settings) is expected
    if not expected:
        # Nothing is made and no signal is connected.
        with pytest.raises(NotConfigured):
            Progress.from_crawler(SimpleNamespace(settings=settings))


@pytest.mark.parametrize("arguments", [["crawl", "dume"], ["reprocess", "--all"]])
def test_a_bad_value_is_one_line(tmp_path: Path, arguments: list[str]) -> None:
    settings = [f"DECP_STORE_URL=sqlite:///{tmp_path / 'store.sqlite'}", "PROGRESS=maybe"]
    command = [sys.executable, "-m", "scrapy", *arguments]
    for setting in settings:
        command += ["-s", setting]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    check(done.stderr)
    said = f"scrapy {arguments[0]}: [DECP-01] PROGRESS='maybe': not known; accepted: on, off"
    assert done.stderr.splitlines()[-1] == said
    assert "Traceback" not in done.stderr


class Spider(SimpleNamespace):
    """As much of a spider as a meter reads."""

    days: tuple[int, int] | None = None

    def days_done(self) -> tuple[int, int] | None:
        return self.days


def crawler_of(**counts: Any) -> SimpleNamespace:
    """As much of a crawler."""
    run = SimpleNamespace(
        **{"id": "run", "rows": 0, "references": 0, "references_done": 0} | counts,
        requests=Counter(),
    )
    spider, stats = Spider(run=run), Counter()
    store = SimpleNamespace(counts_of=lambda run: SimpleNamespace(rejected=7))
    books = SimpleNamespace(is_open=True, store=store)
    return SimpleNamespace(
        spider=spider,
        counts=stats,
        stats=SimpleNamespace(get_value=lambda name, default: stats[name]),
        get_extension=lambda _: books,
    )


def meter(**counts: Any) -> tuple[Meter, Spider, dict[str, int], float]:
    crawler = crawler_of(**counts)
    made = Meter(crawler)
    return made, crawler.spider, crawler.counts, made._began


def test_the_time_left_is_that_of_the_work_left() -> None:
    meter_, spider, stats, began = meter()
    spider.days = (0, 10)
    assert meter_.read(began).left is None
    spider.days, spider.run.references, spider.run.references_done = (5, 10), 100, 50
    spider.run.rows, spider.run.requests["retried"] = 60, 3
    stats["item_dropped_reasons_count/RejectedRecord"] = 2
    state = meter_.read(began + 10)
    # A quarter is done.
    assert state == State((5, 10), (50, 100), 6.0, 3, 9, 30.0)
    text = "5 of 10 days, 50 of 100 references, 6.0 records/s, 3 retries, 9 rejected, 0:00:30 left"
    assert str(state) == text


def test_the_first_line_tells_the_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a minute, in a run; what was done by then is what counts."""
    monkeypatch.setattr(progress, "PICTURE_EVERY", 0.01)
    monkeypatch.setattr(progress, "LINE_EVERY", 0.5)
    monkeypatch.setenv("TERM", "dumb")
    caplog.set_level(logging.INFO, "dume_spider")
    crawler = crawler_of()
    shown, spider = Progress(crawler), crawler.spider
    spider.days = (0, 10)

    async def run() -> None:
        shown.spider_opened(spider)
        await asyncio.sleep(0.03)
        spider.days, spider.run.references, spider.run.references_done = (9, 10), 100, 90
        await asyncio.sleep(0.7)
        shown.spider_closed()

    asyncio.run(run())
    assert re.fullmatch(
        rf"Progress: 9 of 10 days, 90 of 100 references, {COUNTS}", caplog.messages[0]
    )
    assert caplog.messages[0].endswith("0:00:00 left")


def test_what_an_earlier_process_has_done_is_no_speed() -> None:
    meter_, spider, _, began = meter(rows=800, references=1000, references_done=800)
    assert meter_.read(began).speed == 0.0
    spider.run.references_done = spider.run.rows = 900
    state = meter_.read(began + 10)
    assert (state.speed, round(state.left)) == (10.0, 10)
    assert str(state).startswith("900 of 1,000 references, 10.0 records/s")


def test_the_speed_is_that_of_the_last_seconds() -> None:
    meter_, spider, _, began = meter()
    for second in range(1, 61):
        spider.run.rows += 100 if second <= 30 else 1
        state = meter_.read(began + second)
    assert state.speed == pytest.approx(1.0)
    assert SPEED_OVER < 30


def test_without_days_or_references_nobody_can_tell() -> None:
    meter_, _, _, began = meter()
    state = meter_.read(began + 5)
    assert state.left is None
    assert str(state).endswith("7 rejected, time left unknown")


def test_python_needs_no_terminal_library_in_a_pipe() -> None:
    # rich is loaded when there is a terminal, and not before.
    code = "import sys, dume_spider.extensions.progress; sys.exit('rich.live' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
