from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from scrapy.http import Response

from dume_spider.middlewares import (
    LONGEST_RETRY_AFTER,
    LONGEST_WAIT,
    retry_after,
    wait_before,
)

MARCH = {"date_start": "2026-03-01", "date_end": "2026-03-31"}


def asking(text: str | None) -> Response:
    headers = {} if text is None else {"Retry-After": text}
    return Response("http://127.0.0.1/", status=429, headers=headers)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[(None, None), ("", None), ("7", 7.0), (" 0 ", 0.0), ("soon", None), ("-3", None)],
        *[("²", None), ("1 Jan 2024 00:00:00 +99999999999999", None)],
    ],
)
def test_retry_after_in_seconds(text: str | None, seconds: float | None) -> None:
    assert retry_after(asking(text)) == seconds


def test_retry_after_as_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < retry_after(asking(later)) <= 90
    assert retry_after(asking("Wed, 21 Oct 2015 07:28:00 GMT")) == 0.0
    assert retry_after(asking("Wed, 21 Oct 2015 07:28:00 -0000")) == 0.0


def test_waits_grow_with_jitter_and_have_a_limit() -> None:
    for retry, base in [(1, 0.5), (2, 1.0), (4, 4.0), (20, LONGEST_WAIT)]:
        waits = {wait_before(retry, None) for _ in range(50)}
        assert all(0.5 * base <= wait <= 1.5 * base for wait in waits)
        assert len(waits) > 1
    assert wait_before(1, 10.0) == 10.0
    assert wait_before(1, 1e9) == LONGEST_RETRY_AFTER


@pytest.mark.slow
def test_a_month_with_faults_is_complete_and_nothing_is_asked_twice(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Any]
) -> None:
    sandbox = start_sandbox(
        *("--records", 400, "--seed", 8, "--from", "2026-03-01", "--to", "2026-03-31"),
        *("--faulty", 0, "--faults", 0.05),
    )
    done = crawl(sandbox.url, MARCH, {"CONCURRENT_REQUESTS_PER_DOMAIN": "16"})
    assert done.status == 0, done.output
    assert done.summary["status"] == "complete"
    assert done.counts["references"] == done.counts["written"] == 400
    assert done.summary["requests"]["retried"] > 5
    assert set(sandbox.references().values()) == {1}
    assert "Traceback" not in done.output


@pytest.mark.slow
def test_a_service_that_goes_down_ends_the_run_with_all_failures_named(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Any]
) -> None:
    options = ("--records", 400, "--seed", 8, "--from", "2026-03-01", "--to", "2026-03-31")
    settings = {"RETRY_TIMES": "2"}
    down = start_sandbox(*options, "--faulty", 0, "--down-after", 50)
    done = crawl(down.url, MARCH, settings)
    assert done.status == 3, done.output
    assert done.summary["status"] == "incomplete"
    assert done.summary["finish_reason"] == "service_down"
    assert "[DECP-09] The service gives no answer: 10 requests in a row failed; " in done.output
    last = done.output.splitlines()[-1]
    assert f"[DECP-11] Run {done.summary['run']} is incomplete (service_down): " in last
    assert last.endswith(": scrapy crawl dume -a date_start=2026-03-01 -a date_end=2026-03-31")
    assert done.summary["balanced"]
    assert done.counts["written"] > 0
    assert done.counts["written"] + done.counts["failed"] == done.counts["references"]
    assert len(done.summary["failures"]) >= done.counts["failed"]
    assert done.summary["unproven"]

    up = start_sandbox(*options, "--faulty", 0)
    again = crawl(up.url, MARCH, settings)
    assert again.status == 0, again.output
    assert again.counts["references"] == 400
    assert again.counts["written"] + again.counts["unchanged"] == 400
    assert again.counts["unchanged"] == done.counts["written"]
