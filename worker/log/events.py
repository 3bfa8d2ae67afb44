"""Every event that the log has: its levels, its fields, and its sentence for a person.

This table is the public interface of the log. docs/events.md and docs/events.schema.json are made
from it (`make generated`), and the tests hold every line against it.
"""

from __future__ import annotations

from worker import __version__
from worker.log import fields, sentences
from worker.log.event_type import EventType
from worker.log.events_of_verify import EVENTS_OF_VERIFY
from worker.log.fields import Field
from worker.words import (
    DISCOVERIES,
    OUTCOMES,
    RESOLUTION_ERRORS,
    SIGNALS,
    WAITS,
    after,
    calls,
    meanings,
)

# --- the table ----------------------------------------------------------------------------------

EVENTS: tuple[EventType, ...] = (
    EventType(
        "run.started",
        ("info",),
        "The configuration has been read and is valid.",
        (
            Field("version", "string", "the worker's version", __version__),
            Field(
                "config_files",
                "string",
                "the files that were read, separated by commas",
                "/etc/pod-broadcast/clear-web-caches.yaml",
            ),
            Field("broadcasts", "integer", "how many broadcasts are selected", 1, "broadcasts"),
            fields.WORKER_POD,
            fields.WORKER_NODE,
        ),
        lambda e: (
            f"pod-broadcast {e['version']}: "
            f"{e['broadcasts']} broadcast{'s' * (e['broadcasts'] > 1)}"
        ),
        of_one_broadcast=False,
    ),
    EventType(
        "broadcast.started",
        ("info",),
        "A broadcast begins. Broadcasts overlap, so the lines of several may alternate.",
        (
            Field("request_url", "string", "`url`", "http://web-server-headless:8080/clear-caches"),
            Field("method", "string", "`method`", "POST"),
            Field("concurrency", "integer", "`concurrency`: calls in flight at once", 16, "calls"),
            Field("discovery", "string", "`discovery`", "endpointslices", values=DISCOVERIES),
            Field("min_pods", "integer", "`min_pods`", 1, "endpoints"),
            Field(
                "verify",
                "string",
                "the URL of `verify`",
                "http://web-server-headless:8080/-/config",
                when="`verify` is set",
            ),
            Field("canary", "integer", "`canary`", 1, "endpoints", "`canary` is above 0"),
            Field("max_failed", "integer", "`max_failed`", 2, "endpoints", "`max_failed` is set"),
            fields.DEADLINE,
        ),
        lambda e: f"{e['method']} {e['request_url']}, at most {calls(e['concurrency'])} at once",
    ),
    EventType(
        "endpoints.resolved",
        ("info",),
        "An answer came. Who is listed and owed a call joins the queue.",
        (
            fields.ROUND,
            fields.QNAME,
            Field("endpoints", "integer", "how many this answer lists", 3, "endpoints"),
            Field("newcomers", "integer", "of these, not listed before", 1, "endpoints"),
            Field("left", "integer", "listed in the last answer, but not in this", 0, "endpoints"),
            Field(
                "not_ready",
                "integer",
                "pods that are not called, since they are not ready",
                1,
                "endpoints",
                fields.BY_API,
            ),
            Field("ttl_seconds", "integer", "the answer's TTL", 5, "seconds", fields.BY_DNS),
            fields.ASKING,
            Field(
                "newer",
                "boolean",
                "whether it cannot be a cached copy of an answer that calls were made from",
                True,
                when="an earlier answer led to calls, or listed nobody to call",
            ),
        ),
        lambda e: (
            f"{e['qname']} lists {e['endpoints']} endpoints: "
            f"{e['newcomers']} new, {e['left']} no longer listed"
        ),
        {"round": 2, "qname": "default/web-server-headless", "ttl_seconds": None},
    ),
    EventType(
        "resolution.failed",
        ("warning", "error"),
        "A question had no answer, or one that lists no endpoint. The level is `error` if the "
        "broadcast does not ask again.",
        (
            fields.ROUND,
            fields.QNAME,
            Field(
                "error_type",
                "string",
                "what went wrong",
                "dns_servfail",
                values=meanings(RESOLUTION_ERRORS),
            ),
            fields.ERROR_MESSAGE._replace(
                meaning="which server said what", example="10.96.0.10:53 answered SERVFAIL"
            ),
            fields.ASKING,
        ),
        lambda e: f"{e['qname']}: {e['error_message']}",
    ),
    EventType(
        "resolution.waiting",
        ("info",),
        "No endpoint is owed a call, but the broadcast is not over: it waits, and asks again.",
        (
            Field("reason", "string", "why it waits", "cached_answer", values=WAITS),
            Field("wait_seconds", "number", "time until the next question", 1.019422, "seconds"),
        ),
        lambda e: f"waiting {e['wait_seconds']:.1f} s {sentences.WAITING[e['reason']]}",
    ),
    EventType(
        "call.succeeded",
        ("info",),
        "An endpoint acknowledged the request.",
        (
            *fields.CALL_BEFORE_STATUS,
            fields.STATUS_CODE._replace(example=200, when=""),
            *(f._replace(when="") for f in fields.CALL_AFTER_STATUS),
            fields.RESPONSE_BODY._replace(
                example='{"version": "v2"}', when="`log_response` is `all`, and a body came"
            ),
        ),
        lambda e: (
            f"{sentences.endpoint(e)} answered {e['status_code']} in {e['duration_seconds']:.3f} s"
        ),
    ),
    EventType(
        "call.failed",
        ("warning", "error"),
        "A call failed. The level is `warning` if the endpoint is called again, else `error`.",
        (
            *fields.CALL_BEFORE_STATUS,
            fields.STATUS_CODE,
            *fields.CALL_AFTER_STATUS,
            fields.CALL_ERROR,
            fields.ERROR_MESSAGE,
            fields.RETRY_IN,
            fields.RESPONSE_BODY,
        ),
        sentences.call_failed,
        {"level": "warning"},
    ),
    *EVENTS_OF_VERIFY,
    EventType(
        "endpoint.gone",
        ("warning",),
        "An endpoint is no more, and is owed no call. By DNS: it never accepted a connection, and "
        "was not listed again until `settle` was over. By EndpointSlices: its pod is no longer "
        "listed, or is terminating.",
        (
            *fields.ENDPOINT,
            fields.ATTEMPTS,
            fields.CALL_ERROR._replace(
                meaning="how its last call failed",
                example="connect_timeout",
                when="it was called",
            ),
        ),
        lambda e: f"{sentences.endpoint(e)} is gone: no longer listed, {after(e['attempts'])}",
        {"attempts": 1},
    ),
    EventType(
        "endpoint.failed",
        ("error",),
        "An endpoint was missed.",
        (
            *fields.ENDPOINT,
            fields.ATTEMPTS,
            fields.CALL_ERROR._replace(meaning="why"),
            fields.STATUS_CODE._replace(when="its last call got a status line"),
            fields.ERROR_MESSAGE._replace(
                meaning="what its last call came to",
                when="it was called; the first 200 different ones are kept",
            ),
            Field("listed", "boolean", "whether the last answer lists it", True),
        ),
        sentences.endpoint_failed,
    ),
    EventType(
        "endpoint.cancelled",
        ("error",),
        "The endpoint was given up before it acknowledged: a stop signal came; or it was never "
        "called, since a canary failed, more than `max_failed` failed, or the name turned out not "
        "to be that of a headless Service.",
        (
            *fields.ENDPOINT,
            fields.ATTEMPTS,
            fields.REASON._replace(meaning="why", example="canary_failed"),
        ),
        lambda e: f"{sentences.endpoint(e)} was given up {after(e['attempts'])}: {e['reason']}",
        {"attempts": 0},
    ),
    EventType(
        "broadcast.finished",
        ("info", "warning", "error"),
        "A broadcast is over. The level is `error` if it is not complete, and `warning` if it is "
        "complete but an endpoint is gone, a pod is not ready, or no newer answer confirmed it. "
        "This line is written at every `--log-level`.",
        (
            Field("outcome", "string", "the result", "partial", values=OUTCOMES),
            Field("exit_code", "integer", "exit code of this broadcast alone: 0, 3 or 4", 3),
            fields.REASON._replace(when="it is not complete"),
            *fields.COUNTS,
            Field(
                "not_ready",
                "integer",
                "pods of the last answer that were not called, since they are not ready",
                1,
                "endpoints",
                fields.BY_API,
            ),
            Field(
                "rounds", "integer", "how many questions had an answer, or failed", 6, "questions"
            ),
            Field("calls", "integer", "how many calls were made", 7, "calls"),
            Field("polls", "integer", "how many polls of `verify`", 9, "calls", "`verify` is set"),
            Field(
                "verified_seconds",
                "number",
                "the longest time from a call that succeeded to the poll that held",
                4.127012,
                "seconds",
                "`verify` is set, and an endpoint acknowledged",
            ),
            Field(
                "responses",
                "integer",
                "how many different responses the endpoints gave last, by status code and the "
                "first 4 KiB of the body",
                2,
                "responses",
                when="`log_response` is `all`",
            ),
            Field("confirmed", "boolean", "whether a newer answer listed nobody new", True),
            fields.DURATION,
            Field(
                "failed_endpoints",
                "string",
                "the endpoints that failed: " + fields.MISSED,
                fields.MISSED_EXAMPLE,
                when="an endpoint failed",
            ),
            Field(
                "not_ready_endpoints",
                "string",
                "the pods that are not ready, as `web-7d4b9-x2x (10.1.0.9:8080)`, and after the "
                "first 1,900 bytes `and 7 more`",
                "web-7d4b9-k8m (10.1.0.12:8080)",
                when="`not_ready` is above 0",
            ),
            fields.HINT,
        ),
        sentences.broadcast_finished,
    ),
    EventType(
        "shutdown.requested",
        ("warning",),
        "A stop signal arrived. No call starts after this line.",
        (Field("signal", "string", "which one", "SIGTERM", values=SIGNALS),),
        lambda e: f"{e['signal']}: no new calls from here on",
        of_one_broadcast=False,
    ),
    EventType(
        "config.invalid",
        ("error",),
        "A mistake in the configuration. Each mistake has a line.",
        (
            Field(
                "config_file",
                "string",
                "the file",
                "/etc/pod-broadcast/clear-web-caches.yaml",
                when="the mistake is in a file, not in an option",
            ),
            Field("line", "integer", "line number, from 1", 3, when="it has a position"),
            Field("column", "integer", "column number, from 1", 3, when="it has a position"),
            Field(
                "key",
                "string",
                "path of the key, as in `broadcasts[0].timeout`; or the option, or its variable",
                "broadcasts[0].timout",
                when="it belongs to a key or an option",
            ),
            fields.ERROR_MESSAGE._replace(
                meaning="what was expected, and what was found",
                example="unknown key: did you mean timeout?",
            ),
        ),
        sentences.config_invalid,
        of_one_broadcast=False,
    ),
    EventType(
        "config.warning",
        ("warning",),
        "A part of resolv.conf cannot be used and is skipped, as the C library does.",
        (
            Field("config_file", "string", "the file", "/etc/resolv.conf"),
            Field("line", "integer", "line number, from 1", 2),
            Field(
                "warning_message",
                "string",
                "the line, and what of it is skipped and why",
                "nameserver 10.96.0.10:53: skipped 10.96.0.10:53, which is not an IP address",
            ),
        ),
        lambda e: f"{e['config_file']}:{e['line']}: {e['warning_message']}",
        of_one_broadcast=False,
    ),
    EventType(
        "run.crashed",
        ("error",),
        "The program has a bug. Please report it.",
        (
            fields.BROADCAST._replace(when="it happened in one broadcast"),
            Field("error_type", "string", "the exception's class", "AssertionError"),
            fields.ERROR_MESSAGE._replace(
                meaning="the exception's text, with secrets masked", example="no answer"
            ),
            Field(
                "stack",
                "string",
                "where it happened, without any values",
                '  File "/opt/pod-broadcast/worker/cli.py", line 143, in main\n',
            ),
        ),
        lambda e: f"this is a bug: {e['error_type']}: {e['error_message']}",
        of_one_broadcast=False,
    ),
    EventType(
        "run.finished",
        ("info", "warning", "error"),
        "The last line, whatever happened, as long as the program could still write one. It is "
        "written at every `--log-level`, and it is also the termination message.",
        (
            Field(
                "outcome",
                "string",
                "the worst of all broadcasts",
                "partial",
                values=OUTCOMES,
            ),
            Field("exit_code", "integer", "the [exit code](exit-codes.md)", 3),
            *fields.BROADCASTS,
            *fields.TOTALS,
            fields.DURATION._replace(when="the command line is valid", example=17.305118),
            Field(
                "worst_broadcast",
                "string",
                "the first of those with the worst outcome; the next three fields are its own",
                "clear-web-caches",
                when=fields.NOT_COMPLETE,
            ),
            fields.REASON._replace(when=fields.NOT_COMPLETE),
            fields.HINT,
            Field(
                "missed_endpoints",
                "string",
                "its endpoints that failed, then those that were cancelled: " + fields.MISSED,
                fields.MISSED_EXAMPLE,
                when="an endpoint failed, or was cancelled",
            ),
            Field(
                "other_broadcasts",
                "string",
                "the others that are not complete, the worst first, as `purge partial "
                "(some_calls_failed)`, and after the first 900 bytes `and 7 more`",
                "purge partial (some_calls_failed)",
                when="there are others",
            ),
            fields.ERROR_MESSAGE._replace(
                meaning="why the run ended early",
                example="configuration: /etc/a.yaml:3:3: broadcasts[0].timout: unknown key",
                when="the exit code is 1 or 2, or a stop signal came before the run began",
            ),
        ),
        sentences.run_finished,
        {"error_message": None, "broadcasts_partial": 2, "seen": 6, "acknowledged": 4, "failed": 2},
        of_one_broadcast=False,
    ),
)
BY_NAME: dict[str, EventType] = {event.name: event for event in EVENTS}
