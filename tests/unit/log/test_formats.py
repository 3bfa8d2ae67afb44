"""Whole entries in the words of Google Cloud and of Elastic."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from worker.log.formats import LogFormat, to_ecs, to_gcp
from worker.log.masking import Masker
from worker.log.setup import configure
from worker.log.sink import Sink
from worker.model import Endpoint
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


@pytest.mark.parametrize(
    ("secret", "split"),
    [
        ("topsecret", {"server.ip": "fd00::7", "server.port": 8080}),
        ("8080", {}),  # part of the endpoint, which is masked
    ],
)
def test_elastic_gets_the_parts_of_an_endpoint_that_is_not_masked(
    secret: str, split: dict[str, Any]
) -> None:
    reader, writer = os.pipe()
    log = configure(Sink(writer, Stop()), "ecs", "info", Masker([secret])).bind(run_id="r1")
    log.error("endpoint.failed", endpoint=Endpoint("fd00::7", 8080), attempts=1, error_type="tls")
    os.close(writer)
    with os.fdopen(reader) as lines:
        entry = json.loads(lines.read())
    assert {key: entry[key] for key in entry if key.startswith("server.")} == split
    shown = "[fd00::7]:8080" if split else "[fd00::7]:***"
    assert entry["pod_broadcast.endpoint"] == shown


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
