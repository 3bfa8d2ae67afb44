"""The simulation finds broken decisions: a history shows each broken rule of broken.py.

The search takes minutes for all of them. `make simulate` does it, and stores what it finds.
"""

from __future__ import annotations

import pytest

from tests.simulation.broken import BROKEN, shows
from tests.simulation.found import HISTORIES


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(name: str) -> None:
    assert shows(name, HISTORIES[name]), "make simulate HISTORIES=0 looks for another history"


def test_no_history_is_stored_for_what_is_not_broken_here() -> None:
    assert HISTORIES.keys() == BROKEN.keys()
