"""One table of calls, run against the replica and (marked ``udata``) against a real udata.

What is asserted of one is asserted of the other: status, and shape of the answer. Texts of
messages differ, and no client may rely on them.
"""

# ruff: noqa: SIM905, E501 - lists of words are split texts, rows of tables stay rows

from __future__ import annotations

import hashlib
import itertools
import time
from typing import Any

import pytest
from portals import Form, Portal, Reply

from dume_spider.sandbox.datagouv_forms import EXTENSIONS, FREQUENCIES

_numbers = itertools.count(1)

MESSAGE = {"message": str}
NOWHERE = {"error": str, "status": 404}
UPLOAD_ERROR = {"success": False, "error": str, "message": ""}
PART_STORED = {"success": True, "error": None, "message": ""}
WRONG_ARGUMENT = {"message": str, "errors": dict}
UNKNOWN = "12345678-1234-4234-8234-123456789012"
VALID = {"title": "Essai", "description": "Pour voir."}
REMOTE = {"title": "R", "url": "https://example.org/a.json", "filetype": "remote"}
PAGE = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
JSON = {"Content-Type": "application/json"}


def errors(**fields: Any) -> dict[str, Any]:
    """The shape of a form's errors: no message, a list of texts for each field."""
    return {"errors": dict(fields)}


class Has(dict):
    """The shape of an object that has these fields, and may have others."""


def differs(shape: Any, value: Any, where: str = "answer") -> str | None:
    """Where a value is not of a shape: a type, an object, a list, or the value itself.

    A list of one type or object stands for any number of them, but not for none.
    """
    if isinstance(shape, type):
        return None if isinstance(value, shape) else f"{where}: {value!r} is no {shape.__name__}"
    if isinstance(shape, dict) and isinstance(value, dict):
        if not isinstance(shape, Has) and shape.keys() != value.keys():
            return f"{where}: fields {sorted(value)}, not {sorted(shape)}"
        found = (differs(part, value.get(name), f"{where}.{name}") for name, part in shape.items())
        return next(filter(None, found), None)
    if isinstance(shape, list) and isinstance(value, list):
        if len(shape) == 1 and isinstance(shape[0], type | dict):
            shape = shape * max(1, len(value))
        if len(shape) != len(value):
            return f"{where}: {value!r} is not {shape!r}"
        found = (differs(*pair, f"{where}[]") for pair in zip(shape, value, strict=True))
        return next(filter(None, found), None)
    return None if shape == value else f"{where}: {value!r} is not {shape!r}"


def check(reply: Reply, status: int, shape: Any = None) -> Any:
    """Assert status and shape; give the JSON."""
    content = reply.json if "json" in reply.headers.get("Content-Type", "json") else reply.body
    assert reply.status == status, content
    if shape is not None:
        assert differs(shape, content) is None, differs(shape, content)
    return content


def create(portal: Portal, role: str = "owner", **fields: Any) -> dict[str, Any]:
    """A data set of the first organization, with a title that no other has."""
    title = f"Jeu {next(_numbers)} {time.time_ns()}"
    given = {**VALID, "title": title, "organization": portal.organization, **fields}
    return check(portal.call("POST", "/datasets/", role, given), 201)


def upload(portal: Portal, dataset: dict[str, Any], name: str, content: bytes = b"{}") -> Any:
    path = f"/datasets/{dataset['id']}/upload/"
    return check(portal.call("POST", path, "owner", form=Form(file=(name, content))), 201)


def read(portal: Portal, dataset: dict[str, Any], role: str | None = "owner") -> dict[str, Any]:
    return check(portal.call("GET", f"/datasets/{dataset['id']}/", role), 200)


def as_it_was(made: dict[str, Any]) -> dict[str, Any]:
    return {name: made[name] for name in ("id", "title", "slug", "tags", "extras", "license")}


# Who may create, and what a data set can be made of.


@pytest.mark.parametrize(
    ("role", "headers", "status", "shape"),
    [
        (None, {}, 401, MESSAGE),
        (None, {"X-API-KEY": ""}, 401, MESSAGE),
        (None, {"X-API-KEY": "nobody's"}, 401, MESSAGE),
        ("inactive", {}, 401, MESSAGE),
        ("revoked", {}, 401, MESSAGE),
        ("expired", {}, 401, MESSAGE),
        ("outsider", {}, 400, errors(organization=[str])),
        ("owner", {}, 201, Has(owner=None)),
        ("editor", {}, 201, Has(owner=None)),
        ("partial", {}, 201, Has(owner=None)),
        ("sysadmin", {}, 201, Has(owner=None)),
    ],
)
def test_who_may_create(portal, role, headers, status, shape):
    given = VALID | {"organization": portal.organization}
    reply = portal.call("POST", "/datasets/", role, given, headers=headers)
    check(reply, status, shape)
    assert reply.headers.get("WWW-Authenticate") == (
        'Bearer realm="uData"' if status == 401 else None
    )


def test_a_key_elsewhere_than_in_its_header(portal):
    key = portal.keys["owner"]
    for header, status in (
        ({"Authorization": f"Bearer {key}"}, 401),
        ({"X-API-KEY": f"  {key} "}, 200),
        ({"X-API-KEY": f"{key[:9]} {key[9:]}"}, 401),
    ):
        check(portal.call("GET", "/me/", headers=header), status)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ({}, errors(title=[str], description=[str])),
        ({"title": "x"}, errors(description=[str])),
        (VALID | {"title": None}, errors(title=[str])),
        (VALID | {"title": "  "}, errors(title=[str])),
        (VALID | {"title": "x" * 351}, errors(title=[str])),
        (VALID | {"description": ""}, errors(description=[str])),
        (VALID | {"description": "x" * 100_001}, errors(description=[str])),
        (VALID | {"organization": "ville-de-testville"}, errors(organization=[str])),
        (VALID | {"organization": 12}, errors(organization=[str])),
        (VALID | {"organization": "0" * 24}, errors(organization=[str])),
        (VALID | {"frequency": "journalier"}, MESSAGE),
        (VALID | {"frequency": ""}, MESSAGE),
        ({"frequency": "journalier"}, MESSAGE),
        (VALID | {"tags": ["ab", "abc"]}, errors(tags=[str])),
        (VALID | {"tags": ["a" * 97]}, errors(tags=[str])),
        (VALID | {"extras": [1]}, errors(extras=[str])),
        (VALID | {"extras": {"a": None}}, errors(extras={"a": str})),
        (VALID | {"archived": "hier"}, errors(archived=[str])),
        (VALID | {"temporal_coverage": {"start": "x"}}, errors(temporal_coverage=[str])),
        (VALID | {"temporal_coverage": {"end": "2024-01-01"}}, errors(temporal_coverage=[str])),
        (VALID | {"resources": [{"title": ""}]}, errors(resources=[{"title": list, "url": list}])),
        ([1], {"errors": {"request": str}}),
    ],
)
def test_a_data_set_is_refused(portal, given, shape):
    check(portal.call("POST", "/datasets/", "owner", given), 400, shape)


@pytest.mark.parametrize(
    ("body", "headers", "status", "shape"),
    [
        (b"{", JSON, 400, MESSAGE),
        (b"", JSON, 400, MESSAGE),
        ('{"title": "é"}'.encode("latin-1"), JSON, 400, MESSAGE),
        (b"{}", {}, 400, {"errors": {"Content-Type": str}}),
        (b"title=x", {"Content-Type": "application/x-www-form-urlencoded"}, 400, dict),
        (b"{}", {"Content-Type": "application/json; charset=utf-8"}, 400, {"errors": dict}),
    ],
)
def test_bodies_that_are_no_form(portal, body, headers, status, shape):
    check(portal.call("POST", "/datasets/", "owner", body=body, headers=headers), status, shape)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"frequency": "unknown", "license": "notspecified", "private": False, "tags": []}),
        ({"title": 12}, {"title": "12"}),
        ({"title": " a b "}, {"title": " a b "}),
        ({"acronym": "DECP"}, {"acronym": "DECP"}),
        ({"license": "fr-lo"}, {"license": "fr-lo"}),
        ({"license": "lov3"}, {"license": "notspecified"}),
        ({"license": None}, {"license": "notspecified"}),
        ({"frequency": "daily"}, {"frequency": "daily"}),
        ({"frequency": None}, {"frequency": "unknown"}),
        ({"frequency": "realtime"}, {"frequency": "continuous"}),
        ({"frequency": "fourTimesADay"}, {"frequency": "severalTimesADay"}),
        ({"frequency": "fourTimesAWeek"}, {"frequency": "other"}),
        ({"frequency": "fortnighly"}, {"frequency": "biweekly"}),
        ({"frequency": "biannual"}, {"frequency": "semiannual"}),
        (
            {"tags": ["Données-essentielles", "marchés publics", "ÉTÉ", "été", "données_x"]},
            {"tags": ["donnees-essentielles", "donnees-x", "ete", "marches-publics"]},
        ),
        ({"tags": ["commande d'État", "a.b.c"]}, {"tags": ["a-b-c", "commande-detat"]}),
        ({"tags": "abc, def"}, {"tags": ["abc", "def"]}),
        ({"tags": ["abc,def"]}, {"tags": ["abc", "def"]}),
        ({"tags": ["abc,def", "ghi"]}, {"tags": ["abc-def", "ghi"]}),
        ({"private": True}, {"private": True}),
        ({"private": "true"}, {"private": True}),
        ({"private": "false"}, {"private": False}),
        ({"private": None}, {"private": False}),
        ({"extras": {"siret": "1", "a": {"b": [1.5]}}}, {"extras": {"siret": "1", "a": {"b": [1.5]}}}),
        (
            {"extras": {"transport:x": 1, "recommendations-x": 2, "dcat": 3, "kept": 4}},
            {"extras": {"kept": 4}},
        ),
        (
            {"temporal_coverage": {"start": "2024-01-01", "end": "2024-12-31"}},
            {"temporal_coverage": {"start": "2024-01-01", "end": "2024-12-31"}},
        ),
        ({"archived": "2024-01-01T00:00:00"}, {"archived": "2024-01-01T00:00:00+00:00"}),
        ({"resources": [REMOTE]}, {"resources": [Has(title="R", filetype="remote")]}),
        ({"nothing known": 1}, {}),
    ],
)  # fmt: skip
def test_a_data_set_as_it_is_taken(portal, given, expected):
    made = create(portal, **given)
    assert differs(Has(expected), made) is None
    again = read(portal, made)
    if "temporal_coverage" not in given:  # given back with the time once it is stored
        assert differs(Has(expected), again) is None


def test_where_a_data_set_belongs(portal):
    by_object = create(portal, organization={"id": portal.organization})
    assert (by_object["organization"]["id"], by_object["owner"]) == (portal.organization, None)
    own = create(portal, organization=None)
    assert own["organization"] is None
    assert own["owner"]["id"] == portal.call("GET", "/me/", "owner").json["id"]
    path = f"/datasets/{own['id']}/"
    check(portal.call("PUT", path, "editor", {"title": "x"}), 403, MESSAGE)
    check(portal.call("PUT", path, "owner", {"title": "x"}), 200)


def test_nothing_is_idempotent(portal):
    first = create(portal)
    second = create(portal, title=first["title"])
    assert second["slug"] == f"{first['slug']}-1"
    one, two = (check(portal.call(
        "POST", f"/datasets/{first['id']}/resources/", "owner", REMOTE), 201) for _ in range(2)
    )  # fmt: skip
    assert one["id"] != two["id"]
    assert len(read(portal, first)["resources"]) == 2


# What an update changes, and what it takes away.

FULL = {
    "tags": ["abc", "def"],
    "extras": {"x": 1},
    "license": "lov2",
    "frequency": "daily",
    "acronym": "A",
    "private": True,
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, FULL),
        ({"title": "Autre titre"}, FULL | {"tags": []}),
        ({"nothing known": 1}, FULL | {"tags": []}),
        ({"tags": None}, FULL | {"tags": []}),
        ({"tags": ["zzz", "yyy"]}, FULL | {"tags": ["yyy", "zzz"]}),
        ({"extras": {"y": 2}}, FULL | {"tags": [], "extras": {"y": 2}}),
        ({"extras": None}, FULL | {"tags": [], "extras": {}}),
        ({"license": "etalab-2.0"}, FULL | {"tags": [], "license": "notspecified"}),
        ({"frequency": None}, FULL | {"tags": [], "frequency": "unknown"}),
        ({"private": None}, FULL | {"tags": [], "private": False}),
        ({"private": False, "tags": ["abc"]}, FULL | {"tags": ["abc"], "private": False}),
        ({"resources": []}, FULL | {"tags": [], "resources": [Has(title="R")]}),
        ({"resources": [REMOTE | {"title": "S"}]}, FULL | {"tags": [], "resources": [Has(title="S")]}),
    ],
)  # fmt: skip
def test_update(portal, given, expected):
    made = create(portal, **FULL)
    check(portal.call("POST", f"/datasets/{made['id']}/resources/", "owner", REMOTE), 201)
    reply = portal.call("PUT", f"/datasets/{made['id']}/", "owner", given)
    expected = {"title": given.get("title", made["title"]), **expected}
    check(reply, 200, Has(expected))
    assert differs(Has(expected), read(portal, made)) is None


def test_extras_that_are_the_portals_own(portal):
    made = create(portal)
    remote = portal.call("POST", f"/datasets/{made['id']}/resources/", "owner", REMOTE).json
    path = f"/datasets/{made['id']}/"
    for where, name in ((path, "dcat"), (f"{path}resources/{remote['id']}/", "check:x")):
        for role, given, expected in (
            ("owner", {name: 1, "a": 1}, {"a": 1}),
            ("sysadmin", {name: 2, "b": 2}, {name: 2, "b": 2}),
            ("owner", {name: 3, "c": 3}, {name: 2, "c": 3}),
            ("owner", None, {name: 2}),
            ("sysadmin", {}, {}),
        ):
            reply = portal.call("PUT", where, role, {"extras": given})
            check(reply, 200, Has(extras=expected))


def test_an_update_without_the_period_empties_it(portal):
    made = create(portal, temporal_coverage={"start": "2024-01-01", "end": "2024-12-31"})
    assert made["temporal_coverage"]
    reply = portal.call("PUT", f"/datasets/{made['id']}/", "owner", {"tags": ["abc"]})
    check(reply, 200, Has(temporal_coverage=None))


def test_what_is_read_can_be_sent_back(portal):
    made = create(portal, **FULL)
    upload(portal, made, "a.json")
    check(portal.call("POST", f"/datasets/{made['id']}/resources/", "owner", REMOTE), 201)
    before = read(portal, made)
    after = check(portal.call("PUT", f"/datasets/{made['id']}/", "owner", before), 200)
    for name in (*FULL, "title", "description", "slug"):
        assert after[name] == before[name]
    ids = [[resource["id"] for resource in each["resources"]] for each in (before, after)]
    assert ids[0] == ids[1]
    resource = before["resources"][-1]
    path = f"/datasets/{made['id']}/resources/{resource['id']}/"
    after = check(portal.call("PUT", path, "owner", resource), 200)
    moved = ("last_modified", "internal")
    assert {**after, **dict.fromkeys(moved)} == {**resource, **dict.fromkeys(moved)}


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ({"title": None}, errors(title=[str])),
        ({"title": ""}, errors(title=[str])),
        ({"description": ""}, errors(description=[str])),
        ({"frequency": "journalier"}, MESSAGE),
        ({"organization": "OTHER"}, errors(organization=[str])),
        ({"tags": ["a"]}, errors(tags=[str])),
        ([], errors(request=str)),
    ],
)
def test_an_update_is_refused(portal, given, shape):
    made = create(portal, **FULL)
    if "organization" in given:
        given = {"organization": portal.other_organization}
    check(portal.call("PUT", f"/datasets/{made['id']}/", "owner", given), 400, shape)
    assert as_it_was(read(portal, made)) == as_it_was(made)


def test_an_update_that_is_no_json(portal):
    path = f"/datasets/{create(portal)['id']}/"
    check(portal.call("PUT", path, "owner", body=b"{}"), 415, MESSAGE)


# Addresses.


def test_slugs(portal):
    made = create(portal, title=f"L'Été à Évreux {time.time_ns()}")
    slug = made["slug"]
    assert slug.startswith("lete-a-evreux-")
    check(portal.call("GET", f"/datasets/{slug}/"), 200, Has(id=made["id"]))
    check(portal.call("PUT", f"/datasets/{made['id']}/", "owner", {"title": "N" + slug}), 200)
    for method, path, target in (
        ("GET", f"/datasets/{slug}/", f"/api/1/datasets/n{slug}/"),
        ("PUT", f"/datasets/{slug}/", f"/api/1/datasets/n{slug}/"),
        ("GET", f"/datasets/N{slug.upper()}/", f"/api/1/datasets/n{slug}/"),
        ("GET", f"/datasets/N{slug}/?lang=en", f"/api/1/datasets/n{slug}/"),
        ("POST", f"/datasets/{slug}/upload/", f"/api/1/datasets/n{slug}/upload/"),
        ("DELETE", f"/datasets/{slug}/", f"/api/1/datasets/n{slug}/"),
    ):
        reply = portal.call(method, path, "owner", {} if method == "PUT" else None)
        assert (reply.status, reply.headers["Location"]) == (308, target)
        assert reply.headers["Content-Type"].startswith("text/html")
    check(portal.call("GET", f"/datasets/{slug.upper()}/"), 404, MESSAGE)
    # The slug that is free again goes to the next one, and no longer redirects.
    other = create(portal, title=slug)
    assert other["slug"] == slug
    check(portal.call("GET", f"/datasets/{slug}/"), 200, Has(id=other["id"]))


def test_a_slug_stays_until_the_title_changes(portal):
    first = create(portal)
    second = create(portal, title=first["title"])
    check(portal.call("PUT", f"/datasets/{first['id']}/", "owner", {"title": "Libre"}), 200)
    path = f"/datasets/{second['id']}/"
    for title in (second["title"], None):
        given = {"title": title} if title else {"tags": ["abc"]}
        check(portal.call("PUT", path, "owner", given), 200, Has(slug=second["slug"]))
    renamed = portal.call("PUT", path, "owner", {"title": first["title"].upper()})
    check(renamed, 200, Has(slug=first["slug"]))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/datasets"),
        ("POST", "/datasets"),
        ("GET", "/datasets/{id}"),
        ("DELETE", "/datasets/{id}"),
        ("POST", "/datasets/{id}/upload"),
        ("GET", "/datasets/never-made"),
        ("GET", "/datasets?page=2"),
        ("GET", "/organizations/{organization}"),
    ],
)
def test_a_missing_slash(portal, method, path):
    path = path.format(id=create(portal)["id"], organization=portal.organization)
    reply = portal.call(method, path, "owner")
    whole, _, query = path.partition("?")
    target = f"{portal.url}{whole}/{'?' + query if query else ''}"
    assert (reply.status, reply.headers["Location"]) == (308, target)


@pytest.mark.parametrize(
    ("method", "path", "status", "shape"),
    [
        ("GET", "/datasets/never-made/", 404, MESSAGE),
        ("GET", f"/datasets/{'0' * 24}/", 404, MESSAGE),
        ("PUT", "/datasets/never-made/", 404, MESSAGE),
        ("GET", "/organizations/never-made/", 404, MESSAGE),
        ("GET", "/never-made/", 404, NOWHERE),
        ("GET", "/datasets//", 404, NOWHERE),
        ("GET", "/datasets/{id}/upload/", 404, NOWHERE),
        ("GET", "/datasets/{id}/resources/", 404, NOWHERE),
        ("GET", "/datasets/{id}/resources/" + UNKNOWN + "/", 404, MESSAGE),
        ("PUT", "/datasets/{id}/resources/" + UNKNOWN + "/", 404, MESSAGE),
        ("DELETE", "/datasets/{id}/resources/" + UNKNOWN + "/", 404, MESSAGE),
        ("POST", "/datasets/{id}/resources/" + UNKNOWN + "/upload/", 404, MESSAGE),
        ("GET", "/datasets/{id}/resources/no-uuid/", 404, MESSAGE),
        ("GET", "/datasets/r/" + UNKNOWN, 404, MESSAGE),
        ("GET", "/datasets/r/" + UNKNOWN + "/", 404, NOWHERE),
        ("POST", "/datasets/{id}/", 405, MESSAGE),
        ("PATCH", "/datasets/{id}/", 405, MESSAGE),
        ("DELETE", "/datasets/", 405, MESSAGE),
        ("POST", "/me/", 405, MESSAGE),
    ],
)
def test_nothing_there(portal, method, path, status, shape):
    path = path.format(id=create(portal)["id"])
    check(portal.call(method, path, "owner"), status, shape)
    page = portal.call(method, path, "owner", headers=PAGE)
    assert page.status == status
    assert ("html" in page.headers["Content-Type"]) == (status == 404)


# Who may do what, and which refusal comes first.


@pytest.mark.parametrize(
    ("role", "status"),
    [
        (None, 401),
        ("revoked", 401),
        ("outsider", 403),
        ("partial", 403),
        ("editor", 200),
        ("owner", 200),
        ("sysadmin", 200),
    ],
)
def test_who_may_change(portal, role, status):
    made = create(portal)
    resource = upload(portal, made, "a.json")
    path = f"/datasets/{made['id']}/"
    shape = MESSAGE if status > 200 else None
    new = {200: 201}.get(status, status)
    gone = {200: 204}.get(status, status)
    file = f"{path}resources/{resource['id']}/"
    form = Form(file=("b.json", b"{}"))
    check(portal.call("PUT", path, role, {"title": made["title"]}), status, shape)
    check(portal.call("POST", path + "upload/", role, form=form), new, shape)
    check(portal.call("POST", path + "resources/", role, REMOTE), new, shape)
    check(portal.call("PUT", file, role, {"title": "x"}), status, shape)
    form = Form(file=("c.json", b"{}"))
    check(portal.call("POST", file + "upload/", role, form=form), status, shape)
    check(portal.call("DELETE", file, role), gone, shape)
    ids = [each["id"] for each in read(portal, made)["resources"]]
    check(portal.call("PUT", path + "resources/", role, ids), status, shape)
    check(portal.call("DELETE", path, role), gone, shape)


def test_a_partial_editor_has_what_he_made(portal):
    made = create(portal, "partial")
    path = f"/datasets/{made['id']}/"
    check(portal.call("PUT", path, "partial", {"title": made["title"]}), 200)
    form = Form(file=("a.json", b"{}"))
    check(portal.call("POST", path + "upload/", "partial", form=form), 201)
    check(portal.call("PUT", path, "editor", {"title": made["title"]}), 200)
    check(portal.call("DELETE", path, "partial"), 204)


@pytest.mark.parametrize(
    ("role", "status"),
    [(None, 404), ("outsider", 404), ("partial", 200), ("editor", 200), ("sysadmin", 200)],
)
def test_private(portal, role, status):
    made = create(portal, private=True)
    resource = upload(portal, made, "a.json", b"[1]")
    path = f"/datasets/{made['id']}/"
    check(portal.call("GET", path, role), status)
    check(portal.call("GET", f"{path}resources/{resource['id']}/", role), status)
    # Private does not protect content.
    assert portal.call("GET", resource["url"]).body == b"[1]"
    may = dict.fromkeys(("delete", "edit", "edit_resources"), role in ("editor", "sysadmin"))
    if status == 200:
        assert read(portal, made, role)["permissions"] == may


def test_deleted(portal):
    made = create(portal, tags=["abc"])
    path = f"/datasets/{made['id']}/"
    resource = upload(portal, made, "a.json", b"[1]")
    file = f"{path}resources/{resource['id']}/"
    assert check(portal.call("DELETE", path, "owner"), 204) is None
    for method, address, role, given, status in (
        ("DELETE", path, "owner", None, 410),
        ("DELETE", path, "outsider", None, 410),
        ("DELETE", path, None, None, 401),
        ("GET", path, None, None, 410),
        ("GET", path, "outsider", None, 410),
        ("GET", file, None, None, 410),
        ("PUT", path, "owner", {"title": "x"}, 410),
        ("PUT", path, "outsider", {"title": "x"}, 410),
        ("PUT", path, "outsider", {"deleted": None}, 403),
        ("PUT", path, "owner", {"deleted": "2024-01-01"}, 410),
    ):
        check(portal.call(method, address, role, given), status, MESSAGE)
    for role in ("owner", "partial", "sysadmin"):
        assert read(portal, made, role)["deleted"]
        check(portal.call("GET", file, role), 200)
    # It still takes files, and gives them; its slug is still its own.
    upload(portal, made, "late.json")
    assert portal.call("GET", resource["url"]).body == b"[1]"
    assert create(portal, title=made["title"])["slug"] != made["slug"]
    restored = check(portal.call("PUT", path, "owner", {"deleted": None}), 200)
    assert (restored["deleted"], restored["tags"], restored["slug"]) == (None, [], made["slug"])
    assert len(read(portal, made, None)["resources"]) == 2


def test_the_order_of_refusals(portal):
    made = create(portal)
    path, gone = f"/datasets/{made['id']}/", create(portal)
    check(portal.call("DELETE", f"/datasets/{gone['id']}/", "owner"), 204)
    read_only = portal.also(read_only=True)
    deleted = f"/datasets/{gone['id']}/"
    broken = {"body": b"{", "headers": JSON}
    for where, method, address, role, sent, status in (
        (portal, "PUT", "/datasets/never-made/", "revoked", broken, 404),
        (portal, "GET", path, "revoked", {}, 401),
        (read_only, "POST", path + "upload/", "revoked", {}, 401),
        (read_only, "POST", path + "upload/", "outsider", {}, 423),
        (read_only, "POST", "/datasets/", None, broken, 401),
        (read_only, "POST", "/datasets/", "owner", broken, 423),
        (portal, "PUT", deleted, "outsider", {"json": {"title": ""}}, 410),
        (portal, "PUT", path, "outsider", {"json": {"title": ""}}, 403),
        (portal, "PUT", path, "outsider", broken, 400),
        (portal, "PUT", f"{path}resources/{UNKNOWN}/", "outsider", broken, 403),
        (portal, "PUT", f"{path}resources/{UNKNOWN}/", "owner", broken, 404),
    ):
        check(where.call(method, address, role, **sent), status, MESSAGE)


# Modes.


def test_read_only(portal):
    made = create(portal)
    resource = upload(portal, made, "a.json")
    closed = portal.also(read_only=True)
    path = f"/datasets/{made['id']}/"
    file = f"{path}resources/{resource['id']}/"
    given = {**VALID, "organization": portal.organization}
    for address, sent in (
        ("/datasets/", {"json": given}),
        (path + "upload/", {"form": Form(file=("b.json", b"{}"))}),
        (path + "resources/", {"json": REMOTE}),
        (file + "upload/", {"form": Form(file=("c.json", b"{}"))}),
    ):
        check(closed.call("POST", address, "owner", **sent), 423, MESSAGE)
        check(closed.call("POST", address, **sent), 401, MESSAGE)
    check(closed.call("POST", "/datasets/", "sysadmin", given), 201)
    check(closed.call("GET", path, "owner"), 200)
    check(closed.call("PUT", path, "owner", {"title": made["title"]}), 200)
    check(closed.call("PUT", file, "owner", {"title": "x"}), 200)
    check(closed.call("DELETE", file, "owner"), 204)
    check(closed.call("DELETE", path, "owner"), 204)


def test_too_large(portal):
    made = create(portal)
    small = portal.also(max_content_length=2000)
    path = f"/datasets/{made['id']}/"
    for address, role, sent, status in (
        (path + "upload/", "owner", {"form": Form(file=("a.json", b"x" * 2000))}, 413),
        (path + "upload/", "owner", {"form": Form(file=("a.json", b"x" * 1000))}, 201),
        (path + "upload/", "outsider", {"form": Form(file=("b.json", b"x" * 2000))}, 403),
        (path + "upload/", None, {"form": Form(file=("b.json", b"x" * 2000))}, 401),
        ("/datasets/", "owner", {"json": VALID | {"description": "x" * 2000}}, 413),
    ):
        reply = small.call("POST", address, role, **sent)
        check(reply, status, MESSAGE if status > 300 else None)
    assert len(read(portal, made)["resources"]) == 1


# Uploads.


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DECP-21590017700015-2026-11-21-01.json", ("decp-21590017700015-2026-11-21-01.json", "json", "application/json")),
        ("Autre Nom é (1)_x/y.xml", ("autre-nom-e-1-x-y.xml", "xml", "application/xml")),
        ("A.JSON", ("a.json", "json", "application/json")),
        ("b.json.gz", ("b.json.gz", "json.gz", "application/gzip")),
        ("c.csv.tar.gz", ("c.csv.tar.gz", "csv.tar.gz", "application/gzip")),
        ("d.2022.zip", ("d.2022.zip", "zip", "application/zip")),
        ("e.json.xml", ("e.json.xml", "xml", "application/xml")),
        ("l’été.csv", ("lete.csv", "csv", "text/csv")),
        ("f..json", ("f..json", "json", "application/json")),
        (".g.json", (".g.json", "json", "application/json")),
        ("-h-.json", ("h-.json", "json", "application/json")),
        ("i.7z", ("i.7z", "7z", "application/x-7z-compressed")),
        ("j.exe", None),
        ("k.parquet", None),
        ("l", None),
        (".json", None),
    ],
)  # fmt: skip
def test_names_of_uploads(portal, name, expected):
    made = create(portal)
    form = Form({"title": "Mon titre", "type": "documentation"}, (name, b"[1, 2]"))
    reply = portal.call("POST", f"/datasets/{made['id']}/upload/", "owner", form=form)
    if expected is None:
        check(reply, 400, MESSAGE)
        return
    title, format_, mime = expected
    expected = {
        "title": title,
        "format": format_,
        "mime": mime,
        "type": "main",
        "filetype": "file",
        "filesize": 6,
        "checksum": {"type": "sha1", "value": hashlib.sha1(b"[1, 2]").hexdigest()},
        "description": None,
        "extras": {},
        "schema": None,
    }
    resource = check(reply, 201, Has(expected, success=True))
    assert portal.call("GET", resource["url"]).body == b"[1, 2]"
    assert differs(Has(expected), read(portal, made)["resources"][0]) is None


def test_an_upload_without_a_file(portal):
    path = f"/datasets/{create(portal)['id']}/upload/"
    for sent in ({"form": Form({"a": "b"})}, {"json": {}}, {}, {"form": Form(file=("", b"x"))}):
        check(portal.call("POST", path, "owner", **sent), 400, UPLOAD_ERROR)


def test_an_empty_file_is_taken(portal):
    assert upload(portal, create(portal), "a.json", b"")["filesize"] == 0


def test_a_name_that_no_disk_takes(portal):
    path = f"/datasets/{create(portal)['id']}/upload/"
    form = Form(file=("n" * 300 + ".json", b"{}"))
    check(portal.call("POST", path, "owner", form=form), 500, MESSAGE)


def in_one_second() -> None:
    """Wait until the next calls are made within one second."""
    now = time.time() % 1
    if now > 0.4:
        time.sleep(1.01 - now)


def test_the_same_name_twice_in_a_second(portal):
    made = create(portal)
    path = f"/datasets/{made['id']}/"
    in_one_second()
    resource = upload(portal, made, "a.json")
    form = Form(file=("a.json", b"[1]"))
    check(portal.call("POST", path + "upload/", "owner", form=form), 500, MESSAGE)
    file = f"{path}resources/{resource['id']}/"
    check(portal.call("POST", file + "upload/", "owner", form=form), 500, MESSAGE)
    (kept,) = read(portal, made)["resources"]
    assert (kept["filesize"], kept["url"]) == (2, resource["url"])
    time.sleep(1.01)
    check(portal.call("POST", path + "upload/", "owner", form=form), 201)
    titles = [each["title"] for each in read(portal, made)["resources"]]
    assert titles == ["a.json", "a.json"]


def test_replace_a_file(portal):
    made = create(portal)
    resource = upload(portal, made, "DECP-1.json")
    path = f"/datasets/{made['id']}/resources/{resource['id']}/"
    kept = {
        "description": "D",
        "type": "documentation",
        "extras": {"a": 1},
        "schema": {"name": "n", "url": None, "version": "1"},
    }
    given = kept | {"title": "DECP-1.json"}
    check(portal.call("PUT", path, "owner", given), 200, Has(given))
    form = Form({"title": "x"}, ("Autre-2.xml", b"<a/>"))
    replaced = check(portal.call("POST", path + "upload/", "owner", form=form), 200)
    expected = kept | {
        "id": resource["id"],
        "title": "autre-2.xml",
        "format": "xml",
        "mime": "application/xml",
        "filesize": 4,
        "checksum": {"type": "sha1", "value": hashlib.sha1(b"<a/>").hexdigest()},
        "created_at": read(portal, made)["resources"][0]["created_at"],
    }
    assert differs(Has(expected, success=True), replaced) is None
    assert portal.call("GET", resource["url"]).status == 404
    assert portal.call("GET", replaced["url"]).body == b"<a/>"
    check(portal.call("POST", path + "upload/", "owner", form=Form(file=("a.exe", b""))), 400)
    assert portal.call("GET", replaced["url"]).body == b"<a/>"
    reply = portal.call("GET", f"/datasets/r/{resource['id']}")
    assert (reply.status, reply.headers["Location"]) == (302, replaced["url"])


def test_a_file_onto_a_remote_resource(portal):
    made = create(portal)
    remote = portal.call("POST", f"/datasets/{made['id']}/resources/", "owner", REMOTE).json
    path = f"/datasets/{made['id']}/resources/{remote['id']}/upload/"
    reply = portal.call("POST", path, "owner", form=Form(file=("a.json", b"{}")))
    check(reply, 200, Has(filetype="remote", type="other", title="a.json", success=True))


def test_a_deleted_file_is_gone(portal):
    made = create(portal)
    resource = upload(portal, made, "a.json")
    path = f"/datasets/{made['id']}/resources/{resource['id']}/"
    assert check(portal.call("DELETE", path, "owner"), 204) is None
    check(portal.call("DELETE", path, "owner"), 404, MESSAGE)
    check(portal.call("GET", f"/datasets/r/{resource['id']}"), 404, MESSAGE)
    assert portal.call("GET", resource["url"]).status == 404
    assert read(portal, made)["resources"] == []


# Uploads in chunks.


class Chunks:
    """Sends the parts of a file, and says that all are there."""

    def __init__(self, portal: Portal, path: str, total: int, name: str = "gros.json"):
        self.portal, self.path = portal, path
        self.fields = {"uuid": f"u{time.time_ns()}", "filename": name, "totalparts": total}

    def part(self, index: object, content: bytes, **other: object) -> Reply:
        fields = {**self.fields, "partindex": index, "chunksize": len(content), **other}
        return self._post(Form(fields, ("blob", content)))

    def end(self, **other: object) -> Reply:
        fields = {**self.fields, **other}
        return self._post(Form({name: value for name, value in fields.items() if value}))

    def _post(self, form: Form) -> Reply:
        return self.portal.call("POST", self.path, "owner", form=form)


@pytest.fixture
def chunks(portal):
    path = f"/datasets/{create(portal)['id']}/upload/"
    return lambda total, **other: Chunks(portal, path, total, **other)


def test_chunks(portal, chunks):
    sent = chunks(3)
    for index, content in ((2, b"ef"), (0, b"abc"), (1, b"d")):
        check(sent.part(index, content), 200, PART_STORED)
    expected = {
        "title": "gros.json",
        "filesize": 6,
        "checksum": {"type": "sha1", "value": hashlib.sha1(b"abcdef").hexdigest()},
    }
    resource = check(sent.end(), 201, Has(expected, success=True, filetype="file"))
    assert portal.call("GET", resource["url"]).body == b"abcdef"
    # A lost answer cannot be had again this way.
    check(sent.end(), 500, MESSAGE)


def test_chunks_replace_a_file(portal):
    made = create(portal)
    resource = upload(portal, made, "a.json")
    path = f"/datasets/{made['id']}/resources/{resource['id']}/upload/"
    sent = Chunks(portal, path, 2, "b.json")
    check(sent.part(0, b"1"), 200, PART_STORED)
    check(sent.part(1, b"2"), 200, PART_STORED)
    check(sent.end(), 200, Has(id=resource["id"], title="b.json", filesize=2, success=True))


def test_a_chunk_that_is_missing_can_follow(chunks):
    sent = chunks(2)
    check(sent.part(0, b"abc"), 200)
    check(sent.end(), 500, MESSAGE)
    check(sent.part(1, b"d"), 200)
    # Under another name: that of the failed assembly is taken for the rest of the second.
    check(sent.end(filename="autre.json"), 201, Has(filesize=4))


def test_a_chunk_sent_again_is_refused_and_the_first_one_stays(chunks):
    sent = chunks(2)
    check(sent.part(0, b"ab"), 200)
    check(sent.part(0, b"xyz"), 500, MESSAGE)
    check(sent.part(1, b"c"), 200)
    check(sent.end(), 201, Has(checksum=Has(value=hashlib.sha1(b"abc").hexdigest())))


@pytest.mark.parametrize(
    ("other", "status", "shape"),
    [
        ({"chunksize": 4}, 400, UPLOAD_ERROR),
        ({"chunksize": "x"}, 400, WRONG_ARGUMENT),
        ({"partindex": "x"}, 400, WRONG_ARGUMENT),
        # One part is no chunk: the file is then "blob", which has no extension.
        ({"totalparts": 1}, 400, MESSAGE),
    ],
)
def test_a_chunk_is_refused(chunks, other, status, shape):
    check(chunks(2).part(0, b"abc", **other), status, shape)


def test_the_name_of_a_file_in_chunks_is_checked_at_the_end(chunks):
    sent = chunks(2, name="a.exe")
    check(sent.part(0, b"a"), 200)
    check(sent.part(1, b"b"), 200)
    check(sent.end(), 400, MESSAGE)
    check(sent.end(filename=None), 500, MESSAGE)
    # A failed assembly keeps the parts.
    check(sent.end(filename="a.json"), 201, Has(filesize=2))


def test_chunks_of_somebody_else(portal):
    path = f"/datasets/{create(portal)['id']}/upload/"
    form = Form(
        {"uuid": "u", "filename": "a.json", "partindex": 0, "totalparts": 2, "chunksize": 1},
        ("blob", b"x"),
    )
    check(portal.call("POST", path, "outsider", form=form), 403, MESSAGE)


# Resources.


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"title": "DECP-1.json"}, {"title": "DECP-1.json"}),
        ({"description": "x", "type": "update"}, {"description": "x", "type": "update"}),
        ({"description": None}, {"description": None}),
        ({"filetype": "file"}, {}),
        ({"extras": {"a": 1}}, {"extras": {"a": 1}}),
        ({"extras": {"analysis:x": 1, "check:y": 1, "csv-export:z": 1, "validation-report:v": 1, "dcat": 1, "b": 2}}, {"extras": {"b": 2}}),
        ({"schema": {"name": "n", "version": "1"}}, {"schema": {"name": "n", "url": None, "version": "1"}}),
        ({"schema": {"url": "https://example.org/s.json"}}, {"schema": {"name": None, "url": "https://example.org/s.json", "version": None}}),
        ({"schema": None}, {"schema": None}),
        # What the portal knows of its own file it keeps, silently.
        ({"url": "https://example.org/z", "mime": "x/y", "format": "zip", "filesize": 9, "checksum": {"type": "md5", "value": "0"}}, {}),
    ],
)  # fmt: skip
def test_update_a_file(portal, given, expected):
    made = create(portal)
    resource = upload(portal, made, "a.json")
    path = f"/datasets/{made['id']}/resources/{resource['id']}/"
    names = ("title", "description", "type", "filetype", "url", "mime", "format", "filesize")
    before = {name: resource[name] for name in (*names, "checksum", "extras", "schema", "id")}
    check(portal.call("PUT", path, "owner", given), 200, Has(before | expected))
    check(portal.call("GET", path), 200, Has(before | expected))


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ({"title": ""}, errors(title=[str])),
        ({"title": "x" * 351}, errors(title=[str])),
        ({"url": ""}, errors(url=[str])),
        ({"type": "x"}, errors(type=[str])),
        ({"type": None}, errors(type=[str])),
        ({"filetype": "json"}, errors(filetype=[str])),
        ({"filetype": "remote"}, MESSAGE),
        ({"schema": {"version": "1"}}, errors(schema={"version": [str]})),
        ({"extras": [1]}, errors(extras=[str])),
        ([1], {"errors": {"request": str}}),
    ],
)
def test_an_update_of_a_file_is_refused(portal, given, shape):
    made = create(portal)
    resource = upload(portal, made, "a.json")
    path = f"/datasets/{made['id']}/resources/{resource['id']}/"
    check(portal.call("PUT", path, "owner", given), 400, shape)
    check(portal.call("PUT", path, "owner", body=b"{}"), 400, {"errors": {"Content-Type": str}})
    assert read(portal, made)["resources"][0]["title"] == "a.json"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"type": "other", "format": None, "mime": None, "filesize": None, "checksum": None}),
        ({"type": "main", "format": " JSON ", "mime": "application/json"}, {"type": "main", "format": "json", "mime": "application/json"}),
        ({"checksum": {"type": "sha256", "value": "ab"}, "filesize": 5}, {"checksum": {"type": "sha256", "value": "ab"}, "filesize": 5}),
        ({"checksum": {"value": "ab"}}, {"checksum": {"type": "sha1", "value": "ab"}}),
        ({"extras": {"k": 1}}, {"extras": {"k": 1}}),
        ({"url": " https://example.org/b "}, {"url": "https://example.org/b"}),
        ({"url": "ftp://example.org/b"}, {"url": "ftp://example.org/b"}),
        ({"url": "https://u:p@example.org/b"}, {"url": "https://u:p@example.org/b"}),
        ({"url": "https://8.8.8.8/b"}, {"url": "https://8.8.8.8/b"}),
    ],
)  # fmt: skip
def test_a_remote_resource(portal, given, expected):
    made = create(portal)
    path = f"/datasets/{made['id']}/resources/"
    expected = REMOTE | expected
    check(portal.call("POST", path, "owner", REMOTE | given), 201, Has(expected))
    assert differs(Has(expected), read(portal, made)["resources"][0]) is None


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ({}, errors(title=[str], url=[str])),
        ({"title": "R", "filetype": "remote"}, errors(url=[str])),
        ({"title": "R", "url": REMOTE["url"]}, MESSAGE),
        (REMOTE | {"filetype": "file"}, MESSAGE),
        (REMOTE | {"filetype": "xml"}, errors(filetype=[str])),
        (REMOTE | {"url": "example.org"}, errors(url=[str])),
        (REMOTE | {"url": "gopher://example.org/"}, errors(url=[str])),
        (REMOTE | {"url": "javascript:alert(1)"}, errors(url=[str])),
        (REMOTE | {"url": "https://example.org/a b"}, errors(url=[str])),
        (REMOTE | {"url": "https://x.notatld/"}, errors(url=[str])),
        (REMOTE | {"url": "https://machine/"}, errors(url=[str])),
        (REMOTE | {"url": "http://10.0.0.1/"}, errors(url=[str])),
        (REMOTE | {"url": "http://192.168.1.1/"}, errors(url=[str])),
        (REMOTE | {"checksum": {"type": "x", "value": "ab"}}, errors(checksum={"type": [str]})),
        (REMOTE | {"checksum": {"type": "sha1"}}, errors(checksum={"value": [str]})),
        (REMOTE | {"filesize": "large"}, errors(filesize=[str])),
        (REMOTE | {"schema": {"version": "1"}}, errors(schema={"version": [str]})),
    ],
)
def test_a_remote_resource_is_refused(portal, given, shape):
    path = f"/datasets/{create(portal)['id']}/resources/"
    check(portal.call("POST", path, "owner", given), 400, shape)


def test_update_a_remote_resource(portal):
    made = create(portal)
    given = REMOTE | {"checksum": {"type": "sha1", "value": "ab"}, "format": "json"}
    path = f"/datasets/{made['id']}/resources/"
    remote = portal.call("POST", path, "owner", given).json
    path = f"{path}{remote['id']}/"
    for given, expected in (
        ({"title": "S"}, {"title": "S", "url": REMOTE["url"], "format": "json"}),
        ({"url": "https://example.org/b"}, {"title": "S", "url": "https://example.org/b"}),
        ({"checksum": None}, {"checksum": None}),
        ({"checksum": {"type": "md5", "value": "c"}}, {"checksum": {"type": "md5", "value": "c"}}),
        ({"format": None}, {"format": None, "checksum": {"type": "md5", "value": "c"}}),
    ):
        check(portal.call("PUT", path, "owner", given), 200, Has(expected))


def test_reorder(portal):
    made = create(portal)
    path = f"/datasets/{made['id']}/resources/"
    for title in "abc":
        check(portal.call("POST", path, "owner", REMOTE | {"title": title}), 201)
    ids = [resource["id"] for resource in read(portal, made)["resources"]]
    # New resources come first.
    assert [each["title"] for each in read(portal, made)["resources"]] == ["c", "b", "a"]
    for order in ([{"id": each} for each in reversed(ids)], ids):
        wanted = [each["id"] if isinstance(each, dict) else each for each in order]
        found = check(portal.call("PUT", path, "owner", order), 200)
        assert [each["id"] for each in found] == wanted
        assert [each["id"] for each in read(portal, made)["resources"]] == wanted
    for wrong in (ids[1:], [*ids[1:], ids[1]], [{"x": 1}] * 3):
        check(portal.call("PUT", path, "owner", wrong), 400, MESSAGE)
    assert [each["id"] for each in read(portal, made)["resources"]] == ids


# Lists.


@pytest.fixture
def listed(portal):
    """A tag that six data sets have: three open ones, a private, a deleted, an archived one."""
    tag = f"t{time.time_ns()}"
    for title in ("P0", "P1", "P2"):
        create(portal, title=title, tags=[tag, title.lower() + "-tag"])
    create(portal, title="Privé", tags=[tag], private=True)
    deleted = create(portal, title="Jeté", tags=[tag])
    check(portal.call("DELETE", f"/datasets/{deleted['id']}/", "owner"), 204)
    create(portal, title="Archivé", tags=[tag], archived="2024-01-01T00:00:00")
    return tag


def titles(reply: Reply) -> list[str]:
    return [dataset["title"] for dataset in check(reply, 200)["data"]]


def test_what_a_list_holds(portal, listed):
    opened = ["P2", "P1", "P0"]
    hidden = ["Archivé", "Jeté", "Privé"]
    path = f"/datasets/?tag={listed}"
    for role in (None, "outsider"):
        assert titles(portal.call("GET", path, role)) == opened
    for role in ("owner", "editor", "partial", "sysadmin"):
        assert titles(portal.call("GET", path, role)) == hidden + opened
    for query, expected in (
        ("deleted=true", ["Jeté"]),
        ("deleted=false", ["Archivé", "Privé", *opened]),
        ("private=true", ["Privé"]),
        ("archived=true", ["Archivé"]),
        ("tag=p1-tag", ["P1"]),
        ("tag=nothing", []),
        ("license=lov2", []),
        ("private=false&deleted=false&archived=false", opened),
        ("sort=title&private=false&deleted=false&archived=false", ["P0", "P1", "P2"]),
        ("sort=-title&private=false&deleted=false&archived=false", opened),
        ("sort=created&private=false&deleted=false&archived=false", ["P0", "P1", "P2"]),
        (f"organization={portal.organization}", hidden + opened),
        (f"organization={portal.other_organization}", []),
        (f"organization={'0' * 24}", []),
    ):
        assert titles(portal.call("GET", f"{path}&{query}", "owner")) == expected, query


def test_pages(portal, listed):
    path = f"/datasets/?organization={portal.organization}&tag={listed}&sort=title"
    page = check(portal.call("GET", path + "&page_size=2"), 200)
    assert [dataset["title"] for dataset in page.pop("data")] == ["P0", "P1"]
    following = page.pop("next_page")
    assert page == {"page": 1, "page_size": 2, "previous_page": None, "total": 3}
    page = check(portal.call("GET", following), 200)
    assert [dataset["title"] for dataset in page["data"]] == ["P2"]
    assert (page["page"], page["next_page"], page["total"]) == (2, None, 3)
    assert titles(portal.call("GET", page["previous_page"])) == ["P0", "P1"]
    check(portal.call("GET", path + "&page_size=2&page=3"), 404, MESSAGE)
    assert titles(portal.call("GET", path + "&page_size=100000")) == ["P0", "P1", "P2"]
    path = f"/organizations/{portal.organization}/datasets/?page_size=1"
    page = check(portal.call("GET", path), 200)
    assert (page["page"], page["page_size"], len(page["data"])) == (1, 1, 1)
    assert page["next_page"].startswith(f"{portal.url}/organizations/")


@pytest.mark.parametrize(
    ("query", "status", "shape"),
    [
        ("page=0", 400, WRONG_ARGUMENT),
        ("page=-1", 400, WRONG_ARGUMENT),
        ("page=x", 400, WRONG_ARGUMENT),
        ("page_size=0", 400, WRONG_ARGUMENT),
        ("page_size=x", 400, WRONG_ARGUMENT),
        ("sort=nothing", 400, WRONG_ARGUMENT),
        ("deleted=maybe", 400, WRONG_ARGUMENT),
        ("organization=ville-de-testville", 400, MESSAGE),
        ("private=true", 401, MESSAGE),
        ("archived=false", 401, MESSAGE),
        ("deleted=true", 401, MESSAGE),
        ("q=search", 500, MESSAGE),
        ("nothing=known", 200, Has(page=1, page_size=20)),
    ],
)
def test_arguments_of_lists(portal, query, status, shape):
    check(portal.call("GET", f"/datasets/?{query}"), status, shape)


def test_own_data_sets_by_title(portal, listed):
    made = create(portal, title=f"Marchés de {listed}", private=True)
    check(portal.call("DELETE", f"/datasets/{made['id']}/", "owner"), 204)
    for role in ("owner", "partial"):
        found = check(portal.call("GET", f"/me/org_datasets/?q=DE%20{listed}", role), 200)
        assert [dataset["id"] for dataset in found] == [made["id"]]
    assert check(portal.call("GET", f"/me/org_datasets/?q={listed}", "outsider"), 200) == []
    check(portal.call("GET", "/me/org_datasets/"), 401, MESSAGE)


def test_masks(portal, listed):
    made = create(portal)
    resource = upload(portal, made, "a.json")
    path = f"/datasets/{made['id']}/"

    def masked(where: str, fields: str) -> Any:
        return portal.call("GET", where, "owner", headers={"X-Fields": fields})

    fields = "id,nothing,resources{id,checksum{value}},organization{name}"
    assert check(masked(path, fields), 200) == {
        "id": made["id"],
        "resources": [{"id": resource["id"], "checksum": {"value": resource["checksum"]["value"]}}],
        "organization": {"name": "Ville de Testville"},
    }
    page = f"/datasets/?tag={listed}&private=false&deleted=false&archived=false&page_size=2"
    found = check(masked(page, "data{title},next_page"), 200, {"data": list, "next_page": str})
    assert found["data"] == [{"title": "P2"}, {"title": "P1"}]
    assert check(masked(page, "data{title}"), 200) == {"data": found["data"]}
    check(masked(page, "data{title},*"), 200, Has(data=[{"title": str}], total=3, page=1))
    assert check(masked(page, "{total}"), 200) == {"total": 3}
    for wrong in ("data{id", "data,{id}"):
        check(masked(page, wrong), 400, MESSAGE)


# Who one is, sessions, and what else can be read.


@pytest.mark.parametrize(
    ("role", "organizations", "may"),
    [
        ("owner", 1, {"edit": True, "private": True}),
        ("editor", 1, {"edit": False, "private": True}),
        ("partial", 1, {"edit": False, "private": True}),
        ("sysadmin", 0, {}),
    ],
)
def test_me(portal, role, organizations, may):
    me = check(portal.call("GET", "/me/", role), 200)
    assert me["roles"] == (["admin"] if role == "sysadmin" else [])
    assert [each["id"] for each in me["organizations"]] == [portal.organization] * organizations
    for each in me["organizations"]:
        assert differs(Has(permissions=Has(may), name="Ville de Testville"), each) is None
    path = f"/organizations/{portal.organization}/"
    members = check(portal.call("GET", path, role), 200)["members"]
    roles = {member["user"]["id"]: member["role"] for member in members}
    known = {"owner": "admin", "editor": "editor", "partial": "partial_editor"}
    assert roles.get(me["id"]) == known.get(role)
    check(portal.call("GET", "/organizations/ville-de-testville/"), 200, Has(members=list))


def test_a_session_beats_the_key(portal):
    def who(key: str | None, cookie: str | None) -> str | int:
        headers = {"Cookie": cookie} if cookie else {}
        reply = portal.call("GET", "/me/", key, headers=headers)
        return reply.json["email"] if reply.status == 200 else reply.status

    given = portal.call("GET", "/datasets/licenses/", "owner").headers["Set-Cookie"]
    cookie, *attributes = given.split("; ")
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} == set(attributes)
    assert cookie.startswith("session=")
    assert who(None, cookie) == "owner@example.org"
    assert who("outsider", cookie) == "owner@example.org"
    assert who("revoked", cookie) == "owner@example.org"
    assert who("outsider", "session=made-up") == "outsider@example.org"
    assert who(None, "session=made-up") == 401
    for role, cookies in ((None, {}), ("revoked", {}), ("outsider", {"Cookie": cookie})):
        reply = portal.call("GET", "/me/", role, headers=cookies)
        assert reply.headers["Set-Cookie"] is None
    reply = portal.call("GET", "/datasets/never-made/", "owner")
    assert (reply.status, reply.headers["Set-Cookie"]) == (404, None)


def test_reference_lists(portal):
    licences = check(portal.call("GET", "/datasets/licenses/"), 200)
    assert [licence["id"] for licence in licences] == ["notspecified", "fr-lo", "lov2"]
    frequencies = check(
        portal.call("GET", "/datasets/frequencies/"), 200, [{"id": str, "label": str}]
    )
    assert [frequency["id"] for frequency in frequencies] == FREQUENCIES
    types = check(portal.call("GET", "/datasets/resource_types/"), 200, [{"id": str, "label": str}])
    assert [each["id"] for each in types] == (
        ["main", "documentation", "update", "api", "code", "other"]
    )
    assert check(portal.call("GET", "/datasets/extensions/"), 200) == sorted(EXTENSIONS)
    check(portal.call("GET", "/datasets/schemas/"), 200, list)


def test_the_fields_of_an_answer(portal):
    made = create(portal)
    new = upload(portal, made, "a.json")
    assert sorted(made) == DATASET_FIELDS
    assert sorted(read(portal, made, None)) == DATASET_FIELDS
    assert sorted(new) == sorted([*RESOURCE_FIELDS, "success"])
    (resource,) = read(portal, made)["resources"]
    assert sorted(resource) == RESOURCE_FIELDS
    assert resource["latest"] == f"{portal.url}/datasets/r/{resource['id']}"
    assert made["uri"] == f"{portal.url}/datasets/{made['slug']}/"
    assert sorted(made["organization"]) == ORGANIZATION_FIELDS
    for seen, may in ((made, True), (read(portal, made, None), False)):
        assert seen["permissions"] == dict.fromkeys(("delete", "edit", "edit_resources"), may)
        assert seen["organization"]["permissions"]["edit"] == may


DATASET_FIELDS = (
    "access_audiences access_type access_type_reason access_type_reason_category acronym archived "
    "authorization_request_url badges contact_points created_at deleted description "
    "description_short doi extras featured frequency frequency_date geopf harvest id internal "
    "last_modified last_update license metrics organization owner page permissions private quality "
    "resources schema slug spatial tags temporal_coverage title uri"
).split()
RESOURCE_FIELDS = (
    "checksum created_at description extras filesize filetype format geopf harvest id internal "
    "last_modified latest metrics mime preview_url schema title type url"
).split()
ORGANIZATION_FIELDS = (
    "acronym badges class id logo logo_thumbnail name page permissions slug uri"
).split()
