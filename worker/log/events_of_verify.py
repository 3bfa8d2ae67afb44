"""The part of the table of events that is about `verify`."""

from __future__ import annotations

from worker.log import fields, sentences
from worker.log.event_type import EventType
from worker.log.fields import Field

POLLS = Field("polls", "integer", "how many polls there were so far", 1, "calls")
MISSING = fields.ERROR_MESSAGE._replace(
    meaning="what the last poll lacked",
    example='expected /hash to be "9f2c", got "41d0"',
    when="a poll did not hold",
)
EVENTS_OF_VERIFY = (
    EventType(
        "verify.waiting",
        ("info",),
        "An endpoint took the request, and its first poll of `verify` did not hold. The polls that "
        "follow have no line of their own.",
        (*fields.ENDPOINT, POLLS, MISSING._replace(when="")),
        lambda e: f"{sentences.endpoint(e)} is not verified yet: {e['error_message']}",
    ),
    EventType(
        "verify.succeeded",
        ("info",),
        "A poll of `verify` held: the endpoint has acknowledged.",
        (
            *fields.ENDPOINT,
            POLLS._replace(example=4),
            Field(
                "verified_seconds",
                "number",
                "the time since its call succeeded",
                3.041877,
                "seconds",
            ),
        ),
        lambda e: f"{sentences.endpoint(e)} is verified after {e['verified_seconds']:.1f} s",
    ),
    EventType(
        "verify.failed",
        ("error",),
        "No poll of `verify` held within its time.",
        (
            *fields.ENDPOINT,
            POLLS._replace(example=57),
            fields.CALL_ERROR._replace(example="not_verified"),
            MISSING,
        ),
        lambda e: (
            f"{sentences.endpoint(e)} was not verified in time"
            + (f": {e['error_message']}" if e.get("error_message") else "")
        ),
    ),
)
