"""The seven shapes of the portal's errors, as the real udata answered them."""

from __future__ import annotations

import pytest

from dume_spider.datagouv import errors
from dume_spider.datagouv.errors import PortalError, Refusal, error_class, read_refusal
from dume_spider.exceptions import DumeSpiderError


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"message": "Invalid API token"}', Refusal("Invalid API token", {})),
        (
            b'{"errors": {"title": ["Requis", "Trop long"], "description": ["Requis"]}}',
            Refusal("", {"title": "Requis, Trop long", "description": "Requis"}),
        ),
        (
            b'{"errors": {"schema": {"name": ["Inconnu"]}, "checksum": {"type": "x"}}}',
            Refusal("", {"schema.name": "Inconnu", "checksum.type": "x"}),
        ),
        (
            b'{"errors": {"Content-Type": "expecting application/json"}}',
            Refusal("", {"Content-Type": "expecting application/json"}),
        ),
        (
            b'{"message": "Input payload validation failed", "errors": {"page": "not an int"}}',
            Refusal("Input payload validation failed", {"page": "not an int"}),
        ),
        (
            b'{"success": false, "error": "Chunk size mismatch", "message": ""}',
            Refusal("Chunk size mismatch", {}),
        ),
        (b'{"error": "Not found", "status": 404}', Refusal("Not found", {})),
        (b"<!doctype html>\n<title>413</title>", Refusal("", {})),
        (b"", Refusal("", {})),
        (b"null", Refusal("", {})),
        (b"[1]", Refusal("", {})),
        (b'{"message": 3, "errors": null}', Refusal("", {})),
        (b'{"errors": ["a", {"b": [["c"], null]}, 4]}', Refusal("", {"": "a, 4", "b": "c"})),
        (b'{"message": "two\\nlines\\u001b[2J"}', Refusal("two lines [2J", {})),
    ],
)
def test_shapes(body: bytes, expected: Refusal) -> None:
    assert read_refusal(body) == expected


@pytest.mark.parametrize(
    ("status", "code", "kind", "is_passing", "is_of_file"),
    [
        (308, "PUB-12", errors.RedirectedError, False, False),
        (400, "PUB-01", errors.InvalidError, False, True),
        (401, "PUB-02", errors.KeyRefusedError, False, False),
        (403, "PUB-03", errors.NotAllowedError, False, False),
        (404, "PUB-04", errors.MissingError, False, True),
        (405, "PUB-13", errors.UnexpectedError, False, False),
        (409, "PUB-05", errors.ConflictError, False, False),
        (410, "PUB-06", errors.DeletedError, False, False),
        (413, "PUB-07", errors.TooLargeError, False, True),
        (415, "PUB-08", errors.FileTypeError, False, True),
        (423, "PUB-09", errors.ReadOnlyError, True, False),
        (429, "PUB-10", errors.PortalFailureError, True, False),
        (500, "PUB-10", errors.PortalFailureError, True, False),
        (502, "PUB-10", errors.PortalFailureError, True, False),
        (599, "PUB-10", errors.PortalFailureError, True, False),
    ],
)
def test_kinds(
    status: int, code: str, kind: type[PortalError], is_passing: bool, is_of_file: bool
) -> None:
    assert error_class(status) is kind
    assert kind("x").line == f"[{code}] x; {kind.advice}"
    assert (kind.is_passing, kind.is_of_file) == (is_passing, is_of_file)
    assert issubclass(kind, DumeSpiderError)
    assert kind.advice != PortalError.advice


def test_the_line() -> None:
    refusal = Refusal("Non", {"title": "Requis"})
    error = errors.InvalidError("POST x", status=400, refusal=refusal, sentry="5f")
    assert str(error) == (
        "POST x: HTTP status 400 (Non; title: Requis) [X-Sentry-ID 5f]; "
        "correct what it names: an argument, a setting, or the file"
    )
    assert len(str(errors.InvalidError("x", refusal=Refusal("y" * 9999, {})))) < 500
    assert str(errors.ReadOnlyError("x")) == (
        "x; the portal is read-only for now; run the same command again later"
    )
