"""What a second look makes of tests that fail, in runs of pytest by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import second_look
from tests.loopback.program import ROOT

CONFTEST = """\
from tests.second_look import SecondLook

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        file_of = lambda nodeid: nodeid.partition("::")[0]
        config.pluginmanager.register(
            SecondLook(lambda nodeid: file_of(nodeid) if "shared" in nodeid else nodeid)
        )
"""
# What a test does: `first` where it has not run before, `later` where it has.
TESTS = """\
import os
from pathlib import Path
import pytest

def twice(name, first, later="pass"):
    ran = Path(__file__).with_name(f"ran-{{name}}")
    before = ran.exists()
    ran.touch()
    exec(later if before else first)

{tests}
"""
FAIL, CRASH, SKIP = "assert 0, 'no luck'", "os._exit(1)", "pytest.skip()"


# No plugin but the one that distributes tests: they take long to import.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "PYTHONPATH": str(ROOT),
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "yes",
    "PYTEST_PLUGINS": "xdist.plugin",
}


def once(name: str, first: str, later: str = "pass") -> str:
    return f"def test_{name}():\n    twice({name!r}, {first!r}, {later!r})\n"


def run(
    folder: Path, tests: str, *arguments: str, name: str = "test_it.py"
) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / name).write_text(TESTS.format(tests=tests))
    (folder / "pytest.ini").touch()  # no other configuration counts
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", str(folder), *arguments, str(folder)],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def ran(folder: Path) -> set[str]:
    """The tests that were carried out."""
    return {path.name.removeprefix("ran-") for path in folder.glob("ran-*")}


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_test_that_passes_the_second_time_is_named_and_the_run_is_green(
    processes: str, tmp_path: Path
) -> None:
    done = run(tmp_path, once("sound", "pass") + once("shaky", FAIL), "--numprocesses", processes)
    assert done.returncode == 0, done.stdout
    assert done.stdout.rstrip().splitlines()[-1].strip("= ").startswith("1 passed, 1 flaky")
    flaky = second_look.flaky_in(done.stdout)
    assert flaky.startswith("test_it.py::test_shaky (call):")
    assert "no luck" in flaky
    assert "test_sound" not in flaky


def test_a_test_that_fails_again_is_red_and_one_beside_it_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, once("broken", FAIL, FAIL) + once("shaky", FAIL), "--numprocesses=2")
    assert done.returncode == 1, done.stdout
    flaky = second_look.flaky_in(done.stdout)
    assert "test_shaky (call)" in flaky
    assert "test_broken (call)" not in flaky
    assert done.stdout.rstrip().splitlines()[-1].strip("= ").startswith("1 failed, 1 flaky")


def test_a_worker_that_crashed_gets_a_second_look(tmp_path: Path) -> None:
    done = run(tmp_path, once("sound", "pass") + once("crash", CRASH), "--numprocesses=2")
    assert done.returncode == 0, done.stdout
    assert "crashed while running 'test_it.py::test_crash'" in second_look.flaky_in(done.stdout)


TEARDOWN = """\
@pytest.fixture
def shaky_end():
    yield
    twice("end", "assert 0, 'no luck'")

def test_end(shaky_end):
    pass
"""


def test_a_tear_down_that_fails_once_is_flaky_too(tmp_path: Path) -> None:
    done = run(tmp_path, TEARDOWN)
    assert done.returncode == 0, done.stdout
    assert second_look.flaky_in(done.stdout).startswith("test_it.py::test_end (teardown):")


def test_of_a_shared_suite_the_whole_file_runs_again(tmp_path: Path) -> None:
    first = once("first", "pass", "Path(__file__).with_name('ran-again').touch()")
    done = run(tmp_path, first + once("shaky", FAIL), name="test_shared.py")
    assert done.returncode == 0, done.stdout
    assert ran(tmp_path) == {"first", "shaky", "again"}


@pytest.mark.parametrize(
    ("tests", "arguments"),
    [
        # Who witnesses that the second look itself says what is so?
        (once("shaky", FAIL, SKIP), ()),
        (once("shaky", FAIL, CRASH), ()),
        (once("shaky", FAIL, "raise SystemExit(0)"), ()),
        # More than ten are no matter of luck.
        ("".join(once(f"shaky{number}", FAIL) for number in range(11)), ()),
        # What did not run cannot have passed.
        (once("shaky", FAIL) + once("never", "pass"), ("-x",)),
        (once("shaky", FAIL) + once("never", "pass"), ("--numprocesses=2", "-x")),
        (once("crash", CRASH) + once("never", "pass"), ("-n1", "--max-worker-restart=0")),
    ],
    ids=["skipped", "crashed", "exited", "eleven", "cut", "cut, distributed", "no worker left"],
)
def test_a_second_look_does_not_help(
    tests: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = run(tmp_path, tests, *arguments)
    assert done.returncode != 0, done.stdout
    assert "flaky" not in done.stdout


def test_an_error_of_collection_gets_no_second_look(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import nothing_of_that_name\n")
    done = run(tmp_path, once("shaky", FAIL), "--continue-on-collection-errors")
    assert done.returncode != 0, done.stdout
    assert "flaky" not in done.stdout


def test_what_a_test_says_of_tests_that_it_ran_is_named(tmp_path: Path) -> None:
    inner = "def test_inner(record_property):\n    record_property('flaky', 'inner::test_a')\n"
    done = run(tmp_path, inner, "--numprocesses=2")
    assert done.returncode == 0, done.stdout
    assert second_look.flaky_in(done.stdout).startswith(
        "in test_it.py::test_inner:\ninner::test_a\n"
    )
