"""What the spiders share that search a service: the books of what was found and asked for."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from scrapy import Request
from scrapy.spidermiddlewares.httperror import HttpError

from dume_spider.exceptions import AnswerError, ArgumentError
from dume_spider.extensions.keeper import Keeper
from dume_spider.spiders.base import BaseSpider, crawl_command, today

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

logger = logging.getLogger(__name__)

#: Requests in a row that get no answer, all retries used, before the run is given up.
MOST_UNANSWERED = 10

#: Objects made, less those freed, between two looks of the collector (Python: 700). Records are
#: many small objects without cycles: looking for cycles was a sixth of a harvest's time.
COLLECT_EVERY = 10_000
#: The arguments that a range of days is asked for with.
DAYS = ("date_start", "date_end")


class HarvestSpider(BaseSpider):
    """A spider whose searches find references, each of which is collected once.

    ``room`` is how many searches may be on their way, ``in_flight`` how many are;
    ``asked_for`` are the references for which a request of their own was made, ``pending``
    those of them whose answer is awaited, with whether they are counted as done by it.
    """

    keeper: Keeper

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.room = crawler.settings.getint("CONCURRENT_REQUESTS")
        spider.seen = set()
        spider.asked_for = set()
        spider.pending = {}
        spider.in_flight = 0
        spider.answers = 0
        spider.unanswered = 0
        gc.set_threshold(COLLECT_EVERY, 20, 50)
        gc.freeze()
        return spider

    def command(self) -> str:
        """With the days that this run asks for: tomorrow, yesterday is another day."""
        given = dict(self.run.arguments)
        days = {name: self.values[name] for name in DAYS if name in self.values}
        if "date" not in given and not given.keys() & days.keys() and len({*days.values()}) == 1:
            given["date"] = days["date_end"]
        elif "date" not in given:
            given |= days
        return crawl_command(self.name, given)

    def next_searches(self) -> Iterator[Request]:
        """The searches that can be sent now."""
        raise NotImplementedError

    def request(
        self,
        url: str,
        kind: str,
        callback: Any,
        errback: Any,
        cb_kwargs: dict[str, Any],
        priority: int = 0,
        **further: Any,
    ) -> Request:
        """A request whose answer is JSON. ``kind`` is what the summary counts it as (``search``,
        ``detail``), ``further`` are other arguments of Scrapy's."""
        return Request(
            url,
            callback=callback,
            errback=errback,
            cb_kwargs=cb_kwargs,
            meta={"kind": kind, "json": True},
            priority=priority,
            # A spider asks nothing twice but what it means to; no window may be dropped unseen.
            dont_filter=True,
            **further,
        )

    def is_new(self, reference: str | None) -> bool:
        """Whether a reference is seen for the first time in this run; it is then counted."""
        if reference is None or reference in self.seen:
            return False
        self.seen.add(reference)
        self.run.references += 1
        return True

    def reference_failed(
        self, reference: str | None, why: str, *, is_answered: bool = False
    ) -> None:
        """Count and name a reference that could not be collected."""
        logger.info("Reference %s failed: %s", reference, why)
        self.run.rows += 1
        self.run.fail_reference(reference, why, is_answered=is_answered)
        self.settle(reference)

    def settle(self, reference: str | None) -> None:
        """Note that a reference asked for has left through its doors."""
        if self.pending.pop(reference, False):
            self.run.references_done += 1

    def give_up_pending(self, reason: str) -> None:
        """Name the references whose answer has not come when the spider closes."""
        for reference in list(self.pending):
            self.reference_failed(reference, f"the run ended before its answer ({reason})")

    def check_service(self, error: BaseException) -> None:
        """Close the spider when request after request gets no answer: the service is down."""
        if isinstance(error, AnswerError):
            return
        self.unanswered += 1
        if self.unanswered == MOST_UNANSWERED:
            logger.error(
                "[DECP-09] The service gives no answer: %d requests in a row failed; the run "
                "ends here",
                MOST_UNANSWERED,
            )
            self.stop("service_down")


def resolve_dates(spider: str, values: dict[str, Any]) -> None:
    """Turn ``date`` into ``date_start`` and ``date_end``, and complete what one of them means.

    Without an end it is yesterday. Raises :class:`ArgumentError`.
    """
    if "date" in values:
        if "date_start" in values or "date_end" in values:
            raise ArgumentError(
                f"{spider}: argument date does not go with date_start or date_end; give either"
            )
        values["date_start"] = values["date_end"] = values.pop("date")
    if "date_start" in values:
        yesterday = today() - timedelta(days=1)
        values.setdefault("date_end", max(yesterday, values["date_start"]))
    start, end = values.get("date_start"), values.get("date_end")
    if start and end and end < start:
        raise ArgumentError(
            f"{spider}: argument date_end={str(end)!r} is before date_start={str(start)!r}; "
            "give a last day that is not before the first"
        )


def asked_values(values: Mapping[str, Any]) -> dict[str, str]:
    """The values of arguments as plain texts, for :meth:`BaseSpider.asked`."""
    return {name: str(value) for name, value in values.items()}


def cause_of(error: BaseException) -> BaseException:
    """The error that the downloader has wrapped."""
    while not isinstance(error, AnswerError):
        if reasons := getattr(error, "reasons", None):
            error = reasons[0].value
        elif error.__cause__ is not None:
            error = error.__cause__
        else:
            break
    return error


def describe(error: BaseException) -> str:
    """An error of a request in one line: its cause, where the downloader wraps one."""
    error = cause_of(error)
    if isinstance(error, HttpError):
        return f"HTTP status {error.response.status}"
    return " ".join(str(error).split()) or type(error).__name__
