"""Whole lines, as they are written to the file descriptor."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from worker.log.masking import Masker
from worker.log.setup import Log, configure, summary_line
from worker.log.sink import Sink
from worker.stop import Stop

Lines = Callable[[], list[str]]
STOP = Stop()


def make(writer: int, **changes: Any) -> Log:
    options: dict[str, Any] = {"log_format": "json", "log_level": "info", "masker": Masker(())}
    return configure(Sink(writer, STOP), **options | changes)


def read(reader: int) -> list[str]:
    return os.read(reader, 1 << 16).decode().splitlines()


def entry(reader: int) -> dict[str, Any]:
    (line,) = read(reader)
    fields: dict[str, Any] = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fields.pop("timestamp"))
    return fields


def test_timestamps_are_the_time_of_their_line_also_when_the_second_changes(
    pipe: tuple[int, int],
) -> None:
    log = make(pipe[1])
    moments = [datetime.now(UTC)]
    while moments[-1].replace(microsecond=0) < moments[0] + timedelta(seconds=1):
        log.info("resolution.waiting", reason="min_pods", wait_seconds=1.0)
        (line,) = read(pipe[0])
        moments += [datetime.fromisoformat(json.loads(line)["timestamp"]), datetime.now(UTC)]
    assert moments == sorted(moments)


def test_a_line_is_one_flat_object_without_empty_fields(pipe: tuple[int, int]) -> None:
    make(pipe[1]).bind(run_id="r1", broadcast="clear").warning(
        "call.failed",
        endpoint="10.0.0.7:8080",
        round=1,
        attempt=2,
        status_code=None,
        duration_seconds=0.12345678,
        error_type="timeout",
        error_message="no whole response in time",
        retry_in_seconds=2.0,
    )
    assert entry(pipe[0]) == {
        "level": "warning",
        "event": "call.failed",
        "message": "10.0.0.7:8080: no whole response in time; next call in 2.0 s or later",
        "run_id": "r1",
        "broadcast": "clear",
        "endpoint": "10.0.0.7:8080",
        "round": 1,
        "attempt": 2,
        "duration_seconds": 0.123457,
        "error_type": "timeout",
        "error_message": "no whole response in time",
        "retry_in_seconds": 2.0,
    }


def test_the_level_holds_lines_back_but_for_the_ones_that_count(pipe: tuple[int, int]) -> None:
    log = make(pipe[1], log_level="error")
    log.info("run.started", version="1", broadcasts=1)
    log.warning("endpoint.gone", endpoint="10.0.0.7:8080", attempts=1, error_type="unreachable")
    log.info("broadcast.finished", outcome="complete", seen=1, acknowledged=1, confirmed=True)
    log.info("run.finished", outcome="complete", exit_code=0, seen=1, acknowledged=1)
    events = [json.loads(line)["event"] for line in read(pipe[0])]
    assert events == ["run.started", "broadcast.finished", "run.finished"]


def test_the_console_says_the_sentence(pipe: tuple[int, int]) -> None:
    log = make(pipe[1], log_format="console").bind(broadcast="clear")
    log.error("resolution.failed", qname="web", error_message="evil \x1b[2J\nbytes")
    (line,) = read(pipe[0])
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} error   clear: web: evil \\x1b\[2J\\nbytes", line)


SECRETS = ["s3cr3t/+ value", 'quote"back\\slash', "geheim-ü", "x" * 40, "12345"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "encode",
    [
        lambda secret: secret,
        lambda secret: quote(secret),
        lambda secret: quote(secret, safe=""),
        lambda secret: quote(secret, safe="").lower() if "%" in quote(secret) else secret,
        quote_plus,
        lambda secret: base64.b64encode(secret.encode()).decode(),
        lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
        lambda secret: json.dumps(secret),
        lambda secret: json.dumps(secret, ensure_ascii=False),
        repr,
    ],
)
def test_a_secret_is_masked_however_it_is_spelt(
    pipe: tuple[int, int], secret: str, encode: Callable[[str], str]
) -> None:
    spelt = encode(secret)
    text = f"before {spelt} after"
    log = make(pipe[1], masker=Masker([secret]))
    log.error("resolution.failed", qname="web", error_message=text, response_body=text.encode())
    fields = entry(pipe[0])
    for key in ("message", "error_message", "response_body"):
        assert "***" in fields[key]
        assert secret not in fields[key]
        assert spelt.strip("'\"=") not in fields[key]
        assert "before " in fields[key]
        assert " after" in fields[key]


def test_masking_comes_before_the_cut(pipe: tuple[int, int]) -> None:
    log = make(pipe[1], masker=Masker(["topsecret"]))
    body = b"a" * 252 + b"topsecret"
    log.error("resolution.failed", qname="web", error_message="", response_body=body)
    assert entry(pipe[0])["response_body"] == "a" * 252 + "***"


def test_a_body_is_cut_at_256_bytes_between_characters(pipe: tuple[int, int]) -> None:
    body = ("a" + "ü" * 200).encode()
    make(pipe[1]).error("resolution.failed", qname="web", error_message="", response_body=body)
    assert entry(pipe[0])["response_body"] == "a" + "ü" * 127


@pytest.mark.parametrize("text", ["x" * 9000, "\x00" * 9000, "\udcff" * 3000, "ü" * 9000])
def test_no_line_is_longer_than_8_kib(pipe: tuple[int, int], text: str) -> None:
    fields = {f"field_{number}": text for number in range(6)}
    make(pipe[1]).error("resolution.failed", qname="web", error_message=text, **fields)
    (line,) = read(pipe[0])
    assert len(line.encode()) < 8192
    assert json.loads(line)["event"] == "resolution.failed"


def test_the_termination_message_is_json_and_masked() -> None:
    text = "no topsecret " + "\0" * 9000
    line = summary_line({"exit_code": 2, "error_message": text}, Masker(["topsecret"]))
    assert len(line) <= 4096
    assert json.loads(line)["error_message"].startswith("no *** \0\0\0")
