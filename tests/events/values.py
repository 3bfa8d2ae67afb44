"""The closed sets of words that fields of the log hold, and what each word means."""

from __future__ import annotations

OUTCOMES: dict[str, str] = {
    "complete": "nobody failed, nobody was cancelled, at least `min_pods` acknowledged",
    "partial": "some acknowledged, and it is not complete",
    "failed": "nobody acknowledged, and it is not complete",
}
CALL_ERRORS: dict[str, str] = {
    "connect_refused": "nobody listens on that port of the pod",
    "connect_timeout": "no connection within `connect_timeout`: a dead node, or a NetworkPolicy",
    "unreachable": "no route to the address",
    "timeout": "no whole response within `timeout`",
    "connection_reset": "the pod closed the connection before a response",
    "tls": "the handshake failed, or the certificate does not verify",
    "protocol": "the response is not HTTP/1.x, or is cut short",
    "redirect": "a 3xx, which is not followed: it leads away from the pod",
    "status": "another status code than `expect` has",
    "body_mismatch": "the body lacks the text of `expect.body_contains`",
    "deadline": "`deadline` came while a call was still owed; of `endpoint.failed` only",
    "cancelled": "a stop signal cut the call off",
    "local": "the worker's own fault: file descriptors, permissions",
}
RESOLUTION_ERRORS: dict[str, str] = {
    "no_pods": "NXDOMAIN or NODATA: no ready pods, or no such Service",
    "not_headless": "the Service has a cluster IP: the broadcast would reach one pod",
    "dns_servfail": "SERVFAIL, another failure code, or a malformed answer",
    "dns_refused": "REFUSED",
    "dns_timeout": "no nameserver answered in time",
    "dns_truncated": "the answer was cut short over TCP too: more than about 4,090 A records",
}
REASONS: dict[str, str] = {
    **RESOLUTION_ERRORS,
    "all_calls_failed": "nobody acknowledged, and somebody failed",
    "some_calls_failed": "some acknowledged, and somebody failed",
    "min_pods": "fewer than `min_pods` acknowledged, and nobody failed",
    "deadline": "`deadline` came while somebody was owed a call",
    "cancelled": "a stop signal came first",
}
WAITS: dict[str, str] = {
    "cached_answer": "the answer may be the cached one",
    "min_pods": "fewer than `min_pods` are listed",
    "no_answer": "nobody is listed, or DNS does not answer",
}
SIGNALS: dict[str, str] = {"SIGTERM": "as Kubernetes sends it", "SIGINT": "Ctrl-C"}
