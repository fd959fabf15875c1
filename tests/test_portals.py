"""The portals and the proxy that the tests of publishing stand on."""

from __future__ import annotations

import http.client

import pytest
from portals import Fault, Portal, Reply, faulty


def create(portal: Portal, title: str) -> Reply:
    dataset = {"title": title, "description": "x", "organization": portal.organization}
    return portal.call("POST", "/datasets/", "owner", dataset)


def titles(portal: Portal) -> list[str]:
    path = f"/datasets/?organization={portal.organization}&page_size=1000"
    return [dataset["title"] for dataset in portal.call("GET", path).json["data"]]


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
    reply = portal.call("GET", "/me/", role)
    if isinstance(expected, int):
        assert reply.status == expected
    else:
        ids = [organization["id"] for organization in reply.json["organizations"]]
        assert (reply.status, ids) == (200, [getattr(portal, name) for name in expected])


def test_other_modes_share_the_data(portal):
    read_only = portal.also(read_only=True)
    assert create(read_only, "Refusé").status == 423
    small = portal.also(max_content_length=200)
    assert create(small, "Refusé" * 100).status == 413
    made = create(small, "Modes")
    assert made.status == 201
    for each in (read_only, portal):
        assert each.call("GET", f"/datasets/{made.json['id']}/").json["title"] == "Modes"


def test_faults(portal):
    refused, lost = Fault("500", "POST", r"/datasets/$"), Fault("cut", "POST", r"/datasets/$", 2)
    with faulty(portal, refused, lost) as proxied:
        reply = create(proxied, "Fautes 1")
        assert (reply.status, reply.json) == (500, {"message": "Internal Server Error"})
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            create(proxied, "Fautes 2")
        made = create(proxied, "Fautes 3")
        assert made.status == 201
        found = {title for title in titles(proxied) if title.startswith("Fautes")}
        assert found == {"Fautes 2", "Fautes 3"}
        # The addresses in an answer lead through the proxy, too.
        assert made.json["uri"].startswith(proxied.url)
        assert proxied.call("GET", made.json["uri"]).json["id"] == made.json["id"]
        assert proxied.asked == [
            *["POST /api/1/datasets/"] * 3,
            f"GET /api/1/datasets/?organization={portal.organization}&page_size=1000",
            f"GET /api/1/datasets/{made.json['slug']}/",
        ]


def test_a_fault_of_every_request(portal):
    with faulty(portal, Fault("500", "GET", "/me/", nth=None)) as proxied:
        assert [proxied.call("GET", "/me/", "owner").status for _ in range(3)] == [500] * 3
        assert proxied.call("GET", "/datasets/licenses/").status == 200
