"""How data.gouv.fr reads what it is sent: forms, uploads' names, masks, and its refusals.

As observed on udata 17.18; the texts of the errors are this replica's own.
"""

# Long lists of words are split texts here: a line for each would be two pages.
# ruff: noqa: SIM905

from __future__ import annotations

import mimetypes
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from email.parser import HeaderParser
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

#: What a data set can be licensed under; data.gouv.fr has more.
LICENCES = {
    "notspecified": "Licence non spécifiée",
    "fr-lo": "Licence Ouverte / Open Licence",
    "lov2": "Licence Ouverte / Open Licence version 2.0",
}
FREQUENCIES = (
    "continuous oneMinute fiveMinutes tenMinutes fifteenMinutes thirtyMinutes hourly bihourly "
    "trihourly twelveHours severalTimesADay threeTimesADay semidaily daily fiveTimesAWeek "
    "threeTimesAWeek semiweekly weekly biweekly threeTimesAMonth semimonthly monthly bimonthly "
    "quarterly threeTimesAYear semiannual annual biennial triennial quadrennial quinquennial "
    "decennial bidecennial tridecennial punctual irregular never notPlanned other unknown"
).split()
#: Former names of frequencies, still taken.
_OLD_FREQUENCIES = {
    "realtime": "continuous",
    "fourTimesADay": "severalTimesADay",
    "fourTimesAWeek": "other",
    "fortnighly": "biweekly",
    "biannual": "semiannual",
}
RESOURCE_TYPES = ("main", "documentation", "update", "api", "code", "other")
_FILETYPES = ("file", "remote")
_CHECKSUM_TYPES = ("sha1", "sha2", "sha256", "md5", "crc")

_ARCHIVES = frozenset(("7z", "bz2", "gz", "rar", "tar", "tgz", "xz", "zip"))
#: Extensions of files that may be uploaded.
EXTENSIONS = _ARCHIVES | frozenset(
    "cpg csv db dbf doc docx dwg dxf ecw epub geojson gif gpkg gpx grib2 ics jp2 jpe jpeg jpg "
    "json kml kmz lyr n3 odg odp ods odt other ovr owl pdf png pps ppt prj rdf rtf sbn sbx shp "
    "shx sql sqlite ssim svg svgz tiff ttl txt webp xls xlsx xml xsd".split()
)
#: What the name of an upload says of its content, where Python's own table differs.
_MIMES = {"7z": "application/x-7z-compressed", "gz": "application/gzip", "xml": "application/xml"}

_LONGEST_TITLE = 350
_LONGEST_DESCRIPTION = 100_000
_TAG_LENGTHS = range(3, 97)
#: How the keys of extras start that the portal keeps to itself.
_RESERVED_OF_DATASET = ("transport:", "recommendations", "dcat")
_RESERVED_OF_RESOURCE = ("analysis:", "check:", "csv-export:", "validation-report:", "dcat")
#: What a client cannot change of a file that the portal keeps.
_KEPT_OF_HOSTED = ("filetype", "url", "checksum", "filesize", "mime", "format")

_REQUIRED = "Ce champ est requis."
_NO_CHOICE = "N'est pas un choix valide."
#: Where a value is of no use at all the portal may also answer 500.
_WRONG_TYPE = "Type de donnée invalide."
_HOST = re.compile(r"[^\s.]+(\.[^\s.]+)*\.[a-z\u00a1-\uffff]{2,}", re.IGNORECASE)
#: Top-level domains that the replica knows to be none; the portal has the whole list.
_NO_DOMAINS = ("invalid", "test", "local", "internal", "notatld")

#: The content of a file; that of a part of a request is not copied out of it.
Buffer = bytes | memoryview
#: Errors by field.
Errors = dict[str, Any]


class Refusal(Exception):
    """An answer that is not what was asked for: an error, or a redirect.

    ``body`` is sent as JSON, or as it is when it is bytes.
    """

    def __init__(
        self, status: int, body: dict[str, Any] | bytes, headers: Mapping[str, str] | None = None
    ):
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


def refusal(status: int, message: str) -> Refusal:
    """The commonest shape of errors."""
    return Refusal(status, {"message": message})


def invalid(errors: Errors) -> Refusal:
    """The shape of a form's errors: without a message."""
    return Refusal(400, {"errors": errors})


def invalid_argument(name: str, why: str) -> Refusal:
    """The shape of errors in the query, and in the fields of an upload."""
    return Refusal(400, {"message": "Input payload validation failed", "errors": {name: why}})


def upload_error(why: str) -> Refusal:
    """The shape of errors of uploads."""
    return Refusal(400, {"success": False, "error": why, "message": ""})


def slugify(text: str, kept: str = "") -> str:
    """Lower-case ASCII letters and digits, joined by hyphens; characters ``kept`` stay."""
    plain = unicodedata.normalize("NFKD", re.sub("['’]", "", text))
    plain = plain.encode("ascii", "ignore").decode().lower()
    return re.sub(f"[^a-z0-9{re.escape(kept)}]+", "-", plain).strip("-")


def extension_of(name: str) -> str | None:
    """The extension of a file: ``json``, or with that of its archive: ``json.gz``."""
    parts = name.lstrip(".").split(".")[1:]
    if not parts:
        return None
    first = len(parts) - 1
    while first and parts[first] in _ARCHIVES and parts[first - 1] in EXTENSIONS:
        first -= 1
    return ".".join(parts[first:])


def mime_of(name: str) -> str:
    """The kind of content that the name of a file tells."""
    return _MIMES.get(name.rpartition(".")[2]) or (
        mimetypes.guess_type(name)[0] or "application/octet-stream"
    )


def read_multipart(
    content_type: str, body: bytes
) -> tuple[dict[str, str], tuple[str, Buffer] | None]:
    """The fields of a form, and name and content of its ``file`` if it has one."""
    header = HeaderParser().parsestr(f"Content-Type: {content_type}\n\n")
    boundary = header.get_param("boundary")
    fields: dict[str, str] = {}
    file = None
    if header.get_content_type() != "multipart/form-data" or not boundary:
        return fields, file
    delimiter, view = f"\r\n--{boundary}".encode(), memoryview(body)
    start = body.find(delimiter[2:])
    while start >= 0 and (end := body.find(delimiter, start)) >= 0:
        if (head := body.find(b"\r\n\r\n", start, end)) < 0:
            break
        lines = body[start:head].decode("utf-8", "replace").partition("\r\n")[2]
        headers = HeaderParser().parsestr(lines)
        name = headers.get_param("name", header="content-disposition")
        filename, content = headers.get_filename(), view[head + 4 : end]
        if filename is None:
            fields[str(name)] = bytes(content).decode("utf-8", "replace")
        elif name == "file" and filename:
            file = (filename, content)
        start = end + 2
    return fields, file


def read_dataset(
    given: dict[str, Any], current: Mapping[str, Any] | None = None, sysadmin: bool = False
) -> tuple[dict[str, Any], Errors]:
    """What a form changes of a data set, and its errors; ``resources`` as they were given.

    ``current`` is the data set as it is, ``None`` for a new one; ``sysadmin`` says whether
    the extras that are the portal's own may be set. What is absent stays, save tags and the
    period covered: absent, they are emptied. An empty form changes nothing. An unknown licence
    is taken for none. Raises :class:`Refusal` for an unknown frequency.
    """
    changes: dict[str, Any] = {}
    errors: Errors = {}
    new = current is None
    if not given and not new:
        return changes, errors
    _read_text(given, "title", _LONGEST_TITLE, new, changes, errors)
    _read_text(given, "description", _LONGEST_DESCRIPTION, new, changes, errors)
    for name in ("acronym", "description_short"):
        if name in given:
            changes[name] = _text(given[name])
    if "license" in given:
        known = [licence for licence in LICENCES if licence == given["license"]]
        changes["license"] = known[0] if known else "notspecified"
    if "frequency" in given:
        changes["frequency"] = _frequency(given["frequency"])
    if "private" in given:
        changes["private"] = given["private"] not in (None, False, 0, "", "false")
    for name in ("archived", "deleted"):
        if name in given:
            _read_moment(given, name, changes, errors)
    changes["tags"] = _tags(given.get("tags"), errors)
    changes["temporal_coverage"] = _period(given.get("temporal_coverage"), errors)
    reserved = () if sysadmin else _RESERVED_OF_DATASET
    _read_extras(given, current or {}, reserved, changes, errors)
    resources = given.get("resources") or []
    if not isinstance(resources, list) or not all(isinstance(one, dict) for one in resources):
        errors["resources"] = [_WRONG_TYPE]
    elif resources:
        changes["resources"] = resources
    return changes, errors


def read_resource(
    given: dict[str, Any], current: Mapping[str, Any], sysadmin: bool = False
) -> tuple[dict[str, Any], Errors]:
    """What a form changes of a resource, and its errors. What is absent stays.

    Of a file that the portal keeps, what describes its content is not changed.
    """
    changes: dict[str, Any] = {}
    errors: Errors = {}
    _read_text(given, "title", _LONGEST_TITLE, current["title"] is None, changes, errors)
    _read_text(given, "url", None, current["url"] is None, changes, errors)
    if "url" in changes and (why := _wrong_url(changes["url"].strip())):
        errors["url"] = [why]
    elif "url" in changes:
        changes["url"] = changes["url"].strip()
    for name, choices in (("filetype", _FILETYPES), ("type", RESOURCE_TYPES)):
        if name in given and not given[name]:
            errors[name] = [_REQUIRED]
        elif name in given and given[name] not in choices:
            errors[name] = [_NO_CHOICE]
        elif name in given:
            changes[name] = given[name]
    for name in ("description", "mime"):
        if name in given:
            changes[name] = _text(given[name])
    if "format" in given:
        changes["format"] = (_text(given["format"]) or "").strip().lower() or None
    if "filesize" in given:
        size = given["filesize"]
        changes["filesize"] = size
        if size is not None and not isinstance(size, int):
            errors["filesize"] = ["N'est pas un entier valide."]
    if "checksum" in given:
        changes["checksum"] = _checksum(given["checksum"], errors)
    if "schema" in given:
        changes["schema"] = _schema(given["schema"], errors)
    reserved = () if sysadmin else _RESERVED_OF_RESOURCE
    _read_extras(given, current, reserved, changes, errors)
    if current["filetype"] == "file" and current["url"]:
        for name in _KEPT_OF_HOSTED:
            changes.pop(name, None)
    return changes, errors


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _read_text(
    given: dict[str, Any],
    name: str,
    longest: int | None,
    required: bool,
    changes: dict[str, Any],
    errors: Errors,
) -> None:
    """A text that cannot be empty; it may be absent unless ``required``."""
    if name not in given and not required:
        return
    text = _text(given.get(name)) or ""
    if not text.strip():
        errors[name] = [_REQUIRED]
    elif longest is not None and len(text) > longest:
        errors[name] = [f"Le champ ne peut pas contenir plus de {longest} caractères."]
    else:
        changes[name] = text


def _frequency(value: Any) -> str:
    if value is None:
        return "unknown"
    value = _OLD_FREQUENCIES.get(str(value), value)
    if value not in FREQUENCIES:
        raise refusal(400, f"{value!r} is not a valid UpdateFrequency")
    return value


def _tags(value: Any, errors: Errors) -> list[str]:
    if isinstance(value, str):
        value = [value]
    if not value:
        return []
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        errors["tags"] = [_WRONG_TYPE]
        return []
    # Only a tag alone is split: with others its comma becomes a hyphen.
    parts = value[0].split(",") if len(value) == 1 else value
    tags = sorted({slugify(part) for part in parts})
    wrong = [tag for tag in tags if len(tag) not in _TAG_LENGTHS]
    if wrong:
        errors["tags"] = [f'Le mot-clé "{wrong[0]}" doit avoir entre 3 et 96 caractères.']
    return tags


def _moment(value: Any) -> str:
    moment = datetime.fromisoformat(str(value))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _read_moment(given: dict[str, Any], name: str, changes: dict[str, Any], errors: Errors) -> None:
    try:
        changes[name] = None if given[name] is None else _moment(given[name])
    except ValueError:
        errors[name] = [f"Date illisible : {given[name]}"]


def _period(value: Any, errors: Errors) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        start, end = value["start"], value.get("end")
        for moment in (start, *([end] if end else [])):
            datetime.fromisoformat(moment)
    except (TypeError, ValueError, KeyError, AttributeError):
        errors["temporal_coverage"] = ["Incapable de comprendre la date"]
        return None
    return {"start": start, "end": end}


def _read_extras(
    given: dict[str, Any],
    current: Mapping[str, Any],
    reserved: tuple[str, ...],
    changes: dict[str, Any],
    errors: Errors,
) -> None:
    """Extras replace those that are there, save the reserved ones: these stay as they are."""
    if "extras" not in given:
        return
    extras = given["extras"] or {}
    if not isinstance(extras, dict):
        errors["extras"] = [_WRONG_TYPE]
    elif empty := [name for name, value in extras.items() if value is None]:
        errors["extras"] = dict.fromkeys(empty, "Value should not be null")
    else:
        changes["extras"] = {
            name: value
            for source, own in ((extras, False), (current.get("extras", {}), True))
            for name, value in source.items()
            if name.startswith(reserved) == own
        }


def _checksum(value: Any, errors: Errors) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        if value is not None:
            errors["checksum"] = [_WRONG_TYPE]
        return None
    wrong: Errors = {}
    kind = value.get("type", "sha1")
    if kind not in _CHECKSUM_TYPES:
        wrong["type"] = [_NO_CHOICE]
    if not value.get("value"):
        wrong["value"] = [_REQUIRED]
    if wrong:
        errors["checksum"] = wrong
    return {"type": kind, "value": value.get("value")}


def _schema(value: Any, errors: Errors) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        if value is not None:
            errors["schema"] = [_WRONG_TYPE]
        return None
    read = {name: value.get(name) for name in ("name", "url", "version")}
    if read["version"] and not (read["name"] or read["url"]):
        errors["schema"] = {"version": ["Une version va avec un nom ou une URL."]}
    return read if any(read.values()) else None


def _wrong_url(url: str) -> str | None:
    """Why an address cannot be that of a remote resource, if it cannot."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f'URL invalide "{url}"'
    if parts.scheme not in ("", "http", "https", "ftp", "ftps"):
        return f'URL invalide "{url}" : schéma {parts.scheme}'
    host = parts.hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        known = _HOST.fullmatch(host) and host.rpartition(".")[2].lower() not in _NO_DOMAINS
        return None if known and not re.search(r"\s", url) else f'URL invalide "{url}"'
    return f'URL invalide "{url}" : adresse privée' if address.is_private else None


def mask(wanted: str, value: Any) -> Any:
    """The part of an answer that a header ``X-Fields`` asks for, such as ``a,b{c},*``.

    Names that the answer does not have are passed over. Raises :class:`Refusal` when the
    header cannot be read.
    """
    if wanted.startswith("{") and wanted.endswith("}"):
        wanted = wanted[1:-1]
    tokens = re.findall(r"[{},]|[^{},\s]+", wanted)
    fields, rest = _read_mask(tokens)
    if rest:
        raise refusal(400, "Mask parse error: Unexpected closing bracket")
    return _keep(fields, value)


def _read_mask(tokens: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The fields up to a closing bracket, each with those inside it; what follows."""
    fields: dict[str, Any] = {}
    name = None
    while tokens and tokens[0] != "}":
        part, *tokens = tokens
        if part == "{":
            if name is None:
                raise refusal(400, "Mask parse error: Unexpected opening bracket")
            fields[name], tokens = _read_mask(tokens)
            if not tokens:
                raise refusal(400, "Mask parse error: Missing closing bracket")
            tokens = tokens[1:]
        elif part == ",":
            name = None
        else:
            name = part
            fields[name] = None
    return fields, tokens


def _keep(fields: dict[str, Any] | None, value: Any) -> Any:
    if fields is None or value is None:
        return value
    if isinstance(value, list):
        return [_keep(fields, each) for each in value]
    kept = {name: _keep(inner, value[name]) for name, inner in fields.items() if name in value}
    return value | kept if "*" in fields else kept
