"""The portals and the proxy that the tests of publishing stand on."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from portals import Fault, Portal, faulty

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(
    portal: Portal, method: str, path: str, role: str | None = None, body: Any = None
) -> tuple[int, Any]:
    """Status and JSON of a call, without cookies."""
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    if role:
        headers["X-API-KEY"] = portal.keys[role]
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(portal.url + path, content, headers, method=method)
    try:
        with OPENER.open(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def create(portal: Portal, title: str) -> tuple[int, Any]:
    organization = {"organization": portal.organization}
    return call(
        portal, "POST", "/datasets/", "owner", {"title": title, "description": "x", **organization}
    )


def titles(portal: Portal) -> list[str]:
    page = call(portal, "GET", f"/datasets/?organization={portal.organization}&page_size=1000")[1]
    return [dataset["title"] for dataset in page["data"]]


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("sysadmin", []),
        ("owner", ["organization"]),
        ("editor", ["organization"]),
        ("partial", ["organization"]),
        ("outsider", ["other_organization"]),
        ("inactive", 401),
        ("revoked", 401),
        ("expired", 401),
        (None, 401),
    ],
)
def test_roles(portal, role, expected):
    status, me = call(portal, "GET", "/me/", role)
    if isinstance(expected, int):
        assert status == expected
    else:
        ids = [organization["id"] for organization in me["organizations"]]
        assert (status, ids) == (200, [getattr(portal, name) for name in expected])


def test_other_modes_share_the_data(portal):
    read_only = portal.also(read_only=True)
    assert create(read_only, "Refusé")[0] == 423
    small = portal.also(max_content_length=200)
    assert create(small, "Refusé" * 100)[0] == 413
    status, made = create(small, "Modes")
    assert status == 201
    assert call(read_only, "GET", f"/datasets/{made['id']}/")[1]["title"] == "Modes"
    assert call(portal, "GET", f"/datasets/{made['id']}/")[1]["title"] == "Modes"


def test_faults(portal):
    refused, lost = Fault("500", "POST", r"/datasets/$"), Fault("cut", "POST", r"/datasets/$", 2)
    with faulty(portal, refused, lost) as proxied:
        assert create(proxied, "Fautes 1") == (500, {"message": "Internal Server Error"})
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            create(proxied, "Fautes 2")
        status, made = create(proxied, "Fautes 3")
        assert status == 201
        assert {"Fautes 2", "Fautes 3"} == {
            title for title in titles(proxied) if title.startswith("Fautes")
        }
        # The addresses in an answer lead through the proxy, too.
        assert made["uri"].startswith(proxied.url)
        assert call(proxied, "GET", made["uri"].removeprefix(proxied.url))[1]["id"] == made["id"]
        assert proxied.asked == [
            *["POST /api/1/datasets/"] * 3,
            f"GET /api/1/datasets/?organization={portal.organization}&page_size=1000",
            f"GET /api/1/datasets/{made['slug']}/",
        ]


def test_a_fault_of_every_request(portal):
    with faulty(portal, Fault("500", "GET", "/me/", nth=None)) as proxied:
        assert [call(proxied, "GET", "/me/", "owner")[0] for _ in range(3)] == [500] * 3
        assert call(proxied, "GET", "/datasets/licenses/")[0] == 200
