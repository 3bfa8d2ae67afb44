"""Command line and environment to Options."""

from __future__ import annotations

import re

import pytest

from worker.discovery.dns.resolvconf import Nameserver
from worker.options import GROUPS, OPTIONS, Options, UsageError, log_format_wanted, parse

DEFAULTS = Options(
    command="run",
    config=("/etc/pod-broadcast",),
    broadcast=(),
    tag=(),
    sequential=False,
    deadline_seconds=None,
    grace_seconds=5.0,
    log_format=None,
    log_level="info",
    nameservers=(),
    resolv_conf="/etc/resolv.conf",
    termination_log="/dev/termination-log",
    output="text",
)


def test_nothing_given() -> None:
    assert parse([], {}) == DEFAULTS


def test_everything_given_on_the_command_line() -> None:
    line = (
        "plan --config a --config b --broadcast c --tag d --tag e --sequential "
        "--deadline 5m20s --grace 1m --log-format console --log-level error "
        "--nameserver 10.0.0.10 --nameserver [::1]:5353 --resolv-conf f "
        "--termination-log g --output json"
    )
    assert parse(line.split(), {"BROADCAST_CONFIG": "overridden", "BROADCAST_TAG": "x"}) == Options(
        command="plan",
        config=("a", "b"),
        broadcast=("c",),
        tag=("d", "e"),
        sequential=True,
        deadline_seconds=320.0,
        grace_seconds=60.0,
        log_format="console",
        log_level="error",
        nameservers=(Nameserver("10.0.0.10", 53), Nameserver("::1", 5353)),
        resolv_conf="f",
        termination_log="g",
        output="json",
    )


def test_the_environment_gives_lists_with_commas() -> None:
    environment = {
        "BROADCAST_CONFIG": "a, b",
        "BROADCAST_NAMESERVER": "127.0.0.1:53,::1,[::1]",
        "BROADCAST_GRACE": "0s",
        "BROADCAST_LOG_LEVEL": "",
    }
    options = parse(["check"], environment)
    assert options.config == ("a", "b")
    assert options.nameservers == (
        Nameserver("127.0.0.1", 53),
        Nameserver("::1", 53),
        Nameserver("::1", 53),
    )
    assert (options.grace_seconds, options.log_level) == (0.0, "info")


@pytest.mark.parametrize(
    "value", ["dns.example", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "[::1]:x", "", "[::1"]
)
def test_a_nameserver_is_an_address(value: str) -> None:
    with pytest.raises(UsageError, match="expected an IP address, or ADDRESS:PORT"):
        parse(["--nameserver", value], {})


@pytest.mark.parametrize("environment", [{"BROADCAST_LOG_FORMAT": "xml"}, {"BROADCAST_GRACE": "x"}])
def test_the_environment_is_checked_like_an_argument(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"--log-format|--grace"):
        parse([], environment)


@pytest.mark.parametrize("command", ["run", "schema"])
def test_output_is_for_commands_that_have_one(command: str) -> None:
    with pytest.raises(UsageError, match=f"--output is for check and plan, not for {command}"):
        parse([command, "--output", "json"], {})
    assert parse([command], {"BROADCAST_OUTPUT": "json"}).command == command


@pytest.fixture
def help_text(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exited:
        parse(["--help"], {})
    assert exited.value.code == 0
    return capsys.readouterr().out


def test_help_is_grouped(help_text: str) -> None:
    titles = re.findall(r"^(\S.*):$", help_text, re.MULTILINE)
    assert titles == ["commands", *GROUPS, "about", "exit codes"]
    for title, options in GROUPS.items():
        _, _, after = help_text.partition(f"\n{title}:\n")
        group = after.partition("\n\n")[0]
        assert re.findall(r"^  (--[a-z-]+)", group, re.MULTILINE) == [o.flag for o in options]


def test_help_gives_each_options_default_and_variable(help_text: str) -> None:
    for option in OPTIONS:
        after = help_text.partition(f"\n  {option.flag} {option.metavar}")[2]
        words, last = [line.strip() for line in after.splitlines() if line.strip()][:2]
        assert words == option.help + "; repeatable" * option.repeatable
        assert last == f"default {option.default or option.otherwise}, ${option.variable}"
        assert option.default or option.otherwise


def test_help_ends_with_the_exit_codes_and_fits_a_terminal(help_text: str) -> None:
    exit_codes = help_text.partition("\nexit codes:\n")[2]
    assert re.findall(r"^  (\d+(?:, \d+)?) ", exit_codes, re.MULTILINE) == [
        *("0", "1", "2", "3", "4"),
        "130, 143",
    ]
    assert "  1         a bug, or the log could not be written\n" in exit_codes
    assert exit_codes.splitlines()[-1].startswith("  130, 143")
    assert max(map(len, help_text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "environment", "wanted"),
    [
        ("--log-format ecs --nonsense", "", "ecs"),
        ("fly --log-format=gcp", "", "gcp"),
        ("--nonsense", "gcp", "gcp"),
        ("--nonsense --log-format json", "gcp", "json"),
        ("--nonsense", "", None),
        ("--nonsense", "xml", None),
        ("--log-format", "gcp", None),
    ],
)
def test_the_log_format_of_a_wrong_command_line_can_be_told(
    arguments: str, environment: str, wanted: str | None
) -> None:
    variables = {"BROADCAST_LOG_FORMAT": environment} if environment else {}
    with pytest.raises(UsageError):
        parse(arguments.split(), variables)
    assert log_format_wanted(arguments.split(), variables) == wanted
