"""Where DECP files go: a folder, or a storage that Scrapy's feed exports know.

An object storage has no hard links and an FTP server no locks, so each does what it can to
keep the promises of :class:`~dume_spider.decp.folder.Output`: see the classes.
Accounts, endpoints and access rights are those of Scrapy's own settings for feeds
(``AWS_ENDPOINT_URL``, ``FEED_STORAGE_S3_ACL``, …): its feed storages read them.
"""

from __future__ import annotations

import ftplib
import hashlib
import posixpath
import ssl
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from scrapy.extensions.feedexport import FTPFeedStorage, GCSFeedStorage, S3FeedStorage
from scrapy.settings import BaseSettings
from scrapy.utils.ftp import ftp_makedirs_cwd

from dume_spider.decp.filename import DecpFilename, last_numbers
from dume_spider.decp.folder import AnyPart, Output, OutputFolder
from dume_spider.exceptions import ArgumentError, OutputError, UncertainOutputError

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

ACCEPTED = "a folder, s3://bucket/path, gs://bucket/path, ftp://user@host/path or ftps://…"
#: Seconds that an FTP server is waited for.
FTP_TIMEOUT = 60
#: Bytes of a file that are kept in memory before they go to a temporary file.
_IN_MEMORY = 1 << 20


def open_output(uri: str, crawler: Crawler) -> Output:
    """The place that ``uri`` names (setting ``DECP_FILES_URI``); nothing is asked of it yet.

    Only the settings of ``crawler`` are read. Raises :class:`ArgumentError` as
    :func:`check_uri`.
    """
    check_uri(uri)
    parts = urlsplit(uri)
    if "://" not in uri or parts.scheme == "file":
        return OutputFolder(Path(unquote(parts.path) if "://" in uri else uri).absolute())
    return OUTPUTS[parts.scheme](uri, crawler)


def open_place(place: str, crawler: Crawler) -> Output:
    """The place of files that were written before, named without credentials.

    Those of ``DECP_FILES_URI`` are used if that is the same. Raises :class:`ArgumentError`.
    """
    uri = crawler.settings["DECP_FILES_URI"]
    return open_output(uri if shown(uri) == place else place, crawler)


def check_uri(uri: str) -> None:
    """Raise :class:`ArgumentError` for a URI that is not known, or whose package is missing."""
    parts = _split(uri)
    if "://" not in uri or (parts.scheme == "file" and not parts.netloc):
        return
    if parts.scheme not in OUTPUTS or not parts.hostname:
        raise ArgumentError(f"DECP_FILES_URI={shown(uri)!r}: not known; accepted: {ACCEPTED}")
    module, package = PACKAGES.get(parts.scheme, ("", ""))
    if module and not _is_installed(module):
        raise ArgumentError(
            f"DECP_FILES_URI={shown(uri)!r}: needs the package {package}: pip install {package}"
        )


def shown(uri: str) -> str:
    """A URI without the user and the password that it may hold, and without a last slash."""
    parts = _split(uri)
    if "://" not in uri:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # what it is a part of
        return False


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        # What cannot be read may hold a password anywhere.
        scheme = uri.partition("://")[0]
        raise ArgumentError(
            f"DECP_FILES_URI={scheme!r}://…: not a URI; accepted: {ACCEPTED}"
        ) from None
    return parts


def one_line(cause: object) -> str:
    """A text of a library as one line."""
    return " ".join(str(cause).split())


class RemotePart(AnyPart):
    """A temporary file here, in memory while it is small; ``token`` is its alone."""

    def __init__(self) -> None:
        super().__init__(tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115 - discard()
        self.token = token_hex(8)


class RemoteOutput(Output):
    """A place on a server. Files are written here first, and sent when they are whole.

    A set is numbered past all files of its SIRET and day that the place lists. What fails
    while files get their names raises :class:`UncertainOutputError`: the server may have
    done what was asked of it all the same, and the next run finds out
    (:meth:`~dume_spider.decp.folder.Output.settle`).
    """

    #: The errors of the library that speaks to the server.
    failures: tuple[type[Exception], ...] = ()

    def __init__(self, uri: str):
        self.uri = shown(uri)

    def new_part(self) -> RemotePart:
        return RemotePart()

    def free_number(self, first: DecpFilename) -> int:
        beginning = str(replace(first, number=1)).rpartition("-")[0]
        last = last_numbers(self.names(f"{beginning}-"), first.day)
        return max(first.number, last.get(first.siret, 0) + 1)

    def placed(self, names: Sequence[DecpFilename]) -> None:
        """Nothing is left to do: the server has said that it has them."""

    def sha1_of(self, name: str, size: int) -> str | None:
        hashed = hashlib.sha1(usedforsecurity=False)
        if not self.read(name, hashed.update):
            return None
        return hashed.hexdigest()

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to ``path``. Raises :class:`OutputError`, also if there is none."""
        with path.open("wb") as file:
            if not self.read(name, file.write):
                raise self.error(name, "no such file")

    def check(self) -> None:
        """Prove with a file that files can be put there. Raises :class:`OutputError`."""
        name = f".decp-{token_hex(8)}.part"
        first, second = self.new_part(), self.new_part()
        try:
            first.write(b"{}\n")
            if not self.put(first, name):
                raise self.error(name, "a new file was refused")
            refused = not self.put(second, name)
            self.remove(name)
            if not refused:
                raise self.error(name, "the storage overwrites files (it knows no If-None-Match)")
        finally:
            first.discard()
            second.discard()

    def error(self, name: str, cause: object, kind: type[OutputError] = OutputError) -> OutputError:
        """The line for a person."""
        return kind(
            f"{one_line(cause)}: {self.uri}/{name}; check DECP_FILES_URI, the account and its "
            "rights, then run the same command again"
        )

    @contextmanager
    def _errors(self, name: str, kind: type[OutputError] = OutputError) -> Iterator[None]:
        try:
            yield
        except self.failures as error:
            raise self.error(name, error, kind) from error

    @abstractmethod
    def names(self, beginning: str) -> Iterator[str]:
        """The names there that begin so."""

    @abstractmethod
    def read(self, name: str, use: Callable[[bytes], object]) -> bool:
        """Give the content of a file to ``use``, piece by piece; ``False``: there is none."""


class S3Output(RemoteOutput):
    """A bucket, or a folder in it, by the S3 protocol: ``s3://key:secret@bucket/path``.

    Without an account in it, that of Scrapy's settings or of AWS's environment variables.
    (Scrapy logs the settings.)

    A file is sent by one conditional request (``If-None-Match: *``): the storage itself
    refuses to overwrite, also between processes. 5 GB at most.
    """

    def __init__(self, uri: str, crawler: Crawler):
        super().__init__(uri)
        from botocore.exceptions import BotoCoreError, ClientError

        self.failures = (ClientError, BotoCoreError)
        settings = BaseSettings(crawler.settings)
        account = urlsplit(uri)
        if account.username:
            settings.set("AWS_ACCESS_KEY_ID", unquote(account.username))
            settings.set("AWS_SECRET_ACCESS_KEY", unquote(account.password or ""))
        try:
            storage = S3FeedStorage.from_crawler(SimpleNamespace(settings=settings), self.uri)
        except BotoCoreError as error:
            raise ArgumentError(f"DECP_FILES_URI={self.uri!r}: {error}") from error
        self._client = storage.s3_client
        self._bucket = storage.bucketname
        self._prefix = f"{storage.keyname.rstrip('/')}/".lstrip("/")
        self._rights = {"ACL": storage.acl} if storage.acl else {}

    def names(self, beginning: str) -> Iterator[str]:
        with self._errors(beginning):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + beginning
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    yield found["Key"].removeprefix(self._prefix)

    def put(self, part: RemotePart, name: str) -> bool:
        part.file.seek(0)
        with self._errors(name, UncertainOutputError):
            try:
                self._client.put_object(
                    **self._key(name),
                    Body=part.file,
                    IfNoneMatch="*",
                    # Told apart from another's file when an answer was lost and the
                    # request repeated.
                    Metadata={"part": part.token},
                    ContentType=_CONTENT_TYPES.get(posixpath.splitext(name)[1], _ANY),
                    **self._rights,
                )
            except self.failures as error:
                if _status(error) not in (409, 412):
                    raise
                found = self._head(name)
                return found is not None and found["Metadata"].get("part") == part.token
        return True

    def take_back(self, part: RemotePart, name: str) -> None:
        with self._errors(name, UncertainOutputError):
            self._client.delete_object(**self._key(name))

    def sha1_of(self, name: str, size: int) -> str | None:
        with self._errors(name):
            found = self._head(name)
        if found is None or found["ContentLength"] != size:
            return None
        return super().sha1_of(name, size)

    def read(self, name: str, use: Callable[[bytes], object]) -> bool:
        with self._errors(name):
            body = self._client.get_object(**self._key(name))["Body"]
            for piece in body.iter_chunks(1 << 20):
                use(piece)
        return True

    def remove(self, name: str) -> None:
        with self._errors(name):
            self._client.delete_object(**self._key(name))

    def _key(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}

    def _head(self, name: str) -> dict[str, Any] | None:
        try:
            return self._client.head_object(**self._key(name))
        except self.failures as error:
            if _status(error) != 404:
                raise
            return None


class GcsOutput(RemoteOutput):
    """A bucket of Google Cloud Storage, or a folder in it: ``gs://bucket/path``.

    As :class:`S3Output`; the condition is ``ifGenerationMatch=0``. The account is the one that
    Google's library finds (``GOOGLE_APPLICATION_CREDENTIALS``).
    """

    def __init__(self, uri: str, crawler: Crawler):
        super().__init__(uri)
        from google.api_core.exceptions import GoogleAPIError, PreconditionFailed
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.storage import Client

        # OSError: those of the connection.
        self.failures = (GoogleAPIError, GoogleAuthError, OSError)
        self._is_taken = PreconditionFailed
        storage = GCSFeedStorage.from_crawler(crawler, self.uri)
        try:
            client = Client(project=storage.project_id)
        except GoogleAuthError as error:
            raise ArgumentError(f"DECP_FILES_URI={self.uri!r}: {one_line(error)}") from error
        self._bucket = client.bucket(storage.bucket_name)
        self._prefix = f"{storage.blob_name.rstrip('/')}/".lstrip("/")
        self._acl = storage.acl

    def names(self, beginning: str) -> Iterator[str]:
        with self._errors(beginning):
            for found in self._bucket.list_blobs(prefix=self._prefix + beginning):
                yield found.name.removeprefix(self._prefix)

    def put(self, part: RemotePart, name: str) -> bool:
        blob = self._blob(name)
        blob.metadata = {"part": part.token}
        with self._errors(name, UncertainOutputError):
            try:
                blob.upload_from_file(
                    part.file,
                    rewind=True,
                    content_type=_CONTENT_TYPES.get(posixpath.splitext(name)[1], _ANY),
                    predefined_acl=self._acl,
                    if_generation_match=0,
                )
            except self._is_taken:
                found = self._bucket.get_blob(blob.name)
                return found is not None and (found.metadata or {}).get("part") == part.token
        return True

    def take_back(self, part: RemotePart, name: str) -> None:
        with self._errors(name, UncertainOutputError):
            self._blob(name).delete()

    def read(self, name: str, use: Callable[[bytes], object]) -> bool:
        with self._errors(name):
            if not self._blob(name).exists():
                return False
            with self._blob(name).open("rb") as file:
                while piece := file.read(1 << 20):
                    use(piece)
        return True

    def remove(self, name: str) -> None:
        with self._errors(name):
            self._blob(name).delete()

    def _blob(self, name: str) -> Any:
        return self._bucket.blob(self._prefix + name)


class FtpOutput(RemoteOutput):
    """A folder of an FTP server: ``ftp://user:password@host/path``, ``ftps://…``.

    A file is sent under a temporary name and then renamed, if its name is not listed. FTP
    has no request that does both in one step: one process at a time may write there.
    """

    def __init__(self, uri: str, crawler: Crawler):
        super().__init__(uri)
        self._storage = FTPFeedStorage.from_crawler(crawler, uri)
        self._path = unquote(self._storage.path) or "/"

    def names(self, beginning: str) -> Iterator[str]:
        with self._server(beginning) as ftp:
            names = _listed(ftp)
        return (name for name in names if name.startswith(beginning))

    def put(self, part: RemotePart, name: str) -> bool:
        part.file.seek(0)
        with self._server(name, UncertainOutputError) as ftp:
            if name in _listed(ftp):
                return False
            temporary = f".decp-{part.token}.sent"
            try:
                ftp.storbinary(f"STOR {temporary}", part.file)
                ftp.rename(temporary, name)
            except ftplib.Error:
                with suppress(ftplib.Error):
                    ftp.delete(temporary)
                raise
        return True

    def take_back(self, part: RemotePart, name: str) -> None:
        with self._server(name, UncertainOutputError) as ftp:
            ftp.delete(name)

    def read(self, name: str, use: Callable[[bytes], object]) -> bool:
        with self._server(name) as ftp:
            if name not in _listed(ftp):
                return False
            ftp.retrbinary(f"RETR {name}", use)
        return True

    def remove(self, name: str) -> None:
        with self._server(name) as ftp:
            ftp.delete(name)

    @contextmanager
    def _server(self, name: str, kind: type[OutputError] = OutputError) -> Iterator[ftplib.FTP]:
        """A session in the folder, which is made if need be."""
        storage = self._storage
        ftp = (
            ftplib.FTP_TLS(context=ssl.create_default_context(), timeout=FTP_TIMEOUT)  # noqa: S321
            if storage.tls
            else ftplib.FTP(timeout=FTP_TIMEOUT)  # noqa: S321 - as the user says
        )
        try:
            with ftp:
                ftp.connect(storage.host, storage.port)
                ftp.login(unquote(storage.username), storage.password)
                if isinstance(ftp, ftplib.FTP_TLS):
                    ftp.prot_p()
                ftp.set_pasv(not storage.use_active_mode)
                ftp_makedirs_cwd(ftp, self._path)
                yield ftp
        except (ftplib.Error, OSError, EOFError) as error:
            raise self.error(name, error or type(error).__name__, kind) from error


def _listed(ftp: ftplib.FTP) -> set[str]:
    try:
        return {posixpath.basename(name) for name in ftp.nlst()}
    except ftplib.error_perm as error:
        if str(error).startswith("550"):  # what some servers answer of an empty folder
            return set()
        raise


def _status(error: Exception) -> int | None:
    """The HTTP status that a storage answered, if it answered."""
    answer = getattr(error, "response", None) or {}
    return answer.get("ResponseMetadata", {}).get("HTTPStatusCode")


_ANY = "application/octet-stream"
_CONTENT_TYPES = {".json": "application/json", ".xml": "application/xml"}

#: Modules, by scheme, and the packages that bring them.
PACKAGES = {"s3": ("boto3", "boto3"), "gs": ("google.cloud.storage", "google-cloud-storage")}
#: The storages by scheme.
OUTPUTS: dict[str, Callable[[str, Crawler], RemoteOutput]] = {
    "s3": S3Output,
    "gs": GcsOutput,
    "ftp": FtpOutput,
    "ftps": FtpOutput,
}
