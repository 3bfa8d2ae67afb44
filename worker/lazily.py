"""asyncio, which structlog imports and this program never uses, is loaded when somebody uses it.

It is a twentieth of the way to the first packet: docs/decisions/0014-before-the-first-packet.md.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


def import_lazily(name: str) -> None:
    """Puts a stand-in for the module, which imports it when it is asked for anything.

    Not importlib.util.LazyLoader: that one loads the module at its second `import`.
    """
    stand_in = ModuleType(name)

    def get(attribute: str) -> Any:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in.__getattr__ = get  # type: ignore[method-assign]
    sys.modules[name] = stand_in
