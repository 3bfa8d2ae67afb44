"""What whoever may edit a ConfigMap can write: an error, soon, with little memory, and no secret.

A pattern or a loop that is quadratic takes minutes for each of these files.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loopback.program import ROOT
from tests.loopback.serving import HANG_SECONDS
from tests.unit.config.reading import URL, load, messages, one
from worker.config.errors import MAX_ERRORS, MORE_ERRORS
from worker.config.yaml import MAX_ALIASED_CHARACTERS, MAX_FILE_BYTES, MAX_VALUES

HEAD = f"- name: a\n  url: {URL}\n  "
ROOM = MAX_FILE_BYTES - 1000
MAX_MEMORY_BYTES = 400 * 1024 * 1024  # of addresses; a run of one small file takes 130 MiB of them


def filled(piece: str) -> str:
    return piece * (ROOM // len(piece.encode()))


def one_of_each(*lines: str) -> str:
    """As many broadcasts as there is room for."""
    text = "".join(
        f"- {line}\n" if not number else f"  {line}\n" for number, line in enumerate(lines)
    )
    return filled(text)


# Each fills a file of 1 MiB.
FILES = {
    "a timeout of digits": f"{HEAD}timeout: {filled('1')}s\n",
    "a timeout of digits and points": f"{HEAD}timeout: {filled('1.')}\n",
    "a timeout of parts": f"{HEAD}timeout: {filled('1m')}!\n",
    "a timeout of words": f"{HEAD}timeout: {filled('1 hour and ')}!\n",
    "a number": f"{HEAD}attempts: {filled('1')}\n",
    "a fraction": f"{HEAD}attempts: 1{filled('0')}.{'e'}\n",
    "a url of letters": f"- name: a\n  url: http://{filled('a')}\n",
    "a url of labels": f"- name: a\n  url: http://{filled('a.')}\n",
    "a url of <": f"- name: a\n  url: http://web/{filled('<')}\n",
    "a url of {{": f"- name: a\n  url: 'http://web/{filled('{{')}'\n",
    "a url of ${": f"- name: a\n  url: 'http://web/{filled('${')}'\n",
    "a url of :": f"- name: a\n  url: 'http://{filled(':')}'\n",
    "a url of @": f"- name: a\n  url: 'http://{filled('@')}'\n",
    "a url of %": f"- name: a\n  url: 'http://web/{filled('%4')}'\n",
    "a name": f"- name: {filled('a-')}\n  url: {URL}\n",
    "a name of spaces": f"- name: 'a{filled(' ')}\t'\n  url: {URL}\n",
    "a tag": f"{HEAD}tags: [{filled('a')}]\n",
    "a header": f"{HEAD}headers: {{{filled('a')}: b, A: é}}\n",
    "a header's value": f"{HEAD}headers: {{a: 'b{filled(' ')}'}}\n",
    "a variable": f"{HEAD}auth: {{bearer: '${{{filled('A')}'}}\n",
    "the name of a variable": f"{HEAD}auth: {{bearer: {{env: {filled('A')}!}}}}\n",
    "the path of a file": f"{HEAD}body_file: {filled('/a')}\n",
    "the beginning of a key": f"{HEAD}body_file: {filled('-----BEGI')}\n",
    "a key": f"{HEAD}{filled('a')}: b\n",
    "a method": f"{HEAD}method: {filled('a')}\u00e9\n",
    "an unknown discovery": f"{HEAD}discovery: {filled('a')}\n",
    "many keys": "".join(f"key{number}: 1\n" for number in range(70_000)),
    "the same key": filled("name: a\n"),
    "broadcasts without a name": filled("- {}\n"),
    "broadcasts with another key": one_of_each("name: a", f"url: {URL}", "retrys: 3"),
    "lists": f"[{filled('[],')}]",
    "one in another": filled("["),
    "status codes": f"{HEAD}expect: {{status: [{filled('2,')}]}}\n",
    "tags of YAML": f"{HEAD}tags: [{filled('!!x a,')}]\n",
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_of_1_mib_is_an_error_soon(what: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FILES[what])
    assert (tmp_path / "a.yaml").stat().st_size <= MAX_FILE_BYTES
    done = subprocess.run(
        [sys.executable, "-m", "worker", "check", "--config", str(tmp_path / "a.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES,) * 2),
    )
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, ""), done.stderr[:2000]
    assert 0 < len(lines) <= MAX_ERRORS + 1
    assert all(line.startswith(f"{tmp_path}/a.yaml:") for line in lines)
    assert max(map(len, lines)) < 1000


def test_more_errors_than_anybody_reads_are_not_looked_for(tmp_path: Path) -> None:
    found = messages(tmp_path, "broadcasts:\n" + "- {}\n" * MAX_ERRORS)
    assert len(found) == MAX_ERRORS + 1
    assert found[0] == "broadcasts.yaml:2:3: broadcasts[0].name: this key is required"
    assert found[-1] == f"broadcasts.yaml:52:3: broadcasts[50].name: {MORE_ERRORS}"


@pytest.mark.parametrize("values", [MAX_VALUES, MAX_VALUES + 1])
def test_a_file_may_have_so_many_values(values: int, tmp_path: Path) -> None:
    known = 6  # the list, the broadcast, its name, url and json, and the list in it
    text = f"{HEAD}json: [{','.join('1' * (values - known + 1))}]\n"
    if values <= MAX_VALUES:
        assert (
            load(tmp_path, text).broadcasts[0].exchange.body
            == json.dumps([1] * (values - known + 1)).encode()
        )
        return
    (found,) = messages(tmp_path, text)
    assert found.endswith(f": expected at most {MAX_VALUES} values in a file, got more")


def test_aliases_of_one_long_text_are_bounded_by_what_they_stand_for(tmp_path: Path) -> None:
    size = 65_536
    fitting = MAX_ALIASED_CHARACTERS // size
    text = f"json: [&a {'a' * size}{{}}]\n"
    body = one(tmp_path, "  " + text.format(", *a" * fitting)).exchange.body
    assert body
    assert len(body) > size * fitting
    (found,) = messages(tmp_path, HEAD + text.format(", *a" * (fitting + 1)))
    assert found.endswith(": expected aliases for at most 1 MiB of text, got more")


# --- files that the configuration names ---------------------------------------------------------

NAMING = {
    "a secret": "auth: {{bearer: {{file: {}}}}}",
    "a body": "body_file: {}",
}


@pytest.mark.parametrize("key", NAMING)
@pytest.mark.parametrize(
    "path", ["/proc/self/environ", "/tmp/../proc/self/fd/0", "/sys/kernel/notes", "link"]
)
def test_no_file_below_proc_or_sys_is_read(path: str, key: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self/environ")
    (found,) = messages(tmp_path, f"{HEAD}{NAMING[key].format(path)}\n")
    assert found.endswith(f": expected a file that is not below /proc or /sys, got {path}")


@pytest.mark.parametrize("key", NAMING)
def test_a_pipe_that_nobody_writes_is_not_waited_for(key: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (found,) = messages(tmp_path, f"{HEAD}{NAMING[key].format('pipe')}\n")
    assert found.endswith(": expected a regular file at pipe, got a pipe or a device")


@pytest.mark.parametrize("key", NAMING)
def test_a_link_to_itself_is_no_file(key: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (found,) = messages(tmp_path, f"{HEAD}{NAMING[key].format('loop')}\n")
    assert ": expected a readable file at loop, got: " in found
