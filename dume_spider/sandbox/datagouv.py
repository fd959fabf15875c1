"""A replica of data.gouv.fr's API, as far as a publisher of files uses it.

It behaves as a real udata 17.18 (the software of data.gouv.fr) was seen to behave over HTTP;
``tests/sandbox/test_datagouv.py`` runs one table of calls against both. What a client can
trip over is there: a session cookie that beats the key, tags emptied by an update without
them, titles rewritten by uploads, redirects, six shapes of errors. State is in memory, the
content of uploads in a folder. Full-text search, asynchronous jobs and the limits of the
production's front are not there.

Two modes are addresses, on the same data: below ``/read-only`` creating is refused (423),
below ``/max-1000`` bodies over 1000 bytes are (413).
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import orjson

from dume_spider.sandbox.datagouv_files import Uploads
from dume_spider.sandbox.datagouv_forms import (
    EXTENSIONS,
    FREQUENCIES,
    LICENCES,
    RESOURCE_TYPES,
    Errors,
    Refusal,
    invalid,
    invalid_argument,
    mask,
    mime_of,
    read_dataset,
    read_multipart,
    read_resource,
    refusal,
    slugify,
)
from dume_spider.sandbox.server import Answer, Asked

_API = "/api/1"
#: The mode of the portal, the limit of bodies in it, and the path without it.
_MODE = re.compile(r"(?P<mode>/read-only|/max-(?P<limit>\d+))?(?P<path>/.*)")
_DATASET = r"/datasets/(?P<dataset>[^/]+)"
_RESOURCE = _DATASET + r"/resources/(?P<resource>[^/]+)"
_OBJECT_ID = re.compile(r"[0-9a-f]{24}")
_PAGE_SIZE = 20
#: Orders of lists and what they compare.
_SORTS = {"title": "title", "created": "created_at", "last_update": "last_modified"}

_FORBIDDEN = "You do not have the permission to modify that object."
_GONE = "Dataset has been deleted"
_NOT_FOUND = "The requested URL was not found on the server."
_UNAUTHORIZED = "The server could not verify that you are authorized to access the URL requested."
_UNREADABLE = "The browser (or proxy) sent a request that this server could not understand."

_JSON_TYPE = {"Content-Type": "application/json"}
_HTML_TYPE = {"Content-Type": "text/html; charset=utf-8"}

#: What the portal says of a data set beside what the replica knows.
_DATASET_DEFAULTS = {
    "access_audiences": [],
    "access_type": "open",
    "access_type_reason": None,
    "access_type_reason_category": None,
    "acronym": None,
    "archived": None,
    "authorization_request_url": None,
    "badges": [],
    "contact_points": [],
    "deleted": None,
    "description_short": None,
    "doi": None,
    "extras": {},
    "featured": False,
    "frequency": "unknown",
    "frequency_date": None,
    "geopf": None,
    "harvest": None,
    "license": "notspecified",
    "metrics": {},
    "page": None,
    "private": False,
    "quality": {},
    "schema": None,
    "spatial": None,
}
_RESOURCE_DEFAULTS = {
    "checksum": None,
    "description": None,
    "extras": {},
    "filesize": None,
    "filetype": "file",
    "format": None,
    "geopf": None,
    "harvest": None,
    "metrics": {},
    "mime": None,
    "preview_url": None,
    "schema": None,
    "title": None,
    "type": "other",
    "url": None,
}
_ORGANIZATION_DEFAULTS = {
    "class": "Organization",
    "acronym": None,
    "badges": [],
    "logo": None,
    "logo_thumbnail": None,
    "page": None,
}


def _redirect(location: str, status: int = 308) -> Refusal:
    page = f"<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n<p>{location}</p>\n"
    return Refusal(status, page.encode(), {"Location": location} | _HTML_TYPE)


def _nowhere() -> Refusal:
    """The shape of an address outside the API."""
    return Refusal(404, {"error": _NOT_FOUND, "status": 404})


@dataclass(frozen=True)
class User:
    """Somebody with a key.

    ``roles``: organization id -> admin, editor, partial_editor. ``assigned``: the data sets
    that a partial editor has created.
    """

    id: str
    name: str
    sysadmin: bool = False
    roles: Mapping[str, str] = field(default_factory=dict)
    assigned: set[str] = field(default_factory=set)

    def may_edit(self, dataset: Mapping[str, Any]) -> bool:
        """Whether it is one's own, or one's organization's and one's role allows it."""
        if self.sysadmin or dataset["owner"] == self.id:
            return True
        role = self.roles.get(dataset["organization"])
        return role in ("admin", "editor") or dataset["id"] in self.assigned

    def may_see(self, dataset: Mapping[str, Any]) -> bool:
        """Who may see it although it is private or deleted."""
        return self.sysadmin or dataset["owner"] == self.id or dataset["organization"] in self.roles


@dataclass
class Call:
    """A request: who asks, and what its address says of the mode.

    ``mode`` comes before each ``path``; ``limit`` is in bytes. ``new_session`` is to be given
    as a cookie, ``status`` is that of an answer that is no refusal.
    """

    asked: Asked
    mode: str
    path: str
    limit: int | None
    user: User | None = None
    new_session: str | None = None
    status: int = 200

    def url(self, path: str) -> str:
        """The address of ``path`` on this portal, in the mode of the request."""
        return f"http://{self.asked.headers.get('host', 'localhost')}{self.mode}{path}"

    def argument(self, name: str) -> str | None:
        """A value of the query; the first of several."""
        return self.asked.query.get(name, [None])[0]

    @property
    def body(self) -> bytes:
        """The body. Raises :class:`Refusal` when it is over the limit."""
        if self.limit is not None and len(self.asked.body) > self.limit:
            raise refusal(413, "The data value transmitted exceeds the capacity limit.")
        return self.asked.body

    @property
    def sends_json(self) -> bool:
        """Whether the request says that its body is JSON."""
        return "application/json" in self.asked.headers.get("content-type", "")

    def json(self) -> Any:
        """The body, which has to be JSON."""
        try:
            return orjson.loads(self.body)
        except ValueError:
            raise refusal(400, _UNREADABLE) from None

    def json_object(self) -> dict[str, Any]:
        """The body, which has to be a JSON object and announced as JSON."""
        if not self.sends_json:
            raise invalid({"Content-Type": "expecting application/json"})
        value = self.json()
        if not isinstance(value, dict):
            raise invalid({"request": "expecting a JSON object"})
        return value

    def secure(self, creates: bool = False) -> User:
        """Who asks. Raises :class:`Refusal` without a key, or in read-only mode."""
        if creates and self.mode == "/read-only" and self.user and not self.user.sysadmin:
            raise refusal(423, "The creation of new content is currently disabled.")
        if self.user is None:
            raise refusal(401, _UNAUTHORIZED)
        return self.user


Handler = Callable[..., Any]

#: What is listed below ``/datasets/``; the labels of the portal are not here.
_REFERENCE_LISTS = {
    "licenses": [
        {"id": key, "title": title, "url": None, "maintainer": None}
        | {"flags": [], "alternate_titles": [], "alternate_urls": []}
        for key, title in LICENCES.items()
    ],
    "frequencies": [{"id": key, "label": key} for key in FREQUENCIES],
    "resource_types": [{"id": key, "label": key} for key in RESOURCE_TYPES],
    "extensions": sorted(EXTENSIONS),
    "schemas": [],
}
_PART_STORED = {"success": True, "error": None, "message": ""}
_NOT_FOUND_PAGE = "<!DOCTYPE html>\n<title>404 - Page non trouvée</title>\n".encode()


class DatagouvReplica:
    """The portal: its accounts, its data sets and its answers.

    ``folder`` is for the content of uploads; it has to outlive the replica. ``now`` gives the
    time, in UTC. ``keys`` has a key for each of: ``sysadmin``; ``owner`` (admin), ``editor``
    and ``partial`` (partial_editor) of ``organization``; ``outsider`` (admin of
    ``other_organization``); and keys that are refused: ``inactive``, ``revoked``, ``expired``.
    """

    path = "/"
    address = _API

    def __init__(self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)):
        self._uploads = Uploads(folder)
        self._now = now
        self._organizations = {
            _object_id(): {"name": name, "slug": slugify(name)}
            for name in ("Ville de Testville", "Autre organisation")
        }
        self.organization, self.other_organization = self._organizations
        ours = self.organization
        users = [
            User(_object_id(), "sysadmin", sysadmin=True),
            User(_object_id(), "owner", roles={ours: "admin"}),
            User(_object_id(), "editor", roles={ours: "editor"}),
            User(_object_id(), "partial", roles={ours: "partial_editor"}),
            User(_object_id(), "outsider", roles={self.other_organization: "admin"}),
        ]
        self._users = {user.id: user for user in users}
        refused = {
            "inactive": _UNAUTHORIZED,
            "revoked": "Revoked API token",
            "expired": "Expired API token",
        }
        holders: dict[str, User | str] = {**{user.name: user for user in users}, **refused}
        self.keys = {name: f"udata_{secrets.token_urlsafe(48)}" for name in holders}
        #: Key -> who holds it, or why it is refused.
        self._holders = {self.keys[name]: holder for name, holder in holders.items()}
        self._sessions: dict[str, User] = {}
        self._datasets: dict[str, dict[str, Any]] = {}
        #: Slug -> the data set that has it, or had it last.
        self._slugs: dict[str, str] = {}
        self._requests: Counter[str] = Counter()
        self._given: Counter[str] = Counter()
        self._routes = [(re.compile(pattern), handlers) for pattern, handlers in self._table()]

    def _table(self) -> Iterator[tuple[str, dict[str, Handler]]]:
        """Addresses below ``/api/1`` and who answers; the first that matches."""
        yield "/me/", {"GET": self._me}
        yield "/me/org_datasets/", {"GET": self._own_datasets}
        organization = "/organizations/(?P<organization>[^/]+)/"
        yield organization, {"GET": self._organization}
        yield organization + "datasets/", {"GET": self._datasets_of_organization}
        yield "/datasets/", {"GET": self._list, "POST": self._create}
        for name, values in _REFERENCE_LISTS.items():
            yield f"/datasets/{name}/", {"GET": lambda call, values=values: values}
        yield "/datasets/r/(?P<resource>[^/]+)", {"GET": self._permanent}
        yield _DATASET + "/", {"GET": self._read, "PUT": self._update, "DELETE": self._delete}
        yield _DATASET + "/upload/", {"POST": self._upload}
        yield _DATASET + "/resources/", {"POST": self._add_remote, "PUT": self._reorder}
        resource = {"GET": self._read_resource, "PUT": self._update_resource}
        yield _RESOURCE + "/", {**resource, "DELETE": self._delete_resource}
        yield _RESOURCE + "/upload/", {"POST": self._replace}

    def describe(self) -> dict[str, Any]:
        """What a client has to know: ``keys`` and the ids of both organizations."""
        return {
            "keys": self.keys,
            "organization": self.organization,
            "other_organization": self.other_organization,
        }

    # What the server asks of a replica.

    def answer(self, asked: Asked) -> Answer:
        """The portal's answer to a request."""
        match = _MODE.fullmatch(asked.path)
        mode, limit, path = match.groups() if match else (None, None, asked.path)
        call = Call(asked, mode or "", path, int(limit) if limit else None)
        try:
            content = self._dispatch(call)
            status, headers, body = call.status, _JSON_TYPE, content
            if isinstance(content, bytes):
                headers = {"Content-Type": mime_of(path)}
        except Refusal as refused:
            status, body, headers = refused.status, refused.body, _JSON_TYPE | refused.headers
            if status == 404 and "text/html" in asked.headers.get("accept", ""):
                body, headers = _NOT_FOUND_PAGE, _HTML_TYPE
            if status == 401:
                headers |= {"WWW-Authenticate": 'Bearer realm="uData"'}
        if not isinstance(body, bytes):
            body = b"" if body is None else orjson.dumps(body)
        if call.new_session:
            # Not "Secure": a client that keeps cookies has to notice it here, over http.
            cookie = f"session={call.new_session}; HttpOnly; Path=/; SameSite=Lax"
            headers = {**headers, "Set-Cookie": cookie}
        reference = f"{asked.method} {asked.path}"
        return Answer(status, body, f"{asked.method} {status}", reference, headers)

    def delivered(self, answer: Answer) -> None:
        """Count an answer that has been sent whole."""
        self._requests[answer.kind] += 1
        if answer.reference is not None:
            self._given[answer.reference] += 1

    def stats(self) -> dict[str, Any]:
        """Answers sent whole: ``requests`` by method and status (``POST 201``)."""
        return {"requests": dict(self._requests)}

    def references(self) -> dict[str, int]:
        """How many answers each method and address got (``PUT /api/1/datasets/…/``)."""
        return dict(self._given)

    # From the address to the answer: what is missing is said before who may not.

    def _dispatch(self, call: Call) -> Any:
        """What the answer holds; bytes are a file, ``None`` is nothing."""
        asked, method = call.asked, call.asked.method
        below = call.path.removeprefix(_API)
        if below == call.path:
            file = self._uploads.find(call.path)
            if file is None or method != "GET":
                raise _nowhere()
            return file.read_bytes()
        for pattern, handlers in self._routes:
            if (match := pattern.fullmatch(below)) is None:
                continue
            if method not in handlers:
                # GET of an address that only takes others leads to the portal's pages.
                if method == "GET":
                    raise _nowhere()
                message = "The method is not allowed for the requested URL."
                raise Refusal(405, {"message": message}, {"Allow": ", ".join(handlers)})
            found: dict[str, Any] = match.groupdict()
            if "dataset" in found:
                found["dataset"] = self._find(call, found["dataset"])
            if "organization" in found:
                found["organization"] = self._find_organization(found["organization"])
            self._authenticate(call)
            content = handlers[method](call, **found)
            wanted = asked.headers.get("x-fields")
            return mask(wanted, content) if wanted and content is not None else content
        if any(pattern.fullmatch(below + "/") for pattern, _ in self._routes):
            query = urlencode(asked.query, doseq=True)
            raise _redirect(call.url(quote(call.path) + "/") + (f"?{query}" if query else ""))
        raise _nowhere()

    def _find(self, call: Call, name: str) -> dict[str, Any]:
        """The data set of an id or a slug; an old or differently written slug redirects."""
        if name in self._datasets:
            return self._datasets[name]
        plain = slugify(name)
        dataset = self._datasets.get(self._slugs.get(plain, ""))
        if dataset is None or name != plain != dataset["slug"]:
            raise refusal(404, _NOT_FOUND)
        if dataset["slug"] != name:
            start = f"{_API}/datasets/"
            rest = call.path.removeprefix(f"{start}{name}")
            raise _redirect(f"{call.mode}{start}{dataset['slug']}{rest}")
        return dataset

    def _find_organization(self, name: str) -> str:
        for identifier, organization in self._organizations.items():
            if name in (identifier, organization["slug"]):
                return identifier
        raise refusal(404, _NOT_FOUND)

    def _authenticate(self, call: Call) -> None:
        """A session's cookie counts more than a key; a key opens a session."""
        cookies = call.asked.headers.get("cookie", "").split(";")
        for name, _, value in (cookie.strip().partition("=") for cookie in cookies):
            if name == "session" and value in self._sessions:
                call.user = self._sessions[value]
                return
        if key := call.asked.headers.get("x-api-key"):
            holder = self._holders.get(key, "Invalid API token")
            if isinstance(holder, str):
                raise refusal(401, holder)
            call.user, call.new_session = holder, secrets.token_urlsafe()
            self._sessions[call.new_session] = holder

    # Accounts.

    def _me(self, call: Call) -> dict[str, Any]:
        user = call.secure()
        return {
            **self._user_reference(user),
            "email": f"{user.name}@example.org",
            "active": True,
            "roles": ["admin"] if user.sysadmin else [],
            "organizations": [self._organization_reference(call, each) for each in user.roles],
        }

    def _user_reference(self, user: User) -> dict[str, Any]:
        return {
            "class": "User",
            "id": user.id,
            "first_name": user.name.title(),
            "last_name": "Test",
            "slug": f"{user.name}-test",
        }

    def _organization_reference(self, call: Call, identifier: str) -> dict[str, Any]:
        organization = self._organizations[identifier]
        role = call.user.roles.get(identifier) if call.user else None
        admin = role == "admin" or (call.user is not None and call.user.sysadmin)
        return {
            "id": identifier,
            **_ORGANIZATION_DEFAULTS,
            **organization,
            "uri": call.url(f"{_API}/organizations/{organization['slug']}/"),
            "permissions": {
                **dict.fromkeys(("delete", "edit", "harvest", "members"), admin),
                "private": admin or role is not None,
            },
        }

    def _organization(self, call: Call, organization: str) -> dict[str, Any]:
        members = [
            {"role": user.roles[organization], "user": self._user_reference(user)}
            for user in self._users.values()
            if organization in user.roles
        ]
        return self._organization_reference(call, organization) | {"members": members}

    # Lists of data sets.

    def _own_datasets(self, call: Call) -> list[dict[str, Any]]:
        user, part = call.secure(), (call.argument("q") or "").lower()
        return [
            self._view(call, dataset)
            for dataset in self._datasets.values()
            if dataset["owner"] == user.id or dataset["organization"] in user.roles
            if part in dataset["title"].lower()
        ]

    def _datasets_of_organization(self, call: Call, organization: str) -> dict[str, Any]:
        return self._page(call, lambda dataset: dataset["organization"] == organization)

    def _list(self, call: Call) -> dict[str, Any]:
        flags = {
            name: value
            for name in ("private", "archived", "deleted")
            if (value := _flag(call, name)) is not None
        }
        if flags and call.user is None:
            raise refusal(401, _UNAUTHORIZED)
        if call.argument("q"):
            # As a udata without its search engine, rather than with everything.
            raise refusal(500, "Internal Server Error")
        organization, licence = call.argument("organization"), call.argument("license")
        if organization is not None and not _OBJECT_ID.fullmatch(organization):
            raise refusal(400, "Organization arg must be an identifier")
        tags = set(call.asked.query.get("tag", ()))
        return self._page(
            call,
            lambda dataset: (
                organization in (None, dataset["organization"])
                and licence in (None, dataset["license"])
                and tags <= set(dataset["tags"])
                and all(bool(dataset[name]) == value for name, value in flags.items())
            ),
        )

    def _page(self, call: Call, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """A page of the data sets that are wanted, of those that who asks may see."""
        number, size = _positive(call, "page", 1), _positive(call, "page_size", _PAGE_SIZE)
        sort = call.argument("sort") or "-created"
        if sort.removeprefix("-") not in _SORTS:
            raise invalid_argument("sort", f"The value {sort!r} is not a valid choice.")
        found = [
            dataset
            for dataset in self._datasets.values()
            if wanted(dataset)
            if not (dataset["private"] or dataset["archived"] or dataset["deleted"])
            or (call.user is not None and call.user.may_see(dataset))
        ]
        compared = _SORTS[sort.removeprefix("-")]
        found.sort(key=lambda dataset: dataset[compared])
        if sort.startswith("-"):
            found.reverse()
        first, end = (number - 1) * size, number * size
        if number > 1 and first >= len(found):
            raise refusal(404, _NOT_FOUND)

        def page(at: int) -> str:
            query = urlencode({**call.asked.query, "page": [at]}, doseq=True)
            return call.url(f"{quote(call.path)}?{query}")

        return {
            "data": [self._view(call, dataset) for dataset in found[first:end]],
            "page": number,
            "page_size": size,
            "total": len(found),
            "next_page": page(number + 1) if end < len(found) else None,
            "previous_page": page(number - 1) if number > 1 else None,
        }

    # Data sets.

    def _create(self, call: Call) -> dict[str, Any]:
        user = call.secure(creates=True)
        given, moment = call.json_object(), self._stamp()
        changes, errors = read_dataset(given, sysadmin=user.sysadmin)
        dataset = {
            **_DATASET_DEFAULTS,
            "id": _object_id(),
            "created_at": moment,
            "last_modified": moment,
            "organization": self._publisher(given.get("organization"), user, errors),
            "owner": None if given.get("organization") else user.id,
            "resources": [],
        }
        dataset |= changes | {"resources": self._resources(call, dataset, changes, errors)}
        if errors:
            raise invalid(errors)
        self._datasets[dataset["id"]] = dataset
        self._name(dataset)
        call.status, view = 201, self._view(call, dataset)
        # Only after the answer is made: it does not say yet that it may be changed.
        if user.roles.get(dataset["organization"]) == "partial_editor":
            user.assigned.add(dataset["id"])
        return view

    def _publisher(self, given: Any, user: User, errors: Errors) -> str | None:
        """The organization that is to publish: its id, or an object with it."""
        identifier = given.get("id") if isinstance(given, dict) else given
        if identifier is None:
            return None
        if not isinstance(identifier, str) or not _OBJECT_ID.fullmatch(identifier):
            errors["organization"] = [f"Unsupported identifier: {identifier}"]
        elif identifier not in self._organizations:
            errors["organization"] = ["Cette organisation n'existe pas"]
        elif not user.sysadmin and identifier not in user.roles:
            errors["organization"] = ["Permission refusée pour cette organisation"]
        return identifier

    def _resources(
        self, call: Call, dataset: dict[str, Any], changes: dict[str, Any], errors: Errors
    ) -> list[dict[str, Any]]:
        """The resources of a data set: a list that is given, unless empty, replaces them all."""
        if not (given := changes.get("resources")):
            return dataset["resources"]
        known = {resource["id"]: resource for resource in dataset["resources"]}
        resources, wrong = [], []
        for each in given:
            resource = known.get(str(each.get("id"))) or self._new_resource()
            read, faults = self._read_form(call, each, resource)
            resources.append(resource | read)
            wrong.append(faults)
        if any(wrong):
            errors["resources"] = wrong
        return resources

    def _name(self, dataset: dict[str, Any]) -> None:
        """Give the slug of the title; those that it had before go on to lead to it."""
        plain = slugify(dataset["title"])
        slug, count = plain, 0
        while (
            (other := self._datasets.get(self._slugs.get(slug, "")))
            and other["id"] != dataset["id"]
            and other["slug"] == slug
        ):
            count += 1
            slug = f"{plain}-{count}"
        dataset["slug"] = slug
        self._slugs[slug] = dataset["id"]

    def _read(self, call: Call, dataset: dict[str, Any]) -> dict[str, Any]:
        self._check_read(call, dataset)
        return self._view(call, dataset)

    def _check_read(self, call: Call, dataset: dict[str, Any]) -> None:
        if call.user is not None and call.user.may_see(dataset):
            return
        if dataset["private"]:
            raise refusal(404, _NOT_FOUND)
        if dataset["deleted"]:
            raise refusal(410, _GONE)

    def _update(self, call: Call, dataset: dict[str, Any]) -> dict[str, Any]:
        user = call.secure()
        if not call.sends_json:
            raise refusal(415, "The request Content-Type was not 'application/json'.")
        given = call.json_object()
        if dataset["deleted"] and given.get("deleted", True) is not None:
            raise refusal(410, _GONE)
        self._check_edit(call, dataset)
        changes, errors = read_dataset(given, dataset, user.sysadmin)
        if "organization" in given:
            organization = self._publisher(given["organization"], user, errors)
            if organization is None and dataset["organization"]:
                raise refusal(500, "Internal Server Error")
            if organization != dataset["organization"]:
                errors.setdefault("organization", ["Impossible de modifier le propriétaire."])
        resources = self._resources(call, dataset, changes, errors)
        if errors:
            raise invalid(errors)
        renamed = changes.get("title", dataset["title"]) != dataset["title"]
        dataset |= changes | {"resources": resources, "last_modified": self._stamp()}
        if renamed:
            self._name(dataset)
        return self._view(call, dataset)

    def _check_edit(self, call: Call, dataset: dict[str, Any]) -> None:
        if not call.secure().may_edit(dataset):
            raise refusal(403, _FORBIDDEN)

    def _delete(self, call: Call, dataset: dict[str, Any]) -> None:
        call.secure()
        if dataset["deleted"]:
            raise refusal(410, _GONE)
        self._check_edit(call, dataset)
        dataset["deleted"] = dataset["last_modified"] = self._stamp()
        call.status = 204

    def _view(self, call: Call, dataset: dict[str, Any]) -> dict[str, Any]:
        """A data set as who asks sees it."""
        organization, owner = dataset["organization"], dataset["owner"]
        may_edit = call.user is not None and call.user.may_edit(dataset)
        stamps = [resource["last_modified"] for resource in dataset["resources"]]
        return {
            **dataset,
            "internal": _internal(dataset),
            "last_update": max(stamps, default=dataset["last_modified"]),
            "organization": organization and self._organization_reference(call, organization),
            "owner": owner and self._user_reference(self._users[owner]),
            "permissions": dict.fromkeys(("delete", "edit", "edit_resources"), may_edit),
            "resources": [self._resource_view(call, each) for each in dataset["resources"]],
            "uri": call.url(f"{_API}/datasets/{dataset['slug']}/"),
        }

    # Resources.

    def _permanent(self, call: Call, resource: str) -> None:
        for dataset in self._datasets.values():
            for each in dataset["resources"]:
                if each["id"] == resource:
                    raise _redirect(self._resource_view(call, each)["url"], status=302)
        raise refusal(404, "Resource not found")

    def _resource(self, dataset: dict[str, Any], identifier: str) -> dict[str, Any]:
        for resource in dataset["resources"]:
            if resource["id"] == identifier:
                return resource
        raise refusal(404, "Resource does not exist")

    def _read_resource(self, call: Call, dataset: dict[str, Any], resource: str) -> dict[str, Any]:
        self._check_read(call, dataset)
        return self._resource_view(call, self._resource(dataset, resource))

    def _new_resource(self) -> dict[str, Any]:
        moment = self._stamp()
        stamps = {"created_at": moment, "last_modified": moment}
        return {**_RESOURCE_DEFAULTS, "id": str(uuid4()), **stamps}

    def _read_form(
        self, call: Call, given: dict[str, Any], resource: dict[str, Any]
    ) -> tuple[dict[str, Any], Errors]:
        """What a form changes; the address of a file here, sent back, is none to judge."""
        if resource["url"] and given.get("url") == self._resource_view(call, resource)["url"]:
            given = {name: value for name, value in given.items() if name != "url"}
        return read_resource(given, resource, call.secure().sysadmin)

    def _add_remote(self, call: Call, dataset: dict[str, Any]) -> dict[str, Any]:
        call.secure(creates=True)
        self._check_edit(call, dataset)
        resource = self._new_resource()
        changes, errors = self._read_form(call, call.json_object(), resource)
        if errors:
            raise invalid(errors)
        if changes.get("filetype") != "remote":
            raise refusal(400, "This endpoint only supports remote resources")
        return self._add(call, dataset, resource | changes)

    def _add(self, call: Call, dataset: dict[str, Any], resource: dict[str, Any]) -> dict[str, Any]:
        dataset["resources"] = [resource, *dataset["resources"]]
        dataset["last_modified"] = self._stamp()
        call.status = 201
        return self._resource_view(call, resource)

    def _change(
        self, call: Call, dataset: dict[str, Any], resource: dict[str, Any], changes: dict[str, Any]
    ) -> dict[str, Any]:
        resource |= changes | {"last_modified": self._stamp()}
        dataset["last_modified"] = resource["last_modified"]
        return self._resource_view(call, resource)

    def _update_resource(
        self, call: Call, dataset: dict[str, Any], resource: str
    ) -> dict[str, Any]:
        self._check_edit(call, dataset)
        found, given = self._resource(dataset, resource), call.json_object()
        changes, errors = self._read_form(call, given, found)
        if errors:
            raise invalid(errors)
        if given.get("filetype", found["filetype"]) != found["filetype"]:
            raise refusal(400, "Cannot modify filetype after creation")
        return self._change(call, dataset, found, changes)

    def _delete_resource(self, call: Call, dataset: dict[str, Any], resource: str) -> None:
        self._check_edit(call, dataset)
        found = self._resource(dataset, resource)
        self._uploads.remove(found["url"])
        dataset["resources"] = [each for each in dataset["resources"] if each is not found]
        dataset["last_modified"] = self._stamp()
        call.status = 204

    def _reorder(self, call: Call, dataset: dict[str, Any]) -> list[dict[str, Any]]:
        self._check_edit(call, dataset)
        given, known = call.json(), {each["id"]: each for each in dataset["resources"]}
        given = given if isinstance(given, list) else [given]
        if len(given) != len(known):
            message = f"All resources must be reordered, you provided {len(given)}"
            raise refusal(400, f"{message} out of {len(known)}")
        order = [each.get("id") if isinstance(each, dict) else each for each in given]
        if not all(isinstance(each, str) for each in order):
            raise refusal(400, "Each resource must have an 'id' field")
        if set(order) != set(known):
            raise refusal(400, "Resource ids must match existing ones in dataset")
        dataset["resources"] = [known[each] for each in order]
        return [self._resource_view(call, each) for each in dataset["resources"]]

    def _upload(self, call: Call, dataset: dict[str, Any]) -> dict[str, Any]:
        call.secure(creates=True)
        self._check_edit(call, dataset)
        if (stored := self._receive(call, dataset)) is None:
            return _PART_STORED
        resource = self._new_resource() | {"type": "main"} | stored
        return self._add(call, dataset, resource) | {"success": True}

    def _replace(self, call: Call, dataset: dict[str, Any], resource: str) -> dict[str, Any]:
        call.secure(creates=True)
        self._check_edit(call, dataset)
        found = self._resource(dataset, resource)
        if (stored := self._receive(call, dataset)) is None:
            return _PART_STORED
        self._uploads.remove(found["url"])
        return self._change(call, dataset, found, stored) | {"success": True}

    def _receive(self, call: Call, dataset: dict[str, Any]) -> dict[str, Any] | None:
        fields, file = read_multipart(call.asked.headers.get("content-type", ""), call.body)
        return self._uploads.receive(fields, file, dataset["slug"], self._now())

    def _resource_view(self, call: Call, resource: dict[str, Any]) -> dict[str, Any]:
        url = resource["url"]
        return {
            **resource,
            "internal": _internal(resource),
            "latest": call.url(f"{_API}/datasets/r/{resource['id']}"),
            "url": call.url(url) if url.startswith("/resources/") else url,
        }

    def _stamp(self) -> str:
        return self._now().isoformat(timespec="milliseconds")


def _object_id() -> str:
    return secrets.token_hex(12)


def _internal(stamped: Mapping[str, Any]) -> dict[str, str]:
    return {
        "created_at_internal": stamped["created_at"],
        "last_modified_internal": stamped["last_modified"],
    }


def _positive(call: Call, name: str, default: int) -> int:
    text = call.argument(name)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        raise invalid_argument(name, f"{text} is not a valid integer") from None
    if number < 1:
        raise invalid_argument(name, f"{name} must be a positive integer")
    return number


def _flag(call: Call, name: str) -> bool | None:
    text = call.argument(name)
    if text is not None and text not in ("true", "false", "1", "0"):
        raise invalid_argument(name, f"Invalid literal for boolean(): {text}")
    return None if text is None else text in ("true", "1")
