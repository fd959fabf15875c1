"""Through which door a record leaves: what is decided of one reference, without a database.

A run starts from what stood before it (the *base* of a reference) and receives versions of
it in any order, in one batch or several. What it decides depends only on the base and on
the set of versions received so far, so it is decided again with each further version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, Self

import orjson

from dume_spider.decp.regime import BUYER_FIELD, ContractType, Regime
from dume_spider.decp.rules import duplicate_key
from dume_spider.decp.verdict import Problem, Repair
from dume_spider.decp.version import Rank, fingerprint, merge, rank


class Door(StrEnum):
    """How a row that was received leaves the run."""

    NEW = "new"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"

    __hash__ = str.__hash__  # as a key it is its text


OLDER = "older than the stored version"
REPLACED = "replaced by a newer version in this run"
TWICE = "the same as another row of this run"


def same_data(reference: str) -> str:
    """Why a record is superseded by the identical record of another reference."""
    return f"same contract data as reference {reference}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One version of a reference as received, valid and ready to be written.

    ``source`` is the service (``dume``, ``boamp``), ``reference`` its key, ``buyer`` the
    SIRET of the buyer. ``record`` is the DECP record as JSON, UTF-8, as it is to stand in
    files; ``raw`` the row as served, JSON. ``published`` is the record's publication date
    (``YYYY-MM-DD``), empty when it has none. ``received`` is the record's fingerprint,
    ``rank`` how new it is, ``fields`` the number of its fields; ``contract`` is the same for
    records that are one contract by the State's key (:func:`contract_of`). ``found`` says where
    it was found, in the spider's words; ``repairs`` and ``warnings`` are JSON lists, or ``None``.
    """

    source: str
    reference: str
    type: ContractType
    regime: Regime
    buyer: str
    record: bytes
    raw: bytes
    published: str
    received: bytes
    rank: Rank
    fields: int
    contract: bytes | None = None
    found: str | None = None
    repairs: str | None = None
    warnings: str | None = None

    @classmethod
    def of(
        cls,
        source: str,
        reference: str,
        type: ContractType,
        regime: Regime,
        record: dict[str, Any],
        raw: bytes,
        *,
        found: str | None = None,
        repairs: Sequence[Repair] = (),
        warnings: Sequence[Problem] = (),
    ) -> Self:
        """The candidate of a schema-valid ``record``.

        Raises :class:`ValueError` for a reference that no database can hold.
        """
        if not reference or plain(reference) != reference:
            raise ValueError(f"a reference that cannot be kept: {reference!r}")
        return cls(
            source=source,
            reference=reference,
            type=type,
            regime=regime,
            buyer=record[BUYER_FIELD[type]]["id"],
            record=orjson.dumps(record),
            raw=raw,
            published=(record.get("datePublicationDonnees") or "")[:10],
            received=fingerprint(record),
            rank=rank(record, type, regime),
            fields=len(record),
            contract=contract_of(record, type, regime),
            found=found,
            repairs=as_json([repair.as_dict() for repair in repairs]) if repairs else None,
            warnings=as_json([warning.as_dict() for warning in warnings]) if warnings else None,
        )


class Outcome(NamedTuple):
    """What became of one row given to the store.

    ``why`` is a sentence, empty for a door that needs none. ``moves`` says which doors that
    were given earlier in this run change, as (from, to): counts stay exact when 1 is added
    to ``door``, and for each move 1 is taken from the one and added to the other.
    """

    door: Door
    why: str = ""
    moves: tuple[tuple[Door, Door], ...] = ()


class Received(Protocol):
    """A version as received: a :class:`Candidate`, or a :class:`Version` of this run."""

    type: ContractType
    regime: Regime
    received: bytes
    rank: Rank
    fields: int


@dataclass(frozen=True, slots=True)
class Version:
    """A stored version. ``record`` and ``fingerprint`` are those after merging, what files
    hold; ``own_record`` and ``received`` are the same before."""

    number: int
    type: ContractType
    regime: Regime
    buyer: str
    published: str
    fingerprint: bytes
    received: bytes
    rank: Rank
    fields: int
    record: bytes
    own_record: bytes


class Settled(NamedTuple):
    """The newest of the versions, and the record to write: its own, or the base's, or merged."""

    best: Candidate | Version
    record: bytes
    fingerprint: bytes


def order(version: Received) -> tuple[Rank, int, bytes]:
    """A total order of the versions received in one run, so that one wins in any order of
    arrival: the newer, then the fuller, then by fingerprint, which is at least the same
    tomorrow."""
    return version.rank, version.fields, version.received


def is_eligible(version: Received, base: Received | None) -> bool:
    """Whether a version may take the place of what stood before the run.

    One that is as new may: it is a correction without a new date.
    """
    return base is None or version.rank >= base.rank or version.received == base.received


def settle(
    base: Version | None,
    versions: Iterable[Candidate | Version],
    known: Container[bytes] = (),
) -> Settled | None:
    """What a reference becomes, from its base and the versions received in this run.

    The newest eligible version wins, else the base stands. It takes over the modifications,
    acts and execution data that only the base or the other versions have: they are merged in
    the order of their age, so that a year harvested at once, by the day, or by the day and
    backwards gives the same. Those that are ``known`` (as received) from before the run are in
    the base already. ``None``: no version is eligible, and none adds to the base.
    """
    pool: dict[bytes, Candidate | Version] = {}
    older: dict[bytes, Candidate | Version] = {}
    for version in versions:
        (pool if is_eligible(version, base) else older).setdefault(version.received, version)
    best = max(pool.values(), key=order, default=base)
    if best is None:
        return None
    if base is not None and best.received == base.received:
        best = base
        stands = Settled(base, base.record, base.fingerprint)
    else:
        stands = Settled(best, _own(best), best.received)
    kind = best.type, best.regime

    def additions(versions: Iterable[Candidate | Version]) -> list[bytes]:
        return [
            _own(version)
            for version in sorted(versions, key=order)
            if version.received != best.received
            and version.received not in known
            # Of another format nothing can be taken over.
            and (version.type, version.regime) == kind
        ]

    parts = additions(older.values())
    if base is not None and best is not base and (base.type, base.regime) == kind:
        parts.append(base.record)
    parts += additions(pool.values())
    if parts:
        records = [orjson.loads(record) for record in (*parts, stands.record)]
        merged = records[0]
        for record in records[1:]:
            merged = merge(merged, record, *kind)
        if merged is not records[-1]:
            return Settled(best, orjson.dumps(merged), fingerprint(merged))
    return stands if pool else None


def _own(version: Candidate | Version) -> bytes:
    return version.own_record if isinstance(version, Version) else version.record


def contract_of(record: dict[str, Any], type: ContractType, regime: Regime) -> bytes | None:
    """What two references that are one contract by the State's key have in common, hashed;
    ``None`` for a record without such a key (:func:`~dume_spider.decp.rules.duplicate_key`)."""
    key = duplicate_key(record, type, regime)
    return None if key is None else hashlib.blake2b(key.encode(), digest_size=16).digest()


def plain(text: str) -> str:
    """A text that every database can hold: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def as_json(value: Any) -> str:
    """JSON text of what a raw row may hold, integers of any size and broken texts included."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value)
