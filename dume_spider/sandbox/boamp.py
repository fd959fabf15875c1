"""A replica of the BOAMP API (Opendatasoft Explore v2.1): what it answers to a request.

It follows what is known of the service: records with ``where``, ``select``, ``order_by``,
``limit`` and ``offset`` within its bounds, ``total_count``, the description of the data set, the
errors with ``error_code`` and ``message``, daily quotas with their headers and their body, and
the robots.txt of the portal. Where the service is not known it is strict, so that a slip of the
client shows: an unknown parameter is an error (but for ``q``, which is ignored, as seen).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any

import orjson

from dume_spider.boamp.notice import COLUMNS
from dume_spider.boamp.query import MAX_ROWS, PAGE
from dume_spider.sandbox.odsql import Condition, OdsqlError, parse
from dume_spider.sandbox.server import Answer, Asked

_API = "/api/explore/v2.1"
_DATASET = f"{_API}/catalog/datasets/boamp"
_ROBOTS = b"User-agent: *\nDisallow: /api/\n"

#: The types of the columns in the description of the data set; the rest are texts.
_TYPES = {"day": "date", "time": "datetime"}
_DEFAULT_LIMIT = 10
_PARAMETERS = ("where", "select", "order_by", "limit", "offset")
#: Accepted and without effect (seen).
_IGNORED = ("q",)

#: What is decoded only when it is asked for: it is large.
_HEAVY = ("gestion", "donnees")


class _Refusal(Exception):
    """A request that the service refuses: status, ``error_code`` and message."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status = status
        self.code = code


class _Stored:
    """A record: its columns but the large ones, and the whole of it as JSON."""

    __slots__ = ("_light", "encoded")

    def __init__(self, row: Mapping[str, Any]):
        self._light = {name: value for name, value in row.items() if name not in _HEAVY}
        self.encoded = orjson.dumps(row)

    def value(self, column: str) -> Any:
        if column in _HEAVY:
            return orjson.loads(self.encoded).get(column)
        return self._light.get(column)


class BoampReplica:
    """The records and the answers of the service.

    ``rows`` may come in any order. ``quota`` is how many requests of the API are answered
    before the daily quota is used up; ``None``: there is none.
    """

    path = "/"
    address = _API

    def __init__(self, rows: Iterable[Mapping[str, Any]], quota: int | None = None):
        ordered = sorted((str(r.get("dateparution") or ""), str(r.get("idweb")), r) for r in rows)
        self._rows = [_Stored(row) for _, _, row in ordered]
        self._days = [day for day, _, _ in ordered]
        self._columns = tuple(dict.fromkeys((*COLUMNS, *(k for *_, r in ordered for k in r))))
        self._by_idweb: dict[str, list[int]] = {}
        for at, (_, idweb, _) in enumerate(ordered):
            self._by_idweb.setdefault(idweb, []).append(at)
        self._quota = quota
        self._asked = 0
        self._requests: Counter[str] = Counter(search=0, detail=0, dataset=0, refused=0, quota=0)
        self._given: Counter[str] = Counter()
        # The pages of a search come one after the other.
        self._found = lru_cache(maxsize=64)(self._find)

    def describe(self) -> dict[str, Any]:
        """What it holds: ``rows``, and its ``days`` as ``[first, last]``."""
        return {
            "rows": len(self._rows),
            "days": [self._days[at] for at in (0, -1) if self._days],
        }

    def answer(self, asked: Asked) -> Answer:
        """The service's answer to a request."""
        if asked.path == "/robots.txt":
            return Answer(200, _ROBOTS, kind="robots", headers={"Content-Type": "text/plain"})
        if asked.method != "GET":
            return Answer(405, b"", kind="refused", headers={"Allow": "GET"})
        headers = self._count()
        if self._quota is not None and self._asked > self._quota:
            body = {
                "errorcode": 10005,
                "error": "Too many requests on the domain for anonymous users.",
                "reset_time": _midnight().isoformat(),
                "limit_time_unit": "day",
                "call_limit": self._quota,
            }
            return Answer(429, orjson.dumps(body), kind="quota", headers=headers)
        try:
            if asked.path == _DATASET:
                return Answer(200, self._description(), kind="dataset", headers=headers)
            if asked.path != f"{_DATASET}/records":
                raise _Refusal(404, "NotFound", f"Nothing is at {asked.path}")
            return self._records(asked.query, headers)
        except _Refusal as refusal:
            body = {"error_code": refusal.code, "message": str(refusal)}
            return Answer(refusal.status, orjson.dumps(body), kind="refused", headers=headers)

    def delivered(self, answer: Answer) -> None:
        """Count an answer that has been sent whole."""
        self._requests[answer.kind] += 1
        if answer.reference is not None:
            self._given.update(answer.reference.split())

    def stats(self) -> dict[str, Any]:
        """Answers sent whole: ``requests`` by kind; ``references`` given more than once.

        The kinds are ``search``, ``detail`` (by ``idweb``), ``dataset``, ``robots``,
        ``refused`` (an error of the client) and ``quota`` (refused, the quota is used up).
        """
        repeated = {name: count for name, count in self._given.items() if count > 1}
        return {"requests": dict(self._requests), "references": repeated}

    def references(self) -> dict[str, int]:
        """How many times each notice asked for has been given."""
        return dict(self._given)

    def _count(self) -> dict[str, str]:
        """Count a request of the API; the headers that speak of the quota."""
        self._asked += 1
        if self._quota is None:
            return {}
        return {
            "X-RateLimit-Limit": str(self._quota),
            "X-RateLimit-Remaining": str(max(self._quota - self._asked, 0)),
            "X-RateLimit-Reset": str(int(_midnight().timestamp())),
        }

    def _description(self) -> bytes:
        fields = [
            {
                "name": name,
                "label": name,
                "type": _TYPES.get(COLUMNS.get(name, ""), "text"),
                "description": None,
                "annotations": {"multivalued": []} if COLUMNS.get(name) == "list" else {},
            }
            for name in self._columns
        ]
        metas = {"default": {"title": "BOAMP", "records_count": len(self._rows)}}
        return orjson.dumps({"dataset_id": "boamp", "fields": fields, "metas": metas})

    def _records(self, query: Mapping[str, list[str]], headers: Mapping[str, str]) -> Answer:
        for name in query:
            if name not in (*_PARAMETERS, *_IGNORED):
                raise _invalid(f"Unknown parameter: {name}.")
        given = {name: values[-1] for name, values in query.items()}
        limit = _number(given, "limit", _DEFAULT_LIMIT, -1, PAGE)
        offset = _number(given, "offset", 0, 0, MAX_ROWS)
        limit = PAGE if limit == -1 else limit
        if offset + limit > MAX_ROWS:
            raise _invalid(
                f"Invalid value for offset API parameter: offset + limit should be less than or "
                f"equal to {MAX_ROWS}."
            )
        condition = self._condition(given.get("where", ""))
        idwebs = condition.needs.get("idweb") if condition else None
        found = self._found(given.get("where", ""), given.get("order_by", ""))
        names = self._selected(given.get("select", ""))
        rows = b",".join(self._encode(at, names) for at in found[offset : offset + limit])
        return Answer(
            200,
            b'{"total_count":%d,"results":[%b]}' % (len(found), rows),
            kind="detail" if idwebs else "search",
            reference=" ".join(map(str, idwebs)) if idwebs else None,
            headers=headers,
        )

    def _condition(self, where: str) -> Condition | None:
        try:
            return parse(where, self._columns) if where.strip() else None
        except OdsqlError as error:
            raise _Refusal(400, "ODSQLSyntaxError", str(error)) from error

    def _find(self, where: str, order_by: str) -> Sequence[int]:
        """The positions of the records of a search, in its order."""
        condition = self._condition(where)
        found: Iterable[int] = range(len(self._rows))
        if condition is not None:
            if (idwebs := condition.needs.get("idweb")) is not None:
                found = [at for name in set(idwebs) for at in self._by_idweb.get(name, ())]
            elif (days := condition.needs.get("dateparution")) and isinstance(days[0], str):
                low = bisect_left(self._days, min(map(str, days)))
                high = bisect_left(self._days, f"{max(map(str, days))}~")
                found = range(low, high)
            found = [at for at in found if condition.test(self._rows[at])]
        return self._ordered(list(found), order_by)

    def _ordered(self, found: list[int], order_by: str) -> list[int]:
        found.sort()
        for part in reversed([part.split() for part in order_by.split(",") if part.strip()]):
            name, *direction = part
            if name not in self._columns or direction not in ([], ["asc"], ["desc"]):
                raise _Refusal(400, "ODSQLSyntaxError", f"Unknown order: {order_by}.")
            keyed = [(_order(self._rows[at].value(name)), at) for at in found]
            keyed.sort(key=itemgetter(0), reverse=direction == ["desc"])
            found = [at for _, at in keyed]
        return found

    def _selected(self, select: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in select.split(",") if name.strip())
        for name in names:
            if name not in self._columns:
                raise _Refusal(
                    400,
                    "ODSQLSyntaxError",
                    f"Unknown field: {name}. Clause(s) containing the error(s): select.",
                )
        return names

    def _encode(self, at: int, names: tuple[str, ...]) -> bytes:
        row = self._rows[at]
        if not names:
            return row.encoded
        return orjson.dumps({name: row.value(name) for name in names})


def _order(value: Any) -> tuple[bool, str]:
    """Null comes last, whatever the type of the column."""
    return value is None, str(value)


def _number(given: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name, str(default))
    if not text.lstrip("-").isdecimal() or not least <= int(text) <= most:
        raise _invalid(
            f"Invalid value for {name} API parameter: {text} was found but {least} <= {name} <= "
            f"{most} is expected."
        )
    return int(text)


def _invalid(message: str) -> _Refusal:
    return _Refusal(400, "InvalidRESTParameterError", message)


def _midnight() -> datetime:
    """When quotas start anew."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), UTC)
