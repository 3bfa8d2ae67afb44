"""`check`: how the configuration was understood, and how long a run can take. Asks nobody."""

from __future__ import annotations

import json
from collections.abc import Mapping

from worker.commands.loading import load
from worker.config.values import write_duration
from worker.log.masking import Masker
from worker.model import Broadcast, Config, Exchange, Expect, Verify
from worker.options import Options
from worker.stop import Stop
from worker.terminal.document import Document, masked, to_json, to_text


def run(options: Options, environment: Mapping[str, str], stop: Stop) -> int:
    """Prints the document, as JSON or text. Returns the exit code.

    Raises ConfigInvalid and Stopped.
    """
    loaded = load(options, environment, stop)
    checked = masked(document(loaded, options.deadline_seconds), Masker(loaded.secrets))
    if options.output == "json":
        print(to_json(checked))
        return 0
    for broadcast in checked["broadcasts"]:
        print(to_text(broadcast))
    count, longest = len(checked["broadcasts"]), checked["longest_seconds"]
    print(f"{count} broadcast{'s' * (count > 1)}; a run takes at most {write_duration(longest)}")
    return 0


def document(loaded: Config, run_deadline_seconds: float | None = None) -> Document:
    """The document about a valid configuration. `run_deadline_seconds`: that of the whole run.

    Broadcasts overlap, so most runs are far shorter than the sum of the deadlines.
    """
    longest_seconds = sum(entry.deadline_seconds for entry in loaded.broadcasts)
    if run_deadline_seconds is not None:
        longest_seconds = min(longest_seconds, run_deadline_seconds)
    return {
        "errors": [],
        "broadcasts": [_understood(entry) for entry in loaded.broadcasts],
        "files": list(loaded.files),
        "longest_seconds": longest_seconds,
    }


def _understood(entry: Broadcast) -> Document:
    """Every key as it was understood. Of a secret it says only that there is one."""
    exchange = entry.exchange
    auth = exchange.auth
    return {
        "name": entry.name,
        "method": exchange.method,
        "url": exchange.url.text,
        "port": None if entry.port_name else exchange.url.port,
        "discovery": entry.discovery,
        "include_not_ready": entry.include_not_ready,
        "port_name": entry.port_name,
        "ip_family": entry.ip_family,
        "headers": [name for name, _ in exchange.headers],
        "body_bytes": exchange.body_bytes,
        "auth": ("bearer" if auth.bearer else "basic") if auth else None,
        "tls": tls(exchange),
        "expect": _expect(exchange.expect),
        "verify": _verify(entry.verify) if entry.verify else None,
        "canary": entry.canary,
        "max_failed": entry.max_failed,
        "concurrency": entry.concurrency,
        "stagger_seconds": entry.stagger_seconds,
        "connect_timeout_seconds": exchange.connect_timeout_seconds,
        "timeout_seconds": exchange.timeout_seconds,
        "attempts": entry.attempts,
        "backoff": {
            "initial_seconds": entry.backoff_initial_seconds,
            "max_seconds": entry.backoff_max_seconds,
        },
        "settle_seconds": entry.settle_seconds,
        "deadline_seconds": entry.deadline_seconds,
        "min_pods": entry.min_pods,
        "log_response": exchange.log_response,
        "tags": list(entry.tags),
        "longest_seconds": entry.deadline_seconds,  # calls in flight are cut then
    }


def _expect(expect: Expect) -> Document:
    return {
        "status": _ranges(expect),
        "body_contains": (expect.body_contains or b"").decode() or None,
        "body_lacks": (expect.body_lacks or b"").decode() or None,
        "json": {each.pointer: json.loads(each.text) for each in expect.json} or None,
    }


def _verify(verify: Verify) -> Document:
    return {
        "method": verify.exchange.method,
        "url": verify.exchange.url.text,
        "tls": tls(verify.exchange),
        "expect": _expect(verify.exchange.expect),
        "connect_timeout_seconds": verify.exchange.connect_timeout_seconds,
        "timeout_seconds": verify.exchange.timeout_seconds,
        "every_seconds": verify.every_seconds,
        "within_seconds": verify.within_seconds,
    }


def tls(exchange: Exchange) -> Document | None:
    """The name and CA that are trusted, and the certificate shown to the pods; None for http."""
    if not exchange.url.https:
        return None
    return {
        "server_name": exchange.server_name,
        "verified": not exchange.tls.insecure_skip_verify,
        "ca_file": exchange.tls.ca_file,
        "cert_file": exchange.tls.cert_file,
    }


def _ranges(expect: Expect) -> list[str]:
    """Status codes as in a configuration: a whole class is 2xx."""
    codes = sorted(expect.status_codes)
    whole = [
        first
        for first in range(1, 6)
        if expect.status_codes >= {*range(first * 100, first * 100 + 100)}
    ]
    return [f"{first}xx" for first in whole] + [str(c) for c in codes if c // 100 not in whole]
