"""The API of data.gouv.fr (udata 17), one method per call, whatever sends the requests.

What is peculiar to it: nothing is idempotent, so a POST that got no answer is never sent
again from here (:mod:`.publisher` looks first); a PUT of a data set empties the tags that it
does not repeat; sessions beat keys, so that no cookie may be sent; an old slug or a missing
slash is answered by 308. All was observed on the real software.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import orjson

from dume_spider.datagouv.errors import UnexpectedError, error_class, read_refusal
from dume_spider.exceptions import ArgumentError
from dume_spider.waiting import LONGEST_RETRY_AFTER, read_retry_after

#: Bytes sent at once: a file that is larger goes in parts of this size.
PART = 8 * 1024 * 1024
#: Lines of a list asked for at once.
PAGE = 100
#: Redirections followed for one call.
MOST_REDIRECTIONS = 3

#: What is asked of a resource and of a data set: those of a platform have thousands of
#: resources, of some 1,500 bytes each when whole.
_RESOURCE = "id,title,type,format,mime,filetype,filesize,url,description,checksum{type,value}"
_DATASET = (
    "id,slug,title,description,tags,license,frequency,extras,private,archived,deleted,"
    f"temporal_coverage,permissions,organization{{id,name}},resources{{{_RESOURCE}}}"
)
_LISTED = "data{id,title,tags,extras,deleted},next_page"

_NONE: Mapping[str, str] = {}

_KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the headers by lower-case name, the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


#: Sends one request (method, URL, headers, body) and gives its answer. It follows no
#: redirection, keeps no cookie, and sends no POST twice; it raises
#: :class:`.errors.NoAnswerError` when there is no answer.
Send = Callable[[str, str, Mapping[str, str], bytes], Awaitable[Answer]]


class ApiKey:
    """A key that no log, traceback or ``repr`` shows. Raises :class:`ArgumentError` without
    quoting it when it cannot be one."""

    def __init__(self, text: str):
        self._text = text.strip()
        if not self._text:
            raise ArgumentError(
                "DATAGOUV_API_KEY is not set; put your key of the portal into this environment "
                "variable (it is made in the user's settings there)"
            )
        if not _KEY.fullmatch(self._text):
            raise ArgumentError(
                "DATAGOUV_API_KEY is no key: it has spaces or other characters inside that a key "
                "has not; copy it again"
            )

    def reveal(self) -> str:
        """The key itself, for the header of a request and nothing else."""
        return self._text

    def hide(self, text: str) -> str:
        """A text without the key, if it has come into it."""
        return text.replace(self._text, "[the key]")

    def __repr__(self) -> str:
        return "ApiKey(…)"


@dataclass(frozen=True, slots=True)
class FileToSend:
    """A file: the name it is sent under, where it is, its size and hexadecimal ``sha1``."""

    name: str
    path: Path
    bytes: int
    sha1: str


def read_url(text: str) -> str:
    """The base of the API, without a slash at its end.

    Raises :class:`ArgumentError` unless it is https, or http on this machine: the key would
    be seen on its way.
    """
    try:
        parts = urlsplit(text.strip())
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.username is not None or parts.password is not None:
        raise ArgumentError("DATAGOUV_API_URL holds a user or password; leave it out")
    secure = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))
    if not host or not secure or parts.query or parts.fragment:
        raise ArgumentError(
            f"DATAGOUV_API_URL={text!r} cannot be used; accepted: https://… (http:// on this "
            "machine only), such as https://www.data.gouv.fr/api/1"
        )
    return text.strip().rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass
class PortalClient:
    """The calls of the API at ``url`` (its base, see :func:`read_url`).

    ``send`` sends the requests, with ``key`` in a header if there is one. Every method raises
    the subclasses of :class:`.errors.PortalError`. With ``plan``, only GETs are sent: of
    each other call it is given one line, and what the portal would show is made up (ids in
    braces).
    """

    url: str
    send: Send = field(repr=False)
    key: ApiKey | None = None
    plan: Callable[[str], None] | None = None

    async def me(self) -> dict[str, Any]:
        """The user whose key this is, with ``organizations``: whether the key is good."""
        return await self._get("me/")

    async def licenses(self) -> list[str]:
        """The ids of the licences that the portal knows; any other is dropped silently."""
        known = await self._get("datasets/licenses/")
        return [each["id"] for each in _list(known, f"GET {self.url}/datasets/licenses/")]

    async def datasets(self, organization: str) -> list[dict[str, Any]]:
        """The data sets of an organization, by its id: ``id``, ``title``, ``tags``,
        ``extras``, ``deleted``. With a key of a member also the private and the deleted ones."""
        query = f"?organization={quote(organization, safe='')}&page_size={PAGE}"
        found: list[dict[str, Any]] = []
        while query:
            page = await self._get("datasets/" + query, _LISTED)
            found += _list(page, f"GET {self.url}/datasets/", "data")
            # The portal's own address of the next page may have another host's name.
            following = urlsplit(page["next_page"] or "").query
            query = f"?{following}" if following else ""
        return found

    async def dataset(self, id: str) -> dict[str, Any]:
        """A data set by its id or slug, with its resources."""
        path = _path("datasets", id)
        shown = await self._get(path, _DATASET)
        _list(shown, f"GET {self.url}/{path}", "resources")
        return shown

    async def create_dataset(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Make a data set; ``title`` and ``description`` are required."""
        return await self._json("POST", "datasets/", fields, "{new data set}", _DATASET)

    async def update_dataset(self, id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Change a data set. ``tags``, ``temporal_coverage`` and ``private`` have to be among
        the fields: the first two are emptied when absent."""
        missing = {"tags", "temporal_coverage", "private"} - fields.keys()
        if missing:
            raise ValueError(f"a PUT without {missing} would change them")
        return await self._json("PUT", _path("datasets", id), fields, id, _DATASET)

    async def delete_dataset(self, id: str) -> None:
        """Delete a data set; it can be restored for a while."""
        await self._delete(_path("datasets", id))

    async def resource(self, dataset: str, id: str) -> dict[str, Any]:
        """One resource of a data set."""
        return await self._get(_path("datasets", dataset, "resources", id), _RESOURCE)

    async def add_remote(self, dataset: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Register a file that is hosted elsewhere: ``title`` and ``url`` are required."""
        path = _path("datasets", dataset, "resources")
        body = {**fields, "filetype": "remote"}
        return await self._json("POST", path, body, "{new resource}", _RESOURCE)

    async def update_resource(
        self, dataset: str, id: str, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change some fields of a resource; the others are kept."""
        path = _path("datasets", dataset, "resources", id)
        return await self._json("PUT", path, fields, id, _RESOURCE)

    async def delete_resource(self, dataset: str, id: str) -> None:
        """Delete a resource and its file, for good."""
        await self._delete(_path("datasets", dataset, "resources", id))

    async def reorder(self, dataset: str, ids: Sequence[str]) -> None:
        """Put the resources into this order; all ids of the data set are needed."""
        await self._write(
            "PUT", _path("datasets", dataset, "resources"), [{"id": id} for id in ids]
        )

    async def upload(
        self, dataset: str, file: FileToSend, resource: str | None = None
    ) -> dict[str, Any]:
        """Upload a file as a new resource, or in the place of the file of ``resource``.

        The title becomes the lower-case name either way. A file above :data:`PART` goes in
        parts, one in memory at a time; no part can be sent twice, so that a failure means to
        begin anew.
        """
        path = _path("datasets", dataset, *(("resources", resource) if resource else ()), "upload")
        url = f"{self.url}/{path}"
        parts = max(-(-file.bytes // PART), 1)
        if self.plan:
            size = f"{file.bytes} bytes" + (f" in {parts} parts" if parts > 1 else "")
            self.plan(f"POST {url} file {file.name} ({size}, sha1 {file.sha1})")
            checksum = {"type": "sha1", "value": file.sha1}
            return {
                "id": resource or "{new resource}",
                "title": file.name.lower(),
                "filetype": "file",
                "url": "",
                "filesize": file.bytes,
                "checksum": checksum,
            }
        with file.path.open("rb") as stream:
            if parts == 1:
                return await self._form("POST", url, {}, (file.name, stream.read()))
            session = {
                "uuid": str(uuid.uuid4()),
                "filename": file.name,
                "totalparts": str(parts),
            }
            for index in range(parts):
                content = stream.read(PART)
                fields = session | {"partindex": str(index), "chunksize": str(len(content))}
                await self._form("POST", url, fields, (file.name, content))
        return await self._form("POST", url, session)

    async def _get(self, path: str, mask: str = "") -> Any:
        answer = await self._call(
            "GET", f"{self.url}/{path}", {"X-Fields": mask} if mask else {}, b""
        )
        return _value(answer, f"GET {self.url}/{path}")

    async def _json(
        self, method: str, path: str, body: Mapping[str, Any], id: str, mask: str
    ) -> dict[str, Any]:
        """A call that writes and answers what it wrote, of this ``id`` if it is only planned."""
        answer = await self._write(method, path, body, {"X-Fields": mask})
        if answer is None:
            return {**body, "id": id}
        return _value(answer, f"{method} {self.url}/{path}")

    async def _write(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] = _NONE
    ) -> Answer | None:
        url = f"{self.url}/{path}"
        encoded = orjson.dumps(body)
        if self.plan:
            self.plan(f"{method} {url} {encoded.decode()}")
            return None
        sent = {"Content-Type": "application/json", **headers}
        return await self._call(method, url, sent, encoded)

    async def _delete(self, path: str) -> None:
        url = f"{self.url}/{path}"
        if self.plan:
            self.plan(f"DELETE {url}")
            return
        await self._call("DELETE", url, {}, b"")

    async def _form(
        self,
        method: str,
        url: str,
        fields: Mapping[str, str],
        file: tuple[str, bytes] | None = None,
    ) -> dict[str, Any]:
        boundary = uuid.uuid4().hex
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        body = b"".join(_multipart(boundary, fields, file))
        answer = await self._call(method, url, headers, body)
        return _value(answer, f"{method} {url}")

    async def _call(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a request, following redirections on the same host; an answer with 2xx."""
        sent = {"Accept": "application/json", **headers}
        if self.key:
            sent["X-API-KEY"] = self.key.reveal()
        address = url
        for _ in range(MOST_REDIRECTIONS + 1):
            answer = await self.send(method, address, sent, body)
            if 200 <= answer.status < 300:
                return answer
            follows = (307, 308) if method != "GET" else (301, 302, 307, 308)
            if answer.status not in follows:
                break
            target = urljoin(address, answer.headers.get("location", ""))
            if _origin(target) != _origin(self.url) or target == address:
                break
            address = target
        raise self._error(answer, f"{method} {url}")

    def _error(self, answer: Answer, what: str) -> Exception:
        refusal = read_refusal(answer.body)
        if 300 <= answer.status < 400:
            target = urlsplit(answer.headers.get("location", ""))
            what += f" is redirected to {target.scheme}://{target.hostname}{target.path}"
        if self.key:
            hide = self.key.hide
            what = hide(what)
            fields = {hide(name): hide(text) for name, text in refusal.fields.items()}
            refusal = refusal._replace(message=hide(refusal.message), fields=fields)
        asked = read_retry_after(answer.headers.get("retry-after", ""))
        return error_class(answer.status)(
            what,
            status=answer.status,
            refusal=refusal,
            sentry=answer.headers.get("x-sentry-id", "")[:64],
            wait=min(asked or 0.0, LONGEST_RETRY_AFTER),
        )


def _path(*parts: str) -> str:
    # With its slash at the end: without it, each call would be answered by 308.
    return "".join(f"{quote(part, safe='{ }')}/" for part in parts)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _value(answer: Answer, what: str) -> Any:
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        kind = answer.headers.get("content-type", "an unknown type").partition(";")[0]
        raise UnexpectedError(
            f"{what}: the answer is no JSON but {kind}", status=answer.status
        ) from None


def _list(value: Any, what: str, name: str = "") -> list[dict[str, Any]]:
    """The list that an answer is, or has by ``name``: JSON of other APIs, such as version 2 of
    the portal's, has none there."""
    found = (value.get(name) if isinstance(value, dict) else None) if name else value
    if not isinstance(found, list):
        raise UnexpectedError(f"{what}: the answer is not that of version 1 of the API")
    return found


def _multipart(
    boundary: str, fields: Mapping[str, str], file: tuple[str, bytes] | None
) -> Iterator[bytes]:
    for name, text in fields.items():
        yield f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        yield f"{text}\r\n".encode()
    if file is not None:
        yield f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '.encode()
        yield f'filename="{file[0]}"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode()
        yield file[1]
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()
