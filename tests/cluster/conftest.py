"""What the tests on a cluster share. IMAGE names the worker's image, which the nodes have already,
as they have the example's python:3.13-slim.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.example import Example

Examples = Callable[..., Example]


@pytest.fixture(scope="module", autouse=True)
def beside_others(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keeps what changes the whole cluster, a module with ALONE, apart from all other modules, and
    from those of another run.
    """
    kind = fcntl.LOCK_EX if getattr(request.module, "ALONE", False) else fcntl.LOCK_SH
    with Path(os.environ["KUBECONFIG"].partition(os.pathsep)[0]).open() as file:
        fcntl.flock(file, kind)
        yield


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    """Applies the example overlay in a namespace of that name, for as long as the module lasts."""
    with ExitStack() as stack:

        def examples(name: str, **cronjob: Any) -> Example:
            directory = tmp_path_factory.mktemp(name)
            return stack.enter_context(Example(name, directory, **cronjob))

        yield examples
