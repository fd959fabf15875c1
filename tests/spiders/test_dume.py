"""Real crawls over HTTP, against the replica and against services that misbehave."""

from __future__ import annotations

import json
import pickle
import random
import re
import resource
import signal
import string
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from crawling import ROOT, Crawl, crawl_command
from lxml import etree
from scrapy.utils.request import request_from_dict
from scrapy.utils.test import get_crawler

from dume_spider.decp.regime import ContractType
from dume_spider.sandbox.generator import generate
from dume_spider.sandbox.rows import row_of
from dume_spider.spiders.base import today
from dume_spider.spiders.dume import DumeSpider
from dume_spider.store.ledger import Found, Window

MARCH = {"date_start": "2026-03-01", "date_end": "2026-03-31"}
DAY = {"date": "2026-03-02"}


def official(shared: Path, regime: str) -> Any:
    """A validator of whole files by the official schema of a regime."""
    if regime == "2022":
        text = (shared / "official/2.0.4/decp-2.0.4.schema.json").read_text(encoding="utf-8")
        return jsonschema.Draft7Validator(json.loads(text))
    text = (shared / "official/1.5.0/marches-1.5.0.schema.json").read_text(encoding="utf-8")
    return jsonschema.Draft4Validator(json.loads(text))


def regime_of_file(document: dict[str, Any]) -> str:
    return "2019" if isinstance(document["marches"], list) else "2022"


def records_of(path: Path) -> list[dict[str, Any]]:
    """The records of a DECP file in JSON."""
    marches = json.loads(path.read_bytes())["marches"]
    if isinstance(marches, list):
        return marches
    return [record for records in marches.values() for record in records]


def check_balance(crawl: Any) -> None:
    """Hold the counts against each other and against what lies in the folder."""
    summary, counts = crawl.summary, crawl.counts
    assert summary["balanced"]
    doors = ("written", "unchanged", "superseded", "rejected", "failed")
    assert counts["rows"] == sum(counts[door] for door in doors)
    assert counts["written"] == counts["new"] + counts["updated"]
    assert len(crawl.rejected) == counts["rejected"]
    in_json = {file["name"]: file for file in summary["files"] if file["name"].endswith(".json")}
    assert sum(file["records"] for file in in_json.values()) == counts["written"]
    for name, file in in_json.items():
        path = crawl.folder / "decp" / name
        assert len(records_of(path)) == file["records"]
        assert path.stat().st_size == file["bytes"]


# The main job.


@pytest.mark.slow
def test_generated_month_ends_in_valid_files_of_both_formats(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Any], shared: Path
) -> None:
    sandbox = start_sandbox(
        *("--records", 5000, "--seed", 7, "--from", "2026-01-01", "--to", "2026-06-30"),
        *("--faulty", 0),
    )
    done = crawl(
        sandbox.url,
        {"date_start": "2026-01-01", "date_end": "2026-06-30"},
        {"DECP_FORMATS": "json,xml"},
    )
    assert done.status == 0, done.output
    assert done.summary["status"] in ("complete", "probable")
    check_balance(done)
    assert done.counts["references"] == sandbox.ready["dume_references"] == 5000
    assert {item["reference"] for item in done.items} == set(sandbox.references())
    assert all(asked == 1 for asked in sandbox.references().values())
    assert done.counts["rejected"] == 0, done.rejected[:3]

    validators = {regime: official(shared, regime) for regime in ("2019", "2022")}
    xsd = {
        "2022": etree.XMLSchema(etree.parse(shared / "official/2.0.4/decp-2.0.2.xsd")),
        "2019": etree.XMLSchema(etree.parse(shared / "official/1.5.0/marches-1.5.0.xsd")),
    }
    contracts: Counter[tuple[str, str]] = Counter()
    for path in done.files("*.json"):
        document = json.loads(path.read_bytes())
        regime = regime_of_file(document)
        assert not list(validators[regime].iter_errors(document)), path
        xml = etree.parse(path.with_suffix(".xml"))
        assert xsd[regime].validate(xml), (path, xsd[regime].error_log)
        ids = Counter((element.tag, element.findtext("id")) for element in xml.getroot())
        kinds = {"acheteur": "marche", "autoriteConcedante": "contrat-concession"}
        expected = Counter(
            (next(kinds[key] for key in kinds if key in record), record["id"])
            for record in records_of(path)
        )
        assert ids == expected
        contracts += expected
    assert contracts.total() == done.counts["written"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "records", "at_least"),
    [("real-marches-publics.info-2019", 4509, 0.9), ("real-aife-2019", 4530, 0.0)],
)
def test_real_records_are_all_accounted_for(
    start_sandbox: Callable[..., Any],
    crawl: Callable[..., Any],
    shared: Path,
    name: str,
    records: int,
    at_least: float,
) -> None:
    sandbox = start_sandbox("--data", shared / "data" / f"{name}.json.gz")
    first, last = sandbox.ready["dume_days"]
    done = crawl(sandbox.url, {"date_start": first, "date_end": last})
    assert done.status == 0, done.output
    check_balance(done)
    assert done.counts["rows"] == done.counts["references"] == records
    assert done.counts["written"] >= at_least * records
    assert all(line["errors"] for line in done.rejected)
    validator = official(shared, "2019")
    for path in done.files("*.json"):
        document = json.loads(path.read_bytes())
        assert regime_of_file(document) == "2019"
        assert not list(validator.iter_errors(document)), path


@pytest.mark.slow
def test_a_second_harvest_writes_nothing(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Any]
) -> None:
    sandbox = start_sandbox(
        "--records", 200, "--seed", 3, "--from", "2026-03-01", "--to", "2026-03-31"
    )
    first = crawl(sandbox.url, MARCH)
    check_balance(first)
    second = crawl(sandbox.url, MARCH)
    assert second.status == 0, second.output
    check_balance(second)
    assert second.counts["written"] == 0
    assert second.counts["unchanged"] == first.counts["written"]
    assert second.summary["files"] == []


@pytest.mark.slow
@pytest.mark.parametrize("detail", ["auto", "never"])
def test_other_ways_of_detail_give_the_same_files(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Any], tmp_path: Path, detail: str
) -> None:
    sandbox = start_sandbox(
        "--records", 300, "--seed", 5, "--from", "2026-03-01", "--to", "2026-03-31"
    )
    always = crawl(sandbox.url, MARCH, folder=tmp_path / "always")
    other = crawl(sandbox.url, MARCH | {"detail": detail}, folder=tmp_path / detail)
    check_balance(other)
    assert other.status == always.status == 0
    assert other.summary["requests"]["detail"] < always.summary["requests"]["detail"]
    assert contents(other) == contents(always)


def contents(crawl: Any) -> Counter[str]:
    """The records of a crawl's files, whatever the order."""
    return Counter(
        json.dumps(record, sort_keys=True)
        for path in crawl.files("*.json")
        for record in records_of(path)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("filters", "keeps"),
    [
        ({"type_de": "CC"}, lambda made: made.type == "CC"),
        (
            {"procedure": "Appel d'offres ouvert"},
            lambda made: made.served.row["procedure"] == "Appel d'offres ouvert",
        ),
        ({"nature": "Marché"}, lambda made: made.served.row["nature"] == "Marché"),
    ],
)
def test_filters(
    start_sandbox: Callable[..., Any],
    crawl: Callable[..., Any],
    filters: dict[str, str],
    keeps: Callable[[Any], bool],
) -> None:
    options = ("--records", 300, "--seed", 9, "--from", "2026-03-01", "--to", "2026-03-31")
    done = crawl(start_sandbox(*options, "--faulty", 0).url, MARCH | filters)
    assert done.status == 0, done.output
    made = generate(300, 9, date(2026, 3, 1), date(2026, 3, 31), faulty=0)
    expected = {each.served.reference for each in made if keeps(each)}
    assert {item["reference"] for item in done.items} == expected
    assert 0 < len(expected) < 300


@pytest.mark.slow
def test_a_buyer_is_asked_as_acheteur_and_as_autorite_concedante(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Any], tmp_path: Path
) -> None:
    sandbox = start_sandbox(
        "--records", 300, "--seed", 9, "--from", "2026-03-01", "--to", "2026-03-31"
    )
    everything = crawl(sandbox.url, MARCH, folder=tmp_path / "all")

    def buyer(item: dict[str, Any]) -> str:
        record = item["record"]
        return (record.get("acheteur") or record["autoriteConcedante"])["id"]

    concessions = [item for item in everything.items if item["type"] == "CC"]
    siret = Counter(map(buyer, concessions)).most_common(1)[0][0]
    some = crawl(sandbox.url, MARCH | {"acheteur_id": siret}, folder=tmp_path / "some")
    expected = {item["reference"] for item in everything.items if buyer(item) == siret}
    assert {item["reference"] for item in some.items} >= expected
    assert {item["type"] for item in some.items} == {"MP", "CC"}


@pytest.mark.slow
def test_one_reference(start_sandbox: Callable[..., Any], crawl: Callable[..., Any]) -> None:
    sandbox = start_sandbox(
        *("--records", 20, "--seed", 9, "--from", "2026-03-01", "--to", "2026-03-31", "--faulty", 0)
    )
    found = crawl(sandbox.url, MARCH)
    reference = found.items[0]["reference"]
    again = crawl(sandbox.url, {"reference": reference})
    assert again.status == 0, again.output
    assert again.counts["references"] == 1
    unknown = crawl(sandbox.url, {"reference": "AIFEDUME-zzzzzzzz"})
    assert unknown.status == 3
    assert unknown.summary["failures"] == [
        {
            "reference": "AIFEDUME-zzzzzzzz",
            "error": "the service has no record under this reference",
        }
    ]


@pytest.mark.slow
def test_one_reference_of_a_service_that_does_not_look_at_it(
    serve: Callable[..., str], crawl: Callable[..., Any]
) -> None:
    """It is a failure, not a harvest of all that there is."""
    rows = [good_row(f"AIFEDUME-{number:08}", id=f"2026-{number:03}") for number in range(100)]
    done = crawl(serve(lambda _: answer(*rows)), {"reference": "AIFEDUME-zzzzzzzz"})
    assert done.status == 3, done.output
    check_balance(done)
    assert done.counts["rows"] == 0
    assert done.summary["requests"]["search"] == 1
    (failure,) = done.summary["failures"]
    assert failure["error"].endswith("rows of other references, such as AIFEDUME-00000000")


@pytest.mark.slow
def test_plateforme_structure_gives_one_file_per_regime(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Any]
) -> None:
    sandbox = start_sandbox(
        "--records", 100, "--seed", 2, "--from", "2026-03-01", "--to", "2026-03-31"
    )
    settings = {"DECP_STRUCTURE": "plateforme", "DECP_PLATFORM_SIRET": "13000548100010"}
    done = crawl(sandbox.url, MARCH, settings)
    assert done.status == 0, done.output
    check_balance(done)
    assert len(done.files()) == 1
    assert done.files()[0].name.startswith("DECP-13000548100010-")
    assert done.files()[0].name.endswith("-01.json")


# A service that misbehaves.

GOOD_RECORD = {
    "id": "2026-017",
    "acheteur": {"id": "21750001600019"},
    "nature": "Marché",
    "objet": "Entretien des jardins",
    "codeCPV": "77310000",
    "techniques": {"technique": ["Sans objet"]},
    "modalitesExecution": {"modaliteExecution": ["Sans objet"]},
    "marcheInnovant": False,
    "ccag": "Pas de CCAG",
    "offresRecues": 3,
    "attributionAvance": False,
    "typeGroupementOperateurs": "Pas de groupement",
    "sousTraitanceDeclaree": False,
    "procedure": "Procédure adaptée",
    "lieuExecution": {"code": "75", "typeCode": "Code département"},
    "dureeMois": 12,
    "dateNotification": "2026-02-20",
    "datePublicationDonnees": "2026-03-02",
    "montant": 120000,
    "typesPrix": {"typePrix": ["Définitif ferme"]},
    "formePrix": "Forfaitaire",
    "titulaires": [{"titulaire": {"typeIdentifiant": "SIRET", "id": "35600000000048"}}],
    "considerationsSociales": {"considerationSociale": ["Clause sociale"]},
    "considerationsEnvironnementales": {
        "considerationEnvironnementale": ["Pas de considération environnementale"]
    },
}


def good_row(reference: str = "AIFEDUME-aaaaaaaa", **changes: Any) -> dict[str, Any]:
    record = GOOD_RECORD | changes
    return row_of(record, ContractType.MARCHE, reference)


def answer(*rows: Any, **parts: Any) -> tuple[int, bytes]:
    body = {"messageList": None, "donneesEssentielles": list(rows)} | parts
    return 200, json.dumps({"response": body}).encode()


ONCE = {"RETRY_ENABLED": "False"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (
            (200, b"<html>parked</html>"),
            "the service answered an HTML or XML page, not JSON: '<html>parked</html>'",
        ),
        (
            (200, b'{"response": {"donneesEss'),
            "the service's JSON stops in the middle, after 25 bytes",
        ),
        ((200, b""), "the service answered an empty body"),
        ((200, b"[]"), "the answer has no object 'response' (it has: list)"),
        ((503, b"busy"), "HTTP status 503"),
        ((404, b"nothing"), "HTTP status 404"),
        ((302, b""), "HTTP status 302"),
    ],
)
def test_an_answer_that_cannot_be_used_is_a_named_failure(
    serve: Callable[..., str],
    crawl: Callable[..., Any],
    reply: tuple[int, bytes],
    error: str,
) -> None:
    done = crawl(serve(lambda _: reply), DAY, ONCE)
    assert done.status == 3, done.output
    assert done.summary["status"] == "incomplete"
    check_balance(done)
    window = {"date_start": "2026-03-02", "date_end": "2026-03-02"}
    assert {"window": window, "error": error} in done.summary["failures"]
    assert done.summary["unproven"]
    assert error in done.output
    assert "Traceback" not in done.output


def test_garbage_of_30_mb_is_refused_before_it_is_read(
    serve: Callable[..., str], crawl: Callable[..., Any]
) -> None:
    done = crawl(serve(lambda _: (200, b"x" * 30_000_000)), DAY, ONCE)
    assert done.status == 3, done.output
    (failure,) = done.summary["failures"]
    assert "16777216" in failure["error"]
    assert "Traceback" not in done.output


def test_a_refusal_of_the_first_request_stops_the_run(
    serve: Callable[..., str], crawl: Callable[..., Any]
) -> None:
    message = {"type": "ERREUR", "code": "E07", "message": "plateforme inconnue"}
    done = crawl(serve(lambda _: answer(messageList=[message])), DAY)
    assert done.status == 1
    assert done.summary["status"] == "failed"
    assert done.summary["finish_reason"] == "refused"
    line = "the service refused the first request: ERREUR E07: plateforme inconnue"
    assert done.summary["errors"] == [line]
    assert "[DUME-02] Search {'" in done.output
    assert "[DUME-06] The service refused the first request: ERREUR E07: plateforme inconnue\n" in (
        done.output
    )
    assert f"[DECP-10] Run {done.summary['run']} failed: {line}; see " in done.output
    assert done.output.endswith(": scrapy crawl dume -a date=2026-03-02\n"), done.output
    assert "Traceback" not in done.output


def test_a_bug_of_a_callback_is_told(serve: Callable[..., str], crawl: Callable[..., Any]) -> None:
    environment = {"PYTHONPATH": "tests"}
    done = crawl(serve(lambda _: answer()), DAY, {"SPIDER_MODULES": "failing"}, env=environment)
    assert done.status == 1, done.output
    assert "ERROR: [DECP-07] Spider error processing <POST http://127.0.0.1:" in done.output
    assert "ZeroDivisionError: a bug\n" in done.output
    assert done.summary["errors"] == ["a callback failed: ZeroDivisionError('a bug') (see the log)"]


@pytest.mark.parametrize("rows", [[], None])
def test_an_empty_day_is_complete(
    serve: Callable[..., str], crawl: Callable[..., Any], rows: list[Any] | None
) -> None:
    done = crawl(serve(lambda _: answer(donneesEssentielles=rows)), DAY)
    assert done.status == 0, done.output
    assert done.summary["status"] == "complete"
    assert done.counts["rows"] == 0
    assert done.files() == []
    assert len(done.summary["advice"]) == 1


@pytest.mark.usefixtures("on_18_march_2026")
@pytest.mark.parametrize(
    ("arguments", "is_told"),
    [
        (DAY, True),
        ({"date": "2026-03-07"}, False),  # a Saturday
        ({"date_start": "2026-03-07", "date_end": "2026-03-09"}, True),
        (DAY | {"type_de": "CC"}, False),
        (DAY | {"shard": "1/2"}, False),
        ({"date_start": "2026-03-02", "date_end": "2026-03-06", "type_de": "CC"}, True),
        ({"date": "2026-03-18"}, False),
    ],
)
def test_days_on_which_nothing_is_found_are_told(
    tmp_path: Path, arguments: dict[str, str], is_told: bool
) -> None:
    settings = {"DECP_RUNS_DIR": str(tmp_path), "DUME_API_URL": "http://127.0.0.1:9/"}
    spider = DumeSpider.from_crawler(get_crawler(DumeSpider, settings), **arguments)
    assert not list(spider.silence())
    spider.planner.done = True
    assert len(list(spider.silence())) == is_told
    spider.run.rows = 1
    assert not list(spider.silence())


def test_an_empty_month_is_a_warning(serve: Callable[..., str], crawl: Callable[..., Any]) -> None:
    done = crawl(serve(lambda _: answer()), MARCH)
    assert done.status == 0
    assert done.summary["advice"] == [
        "[DUME-05] Nothing was found from 2026-03-01 to 2026-03-31: check the filters "
        "({'date_start': '2026-03-01', 'date_end': '2026-03-31'}) and the service"
    ]
    assert done.summary["advice"][0] in done.output


@pytest.mark.slow
def test_what_the_service_says_beside_its_rows_is_told_at_the_end(
    serve: Callable[..., str], crawl: Callable[..., Any]
) -> None:
    message = {"type": "AVERTISSEMENT", "code": "P1", "message": "résultats partiels"}
    done = crawl(serve(lambda _: answer(good_row(), messageList=message, total=250)), DAY)
    assert done.status == 0, done.output
    assert done.summary["advice"] == [
        "[DUME-07] The service says, in 2 answers: AVERTISSEMENT P1: résultats partiels"
    ]
    assert done.summary["unknown_keys"] == {"response.total": 2}
    assert "keys of the service are not known" in done.output


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [MARCH, {"date": "2026-03-10"}])
def test_a_service_that_cuts_its_answers_earlier_is_told(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Any], arguments: dict[str, str]
) -> None:
    period = {"date_start": arguments.get("date", "2026-03-01")} | arguments
    days = ("--from", period["date_start"], "--to", period.get("date_end", period["date_start"]))
    options = ("--records", 90, "--seed", 9, "--faulty", 0, *days)
    done = crawl(start_sandbox(*options, "--cap", 25).url, arguments)
    assert done.status == 0, done.output
    assert done.counts["written"] == 90
    said = (
        "[DUME-08] The service cuts its answers at 25 rows now, not at 100; this harvest has been "
        "split by that"
    )
    assert done.summary["advice"] == [said]
    assert done.output.count(said) == 1


def test_a_reference_whose_detail_fails_is_named_and_the_others_are_written(
    serve: Callable[..., str], crawl: Callable[..., Any]
) -> None:
    rows = [good_row("AIFEDUME-aaaaaaaa"), good_row("AIFEDUME-bbbbbbbb", id="2026-018")]

    def service(asked: dict[str, Any]) -> tuple[int, bytes]:
        if asked.get("referenceUnique") == "AIFEDUME-bbbbbbbb":
            return 500, b"out of order"
        reference = asked.get("referenceUnique")
        return answer(*(row for row in rows if reference in (None, row["referenceUnique"])))

    done = crawl(serve(service), DAY, ONCE)
    assert done.status == 3, done.output
    check_balance(done)
    assert done.counts | {"rows": 2, "references": 2, "written": 1, "failed": 1} == done.counts
    assert done.summary["failures"] == [
        {"reference": "AIFEDUME-bbbbbbbb", "error": "HTTP status 500"}
    ]
    assert [record["id"] for record in records_of(done.files()[0])] == ["2026-017"]


def test_the_newest_version_of_a_reference_wins(
    serve: Callable[..., str], crawl: Callable[..., Any]
) -> None:
    modification = {
        "modification": {
            "id": 1,
            "dateNotificationModification": "2026-03-10",
            "datePublicationDonneesModification": "2026-03-12",
            "montant": 150000,
        }
    }
    rows = [good_row(modifications=[modification]), good_row()]
    done = crawl(serve(lambda _: answer(*rows)), DAY)
    assert done.status == 0, done.output
    check_balance(done)
    assert done.counts["rows"] == 2
    assert done.counts["superseded"] == done.counts["written"] == 1
    assert records_of(done.files()[0])[0]["modifications"] == [modification]
    assert len(done.items) == 1


@pytest.mark.slow
def test_a_reference_that_only_searches_know_is_named_with_the_way_out(
    serve: Callable[..., str], crawl: Callable[..., Any], tmp_path: Path
) -> None:
    url = serve(lambda asked: answer(*([] if "referenceUnique" in asked else [good_row()])))
    done = crawl(url, DAY, folder=tmp_path / "always")
    assert done.status == 3, done.output
    check_balance(done)
    (failure,) = done.summary["failures"]
    assert failure["reference"] == "AIFEDUME-aaaaaaaa"
    name, value = re.search(r"-a (\w+)=(\w+)", failure["error"]).groups()
    other = crawl(url, DAY | {name: value}, folder=tmp_path / "never")
    assert (other.status, other.counts["written"]) == (0, 1)


@pytest.mark.slow
def test_an_answer_with_more_versions_than_it_can_hold_is_named(
    serve: Callable[..., str], crawl: Callable[..., Any]
) -> None:
    """Of one reference 150 versions of 30 days; the last ones are beyond the cap."""
    versions = [
        good_row(
            montant=100000 + number,
            modifications=[
                {
                    "modification": {
                        "id": 1,
                        "dateNotificationModification": "2026-03-10",
                        "datePublicationDonneesModification": "2026-03-12",
                        "montant": 150000 + number,
                    }
                }
            ],
        )
        for number in range(150)
    ]

    def service(asked: dict[str, Any]) -> tuple[int, bytes]:
        first = asked.get("dateDebutPublication", "2026-03-01")
        last = asked.get("dateFinPublication", "2026-03-30")
        found = [
            row
            for number, row in enumerate(versions)
            if first <= f"2026-03-{number // 5 + 1:02}" <= last
        ]
        return answer(*found[:100])

    url = serve(service)
    one_day = crawl(url, DAY)
    assert one_day.status == 3, one_day.output
    check_balance(one_day)
    assert one_day.counts | {"rows": 101, "written": 1, "failed": 1} == one_day.counts
    (failure,) = one_day.summary["failures"]
    assert failure["reference"] == "AIFEDUME-aaaaaaaa"
    assert failure["error"].startswith("its answer is full (100 rows): ")
    name, value = failure["error"].rpartition(" -a ")[2].split("=")
    alone = crawl(url, {name: value})
    assert alone.status == 0, alone.output
    check_balance(alone)
    assert alone.counts["rows"] == 150


def test_rows_without_sense_are_rejected_with_reasons(
    serve: Callable[..., str], crawl: Callable[..., Any]
) -> None:
    nameless = good_row()
    del nameless["referenceUnique"]
    done = crawl(serve(lambda _: answer("text", nameless, None)), DAY)
    assert done.status == 0, done.output
    check_balance(done)
    assert done.counts["rejected"] == done.counts["rows"] == 3
    assert {line["errors"][0]["rule"] for line in done.rejected} == {"row", "reference"}


@pytest.mark.slow
@pytest.mark.parametrize("detail", ["always", "never"])
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_rows_that_no_file_can_hold_as_they_are_cost_nothing_else(
    request: pytest.FixtureRequest,
    serve: Callable[..., str],
    crawl: Callable[..., Any],
    database: str,
    detail: str,
) -> None:
    """Halves of surrogate pairs in a text, a label, a key and a reference; a NUL in a key, and keys
    and references that no index of PostgreSQL takes; a row too deep."""
    long = "".join(random.Random(1).choices(string.ascii_letters, k=9000))
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    rows = [
        good_row(),
        good_row("AIFEDUME-bbbbbbbb", id="2026-018", objet="Jardins \ud83d"),
        good_row("AIFEDUME-cccccccc", id="2026-019", procedure="Procédure \ude00"),
        good_row("AIFEDUME-dddddddd", id="2026-020") | {"\ud800": 1, "a\0b": "\0", long: 1},
        good_row(long, id="2026-023"),
        good_row("AIFEDUME-\ud800", id="2026-021"),
        good_row("AIFEDUME-eeeeeeee", id="2026-022") | {"deep": deep},
    ]

    def service(asked: dict[str, Any]) -> tuple[int, bytes]:
        reference = asked.get("referenceUnique")
        return answer(*(row for row in rows if reference in (None, row["referenceUnique"])))

    settings = {}
    if database == "postgresql":
        settings["DECP_STORE_URL"] = request.getfixturevalue("new_schema")()
    done = crawl(serve(service), DAY | {"detail": detail}, settings)
    assert done.status == 0, done.output
    assert "Traceback" not in done.output
    check_balance(done)
    assert done.counts["rows"] == 7
    written = {record["id"]: record["objet"] for record in records_of(done.files()[0])}
    assert written == {
        "2026-017": "Entretien des jardins",
        "2026-018": "Jardins \ufffd",
        "2026-020": "Entretien des jardins",
    }
    assert done.summary["warnings"]["text-replacement"] == 1
    reasons = {(line["reference"], line["errors"][0]["rule"]) for line in done.rejected}
    assert reasons == {("AIFEDUME-cccccccc", "enum"), (None, "reference"), (None, "row")}
    assert done.summary["unknown_keys"].keys() == {"\ufffd", "a\0b", f"{long[:499]}…"}
    (text,) = (line["raw"] for line in done.rejected if isinstance(line["raw"], str))
    assert json.loads(text) == rows[-1]


@pytest.mark.slow
def test_an_unknown_block_is_counted_logged_once_and_named_at_the_end(
    serve: Callable[..., str], crawl: Callable[..., Any]
) -> None:
    rows = [
        good_row(f"AIFEDUME-{number:08}", id=f"2026-{number:03}")
        | {"nouveauBloc": {"clef": number}}
        for number in range(12)
    ]

    def service(asked: dict[str, Any]) -> tuple[int, bytes]:
        reference = asked.get("referenceUnique")
        return answer(*(row for row in rows if reference in (None, row["referenceUnique"])))

    done = crawl(serve(service), DAY)
    assert done.status == 0, done.output
    assert done.counts["written"] == 12
    assert done.output.count("Unknown key of the service: nouveauBloc") == 1
    ((path, rows_with_it),) = done.summary["unknown_keys"].items()
    assert path.startswith("nouveauBloc")
    assert rows_with_it == 12
    assert (
        f"[DUME-03] 1 keys of the service are not known, here with the rows that have them: "
        f"{path} (12);" in done.output
    )
    assert f"'dume/unknown_keys/{path}': 12" in done.output


@pytest.mark.slow
def test_a_required_field_under_an_unknown_name_is_advised_at_the_end(
    serve: Callable[..., str], crawl: Callable[..., Any], tmp_path: Path
) -> None:
    rows = []
    for number in range(12):
        row = good_row(f"AIFEDUME-{number:08}", id=f"2026-{number:03}")
        row["donneesMP"]["cahierDesClauses"] = row["donneesMP"].pop("ccag")
        rows.append(row)

    def service(asked: dict[str, Any]) -> tuple[int, bytes]:
        reference = asked.get("referenceUnique")
        return answer(*(row for row in rows if reference in (None, row["referenceUnique"])))

    url = serve(service)
    done = crawl(url, DAY, folder=tmp_path / "before")
    assert done.counts["rejected"] == 12
    (advice,) = done.summary["advice"]
    assert advice.startswith("[DUME-04] ccag is missing in 12 of 12 MP rows of 2022. ")
    assert "cahierDesClauses" in advice
    assert advice in done.output

    names = tmp_path / "names.toml"
    names.write_text('[MP]\nccag = ["cahierDesClauses"]\n', encoding="utf-8")
    mapped = crawl(url, DAY, {"DUME_FIELD_MAP": str(names)}, folder=tmp_path / "after")
    assert mapped.counts["written"] == 12
    assert mapped.summary["advice"] == []


def snake(value: Any) -> Any:
    """The same row with every key in snake_case."""
    if isinstance(value, dict):
        return {
            re.sub("(?<=[a-z])(?=[A-Z])", "_", key).lower(): snake(inner)
            for key, inner in value.items()
        }
    return [snake(inner) for inner in value] if isinstance(value, list) else value


def shout(value: Any) -> Any:
    """The same row with every key in capitals."""
    if isinstance(value, dict):
        return {key.upper(): shout(inner) for key, inner in value.items()}
    return [shout(inner) for inner in value] if isinstance(value, list) else value


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """The same row with the fields of its block at row level."""
    return {key: value for key, value in row.items() if not key.startswith("donnees")} | (
        row["donneesMP"] or row["donneesCC"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("renamed", [snake, shout, flat])
def test_rows_whose_fields_have_other_names_are_all_mapped(
    serve: Callable[..., str], crawl: Callable[..., Any], renamed: Callable[[Any], Any]
) -> None:
    made = list(generate(60, 21, date(2026, 3, 2), date(2026, 3, 2), faulty=0, trapped=0))
    rows: dict[str, list[Any]] = {}
    for each in made:
        rows.setdefault(each.served.reference, []).append(renamed(each.served.row))

    def service(asked: dict[str, Any]) -> tuple[int, bytes]:
        reference = asked.get("referenceUnique")
        if reference:
            return answer(*rows[reference])
        return answer(*(version for versions in rows.values() for version in versions))

    done = crawl(serve(service), DAY)
    assert done.status == 0, done.output
    assert done.counts["written"] == len(rows) == 60
    assert done.counts["rejected"] == 0


# Requests survive a job folder, a stop and a worker.


def test_requests_pickle(tmp_path: Path) -> None:
    settings = {"DECP_RUNS_DIR": str(tmp_path), "DUME_API_URL": "http://127.0.0.1:9/"}
    crawler = get_crawler(DumeSpider, settings)
    spider = DumeSpider.from_crawler(crawler, date="2026-03-02")
    requests = [
        *spider.next_searches(),
        spider.detail_request("AIFEDUME-aaaaaaaa", ContractType.MARCHE),
    ]
    assert [request.meta["kind"] for request in requests] == ["search", "detail"]
    for request in requests:
        again = request_from_dict(
            pickle.loads(pickle.dumps(request.to_dict(spider=spider))), spider=spider
        )
        assert again.body == request.body
        assert again.cb_kwargs == request.cb_kwargs
        assert (again.callback, again.errback) == (request.callback, request.errback)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_keeps_what_it_has(
    start_sandbox: Callable[..., Any],
    crawl: Callable[..., Any],
    tmp_path: Path,
    sign: signal.Signals,
) -> None:
    sandbox = start_sandbox(
        *("--records", 300, "--seed", 6, "--from", "2026-03-01", "--to", "2026-03-31"),
        *("--faulty", 0, "--latency", 0.05),
    )
    process = subprocess.Popen(
        crawl_command(tmp_path, sandbox.url, MARCH, {"CONCURRENT_REQUESTS_PER_DOMAIN": "4"}),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while sandbox.stats()["requests"].get("detail", 0) < 40:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(sign)
    assert process.wait(timeout=30) == 3
    (folder,) = (tmp_path / "runs").iterdir()
    stopped = Crawl(3, "", tmp_path, folder)
    assert stopped.summary["status"] == "incomplete"
    assert stopped.summary["finish_reason"] == "shutdown"
    check_balance(stopped)
    assert 0 < stopped.counts["written"] < 300
    again = crawl(sandbox.url, MARCH)
    assert again.status == 0, again.output
    check_balance(again)
    assert again.run == stopped.run
    assert again.counts["written"] == again.counts["references"] == 300


@dataclass
class Interrupted:
    """A harvest that has asked for a day and got one reference."""

    day: str
    is_resumed = True

    def windows(self) -> list[Window]:
        return [Window({"date_start": self.day, "date_end": self.day}, "closed", [["r:1", "r"]])]

    def settled(self) -> set[str]:
        return {"r"}

    def settled_rows(self) -> set[str]:
        return set()

    def waiting(self) -> list[Found]:
        return [Found("s", "MP")]


@pytest.mark.parametrize(
    ("asked", "began", "is_asked_again"), [(0, 0, False), (1, 1, True), (2, 1, False)]
)
def test_a_day_that_was_not_over_is_asked_again_when_it_is(
    tmp_path: Path, asked: int, began: int, is_asked_again: bool
) -> None:
    """The day asked for and that on which the run began, in days before today."""
    settings = {"DECP_RUNS_DIR": str(tmp_path), "DUME_API_URL": "http://127.0.0.1:9/"}
    day = str(today() - timedelta(asked))
    spider = DumeSpider.from_crawler(get_crawler(DumeSpider, settings), date=day)
    noon = f"{today() - timedelta(began)}T12:00:00+00:00"
    spider.run.started = datetime.fromisoformat(noon)
    (waiting,) = spider.carry_on(Interrupted(day))
    assert waiting.cb_kwargs["reference"] == "s"
    assert len(list(spider.next_searches())) == is_asked_again
    assert spider.asked_for == ({"s"} if is_asked_again else {"r", "s"})
    assert spider.run.references == (1 if is_asked_again else 2)


@pytest.mark.slow
def test_one_request_at_a_time(serve: Callable[..., str], crawl: Callable[..., Any]) -> None:
    """As by default, with a shorter pause; retries included."""
    rows = [good_row(f"AIFEDUME-{number:08}", id=f"2026-{number:03}") for number in range(20)]
    asked_for: Counter[str] = Counter()
    at_once: list[str] = []
    most: list[int] = []

    def service(asked: dict[str, Any]) -> tuple[int, bytes]:
        reference = asked.get("referenceUnique", "")
        asked_for[reference] += 1
        at_once.append(reference)
        most.append(len(at_once))
        time.sleep(0.05)
        at_once.remove(reference)
        if asked_for[reference] == 1 and reference.endswith("5"):
            return 503, b""
        return answer(*(row for row in rows if reference in ("", row["referenceUnique"])))

    polite = {"DOWNLOAD_DELAY": "0.001", "CONCURRENT_REQUESTS_PER_DOMAIN": "1"}
    done = crawl(serve(service), DAY, polite)
    assert done.status == 0, done.output
    assert done.counts["written"] == 20
    assert max(most) == 1


# What the user got wrong, and what the machine refuses.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "settings", "line"),
    [
        (
            {"form_date": "2024-01-01"},
            {},
            "scrapy crawl: [DECP-01] dume: unknown argument 'form_date'",
        ),
        (
            {"date": "2024-02-30"},
            {},
            "scrapy crawl: [DECP-01] dume: argument date='2024-02-30': not a date",
        ),
        (
            {"date_start": "2024-03-02", "date_end": "2024-03-01"},
            {},
            "scrapy crawl: [DECP-01] dume: argument date_end='2024-03-01' is before",
        ),
        (
            {"acheteur_id": "123"},
            {},
            "scrapy crawl: [DECP-01] dume: argument acheteur_id='123': not a SIRET",
        ),
        (
            {"type_de": "X"},
            {},
            "scrapy crawl: [DECP-01] dume: argument type_de='X': not a type of contract",
        ),
        ({}, {"DECP_FORMATS": "csv"}, "scrapy crawl: [DECP-01] DECP_FORMATS='csv': not known"),
        ({}, {"DECP_STRUCTURE": "x"}, "scrapy crawl: [DECP-01] DECP_STRUCTURE='x': not known"),
        (
            {},
            {"DECP_STRUCTURE": "plateforme"},
            "scrapy crawl: [DECP-01] DECP_PLATFORM_SIRET='': not a SIRET",
        ),
        ({}, {"DUME_FIELD_MAP": "/nowhere/names.toml"}, "scrapy crawl: [DUME-01] "),
        (
            {},
            {"RETRY_CEILING": "many"},
            "scrapy crawl: [DECP-01] RETRY_CEILING='many': not a number; give one, such as 2000",
        ),
        (
            {},
            {"ROBOTSTXT_OBEY": "oui"},
            "scrapy crawl: [DECP-01] ROBOTSTXT_OBEY='oui': not True or False",
        ),
    ],
)
def test_bad_arguments_and_settings_end_the_run_before_the_first_request(
    crawl: Callable[..., Any], arguments: dict[str, str], settings: dict[str, str], line: str
) -> None:
    done = crawl("http://127.0.0.1:9/", arguments, settings)
    assert done.status == 1
    assert line in done.output
    assert "Traceback" not in done.output
    assert done.run is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("DECP_FILES_URI", "[DECP-03]"),
        ("DECP_RUNS_DIR", "[DECP-03]"),
        ("DECP_STORE_URL", "[DECP-02]"),
    ],
)
def test_a_folder_that_cannot_be_written_is_one_line(
    crawl: Callable[..., Any], tmp_path: Path, setting: str, code: str
) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    place = str(tmp_path / "file" / "sub")
    value = f"sqlite:///{place}/store.sqlite" if setting == "DECP_STORE_URL" else place
    done = crawl("http://127.0.0.1:9/", DAY, {setting: value})
    assert done.status == 1, done.output
    assert done.output.count("Not a directory") >= 1
    assert f"ERROR: {code} " in done.output
    assert setting in done.output
    # As every run that failed it says so, and what to run when that is repaired.
    (outcome,) = re.findall(r"ERROR: \[DECP-10\] Run .*", done.output)
    assert outcome.endswith(f"scrapy crawl dume -a date={DAY['date']}")
    assert ("summary.json" in outcome) == (setting == "DECP_FILES_URI")
    assert "Traceback" not in done.output


@pytest.mark.slow
def test_a_full_disk_loses_nothing(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Any]
) -> None:
    """The files cannot grow beyond a limit (as on a full disk); afterwards they can."""
    sandbox = start_sandbox(
        *(
            "--records",
            300,
            "--seed",
            4,
            "--from",
            "2026-03-01",
            "--to",
            "2026-03-31",
            "--faulty",
            0,
        )
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    full = crawl(sandbox.url, MARCH, preexec_fn=limit)
    assert full.status == 1, full.output
    assert "Traceback" not in full.output
    again = crawl(sandbox.url, MARCH)
    assert again.status == 0, again.output
    check_balance(again)
    written = [record for path in again.files("*.json") for record in records_of(path)]
    assert len(written) == len({(json.dumps(r, sort_keys=True)) for r in written}) == 300
