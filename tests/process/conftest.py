"""What most tests of the whole program stand on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods
from tests.loopback.program import Finished, run_worker

Run = Callable[..., Finished]

HERE = Path(__file__).parent
LAST = "test_every_field_of_the_page_was_seen"
PARTIAL = pytest.StashKey[str]()  # why not every test of this suite runs, or nothing
_deselected: list[str] = []


def pytest_deselected(items: list[pytest.Item]) -> None:
    _deselected.extend(item.name for item in items if item.path.parent == HERE)


@pytest.hookimpl(trylast=True)  # when others have deselected
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the test that looks back on all the others last."""
    items.sort(key=lambda item: item.name == LAST)
    missing = set(HERE.glob("test_*.py")) - {item.path for item in items}
    reasons = [f"{_deselected[0]} does not"] if _deselected else []
    reasons += [f"{path.name} does not" for path in missing]
    reasons += [f"{argument} alone was asked for" for argument in config.args if "::" in argument]
    config.stash[PARTIAL] = reasons[0] if reasons else ""


@pytest.fixture
def nameserver() -> Iterator[Nameserver]:
    with Nameserver() as server:
        yield server


@pytest.fixture
def three_pods(nameserver: Nameserver) -> Iterator[Pods]:
    """Pods that `web` resolves to in every search list."""
    with Pods(3) as pods:
        nameserver.set("web.default.svc.cluster.local", *pods.addresses)
        yield pods


@pytest.fixture
def run(tmp_path: Path, nameserver: Nameserver) -> Run:
    """Runs a configuration against the nameserver."""

    def run(config: str | Path, *arguments: str, **settings: Any) -> Finished:
        settings.setdefault("nameserver", nameserver)
        return run_worker(tmp_path, config, *arguments, **settings)

    return run
