"""A replica of the DUME service: what it answers to a request, without the network.

It follows what is known of the public door of the service (operation ``recupererDEV2``,
see ``dume_spider.dume.query``): the envelope, the exact filters, the cap without a word,
several rows of one reference, errors as messages of an answer with status 200. Where the
real service is not known it is strict, so that a slip of the client shows: an unknown
parameter is an error. The codes and texts of the errors are this replica's own.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from dume_spider.decp.regime import ContractType
from dume_spider.dume.query import CAP
from dume_spider.sandbox.rows import ServedRow
from dume_spider.sandbox.server import Answer, Asked

_OPERATION = "recupererDEV2"

#: Filters that compare a column of the rows.
_COLUMNS = ("typeDE", "nature", "procedure", "codeCPV")
#: The filter by buyer, which is also its name in a row; the winners in a row; their filter.
_PARTIES = {
    ContractType.MARCHE: ("idAcheteur", "titulaires", "idTitulaire"),
    ContractType.CONCESSION: ("idAutoriteConcedante", "concessionnaires", "idConcessionnaire"),
}
#: Filters that few rows match, so worth an index. Those of a type match its rows alone.
_INDEXED = (
    "referenceUnique",
    "id",
    *(name for buyer, _, winner in _PARTIES.values() for name in (buyer, winner)),
)
_DATES = ("dateDebutPublication", "dateFinPublication")
_ENVELOPE = ("operation", "plateforme", "idDemandeur", "rsDemandeur")
_PARAMETERS = frozenset((*_ENVELOPE, *_COLUMNS, *_INDEXED, *_DATES))

#: ``typeIdPlateforme`` -> shortest and longest ``idPlateforme`` (documented for V1).
_PLATFORM_ID_LENGTHS = {"1": (14, 14), "2": (1, 18), "3": (3, 18), "4": (9, 10), "5": (9, 9)}

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class Refusal(Exception):
    """A business error of the service: ``code`` and text of its message."""

    def __init__(self, code: str, text: str):
        super().__init__(text)
        self.code = code


class DumeReplica:
    """The rows and the answers of the service.

    ``rows`` may come in any order: they are answered by day, then in the order they came.
    They are kept encoded, in the order of their days, beside columns and indexes of what
    the filters compare; so an answer takes milliseconds whatever the number of rows.
    ``cap`` is the most rows of an answer.
    """

    path = address = "/dumes/donneesEssentielles"

    def __init__(self, rows: Iterable[ServedRow], cap: int = CAP):
        entries = sorted(map(_entry, rows), key=attrgetter("day"))
        self._days = [entry.day for entry in entries]
        self._encoded = [entry.encoded for entry in entries]
        self._columns = {
            name: [entry.values[at] for entry in entries] for at, name in enumerate(_COLUMNS)
        }
        self._indexes: dict[str, dict[str, list[int]]] = {name: {} for name in _INDEXED}
        for position, entry in enumerate(entries):
            for name, value in entry.keys:
                self._indexes[name].setdefault(value, []).append(position)
        self._cap = cap
        self._requests: Counter[str] = Counter(search=0, detail=0, refused=0)
        self._given: Counter[str] = Counter()

    def describe(self) -> dict[str, Any]:
        """What it holds: ``rows``, ``references``, and its ``days`` as ``[first, last]``."""
        return {
            "rows": len(self._encoded),
            "references": len(self._indexes["referenceUnique"]),
            "days": [date.fromordinal(self._days[at]).isoformat() for at in (0, -1) if self._days],
        }

    def answer(self, asked: Asked) -> Answer:
        """The service's answer to a request."""
        if asked.method != "POST":
            return Answer(405, b"", kind="refused", headers={"Allow": "POST"})
        if asked.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return Answer(415, b"", kind="refused")
        try:
            request = orjson.loads(asked.body)
        except ValueError:
            return Answer(400, b"", kind="refused")
        try:
            if asked.headers.get("x-api-version") != "2":
                raise Refusal("VERSION_API", "L'en-tête X-Api-Version doit valoir 2.")
            _check_envelope(request)
            found = self._find(request)
        except Refusal as refusal:
            message = {"type": "ERREUR", "code": refusal.code, "message": str(refusal)}
            content = {"response": {"messageList": [message], "donneesEssentielles": []}}
            return Answer(200, orjson.dumps(content), kind="refused")
        rows = b",".join(self._encoded[position] for position in found)
        reference = request.get("referenceUnique")
        return Answer(
            200,
            b'{"response":{"messageList":[],"donneesEssentielles":[%b]}}' % rows,
            kind="detail" if reference else "search",
            reference=reference,
        )

    def delivered(self, answer: Answer) -> None:
        """Count an answer that has been sent whole."""
        self._requests[answer.kind] += 1
        if answer.reference is not None:
            self._given[answer.reference] += 1

    def stats(self) -> dict[str, Any]:
        """Answers sent whole: ``requests`` by kind; ``references`` given more than once.

        The kinds are ``search``, ``detail`` (a request with ``referenceUnique``) and
        ``refused`` (an error of the client).
        """
        repeated = {name: count for name, count in self._given.items() if count > 1}
        return {"requests": dict(self._requests), "references": repeated}

    def references(self) -> dict[str, int]:
        """How many times each reference asked for has been given."""
        return dict(self._given)

    def _find(self, request: dict[str, Any]) -> Iterator[int]:
        """The positions of the rows that a request is answered with."""
        first, last = (_day(request, name) for name in _DATES)
        if first and last and first > last:
            raise Refusal("PERIODE", "La date de fin précède la date de début.")
        wanted = request.get("typeDE")
        if wanted is not None and wanted not in set(ContractType):
            raise Refusal("TYPE_DE", "typeDE doit valoir MP ou CC.")
        low = bisect_left(self._days, first.toordinal()) if first else 0
        high = bisect_right(self._days, last.toordinal()) if last else len(self._days)
        indexed = sorted(
            (self._indexes[name].get(request[name], []) for name in _INDEXED if request.get(name)),
            key=len,
        )
        found: Iterable[int] = range(low, high)
        if indexed:
            shortest, *others = indexed
            found = shortest[bisect_left(shortest, low) : bisect_left(shortest, high)]
            for other in map(frozenset, others):
                found = filter(other.__contains__, found)
        for name in _COLUMNS:
            if (value := request.get(name)) is not None:
                found = _equal(found, self._columns[name], value)
        return islice(found, self._cap)


def _equal(found: Iterable[int], column: Sequence[str | None], value: str) -> Iterator[int]:
    return (at for at in found if column[at] == value)


class _Entry(NamedTuple):
    """A row: the ordinal of its day, its values of ``_COLUMNS``, its places in ``_INDEXED``."""

    day: int
    values: tuple[str | None, ...]
    keys: tuple[tuple[str, str], ...]
    encoded: bytes


def _entry(served: ServedRow) -> _Entry:
    row = served.row
    type_, block = ContractType.MARCHE, row.get("donneesMP")
    if isinstance(row.get("donneesCC"), dict):
        type_, block = ContractType.CONCESSION, row["donneesCC"]
    if not isinstance(block, dict):
        block = {}
    buyer_filter, winners, winner_filter = _PARTIES[type_]
    keys = [("referenceUnique", served.reference)]
    for name, value in (("id", row.get("id")), (buyer_filter, block.get(buyer_filter))):
        if (text := _text(value)) is not None:
            keys.append((name, text))
    # A winner named twice is still one winner.
    keys += dict.fromkeys((winner_filter, name) for name in _party_ids(block.get(winners)))
    labels = (row.get("nature"), row.get("procedure"), block.get("codeCPV"))
    return _Entry(served.day.toordinal(), (type_, *map(_text, labels)), tuple(keys), encode(row))


def _text(value: object) -> str | None:
    """A value as a filter would name it; ``None`` where no filter can match it."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _party_ids(parties: object) -> Iterator[str]:
    """The identifiers of the winners, however they are nested."""
    if isinstance(parties, list):
        for party in parties:
            yield from _party_ids(party)
    elif isinstance(parties, dict):
        if (text := _text(parties.get("id"))) is not None:
            yield text
        for value in parties.values():
            if isinstance(value, list | dict):
                yield from _party_ids(value)


def encode(row: dict[str, Any]) -> bytes:
    """A row as JSON, lone surrogates and huge integers (which orjson refuses) included."""
    try:
        # The copy is as large as the text; orjson's own object keeps some 8 kB.
        return bytes(memoryview(orjson.dumps(row)))
    except TypeError:
        return json.dumps(row).encode()


def _check_envelope(request: object) -> None:
    if not isinstance(request, dict):
        raise Refusal("ENVELOPPE", "Le corps de la requête doit être un objet JSON.")
    if request.get("operation") != _OPERATION:
        raise Refusal("OPERATION", f"operation doit valoir {_OPERATION}.")
    platform = request.get("plateforme")
    if not isinstance(platform, dict):
        raise Refusal("ENVELOPPE", "plateforme est obligatoire.")
    kind = platform.get("typeIdPlateforme", "1")
    if str(kind) not in _PLATFORM_ID_LENGTHS:
        raise Refusal("ENVELOPPE", "typeIdPlateforme doit être compris entre 1 et 5.")
    _check_text(platform, "idPlateforme", *_PLATFORM_ID_LENGTHS[str(kind)])
    _check_text(platform, "idTechniquePlateforme", 1, None)
    _check_text(request, "idDemandeur", 1, 18)
    _check_text(request, "rsDemandeur", 1, 100)
    for name, value in request.items():
        if name not in _PARAMETERS:
            raise Refusal("PARAMETRE", f"Le paramètre {name} est inconnu.")
        if name in _ENVELOPE or value is None:
            continue
        if not isinstance(value, str) or not value:
            raise Refusal("PARAMETRE", f"Le paramètre {name} doit être un texte non vide.")


def _check_text(holder: dict[str, Any], name: str, shortest: int, longest: int | None) -> None:
    value = holder.get(name)
    if not isinstance(value, str) or len(value) < shortest:
        raise Refusal("ENVELOPPE", f"{name} est obligatoire ({shortest} caractères au moins).")
    if longest is not None and len(value) > longest:
        raise Refusal("ENVELOPPE", f"{name} dépasse {longest} caractères.")


def _day(request: dict[str, Any], name: str) -> date | None:
    text = request.get(name)
    if text is None:
        return None
    try:
        if not _DAY.fullmatch(text):
            raise ValueError(text)
        return date.fromisoformat(text)
    except ValueError:
        raise Refusal("DATE", f"{name} doit être une date au format AAAA-MM-JJ.") from None
