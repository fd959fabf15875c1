"""Publishes the files of a harvest, when and only when it ended well."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.settings import Settings

from dume_spider.datagouv.client import read_url
from dume_spider.datagouv.errors import PortalError
from dume_spider.datagouv.publisher import Publisher
from dume_spider.decp.filename import DecpFilename
from dume_spider.exceptions import ArgumentError, DumeSpiderError
from dume_spider.extensions.run_summary import RunSummary, stop
from dume_spider.spiders.publish import PublishSpider, an_id, check_settings, client_of
from dume_spider.storages import RemoteOutput, open_place
from dume_spider.store.publications import TRUSTED, Publications

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings

    from dume_spider.run import Run

logger = logging.getLogger(__name__)

#: What the run that publishes does not share with the one whose files it publishes: its feeds
#: and its folder of requests, and the components of the platform it runs on (Zyte's speak of
#: one run per job).
_OF_ITS_OWN = {
    "FEEDS": {},
    "JOBDIR": None,
    "EXTENSIONS_BASE": {},
    "EXTENSIONS": {"dume_spider.extensions.run_summary.RunSummary": 500},
    "STATS_CLASS": "scrapy.statscollectors.MemoryStatsCollector",
    "PUBLISH_DATASET": "",
}


class OwedSpider(PublishSpider):
    """Publishes what the store knows to be owed to the data set ``dataset``.

    Files on a server are fetched into a temporary folder. Nobody has named the files, so that
    none takes the place of another's.
    """

    spares_others = True
    say_whose = (
        "have it say whose it is (scrapy crawl publish -a action=update -a dataset=… "
        "-a structure=… -a siret=… -a name=…), or write one file for all: DECP_STRUCTURE=plateforme"
    )
    if_gone = (
        "put the file back, or write its contracts again with scrapy export, publish that, and "
        "give up what is owed (docs/reference.md, PUBLISH_DATASET)"
    )
    _harvest: str
    _here: TemporaryDirectory[str] | None = None

    @classmethod
    def check_arguments(cls, values: dict[str, object]) -> None:
        values["action"] = "upload"

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, harvest: Run, **kwargs: Any) -> Self:
        """``harvest`` is the run of the harvest: its command publishes what is owed by then."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.run.command = harvest.command
        spider._harvest = harvest.id
        if crawler.settings["DECP_STRUCTURE"] == "plateforme":
            spider.values["siret"] = crawler.settings["DECP_PLATFORM_SIRET"]
        return spider

    def files(self) -> Sequence[Path]:
        """The files that are owed, where they are or will be fetched to."""
        self._here = TemporaryDirectory(prefix="dume-spider-")
        self._away: dict[Path, RemoteOutput] = {}
        self._earlier: set[Path] = set()
        paths = []
        owed = self.publications.owed(self.values["dataset"])
        for number, (place, name, run) in enumerate(owed):
            output = open_place(place, self.crawler)
            if isinstance(output, RemoteOutput):
                path = Path(self._here.name, str(number), name)
                self._away[path] = output
            else:
                path = Path(place, name)
            if run != self._harvest:
                self._earlier.add(path)
            paths.append(path)
        return paths

    async def check(self, files: Iterable[Path], siret: str) -> list[tuple[Path, DecpFilename]]:
        """Fetch the files that are away; then as any publication.

        Files of another SIRET fail the run that wrote them, and are named by the later ones.
        """
        here, others = [], []
        for path in files:
            if siret and path in self._earlier and DecpFilename.parse(path.name).siret != siret:
                others.append(path.name)
                del self.left[str(path)]
                self.run.rows -= 1
                continue
            try:
                if output := self._away.get(path):
                    path.parent.mkdir()
                    await asyncio.to_thread(output.fetch, path.name, path)
                here.append(path)
            except (DumeSpiderError, OSError) as error:
                self.failed(str(path), error)
        if others:
            self.run.advise(
                "PUB-15",
                f"{len(others)} files of earlier runs are not of SIRET {siret}, such as "
                f"{others[0]}: they are not published in the data set {self.values['dataset']}; "
                "publish them in those of their own with scrapy crawl publish",
            )
        return await super().check(here, siret)

    def closed(self, reason: str) -> None:
        super().closed(reason)
        if self._here is not None:
            self._here.cleanup()


class PublishAfter:
    """Setting ``PUBLISH_DATASET``: publishes the files of a run that ended ``complete`` or
    ``probable`` in the data set of this id.

    Before the first request it looks whether that can be done: a refused key ends the run
    then, not after hours; a portal that gives no answer does not. The publication itself is a
    run of its own, of the publish spider, in the same process, begun when the books of the
    first are closed: so it is the same under ``scrapy crawl``, Scrapyd and Zyte. Runs of the
    same harvest that ended less well, or were killed before their files were published, are
    made good by the next one that ends well.
    """

    def __init__(self, crawler: Crawler, dataset: str):
        self.crawler = crawler
        self.dataset = dataset
        #: The names of the DECP files that the data set has, as far as it could be asked.
        self.taken: list[str] = []
        self._publications: Publications | None = None
        self._publishing: Crawler | None = None
        self._published = asyncio.Event()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        dataset = crawler.settings["PUBLISH_DATASET"]
        if not dataset or not getattr(crawler.spidercls, "writes_files", False):
            raise NotConfigured
        extension = cls(crawler, dataset)
        crawler.signals.connect(extension.spider_opened, signal=signals.spider_opened)
        return extension

    @property
    def _books(self) -> RunSummary:
        return self.crawler.get_extension(RunSummary)

    async def spider_opened(self) -> None:
        """Look whether files can be published, and note that those of this run are to be."""
        # Connected only now, after run_summary, which closes the books first.
        self.crawler.signals.connect(self.spider_closed, signal=signals.spider_closed)
        self.crawler.signals.connect(self.engine_stopped, signal=signals.engine_stopped)
        if not self._books.is_open:
            return
        run = self.crawler.spider.run
        try:
            await self._look(self.crawler.settings)
            publications = Publications(
                self._books.store, read_url(self.crawler.settings["DATAGOUV_API_URL"])
            )
            publications.intend(run.id, self.dataset)
            self._publications = publications
        except DumeSpiderError as error:
            stop(run, error)

    async def _look(self, settings: BaseSettings) -> None:
        check_settings(settings)
        try:
            an_id(self.dataset)
        except ValueError as error:
            raise ArgumentError(f"PUBLISH_DATASET={self.dataset!r}: {error}") from error
        client = client_of(self.crawler)
        try:
            await client.me()
            publisher = Publisher(
                client, await client.dataset(self.dataset), self.crawler.spider.run.advise
            )
        except PortalError as error:
            if not error.is_passing:
                raise
            logger.warning("[PUB-19] Publishing is tried again at the end: %s", error)
        else:
            self.taken = [str(name) for name in publisher.names()]

    async def spider_closed(self) -> None:
        """Publish what is owed, if this run ended well."""
        run = self.crawler.spider.run
        if self._publications is None or run.status not in TRUSTED:
            return
        try:
            try:
                owed = self._publications.owed(self.dataset)
            finally:
                self._books.store.close()
            if owed:
                await self._publish(run)
        except DumeSpiderError as error:
            logger.error("%s", error.line)
            run.fail(str(error))

    async def _publish(self, run: Run) -> None:
        settings = Settings()
        settings.update(self.crawler.settings)
        settings.setdict(_OF_ITS_OWN, priority="cmdline")
        self._publishing = Crawler(OwedSpider, settings)
        try:
            await self._publishing.crawl_async(dataset=self.dataset, harvest=run)
            run.publication = self._publishing.spider.run
        finally:
            self._published.set()

    async def engine_stopped(self) -> None:
        """A signal stops the process, which knows its first crawler only: stop the other one
        too, and wait for its books."""
        if self._publishing is not None:
            await self._publishing.stop_async()
            await self._published.wait()
