"""Command line and environment to Options."""

from __future__ import annotations

import re

import pytest

from worker.discovery.dns.resolvconf import Nameserver
from worker.options import GROUPS, OPTIONS, Options, UsageError, parse, wanted

FLAGS = {option.flag: option.flag for option in OPTIONS}
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
    api_server="",
    service_account="",
    termination_log="/dev/termination-log",
    output="text",
    sources=FLAGS,
)


def test_nothing_given() -> None:
    assert parse([], {}) == DEFAULTS


def test_everything_given_on_the_command_line() -> None:
    line = (
        "plan --config a --config b --broadcast c --tag d --tag e --sequential "
        "--deadline 5m20s --grace 1m --log-format console --log-level error "
        "--nameserver 10.0.0.10 --nameserver [::1]:5353 --resolv-conf f "
        "--api-server http://127.0.0.1:8001 --service-account h "
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
        api_server="http://127.0.0.1:8001",
        service_account="h",
        termination_log="g",
        output="json",
        sources=FLAGS,
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


def usage_error(*arguments: str, **environment: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(arguments, environment)
    return str(caught.value)


FORMATS = "expected json, console, gcp or ecs, got xml"
SERVER = "expected an IP address, or ADDRESS:PORT, got dns"
API = "expected a URL such as https://10.96.0.1:443, got 10.0.0.1:443"
API_WITH_PASSWORD = "expected a URL such as https://10.96.0.1:443"
FIVE = "expected a duration such as 10s, got 5: write 5s if seconds are meant"


@pytest.mark.parametrize(
    ("flag", "variable", "value", "message"),
    [
        ("--log-format", "BROADCAST_LOG_FORMAT", "xml", FORMATS),
        ("--nameserver", "BROADCAST_NAMESERVER", "dns", SERVER),
        ("--api-server", "BROADCAST_API_SERVER", "10.0.0.1:443", API),
        ("--api-server", "BROADCAST_API_SERVER", "https://me:pw@api", API_WITH_PASSWORD),
        ("--deadline", "BROADCAST_DEADLINE", "5", FIVE),
        ("--deadline", "BROADCAST_DEADLINE", "0", "expected a duration greater than zero"),
        ("--grace", "BROADCAST_GRACE", "x", "expected a duration such as 10s, got x"),
    ],
)
def test_an_error_names_the_option_or_the_variable_that_was_set(
    flag: str, variable: str, value: str, message: str
) -> None:
    assert usage_error(flag, value) == f"{flag}: {message}"
    assert usage_error(**{variable: value}) == f"{variable}: {message}"


def test_sources_say_what_each_option_was_given_by() -> None:
    environment = {"BROADCAST_TAG": "x", "BROADCAST_BROADCAST": "y", "BROADCAST_GRACE": ""}
    sources = parse(["--tag", "z"], environment).sources
    assert sources == FLAGS | {"--broadcast": "BROADCAST_BROADCAST"}


def test_sequential_takes_true_or_false_and_only_in_the_environment() -> None:
    assert parse([], {"BROADCAST_SEQUENTIAL": "true"}).sequential
    assert not parse([], {"BROADCAST_SEQUENTIAL": "false"}).sequential
    message = "BROADCAST_SEQUENTIAL: expected true or false, got yes"
    assert usage_error(BROADCAST_SEQUENTIAL="yes") == message
    assert usage_error("--sequential=yes") == "--sequential takes no value"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--sequentail", "unknown option --sequentail: did you mean --sequential?"),
        ("run --tags=nightly", "unknown option --tags: did you mean --tag?"),
        ("--tags nightly", "unknown option --tags: did you mean --tag?"),
        ("--frobnicate", "unknown option --frobnicate"),
        ("chekc", "unexpected argument chekc: did you mean check?"),
        ("extra.yaml", "unexpected argument extra.yaml: give it as --config extra.yaml"),
        ("--config a.yml b.yml", "unexpected argument b.yml: give it as --config b.yml"),
        ("check b.yaml", "unexpected argument b.yaml: give it as --config b.yaml"),
        ("--sequential yes", "unexpected argument yes: the commands are run, check, plan, schema"),
    ],
)
def test_what_was_probably_meant_is_said(arguments: str, message: str) -> None:
    assert usage_error(*arguments.split()) == message


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("BROADCAST_TAGS", "BROADCAST_TAG"),
        ("BROADCAST_LOGLEVEL", "BROADCAST_LOG_LEVEL"),
        ("BROADCAST_DEADLINES", "BROADCAST_DEADLINE"),
        ("BROADCAST_Deadline", "BROADCAST_DEADLINE"),
    ],
)
def test_a_variable_that_is_spelled_nearly_like_an_options_is_an_error(
    variable: str, meant: str
) -> None:
    message = f"unknown environment variable {variable}: did you mean {meant}?"
    assert usage_error(**{variable: "x"}) == message
    assert parse([], {variable: ""}) == DEFAULTS


def service_links(service: str) -> dict[str, str]:
    """What the kubelet defines for a Service of one named port."""
    name = service.upper().replace("-", "_")
    port = f"{name}_PORT_80_TCP"
    return {
        f"{name}_SERVICE_HOST": "10.96.0.20",
        f"{name}_SERVICE_PORT": "80",
        f"{name}_SERVICE_PORT_HTTP": "80",
        f"{name}_PORT": "tcp://10.96.0.20:80",
        port: "tcp://10.96.0.20:80",
        f"{port}_PROTO": "tcp",
        f"{port}_PORT": "80",
        f"{port}_ADDR": "10.96.0.20",
    }


@pytest.mark.parametrize(
    "service", ["broadcast", "broadcast-tag", "broadcast-tags", "broadcast-log", "broadcaster"]
)
def test_variables_of_a_service_are_not_taken_for_options(service: str) -> None:
    assert parse([], service_links(service)) == DEFAULTS


def test_other_variables_are_left_alone() -> None:
    others = {"BROADCAST_TOKEN": "x", "BROADCASTS": "x", "TAGS": "x", "BROADCAST_": "x"}
    assert parse([], others) == DEFAULTS


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
        values = "" if option.metavar else " (true or false)"
        default = option.default or option.otherwise
        assert last == f"default {default}, ${option.variable}{values}"
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
    ("arguments", "environment", "log_format"),
    [
        ("--log-format ecs --nonsense", "", "ecs"),
        ("fly --log-format=gcp", "", "gcp"),
        ("--nonsense", "gcp", "gcp"),
        ("--nonsense --log-format json", "gcp", "json"),
        ("--nonsense", "", None),
        ("--nonsense", "xml", None),
        ("--log-format", "gcp", "gcp"),
        ("--sequential=no", "gcp", None),
    ],
)
def test_the_log_format_of_a_wrong_command_line_can_be_told(
    arguments: str, environment: str, log_format: str | None
) -> None:
    variables = {"BROADCAST_LOG_FORMAT": environment} if environment else {}
    with pytest.raises(UsageError):
        parse(arguments.split(), variables)
    assert wanted(arguments.split(), variables)[1] == log_format
