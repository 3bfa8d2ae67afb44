"""Whole entries in the words of Google Cloud and of Elastic."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from worker.log.formats import LogFormat, json_line, to_ecs, to_gcp
from worker.log.masking import Masker
from worker.log.setup import configure, summary_line
from worker.log.sink import Sink
from worker.model import Endpoint
from worker.options import LOG_FORMATS
from worker.stop import Stop

TIME = "2026-11-24T03:00:00.000001Z"
CALL = {
    "timestamp": TIME,
    "level": "warning",
    "event": "call.failed",
    "message": "10.0.0.7:8080: 503; next call in 2.0 s or later",
    "run_id": "a" * 32,
    "worker_namespace": "shop",
    "broadcast": "clear",
    "endpoint": "10.0.0.7:8080",
    "round": 1,
    "status_code": 503,
    "duration_seconds": 0.123457,
    "span_id": "b" * 16,
    "error_type": "status",
    "error_message": "503",
}
FINISHED = {
    "timestamp": TIME,
    "level": "error",
    "event": "run.finished",
    "message": "partial, exit code 3: 1 of 2 endpoints acknowledged, 1 failed",
    "run_id": "a" * 32,
    "outcome": "partial",
    "exit_code": 3,
    "duration_seconds": 0.0,
}


def test_google_cloud_finds_severity_time_trace_and_span() -> None:
    assert to_gcp(CALL) == {
        "time": TIME,
        "severity": "WARNING",
        "event": "call.failed",
        "message": "10.0.0.7:8080: 503; next call in 2.0 s or later",
        "run_id": "a" * 32,
        "logging.googleapis.com/trace": "a" * 32,
        "logging.googleapis.com/spanId": "b" * 16,
        "worker_namespace": "shop",
        "broadcast": "clear",
        "endpoint": "10.0.0.7:8080",
        "round": 1,
        "status_code": 503,
        "duration_seconds": 0.123457,
        "error_type": "status",
        "error_message": "503",
    }


def test_elastic_gets_its_own_fields_and_the_rest_under_pod_broadcast() -> None:
    split = {"server_address": "10.0.0.7", "server_port": 8080}
    assert to_ecs(CALL | split) == {
        "@timestamp": TIME,
        "log.level": "warning",
        "event.action": "call.failed",
        "event.outcome": "failure",
        "event.duration": 123457000,
        "message": "10.0.0.7:8080: 503; next call in 2.0 s or later",
        "ecs.version": "9.4.0",
        "service.name": "pod-broadcast",
        "trace.id": "a" * 32,
        "span.id": "b" * 16,
        "orchestrator.namespace": "shop",
        "server.ip": "10.0.0.7",
        "server.port": 8080,
        "http.response.status_code": 503,
        "error.type": "status",
        "error.message": "503",
        "pod_broadcast.broadcast": "clear",
        "pod_broadcast.endpoint": "10.0.0.7:8080",
        "pod_broadcast.round": 1,
    }


def test_elastic_knows_two_outcomes_and_ours_stays_beside_them() -> None:
    entry = to_ecs(FINISHED)
    assert entry == {
        "@timestamp": TIME,
        "log.level": "error",
        "event.action": "run.finished",
        "event.outcome": "failure",
        "event.duration": 0,
        "message": "partial, exit code 3: 1 of 2 endpoints acknowledged, 1 failed",
        "ecs.version": "9.4.0",
        "service.name": "pod-broadcast",
        "trace.id": "a" * 32,
        "pod_broadcast.outcome": "partial",
        "pod_broadcast.exit_code": 3,
    }
    assert to_ecs(FINISHED | {"outcome": "complete"})["event.outcome"] == "success"
    assert to_ecs(CALL | {"event": "call.succeeded"})["event.outcome"] == "success"
    assert "event.outcome" not in to_ecs(CALL | {"event": "endpoint.gone"})


@pytest.mark.parametrize("secret", ["topsecret", "8080"])
def test_elastic_gets_the_parts_of_an_endpoint_which_no_secret_masks(secret: str) -> None:
    (entry,) = logged("ecs", secret, endpoint=Endpoint("fd00::7", 8080))
    assert (entry["server.ip"], entry["server.port"]) == ("fd00::7", 8080)
    assert entry["pod_broadcast.endpoint"] == "[fd00::7]:8080"


def logged(log_format: LogFormat, secret: str, **fields: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(log_format, secret, **fields).splitlines()]


def written(
    log_format: LogFormat, secret: str, event: str = "endpoint.failed", **fields: Any
) -> str:
    """The line of an event with these fields."""
    reader, writer = os.pipe()
    log = configure(Sink(writer, Stop()), log_format, "info", Masker([secret])).bind(run_id="r1")
    log.error(event, **{"attempts": 1, "error_type": "tls"} | fields)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8", newline="\n") as lines:
        return lines.read()


# What a terminal obeys, or where some readers of logs break lines; each as JSON escapes it.
STEERING = {
    "\x1b": r"\u001b",
    "\x7f": r"\u007f",
    "\x85": r"\u0085",
    "\x9b": r"\u009b",
    "\x9d": r"\u009d",
    "\u2028": r"\u2028",
    "\u2029": r"\u2029",
    "\u202e": r"\u202e",
    "\u2066": r"\u2066",
    "\U000e0041": r"\udb40\udc41",
}
PLAIN = "naïve 日本 😀"


@pytest.mark.parametrize("character", STEERING)
@pytest.mark.parametrize("log_format", LOG_FORMATS)
def test_no_word_of_a_pod_steers_a_terminal_or_breaks_a_line_in(
    log_format: LogFormat, character: str
) -> None:
    text = f"{PLAIN}{character}{PLAIN}"
    line = written(log_format, "topsecret", "run.crashed", error_message=text)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert PLAIN in line
    if log_format != "console":
        assert f"{PLAIN}{STEERING[character]}{PLAIN}" in line
        assert text in json.loads(line).values()


def test_nor_in_the_termination_message() -> None:
    message = summary_line({"error_message": "".join(STEERING)}, Masker(()))
    assert message == b'{"error_message":"%b"}\n' % "".join(STEERING.values()).encode()


def test_half_a_character_is_written_as_a_question_mark() -> None:
    assert json_line({"message": "a\ud800b"}) == b'{"message":"a?b"}\n'


@pytest.mark.parametrize("log_format", ["gcp", "ecs"])
def test_what_holds_for_every_line_holds_in(log_format: LogFormat) -> None:
    reader, writer = os.pipe()
    log = configure(Sink(writer, Stop()), log_format, "error", Masker(["topsecret"])).bind(
        run_id="r1"
    )
    log.info("call.succeeded", endpoint="10.0.0.7:80", status_code=200, duration_seconds=0.1)
    log.info("run.started", version="1", broadcasts=1, config_files="topsecret.yaml")
    texts: dict[str, Any] = {f"text_{n}": "x" * 2000 for n in range(6)}
    log.error("run.crashed", error_type="E", error_message="m", stack="s" * 9000, **texts)
    os.close(writer)
    with os.fdopen(reader) as lines:
        started, crashed = lines.read().splitlines(keepends=True)
    assert "***.yaml" in started
    assert "null" not in started
    assert len(crashed.encode()) <= 8192
    for line in (started, crashed):
        values = json.loads(line).values()
        assert not [value for value in values if isinstance(value, (dict, list, type(None)))]
