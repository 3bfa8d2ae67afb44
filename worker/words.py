"""The closed sets of words in reports and log lines, and what each word means.

One table for each set. The types, the rules, the documents and the hints are held to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, TypeVar

Word = TypeVar("Word", bound=str)

Discovery = Literal["dns", "endpointslices"]
Level = Literal["info", "warning", "error"]
Outcome = Literal["complete", "partial", "failed"]
Verdict = Literal["acknowledged", "failed", "gone", "cancelled"]
Ending = Literal["confirmed", "settle", "deadline", "stopped", "never_resolved", "given_up"]
GivenUp = Literal["canary_failed", "max_failed"]
WaitReason = Literal[
    "question",
    "calls",
    "proofs",
    "backoff",
    "confirming",
    "cached_answer",
    "min_pods",
    "no_answer",
    "absent",
]
CallError = Literal[
    "connect_refused",
    "connect_timeout",
    "unreachable",
    "timeout",
    "connection_reset",
    "tls",
    "protocol",
    "redirect",
    "status",
    "body_mismatch",
    "not_verified",
    "deadline",
    "cancelled",
    "no_port",
    "local",
]
ResolutionError = Literal[
    "no_pods",
    "not_headless",
    "unproven",
    "outside_cluster",
    "no_cluster_suffix",
    "dns_servfail",
    "dns_refused",
    "dns_timeout",
    "dns_truncated",
    "api_forbidden",
    "api_unreachable",
    "api_error",
]
Reason = (
    ResolutionError
    | GivenUp
    | Literal[
        "all_calls_failed", "some_calls_failed", "min_pods", "deadline", "cancelled", "dns_capped"
    ]
)


class Fault(NamedTuple):
    """A word for what went wrong.

    `retried`: another call or question may succeed. `shows`: it shows that the pod accepted no
    connection, or that somebody is listed who is not called.
    """

    meaning: str
    retried: bool = True
    shows: Literal["no_connection", "somebody", ""] = ""


def meanings(faults: Mapping[str, Fault]) -> dict[str, str]:
    return {word: fault.meaning for word, fault in faults.items()}


CALL_ERRORS: dict[str, Fault] = {
    "connect_refused": Fault("nothing listens on that port of the pod", shows="no_connection"),
    "connect_timeout": Fault(
        "no connection within `connect_timeout`: a dead node, or a NetworkPolicy",
        shows="no_connection",
    ),
    "unreachable": Fault("there is no route to the address", shows="no_connection"),
    "timeout": Fault("no complete response within `timeout`"),
    "connection_reset": Fault("the pod closed the connection before it responded"),
    "tls": Fault(
        "the TLS handshake failed, or the certificate could not be verified", retried=False
    ),
    "protocol": Fault("the response is not HTTP/1.x, or it is cut short"),
    "redirect": Fault(
        "a 3xx response; it leads away from the pod and is not followed", retried=False
    ),
    "status": Fault("a status code that `expect.status` does not accept"),  # `rules` has which
    "body_mismatch": Fault(
        "the body is not what `expect` wants: the message says what was found", retried=False
    ),
    "not_verified": Fault(
        "it took the request, but did not meet `verify` within its time", retried=False
    ),
    "deadline": Fault(
        "the deadline passed while a call was in flight, or before one could start", retried=False
    ),
    "cancelled": Fault("a stop signal cut the call off", retried=False),
    "no_port": Fault(
        "its EndpointSlice has no TCP port of the name in `port_name`: it was not called",
        retried=False,
    ),
    "local": Fault("the worker's own fault, such as no file descriptor left or no permission"),
}
# Where one is not retried, no later answer can help: the configuration has to change.
RESOLUTION_ERRORS: dict[str, Fault] = {
    "no_pods": Fault("nobody is listed: there are no ready pods, or there is no such Service"),
    "not_headless": Fault(
        "the Service has a cluster IP, so the request would reach only one pod",
        retried=False,
        shows="somebody",
    ),
    "unproven": Fault(
        "there is one address, and DNS does not show whether it is a pod's", shows="somebody"
    ),
    "outside_cluster": Fault(
        "an alias leads out of the cluster, or no pod can have the address", shows="somebody"
    ),
    "no_cluster_suffix": Fault(
        "nothing was found, and resolv.conf is not a pod's: it completes no name", retried=False
    ),
    "dns_servfail": Fault(
        "SERVFAIL, another failure code, a malformed answer, or one about other names"
    ),
    "dns_refused": Fault("the nameserver answered REFUSED"),
    "dns_timeout": Fault("no nameserver answered in time"),
    "dns_truncated": Fault(
        "the answer was truncated over TCP too: more than about 4,090 A records", shows="somebody"
    ),
    "api_forbidden": Fault(
        "the Kubernetes API answered 401 or 403: who asks may not list EndpointSlices",
        retried=False,
    ),
    "api_unreachable": Fault("the Kubernetes API gave no answer in time, or answered 429 or 5xx"),
    "api_error": Fault("what the Kubernetes API answered is no list of EndpointSlices"),
}
REASONS: dict[str, str] = {
    **meanings(RESOLUTION_ERRORS),
    "all_calls_failed": "nobody acknowledged, and at least one endpoint failed",
    "some_calls_failed": "some acknowledged, and at least one endpoint failed",
    "canary_failed": "a canary failed for good, so nobody else was called",
    "max_failed": "more than `max_failed` failed for good, so nobody new was called",
    "min_pods": "fewer than `min_pods` acknowledged, though nobody failed",
    "dns_capped": "DNS lists exactly 1,000 endpoints, the most that kube-dns lists",
    "deadline": "the deadline passed while an endpoint was still owed a call",
    "cancelled": "a stop signal came first",
}
# Both from the best to the worst, as `worst` takes them.
OUTCOMES: dict[str, str] = {
    "complete": "nobody failed, nobody was cancelled, and at least `min_pods` acknowledged",
    "partial": "some acknowledged, but it is not complete",
    "failed": "nobody acknowledged, and it is not complete",
}
LEVELS: dict[str, str] = {
    "info": "nothing to do",
    "warning": "something to know",
    "error": "something was missed, or is wrong",
}
DISCOVERIES: dict[str, str] = {
    "dns": "the addresses that DNS lists for the Service",
    "endpointslices": "the pods in the Service's EndpointSlices, by the Kubernetes API",
}
# The reasons to wait that the log tells.
WAITS: dict[str, str] = {
    "cached_answer": "the last answer may come from a cache",
    "min_pods": "fewer than `min_pods` are listed",
    "absent": "an endpoint that has not acknowledged is no longer listed, and may come back",
    "no_answer": "no endpoint is listed, or there is no answer",
}
SIGNALS: dict[str, str] = {"SIGTERM": "Kubernetes sends this", "SIGINT": "Ctrl-C"}


def worst(words: Iterable[Word], table: Mapping[str, str]) -> Word:
    """The one of the words that stands last in the table."""
    return max(words, key=list(table).index)


def calls(number: int) -> str:
    return f"{number} call{'s' * (number != 1)}"


def after(number: int) -> str:
    return f"after {calls(number)}" if number else "without a call"
