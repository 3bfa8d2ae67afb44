"""`plan`: whom a run would call now, and with which bytes. Asks DNS, and calls nobody."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from worker.calls.request import prepare
from worker.commands.check import tls
from worker.commands.loading import load, resolv_conf
from worker.discovery.dns.resolvconf import ResolvConf
from worker.discovery.source import sources
from worker.log.formats import printable
from worker.log.masking import Masker
from worker.model import Answer, Broadcast, BroadcastReport, ResolutionFailure
from worker.options import Options
from worker.report.hints import hint
from worker.report.outcome import exit_code
from worker.stop import Stop
from worker.terminal.document import Document, masked, to_json, to_text
from worker.words import Reason

PLAN_SECONDS = 30.0  # three silent nameservers, asked twice for 5 s each, as resolv.conf(5) has it
# In place of the ids of the run and of the call: W3C Trace Context forbids both values.
TRACE_ID, SPAN_ID = "0" * 32, "0" * 16


def run(options: Options, environment: Mapping[str, str], stop: Stop) -> int:
    """Prints the document, as JSON or text, a broadcast's text as soon as DNS has answered.

    Returns the exit code: that of a run of which every call was acknowledged. Raises ConfigInvalid
    and Stopped.
    """
    loaded = load(options, environment, stop)
    masker, conf = Masker(loaded.secrets), resolv_conf(options, stop)
    file = options.resolv_conf
    warnings = masked(
        [{"file": file, "line": line, "message": text} for line, text in conf.warnings], masker
    )
    if options.output == "text":
        for warning in warnings:
            line = "{file}:{line}: {message}".format_map(warning)
            print(printable(line), file=sys.stderr)
    documents: list[Document] = []
    for entry, answer in zip(loaded.broadcasts, ask(loaded.broadcasts, conf, stop), strict=True):
        documents.append(masked(document(entry, answer), masker))
        if options.output == "text":
            print(to_text(documents[-1]))
    if options.output == "json":
        print(to_json({"errors": [], "warnings": warnings, "broadcasts": documents}))
    return exit_code("failed") if any("error_type" in each for each in documents) else 0


def ask(
    broadcasts: Sequence[Broadcast], conf: ResolvConf, stop: Stop
) -> Iterator[Answer | ResolutionFailure]:
    """The answers of DNS, as a run would get its first ones, in order. Raises Stopped.

    The questions are asked side by side.
    """
    ends_at = time.monotonic() + PLAN_SECONDS
    for number, source in enumerate(sources(broadcasts, conf)):
        stop.threads.start(number, partial(source, ends_at))
    answers: dict[int, Answer | ResolutionFailure] = {}
    for number in range(len(broadcasts)):
        while number not in answers:
            done = stop.done()
            answers[done.number] = done.outcome
        yield answers.pop(number)


def document(entry: Broadcast, answer: Answer | ResolutionFailure) -> Document:
    """One broadcast as a run would carry it out now.

    It has `error_type`, `error_message` and `hint` if the run could not be complete.
    """
    prepared = prepare(entry.exchange, TRACE_ID)
    head, _, body = prepared.to_bytes(SPAN_ID).partition(b"\r\n\r\n")
    found: Document = {"name": entry.name, "qname": answer.qname}
    if isinstance(answer, Answer):
        found["rcode"], found["ttl_seconds"] = answer.rcode, answer.ttl_seconds
        found["endpoints"] = [str(endpoint) for endpoint in answer.endpoints]
        found |= _missing(entry, answer)
    else:
        found |= _problem(entry, answer.error_type, answer.error_message)
    traced = prepared.after_span_id is not None
    return {
        **found,
        "tls": tls(entry.exchange),
        "request": head.decode().split("\r\n"),
        "body": body.decode(errors="backslashreplace"),
        "body_bytes": len(body),
        "differs_per_call": ["traceparent"] if traced else [],
    }


def _missing(entry: Broadcast, answer: Answer) -> Document:
    """The problem, if too few endpoints are listed."""
    listed = len(answer.endpoints)
    if listed >= entry.min_pods:
        return {}
    if not listed:
        return _problem(entry, "no_pods", answer.nobody().error_message)
    return _problem(entry, "min_pods", f"{listed} listed, at least {entry.min_pods} wanted") | {
        "hint": "scale up, or lower min_pods; a run waits for more pods as long as settle says"
    }


def _problem(entry: Broadcast, reason: Reason, message: str) -> Document:
    report = BroadcastReport(entry.name, "failed", reason, (), 0, 0, False, 0.0)
    return {"error_type": reason, "error_message": message, "hint": hint(entry, report)}
