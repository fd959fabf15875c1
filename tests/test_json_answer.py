"""What is no JSON has its exception; each kind, with its text, is in tests/dume/test_answer.py."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dume_spider import exceptions
from dume_spider.json_answer import decode


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_an_answer_error(body: bytes) -> None:
    try:
        text = repr(decode(body))
    except exceptions.AnswerError as error:
        text = str(error)
    assert "\n" not in text
