"""A module with a stand-in is loaded by whoever uses it, and by nobody else."""

from __future__ import annotations

import subprocess
import sys

from tests.loopback.program import ROOT
from worker.lazily import import_lazily


def test_a_stand_in_loads_its_module_when_it_is_asked_for_something() -> None:
    import_lazily("colorsys")
    import colorsys as stand_in

    assert sys.modules["colorsys"] is stand_in
    assert stand_in.rgb_to_hsv(1, 0, 0) == (0, 1, 1)
    import colorsys as loaded

    assert loaded is not stand_in
    assert loaded.__file__
    assert stand_in.hsv_to_rgb is loaded.hsv_to_rgb
    assert sys.modules["colorsys"] is loaded


def test_from_import_and_submodules_of_a_stand_in_work() -> None:
    import_lazily("xmlrpc")
    import xmlrpc.client
    from xmlrpc.client import loads

    assert xmlrpc.client.loads is loads


def test_the_program_does_not_load_asyncio() -> None:
    line = [sys.executable, "-X", "importtime", "-m", "worker", "--version"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "structlog.stdlib" in done.stderr
    assert "asyncio" not in done.stderr
