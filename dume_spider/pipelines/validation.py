"""Validate each record against the schema of its regime; refuse it with its reasons."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import orjson
from scrapy.exceptions import DropItem

from dume_spider.decp import rules
from dume_spider.decp.verdict import Problem
from dume_spider.exceptions import ArgumentError
from dume_spider.extensions.keeper import Keeper
from dume_spider.items import DecpItem, StoredItem, problems_of
from dume_spider.run import without_positions
from dume_spider.store.store import Rejection

# After dume_spider.items, which silences the warnings of its first import.
from scrapy_jsonschema import JsonSchemaValidatePipeline  # isort: skip

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings


class RejectedRecord(DropItem):
    """A record or notice cannot be accepted, by the data's fault."""

    def __init__(self, reference: str | None, problems: Sequence[Problem]):
        reasons = "; ".join(f"{p.path or 'record'}: {p.message}" for p in problems[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        # At INFO: each rejection is kept in rejected.jsonl and counted in the summary.
        super().__init__(
            f"rejected {reference or 'a row without reference'}: {reasons}{more}",
            log_level=logging.INFO,
        )


def read_severities(settings: BaseSettings) -> Mapping[str, str]:
    """The severities that the setting ``DECP_RULES`` changes. Raises :class:`ArgumentError`."""
    try:
        given = settings.getdict("DECP_RULES")
    except ValueError as error:
        raise ArgumentError(
            f"DECP_RULES={settings['DECP_RULES']!r}: not a JSON object; accepted: rules and their "
            'severities, such as {"siret-la-poste": "off"}'
        ) from error
    rules.severities_of(given)
    return given


class ValidationPipeline(JsonSchemaValidatePipeline):
    """The pipeline of scrapy-jsonschema with a fast verdict and reasons of our own.

    After the schema of a DECP record come the State's rules (:mod:`dume_spider.decp.rules`),
    those that reject and those that warn by the setting ``DECP_RULES``.

    Every :class:`StoredItem` either passes whole or is kept, with all its reasons, in the
    store and in the run's ``rejected.jsonl``. Stats: ``jsonschema/errors/<field>``, without
    list positions.
    """

    crawler: Crawler
    _severities: Mapping[str, str]

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        pipeline = cls(crawler.stats)
        pipeline.crawler = crawler
        pipeline._severities = read_severities(crawler.settings)
        return pipeline

    def process_item(self, item: Any) -> Any:
        """Return a valid item; raise :class:`RejectedRecord` for another."""
        if not isinstance(item, StoredItem):
            return item
        problems = problems_of(item)
        if not problems and isinstance(item, DecpItem):
            problems, warnings = rules.check(
                item["record"],
                item["type"],
                item["regime"],
                day=self.crawler.spider.run.day,
                severities=self._severities,
            )
            item.origin.warnings.extend(warnings)
        if not problems:
            return item
        for path in dict.fromkeys(without_positions(problem.path) for problem in problems):
            self.stats.inc_value(self.STAT_FMT.format(field=path or "record"))
        self.crawler.get_extension(Keeper).reject(
            item,
            Rejection(
                source=item.origin.source,
                reference=item.key,
                type=item.get("type"),
                regime=item.get("regime"),
                problems=problems,
                raw=orjson.dumps(item.origin.raw),
            ),
        )
        raise RejectedRecord(item.key, problems)
