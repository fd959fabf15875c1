"""Shows how far a run is: live on a terminal, elsewhere by a line in the log."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from scrapy import signals
from scrapy.exceptions import NotConfigured

from dume_spider.exceptions import ArgumentError
from dume_spider.extensions.run_summary import RunSummary

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from scrapy import Spider
    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings

logger = logging.getLogger(__name__)

#: Seconds between two pictures on a terminal, and between two lines in the log.
PICTURE_EVERY, LINE_EVERY = 0.5, 60.0
#: The speed is that of the last so many seconds.
SPEED_OVER = 20.0
#: No time left is told before this share of the work is done: it would jump.
_LEAST_DONE = 0.005


@dataclass(frozen=True, slots=True)
class State:
    """How far a run is. ``days`` are those done and those asked; ``None``: the spider asks for
    none. ``speed`` is in rows per second, ``left`` in seconds, ``None`` while nobody can tell.
    """

    days: tuple[int, int] | None
    references: tuple[int, int]
    speed: float
    retried: int
    rejected: int
    left: float | None

    @property
    def counts(self) -> str:
        """What has no bar, in words."""
        left = "time left unknown" if self.left is None else f"{_clock(self.left)} left"
        return (
            f"{self.speed:,.1f} records/s, {self.retried:,} retries, "
            f"{self.rejected:,} rejected, {left}"
        )

    def __str__(self) -> str:
        days = "" if self.days is None else "{:,} of {:,} days, ".format(*self.days)
        return f"{days}{'{:,} of {:,}'.format(*self.references)} references, {self.counts}"


class Progress:
    """Shows the days and references that are done, the speed, retries, rejected rows and the
    time left.

    On a terminal it draws at the bottom, twice a second, and log lines go above it.
    Elsewhere it writes one line a minute, at INFO. ``PROGRESS=off`` switches it off.
    """

    def __init__(self, crawler: Crawler):
        self.crawler = crawler
        self._meter: Meter | None = None
        self._screen: Screen | None = None
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        if not is_on(crawler.settings):
            raise NotConfigured
        extension = cls(crawler)
        crawler.signals.connect(extension.spider_opened, signal=signals.spider_opened)
        crawler.signals.connect(extension.spider_closed, signal=signals.spider_closed)
        return extension

    def spider_opened(self, spider: Spider) -> None:
        if getattr(spider, "run", None) is None:
            return  # a spider of somebody else's, which counts nothing
        self._meter = Meter(self.crawler)
        # What a platform puts in its place (Zyte's) need not have all the methods of a file.
        is_terminal = getattr(sys.stderr, "isatty", bool)
        if is_terminal() and os.environ.get("TERM") != "dumb":
            self._screen = Screen()
        self._timer = asyncio.get_running_loop().call_later(PICTURE_EVERY, self._begin)

    def spider_closed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._screen is not None:
            self._screen.close()

    def _begin(self) -> None:
        """Note early how far the run is, so that the first line can tell the time left."""
        self._meter.read(time.monotonic())
        self._wait()

    def _wait(self) -> None:
        every = LINE_EVERY if self._screen is None else PICTURE_EVERY
        self._timer = asyncio.get_running_loop().call_later(every, self._show)

    def _show(self) -> None:
        state = self._meter.read(time.monotonic())
        if self._screen is None:
            logger.info("Progress: %s", state)
        else:
            self._screen.show(state)
        self._wait()


def is_on(settings: BaseSettings) -> bool:
    """The setting ``PROGRESS``. Raises :class:`ArgumentError`."""
    value = str(settings["PROGRESS"]).strip().lower()
    if value not in _SWITCH:
        raise ArgumentError(f"PROGRESS={value!r}: not known; accepted: on, off")
    return _SWITCH[value]


_SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


class Meter:
    """Reads how far the run of a crawler is."""

    def __init__(self, crawler: Crawler):
        self._crawler = crawler
        self._spider: Any = crawler.spider
        books = crawler.get_extension(RunSummary)
        # Of a run that is carried on, what it had rejected before.
        self._rejected = books.store.counts_of(self._spider.run.id).rejected if books.is_open else 0
        self._began = time.monotonic()
        self._past = deque([(self._began, self._spider.run.rows)])
        self._share: float | None = None

    def read(self, now: float) -> State:
        """The state of the run at a time of the monotonic clock."""
        run, days = self._spider.run, self._spider.days_done()
        while len(self._past) > 1 and self._past[1][0] <= now - SPEED_OVER:
            self._past.popleft()
        since, rows = self._past[0]
        self._past.append((now, run.rows))
        dropped = self._crawler.stats.get_value("item_dropped_reasons_count/RejectedRecord", 0)
        return State(
            days=days,
            references=(run.references_done, run.references),
            speed=(run.rows - rows) / (now - since) if now > since else 0.0,
            retried=run.requests["retried"],
            rejected=self._rejected + dropped,
            left=self._left(now, days),
        )

    def _left(self, now: float, days: tuple[int, int] | None) -> float | None:
        """The seconds left, if what is still to be found is as much work as what was found."""
        run = self._spider.run
        share = run.references_done / run.references if run.references else 1.0
        if days is not None:
            share *= days[0] / max(days[1], 1)
        elif not run.references:
            return None
        if self._share is None:
            # What an earlier process had done says nothing about the speed of this one.
            self._share = share
        done = share - self._share
        if done < _LEAST_DONE:
            return None
        return (now - self._began) * (1 - share) / done


class Screen:
    """The bottom lines of a terminal. The log goes above them, through the same console."""

    def __init__(self) -> None:
        # Imported here: on a server nobody looks.
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False
        )
        above = _Above(self._console)
        self._handlers = [
            (handler, handler.setStream(above))
            for handler in logging.root.handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
        ]
        self._live.start()
        # It is of no use hidden, and a kill would leave it so.
        self._console.show_cursor(True)

    def show(self, state: State) -> None:
        """Draw a state in the place of the one before."""
        self._live.update(_picture(state), refresh=True)

    def close(self) -> None:
        """Clear the lines, and let the log go where it went."""
        self._live.stop()
        for handler, stream in self._handlers:
            handler.setStream(stream)


class _Above:
    """A stream that writes whole lines above the live lines of a console."""

    def __init__(self, console: Console):
        self._console = console

    def write(self, text: str) -> None:
        # As it is: the terminal wraps long lines, and brackets are no markup.
        self._console.print(text, end="", markup=False, soft_wrap=True, emoji=False)

    def flush(self) -> None:
        """Nothing is kept back."""


def _picture(state: State) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    bars = {"days": state.days, "references": state.references}
    for name, counts in bars.items():
        if counts is not None:
            done, total = counts
            bar = ProgressBar(total=max(total, 1), completed=done, width=32)
            grid.add_row(name, bar, f"{done:,} of {total:,}")
    return Group(grid, Text(state.counts))


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
