"""What the table of events says of one kind of event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from worker.log import fields
from worker.log.fields import Field, Value
from worker.log.sentences import Event


class EventType(NamedTuple):
    """One kind of event.

    `description` says when it is written. `message` makes the sentence for a person from the
    event's fields. `example` is what an example line has in place of the fields' own examples;
    None leaves the field out.
    """

    name: str
    levels: tuple[str, ...]
    description: str
    fields: tuple[Field, ...]
    message: Callable[[Event], str]
    example: Mapping[str, Value | None] = {}
    of_one_broadcast: bool = True

    @property
    def line_fields(self) -> tuple[Field, ...]:
        """All fields of its lines, in the order in which they are documented."""
        if self.of_one_broadcast:
            return (*fields.COMMON, fields.BROADCAST._replace(when=""), *self.fields)
        return (*fields.COMMON, *self.fields)
