"""What the spiders share: declared arguments, checked before the first request."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import scrapy

from dume_spider.decp.verdict import quote
from dume_spider.exceptions import ArgumentError
from dume_spider.run import PARIS, Run

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings

#: The environment variable with the key of data.gouv.fr, which stands nowhere else.
KEY = "DATAGOUV_API_KEY"

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a spider.

    ``read`` turns its text into a value, or raises ``ValueError`` with what is accepted;
    ``help`` is the sentence for the reference.
    """

    read: Callable[[str], Any]
    help: str


class BaseSpider(scrapy.Spider):
    """A spider with declared arguments and a :class:`Run`.

    To add a spider:

    1. set ``name`` and ``arguments`` (name → :class:`Argument`);
    2. override :meth:`check_arguments` for what concerns several arguments together;
    3. read the values in ``self.values`` and count in ``self.run``.

    Names that start with ``_`` (Scrapyd's ``_job``) pass unread.
    """

    arguments: ClassVar[Mapping[str, Argument]] = {}
    #: Whether its runs write DECP files that may be published when they have ended.
    writes_files: ClassVar[bool] = False

    values: dict[str, Any]
    run: Run

    @classmethod
    def read_arguments(cls, given: Mapping[str, str]) -> dict[str, Any]:
        """The values of the arguments given, by name; those not given are absent.

        Raises :class:`ArgumentError` naming the argument, the bad value and what is accepted.
        """
        values = {}
        for name, text in given.items():
            if name.startswith("_"):
                continue
            is_unknown = name not in cls.arguments
            if _is_key(text) or (is_unknown and "key" in name.lower()):
                # Not quoted: this line goes into logs.
                raise ArgumentError(
                    f"{cls.name}: argument {name} is a key, where others can see it; give it as "
                    f"the environment variable {KEY} only, and make a new one"
                )
            if is_unknown:
                accepted = ", ".join(sorted(cls.arguments))
                raise ArgumentError(
                    f"{cls.name}: unknown argument {name!r} ({quote(text)}); accepted: {accepted}"
                )
            try:
                values[name] = cls.arguments[name].read(_encodable(text.strip()))
            except ValueError as error:
                raise ArgumentError(
                    f"{cls.name}: argument {name}={quote(text)}: {error}"
                ) from error
        cls.check_arguments(values)
        return values

    @classmethod
    def check_arguments(cls, values: dict[str, Any]) -> None:
        """Check what concerns several arguments together; may complete ``values``.

        Raises :class:`ArgumentError`.
        """

    @classmethod
    def check_settings(cls, settings: BaseSettings) -> None:
        """Check the settings of the spider's own. Raises :class:`DumeSpiderError`."""

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        values = cls.read_arguments(kwargs)
        # Not passed on: Scrapy would set them as attributes of the spider.
        spider = super().from_crawler(crawler, *args)
        spider.values = values
        given = {name: text for name, text in kwargs.items() if not name.startswith("_")}
        spider.run = Run(
            cls.name,
            given,
            Path(crawler.settings["DECP_RUNS_DIR"]),
            shard=str(values.get("shard", "")),
        )
        spider.run.command = spider.command()
        return spider

    def command(self) -> str:
        """The command that does what this run leaves undone, settings left out."""
        return crawl_command(self.name, self.run.arguments)

    def asked(self) -> dict[str, Any] | None:
        """All that decides what is asked for, as plain values of JSON, dates resolved.

        A run that is interrupted is carried on by one that asks the same. ``None``: it is
        not, since the spider does not note what it has got.
        """
        return None

    def days_done(self) -> tuple[int, int] | None:
        """How many of the days asked for are done with, and how many are asked for; ``None``:
        the spider does not ask by days. For the display of progress: it is called often.
        """
        return None

    def stop(self, reason: str) -> None:
        """Close the spider; unlike ``CloseSpider``, also from an errback."""
        self._stopping = asyncio.ensure_future(
            self.crawler.engine.close_spider_async(reason=reason)
        )


def _is_key(text: str) -> bool:
    """Whether an argument is a key of data.gouv.fr, or the one in the environment."""
    key = os.environ.get(KEY, "").strip()
    return text.strip().startswith("udata_") or bool(key and key in text)


def crawl_command(spider: str, arguments: Mapping[str, Any]) -> str:
    """The command of a crawl, as a shell takes it."""
    given = (f" -a {shlex.quote(f'{name}={value}')}" for name, value in arguments.items())
    return f"scrapy crawl {spider}{''.join(given)}"


def today() -> date:
    """Today's date in France."""
    return datetime.now(PARIS).date()


def _encodable(text: str) -> str:
    """The text, unless the shell gave bytes that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8; set the terminal to it") from None
    return text


def a_date(text: str) -> date:
    """Read a real calendar date; ``ValueError`` says what is accepted."""
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError("not a date; accepted: YYYY-MM-DD, such as 2024-03-01") from None
    if not 1900 <= day.year < 2200:
        # A slip of the hand, such as 0202: centuries of empty days would be planned.
        raise ValueError("not a date of contracts; accepted: the years 1900 to 2199")
    return day


def a_text(text: str) -> str:
    """Read a text that is not empty."""
    if not text:
        raise ValueError("is empty; leave the argument out instead")
    return text


def one_of(*accepted: str) -> Callable[[str], str]:
    """A reader for one word among ``accepted``."""

    def read(text: str) -> str:
        if text not in accepted:
            raise ValueError(f"not known; accepted: {', '.join(accepted)}")
        return text

    return read


class Shard(NamedTuple):
    """A share of the work: one of ``of`` workers, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def a_shard(text: str) -> Shard:
    """Read a share such as ``2/8``: the second of eight."""
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError("not a share; accepted: I/N with I from 1 to N, such as 2/8")
    return Shard(int(match[1]), int(match[2]))
