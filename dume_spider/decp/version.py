"""Versions of one record: which of two is the newer, and what the newer one takes over.

A published record is never rewritten: what happens to the contract later is added to its
lists of modifications, sub-contracting acts and yearly execution data, and the service
serves the whole record again. A reference therefore comes back in several versions.
Source: titles of the official schemas (modifications, actesSousTraitance,
donneesExecution); the DUME service's description of updates.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from dume_spider.decp.regime import ContractType, Regime

Record = dict[str, Any]


class Rank(NamedTuple):
    """How new a version is; the greater, the newer.

    ``additions`` is the number of entries in the lists that grow (modifications, acts,
    modifications of acts, execution data), ``latest`` the latest of the publication dates
    in the record (``YYYY-MM-DD``), empty when it has none.
    """

    additions: int
    latest: str


class _Growing(NamedTuple):
    """A list of the format that only ever grows, and what tells its entries apart.

    ``wrapper`` is the single key around each entry in the 2022 regime, ``published`` the
    entry's publication date, ``key`` the fields that identify an entry within its record,
    ``order`` those by which entries are sorted.
    """

    field: str
    wrapper: str | None
    published: str
    key: tuple[str, ...]
    order: tuple[str, ...]


_MODIFICATION_DATE = {
    ContractType.MARCHE: "dateNotificationModification",
    ContractType.CONCESSION: "dateSignatureModification",
}


def _growing_lists(type: ContractType, regime: Regime) -> tuple[_Growing, ...]:
    day, published = _MODIFICATION_DATE[type], "datePublicationDonneesModification"
    executed = "datePublicationDonneesExecution"
    if regime is Regime.R2019:
        key = (day, published, "objetModification")
        modifications = _Growing("modifications", None, published, key, key[:2])
        execution = _Growing("donneesExecution", None, executed, (executed,), (executed,))
    else:
        modifications = _Growing("modifications", "modification", published, ("id",), ("id",))
        execution = _Growing(
            "donneesExecution", "donneesAnnuelles", executed, (executed,), (executed,)
        )
    if type is ContractType.CONCESSION:
        return modifications, execution
    if regime is Regime.R2019:
        return (modifications,)
    acts = _Growing(
        "actesSousTraitance", "acteSousTraitance", "datePublicationDonnees", ("id",), ("id",)
    )
    # The id of a modification of an act is the act's (XSD 2.0.2): an act modified twice has
    # two entries of one id, told apart by their date.
    dated = ("id", "dateNotificationModificationSousTraitance")
    modified_acts = _Growing(
        "modificationsActesSousTraitance",
        "modificationActeSousTraitance",
        "datePublicationDonnees",
        dated,
        dated,
    )
    return modifications, acts, modified_acts


_GROWING = {
    (type, regime): _growing_lists(type, regime) for type in ContractType for regime in Regime
}


def _entries(record: Record, growing: _Growing) -> list[Any]:
    entries = record.get(growing.field)
    return entries if isinstance(entries, list) else []


def _values(entry: object, growing: _Growing, names: Iterable[str]) -> list[Any]:
    """The named values of an entry; ``None`` for those it lacks.

    The schemas let odd entries pass (a text in the place of an object): these have none.
    """
    if growing.wrapper and isinstance(entry, dict):
        entry = entry.get(growing.wrapper)
    return [entry.get(name) if isinstance(entry, dict) else None for name in names]


def modifications_of(record: Record, type: ContractType, regime: Regime) -> list[Record]:
    """The modifications of a schema-valid record, in the order in which they were made.

    That of their ids, or, in the 2019 regime, of their dates: the lists of the services have
    no order that is known. Entries that are no objects are left out.
    """
    growing = _GROWING[type, regime][0]
    entries = sorted(
        _entries(record, growing),
        key=lambda entry: _sort_key(_values(entry, growing, growing.order)),
    )
    bare = (entry[growing.wrapper] if growing.wrapper else entry for entry in entries)
    return [entry for entry in bare if isinstance(entry, dict)]


def rank(record: Record, type: ContractType, regime: Regime) -> Rank:
    """The rank of a schema-valid DECP record of ``type`` and ``regime``."""
    additions = 0
    dates = [record.get("datePublicationDonnees")]
    for growing in _GROWING[type, regime]:
        entries = _entries(record, growing)
        additions += len(entries)
        for entry in entries:
            dates += _values(entry, growing, [growing.published])
    return Rank(additions, max((d[:10] for d in dates if isinstance(d, str)), default=""))


#: What a whole float may look like in JSON text (``12.0``: orjson writes an exponent only where
#: a float is beyond `_EXACT`); it also matches other text, which then only costs a walk.
_MAYBE_WHOLE_FLOAT = re.compile(rb"[:\[,]-?[0-9]+\.0")

#: Beyond it a float does not name one integer any more.
_EXACT = 2**53


def _whole_floats_as_integers(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if abs(value) <= _EXACT and value.is_integer() else value
    if isinstance(value, dict):
        return {key: _whole_floats_as_integers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_floats_as_integers(item) for item in value]
    return value


def fingerprint(record: Record) -> bytes:
    """16 bytes that are the same for records that hold the same JSON values.

    The order of keys does not count, and ``12.0`` is ``12``. BLAKE2b, 128 bits, over the
    record as JSON with sorted keys.
    """
    data = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    if b".0" in data and _MAYBE_WHOLE_FLOAT.search(data):
        data = orjson.dumps(_whole_floats_as_integers(record), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(data, digest_size=16).digest()


def _sort_key(values: list[Any]) -> list[tuple[int, Any]]:
    """A total order over what a field may hold: absent, then numbers, then texts."""
    return [
        (0, 0) if value is None else (2, value) if isinstance(value, str) else (1, value)
        for value in values
    ]


def merge(old: Record, new: Record, type: ContractType, regime: Regime) -> Record:
    """``new`` with the entries of ``old`` that it lacks, sorted; ``new`` itself if it lacks none.

    Both are schema-valid records of ``type`` and ``regime``; neither is changed. Entries
    are the same when they have the same identity: the ``id`` for modifications and acts of
    the 2022 regime, ``id`` and date for modifications of acts, both dates and the objet for
    modifications of the 2019 regime (they have no id), the publication date for execution
    data. Of two same entries, that of ``new`` stands.
    """
    merged = new
    for growing in _GROWING[type, regime]:
        entries = _entries(new, growing)
        known = {repr(_values(entry, growing, growing.key)) for entry in entries}
        lacking = [
            entry
            for entry in _entries(old, growing)
            if repr(_values(entry, growing, growing.key)) not in known
        ]
        if lacking:
            whole = sorted(
                lacking + entries,
                key=lambda entry, g=growing: _sort_key(_values(entry, g, g.order)),
            )
            merged = {**merged, growing.field: whole}
    return merged
