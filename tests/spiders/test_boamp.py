"""The BOAMP spider in child processes, against the replica over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from boamp_service import Service, is_search, offset, served
from crawling import ROOT, Crawl, crawl_command, finished, peak_of
from scrapy.utils.test import get_crawler

from dume_spider.boamp.notice import read_notice
from dume_spider.sandbox.boamp_rows import generate_notices
from dume_spider.sandbox.server import Answer, Asked
from dume_spider.spiders.boamp import BoampSpider
from dume_spider.store.reading import StoreReader

MONDAY = date(2026, 9, 7)
WEEK = {"date_start": "2026-09-07", "date_end": "2026-09-13", "nature": "all"}
#: What a failing request takes is not what is tested here.
ONCE = {"RETRY_TIMES": "0"}

Crawler = Callable[..., Crawl]


@pytest.fixture
def boamp(crawl: Crawler) -> Crawler:
    """Run ``scrapy crawl boamp``."""

    def run(service: Service | str, arguments: dict[str, str], **settings: str) -> Crawl:
        url = service if isinstance(service, str) else service.url
        return crawl(url, arguments, settings, spider="boamp")

    return run


def some_notices(count: int, days: int = 7, seed: int = 1) -> list[dict[str, Any]]:
    return list(generate_notices(count, seed, MONDAY, MONDAY + timedelta(days=days - 1)))


def stored(folder: Path) -> dict[str, Any]:
    """The rows in the store, by idweb."""
    with contextlib.closing(StoreReader(f"sqlite:///{folder / 'store.sqlite'}")) as reader:
        return {row.reference: orjson.loads(row.raw) for row in reader.notices()}


def by_idweb(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {row["idweb"]: row for row in rows}


@pytest.mark.parametrize(
    ("detail", "requests"),
    [
        ("auto", {"search": 3, "detail": 3, "retried": 0}),
        pytest.param("always", {"search": 3, "detail": 150, "retried": 0}, marks=pytest.mark.slow),
        pytest.param("never", {"search": 3, "detail": 0, "retried": 0}, marks=pytest.mark.slow),
    ],
)
def test_a_week_in_each_way(boamp: Crawler, detail: str, requests: dict[str, int]) -> None:
    rows = some_notices(150)
    with served(rows) as service:
        done = boamp(service, {**WEEK, "detail": detail})
    assert done.status == 0, done.output
    assert "Traceback" not in done.output
    summary = done.summary
    assert (summary["status"], summary["balanced"]) == ("complete", True)
    # One of the searches is the description of the data set.
    assert summary["requests"] == requests
    assert summary["counts"] == {
        "rows": 150,
        "references": 150,
        "new": 150,
        "updated": 0,
        "unchanged": 0,
        "superseded": 0,
        "rejected": 0,
        "failed": 0,
        "written": 150,
    }
    assert (summary["failures"], summary["unproven"], summary["warnings"]) == ([], [], {})
    assert by_idweb(done.items) == {
        row["idweb"]: json.loads(json.dumps(read_notice(row).notice)) for row in rows
    }
    assert stored(done.folder) == by_idweb(rows)
    assert not (done.folder / "decp").exists()
    assert set(Counter(service.replica.references()).values()) <= {1}
    selects = {asked.query.get("select", [""])[0] for asked in service.asked if is_search(asked)}
    assert selects == ({""} if detail == "never" else {"idweb,dateparution,source_schema"})
    assert done.output.count("robots.txt is not asked") == 1


@pytest.mark.slow
def test_the_next_runs_find_what_has_changed(boamp: Crawler) -> None:
    rows = some_notices(60)
    with served(rows) as service:
        boamp(service, {**WEEK, "detail": "auto"})
        again = boamp(service, {**WEEK, "detail": "auto"})
        assert again.counts["unchanged"] == again.counts["rows"] == 60
        assert again.items == []
        service.rows = [{**rows[0], "objet": "autre"}, *rows[1:]]
        service.publish(*some_notices(61)[60:])
        third = boamp(service, {**WEEK, "detail": "auto"})
    assert {name: third.counts[name] for name in ("new", "updated", "unchanged", "written")} == {
        "new": 1,
        "updated": 1,
        "unchanged": 59,
        "written": 2,
    }
    assert {third.summary["status"], again.summary["status"]} == {"complete"}


@pytest.mark.slow
def test_a_count_that_moves_during_the_crawl(boamp: Crawler) -> None:
    rows = some_notices(400)
    late = [{**row, "idweb": f"26-9{n}"} for n, row in enumerate(some_notices(20, seed=2))]
    with served(rows) as service:

        def publish(asked: Asked) -> None:
            if is_search(asked) and offset(asked) == 200 and len(service.rows) == 400:
                service.publish(*late)

        service.meddle = publish
        done = boamp(service, {**WEEK, "detail": "auto"})
    assert done.status == 0, done.output
    assert done.summary["status"] == "complete"
    assert stored(done.folder) == by_idweb([*rows, *late])
    assert done.counts["new"] == done.counts["rows"] == 420
    assert set(service.replica.references().values()) == {1}


@pytest.mark.slow
def test_a_quota_that_ends_midway_and_the_next_day(boamp: Crawler, tmp_path: Path) -> None:
    rows = some_notices(120)
    with served(rows, quota=50) as service:
        done = boamp(service, WEEK)
        assert done.status == 3, done.output
        assert "Traceback" not in done.output
        summary = done.summary
        assert (summary["status"], summary["finish_reason"]) == ("incomplete", "quota")
        assert summary["balanced"]
        # The description, a page, and as many notices as were left: they come first.
        assert summary["counts"]["new"] == len(stored(tmp_path)) == 48
        (advice,) = summary["advice"]
        assert re.fullmatch(
            r"\[BOAMP-07\] The service's quota is used up \(Too many requests on the domain for "
            r"anonymous users\., code 10005, 50 calls a day\): run the same command after "
            r"20\d\d-\d\d-\d\d 00:00 UTC, it carries on",
            advice,
        )
        assert advice in done.output
        # One request learnt of it, and those that were on their way: none is tried again.
        assert service.replica.stats()["requests"]["quota"] <= 16
        assert summary["requests"]["retried"] == 0
        # The next day.
        before = set(stored(tmp_path))
        service.quota = None
        service.publish()
        service.asked.clear()
        done = boamp(service, WEEK)
    assert done.status == 0, done.output
    assert "carried on" in done.output
    assert done.summary["status"] == "complete"
    assert done.counts["new"] == done.counts["rows"] == 120
    assert stored(tmp_path) == by_idweb(rows)
    # No notice that was stored is asked for again.
    assert before.isdisjoint(service.replica.references())


@pytest.mark.slow
def test_a_page_that_fails_is_named_and_asked_again(boamp: Crawler, tmp_path: Path) -> None:
    rows = some_notices(350)
    with served(rows) as service:
        service.meddle = lambda asked: (
            Answer(500, b"", kind="fault") if is_search(asked) and offset(asked) == 200 else None
        )
        done = boamp(service, {**WEEK, "detail": "auto"}, **ONCE)
        assert done.status == 3, done.output
        summary = done.summary
        assert summary["status"] == "incomplete"
        assert summary["failures"] == [
            {
                "window": {"date_start": "2026-09-07", "date_end": "2026-09-13"},
                "error": "rows from 200: HTTP status 500",
            }
        ]
        # The rows of the other pages are kept.
        assert len(stored(tmp_path)) == 250
        service.meddle = lambda _: None
        service.publish()
        done = boamp(service, {**WEEK, "detail": "auto"})
    assert done.status == 0, done.output
    assert "carried on" in done.output
    assert done.summary["failures"] == []
    assert stored(tmp_path) == by_idweb(rows)
    assert done.counts["rows"] == 350
    # Only the rest is asked for.
    assert len(service.replica.references()) == 100


PARKED = Answer(200, b"<!DOCTYPE html><html><title>For sale</title></html>", kind="page")


def test_a_parked_domain_is_no_empty_answer(boamp: Crawler) -> None:
    with served([]) as service:
        service.meddle = lambda _: PARKED
        done = boamp(service, WEEK, **ONCE)
    assert done.status == 1, done.output
    assert done.summary["status"] == "failed"
    assert done.summary["errors"] == [
        f"{service.url} is not the API of the BOAMP: the service answered an HTML or XML page, "
        "not JSON: '<!DOCTYPE html><html><title>For sale</title></html>'"
    ]
    assert "Traceback" not in done.output


@pytest.mark.slow
def test_a_domain_that_is_parked_during_the_crawl(boamp: Crawler) -> None:
    with served(some_notices(150)) as service:
        service.meddle = lambda asked: PARKED if is_search(asked) else None
        done = boamp(service, WEEK, **ONCE)
    assert done.status == 3, done.output
    (failure,) = done.summary["failures"]
    assert failure["error"].startswith("rows from 0: the service answered an HTML or XML page")
    assert f"[BOAMP-03] Search {failure['window']} failed, {failure['error']}\n" in done.output


@pytest.mark.slow
def test_an_empty_week_is_incomplete(boamp: Crawler) -> None:
    with served(some_notices(7, days=1)) as service:
        done = boamp(service, {**WEEK, "date_start": "2026-09-08"})
    assert done.status == 3, done.output
    assert done.summary["status"] == "incomplete"
    assert done.summary["unproven"] == [
        {
            "filters": {"date_start": "2026-09-08", "date_end": "2026-09-13"},
            "state": "incomplete",
            "why": "nothing was published on several working days: that is rarely true",
            "rows": 0,
            "missing_estimate": None,
        }
    ]


@pytest.mark.slow
def test_an_empty_day_is_told(boamp: Crawler) -> None:
    """It may be a holiday; a daily job that finds nothing should say so all the same."""
    with served([]) as service:
        done = boamp(service, {"date": "2026-09-08"})
    assert done.status == 0, done.output
    (advice,) = done.summary["advice"]
    assert advice.startswith("[BOAMP-08] Nothing was found from 2026-09-08 to 2026-09-08: check ")
    assert advice in done.output


@pytest.mark.slow
def test_a_filter_that_matches_nothing_is_only_a_warning(boamp: Crawler) -> None:
    with served(some_notices(70)) as service:
        done = boamp(service, {**WEEK, "keyword": "aéroport lunaire"})
    assert done.status == 0, done.output
    assert done.summary["status"] == "complete"
    (advice,) = done.summary["advice"]
    assert advice.startswith("[BOAMP-08] Nothing was found from 2026-09-07 to 2026-09-13: check ")


def test_a_long_condition_is_asked(boamp: Crawler) -> None:
    """Scrapy by itself drops an address of more than 2,083 characters, without a word."""
    where = " or ".join(f"nature = 'APPEL_OFFRE_{n}'" for n in range(100))
    with served(some_notices(5)) as service:
        done = boamp(service, {**WEEK, "where": f"{where} or idweb is not null"})
    assert done.status == 0, done.output
    assert done.counts["new"] == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            400,
            {"error_code": "ODSQLSyntaxError", "message": "unexpected ( at position 8"},
            "HTTP status 400, ODSQLSyntaxError: unexpected ( at position 8",
        ),
        (403, "<html>", "HTTP status 403"),
        (401, {}, "HTTP status 401"),
    ],
)
def test_a_refusal_ends_the_run(boamp: Crawler, status: int, body: Any, said: str) -> None:
    with served(some_notices(70)) as service:
        service.meddle = lambda asked: (
            Answer(status, orjson.dumps(body), kind="refused") if is_search(asked) else None
        )
        done = boamp(service, WEEK)
    assert done.status == 1, done.output
    assert done.summary["status"] == "failed"
    (error,) = done.summary["errors"]
    assert error.startswith("the service refuses http://127.0.0.1:")
    assert error.endswith(said)
    # Never asked again.
    assert len(service.wheres("search")) == 1
    assert "Traceback" not in done.output


@pytest.mark.slow
def test_a_service_that_is_down(boamp: Crawler) -> None:
    done = boamp("http://127.0.0.1:9/api/explore/v2.1", WEEK, **ONCE)
    assert done.status == 3, done.output
    (failure,) = done.summary["failures"]
    assert failure["window"] == {"dataset": "boamp"}
    assert "Traceback" not in done.output


@pytest.mark.slow
def test_robots_txt_is_obeyed_if_one_wants_it(boamp: Crawler) -> None:
    with served(some_notices(70)) as service:
        done = boamp(service, WEEK, ROBOTSTXT_OBEY="True")
    assert done.status == 1, done.output
    assert done.summary["errors"] == [
        f"robots.txt forbids to ask {service.url}: leave ROBOTSTXT_OBEY at its default for this "
        "spider if you may call its API all the same"
    ]
    assert f"[BOAMP-06] {done.summary['errors'][0]}\n" in done.output
    assert [asked.path for asked in service.asked] == ["/robots.txt"]
    assert "robots.txt is not asked" not in done.output


@pytest.mark.slow
def test_a_data_set_whose_columns_have_changed(boamp: Crawler) -> None:
    rows = some_notices(30)
    for row in rows:
        del row["criteres"]
        row["siret"] = "21750001600019"
    with served(rows) as service:

        def describe(asked: Asked) -> Answer | None:
            if not asked.path.endswith("/boamp"):
                return None
            description = orjson.loads(service.replica.answer(asked).body)
            fields = [f for f in description["fields"] if f["name"] != "criteres"]
            return Answer(200, orjson.dumps(description | {"fields": fields}), kind="dataset")

        service.meddle = describe
        done = boamp(service, {**WEEK, "detail": "auto"})
    assert done.status == 0, done.output
    assert done.summary["warnings"] == {
        "column-unknown": 30,  # of each notice
        "column-missing: criteres": 1,
        "column-unknown: siret": 1,
    }
    assert "[BOAMP-01] The data set lacks the column criteres" in done.output
    assert "[BOAMP-02] The data set has a new column: siret" in done.output
    assert done.items[0]["unread"] == {"siret": "21750001600019"}


@pytest.mark.slow
def test_a_data_set_without_an_essential_column(boamp: Crawler) -> None:
    with served([]) as service:
        fields = [{"name": "idweb", "type": "text"}, {"name": "objet", "type": "text"}]
        body = orjson.dumps({"dataset_id": "boamp", "fields": fields})
        service.meddle = lambda _: Answer(200, body, kind="dataset")
        done = boamp(service, WEEK)
    assert done.status == 1, done.output
    line = "the data set lacks the columns dateparution, donnees"
    assert done.summary["errors"] == [line]
    assert f"[BOAMP-05] {line}\n" in done.output


@pytest.mark.slow
@pytest.mark.parametrize("detail", ["always", "auto", "never"])
def test_rows_without_a_key_are_kept_with_the_reason(boamp: Crawler, detail: str) -> None:
    rows = some_notices(30)
    with served([*rows, {**rows[0], "idweb": None}]) as service:
        done = boamp(service, {**WEEK, "detail": detail})
    # The count tells that one notice could not be had.
    assert done.status == 3, done.output
    assert done.summary["balanced"]
    assert done.counts["rejected"] == 1
    assert done.counts["new"] == 30
    (rejected,) = done.rejected
    assert rejected["reference"] is None
    assert rejected["errors"] == [
        {"path": "idweb", "rule": "idweb", "message": "the record has no idweb"}
    ]
    (unproven,) = done.summary["unproven"]
    assert unproven["why"] == "it holds 31 rows; 4 passes over its pages gave 30"


@pytest.mark.slow
@pytest.mark.parametrize("detail", ["auto", "never"])
def test_half_a_surrogate_pair_costs_one_character(boamp: Crawler, detail: str) -> None:
    """In a column, in a payload as the answer has it, and escaped once more in a payload."""
    rows = some_notices(30)
    rows[3]["objet"] = "Jardins HALF"
    for row, word in ((rows[4], "HALF"), (rows[5], "ESCAPED")):
        payload = json.loads(row["donnees"]) | {"autre": word}
        row["donnees"] = json.dumps(payload)

    def spoil(asked: Asked) -> Answer:
        answer = service.replica.answer(asked)
        body = answer.body.replace(b"HALF", b"\\ud83d").replace(b"ESCAPED", b"\\\\ud83d")
        return Answer(answer.status, body, answer.kind, answer.reference, answer.headers)

    with served(rows) as service:
        service.meddle = spoil
        done = boamp(service, {**WEEK, "detail": detail})
    assert done.status == 0, done.output
    assert "Traceback" not in done.output
    assert done.summary["balanced"]
    assert done.counts["written"] == 30
    assert "payload-json" not in done.summary["warnings"]
    notices = {item["idweb"]: item for item in done.items}
    assert notices[rows[3]["idweb"]]["objet"] == "Jardins \ufffd"
    for row in rows[4:6]:
        assert notices[row["idweb"]]["donnees"]["autre"] == "\ufffd"
        assert notices[row["idweb"]]["payload_kind"] == read_notice(row).notice["payload_kind"]


@pytest.mark.slow
def test_one_notice(boamp: Crawler) -> None:
    rows = some_notices(30)
    with served(rows) as service:
        done = boamp(service, {"idweb": rows[7]["idweb"]})
        assert done.status == 0, done.output
        assert stored(done.folder) == by_idweb([rows[7]])
        done = boamp(service, {"idweb": "26-1"})
    assert done.status == 3, done.output
    assert done.summary["failures"] == [
        {"reference": "26-1", "error": "the service has no notice of this idweb"}
    ]


def test_notices_that_were_not_asked_for(boamp: Crawler) -> None:
    one, other = some_notices(2)
    with served([one, other]) as service:
        body = orjson.dumps({"total_count": 2, "results": [one, other]})
        service.meddle = lambda asked: (
            Answer(200, body, kind="detail") if asked.path.endswith("/records") else None
        )
        done = boamp(service, {"idweb": one["idweb"]})
    assert done.status == 0, done.output
    assert by_idweb(done.items).keys() == {one["idweb"]}
    assert f"[BOAMP-04] Rows that were not asked for: {other['idweb']}\n" in done.output
    assert "'boamp/rows/foreign': 1" in done.output


@pytest.mark.slow
def test_notices_that_are_gone_when_they_are_asked_for(boamp: Crawler) -> None:
    rows = some_notices(60)
    with served(rows) as service:

        def withdraw(asked: Asked) -> None:
            if service.wheres("detail") and len(service.rows) == 60:
                service.rows = rows[1:]
                service.publish()

        service.meddle = withdraw
        done = boamp(service, {**WEEK, "detail": "auto"})
    assert done.status == 3, done.output
    assert done.summary["failures"] == [
        {"reference": rows[0]["idweb"], "error": "the service has no notice of this idweb"}
    ]
    assert done.summary["balanced"]
    assert done.counts["new"] == 59


@pytest.mark.slow
def test_faults_of_every_kind(start_sandbox: Callable[..., Any], boamp: Crawler) -> None:
    sandbox = start_sandbox(
        *("--records", 0, "--boamp-port", 0, "--boamp-records", 400, "--seed", 3),
        *("--from", "2026-09-07", "--to", "2026-09-13", "--faults", 0.15),
    )
    done = boamp(sandbox.ready["boamp"], WEEK)
    assert done.status == 0, done.output
    assert done.counts["new"] == done.counts["rows"] == 400
    assert done.summary["requests"]["retried"] > 10
    made = generate_notices(400, 3, MONDAY, MONDAY + timedelta(days=6))
    assert stored(done.folder) == by_idweb(list(made))


@pytest.mark.slow
def test_killed_and_carried_on(boamp: Crawler, tmp_path: Path) -> None:
    rows = some_notices(500)
    with served(rows) as service:
        for most in (3, 60, 250):
            command = crawl_command(tmp_path, service.url, WEEK, {}, "boamp")
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            limit = len(service.asked) + most

            def kill(asked: Asked, process: Any = process, limit: int = limit) -> None:
                if len(service.asked) >= limit and process.poll() is None:
                    os.kill(process.pid, signal.SIGKILL)

            service.meddle = kill
            assert process.wait(60) == -signal.SIGKILL
        service.meddle = lambda _: None
        done = boamp(service, WEEK)
        assert done.status == 0, done.output
        assert "carried on" in done.output
        given = service.replica.references()
    assert (done.summary["status"], done.summary["balanced"]) == ("complete", True)
    assert done.counts["new"] == done.counts["rows"] == done.counts["references"] == 500
    assert stored(tmp_path) == by_idweb(rows)
    # What was on its way at a kill is asked again, and no more.
    assert sum(given.values()) - 500 <= 3 * 60


@pytest.mark.slow
def test_a_quarter_with_a_day_that_overflows(tmp_path: Path) -> None:
    first, last = date(2025, 9, 1), date(2025, 11, 30)
    rows = list(generate_notices(14_500, 1, first, last))
    big = generate_notices(10_500, 5, date(2025, 10, 14), date(2025, 10, 14))
    rows += [{**row, "idweb": f"26-9{n:05}"} for n, row in enumerate(big)]
    arguments = {"date_start": str(first), "date_end": str(last), "nature": "all"}
    with served(rows) as service:
        command = crawl_command(tmp_path, service.url, {**arguments, "detail": "auto"}, {}, "boamp")
        with (tmp_path / "log").open("w+") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            peak = peak_of(process)
            log.seek(0)
            done = finished(process.returncode, log.read(), tmp_path)
        searches, details = service.wheres("search"), service.wheres("detail")
    assert done.status == 0, done.output
    assert done.summary["status"] == "complete"
    assert done.counts["new"] == done.counts["rows"] == 25_000
    assert len(stored(done.folder)) == 25_000
    windows = len(set(searches))
    assert len(searches) <= 1.2 * 250 + windows
    assert len(searches) <= 250 + windows + 10
    assert len(details) <= 600
    assert 0 < peak < 250 * 1024


# Without a crawl.


def test_requests_can_be_kept(tmp_path: Path) -> None:
    """As a queue on disk or in Redis wants them."""
    settings = {"BOAMP_API_URL": "http://127.0.0.1:9/", "DECP_RUNS_DIR": str(tmp_path)}
    crawler = get_crawler(BoampSpider, settings)
    spider = crawler._create_spider(**WEEK)
    request = spider.ask(["26-1", "26-2"])
    kept = orjson.loads(orjson.dumps(request.to_dict(spider=spider), default=bytes.decode))
    assert kept["callback"] == "parse_detail"
    assert kept["errback"] == "detail_failed"
    assert kept["cb_kwargs"] == {"idwebs": ["26-1", "26-2"]}


@pytest.mark.slow
def test_finished_runs_are_known_by_name(boamp: Crawler) -> None:
    with served(some_notices(30)) as service:
        done = boamp(service, {**WEEK, "detail": "never"})
    assert done == finished(done.status, done.output, done.folder)
    assert done.run.name.startswith("boamp-")
