"""The BOAMP spider: searches that find notices, then the notices whole."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

from scrapy.exceptions import IgnoreRequest
from scrapy.spidermiddlewares.httperror import HttpError

from dume_spider.boamp.answer import (
    ESSENTIAL_COLUMNS,
    Quota,
    Records,
    read_columns,
    read_idweb,
    read_quota,
    read_records,
    read_refusal,
)
from dume_spider.boamp.notice import COLUMNS, EXPECTED_COLUMNS, read_notice
from dume_spider.boamp.planner import FIRST_DAY, Closed, Page, Planner
from dume_spider.boamp.query import (
    ALL,
    LIGHT_COLUMNS,
    NoticeQuery,
    dataset_url,
    detail_url,
    one_line,
)
from dume_spider.exceptions import AnswerError, ArgumentError
from dume_spider.extensions.keeper import Group, Keeper
from dume_spider.extensions.run_summary import RunSummary
from dume_spider.items import NoticeItem
from dume_spider.spiders.base import Argument, a_date, a_shard, a_text, one_of, today
from dume_spider.spiders.harvest import (
    HarvestSpider,
    asked_values,
    cause_of,
    describe,
    resolve_dates,
)
from dume_spider.store.ledger import Found, Window

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.python.failure import Failure

logger = logging.getLogger(__name__)

#: Notices asked for at once with ``detail=auto``: an answer is then some 5 MB.
BATCH = 50

#: The codes of what ends a run, by its close reason.
_ENDS = {"refused": "BOAMP-05", "robots": "BOAMP-06"}

NO_SUCH_NOTICE = "the service has no notice of this idweb"


def a_nature(text: str) -> str:
    """Read a nature: the code of the data set, or ``all``."""
    return ALL if text.lower() == ALL else a_text(text).upper()


def a_departement(text: str) -> str:
    """Read the code of a department, as the data set mostly writes it."""
    return a_text(text).upper().zfill(2)


class BoampSpider(HarvestSpider):
    """Collects the notices of the BOAMP that were published in a range of days.

    Searches give identifiers (``idweb``) and prove that none is missing; then each notice is
    asked for whole. What cannot be proven is named in the summary.
    """

    name = "boamp"
    arguments: ClassVar[Mapping[str, Argument]] = {
        "idweb": Argument(a_text, "one notice; then no other filter"),
        "date": Argument(a_date, "one day of publication; without any date: yesterday"),
        "date_start": Argument(a_date, "first day of publication"),
        "date_end": Argument(a_date, "last day of publication, included; without it: yesterday"),
        "nature": Argument(a_nature, "nature of the notices (default: `ATTRIBUTION`); `all`"),
        "departement": Argument(a_departement, "code of a department, such as `69` or `2A`"),
        "keyword": Argument(a_text, "text to look for in the object and in the payload"),
        "where": Argument(one_line, "a further condition in ODSQL"),
        "detail": Argument(
            one_of("always", "auto", "never"),
            "`always` (default): one request per notice; `auto`: some notices per request; "
            "`never`: whole notices in the search",
        ),
        "shard": Argument(a_shard, "this worker's share of the days, such as `2/8`"),
    }
    custom_settings: ClassVar[dict[str, Any]] = {
        # The portal's robots.txt forbids /api/ to crawlers. This is no crawler of its pages: it
        # calls a published, licensed API (docs/decisions.md, "robots.txt"). Whoever does not
        # agree sets it to True on the command line.
        "ROBOTSTXT_OBEY": False,
        # Whole notices are large: a page of them may have 20 MB.
        "DOWNLOAD_MAXSIZE": 128 * 1024 * 1024,
        "DOWNLOAD_WARNSIZE": 64 * 1024 * 1024,
        # Notices are no DECP records: there are no DECP files to write.
        "ITEM_PIPELINES": {
            "dume_spider.pipelines.validation.ValidationPipeline": 300,
            "dume_spider.pipelines.deduplication.DeduplicationPipeline": 400,
        },
    }

    query: NoticeQuery
    #: ``None`` until the data set is known to be the one expected, and for a single ``idweb``.
    planner: Planner | None

    @classmethod
    def check_arguments(cls, values: dict[str, Any]) -> None:
        if "idweb" in values:
            if others := sorted(values.keys() - {"idweb", "detail"}):
                raise ArgumentError(
                    f"boamp: argument idweb does not go with {', '.join(others)}; give it alone"
                )
            return
        if not values.keys() & {"date", "date_start", "date_end"}:
            values["date"] = today() - timedelta(days=1)
        resolve_dates("boamp", values)
        values.setdefault("date_start", min(FIRST_DAY, values["date_end"]))
        values.setdefault("nature", "ATTRIBUTION")

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.url = crawler.settings["BOAMP_API_URL"].rstrip("/")
        values = dict(spider.values)
        spider.detail = values.pop("detail", "always")
        spider.shard = values.pop("shard", (1, 1))
        spider.idweb = values.pop("idweb", None)
        if values.get("nature") == ALL:
            del values["nature"]
        spider.query = NoticeQuery(**values)
        spider.planner = None
        spider.columns = ()
        spider.is_over = False
        return spider

    def asked(self) -> dict[str, Any]:
        return {"url": self.url, "detail": "always", **asked_values(self.values)}

    async def start(self) -> AsyncIterator[Request]:
        self.keeper = self.crawler.get_extension(Keeper)
        if not self.settings.getbool("ROBOTSTXT_OBEY"):
            logger.info(
                "robots.txt is not asked: this is a published API under an open licence "
                '(docs/decisions.md, "robots.txt"); -s ROBOTSTXT_OBEY=True obeys it'
            )
        yield self.request(
            dataset_url(self.url), "search", self.parse_dataset, self.dataset_failed, {}
        )

    # The data set.

    def parse_dataset(self, response: Response) -> Iterator[Request]:
        """Check the columns against those that are known, then begin."""
        try:
            columns = read_columns(response.body)
        except AnswerError as error:
            self.end("refused", f"{self.url} is not the API of the BOAMP: {error}")
            return
        if missing := [name for name in ESSENTIAL_COLUMNS if name not in columns]:
            self.end("refused", f"the data set lacks the columns {', '.join(missing)}")
            return
        for name in EXPECTED_COLUMNS:
            if name not in columns:
                self.warn("column-missing", name, "[BOAMP-01] The data set lacks the column %s")
        for name in columns:
            if name not in COLUMNS:
                self.warn("column-unknown", name, "[BOAMP-02] The data set has a new column: %s")
        self.columns = columns
        if self.idweb is not None:
            yield self.ask([self.idweb])
            return
        yield from self.carry_on()
        yield from self.next_searches()

    def warn(self, rule: str, name: str, message: str) -> None:
        """Count and log a change of the data set, once a harvest."""
        warning = f"{rule}: {name}"
        if warning not in self.run.warnings:
            self.run.tally("warnings", warning)
        logger.warning(message, name)

    def dataset_failed(self, failure: Failure) -> None:
        error = failure.value
        if not self.must_end(error):
            self.run.fail_window({"dataset": "boamp"}, describe(error))

    def carry_on(self) -> Iterator[Request]:
        """Plan what is left to ask, and ask for the notices that earlier processes missed."""
        harvest = self.crawler.get_extension(RunSummary).harvest
        known = (
            Closed(NoticeQuery.of_filters(window.filters), frozenset(window.facts))
            for window in harvest.windows()
        )
        self.planner = Planner(self.query, today=today(), known=known, shard=self.shard)
        if not harvest.is_resumed:
            return
        self.asked_for = harvest.settled()
        self.seen = set(self.asked_for)
        self.run.references = self.run.references_done = len(self.seen)
        waiting = [each.reference for each in harvest.waiting()]
        logger.info(
            "%d of %d days are answered, %d notices have left, %d are asked for again",
            self.planner.days_done,
            self.planner.days_asked,
            len(self.seen),
            len(waiting),
        )
        yield from self.ask_all(waiting)

    # Searches.

    def days_done(self) -> tuple[int, int] | None:
        """How many days are done with, and how many are asked for, for a display of progress."""
        if self.planner is None:
            return None
        return self.planner.days_done, self.planner.days_asked

    def next_searches(self) -> Iterator[Request]:
        if self.is_over:
            return
        for page in self.planner.next(self.room - self.in_flight):
            self.in_flight += 1
            columns = () if self.detail == "never" else LIGHT_COLUMNS
            yield self.request(
                page.window.url(
                    self.url,
                    columns=[name for name in columns if name in self.columns],
                    offset=page.offset,
                ),
                "search",
                self.parse_page,
                self.page_failed,
                {
                    "filters": page.window.filters(),
                    "offset": page.offset,
                    "attempt": page.attempt,
                },
            )

    def parse_page(
        self, response: Response, filters: dict[str, str], offset: int, attempt: int
    ) -> Iterator[Any]:
        """Yield what each row of a page leads to, then the next searches."""
        page = Page(NoticeQuery.of_filters(filters), offset, attempt)
        try:
            answer = self.read(response)
        except AnswerError as error:
            yield from self.page_lost(page, error)
            return
        self.in_flight -= 1
        yield from self.found(answer.rows)
        idwebs = {idweb for row in answer.rows if (idweb := read_idweb(row)) is not None}
        self.note(self.planner.answered(page, answer.total_count, idwebs))
        yield from self.next_searches()

    def page_failed(self, failure: Failure) -> Iterator[Any]:
        """Name a page that got no answer, and go on with the others."""
        filters, offset, attempt = failure.request.cb_kwargs.values()
        page = Page(NoticeQuery.of_filters(filters), offset, attempt)
        yield from self.page_lost(page, failure.value)

    def page_lost(self, page: Page, error: BaseException) -> Iterator[Any]:
        self.in_flight -= 1
        why = f"rows from {page.offset}: {describe(error)}"
        logger.warning("[BOAMP-03] Search %s failed, %s", page.window.filters(), why)
        self.run.fail_window(page.window.filters(), why)
        self.note(self.planner.failed(page, why))
        if not self.must_end(error):
            self.check_service(error)
            yield from self.next_searches()

    def note(self, closed: Iterable[Closed]) -> None:
        """Note windows that need not be asked again, and that their notices have to be."""
        for window, idwebs in closed:
            facts = sorted(idwebs)
            self.keeper.answered(
                Window(window.filters(), "closed", facts),
                (),
                [Found(idweb, None) for idweb in facts],
            )

    def found(self, rows: Iterable[Any]) -> Iterator[Any]:
        """What the rows of a search lead to: requests of their notices, or the notices."""
        fresh = []
        for row in rows:
            idweb = read_idweb(row)
            if idweb is None:
                # It is kept with the reason why it is none.
                yield self.emit(row, Group(1))
            elif idweb in self.asked_for:
                continue
            elif self.detail == "never":
                self.asked_for.add(idweb)
                self.run.references_done += self.is_new(idweb)
                yield self.emit(row, Group(1, reference=idweb))
            else:
                self.asked_for.add(idweb)
                fresh.append(idweb)
        yield from self.ask_all(fresh)

    # Notices.

    def ask_all(self, idwebs: Sequence[str]) -> Iterator[Request]:
        """The detail requests of notices: one by one, or some at once."""
        size = 1 if self.detail == "always" else BATCH
        if self.is_over:
            return  # they are found again
        for at in range(0, len(idwebs), size):
            yield self.ask(idwebs[at : at + size])

    def ask(self, idwebs: Sequence[str]) -> Request:
        """The detail request of notices, noted so that none is ever forgotten."""
        self.asked_for.update(idwebs)
        for idweb in idwebs:
            if idweb not in self.pending:
                self.pending[idweb] = self.is_new(idweb)
        return self.request(
            detail_url(self.url, idwebs),
            "detail",
            self.parse_detail,
            self.detail_failed,
            {"idwebs": list(idwebs)},
            # Details first: notices that are found do not pile up.
            priority=1,
        )

    def parse_detail(self, response: Response, idwebs: list[str]) -> Iterator[Any]:
        """Yield the notices asked for; those missing among several are asked for alone."""
        try:
            answer = self.read(response)
        except AnswerError as error:
            self.detail_lost(idwebs, error)
            return
        rows = defaultdict(list)
        for row in answer.rows:
            rows[read_idweb(row)].append(row)
        for idweb in idwebs:
            found = rows.pop(idweb, [])
            group = Group(len(found), reference=idweb)
            for row in found:
                yield self.emit(row, group)
            if found:
                self.settle(idweb)
            elif len(idwebs) > 1:
                yield self.ask([idweb])
            else:
                self.reference_failed(idweb, NO_SUCH_NOTICE, is_answered=True)
        if rows:
            self.crawler.stats.inc_value("boamp/rows/foreign", sum(map(len, rows.values())))
            logger.warning("[BOAMP-04] Rows that were not asked for: %s", ", ".join(map(str, rows)))

    def detail_failed(self, failure: Failure) -> None:
        """Name notices whose request got no answer."""
        self.detail_lost(failure.request.cb_kwargs["idwebs"], failure.value)

    def detail_lost(self, idwebs: Iterable[str], error: BaseException) -> None:
        for idweb in idwebs:
            self.reference_failed(idweb, describe(error))
        if not self.must_end(error):
            self.check_service(error)

    def emit(self, row: Any, group: Group) -> NoticeItem:
        """Count a row that enters; the item of its notice."""
        self.run.rows += 1
        columns = [name for name in EXPECTED_COLUMNS if name in self.columns]
        return NoticeItem.of(read_notice(row, columns), row, group)

    # Answers and their faults.

    def read(self, response: Response) -> Records:
        """The page of records in a response; raises :class:`AnswerError`."""
        self.answers += 1
        self.unanswered = 0
        return read_records(response.body)

    def must_end(self, error: BaseException) -> bool:
        """Whether an error ends the run, since asking on cannot help; it is then said."""
        if self.is_over:
            return True
        cause = cause_of(error)
        if type(cause) is IgnoreRequest:
            self.end(
                "robots",
                f"robots.txt forbids to ask {self.url}: leave ROBOTSTXT_OBEY at its default for "
                "this spider if you may call its API all the same",
            )
        elif isinstance(cause, HttpError):
            response = cause.response
            headers = {
                name.decode("latin-1").lower(): values[-1].decode("latin-1")
                for name, values in response.headers.items()
            }
            if quota := read_quota(response.status, headers, response.body):
                self.end_of_quota(quota)
            elif 400 <= response.status < 500 and response.status not in (408, 429):
                said = read_refusal(response.status, response.body)
                self.end("refused", f"the service refuses {response.url}: {said}")
        return self.is_over

    def end_of_quota(self, quota: Quota) -> None:
        """Stop with what was collected; the same command goes on with the rest."""
        self.is_over = True
        when = "tomorrow (it did not say when)"
        if quota.reset is not None:
            when = f"after {quota.reset.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        self.run.advise(
            "BOAMP-07",
            f"The service's quota is used up ({quota.message}): run the same command {when}, it "
            "carries on",
        )
        self.stop("quota")

    def end(self, reason: str, why: str) -> None:
        """End a run that asking on cannot mend."""
        self.is_over = True
        logger.error("[%s] %s", _ENDS[reason], why)
        self.run.fail(why)
        self.stop(reason)

    def closed(self, reason: str) -> None:
        """Settle the books: what was not answered is named, what was proven is said."""
        self.give_up_pending(reason)
        if self.planner is not None:
            self.run.proof = self.planner.status
            self.run.unproven += (each.as_dict() for each in self.planner.judgement())
            for text in self.silence():
                self.run.advise("BOAMP-08", text)
        elif self.idweb is not None and self.answers:
            self.run.proof = "complete"

    def silence(self) -> Iterator[str]:
        """A warning when nothing at all was found, on one working day or more."""
        if self.run.references:
            return
        for low, high in self.planner.silences(least=1):
            yield (
                f"Nothing was found from {low} to {high}: check the filters "
                f"({self.query.filters()}) and the service"
            )
