"""The long tests of the simulation are not measured for coverage: that takes half their time. What
they reach, tests of the rounds reach as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import coverage
import pytest


@pytest.fixture
def unmeasured() -> Iterator[None]:
    measuring = coverage.Coverage.current()
    if measuring is None:
        yield
        return
    measuring.stop()
    yield
    measuring.start()
