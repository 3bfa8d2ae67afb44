"""The rules of delivery that need no books: what is newer, what is retried, how long to wait; and
what the books say of one endpoint.
"""

from __future__ import annotations

from typing import NamedTuple

from worker.model import Answer, Broadcast, CallError, CallResult, ResolutionError

# A cache counts whole seconds: two answers closer than this may be one copy (RFC 1035, 3.2.1).
TTL_ROUNDING_SECONDS = 1.0
# The first question after an answer: late enough to be a newer one where nothing caches.
ASK_AGAIN_SECONDS = 1.02
ASK_AGAIN_MAX_SECONDS = 5.0
RETRIED_STATUS_CODES = frozenset({408, 425, 429})
NEVER_RETRIED: frozenset[CallError] = frozenset(
    {"redirect", "tls", "body_mismatch", "deadline", "cancelled"}
)
# No later answer can change these: the configuration has to.
NEVER_RESOLVED: frozenset[ResolutionError] = frozenset({"not_headless", "no_cluster_suffix"})
# They say that somebody is listed who is not called.
LIST_SOMEBODY: frozenset[ResolutionError] = frozenset(
    {"unproven", "outside_cluster", "dns_truncated"}
)
NOT_ACCEPTED: frozenset[CallError] = frozenset(
    {"connect_refused", "connect_timeout", "unreachable"}
)


class Entry(NamedTuple):
    """What is known of one endpoint."""

    listed_in: Answer
    missing_from: Answer | None = None  # the first answer since then that does not list it
    attempts: int = 0
    acknowledged: bool = False
    reached: bool = False  # a connection was accepted once, whatever came of it
    last: CallResult | None = None
    call_again_at: float = 0.0


def listed(entry: Entry | None, answer: Answer) -> Entry:
    """What is known of an endpoint that this answer lists, be it for the first time."""
    return entry._replace(listed_in=answer, missing_from=None) if entry else Entry(answer)


def is_newer(answer: Answer, other: Answer) -> bool:
    """Whether `answer` cannot be the cached copy that `other` was, by their times of expiry.

    Caches serve what is stale with TTL 0 (RFC 8767), so that such an answer is newer than nothing.
    """
    later = answer.expires_earliest_at > other.expires_latest_at + TTL_ROUNDING_SECONDS
    return later and not answer.stale


def is_retried(result: CallResult) -> bool:
    """Whether another call may turn this failure into an acknowledgement."""
    if result.error_type == "status":
        status_code = result.status_code or 0
        return not 400 <= status_code < 500 or status_code in RETRIED_STATUS_CODES
    return result.error_type not in NEVER_RETRIED


def backoff_seconds(broadcast: Broadcast, attempts: int, retry_after: float | None) -> float:
    """The wait after so many failed calls; a Retry-After raises it, up to the maximum."""
    doubled = broadcast.backoff_initial_seconds * 2.0 ** min(attempts - 1, 60)
    return min(max(doubled, retry_after or 0.0), broadcast.backoff_max_seconds)


def pause_seconds(questions: int) -> float:
    """The wait before the next question, after so many in a row that gave nothing to do."""
    return min(ASK_AGAIN_SECONDS * 2.0 ** min(questions - 1, 10), ASK_AGAIN_MAX_SECONDS)
