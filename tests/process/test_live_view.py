"""The whole program as a person watches it: on a terminal, without one, and without rich."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods, raw, reply, silent
from tests.loopback.program import ROOT
from tests.loopback.terminal import Terminal
from tests.process.conftest import Run
from tests.process.test_secrets import CRASH
from worker import __version__

WEB = "web.default.svc.cluster.local"
STARTED = f"TIME info    pod-broadcast {__version__}: 1 broadcast"
CONTROL_C, CONTROL_S = b"\x03", b"\x13"
ESCAPE = b"\x1b"
FRAME = b"\r\x1b[J"
COLOUR = re.compile(rb"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")
RICH_IS_MISSING = "raise ModuleNotFoundError('No module named rich', name='rich')"
SCREEN_ENDS_THE_PROGRAM = """
import os, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "worker.terminal.screen":
            os._exit(99)
sys.meta_path.insert(0, Finder())
"""

OnTerminal = Callable[..., Terminal]
PythonPath = Callable[[str, str], dict[str, str]]


def config(pods: Pods, more: str = "", name: str = "clear", service: str = "web") -> str:
    return (
        f"- name: {name}\n  url: http://{service}:{pods.port}/\n"
        f"  attempts: 1\n  settle: 0s\n  concurrency: 1\n{more}"
    )


def stable(lines: list[str]) -> list[str]:
    """Without the times, which differ from run to run."""
    lines = [re.sub(r"^\d\d:\d\d:\d\d\.\d{3} ", "TIME ", line) for line in lines]
    lines = [re.sub(r"^ ─+$", " RULE", line) for line in lines]
    lines = [re.sub(r" deadline in [45]:\d\d$", " deadline in T", line) for line in lines]
    return [re.sub(r" \d+\.\d s$", " N s", line) for line in lines]


def shows(text: str) -> Callable[[list[str]], bool]:
    return lambda lines: any(text in line for line in lines)


@pytest.fixture
def on_terminal(tmp_path: Path, nameserver: Nameserver) -> OnTerminal:
    def on_terminal(config: str, *arguments: str, **settings: Any) -> Terminal:
        return Terminal(tmp_path, config, *arguments, nameserver=nameserver, **settings)

    return on_terminal


@pytest.fixture
def python_path(tmp_path: Path) -> PythonPath:
    """Returns an environment in which a module of this name has this content."""

    def python_path(name: str, source: str) -> dict[str, str]:
        (tmp_path / f"{name}.py").write_text(source)
        return {"PYTHONPATH": f"{tmp_path}:{ROOT}"}

    return python_path


# A status without a hint.
TEAPOT = HTTPStatus(418).phrase


def test_the_live_line_counts_while_a_pod_keeps_the_run_waiting_and_failures_stand_above_it(
    on_terminal: OnTerminal, three_pods: Pods
) -> None:
    gate = three_pods.gate()
    three_pods[1].script(reply(418))
    three_pods[2].script(reply(after=gate))
    failed = f"TIME error   clear: {three_pods.endpoints[1]}: answered 418 {TEAPOT}; "
    with on_terminal(config(three_pods), columns=140) as terminal:
        lines = terminal.wait_for("two results", shows("1 of 3, 1 failed"))
        bar = "━" * 6 + "╍" * 7 + "─" * 7
        assert stable(lines) == [
            STARTED,
            f"{failed}not called again",
            f"  clear {bar} 1 of 3, 1 failed  deadline in T",
            "  calling",
        ]
        gate.open()
        assert terminal.finish() == 3
        assert not terminal.cursor_hidden
        assert stable(terminal.shown) == [
            STARTED,
            f"{failed}not called again",
            f"TIME error   clear: {three_pods.endpoints[1]} was missed after 1 call: status: "
            f"answered 418 {TEAPOT}",
            "  clear ━━━━━━━━━━━━━╍╍╍╍╍╍╍ partial, 2 of 3  N s",
            "",
            " broadcast   outcome   endpoints   failures",
            " RULE",
            f" clear       partial   2 of 3      1 status 418: {three_pods.endpoints[1]}",
            "",
            "TIME error   partial, exit code 3: 2 of 3 endpoints acknowledged, 1 failed",
        ]


def test_broadcasts_that_overlap_have_a_line_each_while_they_run(
    on_terminal: OnTerminal, three_pods: Pods
) -> None:
    gate = three_pods.gate()
    three_pods[1].script(reply(503), reply(after=gate), reply(after=gate))
    both = config(three_pods) + config(three_pods, name="reload")
    with on_terminal(both.replace("attempts: 1", "attempts: 2")) as terminal:
        lines = terminal.wait_for("both", lambda lines: shows("1 of 3")(lines[-1:]))
        assert [re.sub("━+─+ ", "", line.partition(",")[0]) for line in lines[-2:]] == [
            "  clear  2 of 3",
            "  reload 1 of 3",
        ]
        gate.open()
        assert terminal.finish() == 0
        assert {line for line in stable(terminal.shown) if re.match("  [a-z]", line)} == {
            f"  clear  {'━' * 20} complete, 3 of 3  N s",
            f"  reload {'━' * 20} complete, 3 of 3  N s",
        }


def config_of_every_outcome(pods: Pods) -> str:
    """Complete; partial; failed with a hint."""
    return (
        config(pods)
        + config(pods, name="reload", service="half")
        + config(pods, name="purge", service="nowhere")
    )


@pytest.fixture
def of_every_outcome(nameserver: Nameserver) -> Iterator[Pods]:
    """Five pods behind `half`, of which four fail. The first one is also behind `web`."""
    with Pods(5) as pods:
        for number in range(1, 5):
            pods[number].script(reply(503))
        pods.die(pods.addresses[4])
        nameserver.set(WEB, pods.addresses[0])
        nameserver.set("half.default.svc.cluster.local", *pods.addresses)
        yield pods


UNCONFIRMED = "not confirmed by a newer answer"
SET_SETTLE = "settle is 0s, so nothing was confirmed: set settle to more than a DNS cache's TTL"
NO_PODS = "NXDOMAIN: no ready pods, or no such Service"
HINT = (
    "does the Service's selector match pods, are they ready, is the name right? "
    "kubectl get endpointslices -l kubernetes.io/service-name=nowhere"
)


def failures(pods: Pods) -> tuple[str, str]:
    first, second, third, last = pods.endpoints[1:]
    return f"3 status 503: {first}, {second}, {third}", f"1 connect_refused: {last}"


def what_a_terminal_shows(pods: Pods, width: int) -> list[str]:
    """The table of three broadcasts."""
    statuses, refused = failures(pods)
    return [
        "",
        f" broadcast   outcome    endpoints   {'failures':<{width}}   hint",
        " RULE",
        f" clear       complete   1 of 1      {UNCONFIRMED:<{width}}   {SET_SETTLE}",
        f" reload      partial    1 of 5      {statuses}",
        f"                                    {refused}",
        f" purge       failed     0 of 0      {'no_pods: ' + NO_PODS:<{width}}   {HINT}",
        "",
    ]


LAST = "TIME error   failed, exit code 4: 1 of 3 broadcasts complete"


def test_at_the_end_there_is_a_table_of_broadcasts_with_failures_and_hints(
    on_terminal: OnTerminal, of_every_outcome: Pods
) -> None:
    pods = of_every_outcome
    with on_terminal(config_of_every_outcome(pods), columns=300) as terminal:
        assert terminal.finish() == 4
        shown = stable(terminal.shown)
        assert shown[-9:] == [
            *what_a_terminal_shows(pods, width=max(map(len, [*failures(pods), NO_PODS]))),
            LAST,
        ]
        # As they end, while the table is in the order in which they began.
        # Names are aligned with those of the broadcasts that have begun.
        finished = [re.sub(" +[━╍─]", lambda m: m[0][-2:], line) for line in shown]
        assert {line for line in finished if re.match("  [a-z]", line)} == {
            f"  clear {'━' * 20} complete, 1 of 1  N s",
            f"  reload {'━' * 4}{'╍' * 16} partial, 1 of 5  N s",
            f"  purge {'─' * 20} failed, 0 of 0  N s",
        }
        assert terminal.raw.count(b"\x1b[?25") == 0  # the cursor is never hidden


def test_without_a_terminal_there_are_plain_lines_and_the_same_table(
    run: Run, of_every_outcome: Pods
) -> None:
    pods = of_every_outcome
    statuses, refused = failures(pods)
    width = max(map(len, (statuses, f"no_pods: {NO_PODS}")))
    finished = run(config_of_every_outcome(pods), "--log-format", "console")
    assert (finished.exit_code, finished.stderr) == (4, "")
    lines = stable(finished.stdout.splitlines())
    assert lines[:2] == [
        STARTED.replace("1 broadcast", "3 broadcasts"),
        f"TIME info    clear: POST http://web:{pods.port}/, at most 1 call at once",
    ]
    assert lines[-8:] == [
        "",
        f"broadcast  outcome   endpoints  {'failures':<{width}}  hint",
        f"clear      complete  1 of 1     {UNCONFIRMED:<{width}}  {SET_SETTLE}",
        f"reload     partial   1 of 5     {statuses}",
        f"                                {refused}",
        f"purge      failed    0 of 0     {'no_pods: ' + NO_PODS:<{width}}  {HINT}",
        "",
        LAST,
    ]
    assert "\x1b" not in finished.stdout


def test_with_a_log_level_of_error_the_live_view_counts_what_it_does_not_print(
    on_terminal: OnTerminal, three_pods: Pods
) -> None:
    gate = three_pods.gate()
    three_pods[1].script(reply(503), reply())
    three_pods[2].script(reply(after=gate))
    retried = config(three_pods).replace("attempts: 1", "attempts: 2")
    with on_terminal(retried, "--log-level", "error") as terminal:
        terminal.wait_for("a result", shows("1 of 3, 0 failed"))
        terminal.wait_for("a failure", shows("failed calls are repeated in"))
        gate.open()
        assert terminal.finish() == 0
        assert not [line for line in terminal.shown if "warning" in line and "call" in line]
        assert stable(terminal.shown)[:2] == [STARTED, f"  clear {'━' * 20} complete, 3 of 3  N s"]


@pytest.mark.parametrize(
    ("environment", "escapes", "colours"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, False, False),
        ({"TERM": ""}, False, False),
    ],
)
def test_colour_follows_no_color_and_the_terminal(
    environment: dict[str, str],
    escapes: bool,
    colours: bool,
    on_terminal: OnTerminal,
    three_pods: Pods,
) -> None:
    three_pods[1].script(reply(503))
    with on_terminal(config(three_pods), environment=environment) as terminal:
        assert terminal.finish() == 3
        assert (ESCAPE in terminal.raw, bool(COLOUR.search(terminal.raw))) == (escapes, colours)
        assert shows("partial, exit code 3: 2 of 3")(terminal.shown)


def test_a_terminal_of_ascii_gets_a_bar_of_ascii(on_terminal: OnTerminal, three_pods: Pods) -> None:
    three_pods[1].script(reply(503))
    latin = {"PYTHONIOENCODING": "ascii"}
    with on_terminal(config(three_pods), environment=latin) as terminal:
        assert terminal.finish() == 3
        assert terminal.raw.isascii()
        assert f"  clear {'#' * 13}{'x' * 7} partial, 2 of 3  N s" in stable(terminal.shown)


@pytest.mark.parametrize("columns", [0, 5, 20, 40, 59, 60, 80, 119, 120])
def test_at_any_width_the_live_part_is_two_lines_and_nothing_is_left_out_of_the_end(
    columns: int, on_terminal: OnTerminal, of_every_outcome: Pods
) -> None:
    pods = of_every_outcome
    gate = pods.gate()
    pods[0].script(reply(), reply(after=gate))
    config = config_of_every_outcome(pods)
    with on_terminal(config, columns=columns, lines=50) as terminal:
        terminal.wait_for("a live line", shows("calling"[: max(columns - 4, 0) or 9]))
        for live in frames(terminal.raw):
            assert len(live) <= 2
            assert all(len(line) < (columns or 80) for line in live), live
        gate.open()
        assert terminal.finish() == 4
        end = re.sub(r"\s", "", "".join(terminal.shown).split("purge")[-1])
        for text in ("failed", "0of0", "exitcode4", *NO_PODS.split(), *HINT.split()):
            assert text in end


def test_a_terminal_of_one_line(on_terminal: OnTerminal, three_pods: Pods) -> None:
    gate = three_pods.gate()
    three_pods[1].script(reply(after=gate))
    with on_terminal(config(three_pods), lines=1) as terminal:
        terminal.wait_for("a result", shows("1 of 3, 0 failed"))
        gate.open()
        assert terminal.finish() == 0
        assert len([line for line in terminal.shown if line.startswith("  clear")]) == 1


def frames(raw: bytes) -> list[list[str]]:
    """The two live lines of each frame that has two."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", raw.decode())
    parts = [frame for frame in text.split("\r\x1b[J") if frame.endswith("\r\x1b[1A")]
    return [part.removesuffix("\r\x1b[1A").split("\r\n")[-2:] for part in parts]


def test_a_terminal_is_resized_while_the_run_goes_on(
    on_terminal: OnTerminal, three_pods: Pods
) -> None:
    gate = three_pods.gate()
    three_pods[1].script(reply(after=gate))
    with on_terminal(config(three_pods)) as terminal:
        terminal.wait_for("a result", shows("1 of 3, 0 failed"))
        terminal.resize(50, 10)
        terminal.wait_for("a shorter line", shows("1 of 3, 0 failed"))
        terminal.resize(90, 5)
        terminal.wait_for("a longer line", shows("1 of 3, 0 failed"))
        terminal.resize(90, 20)
        gate.open()
        assert terminal.finish() == 0
        assert len([line for line in terminal.shown if "complete, 3 of 3" in line]) == 1


def test_control_c_leaves_a_whole_report_and_the_cursor(
    on_terminal: OnTerminal, three_pods: Pods
) -> None:
    gate = three_pods.gate()
    three_pods[1].script(reply(after=gate))
    with on_terminal(config(three_pods)) as terminal:
        terminal.wait_for("a result", shows("1 of 3, 0 failed"))
        terminal.type(CONTROL_C)
        terminal.wait_for("the stop", shows("stopping after SIGINT: calls in flight may end"))
        gate.open()
        assert terminal.finish() == 130
        assert not terminal.cursor_hidden
        assert stable(terminal.shown)[1:] == [
            "TIME warning SIGINT: no new calls from here on",
            f"TIME error   clear: {three_pods.endpoints[2]} was given up without a call: cancelled",
            f"  clear {'━' * 13}{'╍' * 7} partial, 2 of 3  N s",
            "",
            " broadcast   outcome   endpoints   failures",
            " RULE",
            f" clear       partial   2 of 3      1 cancelled: {three_pods.endpoints[2]}",
            f"{' ' * 35}hint: the run was stopped before it was done: run it again (if",
            f"{' ' * 35}Kubernetes stopped it, kubectl describe job and pod say why)",
            "",
            "TIME error   partial, exit code 130: 2 of 3 endpoints acknowledged, 1 cancelled",
        ]


@pytest.mark.parametrize("signals", [1, 2])
def test_the_live_view_does_not_delay_a_stop(
    signals: int, on_terminal: OnTerminal, three_pods: Pods
) -> None:
    three_pods[0].script(silent)
    patient = config(three_pods, "  timeout: 1h\n")
    grace = "200ms" if signals == 1 else "1h"
    with on_terminal(patient, "--grace", grace) as terminal:
        three_pods.wait_for("a request", lambda: three_pods.in_flight == 1)
        terminal.signal(signal.SIGTERM)
        terminal.wait_for("the stop", shows("SIGTERM: no new calls"))
        if signals == 2:
            terminal.signal(signal.SIGTERM)
        assert terminal.finish(timeout=10) == 143
        assert shows("exit code 143: 0 of 3 endpoints")(terminal.shown)


def test_a_run_that_is_killed_leaves_the_terminal_in_order(
    on_terminal: OnTerminal, three_pods: Pods
) -> None:
    three_pods[0].script(silent)
    with on_terminal(config(three_pods)) as terminal:
        terminal.wait_for("the live line", shows("0 of 3, 0 failed"))
        terminal.signal(signal.SIGKILL)
        assert terminal.finish() == -signal.SIGKILL
        assert not terminal.cursor_hidden


def test_a_crash_shows_its_stack_and_what_was_broken_off(
    on_terminal: OnTerminal, three_pods: Pods, python_path: PythonPath
) -> None:
    environment = python_path("sitecustomize", CRASH) | {
        "CRASH": "worker.rounds.ledger:Ledger.record_call",
        "TOKEN": "one",
        "HEADER": "two",
    }
    with on_terminal(config(three_pods), environment=environment, columns=300) as terminal:
        assert terminal.finish() == 1
        shown = stable(terminal.shown)
        assert shown[:2] == [STARTED, "TIME error   clear: this is a bug: RuntimeError: one two"]
        assert shows("in crash")(shown)
        assert shown[-6:] == [
            "",
            " broadcast   outcome      endpoints",
            " RULE",
            " clear       broken off   0 of 3",
            "",
            "TIME error   exit code 1: RuntimeError: one two",
        ]


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_a_configuration_error_is_shown_without_a_table(term: str, on_terminal: OnTerminal) -> None:
    wrong = "- name: Clear\n  url: http://web:80/\n  timout: hunter2\n"
    with on_terminal(wrong, columns=300, environment={"TERM": term}) as terminal:
        assert terminal.finish() == 2
        shown = stable([line.replace(str(terminal.directory), "") for line in terminal.shown])
        name = (
            "/broadcasts.yaml:1:9: broadcasts[0].name: expected a DNS label (a-z, 0-9 and -) such "
            "as clear-web-caches, got Clear"
        )
        assert [line for line in shown if line] == [
            f"TIME error   {name}",
            "TIME error   /broadcasts.yaml:3:3: broadcasts[0].timout: unknown key: did you mean "
            "timeout?",
            f"TIME error   exit code 2: configuration: {name} (and 1 more)",
        ]


def test_a_usage_error_is_shown_on_a_terminal(on_terminal: OnTerminal) -> None:
    with on_terminal("[]", "--grace", "soon") as terminal:
        assert terminal.finish() == 2
        message = "--grace: expected a duration such as 10s, got soon"
        assert stable(terminal.shown) == [
            f"python -m worker: {message}",
            "Try python -m worker --help",
            f"TIME error   exit code 2: {message}",
        ]


def test_a_pods_words_do_not_steer_the_terminal(
    on_terminal: OnTerminal, three_pods: Pods, nameserver: Nameserver
) -> None:
    nameserver.set(WEB, three_pods.addresses[0])
    evil = "[red]\x1b[2J\x1b]0;title\x07 :smile: [/] \u202e".encode()
    three_pods[0].script(raw(b"HTTP/1.1 405 " + evil + b"\r\nAllow: [b]x\\[\r\n\r\n"))
    with on_terminal(config(three_pods), columns=300) as terminal:
        assert terminal.finish() == 4
        shown = "\n".join(terminal.shown)
        assert r"405 [red]\x1b[2J\x1b]0;title\x07 :smile: [/] " in shown
        assert "the pods allow only [b]x\\[: set method" in shown
        assert b"\x1b[2J" not in terminal.raw
        assert b"\x1b]" not in terminal.raw
        assert b"\x07" not in terminal.raw


def test_without_rich_a_terminal_gets_plain_lines(
    on_terminal: OnTerminal, three_pods: Pods, python_path: PythonPath
) -> None:
    with on_terminal(
        config(three_pods), columns=200, environment=python_path("rich", RICH_IS_MISSING)
    ) as terminal:
        assert terminal.finish() == 0
        shown = stable(terminal.shown)
        assert shown[0] == STARTED
        assert shown[-4:] == [
            f"broadcast  outcome   endpoints  {'failures':<{len(UNCONFIRMED)}}  hint",
            f"clear      complete  3 of 3     {UNCONFIRMED}  {SET_SETTLE}",
            "",
            "TIME warning complete, exit code 0: 3 of 3 endpoints acknowledged",
        ]
        assert ESCAPE not in terminal.raw


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_without_a_terminal_nothing_that_draws_is_imported(
    log_format: str, run: Run, three_pods: Pods, python_path: PythonPath
) -> None:
    environment = python_path("sitecustomize", SCREEN_ENDS_THE_PROGRAM)
    finished = run(config(three_pods), "--log-format", log_format, environment=environment)
    assert (finished.exit_code, finished.stderr) == (0, "")


@pytest.mark.parametrize(("log_format", "exit_code"), [("json", 0), ("console", 99)])
def test_on_a_terminal_only_the_live_view_imports_what_draws(
    log_format: str,
    exit_code: int,
    on_terminal: OnTerminal,
    three_pods: Pods,
    python_path: PythonPath,
) -> None:
    environment = python_path("sitecustomize", SCREEN_ENDS_THE_PROGRAM)
    arguments = ("--log-format", log_format)
    with on_terminal(config(three_pods), *arguments, environment=environment) as terminal:
        assert terminal.finish() == exit_code
        assert ESCAPE not in terminal.raw


MANY = 4000


def test_4000_results_are_counted_in_few_frames(
    on_terminal: OnTerminal, nameserver: Nameserver
) -> None:
    with Pods(MANY) as pods:
        nameserver.set(WEB, *pods.addresses)
        for number in range(0, MANY, 2):
            pods[number].script(reply(418))
        pooled = config(pods).replace("concurrency: 1", "concurrency: 50")
        began_at = time.monotonic()
        with on_terminal(pooled, columns=120) as terminal:
            assert terminal.finish(timeout=600) == 3
            seconds = time.monotonic() - began_at
            text = terminal.raw.decode()
            assert text.count(f"answered 418 {TEAPOT}; not called again") == MANY // 2
            assert text.count("was missed after 1 call: status") == MANY // 2
            assert terminal.raw.count(FRAME) <= 10 * seconds + 10
            row, blank, last = stable(terminal.shown)[-3:]
            named = ", ".join(pods.endpoints[0:6:2])
            assert row == f" clear       partial   2000 of 4000   2000 status 418: {named}, …"
            assert blank == ""
            assert last.endswith("exit code 3: 2000 of 4000 endpoints acknowledged, 2000 failed")


def test_a_terminal_that_is_hung_up_does_not_keep_the_run_from_its_pods(
    on_terminal: OnTerminal, three_pods: Pods
) -> None:
    gate = three_pods.gate()
    three_pods[0].script(reply(after=gate))
    shield = ["env", "--ignore-signal=HUP"]
    with on_terminal(config(three_pods), prefix=shield) as terminal:
        terminal.wait_for("the live line", shows("0 of 3, 0 failed"))
        terminal.hang_up()
        gate.open()
        assert terminal.finish() == 1
        assert list(three_pods.requests.values()) == [1, 1, 1]


def test_a_terminal_that_is_stopped_does_not_keep_a_stop_signal_from_ending_the_run(
    on_terminal: OnTerminal, three_pods: Pods
) -> None:
    gate = three_pods.gate()
    three_pods[0].script(reply(after=gate))
    three_pods[1].script(silent)  # so that the run is not over before the signal
    with on_terminal(config(three_pods), "--grace", "200ms") as terminal:
        terminal.wait_for("the live line", shows("0 of 3, 0 failed"))
        terminal.type(CONTROL_S)
        gate.open()
        three_pods.wait_for("a request", lambda: three_pods[1].requests != [])
        terminal.signal(signal.SIGTERM)
        assert terminal.finish(timeout=10) == 143
