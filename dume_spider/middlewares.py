"""Downloader middlewares: ask again, later, what got no usable answer."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Self

from scrapy.downloadermiddlewares.retry import RetryMiddleware
from scrapy.utils.asyncio import sleep
from scrapy.utils.response import response_status_message

from dume_spider.boamp.answer import read_quota
from dume_spider.exceptions import AnswerError
from dume_spider.json_answer import decode
from dume_spider.waiting import LONGEST_RETRY_AFTER, read_retry_after

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response

#: Seconds before the first retry; twice as long before each further one, up to the longest.
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0

#: Seconds between two looks at whether the run is being stopped.
STEP = 0.5


class BackoffRetryMiddleware(RetryMiddleware):
    """Scrapy's retries, with waits that grow, ``Retry-After`` honoured, and a ceiling.

    Retried besides what Scrapy retries: an answer with status 200 whose body is not whole
    JSON, for requests with ``meta["json"]``. Waits have a random part, so that requests that
    failed together do not come back together. A run retries ``RETRY_CEILING`` times at most:
    a service that is down for good is not asked for ever. A 429 whose body speaks of a quota
    that is used up is not retried: waiting a little does not help.
    """

    _left: int

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        middleware = super().from_crawler(crawler)
        middleware._left = crawler.settings.getint("RETRY_CEILING")
        return middleware

    async def process_response(self, request: Request, response: Response) -> Request | Response:
        """Return the response, or the request again after its wait."""
        reason = self._reason(request, response)
        if reason is None:
            return response
        return await self._again(request, reason, retry_after(response)) or response

    async def process_exception(self, request: Request, exception: Exception) -> Request | None:
        """Return the request again after its wait, or let the exception go on."""
        if not isinstance(exception, self.exceptions_to_retry):
            return None
        return await self._again(request, exception, None)

    def _reason(self, request: Request, response: Response) -> str | Exception | None:
        if response.status == 429 and read_quota(429, {}, response.body):
            return None
        if response.status in self.retry_http_codes:
            return response_status_message(response.status)
        if response.status == 200 and request.meta.get("json"):
            try:
                decode(response.body)
            except AnswerError as error:
                return error
        return None

    async def _again(
        self, request: Request, reason: str | Exception, asked_wait: float | None
    ) -> Request | None:
        if not self._left or request.meta.get("dont_retry"):
            return None
        again = self._retry(request, reason)
        if again is None:
            return None
        self._left -= 1
        await self._wait(wait_before(again.meta["retry_times"], asked_wait))
        return again

    async def _wait(self, seconds: float) -> None:
        # In steps: a run that is being stopped does not wait for its retries.
        while seconds > 0 and self.crawler.crawling:
            await sleep(min(seconds, STEP))
            seconds -= STEP


def wait_before(retry: int, asked_wait: float | None) -> float:
    """Seconds to wait before retry number ``retry`` (from 1), with a random part.

    ``asked_wait`` is what the service asked for: never waited less, within reason.
    """
    wait = min(FIRST_WAIT * 2 ** (retry - 1), LONGEST_WAIT) * random.uniform(0.5, 1.5)  # noqa: S311
    return max(wait, min(asked_wait or 0.0, LONGEST_RETRY_AFTER))


def retry_after(response: Response) -> float | None:
    """The seconds that a response asks to wait: ``Retry-After`` as seconds or as a date."""
    return read_retry_after((response.headers.get("Retry-After") or b"").decode("latin-1"))
