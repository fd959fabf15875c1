"""The replica of the BOAMP API: conditions, bounds, errors, quotas, and its records."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from dume_spider.boamp.notice import read_notice
from dume_spider.sandbox.boamp import BoampReplica
from dume_spider.sandbox.boamp_rows import generate_notices, read_notices
from dume_spider.sandbox.generator import generated_buyers
from dume_spider.sandbox.odsql import OdsqlError, parse
from dume_spider.sandbox.rows import DataFileError
from dume_spider.sandbox.server import Asked

ROWS = [
    {"idweb": "26-1", "dateparution": "2026-09-01", "objet": "École «Jean»", "famille": "FNS"},
    {"idweb": "26-10", "dateparution": "2026-09-02", "code_departement": ["01", "69"]},
    {
        "idweb": "26-9",
        "dateparution": "2026-09-02",
        "code_departement": [],
        "donnees": '{"clef":1}',
    },
    {"idweb": "26-2", "dateparution": None, "objet": "Toit", "famille": None},
]
DATASET = "/api/explore/v2.1/catalog/datasets/boamp"


def ask(replica: BoampReplica, path: str = f"{DATASET}/records", method: str = "GET", **query: Any):
    given = {name: [str(value)] for name, value in query.items()}
    answer = replica.answer(Asked(method, path, given, {}, b""))
    replica.delivered(answer)
    return answer


def found(where: str, **more: Any) -> list[str]:
    answer = ask(BoampReplica(ROWS), where=where, **more)
    assert answer.status == 200, answer.body
    return [row["idweb"] for row in orjson.loads(answer.body)["results"]]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", ["26-2", "26-1", "26-10", "26-9"]),
        ("dateparution >= date'2026-09-02'", ["26-10", "26-9"]),
        ("dateparution < '2026-09-02'", ["26-1"]),
        ("dateparution = date'2026-09-01'", ["26-1"]),
        ('idweb = "26-1"', ["26-1"]),
        ('(idweb = "26-1" or idweb = "26-9" or idweb = "none")', ["26-1", "26-9"]),
        ('(idweb = "26-1" or idweb = "26-9") and famille="JOUE"', []),
        ('idweb = "26-1" or objet = "Toit"', ["26-2", "26-1"]),
        ('code_departement = "69"', ["26-10"]),
        ('code_departement = "02" or code_departement = "01"', ["26-10"]),
        ("code_departement is null", ["26-2", "26-1", "26-9"]),
        ("code_departement IS NOT NULL", ["26-10"]),
        ("not (code_departement = '01')", ["26-2", "26-1", "26-9"]),
        ("famille != 'FNS'", []),
        ('famille = "FNS" or objet = "Toit"', ["26-2", "26-1"]),
        ('famille = "FNS" and objet = "Toit" or 1=1', ["26-2", "26-1", "26-10", "26-9"]),
        ('(famille = "FNS" and (objet = "Toit" or 1 = 1))', ["26-1"]),
        ('search(objet, "école")', ["26-1"]),
        ('search(objet, donnees, "CLEF")', ["26-9"]),
        ('search("toit")', ["26-2"]),
        ('objet like "JEAN"', ["26-1"]),
        ('search(objet, "…")', []),
        ("'a' = 'a' and true = true", ["26-2", "26-1", "26-10", "26-9"]),
    ],
)
def test_conditions(where: str, expected: list[str]) -> None:
    assert found(where) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("nature (", "Unknown field: nature"),
        ("objet (", "unexpected ( at position 6 in objet ("),
        ("objet = 'a", "unexpected ' at position 8 in objet = 'a"),
        ('objet = "a\nb"', 'unexpected " at position 8'),
        ('objet = "\\"', 'unexpected " at position 8'),
        ("objet in ('a', 'b')", "unexpected in at position 6"),
        ("objet not in ('a')", "unexpected not at position 6"),
        ("objet not like 'a'", "unexpected not at position 6"),
        ("objet = 'a') or ('a'='a'", "unexpected ) at position 11"),
        ("objet =", "unexpected end of query at position 7"),
        ("objet is 5", "unexpected 5 at position 9"),
        ("search(objet, 5)", "unexpected 5 at position 14"),
        ("= 5", "unexpected = at position 0"),
        ("and", "unexpected and at position 0"),
    ],
)
def test_conditions_that_are_refused(where: str, message: str) -> None:
    columns = ("objet", "idweb")
    with pytest.raises(OdsqlError) as caught:
        parse(where, columns)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(". Clause(s) containing the error(s): where.")


def test_pages_and_orders() -> None:
    assert found("", limit=2) == ["26-2", "26-1"]
    assert found("", limit=2, offset=3, order_by="dateparution,idweb") == ["26-2"]
    assert found("", order_by="dateparution,idweb") == ["26-1", "26-10", "26-9", "26-2"]
    assert found("", order_by="dateparution desc, idweb desc", limit=3) == ["26-2", "26-9", "26-10"]
    answer = ask(BoampReplica(ROWS), select="idweb, dateparution", limit=1)
    assert orjson.loads(answer.body) == {
        "total_count": 4,
        "results": [{"idweb": "26-2", "dateparution": None}],
    }
    many = BoampReplica({"idweb": f"26-{n}", "dateparution": "2026-09-01"} for n in range(120))
    assert len(orjson.loads(ask(many).body)["results"]) == 10
    assert len(orjson.loads(ask(many, limit=-1).body)["results"]) == 100


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ({"limit": 101}, "InvalidRESTParameterError", "Invalid value for limit API parameter: 101"),
        ({"limit": "x"}, "InvalidRESTParameterError", "Invalid value for limit API parameter: x"),
        ({"offset": -1}, "InvalidRESTParameterError", "Invalid value for offset API parameter: -1"),
        ({"offset": 9_901, "limit": 100}, "InvalidRESTParameterError", "Invalid value for offset"),
        ({"refine": "a:b"}, "InvalidRESTParameterError", "Unknown parameter: refine."),
        ({"select": "siret"}, "ODSQLSyntaxError", "Unknown field: siret"),
        ({"order_by": "siret"}, "ODSQLSyntaxError", "Unknown order: siret."),
        ({"where": "("}, "ODSQLSyntaxError", "unexpected end of query at position 1"),
    ],
)
def test_what_is_refused(query: dict[str, Any], code: str, message: str) -> None:
    replica = BoampReplica(ROWS)
    answer = ask(replica, **query)
    error = orjson.loads(answer.body)
    assert (answer.status, error["error_code"]) == (400, code)
    assert error["message"].startswith(message)
    assert replica.stats()["requests"]["refused"] == 1


def test_the_last_reachable_page() -> None:
    assert ask(BoampReplica(ROWS), offset=9_900, limit=100).status == 200
    assert ask(BoampReplica(ROWS), q="ignored, as seen").status == 200


def test_other_addresses() -> None:
    replica = BoampReplica([{**ROWS[0], "siret": "1"}])
    description = orjson.loads(ask(replica, DATASET).body)
    fields = {field["name"]: field["type"] for field in description["fields"]}
    assert fields["idweb"] == fields["siret"] == "text"
    assert fields["dateparution"] == "date"
    assert ask(replica, "/api/explore/v2.1/catalog/datasets/other").status == 404
    assert ask(replica, method="POST").status == 405
    robots = ask(replica, "/robots.txt")
    assert robots.body == b"User-agent: *\nDisallow: /api/\n"
    assert robots.headers == {"Content-Type": "text/plain"}


def test_a_quota_of_the_day() -> None:
    replica = BoampReplica(ROWS, quota=2)
    first, second, third = (ask(replica) for _ in range(3))
    assert [a.headers["X-RateLimit-Remaining"] for a in (first, second, third)] == ["1", "0", "0"]
    assert (first.status, second.status, third.status) == (200, 200, 429)
    body = orjson.loads(third.body)
    assert (body["errorcode"], body["call_limit"], body["limit_time_unit"]) == (10005, 2, "day")
    # robots.txt is no request of the API.
    assert ask(replica, "/robots.txt").status == 200
    assert replica.stats()["requests"] == {
        "search": 2,
        "detail": 0,
        "dataset": 0,
        "refused": 0,
        "quota": 1,
        "robots": 1,
    }


def test_what_was_given_is_counted() -> None:
    replica = BoampReplica(ROWS)
    for where in ("idweb = '26-1'", "idweb = '26-1' or idweb = '26-9'", "famille = 'FNS'"):
        ask(replica, where=where)
    assert replica.references() == {"26-1": 2, "26-9": 1}
    assert replica.stats()["references"] == {"26-1": 2}


def test_generated_notices_of_given_buyers() -> None:
    """Two thirds of the buyers; the rest is the same."""
    first, last = date(2026, 9, 7), date(2026, 9, 20)
    known = generated_buyers(2000, 1, first, last)
    assert len(set(known)) == 100
    mine, other = (list(generate_notices(300, 1, first, last, buyers)) for buyers in (known, ()))
    assert [row["objet"] for row in mine] == [row["objet"] for row in other]
    sirets = {
        identifier["value"]
        for row in mine
        for award in read_notice(row).notice["awards"]
        for buyer in award["buyers"]
        for identifier in buyer["identifiers"]
    }
    assert {siret for siret in sirets if siret in known} <= set(known[:40])
    assert 10 < len(sirets & set(known)) > len(sirets - set(known)) > 0


def test_generated_notices_are_of_every_kind() -> None:
    first, last = date(2026, 9, 7), date(2026, 9, 20)
    rows = list(generate_notices(800, 3, first, last))
    assert rows == list(generate_notices(800, 3, first, last))
    assert rows != list(generate_notices(800, 4, first, last))
    days = [row["dateparution"] for row in rows]
    assert days == sorted(days)
    assert len(set(days)) == 14
    assert len({row["idweb"] for row in rows}) == 800
    notices = [read_notice(row) for row in rows]
    # The reader knows all that is in them.
    assert [n for n in notices if n.problems or n.warnings] == []
    kinds = Counter(n.notice["payload_kind"] for n in notices)
    assert kinds.keys() == {"eforms", "fnsimple", "mapa", "dsp", "v230"}
    assert kinds["eforms"] > kinds["fnsimple"] > kinds["mapa"] > kinds["dsp"]
    awarded = Counter(n.notice["payload_kind"] for n in notices if n.notice["awards"])
    assert awarded.keys() == kinds.keys()
    actions = {link["action"] for n in notices for link in n.notice["links"]}
    assert actions == {None, "corrects", "cancels", "modifies"}
    known = {row["idweb"] for row in rows}
    assert {i for row in rows for i in row["annonce_lie"] or ()} <= known


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON: "),
        ("5", "is not a list of records, nor an answer of the API"),
        ('{"results": 5}', "is not a list of records, nor an answer of the API"),
        ("[5]", "is not a list of records, nor an answer of the API"),
    ],
)
def test_files_without_records(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(content)
    with pytest.raises(DataFileError) as caught:
        read_notices(path)
    assert str(caught.value).startswith(f"{path} {message}")
    with pytest.raises(DataFileError, match="cannot be read: No such file or directory"):
        read_notices(tmp_path / "none.json")


def test_a_file_of_records_over_http(tmp_path: Path, start_sandbox: Callable[..., Any]) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"total_count": 4, "results": ROWS}))
    sandbox = start_sandbox(
        *("--records", 0, "--boamp-port", 0, "--boamp-file", path, "--boamp-quota", 2)
    )
    ready = sandbox.ready
    assert (ready["boamp_rows"], ready["boamp_days"]) == (4, ["", "2026-09-02"])
    records = f"{ready['boamp']}/catalog/datasets/boamp/records"

    def get(url: str) -> Any:
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)

    where = urlencode({"where": 'objet = "École «Jean»"'})
    assert get(f"{records}?{where}") == {"total_count": 1, "results": [ROWS[0]]}
    assert get(f"{records}?limit=0") == {"total_count": 4, "results": []}
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(records)
    with caught.value as error:
        assert error.code == 429
    assert get(ready["boamp_stats"])["requests"] == {
        "search": 2,
        "detail": 0,
        "dataset": 0,
        "refused": 0,
        "quota": 1,
    }
