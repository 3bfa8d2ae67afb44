"""What the tests on a cluster share. IMAGE names the worker's image, which the nodes have already,
as they have the example's python:3.13-slim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.cluster.example import Example

Examples = Callable[..., Example]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    """Applies the example overlay in a namespace of that name, for as long as the module lasts."""
    with ExitStack() as stack:

        def examples(name: str, **cronjob: Any) -> Example:
            directory = tmp_path_factory.mktemp(name)
            return stack.enter_context(Example(name, directory, **cronjob))

        yield examples
