"""Publishing on data.gouv.fr so that it can be repeated at any time: look, then decide.

Nothing of the API is idempotent. So each step looks at what is there and does what is
lacking, and after a POST that failed or got no answer it looks again before it goes on: an
upload that was stored all the same is found by its title and sha1, and no duplicate is made.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dume_spider.datagouv.client import FileToSend, PortalClient
from dume_spider.datagouv.dataset import (
    DecpDataset,
    dataset_differences,
    resource_differences,
    resource_metadata,
    with_tags,
)
from dume_spider.datagouv.errors import (
    DeletedError,
    MismatchError,
    MissingError,
    NoAnswerError,
    NotAllowedError,
    PortalFailureError,
)
from dume_spider.decp.filename import DecpFilename, Format, decp_name
from dume_spider.exceptions import ArgumentError, ForeignFileError

#: What was done: ``uploaded`` and ``linked`` (a remote one) are new; ``replaced`` has another
#: content, ``described`` other metadata; ``unchanged`` was there as it should be.
Action = Literal[
    "created", "uploaded", "linked", "replaced", "described", "unchanged", "deleted", "restored"
]

#: Seconds before each further try of a POST. The portal answers 500 to a file name that it
#: has stored within the same second, so none is shorter.
WAITS = (1.5, 5.0, 15.0)

#: A POST that failed so may have been done; and others may pass.
UNSURE = (NoAnswerError, PortalFailureError)


class Published(NamedTuple):
    """What was done, to which file; to a data set: then ``file`` and ``resource`` are empty."""

    file: str
    action: Action
    dataset: str
    resource: str
    sha1: str
    url: str


def to_send(path: Path, name: DecpFilename) -> FileToSend:
    """A file as it is sent, read once for its sha1. Raises ``OSError``."""
    with path.open("rb") as file:
        sha1 = hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False))
        return FileToSend(str(name), path, file.tell(), sha1.hexdigest())


async def find_datasets(
    client: PortalClient, organization: str, wanted: DecpDataset
) -> list[dict[str, Any]]:
    """The data sets of an organization that are the one wanted.

    Deleted ones, which a member's key sees too, are not among them.
    """
    return [
        found
        for found in await client.datasets(organization)
        if not found["deleted"] and wanted.is_meant_by(found)
    ]


async def ensure_dataset(
    client: PortalClient, organization: str, wanted: DecpDataset, *, private: bool = False
) -> Published:
    """The data set wanted, made if the organization has none.

    Raises :class:`.errors.MismatchError` when what was made differs from the guide, and
    :class:`ArgumentError` when there are several, or the portal lacks the licence.
    """
    body = {**wanted.metadata(), "organization": organization, "private": private}
    found: list[dict[str, Any]] = []

    async def look() -> None:
        found[:] = await find_datasets(client, organization, wanted)

    await look()
    if len(found) > 1:
        ids = ", ".join(each["id"] for each in found)
        raise ArgumentError(
            f"the organization has {len(found)} data sets {wanted.title!r}: {ids}; say which "
            "one with -a dataset=… in place of create=true"
        )
    if not found:
        await _check_license(client, wanted.license)
    shown, created = await _post_once(
        lambda: found[0] if found else None, lambda: client.create_dataset(body), look
    )
    if created and client.plan:
        return Published("", "created", shown["id"], "", "", "")
    shown = await client.dataset(shown["id"])
    if created:
        _compare(dataset_differences(body, shown), f"the data set {shown['id']}")
    return _of_dataset(shown, "created" if created else "unchanged")


async def _post_once(
    find: Callable[[], dict[str, Any] | None],
    post: Callable[[], Awaitable[dict[str, Any]]],
    look: Callable[[], Awaitable[None]],
) -> tuple[dict[str, Any], bool]:
    """What ``find`` gives, else what ``post`` makes; and whether anything was posted.

    After a POST that may have been done all the same, ``look`` asks the portal what is
    there, and ``find`` decides: never is one sent again blindly.
    """
    posted = False
    for wait in (*WAITS, None):
        if (there := find()) is not None:
            return there, posted
        posted = True
        try:
            return await post(), posted
        except UNSURE as error:
            if wait is None:
                raise
            await asyncio.sleep(max(wait, error.wait))
            await look()
    raise AssertionError  # the last try returns or raises


async def update_dataset(
    client: PortalClient,
    shown: Mapping[str, Any],
    wanted: DecpDataset,
    *,
    private: bool | None = None,
) -> Published:
    """Send the metadata of a data set again; what is not the guide's stays.

    ``shown`` is the data set as it is, ``wanted`` as it is to be; ``private``: ``None``
    leaves that as it is.
    """
    await _check_license(client, wanted.license)
    fields = {**kept(shown), **wanted.metadata()}
    fields["tags"] = with_tags(shown["tags"] or ())
    # A PUT of extras takes the place of all; a platform's data set has no siret among them.
    others = {name: value for name, value in (shown["extras"] or {}).items() if name != "siret"}
    fields["extras"] = others | wanted.extras
    if private is not None:
        fields["private"] = private
    await client.update_dataset(shown["id"], fields)
    if not client.plan:
        shown = await client.dataset(shown["id"])
        _compare(dataset_differences(fields, shown), f"the data set {shown['id']}")
    return _of_dataset(shown, "described")


async def restore_dataset(client: PortalClient, shown: Mapping[str, Any]) -> Published:
    """Bring a deleted data set back, as it was."""
    if not shown["deleted"]:
        return _of_dataset(shown, "unchanged")
    fields = kept(shown)
    await client.update_dataset(shown["id"], {"deleted": None, **fields})
    if not client.plan:
        shown = await client.dataset(shown["id"])
        wrong = dataset_differences({"deleted": None, **fields}, shown)
        _compare(wrong, f"the data set {shown['id']}")
    return _of_dataset(shown, "restored")


async def delete_dataset(client: PortalClient, shown: Mapping[str, Any]) -> Published:
    """Delete a data set; one that is deleted already stays so."""
    if shown["deleted"]:
        return _of_dataset(shown, "unchanged")
    # Gone: an earlier try of the same request did it, whose answer was lost.
    await _gone(client.delete_dataset(shown["id"]))
    return _of_dataset(shown, "deleted")


def kept(shown: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a data set that a PUT would change by not naming them."""
    return {
        "tags": shown["tags"] or [],
        "temporal_coverage": shown["temporal_coverage"],
        "private": bool(shown["private"]),
    }


class Publisher:
    """Publishes files in one data set: ``shown``, as the portal shows it.

    ``note`` is told, with its code (docs/logs.md), what a person should know besides.
    ``is_ours`` knows whether a content (data set, name, sha1) was published from here: one that
    was not is replaced with a note. With ``spares_others`` :meth:`publish` replaces none.
    Raises, also when it is made,
    :class:`.errors.DeletedError` for a deleted data set, which would take uploads, and
    :class:`.errors.NotAllowedError` when the owner of the key may not change it.
    """

    def __init__(
        self,
        client: PortalClient,
        shown: Mapping[str, Any],
        note: Callable[[str, str], None],
        is_ours: Callable[[str, str, str], bool] = lambda *_: True,
        *,
        spares_others: bool = False,
    ):
        self.client = client
        self.id: str = shown["id"]
        self._note = note
        self._is_ours = is_ours
        self._spares_others = spares_others
        what = f"the data set {self.id} ({shown['title']})"
        if shown.get("deleted"):
            raise DeletedError(f"{what} cannot be written to")
        rights = shown.get("permissions") or {}
        if client.key and rights.get("edit_resources", rights.get("edit")) is False:
            raise NotAllowedError(f"{what} cannot be written to")
        #: The resources of the data set, as last seen.
        self.resources: list[dict[str, Any]] = list(shown.get("resources") or ())
        self.siret: str | None = (shown.get("extras") or {}).get("siret")

    def names(self) -> list[DecpFilename]:
        """The names of the DECP files that the data set has."""
        names = (decp_name(each["title"]) for each in self.resources)
        return [name for name in names if name]

    async def publish(self, file: FileToSend, format: Format) -> Published:
        """Make the data set have this file, once: see :data:`Action` for what may be done.

        Raises :class:`ForeignFileError` where another content has its name and is spared.
        """
        action: Action = "replaced" if self._find(file) else "uploaded"
        return await self._put(file, format, action, lambda: self._to_replace(file))

    async def replace(self, file: FileToSend, format: Format, resource: str) -> Published:
        """Put a file in the place of that of a resource, whatever its name."""
        if self._get(resource)["filetype"] != "file":
            raise ArgumentError(
                f"the resource {resource} is a link to a file elsewhere: it has no file to replace"
            )
        return await self._put(file, format, "replaced", lambda: self._get(resource))

    async def link(self, title: str, url: str, format: Format) -> Published:
        """Make the data set have a remote resource: a file that is hosted at ``url``."""
        wanted = {**resource_metadata(title, format), "url": url, "filetype": "remote"}
        there, posted = await _post_once(
            lambda: self._find_link(title, url),
            lambda: self.client.add_remote(self.id, wanted),
            self._look,
        )
        return await self._describe(there, wanted, "linked" if posted else "unchanged")

    async def describe(self, there: Mapping[str, Any], format: Format) -> Published:
        """Send the metadata of a resource again, whether they differ or not: of a link, that
        says that the file behind it has changed. The title of an upload is lower-case: one
        that is a DECP name becomes that."""
        title = str(decp_name(there["title"]) or there["title"])
        wanted = resource_metadata(title, format)
        await self.client.update_resource(self.id, there["id"], wanted)
        if self.client.plan:
            return self._published(there, title, "described")
        return await self._describe(await self._read(there["id"]), wanted, "described")

    async def delete(self, resource: str) -> Published:
        """Delete a resource; one that is not there is taken for deleted."""
        there = next((each for each in self.resources if each["id"] == resource), None)
        if there is None:
            self._note(
                "PUB-17", f"the data set {self.id} has no resource {resource}: nothing to delete"
            )
            return Published("", "unchanged", self.id, resource, "", "")
        await _gone(self.client.delete_resource(self.id, resource))
        return self._published(there, there["title"], "deleted")

    async def _put(
        self,
        file: FileToSend,
        format: Format,
        action: Action,
        find: Callable[[], dict[str, Any] | None],
    ) -> Published:
        """Upload a file in the place of what ``find`` gives, unless that has its content."""

        def same() -> dict[str, Any] | None:
            there = find()
            return there if there and _sha1(there) == file.sha1 else None

        async def send() -> dict[str, Any]:
            there = find()
            shown = await self.client.upload(self.id, file, there["id"] if there else None)
            self.resources = [each for each in self.resources if each["id"] != shown["id"]]
            self.resources.append(shown)
            return shown

        there, posted = await _post_once(same, send, self._look)
        return await self._describe(there, _wanted(file, format), action if posted else "unchanged")

    async def _look(self) -> None:
        self.resources = list((await self.client.dataset(self.id))["resources"])

    def _find(self, file: FileToSend) -> dict[str, Any] | None:
        """The resource of a file: by its title, in any case, since uploads lower it; one that
        somebody has given a title of their own, by its content."""
        hosted = [each for each in self.resources if each["filetype"] == "file"]
        name = file.name.lower()
        same = [each for each in hosted if (each["title"] or "").lower() == name] or [
            each for each in hosted if _sha1(each) == file.sha1 and not decp_name(each["title"])
        ]
        same.sort(key=lambda each: _sha1(each) != file.sha1)
        if len(same) > 1:
            ids = ", ".join(each["id"] for each in same[1:])
            others = "the others"
            if len({_sha1(each) for each in same}) > 1:
                others = "what is not wanted of the others, whose content is not the same"
            self._note(
                "PUB-18",
                f"the data set {self.id} has {file.name} {len(same)} times; {same[0]['id']} is "
                f"used, remove {others} (-a action=delete-resource): {ids}",
            )
        return same[0] if same else None

    def _find_link(self, title: str, url: str) -> dict[str, Any] | None:
        """The link to an address, or to the same DECP file at another one: it has moved."""
        for each in self.resources:
            if each["url"] == url:
                return each
        name = decp_name(title)
        for each in self.resources:
            if name and each["filetype"] == "remote" and decp_name(each["title"]) == name:
                return each
        return None

    def _to_replace(self, file: FileToSend) -> dict[str, Any] | None:
        """The resource of a file; its content, where it is another one, may be replaced."""
        there = self._find(file)
        sha1 = _sha1(there) if there else file.sha1
        if sha1 == file.sha1:
            return there
        what = (
            f"{file.name}: the data set {self.id} has a file of this name with another content "
            f"(sha1 {sha1})"
        )
        if self._spares_others:
            raise ForeignFileError(
                f"{what}: it is left as it is; rename ours to a number that is free there, and "
                "publish it with scrapy crawl publish"
            )
        if not self._is_ours(self.id, file.name, sha1 or ""):
            self._note(
                "PUB-21",
                f"{what}, not published from this store: it is replaced; if it was another "
                "machine's, publish it from there again under a number that is free",
            )
        return there

    def _get(self, resource: str) -> dict[str, Any]:
        for each in self.resources:
            if each["id"] == resource:
                return each
        raise MissingError(f"the data set {self.id} has no resource {resource}")

    async def _describe(
        self, there: Mapping[str, Any], wanted: Mapping[str, Any], action: Action
    ) -> Published:
        """Set the metadata where they differ, read everything back and compare."""
        settable = {
            name: value
            for name, value in wanted.items()
            if name not in ("checksum", "filesize", "filetype")
        }
        changes = resource_differences(settable, there)
        if changes:
            await self.client.update_resource(self.id, there["id"], settable)
            if action == "unchanged":
                action = "described"
        if action != "unchanged" and not self.client.plan:
            there = await self._read(there["id"])
            wrong = resource_differences(wanted, there)
            _compare(wrong, f"{wanted['title']}, the resource {there['id']}")
        return self._published(there, wanted["title"], action)

    async def _read(self, resource: str) -> dict[str, Any]:
        shown = await self.client.resource(self.id, resource)
        self.resources = [shown if each["id"] == resource else each for each in self.resources]
        return shown

    def _published(self, there: Mapping[str, Any], title: str, action: Action) -> Published:
        sha1, url = _sha1(there) or "", there.get("url") or ""
        return Published(title, action, self.id, there["id"], sha1, url)


def _wanted(file: FileToSend, format: Format) -> dict[str, Any]:
    return {
        **resource_metadata(file.name, format),
        "filetype": "file",
        "filesize": file.bytes,
        "checksum": {"type": "sha1", "value": file.sha1},
    }


def _sha1(resource: Mapping[str, Any]) -> str | None:
    checksum = resource.get("checksum") or {}
    return checksum.get("value") if checksum.get("type") == "sha1" else None


def _of_dataset(shown: Mapping[str, Any], action: Action) -> Published:
    return Published("", action, shown["id"], "", "", "")


def _compare(wrong: list[str], what: str) -> None:
    if wrong:
        raise MismatchError(f"{what} is not as it was sent: {'; '.join(wrong)}")


async def _check_license(client: PortalClient, license: str) -> None:
    known = await client.licenses()
    if license not in known:
        raise ArgumentError(
            f"DATAGOUV_LICENSE={license!r}: the portal has no such licence and would drop it "
            f"silently; it has: {', '.join(known)}"
        )


async def _gone(deleting: Awaitable[None]) -> None:
    try:
        await deleting
    except (MissingError, DeletedError):
        return
