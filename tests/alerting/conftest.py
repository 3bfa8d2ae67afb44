"""One Loki for rules evaluated at chosen times, filled once; and the chain that tells somebody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.alerting.runs import Recorded, record
from tests.alerting.servers import Loki


@pytest.fixture(scope="session")
def runs() -> Mapping[str, Recorded]:
    return record()


@pytest.fixture(scope="session")
def loki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loki]:
    """Without rules: its ruler has nothing to do."""
    with Loki(tmp_path_factory.mktemp("loki")) as loki:
        yield loki
