"""The rules of delivery that need no books: what is retried, and how long to wait."""

from __future__ import annotations

from worker.model import ASK_AGAIN_SECONDS, Broadcast, CallResult
from worker.words import CALL_ERRORS

# Without a cache, a newcomer is found within this time. That costs 12 questions a minute.
ASK_AGAIN_MAX_SECONDS = 5.0
# A question about 4,000 pods takes 100 ms of work; once a second, that is a tenth of the time.
QUESTIONS_SHARE = 0.1
# The Kubernetes API lists 150,000 pods in seconds, most of which are work of this process. As long
# as somebody waits for the next answer, they may be half of the time.
DUE_QUESTIONS_SHARE = 0.5
SHARING = 0.05  # of `backoff.initial`: so much later than its own time may a call be repeated
# A broadcast without an answer keeps the next one from beginning for so long.
HOLDS_UP_SECONDS = 1.0
RETRIED_STATUS_CODES = frozenset({408, 425, 429})  # the 4xx that may go away with time


def is_retried(result: CallResult) -> bool:
    """True if another call may turn this failure into an acknowledgement."""
    if result.error_type == "status":
        status_code = result.status_code or 0
        return not 400 <= status_code < 500 or status_code in RETRIED_STATUS_CODES
    return result.error_type is not None and CALL_ERRORS[result.error_type].retried


def was_connected(result: CallResult) -> bool:
    """True if the pod accepted the connection, as far as the result shows."""
    return result.error_type is None or CALL_ERRORS[result.error_type].shows != "no_connection"


def backoff_seconds(broadcast: Broadcast, attempts: int, retry_after: float | None) -> float:
    """The wait after so many failed calls; a Retry-After raises it, up to the maximum."""
    doubled = broadcast.backoff_initial_seconds * 2.0 ** min(attempts - 1, 60)
    return min(max(doubled, retry_after or 0.0), broadcast.backoff_max_seconds)


def shortest_gap_seconds(took_seconds: float) -> float:
    """The least time between two questions where nothing else forbids the second one."""
    return min(took_seconds / QUESTIONS_SHARE, ASK_AGAIN_SECONDS)


def sharing_seconds(broadcast: Broadcast) -> float:
    """The time that a question waits for those who are due soon after the first one.

    Pods that failed together are due together, but for the milliseconds between their failures.
    """
    return SHARING * broadcast.backoff_initial_seconds


def gap_seconds(broadcast: Broadcast, took_seconds: float) -> float:
    """The least time between two questions, of which the first took so long.

    Those who are due within `backoff.initial` share a question.
    """
    shared = min(broadcast.backoff_initial_seconds, ASK_AGAIN_SECONDS)
    if broadcast.discovery == "endpointslices":
        shared = max(shared, took_seconds / DUE_QUESTIONS_SHARE)
    return max(shared, shortest_gap_seconds(took_seconds))


def pause_seconds(questions: int, took_seconds: float = 0.0) -> float:
    """The wait before the next question, after so many in a row that gave nothing to do.

    `took_seconds`: of the last one, where that is work which calls have to wait for.
    """
    pause = min(ASK_AGAIN_SECONDS * 2.0 ** min(questions - 1, 10), ASK_AGAIN_MAX_SECONDS)
    return max(pause, took_seconds / QUESTIONS_SHARE)
