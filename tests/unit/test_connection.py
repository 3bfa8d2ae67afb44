"""Time that is up before a wait begins."""

from __future__ import annotations

import time

import pytest

from tests.loopback.pods import Pods
from worker.connection import Connection
from worker.model import Endpoint


def test_no_wait_begins_when_the_time_is_up() -> None:
    with Pods(1) as pods:
        connection = Connection(Endpoint(pods.addresses[0], pods.port), time.monotonic() - 1)
        try:
            with pytest.raises(TimeoutError):
                connection.receive().send(None)
        finally:
            connection.close()
