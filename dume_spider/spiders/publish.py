"""The publish spider: DECP files to data.gouv.fr, safely repeatable."""

from __future__ import annotations

import asyncio
import glob
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self
from urllib.parse import unquote, urlsplit

from scrapy import Request
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    ResponseDataLossError,
)
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost

from dume_spider.datagouv.client import Answer, ApiKey, FileToSend, PortalClient, Send, read_url
from dume_spider.datagouv.dataset import (
    FREQUENCIES,
    LICENSES,
    LONGEST_TITLE,
    RESOURCE_TYPE,
    STRUCTURES,
    TAGS,
    DecpDataset,
    dataset_differences,
    format_of,
    name_of,
)
from dume_spider.datagouv.errors import NoAnswerError, PortalError
from dume_spider.datagouv.publisher import (
    UNSURE,
    Published,
    Publisher,
    delete_dataset,
    ensure_dataset,
    restore_dataset,
    to_send,
    update_dataset,
)
from dume_spider.decp.filename import DecpFilename, decp_name
from dume_spider.decp.verification import verify_file
from dume_spider.exceptions import (
    ArgumentError,
    DumeSpiderError,
    FileRefusedError,
    ForeignFileError,
)
from dume_spider.extensions.run_summary import RunSummary
from dume_spider.pipelines.validation import read_severities
from dume_spider.spiders.base import (
    KEY,
    Argument,
    BaseSpider,
    a_text,
    crawl_command,
    one_of,
    today,
)
from dume_spider.spiders.dume import a_siret, describe
from dume_spider.store.doors import Door
from dume_spider.store.publications import Publication, Publications

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings

logger = logging.getLogger(__name__)

#: Seconds that one request may take: the last one of a large file has the portal read it all.
TIMEOUT = 300

#: Seconds between two looks at whether another run has ended.
LOOK = 1.0

#: The id of a data set or an organization.
ID = "[0-9a-f]{24}"

_NO_ANSWER = (
    CannotResolveHostError,
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    OSError,
    ResponseDataLossError,
)

#: By which door a file leaves, by what was done; what is not here is no file.
_DOORS = {
    "uploaded": Door.NEW,
    "linked": Door.NEW,
    "replaced": Door.UPDATED,
    "described": Door.UPDATED,
    "unchanged": Door.UNCHANGED,
}


class _Action(NamedTuple):
    """The arguments that an action needs, and which it takes besides; what it destroys has
    to be confirmed."""

    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()
    confirm: str | None = None


_ACTIONS = {
    "upload": _Action((), ("dataset", "create", "files", "remote_url", "siret")),
    "replace": _Action(("dataset", "resource", "files"), ("siret",), "resource"),
    "update": _Action(("dataset",), ("structure", "siret", "name", "private")),
    "delete-resource": _Action(("dataset", "resource"), (), "resource"),
    "delete-dataset": _Action(("dataset",), (), "dataset"),
    "restore": _Action(("dataset",)),
}
#: What ``create=true`` needs, and takes besides.
_CREATE = ("structure", "siret", "name", "organization")
_CREATE_TAKES = ("private",)


def a_pattern(*patterns: str, of: str) -> Callable[[str], str]:
    """A reader for a text of one of these forms, described by ``of``."""

    def read(text: str) -> str:
        if not any(re.fullmatch(pattern, text) for pattern in patterns):
            raise ValueError(f"not known; accepted: {of}")
        return text

    return read


an_id = a_pattern(ID, of="an id of 24 hexadecimal characters")
a_dataset = a_pattern(
    "[0-9a-zA-Z][0-9a-zA-Z-]*", of="the id of a data set (24 hexadecimal characters) or its slug"
)
a_resource = a_pattern(
    "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", of="the id of a resource (a UUID)"
)


def a_flag(text: str) -> bool:
    """Read ``true`` or ``false``."""
    return one_of("true", "false")(text) == "true"


def some_files(text: str) -> list[Path]:
    """Read paths and globs, joined by commas, as the files there are, by name."""
    found: dict[Path, None] = {}
    for pattern in filter(None, (part.strip() for part in text.split(","))):
        paths = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - any root
        if not paths:
            raise ValueError(f"no such file: {pattern}")
        found |= dict.fromkeys(map(Path, paths))
    if not found:
        raise ValueError("is empty; accepted: paths or globs, joined by commas")
    return sorted(found, key=lambda path: (path.name, path))


def a_name(text: str) -> str:
    """Read the name of a platform or buyer, which becomes part of a title."""
    text = " ".join(text.split())
    if not text or not text.isprintable() or len(text) > LONGEST_TITLE - 60:
        raise ValueError(f"is empty or longer than {LONGEST_TITLE - 60} characters")
    return text


def a_remote_url(text: str) -> str:
    """Read the address of a DECP file that is hosted elsewhere."""
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None:
        raise ValueError("not an address; accepted: https://… or http://…, without a password")
    format_of(unquote(parts.path))
    return text


class PublishSpider(BaseSpider):
    """Publishes DECP files on data.gouv.fr, by the publication guide.

    It asks no other service and yields no items: every call goes through Scrapy's downloader,
    one at a time, in the order of :mod:`dume_spider.datagouv.publisher`.
    """

    name = "publish"
    #: How a person can say whose files a data set has.
    say_whose: ClassVar[str] = "say with siret=… of which"
    #: What to do about a file that cannot be read.
    if_gone: ClassVar[str] = "put the file back or leave it out"
    #: Whether a file of the same name with another content is left as it is.
    spares_others: ClassVar[bool] = False
    custom_settings: ClassVar[dict[str, Any]] = {
        # Nothing is collected: no file is written, and no folder is made for any.
        "ITEM_PIPELINES": {},
        "DOWNLOAD_TIMEOUT": TIMEOUT,
        # One upload at a time: the portal mixes those of one second up.
        "CONCURRENT_REQUESTS_PER_DOMAIN": 1,
    }
    arguments: ClassVar[Mapping[str, Argument]] = {
        "files": Argument(some_files, "paths or globs of DECP files, joined by commas"),
        "dataset": Argument(a_dataset, "the data set: its id, or slug"),
        "create": Argument(
            a_flag,
            "`true`: the data set of `structure`, `siret`, `name` and `organization`, "
            "made if the organization has none",
        ),
        "structure": Argument(one_of(*STRUCTURES), f"{' or '.join(STRUCTURES)}: whose data set"),
        "siret": Argument(a_siret, "SIRET of the buyer or platform, which names the files"),
        "name": Argument(a_name, "name of the buyer or platform, for the title"),
        "structure_name": Argument(a_name, "another name of `name`, for Scrapyd"),
        "organization": Argument(an_id, "id of the organization that publishes"),
        "remote_url": Argument(a_remote_url, "address of a DECP file elsewhere, to be linked"),
        "private": Argument(a_flag, "`true`: only the organization sees the data set"),
        "action": Argument(one_of(*_ACTIONS), f"{', '.join(_ACTIONS)} (default: upload)"),
        "resource": Argument(a_resource, "id of the resource, for `replace`, `delete-resource`"),
        "confirm": Argument(a_text, "the id of what is replaced or deleted, once more"),
        "dry_run": Argument(a_flag, "`true`: print each call instead of sending it; only GETs are"),
    }

    @classmethod
    def check_arguments(cls, values: dict[str, Any]) -> None:
        other_name = values.pop("structure_name", None)
        if other_name and values.setdefault("name", other_name) != other_name:
            raise ArgumentError("publish: name and structure_name differ; give one of them")
        name = values.setdefault("action", "upload")
        action = _ACTIONS[name]
        needs, takes = action.needs, action.takes
        if values.get("create"):
            needs, takes = needs + _CREATE, takes + _CREATE_TAKES
        what = f"publish: action={name}" + (" with create=true" if values.get("create") else "")
        allowed = {*needs, *takes, "action", "dry_run", *(["confirm"] if action.confirm else [])}
        for given in sorted(values.keys() - allowed):
            raise ArgumentError(
                f"{what}: argument {given} does not go with it; accepted: "
                f"{', '.join(sorted(allowed))}"
            )
        if missing := [each for each in needs if each not in values]:
            raise ArgumentError(f"{what}: needs {', '.join(missing)}")
        if name == "upload":
            if bool(values.get("create")) == ("dataset" in values):
                raise ArgumentError(f"{what}: give either dataset=… or create=true")
            if "dataset" in values and not {"files", "remote_url"} & values.keys():
                raise ArgumentError(f"{what}: what is to be published? give files or remote_url")
        if name == "replace" and len(values["files"]) != 1:
            raise ArgumentError(f"{what}: give one file, not {len(values['files'])}")
        if action.confirm and values.get("confirm") != values[action.confirm]:
            raise ArgumentError(
                f"{what}: destroys what is there; repeat the id to confirm: "
                f"confirm={values[action.confirm]}"
            )
        if name == "delete-dataset":
            try:
                an_id(values["dataset"])
            except ValueError as error:
                raise ArgumentError(
                    f"{what}: argument dataset={values['dataset']!r}: {error}"
                ) from error
        if not values.get("dry_run"):
            ApiKey(os.environ.get(KEY, ""))

    @classmethod
    def check_settings(cls, settings: BaseSettings) -> None:
        check_settings(settings)

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        check_settings(crawler.settings)
        spider = super().from_crawler(crawler, *args, **kwargs)
        settings = crawler.settings
        plan = None
        if spider.values.get("dry_run"):
            plan, spider.run.planned = spider.plan, 0
        spider.client = client_of(crawler, plan)
        spider.license = settings["DATAGOUV_LICENSE"]
        spider.frequency = settings["DATAGOUV_FREQUENCY"]
        spider.severities = read_severities(settings)
        spider.left = {}
        spider.locks = []
        spider.failed_on_one = False
        spider.why = ""
        return spider

    async def start(self) -> AsyncIterator[Any]:
        self.run.proof = "complete"
        try:
            await self.act()
        except (DumeSpiderError, OSError) as error:
            self.give_up(error)
        return
        yield  # an iterator without items

    async def hold(self, what: str) -> None:
        """Wait until no other run with this store publishes in a data set, or makes one in an
        organization, and keep others from it: two at once would both upload what is missing."""
        if self.client.plan:
            return
        is_waiting = False
        while (lock := self.publications.hold(what)) is None:
            if not is_waiting:
                logger.info("Another run is publishing in %s: waiting for its end", what)
            is_waiting = True
            await asyncio.sleep(LOOK)
        self.locks.append(lock)

    async def open(self, dataset: str) -> Mapping[str, Any]:
        """A data set by its id or slug, as it is once no other run publishes in it."""
        if not re.fullmatch(ID, dataset):
            dataset = (await self.client.dataset(dataset))["id"]
        await self.hold(dataset)
        return await self.client.dataset(dataset)

    async def act(self) -> None:
        """Do what the arguments ask for. Raises :class:`DumeSpiderError`."""
        books = self.crawler.get_extension(RunSummary)
        self.publications = Publications(books.store, self.client.url)
        files = self.files()
        self.left = dict.fromkeys(map(str, files))
        if url := self.values.get("remote_url"):
            self.left[url] = None
        self.run.rows = len(self.left)
        if self.client.key:
            await self.client.me()
        action = self.values["action"]
        if action == "upload" and self.values.get("create"):
            checked = await self.check(files, self.values["siret"])
            if files and not checked:
                return
            await self.hold(self.values["organization"])
            made = await ensure_dataset(
                self.client,
                self.values["organization"],
                self.wanted(self.values),
                private=self.values.get("private", False),
            )
            self.done(made)
            if self.client.plan and made.action == "created":
                shown = {"id": made.dataset, "title": self.values["name"]}
            else:
                shown = await self.open(made.dataset)
                self.compare(self.wanted(self.values).metadata(), shown)
            await self.send(self.publisher(shown), checked)
            return
        shown = await self.open(self.values["dataset"])
        if action == "delete-dataset":
            self.done(await delete_dataset(self.client, shown))
        elif action == "restore":
            self.done(await restore_dataset(self.client, shown))
        else:
            publisher = self.publisher(shown)
            if action == "update":
                await self.update(publisher, shown)
            elif action == "delete-resource":
                self.done(await publisher.delete(self.values["resource"]))
            else:
                if action == "upload":
                    self.compare({"tags": list(TAGS)}, shown)
                siret = self.announced(publisher, files)
                await self.send(publisher, await self.check(files, siret))

    def publisher(self, shown: Mapping[str, Any]) -> Publisher:
        """What publishes in a data set."""
        return Publisher(
            self.client,
            shown,
            self.run.advise,
            self.publications.has_noted,
            spares_others=self.spares_others,
        )

    def plan(self, call: str) -> None:
        """Print a call in place of sending it."""
        self.run.planned += 1
        print(call)

    def files(self) -> Sequence[Path]:
        """The files to publish."""
        return self.values.get("files", ())

    def announced(self, publisher: Publisher, files: Sequence[Path]) -> str:
        """The SIRET that files must have: as ``siret=…``, as the data set says, or as its files
        or else the given ones have it. Raises :class:`ArgumentError` when they contradict."""
        given = self.values.get("siret")
        if given and publisher.siret and given != publisher.siret:
            raise ArgumentError(
                f"siret={given}: the data set {publisher.id} is that of {publisher.siret}"
            )
        if given or publisher.siret:
            return given or publisher.siret
        known = {name.siret for name in publisher.names()}
        if not known:
            names = " ".join(path.name for path in files)
            known = set(re.findall("(?i)decp-([0-9]{14})-", names))
        if len(known) > 1:
            raise ArgumentError(
                f"files of several SIRETs ({', '.join(sorted(known))}): a data set has those of "
                f"one; {self.say_whose}"
            )
        return known.pop() if known else ""

    async def check(self, files: Iterable[Path], siret: str) -> list[tuple[Path, DecpFilename]]:
        """Those of the files that may be published; the others are named."""
        good: dict[str, tuple[Path, DecpFilename]] = {}
        for path in files:
            try:
                # In a thread: a file of 300 MB takes half a minute, and a signal is to be heard.
                name = await asyncio.to_thread(check_file, path, siret, today(), self.severities)
                if str(name) in good:
                    raise FileRefusedError(f"{path}: {good[str(name)][0]} has the same name")
            except (DumeSpiderError, OSError) as error:
                self.failed(str(path), error)
            else:
                good[str(name)] = path, name
        return list(good.values())

    async def send(
        self, publisher: Publisher, checked: Iterable[tuple[Path, DecpFilename]]
    ) -> None:
        """Publish checked files, and the remote one."""
        for path, name in checked:
            await self.one(str(path), self.publish(publisher, path, name))
        if url := self.values.get("remote_url"):
            title = unquote(urlsplit(url).path).rpartition("/")[2]
            await self.one(url, self.link(publisher, title, url))

    async def publish(self, publisher: Publisher, path: Path, name: DecpFilename) -> None:
        """Publish one checked file, and note it."""
        file = await asyncio.to_thread(to_send, path, name)
        resource = self.values.get("resource")
        if resource:
            published = await publisher.replace(file, name.format, resource)
        else:
            published = await publisher.publish(file, name.format)
        self.done(published, str(path), file)

    async def link(self, publisher: Publisher, title: str, url: str) -> None:
        """Register the remote file, and note it."""
        published = await publisher.link(title, url, format_of(title))
        self.done(published, url, FileToSend(title, Path(), 0, ""))

    def compare(self, wanted: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
        """Say in what a data set that was there is not as ``wanted``, or hidden: it may be the
        wrong one."""
        hidden = {"private": self.values.get("private", False), "archived": None}
        wrong = dataset_differences({**wanted, **hidden}, shown)
        if not wrong:
            return
        update = {"action": "update", "dataset": shown["id"]}
        if self.values.get("create"):
            update |= {each: self.values[each] for each in ("structure", "siret", "name")}
        if bool(shown["private"]) != hidden["private"]:
            update["private"] = str(hidden["private"]).lower()
        self.run.advise(
            "PUB-22",
            f"the data set {shown['id']} ({shown['title']}): {'; '.join(wrong)}; if it is the "
            f"right one, bring it up to date: {crawl_command(self.name, update)}",
        )

    async def update(self, publisher: Publisher, shown: Mapping[str, Any]) -> None:
        """Send the metadata of the data set and of its files again."""
        values = dict(self.values)
        values.setdefault("name", name_of(shown["title"]))
        if "siret" not in values:
            values["siret"] = self.announced(publisher, ())
        values.setdefault("structure", "acheteur" if publisher.siret else "plateforme")
        for each in ("name", "siret"):
            if not values[each]:
                raise ArgumentError(
                    f"publish: action=update: the data set does not tell its {each}; give {each}=…"
                )
        wanted = self.wanted(values)
        self.done(await update_dataset(self.client, shown, wanted, private=values.get("private")))
        for resource in list(publisher.resources):
            try:
                format = format_of(resource["title"] or "")
            except ValueError:
                continue
            if resource["type"] != RESOURCE_TYPE and not decp_name(resource["title"]):
                continue  # a documentation, say, or a schema
            self.done(await publisher.describe(resource, format))

    def wanted(self, values: Mapping[str, Any]) -> DecpDataset:
        """The data set that arguments describe."""
        return DecpDataset(
            values["structure"],
            values["siret"],
            values["name"],
            self.license,
            self.frequency,
        )

    async def one(self, what: str, doing: Any) -> None:
        """Do what concerns one file; raises what concerns the others too.

        A portal that fails may do so because of the file: the next one tells.
        """
        failed_before, self.failed_on_one = self.failed_on_one, False
        try:
            await doing
        except PortalError as error:
            self.failed_on_one = isinstance(error, UNSURE) and not failed_before
            if not (error.is_of_file or self.failed_on_one):
                raise
            self.failed(what, error)
        except (ArgumentError, ForeignFileError, OSError) as error:
            self.failed(what, error)

    def done(self, published: Published, what: str = "", file: FileToSend | None = None) -> None:
        """Note what was done; ``what`` is the file it was done to, as it was given."""
        subject = published.file or f"data set {published.dataset}"
        if self.client.plan:
            self.left.pop(what, None)
            self.run.rows -= bool(what)
            return
        logger.info("%s: %s", subject, f"{published.action} {published.url}".rstrip())
        if file is not None:
            noted = Publication(
                file.name,
                file.sha1,
                file.bytes,
                published.dataset,
                published.resource,
                published.url,
            )
            self.publications.note(self.run.id, noted, _DOORS[published.action])
            self.left.pop(what, None)
        self.run.published.append(published._asdict())

    def failed(self, what: str, error: Exception) -> None:
        """Name a file that could not be published."""
        name, text = Path(what).name, one_line(error, self.if_gone)
        if name not in text:
            text = f"{name}: {text}"
        logger.error("[%s] %s", code_of(error), text)
        self.left.pop(what, None)
        self.run.fail_reference(name, text)
        if not getattr(error, "is_passing", False):
            self.run.fail(text)

    def give_up(self, error: Exception) -> None:
        """Note why all that is left cannot be done now."""
        self.why = one_line(error)
        logger.error("[%s] %s", code_of(error), self.why)
        if not getattr(error, "is_passing", False):
            self.run.fail(self.why)
        elif not self.left:
            self.run.failures.append({"reference": None, "error": self.why})

    def closed(self, reason: str) -> None:
        """Name what is left, settle the books and let other runs publish."""
        for lock in self.locks:
            lock.release(for_good=True)
        why = self.why or f"the run ended before it was published ({reason})"
        for what in self.left:
            self.run.fail_reference(Path(what).name, why)
        self.run.references = self.run.references_done = self.run.rows


def check_settings(settings: BaseSettings) -> None:
    """Check the settings of data.gouv.fr. Raises :class:`ArgumentError`."""
    read_url(settings["DATAGOUV_API_URL"])
    for setting, accepted in (("DATAGOUV_LICENSE", LICENSES), ("DATAGOUV_FREQUENCY", FREQUENCIES)):
        if settings[setting] not in accepted:
            raise ArgumentError(
                f"{setting}={settings[setting]!r}: not known; accepted: {', '.join(accepted)}"
            )
    if settings.get(KEY) is not None:
        raise ArgumentError(
            f"{KEY} is given as a setting, where others can see it; give it as an environment "
            "variable only, and make a new key"
        )


def client_of(crawler: Crawler, plan: Callable[[str], None] | None = None) -> PortalClient:
    """The client that sends through the downloader of ``crawler``, with the key of the
    environment (without one: only if ``plan`` is given)."""
    text = os.environ.get(KEY, "")
    key = None if plan and not text else ApiKey(text)
    return PortalClient(read_url(crawler.settings["DATAGOUV_API_URL"]), sender(crawler), key, plan)


def sender(crawler: Crawler) -> Send:
    """What sends requests through Scrapy's downloader: its throttle, stats, proxies, and the
    retries of all but POST."""

    async def send(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        request = Request(
            url,
            method=method,
            headers=dict(headers),
            body=body,
            dont_filter=True,
            meta={
                "kind": "read" if method == "GET" else "write",
                "dont_retry": method == "POST",
                "dont_redirect": True,
                # A session would beat the key.
                "dont_merge_cookies": True,
                # A cache on disk would hold the key.
                "dont_cache": True,
            },
        )
        try:
            response = await crawler.engine.download_async(request)
        except _NO_ANSWER as error:
            raise NoAnswerError(f"{method} {url}: no answer: {describe(error)}") from error
        names = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1")
            for name, values in response.headers.items()
            if values
        }
        return Answer(response.status, names, response.body)

    return send


def check_file(path: Path, siret: str, day: date, severities: Mapping[str, str]) -> DecpFilename:
    """The name of a file that may be published.

    Raises :class:`FileRefusedError`: its name is not by the convention, or of another SIRET
    than the one announced, or it is not valid; and ``OSError``.
    """
    try:
        name = DecpFilename.parse(path.name)
    except ValueError as error:
        raise FileRefusedError(f"{path}: {error}") from error
    if siret and name.siret != siret:
        raise FileRefusedError(f"{path}: is of SIRET {name.siret}, not of {siret} as announced")
    with path.open("rb") as file:
        head = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        raise FileRefusedError(f"{path}: is empty")
    if head[:1] != {"json": b"{", "xml": b"<"}[name.format]:
        raise FileRefusedError(f"{path}: is not {name.format.upper()}, as its name says")
    verdict = verify_file(path, day=day, severities=severities)
    if verdict.problem:
        raise FileRefusedError(verdict.problem)
    if not verdict.is_valid:
        first = next(iter(verdict.errors.values())).first
        raise FileRefusedError(
            f"{path}: is not valid: {verdict.invalid} of {verdict.records} records; "
            f"{first.path}: {first.message}; see scrapy verify"
        )
    return name


def code_of(error: Exception) -> str:
    """The code of an error in the log."""
    return error.log_code if isinstance(error, DumeSpiderError) else "PUB-16"


def one_line(error: Exception, if_gone: str = PublishSpider.if_gone) -> str:
    """An error in one line: what, where, what to do (``if_gone``: about a file)."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}; {if_gone}"
    return " ".join(str(error).split())
