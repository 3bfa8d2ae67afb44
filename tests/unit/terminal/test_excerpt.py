"""What is shown of the line that an error is about, and what never is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from worker.config import load as config
from worker.config.keys import KEYS
from worker.config.yaml import ConfigError, ConfigInvalid, Place
from worker.terminal.excerpt import render, with_line

INVALID = sorted((Path(__file__).parents[1] / "config" / "invalid").glob("*.yaml"))
SECRET = "hunter2"


def shown(line: str, column: int, key: str, columns: int = 80) -> list[str]:
    error = ConfigError("f.yaml", 7, column, key, "expected something else")
    return render(error, line, columns).split("\n")


@pytest.mark.parametrize(
    ("line", "column", "key", "text", "caret"),
    [
        ("  timeout: 10 minutes", 12, "broadcasts[0].timeout", "  timeout: 10 minutes", 11),
        ("- name: A # why", 9, "broadcasts[0].name", "- name: A…", 8),
        ("  timout: 5s", 3, "broadcasts[0].timout", "  timout: …", 2),
        ("defaults: {timeout: 1}", 21, "defaults.timeout", "… timeout: 1…", 11),
        ("- {name: a, retries: 5}", 13, "broadcasts[0].retries", "- … retries: …", 4),
        ("  tags: [nightly, a b]", 19, "broadcasts[0].tags[1]", "  tags: … a b…", 10),
        ("  - a b", 5, "broadcasts[0].tags[1]", "  - a b", 4),
        ("  timeout: '1s  # no' # c", 12, "broadcasts[0].timeout", "  timeout: '1s  # no'…", 11),
        ("  timeout: {a: b}", 12, "broadcasts[0].timeout", "  timeout: {…", 11),
        ("  timeout: |", 12, "broadcasts[0].timeout", "  timeout: …", 11),
        ("    10 minutes", 5, "broadcasts[0].timeout", "    …", 4),
        ("- url: http://web/", 3, "broadcasts[0].name", "- url: …", 2),
        ("\turl: http://web/", 1, "", "→url: …", 0),
        ("  body: purge: all", 14, "", "  body: … …", 10),
        ("  what ever", 3, "", "  …", 2),
        ("", 1, "", "", 0),
        ("  url: http://me:hunter 2@web/", 8, "broadcasts[0].url", "  url: …", 7),
        ("  auth: {bearer: hunter2}", 18, "broadcasts[0].auth.bearer", "  … bearer: …", 12),
        ("   hunter2}, timeout: 1}", 23, "broadcasts[0].timeout", "   … timeout: 1…", 14),
        ("  - 'X-Token: hunter2'", 3, "broadcasts[0].headers", "  …", 2),
    ],
)
def test_what_is_shown_of_a_line(line: str, column: int, key: str, text: str, caret: int) -> None:
    first, second = shown(line, column, key)
    assert first == f"    7 | {text}"
    assert second == f"      | {' ' * caret}^"


def test_wide_characters_and_those_without_width_keep_the_caret_in_place() -> None:
    line = "- tags: [漢字, e\u0301, ok]"
    first, second = shown(line, line.index("ok") + 1, "broadcasts[0].tags[2]")
    assert first == "    7 | - tags: … ok…"
    assert second == f"      | {' ' * len('- tags: … ')}^"
    first, second = shown("- name: 漢字e\u0301漢", 9, "broadcasts[0].name", columns=20)
    assert first == "    7 | - name: 漢字e\u0301漢"
    assert second == "      |         ^"


def test_control_characters_do_not_steer_the_terminal() -> None:
    first, _ = shown("- name: a\x1b[31m\x9b\u202eb", 9, "broadcasts[0].name")
    assert first == "    7 | - name: a\\x1b…"
    error = ConfigError("a\x1b[2J.yaml", None, None, "", "no\x07")
    assert with_line(error) == "a\\x1b[2J.yaml: no\\x07"


def test_a_long_line_is_cut_around_the_caret() -> None:
    first, second = shown(" " * 100 + "name: " + "漢" * 50, 107, "broadcasts[0].name", columns=40)
    assert first == "    7 | …" + " " * 14 + "name: " + "漢" * 5 + "…"
    assert second == "      | " + " " * 21 + "^"
    assert first.isprintable()


def test_a_file_that_cannot_be_read_a_second_time_is_named_only(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path / "missing", tmp_path / ("x" * 300)):
        error = Place(str(path), 1, 1).error("", "expected YAML")
        assert with_line(error) == f"{path}:1:1: expected YAML"
    short = tmp_path / "short"
    short.write_text("a\n")
    error = Place(str(short), 9, 1).error("", "expected YAML")
    assert with_line(error) == f"{short}:9:1: expected YAML"
    error = ConfigError(None, None, None, "--tag", "no such tag")
    assert with_line(error) == "--tag: no such tag"


def errors_of(file: Path) -> list[ConfigError]:
    try:
        config.load([str(file)], {"TOKEN": "t0ken"})
    except ConfigInvalid as invalid:
        return invalid.errors
    return []


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_no_line_of_an_invalid_file_shows_a_secret_or_steers_a_terminal(file: Path) -> None:
    for error in errors_of(file):
        text = with_line(error)
        assert "hunter" not in text
        assert text.replace("\n", "").isprintable()
        first, *rest = text.split("\n")
        assert first == str(error)
        assert len(rest) == 2


def test_a_key_that_takes_a_secret_is_said_to() -> None:
    taking = {key.name for key in KEYS if '"env"' in json.dumps(key.kind.schema())}
    assert taking == {"headers", "auth"}
    assert {key.name for key in KEYS if key.secret} == taking | {
        *("body", "json"),
        *("body_file", "tls"),  # what belongs into a file may stand in place of its path
    }


# A configuration with a secret wherever one may stand, right or wrong.
PLACES = f"""\
defaults: {{headers: {{X-Key: {SECRET}}}, auth: {{bearer: {SECRET}}}, timeout: 5s}}
broadcasts:
- name: a # {SECRET}
  url: "http://me:{SECRET}@web:8080/"
  password: {SECRET}
  auth: {{basic: {{username: me, password: "{SECRET}"}}}}
  headers:
    Authorization: Bearer {SECRET}
    X-Key: [{SECRET}, {{token: {SECRET}}}]
  body: |
    timeout: {SECRET}
    name: {SECRET}
  timeout: 10 minutes # {SECRET}
- {{name: B, json: {{token: {SECRET}, timeout: {SECRET}}}, auth: {{bearer:
   {SECRET}}}, tags: [x y, z], attempts: 0}}
- name: c
  tls: {{key_file: "-----BEGIN PRIVATE KEY----- {SECRET}", ca_file: 5}}
  url: http://web/
"""


@settings(max_examples=400, suppress_health_check=list(HealthCheck), deadline=None)
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
def test_wherever_a_secret_stands_no_line_shows_it(
    tmp_path: Path, changes: list[tuple[int, int, str]]
) -> None:
    text = PLACES
    for position, length, replacement in changes:
        text = text[:position] + replacement + text[position + length :]
    file = tmp_path / "f.yaml"
    file.write_text(text)
    for error in errors_of(file):
        said, *excerpt = with_line(error).split("\n")
        if SECRET not in said:  # or it stands where a key's name belongs
            assert SECRET not in "\n".join(excerpt)
