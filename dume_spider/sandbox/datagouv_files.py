"""The files that are uploaded to the replica of data.gouv.fr: whole, or in chunks."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from dume_spider.sandbox.datagouv_forms import (
    EXTENSIONS,
    Buffer,
    extension_of,
    invalid_argument,
    mime_of,
    refusal,
    slugify,
    upload_error,
)

#: Bytes of the longest name that a disk takes.
_LONGEST_NAME = 255
_BLOCK = 1 << 20
_PATH = re.compile(r"/resources/([a-z0-9-]*/\d{8}-\d{6}/[a-z0-9.-]+)")


class Uploads:
    """Files in ``folder``, each at the address it was given."""

    def __init__(self, folder: Path):
        self._files = folder / "files"
        self._chunks = folder / "chunks"

    def receive(
        self, fields: dict[str, str], file: tuple[str, Buffer] | None, slug: str, now: datetime
    ) -> dict[str, Any] | None:
        """Take an upload to the data set ``slug``; give what is then known of the file.

        ``None`` when it was a part, and the file is not whole yet. Raises ``Refusal`` as the
        portal does: for an extension that is not allowed, for a part of another size than
        announced, with 500 for a missing part, a part sent again, a name used within the
        same second, and one that is too long.
        """
        numbers = {
            name: _number(name, fields[name])
            for name in ("partindex", "totalparts", "chunksize")
            if name in fields
        }
        total = numbers.get("totalparts", 1)
        if total > 1:
            # What the client chose is no name for a folder.
            folder = self._chunks / hashlib.sha256(fields.get("uuid", "").encode()).hexdigest()
            if file is not None:
                _keep_part(folder, numbers, file[1])
                return None
            if "filename" not in fields:
                raise _failed()
            stored = self._save(fields["filename"], slug, now, _parts(folder, total))
            shutil.rmtree(folder)
            return stored
        if file is None:
            raise upload_error("Missing file parameter")
        name, content = file
        return self._save(name, slug, now, [content])

    def _save(
        self, name: str, slug: str, now: datetime, content: Iterable[Buffer]
    ) -> dict[str, Any]:
        name = slugify(name, kept=".")
        extension = extension_of(name)
        if extension is None or extension.rpartition(".")[2] not in EXTENSIONS:
            raise refusal(400, "This file type is not allowed.")
        place = f"{slug}/{now:%Y%m%d-%H%M%S}/{name}"
        path = self._files / place
        if len(name) > _LONGEST_NAME or path.exists():
            raise _failed()
        size, digest = 0, hashlib.sha1()  # noqa: S324 - the portal's checksum
        coming = path.with_name(".coming")
        coming.parent.mkdir(parents=True, exist_ok=True)
        with coming.open("wb") as stream:
            for block in content:
                stream.write(block)
                digest.update(block)
                size += len(block)
        coming.rename(path)
        return {
            "title": name,
            "url": f"/resources/{place}",
            "format": extension,
            "mime": mime_of(name),
            "checksum": {"type": "sha1", "value": digest.hexdigest()},
            "filesize": size,
        }

    def find(self, path: str) -> Path | None:
        """The file at the address ``path``, if there is one."""
        match = _PATH.fullmatch(path)
        file = self._files / match[1] if match else None
        return file if file is not None and file.is_file() else None

    def remove(self, path: str) -> None:
        """Forget the file at an address; one that is not of this portal is left alone."""
        if file := self.find(path):
            file.unlink()


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise invalid_argument(name, f"invalid literal for int(): {text!r}") from None


def _failed() -> Exception:
    return refusal(500, "Internal Server Error")


def _keep_part(folder: Path, numbers: dict[str, int], content: Buffer) -> None:
    if numbers.get("chunksize") != len(content):
        raise upload_error("Chunk size mismatch")
    part = folder / str(numbers.get("partindex"))
    if part.exists():
        raise _failed()
    folder.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)


def _parts(folder: Path, total: int) -> Iterator[bytes]:
    parts = [folder / str(index) for index in range(total)]
    if not all(part.exists() for part in parts):
        raise _failed()
    return _blocks(parts)


def _blocks(parts: list[Path]) -> Iterator[bytes]:
    for part in parts:
        with part.open("rb") as stream:
            while block := stream.read(_BLOCK):
                yield block
