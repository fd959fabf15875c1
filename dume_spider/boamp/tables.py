"""Notices as a flat table: one line per award, one for a notice without awards.

Columns have the names of the DECP table where they hold the same; dates are text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dume_spider.decp.tables import Column, columns_table

_OWN = "as in the data set"
_JOINED = "joined by ` | `"

NOTICE_COLUMNS = (
    Column("idweb", "text", _OWN),
    Column("url_avis", "text", _OWN),
    Column("dateparution", "text", _OWN),
    Column("famille", "text", _OWN),
    Column("nature", "text", _OWN),
    Column("etat", "text", _OWN),
    Column("payload_kind", "text", "format of the payload"),
    Column("nomacheteur", "text", _OWN),
    Column("objet", "text", _OWN),
    Column("titulaire", "text", f"winners that the notice lists, {_JOINED}"),
    Column("contractfolderid", "text", "eForms folder, the same for a whole procedure"),
    Column("annonces", "text", f"other notices that this one names, {_JOINED}"),
    Column("award", "integer", "position of the award in the notice, from 1"),
    Column("status", "text", "of the award"),
    Column("type", "text", "`MP` (marché), `CC` (concession)"),
    Column("lot", "text", "number or identifier of the lot"),
    Column("lot_objet", "text", "title of the lot, else of the contract"),
    Column("reference", "text", "the contract's, as the buyer calls it"),
    Column("acheteur_id", "text", f"SIRET of the buyers, {_JOINED}"),
    Column("titulaire_nom", "text", f"names of the award's winners, {_JOINED}"),
    Column("titulaire_id", "text", f"their identifiers, in the same order, {_JOINED}"),
    Column("titulaire_typeIdentifiant", "text", f"what kind those are, {_JOINED}"),
    Column("montant", "number", "amount of the contract, if one is stated"),
    Column("montant_devise", "text", "its currency"),
    Column("montant_taxe", "text", "`excluded`, `included`, empty: not said"),
    Column("montant_maximum", "number", "ceiling of the framework agreement, if one is stated"),
    Column("offresRecues", "integer", "offers received"),
    Column("date_decision", "text", "decision to award"),
    Column("date_conclusion", "text", "signature"),
    Column("date_notification", "text", "notification"),
    Column("codeCPV", "text", f"main codes, {_JOINED}"),
    Column("nuts", "text", f"places of execution, {_JOINED}"),
    Column("dureeMois", "integer", "months, if there are no renewals"),
    Column("procedure", "text", "DECP label"),
    Column("missing", "text", f"required DECP fields that the notice does not give, {_JOINED}"),
)

#: The kinds of identifier, the most useful first.
_IDENTIFIERS = ("SIRET", "SIREN", "TVA", "other")

Row = dict[str, Any]


def notice_columns_table() -> str:
    """The table of columns as Markdown, for docs/reference.md."""
    return columns_table(NOTICE_COLUMNS)


def flat_rows(notice: dict[str, Any]) -> Iterator[Row]:
    """The lines of a notice of :func:`dume_spider.boamp.notice.read_notice`.

    Each has every column of :data:`NOTICE_COLUMNS` in that order, ``None`` where the notice
    says nothing.
    """
    line: Row = {column.name: None for column in NOTICE_COLUMNS}
    line |= {name: notice[name] for name in line if name in notice}
    line["titulaire"] = _joined(notice["titulaire"] or [])
    others = [link["id"] for link in notice["links"] if link["id_type"] == "idweb"]
    line["annonces"] = _joined(others)
    if not notice["awards"]:
        yield line
    for position, award in enumerate(notice["awards"], start=1):
        yield line | {"award": position} | _award(award)


def _award(award: dict[str, Any]) -> Row:
    chosen = [_identifier(winner) for winner in award["winners"]]
    contract = _only(a for a in award["amounts"] if a["kind"] == "contract")
    maximum = _only(a for a in award["amounts"] if a["kind"] == "maximum")
    row: Row = {
        "status": award["status"],
        "type": award["contract_type"],
        "lot": _value(award["lot"]),
        "lot_objet": _value(award["title"]),
        "reference": _value(award["reference"]),
        "acheteur_id": _joined(
            id["value"]
            for buyer in award["buyers"]
            for id in buyer["identifiers"]
            if id["type"] == "SIRET"
        ),
        "titulaire_nom": _aligned(_value(winner["name"]) for winner in award["winners"]),
        "titulaire_id": _aligned(id and id["value"] for id in chosen),
        "titulaire_typeIdentifiant": _aligned(id and id["type"] for id in chosen),
        "offresRecues": _value(award["offers"]),
        "codeCPV": _joined(code["value"] for code in award["cpv"] if code["kind"] == "main"),
        "nuts": _joined(code["value"] for code in award["nuts"]),
        "dureeMois": award["decp"].get("dureeMois"),
        "procedure": award["decp"].get("procedure"),
        "missing": _joined(award["missing"]),
    }
    if contract:
        row["montant"] = contract["value"]
        row["montant_devise"] = contract["currency"]
        row["montant_taxe"] = contract["tax"]
    if maximum:
        row["montant_maximum"] = maximum["value"]
    for kind in ("decision", "conclusion", "notification"):
        row[f"date_{kind}"] = _value(_only(d for d in award["dates"] if d["kind"] == kind))
    return row


def _identifier(party: dict[str, Any]) -> dict[str, str] | None:
    ids = sorted(party["identifiers"], key=lambda id: _IDENTIFIERS.index(id["type"]))
    return ids[0] if ids else None


def _only(items: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    """The item if all say the same; of amounts without and with tax, the one without."""
    found = list(items)
    found = [item for item in found if item.get("tax") == "excluded"] or found
    said = {(item["value"], item.get("currency")) for item in found}
    return found[0] if len(said) == 1 else None


def _value(found: dict[str, Any] | None) -> Any:
    return found["value"] if found else None


def _joined(values: Any) -> str | None:
    return " | ".join(dict.fromkeys(values)) or None


def _aligned(values: Iterator[str | None]) -> str | None:
    """Values joined with their empty places, so that columns fit each other."""
    texts = [value or "" for value in values]
    return " | ".join(texts) if any(texts) else None
