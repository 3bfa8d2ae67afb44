"""Durations, as text and as seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.config.values import parse_duration, write_duration


@given(st.tuples(*[st.integers(0, 999)] * 4))
def test_durations_add_up(parts: tuple[int, int, int, int]) -> None:
    hours, minutes, seconds, milliseconds = parts
    text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    expected = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert parse_duration(text) == pytest.approx(expected)


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_clear_error(text: str) -> None:
    try:
        seconds, message = parse_duration(text), ""
    except ValueError as error:
        seconds, message = 0.0, str(error)
    assert seconds >= 0
    assert message.startswith("expected a duration such as 10s, got ") or not message


@given(st.integers(0, 86_400_000_000))
def test_a_duration_is_written_as_it_is_read(microseconds: int) -> None:
    seconds = microseconds / 1e6
    assert parse_duration(write_duration(seconds)) == pytest.approx(seconds)
