"""`plan`: whom a run would call now, and with which bytes. Asks the witness, and calls nobody."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from worker.calls.connection import LocalError
from worker.calls.request import Request, pieces_of, prepare
from worker.commands.check import tls
from worker.commands.loading import load, witnesses
from worker.config.errors import Place
from worker.discovery.source import Witnesses, sources
from worker.log.formats import printable
from worker.log.masking import MASK, Masker
from worker.model import Answer, Broadcast, CallResult, Endpoint, ResolutionFailure
from worker.options import Options
from worker.report.hints import hint
from worker.report.outcome import exit_code
from worker.report.records import BroadcastReport, EndpointReport
from worker.stop import Stop
from worker.terminal.document import Document, masked, to_json, to_text

PLAN_SECONDS = 30.0  # three silent nameservers, asked twice for 5 s each, as resolv.conf(5) has it
# In place of the ids of the run and of the call: W3C Trace Context forbids both values.
TRACE_ID, SPAN_ID = "0" * 32, "0" * 16
NOT_RUN = BroadcastReport("", "failed", None, (), 0, 0, confirmed=False, duration_seconds=0.0)


def run(options: Options, environment: Mapping[str, str], stop: Stop) -> int:
    """Prints the document, as JSON or text, a broadcast's text as soon as DNS has answered.

    Returns the exit code: that of a run of which every call was acknowledged. Raises ConfigInvalid
    and Stopped.
    """
    loaded = load(options, environment, stop)
    masker, file = Masker(loaded.secrets), options.resolv_conf
    asked = witnesses(loaded.broadcasts, options, environment, stop, masker)
    found = asked.conf.warnings if asked.conf else ()
    warnings = masked(
        [{"file": file, "line": line, "message": text} for line, text in found], masker
    )
    if options.output == "text":
        for warning in warnings:
            line = "{file}:{line}: {message}".format_map(warning)
            print(printable(line), file=sys.stderr)
    documents: list[Document] = []
    for entry, answer in zip(loaded.broadcasts, ask(loaded.broadcasts, asked, stop), strict=True):
        documents.append(masked(document(entry, answer), masker))
        if options.output == "text":
            print(to_text(documents[-1]))
    if options.output == "json":
        print(to_json({"errors": [], "warnings": warnings, "broadcasts": documents}))
    return exit_code("failed") if any("error_type" in each for each in documents) else 0


def ask(
    broadcasts: Sequence[Broadcast], asked: Witnesses, stop: Stop
) -> Iterator[Answer | ResolutionFailure]:
    """The first answers that a run would get, in the order of the broadcasts. Raises Stopped.

    The questions are asked side by side.
    """
    ends_at = time.monotonic() + PLAN_SECONDS
    for number, source in enumerate(sources(broadcasts, asked)):
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
    poll = prepare(entry.verify.exchange, TRACE_ID) if entry.verify else None
    found: Document = {"name": entry.name, "qname": answer.qname}
    if isinstance(answer, Answer):
        found |= _pods(answer) if entry.discovery == "endpointslices" else _addresses(answer)
        found |= _missing(entry, answer)
    else:
        found |= _problem(entry, answer)
    traced = prepared.after_span_id is not None
    return {
        **found,
        "tls": tls(entry.exchange),
        "request": _head(prepared),
        "body": MASK if entry.exchange.body_is_secret else _body(entry),
        "body_bytes": entry.exchange.body_bytes,
        **({"verify_request": _head(poll)} if poll else {}),
        "differs_per_call": ["traceparent"] if traced else [],
    }


def _head(request: Request) -> list[str]:
    """The request line and the header fields."""
    return request.head(SPAN_ID).decode().removesuffix("\r\n\r\n").split("\r\n")


def _body(entry: Broadcast) -> str:
    """The body as text. Raises ConfigInvalid if its file has changed in the meantime."""
    try:
        body = b"".join(pieces_of(entry.exchange.body))
    except LocalError as error:
        raise Place(key=f"broadcast {entry.name}").error(str(error)) from None
    return body.decode(errors="backslashreplace")


def _addresses(answer: Answer) -> Document:
    """Whom DNS lists."""
    return {
        "rcode": "NXDOMAIN" if answer.absence == "NXDOMAIN" else "NOERROR",
        "ttl_seconds": answer.ttl_seconds,
        "endpoints": [str(endpoint) for endpoint in answer.endpoints],
    }


def _pods(answer: Answer) -> Document:
    """Whom the Kubernetes API lists, pod by pod."""

    def pod(endpoint: Endpoint) -> Document:
        target = answer.targets[endpoint]
        return {"endpoint": str(endpoint), "uid": endpoint.uid, **target._asdict()}

    return {
        "endpoints": [pod(endpoint) for endpoint in answer.endpoints],
        "not_ready": [pod(endpoint) for endpoint in sorted(answer.not_ready)],
    }


def _missing(entry: Broadcast, answer: Answer) -> Document:
    """The problem, if too few endpoints are listed, or one that cannot be called."""
    listed = len(answer.endpoints)
    without = sum(not endpoint.port for endpoint in answer.endpoints)
    if without:
        last = CallResult(answer.endpoints[0], "", 0.0, error_type="no_port")
        missed = EndpointReport(last.endpoint, "failed", 0, last.error_type, last=last)
        return {
            "error_type": last.error_type,
            "error_message": f"{without} of {listed} have no TCP port called {entry.port_name}",
            "hint": hint(entry, NOT_RUN._replace(endpoints=(missed,))),
        }
    if listed >= entry.min_pods:
        return {}
    if not listed:
        return _problem(entry, answer.nobody())
    return {
        "error_type": "min_pods",
        "error_message": f"{listed} listed, at least {entry.min_pods} wanted",
        "hint": "scale up, or lower min_pods; a run waits for more pods as long as settle says",
    }


def _problem(entry: Broadcast, failure: ResolutionFailure) -> Document:
    reason, message = failure.error_type, failure.error_message
    report = NOT_RUN._replace(reason=reason, failure=failure)
    return {"error_type": reason, "error_message": message, "hint": hint(entry, report)}
