"""Write the DECP files of a run, from what the store owes, when the spider closes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Self

from scrapy import signals
from stdnum.fr import siret

from dume_spider.datagouv.dataset import STRUCTURES
from dume_spider.decp.filename import FORMATS, Format, last_numbers
from dume_spider.exceptions import ArgumentError, DumeSpiderError, OutputError
from dume_spider.extensions.publication import PublishAfter
from dume_spider.extensions.run_summary import RunSummary, stop
from dume_spider.storages import check_uri, open_output
from dume_spider.store.publications import published_names
from dume_spider.store.store import RecordKeys, Store

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings

    from dume_spider.decp.folder import NewFiles, Output
    from dume_spider.run import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """How files are written: the settings ``DECP_FORMATS``, ``DECP_STRUCTURE``, …, checked.

    ``platform_siret`` names all files of structure ``plateforme`` and is empty otherwise.
    """

    uri: str
    formats: tuple[Format, ...]
    platform_siret: str

    @classmethod
    def read(cls, settings: BaseSettings) -> Self:
        """Raises :class:`ArgumentError` naming the setting, the bad value and what is accepted."""
        formats = tuple(
            _one_of(FORMATS, "DECP_FORMATS", name.strip())
            for name in settings["DECP_FORMATS"].split(",")
        )
        structure = _one_of(STRUCTURES, "DECP_STRUCTURE", settings["DECP_STRUCTURE"])
        platform = settings["DECP_PLATFORM_SIRET"] if structure == "plateforme" else ""
        if structure == "plateforme" and not siret.is_valid(platform):
            raise ArgumentError(
                f"DECP_PLATFORM_SIRET={platform!r}: not a SIRET; structure plateforme needs the "
                "platform's, 14 digits whose check sum is right"
            )
        check_uri(settings["DECP_FILES_URI"])
        return cls(settings["DECP_FILES_URI"], formats, siret.compact(platform))


def _one_of(accepted: tuple[str, ...], name: str, value: str) -> str:
    if value not in accepted:
        raise ArgumentError(f"{name}={value!r}: not known; accepted: {', '.join(accepted)}")
    return value


class DecpFilesPipeline:
    """Puts the run's new and updated records in place as DECP files.

    What cannot be written stays owed by the store: the same command writes it later. What a
    shard has received stays owed until all shards are done (``scrapy export``).
    """

    def __init__(self, crawler: Crawler):
        self.crawler = crawler
        self.settings = OutputSettings.read(crawler.settings)
        self.output = open_output(self.settings.uri, crawler)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        pipeline = cls(crawler)
        crawler.signals.connect(pipeline.spider_closed, signal=signals.spider_closed)
        return pipeline

    def open_spider(self) -> None:
        """Prove that files can be written, before the first request."""
        if self.crawler.spider.run.shard:
            return
        try:
            self.output.check()
        except OutputError as error:
            stop(self.crawler.spider.run, error)

    def spider_closed(self) -> None:
        """Write the files. A failure here is told by the exit status: Scrapy would only log it."""
        books = self.crawler.get_extension(RunSummary)
        if not books.is_open or books.run.shard:
            return
        try:
            publish_after = self.crawler.get_extension(PublishAfter)
            taken = publish_after.taken if publish_after else []
            write_owed(books.store, books.run, self.settings, self.output, taken)
        except DumeSpiderError as error:
            logger.error("%s", error.line)
            books.run.fail(str(error))


def write_owed(
    store: Store,
    run: Run,
    settings: OutputSettings,
    output: Output,
    taken: Iterable[str] = (),
) -> None:
    """Put all records that a run owes in place.

    One file (per format) for each buyer or for the platform, and each regime. ``taken`` are
    names on the dataset that the files go to; those that the store has seen published are
    taken too. Raises :class:`DumeSpiderError`: what is in place by then stays, and the rest is
    owed.
    """
    last = last_numbers(chain(taken, published_names(store.database, run.day)), run.day)
    # Sets whose records another run has taken over are not placed: what is still owed is
    # then written anew.
    while not all(_write_all(store, run, settings, output, last)):
        continue


def _write_all(
    store: Store,
    run: Run,
    settings: OutputSettings,
    output: Output,
    last: Mapping[str, int],
) -> Iterator[bool]:
    """Write what a run owes, some sets at once: whether their records were still this run's."""
    pending = store.pending(run.id, by_type=bool(settings.platform_siret))
    sets = groupby(pending, key=lambda each: (each.regime, settings.platform_siret or each.buyer))
    while True:
        with ExitStack() as stack:
            held: list[RecordKeys] = []
            out: list[NewFiles] = []
            for (regime, name), records in islice(sets, output.at_once):
                after = last.get(name, 0)
                files = output.new_files(name, run.day, settings.formats, regime, after)
                out.append(stack.enter_context(files))
                held.append(RecordKeys(regime, name))
                for record in records:
                    files.add(record.type, record.record)
                    held[-1].add(record)
            if not held:
                return
            commit = partial(output.commit, out)
            placed = store.place(run.id, held, folder=output.uri, commit=commit)
        yield placed
