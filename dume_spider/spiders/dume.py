"""The DUME spider: searches that yield one detail request per reference."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from itertools import islice
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any, ClassVar, Self

import orjson
from stdnum.fr import siret

from dume_spider.decp.regime import ContractType
from dume_spider.dume.answer import Answer, read_answer, reference_of
from dume_spider.dume.facts import facts_of
from dume_spider.dume.mapping import FieldNames, MappedRow, MissingFields, load_field_names, map_row
from dume_spider.dume.planner import Planner, RowFacts
from dume_spider.dume.query import API_VERSION_HEADERS, CAP, Requester, SearchQuery
from dume_spider.exceptions import AnswerError, ArgumentError, EnvelopeError, RefusedError
from dume_spider.extensions.keeper import Group, Keeper
from dume_spider.extensions.run_summary import RunSummary
from dume_spider.items import DecpItem, Origin, make_item, problems_of
from dume_spider.spiders.base import (
    Argument,
    a_date,
    a_shard,
    a_text,
    crawl_command,
    one_of,
    today,
)
from dume_spider.spiders.harvest import (
    HarvestSpider,
    asked_values,
    check_url,
    describe,
    resolve_dates,
)
from dume_spider.store.ledger import Found, Window
from dume_spider.store.reading import StoreReader

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.settings import BaseSettings
    from twisted.python.failure import Failure

    from dume_spider.store.ledger import Harvest

logger = logging.getLogger(__name__)

#: What may stand for the type of contract; the labels that the client dume_api accepts too.
TYPE_LABELS = {
    "MP": ContractType.MARCHE,
    "MARCHE": ContractType.MARCHE,
    "MARCHE PUBLIC": ContractType.MARCHE,
    "MARCHÉ PUBLIC": ContractType.MARCHE,
    "MARCHE PUBLICS": ContractType.MARCHE,
    "CC": ContractType.CONCESSION,
    "CONCESSION": ContractType.CONCESSION,
    "CONTRAT DE CONCESSION": ContractType.CONCESSION,
}

NO_SUCH_REFERENCE = "the service has no record under this reference"
GONE = f"{NO_SUCH_REFERENCE}, which a search has found; -a detail=never takes records from searches"
FULL = (
    "its answer is full ({} rows): further versions may be missing; asked for alone it is "
    "split by days: {}"
)

#: So many accepted rows of earlier harvests, and as many rejected ones, are looked at for labels
#: by which a day can be enumerated.
MOST_KNOWN = 10_000

#: So many different messages of the service are shown at the end, the most frequent.
MOST_NOTICES = 5

#: Filtered days at least this far apart that hold nothing at all are worth a warning.
LONG_SILENCE = timedelta(days=4)


def a_type(text: str) -> ContractType:
    """Read a type of contract."""
    try:
        return TYPE_LABELS[" ".join(text.upper().split())]
    except KeyError:
        raise ValueError(f"not a type of contract; accepted: {', '.join(TYPE_LABELS)}") from None


def a_siret(text: str) -> str:
    """Read a SIRET: 14 digits with a right check sum, spaces tolerated."""
    compact = siret.compact(text)
    if not siret.is_valid(compact):
        raise ValueError("not a SIRET; accepted: 14 digits whose check sum is right")
    return compact


class DumeSpider(HarvestSpider):
    """Collects the contracts published on the DUME service in a range of days.

    Each search window yields its references; each reference is asked for once, by a
    request of its own that gives all its versions. Windows that come back full are split
    by the planner; what cannot be proven complete is named in the summary.
    """

    name = "dume"
    writes_files = True
    arguments: ClassVar[Mapping[str, Argument]] = {
        "reference": Argument(a_text, "one reference of the service (`referenceUnique`)"),
        "reference_unique": Argument(a_text, "another name of `reference`"),
        "date": Argument(a_date, "one day of publication; without any date: yesterday"),
        "date_start": Argument(a_date, "first day of publication"),
        "date_end": Argument(a_date, "last day of publication, included; without it: yesterday"),
        "internal_id": Argument(a_text, "the buyer's own number of the contract"),
        "nature": Argument(a_text, "exact label of the nature"),
        "procedure": Argument(a_text, "exact label of the procedure"),
        "cpv_code": Argument(a_text, "CPV code, such as 45210000"),
        "type_de": Argument(a_type, f"type of contract: {', '.join(TYPE_LABELS)}"),
        "acheteur_id": Argument(a_siret, "SIRET of the acheteur or autorité concédante"),
        "titulaire_id": Argument(a_siret, "SIRET of a titulaire or concessionnaire"),
        "detail": Argument(
            one_of("always", "auto", "never"),
            "`always` (default): one detail request per reference; `auto`: only where the "
            "search row is not a whole record; `never`",
        ),
        "shard": Argument(a_shard, "this worker's share of the days, such as `2/8`"),
    }

    @classmethod
    def check_arguments(cls, values: dict[str, Any]) -> None:
        other_name = values.pop("reference_unique", None)
        if other_name and values.setdefault("reference", other_name) != other_name:
            raise ArgumentError("dume: reference and reference_unique differ; give one of them")
        if not values.keys() & {"date", "date_start", "date_end", "reference"}:
            values["date"] = today() - timedelta(days=1)
        resolve_dates("dume", values)

    @classmethod
    def check_settings(cls, settings: BaseSettings) -> None:
        check_url(settings, "DUME_API_URL")
        if settings["DUME_FIELD_MAP"]:
            read_names(settings)

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        spider = super().from_crawler(crawler, *args, **kwargs)
        settings = crawler.settings
        spider.url = settings["DUME_API_URL"]
        spider.requester = Requester(
            platform_id=settings["DUME_PLATFORM_ID"],
            platform_technical_id=settings["DUME_PLATFORM_TECHNICAL_ID"],
            requester_id=settings["DUME_REQUESTER_ID"],
            requester_name=settings["DUME_REQUESTER_NAME"],
        )
        spider.names = read_names(settings)
        spider.group_size = settings.getint("CONCURRENT_ITEMS")
        values = dict(spider.values)
        spider.detail = values.pop("detail", "always")
        shard = values.pop("shard", (1, 1))
        spider.query = SearchQuery(**values)
        spider.planner = Planner(
            spider.query, today=today(), known=spider.known_rows(), shard=shard
        )
        spider.missing = MissingFields(spider.names)
        spider.emitted = set()
        spider.logged_keys = set()
        spider.notices = Counter()
        return spider

    def asked(self) -> dict[str, Any]:
        return {"url": self.url, "detail": "always", **asked_values(self.values)}

    def days_done(self) -> tuple[int, int] | None:
        return None if self.query.reference else self.planner.days_done()

    async def start(self) -> AsyncIterator[Any]:
        self.keeper = self.crawler.get_extension(Keeper)
        for request in self.carry_on(self.crawler.get_extension(RunSummary).harvest):
            yield request
        for request in self.next_searches():
            yield request

    def carry_on(self, harvest: Harvest) -> Iterator[Request]:
        """Learn what earlier processes have got, and ask for the references they still missed.

        Those that have left are held in memory, as they would be had this process found them.
        """
        if not harvest.is_resumed:
            return
        end = self.query.date_end
        if end is None or end < self.run.day or self.run.day == today():
            for window in harvest.windows():
                facts = [facts_of_json(fact) for fact in window.facts]
                self.planner.answered(SearchQuery.of_filters(window.filters), facts)
            self.asked_for = harvest.settled()
            self.emitted = harvest.settled_rows()
        # Else it was asked before its days were over: there may be more now, so all is asked again.
        self.seen = self.asked_for | {reference_of(key) for key in self.emitted} - {""}
        self.run.references = self.run.references_done = len(self.seen)
        waiting = harvest.waiting()
        logger.info(
            "%d windows are answered, %d references have left, %d are asked for again",
            len(self.planner.windows),
            len(self.seen),
            len(waiting),
        )
        for reference, type_de in waiting:
            yield self.ask(reference, type_de and ContractType(type_de))

    def known_rows(self) -> Iterator[RowFacts]:
        """What the store holds of earlier harvests; read when the planner asks for it."""
        with closing(StoreReader(self.crawler.settings["DECP_STORE_URL"])) as reader:
            for rows in (reader.latest_rows, reader.rejected_rows):
                for row in islice(rows(self.name), MOST_KNOWN):
                    yield facts_of(json.loads(row.raw), self.names, row.type)

    def next_searches(self) -> Iterator[Request]:
        """The searches that can be sent now."""
        for window in self.planner.next(self.room - self.in_flight):
            self.in_flight += 1
            yield self.search_request(window)

    def search_request(self, window: SearchQuery) -> Request:
        """The request of a search window."""
        return self.request(
            self.url,
            "search",
            self.parse_search,
            self.search_failed,
            {"filters": window.filters()},
            **self.asking(window),
        )

    def detail_request(self, reference: str, type_de: ContractType | None) -> Request:
        """The request of all versions of a reference; ``type_de``: of the search that found it."""
        return self.request(
            self.url,
            "detail",
            self.parse_detail,
            self.detail_failed,
            {"reference": reference, "type_de": type_de and type_de.value},
            # Details first: references that are found do not pile up.
            priority=1,
            **self.asking(SearchQuery(reference=reference)),
        )

    def asking(self, query: SearchQuery) -> dict[str, Any]:
        """The arguments of a request that asks the service for this."""
        return {
            "method": "POST",
            "headers": API_VERSION_HEADERS,
            "body": orjson.dumps(query.payload(self.requester)),
        }

    def parse_search(self, response: Response, filters: dict[str, str]) -> Iterator[Any]:
        """Yield what each row of a search leads to, then the next searches."""
        window = SearchQuery.of_filters(filters)
        try:
            answer = self.read(response)
            facts = [facts_of(row, self.names, window.type_de) for row in answer.rows]
            self.check_reference(facts)
        except AnswerError as error:
            yield from self.window_failed(window, error)
            return
        self.in_flight -= 1
        self.planner.answered(window, facts)
        for row, fact in zip(answer.rows, facts, strict=True):
            yield from self.found(row, fact, window.type_de)
        self.keeper.answered(
            Window(filters, self.planner.windows[window], [list(fact) for fact in facts]),
            {fact.key for fact in facts},
            self.found_in(facts, window.type_de),
        )
        yield from self.next_searches()

    def check_reference(self, facts: Iterable[RowFacts]) -> None:
        """Raise :class:`EnvelopeError` where one reference is asked for and others come: without
        that filter a search is one of everything there is."""
        asked = self.query.reference
        for fact in facts if asked else ():
            if fact.reference not in (asked, None):
                raise EnvelopeError(
                    f"the service answered with rows of other references, such as {fact.reference}"
                )

    def search_failed(self, failure: Failure) -> Iterator[Any]:
        """Name a window that got no answer, and go on with the others."""
        window = SearchQuery.of_filters(failure.request.cb_kwargs["filters"])
        yield from self.window_failed(window, failure.value)

    def window_failed(self, window: SearchQuery, error: Exception) -> Iterator[Any]:
        self.in_flight -= 1
        text = describe(error)
        logger.warning("[DUME-02] Search %s failed: %s", window.filters(), text)
        if isinstance(error, RefusedError) and self.answers == 1:
            logger.error("[DUME-06] The service refused the first request: %s", text)
            self.run.fail(f"the service refused the first request: {text}")
            self.stop("refused")
            return
        self.run.fail_window(window.filters(), text)
        self.planner.failed(window, text)
        self.check_service(error)
        yield from self.next_searches()

    def found(self, row: Any, fact: RowFacts, type_de: ContractType | None) -> Iterator[Any]:
        """What a search row leads to: one detail request per reference, or its record."""
        reference = fact.reference
        if reference in self.asked_for or fact.key in self.emitted:
            return
        if reference is not None and self.detail == "always" and not self.query.reference:
            yield self.ask(reference, type_de)
            return
        mapped = map_row(row, self.names, type_de)
        if reference is not None and self.detail == "auto" and problems_of(item_of(mapped, row)):
            yield self.ask(reference, type_de)
            return
        item = item_of(mapped, row, self.keeper.single(fact.key))
        self.emitted.add(fact.key)
        if self.is_new(reference):
            self.run.references_done += 1
        yield self.emit(item, mapped)

    def ask(self, reference: str, type_de: ContractType | None) -> Request:
        """The detail request of a reference, noted so that it is never forgotten."""
        self.asked_for.add(reference)
        self.pending[reference] = self.is_new(reference)
        return self.detail_request(reference, type_de)

    async def parse_detail(
        self, response: Response, reference: str, type_de: str | None
    ) -> AsyncIterator[DecpItem | Request]:
        """Yield every version of a reference."""
        # The next request goes out before this answer is read: a fifteenth of a harvest's time.
        await asyncio.sleep(0)
        for each in self.versions(response, reference, type_de):
            yield each

    def versions(
        self, response: Response, reference: str, type_de: str | None
    ) -> Iterator[DecpItem | Request]:
        """The versions of a reference in the answer of its detail request."""
        asked_type = ContractType(type_de) if type_de else None
        try:
            answer = self.read(response)
        except AnswerError as error:
            self.reference_failed(reference, describe(error))
            return
        facts = [facts_of(row, self.names, asked_type) for row in answer.rows]
        foreign = [fact for fact in facts if fact.reference != reference]
        versions: list[tuple[MappedRow, Any]] = []
        for row, fact in zip(answer.rows, facts, strict=True):
            if fact.reference != reference:
                # Not what was asked for; it exists all the same.
                self.crawler.stats.inc_value("dume/rows/foreign")
                yield from self.found(row, fact, asked_type)
            elif fact.key not in self.emitted:
                versions.append((map_row(row, self.names, asked_type), row))
        if len(foreign) == len(facts):
            self.reference_failed(reference, GONE, is_answered=True)
            return
        # The last rows settle the reference; they are all, unless there are very many.
        *firsts, last = in_parts(versions, self.group_size)
        is_full = len(facts) >= self.planner.cap
        settling = Group(
            len(last),
            None if is_full else reference,
            needs=frozenset(fact.key for fact in facts),
            found=tuple(self.found_in(foreign, asked_type)),
        )
        if not last:
            self.keeper.settled(settling)
        for part, group in [*((part, Group(len(part))) for part in firsts), (last, settling)]:
            for mapped, row in part:
                yield self.emit(item_of(mapped, row, group), mapped)
        if is_full:
            alone = crawl_command(self.name, {"reference": reference})
            self.reference_failed(reference, FULL.format(len(facts), alone), is_answered=True)
        self.settle(reference)

    def found_in(self, facts: Iterable[RowFacts], type_de: ContractType | None) -> list[Found]:
        """The references of rows that are asked for by themselves."""
        return [
            Found(fact.reference, type_de and type_de.value)
            for fact in facts
            if fact.reference is not None and fact.reference in self.asked_for
        ]

    def detail_failed(self, failure: Failure) -> None:
        """Name a reference whose record got no answer."""
        self.reference_failed(failure.request.cb_kwargs["reference"], describe(failure.value))
        self.check_service(failure.value)

    def emit(self, item: DecpItem, mapped: MappedRow) -> DecpItem:
        """Count a row that enters, and what is unknown in it."""
        self.run.rows += 1
        self.missing.add(mapped)
        for path, kind in mapped.unknown:
            self.tell_unknown(path, kind)
        return item

    def tell_unknown(self, path: str, kind: str) -> None:
        """Count a key that is not known, and log it once."""
        self.crawler.stats.inc_value(f"dume/unknown_keys/{path}")
        if path not in self.logged_keys:
            self.logged_keys.add(path)
            logger.info("Unknown key of the service: %s (%s)", path, kind)

    def read(self, response: Response) -> Answer:
        """The answer in a response; raises :class:`AnswerError`."""
        self.answers += 1
        self.unanswered = 0
        answer = read_answer(response.body)
        for notice in answer.notices:
            self.crawler.stats.inc_value("dume/notices")
            self.notices[str(notice)] += 1
        for path in answer.unknown:
            self.run.tally("unknown_keys", path)
            self.tell_unknown(path, "of an answer")
        return answer

    def closed(self, reason: str) -> None:
        """Settle the books: what was not answered is named, what was proven is said."""
        if self.query.reference and not self.seen and not self.run.failures:
            self.reference_failed(self.query.reference, NO_SUCH_REFERENCE, is_answered=True)
        self.give_up_pending(reason)
        self.run.proof = self.planner.status
        self.run.unproven += (unproven.as_dict() for unproven in self.planner.unproven)
        for text in self.missing.advice():
            self.run.advise("DUME-04", text)
        for text in self.silence():
            self.run.advise("DUME-05", text)
        for notice, answers in self.notices.most_common(MOST_NOTICES):
            self.run.advise("DUME-07", f"The service says, in {answers} answers: {notice}")
        if self.planner.cap < CAP:
            self.run.advise(
                "DUME-08",
                f"The service cuts its answers at {self.planner.cap} rows now, not at {CAP}; this "
                "harvest has been split by that",
            )

    def silence(self) -> Iterator[str]:
        """A warning when nothing at all was found: with filters in a long period, without any on
        one working day."""
        start, end = self.query.date_start, self.query.date_end
        if start is None or end is None or self.run.references or self.run.rows:
            return
        if self.run.failures or not self.planner.done:
            return  # then nobody knows
        is_all = self.query == SearchQuery(start, end) and not self.run.shard
        days = (start + timedelta(number) for number in range(min((end - start).days + 1, 7)))
        is_odd = is_all and any(day.weekday() < 5 and day < today() for day in days)
        if is_odd or end - start >= LONG_SILENCE:
            yield (
                f"Nothing was found from {start} to {end}: check the filters "
                f"({self.query.filters()}) and the service"
            )


def read_names(settings: BaseSettings) -> FieldNames:
    """The names of the service's fields, with those of the setting ``DUME_FIELD_MAP``.

    Raises :class:`FieldMapError`.
    """
    return load_field_names(Path(path) if (path := settings["DUME_FIELD_MAP"]) else None)


def item_of(mapped: MappedRow, row: Any, group: Group | None = None) -> DecpItem:
    """The item of a mapped row, which is saved with those of its group."""
    return make_item(
        Origin(
            "dume",
            row,
            mapped.problems,
            mapped.repairs,
            unknown=tuple(path for path, _ in mapped.unknown),
            group=group,
        ),
        reference=mapped.reference,
        type_=mapped.type,
        regime=mapped.regime,
        record=mapped.record,
    )


def facts_of_json(values: Sequence[Any]) -> RowFacts:
    """The facts of a row as the ledger has kept them."""
    key, reference, *labels = values
    facts = RowFacts(key, reference, *(intern(x) if isinstance(x, str) else x for x in labels))
    return facts._replace(
        type_de=facts.type_de and ContractType(facts.type_de),
        titulaire_ids=tuple(map(intern, facts.titulaire_ids)),
    )


def in_parts(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """The values in parts of ``size`` at most; one empty part if there are none."""
    return [values[at : at + size] for at in range(0, max(len(values), 1), size)]
