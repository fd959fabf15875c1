"""From DECP records to rows of the DUME service: *real values in an assumed shape*.

Nobody has published a raw V2 answer. The values of a row made here are those of the
record; its shape is the one that two public consumers of the service and the notes on
its V1 answers let us assume. Names of the service are used where one is known; the
considerations, the sub-contracting acts and the execution data, whose names are not
known, keep those of the DECP format, in the block of the contract's type. Any figure
that rests on these rows should say so.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.exceptions import DumeSpiderError

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
#: Seven base-36 characters, after the one that tells who gave the reference.
REFERENCES = 36**7

_ROW_FIELDS = (
    "id",
    "objet",
    "nature",
    "procedure",
    "dureeMois",
    "datePublicationDonnees",
    "modifications",
)

#: DECP field -> name in the block, for the fields that move as they are.
_BLOCK_FIELDS = {
    ContractType.MARCHE: {
        "codeCPV": "codeCPV",
        "idAccordCadre": "idAccordCadre",
        "dateNotification": "dateNotification",
        "marcheInnovant": "marchesInnovant",
        "attributionAvance": "attributionAvance",
        "tauxAvance": "tauxAvance",
        "sousTraitanceDeclaree": "sousTraitanceDeclaree",
        "actesSousTraitance": "actesSousTraitance",
        "modificationsActesSousTraitance": "modificationsActesSousTraitance",
        "origineUE": "origineUE",
        "origineFrance": "origineFrance",
        "ccag": "ccag",
        "formePrix": "formePrix",
        "typeGroupementOperateurs": "typeGroupementOperateurs",
        "offresRecues": "offresRecues",
        "montant": "montant",
        "titulaires": "titulaires",
    },
    ContractType.CONCESSION: {
        "concessionnaires": "concessionnaires",
        "dateSignature": "dateSignature",
        "dateDebutExecution": "dateDebutExecution",
        "valeurGlobale": "valeurGlobale",
        "montantSubventionPublique": "montantSubventions",
        "donneesExecution": "donneesExecution",
    },
}

#: DECP object holding one list -> (the list's name there, name in the block).
_LIST_FIELDS = {
    ContractType.MARCHE: {
        "techniques": ("technique", "technique"),
        "modalitesExecution": ("modaliteExecution", "modaliteExecution"),
        "typesPrix": ("typePrix", "typePrix"),
    },
    ContractType.CONCESSION: {},
}
for _fields in _LIST_FIELDS.values():
    _fields["considerationsSociales"] = ("considerationSociale", "considerationsSociales")
    _fields["considerationsEnvironnementales"] = (
        "considerationEnvironnementale",
        "considerationsEnvironnementales",
    )

#: DECP object -> {its key: name in the block, whether a record without it has a null there}.
_OBJECT_FIELDS = {
    ContractType.MARCHE: {
        "acheteur": {"id": ("idAcheteur", True), "nom": ("nomAcheteur", False)},
        "lieuExecution": {
            "code": ("lieuExecutionCode", True),
            "typeCode": ("lieuExecutionTypeCode", True),
            "nom": ("lieuExecutionNom", False),
        },
    },
    ContractType.CONCESSION: {
        "autoriteConcedante": {
            "id": ("idAutoriteConcedante", True),
            "nom": ("nomAutoriteConcedante", False),
        },
        # Only in the format of 2019.
        "lieuExecution": {
            "code": ("lieuExecutionCode", False),
            "typeCode": ("lieuExecutionTypeCode", False),
            "nom": ("lieuExecutionNom", False),
        },
    },
}

#: The single keys around each item of a list in the format of 2022; rows have bare items.
_WRAPPERS = frozenset(
    {
        "titulaire",
        "concessionnaire",
        "modification",
        "acteSousTraitance",
        "modificationActeSousTraitance",
        "donneesAnnuelles",
        "tarif",
    }
)

_BLOCKS = {ContractType.MARCHE: "donneesMP", ContractType.CONCESSION: "donneesCC"}

_PLAIN_DAY = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", re.ASCII)


class DataFileError(DumeSpiderError):
    """A file given to the sandbox cannot be read as DECP records (the caller's fault)."""


class ServedRow(NamedTuple):
    """A row of the replica: ``day`` is the one its date filter sees the row under."""

    reference: str
    day: date
    row: dict[str, Any]


class DecpRecord(NamedTuple):
    """A record of a DECP file, as it stands there, and what its place in the file says."""

    record: dict[str, Any]
    type: ContractType
    regime: Regime


def reference_text(mark: str, number: int) -> str:
    """The reference of a number below :data:`REFERENCES`, such as ``AIFEDUME-d00a1b2c``.

    ``mark`` is one character, different for each maker of references, so that those of
    files and those of the generator never meet.
    """
    digits = []
    for _ in range(7):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return f"AIFEDUME-{mark}{''.join(reversed(digits))}"


def row_of(record: dict[str, Any], type_: ContractType, reference: str) -> dict[str, Any]:
    """The V2 row of a DECP record of either regime.

    What the record lacks is null, except the names that only the format of 2019 has,
    which are absent. Lists of one element that the service is known to give as one value
    (``technique``, …) are that value. Keys that the format does not know, such as
    ``source``, stay as further keys of the row. Values are shared with the record, never
    changed: any shape of value is taken, since files are not always what they should be.
    """
    block: dict[str, Any] = {}
    rest = dict(record)
    row = {"referenceUnique": reference}
    for name in _ROW_FIELDS:
        row[name] = bare(rest.pop(name, None))
    for name, keys in _OBJECT_FIELDS[type_].items():
        _spread(rest.pop(name, None), name, keys, block)
    for name, (inner, key) in _LIST_FIELDS[type_].items():
        block[key] = _one_or_list(rest.pop(name, None), inner)
    for name, key in _BLOCK_FIELDS[type_].items():
        block[key] = bare(rest.pop(name, None))
    for other, name in _BLOCKS.items():
        row[name] = block if other is type_ else None
    for name, value in rest.items():
        row.setdefault(name, value)
    return row


def bare(value: Any) -> Any:
    """A value without the single-key objects that the format of 2022 puts around items."""
    if isinstance(value, list):
        return [bare(item) for item in value]
    if isinstance(value, dict):
        if len(value) == 1:
            (key, inner), *_ = value.items()
            if key in _WRAPPERS and isinstance(inner, dict):
                return bare(inner)
        return {
            key: bare(item) if isinstance(item, list | dict) else item
            for key, item in value.items()
        }
    return value


def _spread(
    value: Any, name: str, keys: dict[str, tuple[str, bool]], block: dict[str, Any]
) -> None:
    """Put an object's values beside each other in the block; what is unknown stays in it."""
    known = value if isinstance(value, dict) else {}
    for key, (target, always) in keys.items():
        if always or key in known:
            block[target] = known.get(key)
    rest = {key: item for key, item in known.items() if key not in keys} or None
    if not isinstance(value, dict):
        rest = value
    if rest is not None:
        block[name] = rest


def _one_or_list(value: Any, inner: str) -> Any:
    if isinstance(value, dict) and inner in value:
        value = value[inner]
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def read_decp(path: Path) -> list[DecpRecord]:
    """The records of a DECP file of either regime, ``.json`` or ``.json.gz``.

    The regime is told by the shape of the file (a list is of 2019, lists by type are of
    2022), the type by ``_type``, else by the list that holds the record, else by the
    buyer's field. ``NaN``, which JSON has not, is read as null.

    Raises :class:`DataFileError` for a file that cannot be read, or is no DECP file.
    """
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        content = json.loads(data.decode("utf-8-sig"), parse_constant=lambda _: None)
    except OSError as error:
        reason = error.strerror or "not a whole gzip file"
        raise DataFileError(f"{path}: cannot be read: {reason}") from error
    except (EOFError, zlib.error) as error:
        raise DataFileError(f"{path}: cannot be read: not a whole gzip file") from error
    except (ValueError, RecursionError) as error:
        raise DataFileError(f"{path}: not a JSON file in UTF-8: {error}") from error
    marches = content.get("marches") if isinstance(content, dict) else None
    if isinstance(marches, list):
        lists = [(None, Regime.R2019, marches)]
    elif isinstance(marches, dict):
        lists = [
            (type_, Regime.R2022, records if isinstance(records, list) else [records])
            for type_, key in (
                (ContractType.MARCHE, "marche"),
                (ContractType.CONCESSION, "contrat-concession"),
            )
            if (records := marches.get(key)) is not None
        ]
    else:
        raise DataFileError(
            f"{path}: not a DECP file: it has no list or object 'marches' (give a file of "
            "the format of 2019 or 2022)"
        )
    found = []
    for listed_as, regime, records in lists:
        for position, record in enumerate(records):
            if not isinstance(record, dict):
                raise DataFileError(
                    f"{path}: record {position} is a {type(record).__name__}, not an object"
                )
            found.append(DecpRecord(record, _type_of(record, listed_as), regime))
    return found


def _type_of(record: dict[str, Any], listed_as: ContractType | None) -> ContractType:
    named = record.get("_type")
    if named == "Marché":
        return ContractType.MARCHE
    if named == "Contrat de concession":
        return ContractType.CONCESSION
    if listed_as is not None:
        return listed_as
    if "autoriteConcedante" in record or "concessionnaires" in record:
        return ContractType.CONCESSION
    return ContractType.MARCHE


def read_rows(paths: Iterable[Path], first_day: date, last_day: date) -> Iterator[ServedRow]:
    """The rows of DECP files: each record is served under a reference of its own.

    The reference depends on the file's name and on the record's position, so the same
    file gives the same references. A record that brings a ``referenceUnique`` keeps it:
    this is how a file can hold several versions of one reference, or follow it from one
    file to the next.

    A row is served under the day of its ``datePublicationDonnees``. Where that is no day
    of this century, the row keeps what it has and is served under a day that the sandbox
    gives it: such rows are spread over the range of the file's days, or from
    ``first_day`` to ``last_day`` if the file has none.

    Raises :class:`DataFileError` (see :func:`read_decp`).
    """
    taken: set[str] = set()
    for path in paths:
        records = read_decp(path)
        days = [_published(record) for record, _, _ in records]
        dated = [day for day in days if day is not None]
        given = _spread_days(
            min(dated, default=first_day), max(dated, default=last_day), days.count(None)
        )
        for position, ((record, type_, _), day) in enumerate(zip(records, days, strict=True)):
            reference = record.get("referenceUnique")
            if not isinstance(reference, str):
                reference = _new_reference(f"{path.name}\0{position}", taken)
            yield ServedRow(reference, day or next(given), row_of(record, type_, reference))


def _published(record: dict[str, Any]) -> date | None:
    text = record.get("datePublicationDonnees")
    if isinstance(text, str) and (found := _PLAIN_DAY.match(text)):
        try:
            return date.fromisoformat(found[0])
        except ValueError:
            return None
    return None


def _spread_days(first: date, last: date, count: int) -> Iterator[date]:
    span = (last - first).days + 1
    return (first + timedelta(days=number * span // count) for number in range(count))


def _new_reference(name: str, taken: set[str]) -> str:
    while True:
        number = int.from_bytes(blake2b(os.fsencode(name), digest_size=8).digest(), "big")
        reference = reference_text("d", number % REFERENCES)
        if reference not in taken:
            taken.add(reference)
            return reference
        name += "\0"
