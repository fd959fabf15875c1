"""Opens and closes the run: its folder, its store, its summary and its last log lines."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from scrapy import signals
from scrapy.exceptions import CloseSpider

from dume_spider.exceptions import ArgumentError, DumeSpiderError, OutputError
from dume_spider.storages import open_output, open_place, shown
from dume_spider.store.ledger import Harvest, take_up
from dume_spider.store.store import PlannedFile, Store

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from twisted.python.failure import Failure

    from dume_spider.run import Run

logger = logging.getLogger(__name__)

#: So many files are named in the log; the summary names all.
MOST_FILES = 5
#: And so many errors in its last line: each has had a line of its own.
MOST_ERRORS = 3


class RunSummary:
    """Keeps the run's books.

    ``store`` is the run's store, opened at first use and shared by the pipelines;
    ``harvest`` is what the run serves, known once the spider is open. At the end
    ``summary.json`` and ``rejected.jsonl`` are written and the last log lines say status,
    counts, files and what to do next.
    """

    harvest: Harvest | None = None

    def __init__(self, crawler: Crawler):
        self.crawler = crawler
        self._begun = False
        self._has_started = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        extension = cls(crawler)
        crawler.signals.connect(extension.spider_opened, signal=signals.spider_opened)
        crawler.signals.connect(extension.spider_error, signal=signals.spider_error)
        crawler.signals.connect(extension.item_error, signal=signals.item_error)
        crawler.signals.connect(
            extension.request_reached_downloader, signal=signals.request_reached_downloader
        )
        return extension

    @property
    def run(self) -> Run:
        """The run of the spider."""
        return self.crawler.spider.run

    @cached_property
    def store(self) -> Store:
        """The store of setting ``DECP_STORE_URL``. Raises :class:`StoreError`."""
        return Store(self.crawler.settings["DECP_STORE_URL"])

    @property
    def is_open(self) -> bool:
        """Whether the store was opened and the run begun in it."""
        return self._begun

    def give_up(self, error: DumeSpiderError) -> None:
        """End a run that cannot keep what it collects: asking on would only lose more."""
        if not self.run.errors:
            logger.error("%s", error.line)
            self.crawler.spider.stop(type(error).__name__)
        self.run.fail(str(error))

    def spider_opened(self) -> None:
        # Connected only now, after every pipeline has been: the books are closed last.
        self.crawler.signals.connect(self.spider_closed, signal=signals.spider_closed)
        self.crawler.signals.connect(self.engine_started, signal=signals.engine_started)
        self.crawler.signals.connect(self.engine_stopped, signal=signals.engine_stopped)
        run = self.run
        try:
            # A shard places no files, and may run where those of others cannot be seen.
            if not run.shard:
                self.store.recover(lambda place, files: is_in_place(place, files, self.crawler))
            self._take_up()
            run.open()
            self._begun = True
        except DumeSpiderError as error:
            stop(run, error)

    def _take_up(self) -> None:
        """Carry on the open harvest of the same arguments, or begin one."""
        run = self.run
        self.harvest = take_up(
            self.store,
            self.crawler.spider.asked() or {"run": run.id},
            run=run.id,
            spider=run.spider,
            arguments=run.arguments,
            started=run.started,
        )
        if self.harvest.is_resumed:
            harvest = self.harvest
            run.take_up(harvest.run, harvest.started, harvest.rows(), harvest.tallies())
        carried_on = " carried on" if self.harvest.is_resumed else ""
        logger.info("Run %s%s: %s", run.id, carried_on, run.arguments or "no arguments")

    def request_reached_downloader(self, request: Request) -> None:
        kind = "retried" if request.meta.get("retry_times") else request.meta.get("kind", "other")
        self.run.tally("requests", kind)

    def spider_error(self, failure: Failure) -> None:
        self.run.fail(f"a callback failed: {failure.value!r} (see the log)")

    def item_error(self, item: Any, failure: Failure) -> None:
        """A record that no pipeline could keep has left as failed; the run is not to be trusted."""
        self.run.fail_reference(getattr(item, "key", None), str(failure.value))
        self.run.fail(f"a record could not be kept: {failure.value}")

    def spider_closed(self, reason: str) -> None:
        run = self.run
        run.finish_reason = reason
        self._take_step(self._settle_counts)
        self._take_step(run.close)
        if not self._take_step(self._end):
            self._take_step(run.close)  # the summary knew nothing of this yet
        if not self._has_started:
            # The engine of a run that could not begin is not stopped.
            self.engine_stopped()

    def _take_step(self, step: Callable[[], None]) -> bool:
        """Take one of the last steps; whether it went well. The others follow all the same."""
        try:
            step()
        except DumeSpiderError as error:
            logger.error("%s", error.line)
            self.run.fail(str(error))
            return False
        return True

    def engine_started(self) -> None:
        self._has_started = True

    def engine_stopped(self) -> None:
        """Last of all, below Scrapy's own stats: how the run ended."""
        # A signal that comes while the spider closes stops the engine a second time.
        self.crawler.signals.disconnect(self.engine_stopped, signal=signals.engine_stopped)
        log_outcome(self.run, shown(self.crawler.settings["DECP_FILES_URI"]))

    def _settle_counts(self) -> None:
        if self._begun:
            self.run.take_counts(self.store.counts_of(self.run.id))
            self.run.files = [file._asdict() for file in self.harvest.files()]
            self.run.take_duplicates(self.harvest.duplicates())
            self.run.write_rejected(self.harvest.rejected())

    def _end(self) -> None:
        """The last step: a kill before it leaves a harvest that only has to be closed again."""
        if self.harvest is None:
            return
        run = self.run
        try:
            self.store.end_run(run.id, run.status, run.summary())
            if self._is_done():
                self.harvest.end()
        finally:
            self.harvest.let_go()
            self.store.close()

    def _is_done(self) -> bool:
        """Whether the same command is to begin anew: asking again for what is missing cannot
        help, or has just not helped."""
        run = self.run
        if self.crawler.spider.asked() is None:
            return True
        if run.status == "incomplete":
            tried_in_vain = self.harvest.is_resumed and not self.harvest.has_progressed
            return run.finish_reason == "finished" and (not run.unanswered or tried_in_vain)
        return run.status != "failed"


def is_in_place(place: str, files: Sequence[PlannedFile], crawler: Crawler) -> bool | None:
    """Whether the files that an earlier run had planned are in their place; ``None``: it does not
    say, and is another place than that of today, which need not wait for it."""
    try:
        return open_place(place, crawler).settle(files)
    except (ArgumentError, OutputError) as error:
        if open_output(crawler.settings["DECP_FILES_URI"], crawler).uri == place:
            raise
        logger.warning(
            "[DECP-04] Whether %s is in place, from a run that ended early, is not known; each run "
            "asks again: %s",
            ", ".join(file.name for file in files),
            error,
        )
        return None


def stop(run: Run, error: DumeSpiderError) -> None:
    """End a run that cannot start or go on: one line in the log, status ``failed``.

    Raises ``CloseSpider``.
    """
    logger.error("%s", error.line)
    run.fail(str(error))
    raise CloseSpider(type(error).__name__) from error


def log_outcome(run: Run, place: str) -> None:
    """Say in the last lines of the log how the run ended and what to do next; ``place`` is where
    its files are."""
    for advice in run.advice:
        logger.warning("%s", advice)
    if run.spider == "publish":
        _log_publication(run)
    else:
        _log_harvest(run, place)
    summary = run.folder / "summary.json"
    if run.status == "failed":
        errors = list(dict.fromkeys(run.errors)) or ["the counts differ"]
        if len(errors) > MOST_ERRORS:
            errors[MOST_ERRORS:] = [f"and {len(errors) - MOST_ERRORS} more errors"]
        logger.error(
            "[DECP-10] Run %s failed: %s; %swhen that is repaired, with the same settings: %s",
            run.id,
            "; ".join(errors),
            f"see {summary}; " if summary.exists() else "",
            run.command,
        )
    elif run.status == "incomplete":
        missing = f"{len(run.failures)} failures"
        if run.spider != "publish":
            missing += f", {len(run.unproven)} windows not proven complete"
        logger.warning(
            "[DECP-11] Run %s is incomplete (%s): %s; see %s; to %s what is missing, with the same "
            "settings: %s",
            run.id,
            run.finish_reason,
            missing,
            summary,
            "do" if run.spider == "publish" else "ask again for",
            run.command,
        )
    elif run.publication is not None and run.publication.exit_status:
        logger.warning(
            "[PUB-20] Run %s is %s, but run %s, which publishes its files, is %s: see %s; to "
            "publish them, with the same settings: %s",
            run.id,
            run.status,
            run.publication.id,
            run.publication.status,
            run.publication.folder / "summary.json",
            run.command,
        )
    else:
        why = f" ({run.unproven[0]['why']})" if run.status == "probable" else ""
        logger.info("Run %s is %s%s: %s", run.id, run.status, why, summary)


def _log_publication(run: Run) -> None:
    if run.planned is not None:
        logger.info(
            "Planned: %d calls that would write (none was sent), %d failed", run.planned, run.failed
        )
        return
    done = Counter(
        f"{'' if each['resource'] else 'data set '}{each['action']}" for each in run.published
    )
    said = [f"{count} {action}" for action, count in done.most_common()]
    sets = dict.fromkeys(each["dataset"] for each in run.published if each["dataset"])
    where = f"; data set {', '.join(sets)}" if sets else ""
    logger.info("Published: %s%s", ", ".join([*said, f"{run.failed} failed"]), where)


def _log_harvest(run: Run, place: str) -> None:
    if run.unknown_keys:
        shown = [f"{path} ({rows})" for path, rows in run.unknown_keys.most_common(10)]
        logger.warning(
            "[DUME-03] %d keys of the service are not known, here with the rows that have them: "
            "%s%s; look whether one holds a field (setting DUME_FIELD_MAP)",
            len(run.unknown_keys),
            ", ".join(shown),
            ", …" if len(run.unknown_keys) > len(shown) else "",
        )
    if run.duplicates:
        logger.warning(
            "[DECP-05] Contracts under a further reference: %d, such as %s, the same as %s; the "
            "State keeps the one published last (`duplicates` in summary.json)",
            run.warnings["duplicate"],
            run.duplicates[0]["reference"],
            run.duplicates[0]["same_as"],
        )
    logger.info(
        "Counts: %d rows of %d references: %d written (%d new, %d updated), %d unchanged, "
        "%d superseded, %d rejected, %d failed",
        run.rows,
        run.references,
        run.written,
        run.new,
        run.updated,
        run.unchanged,
        run.superseded,
        run.rejected,
        run.failed,
    )
    if run.owed:
        logger.info(
            "Shard %s: %d records are kept in the store; when all shards are done, their files are "
            "written by: scrapy export --wait-for-shards %s",
            run.shard,
            run.owed,
            run.shard.partition("/")[2],
        )
    elif run.files:
        names = [each["name"] for each in run.files[:MOST_FILES]]
        logger.info(
            "Files: %d in %s: %s%s",
            len(run.files),
            place,
            ", ".join(names),
            ", …" if len(run.files) > len(names) else "",
        )
    elif run.spider == "boamp":
        logger.info("Files: none; the notices are in the store: scrapy export --source boamp")
    else:
        logger.info("Files: none")
