"""Broadcasts for tests: what is not named is as in a configuration with name and url alone."""

from __future__ import annotations

from typing import Any

from worker.config.errors import Place
from worker.config.url import ServiceUrl
from worker.config.yaml import Node
from worker.model import Broadcast, Exchange, Url, Verify


def broadcast(url: str = "http://web:8080/clear", name: str = "clear", **fields: Any) -> Broadcast:
    """`fields` are those of a Broadcast or of its Exchange."""
    exchange = Exchange(parsed(url))
    return changed(Broadcast(name, exchange), **fields)


def verified(url: str = "http://web:8080/config", **times: float) -> Verify:
    """`times` are `every_seconds` and `within_seconds`."""
    return Verify(Exchange(parsed(url), method="GET"), **times)


def parsed(text: str) -> Url:
    return ServiceUrl().read(Node(Place(), text))


def changed(before: Broadcast, **fields: Any) -> Broadcast:
    """The broadcast with other fields, be they its own or its Exchange's."""
    own = {name: value for name, value in fields.items() if name in Broadcast._fields}
    others = {name: value for name, value in fields.items() if name not in own}
    return before._replace(**{"exchange": before.exchange._replace(**others)} | own)
