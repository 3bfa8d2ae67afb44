"""Which line is shown below an error, how it is cut, and that none ever shows a secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from worker.config import load as config
from worker.config.errors import ConfigError, ConfigInvalid
from worker.config.keys import KEYS
from worker.terminal.excerpt import below, with_line

INVALID = sorted((Path(__file__).parents[1] / "config" / "invalid").glob("*.yaml"))
SECRET = "hunter2"
START = "- name: a\n  url: http://web/\n"


def errors_of(file: Path) -> list[ConfigError]:
    try:
        config.load([str(file)], {"TOKEN": "t0ken"})
    except ConfigInvalid as invalid:
        return invalid.errors
    return []


def shown(folder: Path, text: str, columns: int = 80) -> list[str]:
    """What is below each error of a file, without the caret's line where there is one."""
    file = folder / "f.yaml"
    file.write_text(text)
    excerpts = [below(error, columns) for error in errors_of(file)]
    return [excerpt.partition("\n")[0].partition(" | ")[2] for excerpt in excerpts]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"{START}  timeout: 10 minutes # why\n", ["  timeout: 10 minutes"]),
        (f"{START}  tags: [nightly, a b, c]\n", ["  tags: [nightly, a b, c]"]),
        (f"{START}  expect: {{status: [2XX], body_contains: x}}\n", None),
        ("- {name: A, url: http://web/, tags: [b]}\n", None),
        ("- {name: A, url: http://web/, body: x}\n", [""]),
        (f"{START}  timout: 5s\n", [""]),
        (f"{START}  auth: {{bearer: x}}\n", [""]),
        ("defaults: {timeout: 1}\nbroadcasts: []\n", ["defaults: {timeout: 1}", "broadcasts: []"]),
        ("- name: a\n  url: http://me:x@web/\n", [""]),
        ("- name: a\n  url: http://me:x/web\n", [""]),
        (
            f"{START}  timeout: 1 s\n  auth: {{env: x}}\n  auth: {{env: y}}\n",
            ["  timeout: 1 s", "", ""],
        ),
        (f"{START}  auth: {{env: x,\n    bearer: y}}\n", ["", ""]),
        (f"{START}  headers: {{X-Key: {{env: TOKEN}}}}\n  timeout: 1 s\n", None),
        # Not YAML: shown if it is by itself, and no secret is above.
        ("- name: a\n    url: http://web/\n", ["    url: http://web/"]),
        ("- name: a\nurl: http://web/\n", ["url: http://web/"]),
        ("- name: a\n\turl: http://web/\n", ["→url: http://web/"]),
        ("- name: a\n  body: x\n    url: http://web/\n", [""]),
        ("- name: a\n  password:\n    name: x: y\n", [""]),
        ("- name: a\n  url: [http://web/\n", [""]),
        ("- name: a\n token\n  url: http://web/\n", [""]),
        (f"{START}  timeout: 1s\n  timeout: 2s\n", ["  timeout: 2s"]),
    ],
)
def test_a_line_is_shown_whole_or_not_at_all(
    text: str, lines: list[str] | None, tmp_path: Path
) -> None:
    assert shown(tmp_path, text) == (text.splitlines()[-1:] if lines is None else lines)


def test_the_caret_is_below_the_column(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("- tags: [漢字, e\u0301, o k]\n  name: a\n  url: http://web/\n")
    *_, error = errors_of(file)
    line, caret = below(error).split("\n")
    assert line == "    1 | - tags: [漢字, e\u0301, o k]"
    assert caret == f"      | {' ' * len('- tags: [漢漢字字, e, ')}^"


def test_a_long_line_is_cut_around_the_caret(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("- url: http://web/\n  name:" + " " * 100 + "漢" * 50 + "\n")
    (error,) = errors_of(file)
    line, caret = below(error, columns=40).split("\n")
    assert line == "    2 | …" + " " * 20 + "漢" * 5 + "…"
    assert caret == "      | " + " " * 21 + "^"


def test_control_characters_do_not_steer_the_terminal(tmp_path: Path) -> None:
    assert shown(tmp_path, "- name: a\u202eb\n  url: http://web/\n") == ["- name: a\\u202eb"]
    error = ConfigError("a\x1b[2J.yaml", None, None, "", "no\x07")
    assert with_line(error) == "a\\x1b[2J.yaml: no\\x07"


def test_a_file_that_cannot_be_read_a_second_time_is_named_only(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    short = tmp_path / "short"
    short.write_text("a\n")
    for path in (pipe, short, tmp_path / "missing", tmp_path / ("x" * 300)):
        error = ConfigError(str(path), 9, 1, "", "expected YAML")
        assert with_line(error) == f"{path}:9:1: expected YAML"
    error = ConfigError(None, None, None, "--tag", "no such tag")
    assert with_line(error) == "--tag: no such tag"


def test_no_line_of_an_invalid_file_shows_a_secret_or_steers_a_terminal() -> None:
    lines = 0
    for file in INVALID:
        for error in errors_of(file):
            text = with_line(error)
            assert "hunter" not in text
            assert text.replace("\n", "").isprintable()
            assert text.startswith(str(error))
            lines += "^" in text
    assert lines > len(INVALID) / 2


def test_a_key_that_takes_a_secret_is_said_to() -> None:
    taking = {key.name for key in KEYS if "'env'" in str(key.kind.schema())}
    assert taking == {"headers", "auth"}
    assert {key.name for key in KEYS if key.secret} == taking | {
        *("body", "json"),
        *("body_file", "tls"),  # what belongs in a file may be written in place of its path
    }


# A configuration with a secret wherever one may be, right or wrong.
PLACES = f"""\
defaults: {{timeout: 5s}}
broadcasts:
- name: a # {SECRET}
  url: "http://me:{SECRET}@web:8080/"
  timeout: 10 minutes # {SECRET}
  password: {SECRET}
  auth: {{basic: {{username: me, password: "{SECRET}"}}}}
  headers:
    Authorization: Bearer {SECRET}
    X-Key: [{SECRET}, {{token: {SECRET}}}]
  body: |
    timeout: {SECRET}
    name: {SECRET}
  attempts: 0
- {{name: B, json: {{token: {SECRET}, timeout: {SECRET}}}, auth: {{bearer:
   {SECRET}}}, tags: [x y, z], attempts: 0}}
- name: c
  tls: {{key_file: "-----BEGIN PRIVATE KEY----- {SECRET}", ca_file: 5}}
  url: http://web/
- headers: {{X-Key: {SECRET}}}
  auth: {{bearer: {SECRET}}}
"""


@settings(max_examples=600, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(PLACES)),
            st.integers(0, 3),
            st.sampled_from(["", " ", "\n", "\n  ", "\t", ":", ": ", "{", "}", "[", "]", "- ", ","])
            | st.sampled_from(['"', "'", "#", "&a ", "*a", "!", "|", "\x07", "é", "\u2028"]),
        ),
        max_size=4,
    )
)
@example([])
@example([(PLACES.index('"-----BEGIN'), 2, "*a")])
@example([(PLACES.index("- {"), 0, "\u2028")])
@example([(PLACES.index("  password"), 2, "    ")])
@example([(PLACES.index("    name:"), 4, " ")])
@example([(PLACES.index("# "), 2, "\u2028")])
@example([(PLACES.index("  timeout: hunter"), 2, "\n-")])
def test_wherever_a_secret_is_no_line_shows_it(
    tmp_path: Path, changes: list[tuple[int, int, str]]
) -> None:
    text = PLACES
    for position, length, replacement in changes:
        text = text[:position] + replacement + text[position + length :]
    file = tmp_path / "f.yaml"
    file.unlink(missing_ok=True)
    file.write_text(text)
    for error in errors_of(file):
        said, *excerpt = with_line(error).split("\n")
        if SECRET not in said:  # or it is where a key's name belongs
            assert SECRET not in "\n".join(excerpt)
