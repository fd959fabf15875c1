"""The folder of DECP files: sets of files put in place whole, none ever overwritten.

A set is one document in one or more formats, its files sharing SIRET, day and number. They
are written under hidden temporary names in the same folder (``.decp-{random}.part``), synced
to the disk, and only then given their names, by a hard link: the one call that fails when
the name is taken, in one step, also between processes. The set then takes the next number.

Each temporary file is locked (``flock``) by the process that writes it, and the kernel lets
go of the lock however the process ends. So a file that can be locked is a killed run's, and
:meth:`OutputFolder.check` removes it; unlike a process number in the name, this holds between
containers and when numbers are used again. POSIX only.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import IO, Self

from dume_spider.decp.filename import FORMATS, DecpFilename, Format, last_numbers
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.writers import WRITERS
from dume_spider.exceptions import OutputError, UncertainOutputError

_PART = re.compile(r"[.]decp-[0-9a-f]{16}[.]part")
_DAY_SECONDS = 24 * 3600
_new_sha1 = partial(hashlib.sha1, usedforsecurity=False)

#: What a file system without hard links answers (FAT, some network and FUSE systems).
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
#: What one without locks, or whose folders cannot be synced, answers.
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL}

_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space and run the same command again"),
    errno.EFBIG: "raise the limit on file size (ulimit -f) and run the same command again",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT),
        "name a folder that can be written (DECP_FILES_URI, --folder)",
    ),
}


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file in place: its ``name`` in the folder, number of ``records``, size in ``bytes``
    and hexadecimal ``sha1`` (which data.gouv.fr shows of a file, too)."""

    name: str
    records: int
    bytes: int
    sha1: str


class Output(ABC):
    """A place of DECP files: a folder here, or an object storage (:mod:`dume_spider.storages`).

    Sets of files are put in place whole and none is ever overwritten. ``uri`` names the place:
    the absolute path of a folder, or a URI without credentials. What fails in the place
    raises :class:`OutputError`.
    """

    uri: str
    #: So many sets are best put in place at once; where each takes long, it goes by itself.
    at_once = 1

    def new_files(
        self, siret: str, day: date, formats: Iterable[Format], regime: Regime, after: int = 0
    ) -> NewFiles:
        """A set to write, for use in a ``with`` block.

        ``siret`` names the files (the buyer's or the platform's), ``day`` is the day of
        the run; ``after`` is the last number that is taken elsewhere (published). Raises
        :class:`ValueError` for a SIRET that is not 14 digits, an unknown format or none.
        """
        return NewFiles(self, siret, day, tuple(dict.fromkeys(formats)), regime, after)

    def commit(
        self,
        sets: Sequence[NewFiles],
        announce: Callable[[list[list[OutputFile]]], None] = lambda files: None,
    ) -> list[list[OutputFile]]:
        """Put sets in place, durably, all or none; say what the files of each are, in the order
        of formats.

        ``announce`` is called before each attempt with the files as they would be: what a
        store notes down so that after a kill :meth:`settle` can tell what became of each
        set. A further call means that some of the earlier names were taken by another
        process in the meantime. Raises :class:`ValueError` if a set has no record.
        """
        last: dict[str, int] = {}
        try:
            for each in sets:
                each.finish()
            for each in sets:
                each.sync()
                each.choose_number(last.get(each.name.siret, 0))
                last[each.name.siret] = each.name.number
            while True:
                files = [each.files() for each in sets]
                announce(files)
                if not (taken := self._place(sets)):
                    return files
                for each in taken:
                    each.choose_number(each.name.number)
        finally:
            for each in sets:
                each.discard()

    def _place(self, sets: Sequence[NewFiles]) -> list[NewFiles]:
        """Give the files of all sets their names; those of which one is taken: then nothing is
        in place."""
        try:
            taken = [each for each in sets if not each.put()]
            if not taken:
                with output_errors(self.uri):
                    self.placed([each.name for each in sets])
                return []
        except BaseException:
            for each in sets:
                each.take_back()
            raise
        for each in sets:
            each.take_back()
        return taken

    def settle(self, files: Sequence[OutputFile]) -> bool:
        """What became of a set that a killed run had announced (:meth:`commit`).

        ``True``: each file is in place, known by its sha1: the set counts as written.
        ``False``: not all are, and those that are (the run died between two formats) have
        been removed: the set is to be written again. A file of the same name with another
        sha1 is another run's and stays. To be asked only of runs that are over: a living
        one may be about to put its files in place. Raises :class:`OutputError`.
        """
        with output_errors(self.uri):
            placed = [file for file in files if self.sha1_of(file.name, file.bytes) == file.sha1]
            if placed and len(placed) == len(files):
                self.placed([])  # the run may have died before it did so
                return True
            for file in placed:
                self.remove(file.name)
        return False

    @abstractmethod
    def check(self) -> None:
        """Make the place and prove that files can be put there. Raises :class:`OutputError`."""

    @abstractmethod
    def new_part(self) -> AnyPart:
        """A temporary file for one file of a set."""

    def last_number(self, siret: str, day: date) -> int:
        """The highest number of ``siret`` on ``day`` as far as is known without asking."""
        return 0

    @abstractmethod
    def free_number(self, first: DecpFilename) -> int:
        """A number from that of ``first`` on that no format uses, past all of that SIRET and
        day that are known to be there."""

    @abstractmethod
    def put(self, part: AnyPart, name: str) -> bool:
        """Give a file its name; ``False`` if there is one already, which stays as it is."""

    @abstractmethod
    def take_back(self, part: AnyPart, name: str) -> None:
        """Undo :meth:`put`."""

    @abstractmethod
    def placed(self, names: Sequence[DecpFilename]) -> None:
        """Make the names just given outlast a power cut; ``names`` are those of new sets."""

    @abstractmethod
    def sha1_of(self, name: str, size: int) -> str | None:
        """The sha1 of a file of that size; ``None`` if there is no such file."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file."""


class OutputFolder(Output):
    """The folder ``path``, made by :meth:`check`."""

    # Of small files most of the time goes to what sets can share; a file is open until then.
    at_once = 64

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.uri = str(self.path)
        self._day: date | None = None
        self._last: dict[str, int] = {}

    def check(self) -> None:
        """Make the folder, prove with a file that it can be written, and clear it of the
        temporary files of killed runs (those of living ones stay).

        Raises :class:`OutputError` if it cannot be made or written.
        """
        with output_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.new_part()
            try:
                probe.write(b"{}\n")
                probe.sync()
            finally:
                probe.discard()
            for path in self.path.iterdir():
                if _PART.fullmatch(path.name):
                    _remove_if_abandoned(path)

    def new_part(self) -> Part:
        return Part(self.path)

    def free_number(self, first: DecpFilename) -> int:
        number = max(first.number, self.last_number(first.siret, first.day) + 1)
        while any(
            (self.path / str(replace(first, number=number, format=format))).exists()
            for format in FORMATS
        ):
            number += 1
        return number

    def last_number(self, siret: str, day: date) -> int:
        """The number of the last file seen of ``siret`` on ``day``; 0 if there is none.

        The folder is read once a day, not once a set: a run may write thousands of sets
        into a folder of years. What others put there since is met when linking.
        """
        if self._day != day:
            self._last = last_numbers((path.name for path in self.path.iterdir()), day)
            self._day = day
        return self._last.get(siret, 0)

    def put(self, part: Part, name: str) -> bool:
        return part.link(self.path / name)

    def take_back(self, part: Part, name: str) -> None:
        part.unlink(self.path / name)

    def placed(self, names: Sequence[DecpFilename]) -> None:
        _sync_folder(self.path)
        self._last.update((name.siret, name.number) for name in names)

    def sha1_of(self, name: str, size: int) -> str | None:
        return _sha1_of(self.path / name, size)

    def remove(self, name: str) -> None:
        (self.path / name).unlink()


class NewFiles:
    """One set of files being written: see :meth:`Output.new_files`.

    ::

        with folder.new_files(siret, day, ("json", "xml"), Regime.R2022) as out:
            out.add(ContractType.MARCHE, record)
            files = out.commit()

    Left without :meth:`commit`, for whatever reason, the set leaves nothing behind. So does
    a failure of the disk, which raises :class:`OutputError`; the set cannot be used again.
    Several sets are put in place at once by :meth:`Output.commit`, which uses what is below
    :meth:`commit`; ``name`` is the name of the first file so far.
    """

    def __init__(
        self,
        output: Output,
        siret: str,
        day: date,
        formats: Sequence[Format],
        regime: Regime,
        after: int = 0,
    ):
        if not formats:
            raise ValueError("a set of files has at least one format")
        self.name = DecpFilename(siret, day, 1, formats[0])
        self._output = output
        self._formats = formats
        self._regime = regime
        self._records = 0
        self._parts: list[AnyPart] = []
        self._placed: list[tuple[AnyPart, str]] = []
        self._after = after

    def __enter__(self) -> Self:
        try:
            last = self._output.last_number(self.name.siret, self.name.day)
            self.name = replace(self.name, number=max(last, self._after) + 1)
            for _ in self._formats:
                self._parts.append(self._output.new_part())
        except OSError as error:
            self.discard()
            raise output_error(self._where, error) from error
        self._writers = [
            WRITERS[format](part, self._regime)
            for format, part in zip(self._formats, self._parts, strict=True)
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        self.discard()

    def add(self, type: ContractType, record: bytes) -> None:
        """Write one record, as UTF-8 JSON, in every format; all marchés come first.

        A record that one of the formats refuses (see :class:`.writers.XmlWriter`) is
        written in none: the error passes on and the set can go on without it.
        """
        self._check_open()
        encoded = [writer.encode(type, record) for writer in self._writers]
        try:
            for writer, data in zip(self._writers, encoded, strict=True):
                writer.append(type, data)
        except OSError as error:
            self.discard()
            raise output_error(self._where, error) from error
        self._records += 1

    def commit(self) -> list[OutputFile]:
        """Put the files in place by themselves: see :meth:`Output.commit`."""
        return self._output.commit([self])[0]

    def finish(self) -> None:
        """Close the documents."""
        self._check_open()
        with output_errors(self._where):
            for writer, part in zip(self._writers, self._parts, strict=True):
                writer.finish()
                part.begin_sync()

    def sync(self) -> None:
        """Have all in the temporary files, durably."""
        with output_errors(self._where):
            for part in self._parts:
                part.sync()

    def choose_number(self, after: int) -> None:
        """Take the next free number, that of ``name`` or a later one, past ``after``."""
        with output_errors(self._where):
            first = replace(self.name, number=max(self.name.number, after + 1))
            self.name = replace(self.name, number=self._output.free_number(first))

    def files(self) -> list[OutputFile]:
        """The files as they would be."""
        return [
            OutputFile(str(replace(self.name, format=format)), self._records, part.bytes, part.sha1)
            for format, part in zip(self._formats, self._parts, strict=True)
        ]

    def put(self) -> bool:
        """Give the files their names; ``False`` if one is taken."""
        with output_errors(self._where):
            for format, part in zip(self._formats, self._parts, strict=True):
                name = str(replace(self.name, format=format))
                if not self._output.put(part, name):
                    return False
                self._placed.append((part, name))
        return True

    def take_back(self) -> None:
        """Undo :meth:`put`, however far it came."""
        with output_errors(self._where, UncertainOutputError):
            while self._placed:
                self._output.take_back(*self._placed.pop())

    def discard(self) -> None:
        """Let go of the temporary files."""
        while self._parts:
            self._parts.pop().discard()

    def _check_open(self) -> None:
        if not self._parts:
            raise ValueError("the set of files is not open: committed, failed or left")

    @property
    def _where(self) -> str:
        return f"{self._output.uri}/{self.name}"


class AnyPart:
    """A temporary file: written, hashed and counted at once."""

    def __init__(self, file: IO[bytes]):
        self.file = file
        self._sha1 = _new_sha1()
        self.bytes = 0

    @property
    def sha1(self) -> str:
        return self._sha1.hexdigest()

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self._sha1.update(data)
        self.bytes += len(data)

    def begin_sync(self) -> None:
        """Begin what :meth:`sync` waits for."""

    def sync(self) -> None:
        """Have all that was written in the file."""
        self.file.flush()

    def discard(self) -> None:
        """Let go of the file, which is then gone unless it has got a name."""
        with suppress(OSError):  # bytes that a full disk did not take are not wanted now
            self.file.close()


class Part(AnyPart):
    """A temporary file in the folder of its final name, locked as long as it is open."""

    def __init__(self, folder: Path):
        while True:
            self.path = folder / f".decp-{token_hex(8)}.part"
            # The permissions of any new file: those of the temporary files of the standard
            # library would hide the published file from other users.
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            # Before the lock another process's check() may have taken the file for
            # abandoned: it then holds the lock, or has removed the file.
            if _lock(fd) is not False and self.path.exists():
                break
            os.close(fd)
        super().__init__(os.fdopen(fd, "wb", buffering=1 << 16))

    def begin_sync(self) -> None:
        # Linux then begins to write: files that are all on their way to the disk are there
        # sooner than one after the other. It is no more than a hint.
        if hasattr(os, "posix_fadvise"):
            self.file.flush()
            with suppress(OSError):
                os.posix_fadvise(self.file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        super().sync()
        os.fsync(self.file.fileno())

    def link(self, path: Path) -> bool:
        """Give the file the name ``path`` as well; ``False`` if there is one already."""
        try:
            path.hardlink_to(self.path)
        except FileExistsError:
            # NFS: a request that was done is repeated when its answer is lost.
            return self._is_at(path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self.claim(path)
        return True

    def _is_at(self, path: Path) -> bool:
        try:
            return os.path.samestat(path.lstat(), os.fstat(self.file.fileno()))
        except FileNotFoundError:
            return False

    def claim(self, path: Path) -> bool:
        """As :meth:`link`, where there are no hard links: an empty file is made under the
        name, which only one process can do, and the file then moved over it in one step.
        (A kill between the two leaves the empty file; its number is not used again.)"""
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            return False
        try:
            self.path.replace(path)
        except BaseException:
            path.unlink()
            raise
        return True

    def unlink(self, path: Path) -> None:
        """Undo :meth:`link` or :meth:`claim`: the file has its temporary name alone again."""
        if self.path.exists():
            path.unlink()
        else:
            path.replace(self.path)

    def discard(self) -> None:
        """Remove the temporary name (links stay) and let go of the lock, in this order."""
        with suppress(OSError):  # what cannot be removed now, a later check() removes
            self.path.unlink(missing_ok=True)
        super().discard()


def write_new(folder: Path, stem: str, suffix: str, data: bytes) -> Path:
    """Write a file whole under the first free number, ``{stem}-{nn}{suffix}``; its path.

    The folder is made. No file is overwritten. Raises :class:`OutputError`.
    """
    OutputFolder(folder).check()
    with output_errors(folder):
        part = Part(folder)
        try:
            part.write(data)
            part.sync()
            number = 1
            while not part.link(path := folder / f"{stem}-{number:02}{suffix}"):
                number += 1
        finally:
            part.discard()
    return path


@contextmanager
def output_errors(path: str | Path, kind: type[OutputError] = OutputError) -> Iterator[None]:
    """Raise failures of the disk as :func:`output_error` puts them."""
    try:
        yield
    except OSError as error:
        raise output_error(path, error, kind) from error


def output_error(
    path: str | Path, error: OSError, kind: type[OutputError] = OutputError
) -> OutputError:
    """The line for a person: the cause, the file or folder, what to do."""
    advice = _ADVICE.get(error.errno or 0, "repair this and run the same command again")
    return kind(f"{error.strerror or error}: {path}; {advice}")


def _lock(fd: int) -> bool | None:
    """Whether the file is now locked by us; ``None`` on a file system without locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return None
    return True


def _remove_if_abandoned(path: Path) -> None:
    """Remove a temporary file that no process holds; where that cannot be known, one that
    has been left alone for a day. Other users' files are theirs to remove."""
    with suppress(FileNotFoundError, PermissionError):
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            locked = _lock(fd)
            if locked is None:
                locked = time.time() - os.fstat(fd).st_mtime > _DAY_SECONDS
            if locked:
                path.unlink()
        finally:
            os.close(fd)


def _sync_folder(path: Path) -> None:
    """Make the names in a folder outlast a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(fd)


def _sha1_of(path: Path, size: int) -> str | None:
    """The sha1 of a file of that size; ``None`` if there is no such file."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != size:
                return None
            return hashlib.file_digest(file, _new_sha1).hexdigest()
    except FileNotFoundError:
        return None
