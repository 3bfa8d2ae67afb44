"""What `check` and `plan` say: of a configuration, and of what it would do. Calls nobody.

Records become one document each, JSON as it is, or text for a person. `cli` loads and prints.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from worker.calls.request import prepare
from worker.config.errors import ConfigError
from worker.discovery.dns.lookup import Lookup
from worker.discovery.dns.resolvconf import ResolvConf
from worker.log.setup import Masker
from worker.model import Answer, Broadcast, BroadcastReport, Config, Expect, ResolutionFailure, Tls
from worker.report.hints import REASONS
from worker.report.outcome import exit_code
from worker.stop import Stop

PLAN_SECONDS = 30.0
SHOWN_BODY_CHARACTERS = 4000
# In place of the run's and the call's: W3C Trace Context forbids both values.
TRACE_ID, SPAN_ID = "0" * 32, "0" * 16

Document = dict[str, Any]


class Plan(NamedTuple):
    """One broadcast as it would be carried out now."""

    broadcast: Broadcast
    answer: Answer | ResolutionFailure
    request: bytes
    traced: bool  # whether the request has a traceparent of the worker's, with ids of each call


def plans(loaded: Config, conf: ResolvConf, stop: Stop) -> Iterator[Plan]:
    """Asks DNS, as the run would first do. Raises Stopped."""
    for entry in loaded.broadcasts:
        answer = Lookup(entry.host, entry.ip_family, conf, stop).ask(
            time.monotonic() + PLAN_SECONDS
        )
        request = prepare(entry, TRACE_ID)
        yield Plan(entry, answer, request.to_bytes(SPAN_ID), request.after_span_id is not None)


def plan_exit_code(documents: list[Document]) -> int:
    """As the run's would be if every call were acknowledged."""
    return exit_code("failed") if any("error_type" in d for d in documents) else 0


# --- documents --------------------------------------------------------------------------------


def errors_document(errors: list[ConfigError]) -> Document:
    """Of a configuration that is not valid."""
    return {
        "errors": [
            {
                "file": error.file,
                "line": error.line,
                "column": error.column,
                "key": error.key,
                "message": error.message,
            }
            for error in errors
        ],
        "broadcasts": [],
    }


def check_document(loaded: Config) -> Document:
    broadcasts = [_understood(entry) for entry in loaded.broadcasts]
    return {
        "errors": [],
        "broadcasts": broadcasts,
        "files": list(loaded.files),
        "longest_seconds": sum(entry["longest_seconds"] for entry in broadcasts),
    }


def _understood(entry: Broadcast) -> Document:
    """Every key as it was understood, but for secrets, of which it says that they are there."""
    return {
        "name": entry.name,
        "method": entry.method,
        "url": entry.url,
        "port": entry.port,
        "ip_family": entry.ip_family,
        "headers": [name for name, _ in entry.headers],
        "body_bytes": len(entry.body or b""),
        "auth": _auth(entry),
        "tls": _tls(entry),
        "expect": {
            "status": _ranges(entry.expect),
            "body_contains": (entry.expect.body_contains or b"").decode() or None,
        },
        "concurrency": entry.concurrency,
        "stagger_seconds": entry.stagger_seconds,
        "connect_timeout_seconds": entry.connect_timeout_seconds,
        "timeout_seconds": entry.timeout_seconds,
        "attempts": entry.attempts,
        "backoff": {
            "initial_seconds": entry.backoff_initial_seconds,
            "max_seconds": entry.backoff_max_seconds,
        },
        "settle_seconds": entry.settle_seconds,
        "deadline_seconds": entry.deadline_seconds,
        "min_pods": entry.min_pods,
        "log_response": entry.log_response,
        "tags": list(entry.tags),
        # The last call may start just before the deadline.
        "longest_seconds": entry.deadline_seconds + entry.timeout_seconds,
    }


def _auth(entry: Broadcast) -> str | None:
    if entry.auth is None:
        return None
    return "bearer" if entry.auth.bearer else "basic"


def _tls(entry: Broadcast) -> Document | None:
    if not entry.https:
        return None
    tls: Tls = entry.tls
    return {
        "server_name": tls.server_name or entry.host.removesuffix("."),
        "verified": not tls.insecure_skip_verify,
        "ca_file": tls.ca_file,
        "cert_file": tls.cert_file,
    }


def _ranges(expect: Expect) -> list[str]:
    """Status codes as one would write them: whole classes as 2xx."""
    codes = set(expect.status_codes)
    found = []
    for first in (200, 300, 400, 500):
        whole = set(range(first, first + 100))
        if whole <= codes:
            found.append(f"{first // 100}xx")
            codes -= whole
    return found + [str(code) for code in sorted(codes)]


def plan_document(plan: Plan) -> Document:
    """Without `error_type`, `error_message` and `hint` if the run could call somebody."""
    entry, answer = plan.broadcast, plan.answer
    head, _, body = plan.request.partition(b"\r\n\r\n")
    document: Document = {"name": entry.name, "qname": answer.qname}
    if isinstance(answer, Answer):
        document |= {
            "rcode": answer.rcode,
            "ttl_seconds": answer.ttl_seconds,
            "endpoints": [f"{_bracketed(a)}:{entry.port}" for a in answer.addresses],
        }
    return {
        **document,
        **_problem(entry, answer),
        "tls": _tls(entry),
        "request": head.decode().split("\r\n"),
        "body": body.decode(errors="backslashreplace"),
        "body_bytes": len(body),
        "differs_per_call": ["traceparent"] if plan.traced else [],
    }


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _problem(entry: Broadcast, answer: Answer | ResolutionFailure) -> Document:
    """Why the run could not be complete, if it could not."""
    if isinstance(answer, ResolutionFailure):
        reason, message = answer.error_type, answer.error_message
    elif len(answer.addresses) >= entry.min_pods:
        return {}
    elif answer.addresses:
        listed = len(answer.addresses)
        return {
            "error_type": "min_pods",
            "error_message": f"{listed} listed, at least {entry.min_pods} wanted",
            "hint": "scale up, or lower min_pods; a run waits for them as long as settle says",
        }
    else:
        nobody = "NXDOMAIN" if answer.rcode == "NXDOMAIN" else "NODATA"
        reason, message = "no_pods", f"{nobody}: no ready pods, or no such Service"
    report = BroadcastReport(entry.name, "failed", reason, (), 0, 0, False, 0.0)
    return {
        "error_type": reason,
        "error_message": message,
        "hint": REASONS[reason](entry, report),
    }


def masked(value: Any, masker: Masker) -> Any:
    """A document without secrets."""
    if isinstance(value, dict):
        return {key: masked(entry, masker) for key, entry in value.items()}
    if isinstance(value, list):
        return [masked(entry, masker) for entry in value]
    return masker.mask(value) if isinstance(value, str) else value


# --- text -------------------------------------------------------------------------------------


def to_json(document: Document) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def check_text(document: Document) -> str:
    """The document of `check`, for a person."""
    count = len(document["broadcasts"])
    last = f"{count} broadcast{'s' * (count > 1)}; a run takes at most {_s(document, 'longest')}"
    return "\n".join([*(_understood_text(entry) for entry in document["broadcasts"]), last])


def _understood_text(entry: Mapping[str, Any]) -> str:
    lines = [
        f"{entry['name']}: {entry['method']} {entry['url']}{_port(entry)}",
        ", ".join(_what_is_sent(entry)),
        f"expects {', '.join(entry['expect']['status'])}" + _body_contains(entry),
        f"{entry['concurrency']} at once{_stagger(entry)}, at most {entry['attempts']} calls to "
        f"an endpoint, {_s(entry, 'timeout')} each, {_s(entry['backoff'], 'initial')} to "
        f"{_s(entry['backoff'], 'max')} between them",
        f"at least {entry['min_pods']} pod{'s' * (entry['min_pods'] != 1)}; "
        f"{_s(entry, 'settle')} of patience with DNS; at most {_s(entry, 'longest')}",
    ]
    lines += [f"tags {', '.join(entry['tags'])}"] * bool(entry["tags"])
    return printable("\n  ".join(filter(None, lines)))


def _port(entry: Mapping[str, Any]) -> str:
    """The port that a URL does not spell out may not be the container's."""
    named = urlsplit(entry["url"]).port is not None
    return "" if named else f" (port {entry['port']}, since the URL names none)"


def _what_is_sent(entry: Mapping[str, Any]) -> Iterator[str]:
    if entry["headers"]:
        yield f"headers {', '.join(entry['headers'])}"
    if entry["auth"]:
        yield f"{entry['auth']} auth"
    if entry["body_bytes"]:
        yield f"a body of {entry['body_bytes']} bytes"
    if entry["tls"]:
        yield _tls_text(entry["tls"])


def _tls_text(tls: Mapping[str, Any]) -> str:
    verified = f"verified by {tls['ca_file'] or 'the system CAs'}"
    shown = f", showing {tls['cert_file']}" if tls["cert_file"] else ""
    return f"TLS to {tls['server_name']}, {verified if tls['verified'] else 'NOT verified'}{shown}"


def _body_contains(entry: Mapping[str, Any]) -> str:
    text: str | None = entry["expect"]["body_contains"]
    return f" and the text {text!r}" if text else ""


def _stagger(entry: Mapping[str, Any]) -> str:
    return f", {_s(entry, 'stagger')} apart" if entry["stagger_seconds"] else ""


def _s(document: Mapping[str, Any], what: str) -> str:
    seconds: float = document[f"{what}_seconds"]
    return f"{seconds:g} s"


def plan_text(document: Document) -> str:
    """The document of one broadcast's plan, for a person."""
    lines = [f"{document['name']}: {document['qname']}"]
    if "rcode" in document:
        count = len(document["endpoints"])
        lines[0] += f", TTL {_s(document, 'ttl')}, {document['rcode']}, "
        lines[0] += f"{count} endpoint{'s' * (count != 1)}"
        lines += [f"  {endpoint}" for endpoint in document["endpoints"]]
    if "error_type" in document:
        lines.append(f"  ! {document['error_type']}: {document['error_message']}")
        lines.append(f"  ! {document['hint']}")
    if document["tls"]:
        lines.append(f"  {_tls_text(document['tls'])}")
    lines += ["", *(f"  > {line}" for line in document["request"]), "  >"]
    lines += [f"  > {line}" for line in _body_lines(document)]
    if document["differs_per_call"]:
        lines.append("  traceparent holds the run's id and the call's in place of the zeros")
    return printable("\n".join(lines)) + "\n"


def _body_lines(document: Document) -> list[str]:
    body = document["body"]
    lines: list[str] = body[:SHOWN_BODY_CHARACTERS].split("\n") if body else []
    if len(body) > SHOWN_BODY_CHARACTERS:
        lines[-1] += "…"
        lines.append(f"({document['body_bytes']} bytes in all; --output json shows them)")
    return lines


def printable(text: str) -> str:
    """Text that does not steer a terminal: of control characters only line ends are left."""
    return "".join(c if c == "\n" or c.isprintable() else repr(c)[1:-1] for c in text)
