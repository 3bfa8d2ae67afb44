"""Which suites run, in which order and on how many workers, and what is said about them.

Suites that need something a machine may lack are skipped there, and named first and last.
`REQUIRE=docs,manifests,container,cluster,alerting,servers` in the environment makes the lack a
failure.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest

from tests import second_look
from tests.cluster import kubernetes
from tests.container import daemon
from tests.servers import programs

TESTS = Path(__file__).parent

pytest.register_assert_rewrite("tests.process.logbook")  # so that it shows what differs

# The same examples each time, and as slowly as a busy machine needs them: what fails is a fault.
# `make simulate` looks for new ones.
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")


def _answers(*command: str) -> str | None:
    """Why the command cannot be carried out, or None."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        return f"there is no {command[0]}"
    except subprocess.TimeoutExpired:
        return f"`{' '.join(command)}` does not end"
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return f"`{' '.join(command)}` says: {lines[-1]}" if done.returncode else None


def _lacks_cluster() -> str | None:
    for name, what in (("KUBECONFIG", "no cluster"), ("IMAGE", "no image that the cluster has")):
        if not os.environ.get(name):
            return f"{name} names {what}"
    return _answers("kubectl", "get", "--raw", "/readyz")


def _lacks_tools() -> str | None:
    lacks = (_answers(name, version) for name, version in TOOLS.items())
    return next((lack for lack in lacks if lack), None)


# What the commands in the documentation need, and how it says that it is there.
TOOLS = {"dig": "-v", "curl": "--version", "jq": "--version"}


PROGRAMS = (
    *("prometheus-alertmanager", "amtool", "prometheus", "promtool", "node", "npm"),
    *("curl", "jq", "kubectl"),
)


def _lacks_alerting() -> str | None:
    """Loki is in no distribution's packages: the environment names it."""
    loki = os.environ.get("LOKI")
    if not loki:
        return "LOKI names no program"
    missing = [name for name in (loki, *PROGRAMS) if shutil.which(name) is None]
    return f"there is no {', '.join(missing)}" if missing else None


class Suite(NamedTuple):
    """A folder of tests. `seconds`: about how long it takes by itself on two processors.

    `shares`: its tests use one server or folder, so that one worker runs all files of a share, in
    their order; a file that no share names is in the first. `needs` says what the machine lacks, or
    None.
    """

    seconds: int
    waits: bool = False  # most of the time, so that more workers than processors help
    shares: tuple[frozenset[str], ...] = ()
    needs: Callable[[], str | None] | None = None

    @property
    def shared(self) -> bool:
        return bool(self.shares)

    def lack(self) -> str | None:
        return self.needs() if self.needs else None

    def share_of(self, file: str) -> int:
        """The number of the share that the file is in."""
        return next((n for n, files in enumerate(self.shares) if file in files), 0)


ALL: frozenset[str] = frozenset()  # the one share of a suite


# In the order in which they begin: the longest first, so that none is left over for the end.
SUITES = {
    "cluster": Suite(
        270,
        waits=True,
        shares=(
            ALL,
            frozenset({"test_deadline.py", "test_docs.py", "test_example.py", "test_failures.py"}),
        ),
        needs=_lacks_cluster,
    ),
    "alerting": Suite(90, waits=True, shares=(ALL,), needs=_lacks_alerting),
    "container": Suite(300, waits=True, needs=lambda: _answers("docker", "version")),
    "process": Suite(130, waits=True),
    "servers": Suite(40, waits=True, needs=programs.lack),
    "docs": Suite(40, waits=True, shares=(ALL,), needs=_lacks_tools),
    "simulation": Suite(50),
    "manifests": Suite(15, needs=lambda: _answers("kubectl", "kustomize", "--help")),
    "unit": Suite(15),
}
LACKS = pytest.StashKey[dict[str, str]]()  # why a suite does not run


def _required() -> set[str]:
    return {name for name in os.environ.get("REQUIRE", "").split(",") if name}


def _asked(config: pytest.Config) -> list[str]:
    """The suites that the arguments name, which without any are all."""
    asked = [Path(config.invocation_params.dir, each.partition("::")[0]) for each in config.args]
    return [
        name
        for name in SUITES
        if any(
            path.is_relative_to(TESTS / name) or TESTS.is_relative_to(path)
            for path in map(Path.resolve, asked)
        )
    ]


def _is_worker(config: pytest.Config) -> bool:
    """Whether this is one of the processes to which the tests are distributed."""
    return hasattr(config, "workerinput")


def _is_first_process(config: pytest.Config) -> bool:
    """Whether this process answers for the whole run: no worker, and no second look."""
    return not _is_worker(config) and second_look.PASSED_FILE not in os.environ


def _runs(suite: str, config: pytest.Config) -> bool:
    return suite in {*_asked(config)} - {*config.stash.get(LACKS, {})}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shuffle", metavar="SEED", help="run the tests in a random order")
    parser.addoption(
        "--half",
        type=int,
        choices=(0, 1),
        help="run every second test of the process suite: the first and so on, or the second",
    )


def _selection(nodeid: str) -> str:
    """What has to run so that this test does: of a shared suite its file."""
    return nodeid.partition("::")[0] if SUITES[_suite_of(nodeid)].shared else nodeid


def pytest_configure(config: pytest.Config) -> None:
    if not _is_worker(config):
        config.pluginmanager.register(second_look.SecondLook(_selection))
    possible = [name for name, suite in SUITES.items() if suite.needs]
    unknown = _required() - {*possible}
    if unknown:
        raise pytest.UsageError(
            f"REQUIRE={','.join(sorted(unknown))}: no such suite; there are {', '.join(possible)}"
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For `--numprocesses auto`. One worker for each share of a suite comes on top."""
    suites = [SUITES[name] for name in _asked(config)]
    processors = len(os.sched_getaffinity(0))
    usual = processors * 2 if any(suite.waits for suite in suites) else processors
    return usual + sum(len(suite.shares) for suite in suites)


def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if _is_worker(config):
        lacks = config.workerinput["lacks"]  # type: ignore[attr-defined]
    else:
        lacks = {name: lack for name in _asked(config) if (lack := SUITES[name].lack())}
    config.stash[LACKS] = lacks
    if _is_first_process(config) and _runs("container", config):
        daemon.remove_left_over()
    if _is_first_process(config) and _runs("cluster", config):
        kubernetes.remove_left_over()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """The workers need not find out for themselves."""
    node.workerinput["lacks"] = node.config.stash[LACKS]


def pytest_report_header(config: pytest.Config) -> list[str]:
    lines = ["suites, and about how long each takes by itself on two processors:"]
    for name in _asked(config):
        lack = config.stash[LACKS].get(name)
        seconds = SUITES[name].seconds
        about = f"{seconds} s" if seconds < 100 else f"{seconds / 60:.0f} min"
        lines.append(f"  {name:11} {f'does not run: {lack}' if lack else about}")
    return lines


def _suite(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def _is_alone(item: pytest.Item) -> bool:
    """Whether no other test of its suite may run beside it: it comes last. The suite sees to it."""
    return getattr(item.getparent(pytest.Module).obj, "ALONE", False)  # type: ignore[union-attr]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if seed := config.getoption("shuffle"):
        places: defaultdict[object, float] = defaultdict(random.Random(seed).random)
        # A page's commands build on each other: the modules of a shared suite stay as they are.
        items.sort(key=lambda i: places[i.path if SUITES[_suite(i)].shared else i.nodeid])
    else:
        order = list(SUITES)
        items.sort(key=lambda item: (order.index(_suite(item)), _is_alone(item)))
    if (half := config.getoption("half")) is not None:
        process = [item for item in items if _suite(item) == "process"]
        left_out = {*process[1 - half :: 2]}
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Deals out the tests in their order, one by one, but each share of a suite as a whole."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
        def _split_scope(self, nodeid: str) -> str:
            name = _suite_of(nodeid)
            suite = SUITES[name]
            file = nodeid.partition("::")[0].rpartition("/")[2]
            return f"{name} {suite.share_of(file)}" if suite.shared else nodeid

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    suite = _suite(item)
    lack = item.config.stash[LACKS].get(suite)
    if lack and suite in _required():
        pytest.fail(f"REQUIRE={suite}, but {lack}", pytrace=False)
    if lack:
        pytest.skip(f"the {suite} suite: {lack}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """When the workers have ended, and the second look has."""
    if _is_first_process(config) and _runs("container", config):
        daemon.remove_all()


def _suite_of(nodeid: str) -> str:
    return nodeid.split("/")[1]


def _by_suite(reports: Iterable[object]) -> dict[str, list[pytest.TestReport]]:
    """Every report of a test, its set-up and its tear-down."""
    suites: dict[str, list[pytest.TestReport]] = defaultdict(list)
    for report in reports:
        if isinstance(report, pytest.TestReport):
            suites[_suite_of(report.nodeid)].append(report)
    return suites


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    stats = terminalreporter.stats
    terminalreporter.section("how long each suite took")
    for suite, reports in sorted(_by_suite(chain.from_iterable(stats.values())).items()):
        within = max(report.stop for report in reports) - min(report.start for report in reports)
        total = sum(report.duration for report in reports)
        terminalreporter.write_line(f"{suite}: {within:.0f} s, for {total:.0f} s of tests")
    lacks = config.stash[LACKS]
    if lacks:
        terminalreporter.section("suites that did not run")
        for suite, lack in lacks.items():
            terminalreporter.write_line(f"{suite}: {lack}")
        terminalreporter.write_line(f"REQUIRE={','.join(lacks)} makes this a failure")
