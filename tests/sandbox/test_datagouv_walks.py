"""Random walks over the replica of data.gouv.fr and a real udata at once: the same calls have
to get the same answers, ids, times and texts of messages aside."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from portals import Form, Portal, Reply

ROLES = ("owner", "owner", "owner", "editor", "partial", "outsider", "sysadmin", "revoked", None)
TITLES = ("Marchés publics", "Marches-publics", "DECP d'Évreux", "", None, "x" * 351)
#: Values of the fields of a data set and of a resource, good and bad.
DATASET = {
    "title": TITLES,
    "description": ("Une description.", "D", "", None),
    "acronym": ("A", None),
    "tags": (["abc", "décembre"], ["abc,def"], "uvw", [], None, ["a"]),
    "license": ("fr-lo", "lov2", "lov3", None),
    "frequency": ("daily", "fourTimesADay", "journalier", None),
    "private": (True, False, None, "true"),
    "extras": ({"siret": "1"}, {"dcat": 1, "a": [1]}, {}, None, [1]),
    "archived": ("2024-01-01T00:00:00", None, "hier"),
    "deleted": (None, None, "2024-01-01T00:00:00"),
}
RESOURCE = {
    "title": ("DECP.json", "", None, 5),
    "url": ("https://example.org/a", "ftp://example.org/b", "nothing", "", None),
    "filetype": ("remote", "file", "json", None),
    "type": ("main", "documentation", "x", None),
    "description": ("d", None),
    "format": (" JSON ", None),
    "mime": ("application/json", None),
    "filesize": (5, None, "x"),
    "checksum": ({"type": "sha1", "value": "ab"}, {"value": "ab"}, {"type": "x"}, None),
    "schema": ({"name": "n"}, {"version": "1"}, None),
    "extras": ({"a": 1}, {"check:x": 1}, None),
}
FILES = ("a.json", "B é.xml", "c.json.gz", "d.exe", "e")
KINDS = ("read", "slug", "update", "upload", "remote", "delete", "restore", "list", "reorder")
#: What is compared of an answer that is not refused.
COMPARED = (
    *("title", "slug", "description", "acronym", "tags", "license", "frequency", "private"),
    *("extras", "archived", "permissions", "type", "filetype", "format", "mime", "filesize"),
    *("checksum", "schema", "success", "message", "error"),
)


class Walk:
    """The same calls to both portals, which name data sets and resources differently."""

    def __init__(self, portals: tuple[Portal, ...], seed: int):
        self._portals = portals
        self._random = random.Random(seed)
        self._mark = f"{seed} {time.time_ns()}"
        #: The ids of each data set, and of its resources, one for each portal.
        self._datasets: list[tuple[str, ...]] = []
        self._resources: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        self._files = 0

    def step(self) -> tuple[str, list[Any]]:
        """Make one call; give it, and what is compared of both answers."""
        choose = self._random.choice
        role = choose(ROLES)
        if len(self._datasets) < 2 or self._random.random() < 0.1:
            return self._create(role)
        dataset = choose(self._datasets)
        resources = self._resources[dataset]
        what = choose((*KINDS, *["resource"] * 4))
        if what == "resource" and not resources:
            what = choose(("upload", "remote"))
        paths = [f"/datasets/{each}/" for each in dataset]
        if what == "read":
            return self._call("GET", paths, role)
        if what == "update":
            return self._call("PUT", paths, role, json=self._form(DATASET))
        if what == "slug":
            return self._slug(role)
        if what == "restore":
            return self._call("PUT", paths, role, json={"deleted": None} | self._form(DATASET))
        if what == "reorder":
            return self._reorder(resources, paths, role)
        if what == "delete":
            return self._call("DELETE", paths, role)
        if what == "list":
            query = choose(("", "&deleted=false", "&private=true", "&archived=true", "&sort=title"))
            return self._lists(role, query)
        if what == "upload":
            return self._new_resource(
                dataset, [path + "upload/" for path in paths], role, self._file()
            )
        if what == "remote":
            sent = {
                "json": {"title": "R", "url": "https://example.org/r", "filetype": "remote"}
                | self._form(RESOURCE)
            }
            return self._new_resource(dataset, [path + "resources/" for path in paths], role, sent)
        return self._resource(dataset, paths, role)

    def _form(self, values: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
        names = self._random.sample(sorted(values), self._random.randrange(4))
        form = {name: self._random.choice(values[name]) for name in names}
        if isinstance(form.get("title"), str) and form["title"] in TITLES[:3]:
            form["title"] += f" {self._mark}"
        return form

    def _file(self) -> dict[str, Any]:
        # No name twice: within one second it would be refused.
        self._files += 1
        name = self._random.choice(FILES)
        return {"form": Form(file=(f"{self._files}-{name}", b"{}" * self._files))}

    def _create(self, role: str | None) -> tuple[str, list[Any]]:
        form = {"title": f"Jeu {self._mark}", "description": "d"} | self._form(DATASET)
        form.pop("deleted", None)
        replies = [
            portal.call("POST", "/datasets/", role, form | {"organization": portal.organization})
            for portal in self._portals
        ]
        if all(reply.status == 201 for reply in replies):
            self._datasets.append(tuple(reply.json["id"] for reply in replies))
            self._resources[self._datasets[-1]] = []
        return f"POST /datasets/ {role} {form}", self._compared(replies)

    def _call(
        self, method: str, paths: list[str], role: str | None, **sent: Any
    ) -> tuple[str, list[Any]]:
        replies = [
            portal.call(method, path, role, **sent)
            for portal, path in zip(self._portals, paths, strict=True)
        ]
        return f"{method} {paths} {role} {sent}", self._compared(replies)

    def _slug(self, role: str | None) -> tuple[str, list[Any]]:
        """A slug that one of the data sets has, had, or never had."""
        title = self._random.choice(
            (f"Jeu {self._mark}", *(f"{one} {self._mark}" for one in TITLES[:2]))
        )
        slug = title.lower().replace(" ", "-").replace("é", "e")
        slug += self._random.choice(("", "-1", "-2"))
        if self._random.random() < 0.3:
            slug = slug.upper()
        replies = [portal.call("GET", f"/datasets/{slug}/", role) for portal in self._portals]
        seen = [
            (reply.status, reply.headers["Location"])
            if reply.status == 308
            else (reply.status, _part(reply.json, reply.status))
            for reply in replies
        ]
        return f"GET /datasets/{slug}/ {role}", seen

    def _reorder(
        self, resources: list[tuple[str, ...]], paths: list[str], role: str | None
    ) -> tuple[str, list[Any]]:
        order = self._random.sample(
            resources, max(0, len(resources) - self._random.choice((0, 0, 1)))
        )
        replies = [
            portal.call("PUT", path + "resources/", role, ids)
            for portal, path, ids in zip(
                self._portals, paths, ([each[at] for each in order] for at in range(2)), strict=True
            )
        ]
        seen = [
            (reply.status, reply.status == 200 and [_part(each, 200) for each in reply.json])
            for reply in replies
        ]
        return f"PUT {paths} {role} {order}", seen

    def _lists(self, role: str | None, query: str) -> tuple[str, list[Any]]:
        replies = [
            portal.call(
                "GET", f"/datasets/?page_size=1000&organization={portal.organization}{query}", role
            )
            for portal in self._portals
        ]
        # Other tests have made data sets, too: what is compared are those of this walk.
        seen = [
            (
                reply.status,
                reply.status == 200
                and [each["title"] for each in reply.json["data"] if self._mark in each["title"]],
            )
            for reply in replies
        ]
        return f"GET /datasets/ {role} {query}", seen

    def _new_resource(
        self, dataset: tuple[str, ...], paths: list[str], role: str | None, sent: dict[str, Any]
    ) -> tuple[str, list[Any]]:
        replies = [
            portal.call("POST", path, role, **sent)
            for portal, path in zip(self._portals, paths, strict=True)
        ]
        if all(reply.status == 201 for reply in replies):
            self._resources[dataset].insert(0, tuple(reply.json["id"] for reply in replies))
        return f"POST {paths} {role} {sent}", self._compared(replies)

    def _resource(
        self, dataset: tuple[str, ...], paths: list[str], role: str | None
    ) -> tuple[str, list[Any]]:
        resource = self._random.choice(self._resources[dataset])
        paths = [f"{path}resources/{each}/" for path, each in zip(paths, resource, strict=True)]
        what = self._random.choice(("GET", "PUT", "PUT", "DELETE", "replace"))
        if what == "replace":
            return self._call("POST", [path + "upload/" for path in paths], role, **self._file())
        if what == "PUT":
            return self._call("PUT", paths, role, json=self._form(RESOURCE))
        return self._call(what, paths, role)

    def _compared(self, replies: list[Reply]) -> list[Any]:
        return [(reply.status, _part(reply.json, reply.status)) for reply in replies]


def _part(content: Any, status: int) -> Any:
    """What is compared of an answer: of a refusal, its shape and the fields it names."""
    if not isinstance(content, dict):
        return content
    if status >= 400:
        errors = content.get("errors")
        return sorted(content), sorted(errors) if isinstance(errors, dict) else None
    part = {name: content[name] for name in COMPARED if name in content}
    if "resources" in content:
        part["resources"] = [_part(each, status) for each in content["resources"]]
        part["deleted"] = content["deleted"] is not None
    return part


@pytest.mark.udata
@pytest.mark.parametrize("seed", range(4))
def test_walk(portal_of, seed):
    walk = Walk((portal_of("replica"), portal_of("udata")), seed)
    calls = []
    for _ in range(120):
        call, (ours, theirs) = walk.step()
        calls.append(call)
        assert ours == theirs, "\n".join(["not the same at the last of:", *calls[-8:]])
