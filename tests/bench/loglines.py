"""What it costs to log `call.succeeded`: the whole line, its parts, and other JSON libraries.

CPU time of this process, the lowest of several rounds, since other load only adds to it.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from worker.log.masking import Masker
from worker.log.setup import configure
from worker.log.sink import Sink
from worker.stop import Stop

ROUNDS, LINES = 7, 5000
FIELDS: dict[str, Any] = {
    "endpoint": "127.200.0.17:18080",
    "round": 1,
    "attempt": 1,
    "status_code": 200,
    "duration_seconds": 0.00123456789,
    "connect_seconds": 0.000123456789,
    "span_id": "0123456789abcdef",
}


class _Nowhere(Sink):
    def write(self, line: bytes) -> None:
        """Does nothing."""

    info = warning = error = write


def measure() -> dict[str, float]:
    """Microseconds for each line."""
    with tempfile.TemporaryFile() as file:
        sink = Sink(file.fileno(), Stop())
        nowhere = _Nowhere(file.fileno(), Stop())
        secret = Masker(["a-token-of-usual-length", "hunter2"])
        many = Masker([f"{number}-token-of-usual-length" for number in range(20)])
        entry = {
            "timestamp": "2026-01-01T00:00:00.000000Z",
            "level": "info",
            "event": "call.succeeded",
            "message": "127.200.0.17:18080 answered 200 in 0.001 s",
            "run_id": "0" * 32,
            "broadcast": "clear-web-caches",
            **FIELDS,
        }
        line = orjson.dumps(entry) + b"\n"
        hundred = line * 100
        standard = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
        return {
            "a line, whole": _microseconds(_logging(sink, Masker(()))),
            "a line, whole, with secrets to mask": _microseconds(_logging(sink, secret)),
            "a line, whole, with 20 secrets to mask": _microseconds(_logging(sink, many)),
            "a line, not written": _microseconds(_logging(nowhere, Masker(()))),
            "its JSON by the standard library": _microseconds(lambda: standard(entry).encode()),
            "its JSON by orjson": _microseconds(lambda: orjson.dumps(entry)),
            "its JSON by msgspec": _microseconds(lambda: msgspec.json.encode(entry)),
            "a write of a line": _microseconds(lambda: os.write(file.fileno(), line)),
            "a hundredth of a write of a hundred": _microseconds(
                lambda: os.write(file.fileno(), hundred), LINES // 100
            ),
        }


def _logging(sink: Sink, masker: Masker) -> Callable[[], object]:
    log = configure(sink, "json", "info", masker).bind(run_id="0" * 32)
    log = log.bind(broadcast="clear-web-caches")
    return lambda: log.info("call.succeeded", **FIELDS)


def _microseconds(action: Callable[[], object], times: int = LINES) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began_at = time.process_time()
        for _ in range(times):
            action()
        best = min(best, time.process_time() - began_at)
    return round(best / LINES * 1e6, 2)
