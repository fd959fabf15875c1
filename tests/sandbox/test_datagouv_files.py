"""The files that the replica of data.gouv.fr takes, without HTTP."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dume_spider.sandbox.datagouv_files import Uploads
from dume_spider.sandbox.datagouv_forms import Refusal

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=20), min_size=2, max_size=6), st.randoms())
def test_chunks_are_the_file_however_it_is_cut(parts, random):
    fields = {"uuid": "u", "filename": "a.json", "totalparts": str(len(parts))}
    order = list(enumerate(parts))
    random.shuffle(order)
    with TemporaryDirectory() as folder:
        uploads = Uploads(Path(folder))
        for index, content in order:
            sent = fields | {"partindex": str(index), "chunksize": str(len(content))}
            assert uploads.receive(sent, ("blob", content), "s", NOW) is None
        stored = uploads.receive(fields, None, "s", NOW)
        whole = b"".join(parts)
        assert stored["filesize"] == len(whole)
        assert stored["checksum"]["value"] == hashlib.sha1(whole).hexdigest()
        assert uploads.find(stored["url"]).read_bytes() == whole


@pytest.mark.parametrize("uuid", ["../../outside", "/outside", "..", "a/b", ""])
def test_what_a_client_calls_its_upload_is_no_path(tmp_path, uuid):
    uploads = Uploads(tmp_path / "folder")
    fields = {"uuid": uuid, "filename": "../../a.json", "totalparts": "2", "chunksize": "1"}
    for index in "01":
        uploads.receive(fields | {"partindex": index}, ("x", b"1"), "s", NOW)
    stored = uploads.receive(fields, None, "s", NOW)
    assert stored["url"] == "/resources/s/20261121-120000/..-..-a.json"
    assert {path.name for path in tmp_path.iterdir()} == {"folder"}
    # Nothing is left of the parts.
    assert [path for path in (tmp_path / "folder" / "chunks").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "path",
    [
        "/resources/s/20261121-120000/b.json",
        "/resources/s/20261121-120000/..",
        "/resources/../../20261121-120000/a.json",
        "/resources/s/20261121-120000/../../../a.json",
        "/etc/passwd",
        "",
    ],
)
def test_nothing_else_is_given_or_removed(tmp_path, path):
    uploads = Uploads(tmp_path)
    stored = uploads.receive({}, ("a.json", b"{}"), "s", NOW)
    (tmp_path / "a.json").write_text("mine")
    assert uploads.find(path) is None
    uploads.remove(path)
    assert uploads.find(stored["url"]).read_bytes() == b"{}"
    uploads.remove(stored["url"])
    assert uploads.find(stored["url"]) is None
    assert (tmp_path / "a.json").read_text() == "mine"


def test_a_failed_assembly_leaves_no_file(tmp_path):
    uploads = Uploads(tmp_path)
    fields = {"uuid": "u", "filename": "a.json", "totalparts": "2"}
    part = fields | {"partindex": "0", "chunksize": "1"}
    uploads.receive(part, ("x", b"1"), "s", NOW)
    for _ in range(2):
        with pytest.raises(Refusal) as caught:
            uploads.receive(fields, None, "s", NOW)
        assert caught.value.status == 500
    assert not (tmp_path / "files").exists()
