"""The line that a person sees of an error."""

from __future__ import annotations

from dume_spider.exceptions import DumeSpiderError, StoreError


def test_a_line_begins_with_the_code() -> None:
    assert DumeSpiderError("what it is").line == "[DECP-00] what it is"
    assert StoreError("the store x: locked").line == "[DECP-02] the store x: locked"
