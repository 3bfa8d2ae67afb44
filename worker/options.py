"""Command line and environment -> Options. One table makes the parser and its help."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple, NoReturn, cast, get_args

from worker import __version__
from worker.config.values import hint_for_duration, nearest, parse_duration
from worker.discovery.dns.resolvconf import DNS_PORT, Nameserver
from worker.log.formats import LogFormat
from worker.words import LEVELS, Level

Command = Literal["run", "check", "plan", "schema"]
OutputFormat = Literal["text", "json"]
VARIABLE_PREFIX = "BROADCAST_"
# For a Service called broadcast-x, the kubelet defines BROADCAST_X_PORT, BROADCAST_X_SERVICE_HOST …
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
OF_A_SERVICE = (
    r"(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
API_SERVER = r"https?://[^\s/?#@]+(/[^\s?#]*)?"
LOG_FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)
DEFAULT_RESOLV_CONF = "/etc/resolv.conf"  # the only one that may be missing

COMMANDS: dict[Command, str] = {
    "run": "send the broadcasts (the default)",
    "check": "load and validate, say how long a run can take; call nobody",
    "plan": "resolve and print the exact requests; call nobody",
    "schema": "print the JSON Schema of the configuration",
}

DESCRIPTION = "\n".join(
    [
        "One HTTP request to every pod behind a headless Service, and proof of it.",
        "",
        "commands:",
        *(f"  {command:<8}  {what}" for command, what in COMMANDS.items()),
    ]
)

EPILOG = """\
Each option can be given in the environment instead, a repeatable one as a list
with commas; an argument replaces it. NO_COLOR turns colour off.

exit codes:
  0         every selected broadcast is complete: every endpoint acknowledged
  1         a bug, or the log could not be written
  2         usage or configuration: a retry cannot help
  3         at least one broadcast partial (some pods missed), none failed
  4         at least one failed (nobody reached, no such Service, DNS broken)
  130, 143  stopped by SIGINT, SIGTERM, after reporting
"""


class UsageError(Exception):
    """A mistake in the command line, or in the environment in its place."""


class Options(NamedTuple):
    """The values of all options. `sources`: the option or variable that each flag's is from."""

    command: Command
    config: tuple[str, ...]
    broadcast: tuple[str, ...]
    tag: tuple[str, ...]
    sequential: bool
    deadline_seconds: float | None  # of the whole run
    grace_seconds: float
    log_format: LogFormat | None  # None: console on a terminal, else json
    log_level: Level
    nameservers: tuple[Nameserver, ...]
    resolv_conf: str
    api_server: str  # "": that of the pod's cluster
    service_account: str  # "": where Kubernetes mounts it
    termination_log: str
    output: OutputFormat
    sources: Mapping[str, str]


class _Option(NamedTuple):
    """One option. Without a `metavar` it takes no value; in the environment it is true or false."""

    flag: str
    metavar: str
    default: str
    help: str
    choices: tuple[str, ...] = ()
    repeatable: bool = False
    otherwise: str = ""  # the help's words for the default, where it has no text

    @property
    def variable(self) -> str:
        return VARIABLE_PREFIX + self.flag.removeprefix("--").replace("-", "_").upper()

    @property
    def whole_help(self) -> str:
        repeatable = "; repeatable" * self.repeatable
        default = self.default or self.otherwise
        values = "" if self.metavar else f" ({' or '.join(self.choices)})"
        return f"{self.help}{repeatable}\ndefault {default}, ${self.variable}{values}"


GROUPS: dict[str, tuple[_Option, ...]] = {
    "what to broadcast": (
        _Option("--config", "PATH", "/etc/pod-broadcast", "a file, or a folder of them", (), True),
        _Option("--broadcast", "NAME", "", "only the broadcast of this name", (), True, "all"),
        _Option("--tag", "TAG", "", "only broadcasts with this tag", (), True, "all"),
    ),
    "how": (
        _Option(
            *("--deadline", "DURATION", "", "how long the whole run may take"), otherwise="none"
        ),
        _Option(
            *("--sequential", "", "false", "finish each broadcast before the next begins"),
            choices=("true", "false"),
        ),
    ),
    "DNS": (
        _Option(
            *("--nameserver", "ADDRESS[:PORT]", "", "ask this nameserver", (), True),
            otherwise="those of --resolv-conf",
        ),
        _Option(
            *("--resolv-conf", "PATH", DEFAULT_RESOLV_CONF, "nameservers, search list, options")
        ),
    ),
    "EndpointSlices": (
        _Option(
            *("--api-server", "URL", "", "the Kubernetes API, as of `kubectl proxy`"),
            otherwise="that of the pod's cluster",
        ),
        _Option(
            *("--service-account", "DIR", "", "with the files token, ca.crt and namespace"),
            otherwise="the usual place",
        ),
    ),
    "logging": (
        _Option(
            *("--log-format", "FORMAT", "", "json, console, gcp or ecs"),
            choices=LOG_FORMATS,
            otherwise="json (console on a terminal)",
        ),
        _Option("--log-level", "LEVEL", "info", "info, warning or error", tuple(LEVELS)),
        _Option(
            *("--termination-log", "PATH", "/dev/termination-log"),
            help="also write the summary to this file, if it exists",
        ),
    ),
    "check and plan": (
        _Option("--output", "FORMAT", "text", "text; or json, one document", ("text", "json")),
    ),
    "stopping": (
        _Option("--grace", "DURATION", "5s", "for calls in flight after SIGTERM or SIGINT"),
    ),
}
OPTIONS = tuple(option for options in GROUPS.values() for option in options)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Raises UsageError; SystemExit after --help and --version."""
    given = _given(arguments)
    _check_variables(environment)
    sources = _sources(given, environment)
    values = {option.flag: _values(option, given[option.flag], environment) for option in OPTIONS}
    for option in OPTIONS:
        for value in values[option.flag]:
            if option.choices and value not in option.choices:
                *others, last = option.choices
                expected = f"expected {', '.join(others)} or {last}, got {value}"
                raise UsageError(f"{sources[option.flag]}: {expected}")
    if given["--output"] and given["command"] not in {"check", "plan"}:
        raise UsageError(f"--output is for check and plan, not for {given['command']}")
    one = {flag: found[-1] if found else "" for flag, found in values.items()}
    seconds = {flag: _seconds(sources[flag], one[flag]) for flag in ("--grace", "--deadline")}
    if seconds["--deadline"] == 0.0:
        raise UsageError(f"{sources['--deadline']}: expected a duration greater than zero")
    return Options(
        command=given["command"],
        config=values["--config"],
        broadcast=values["--broadcast"],
        tag=values["--tag"],
        sequential=one["--sequential"] == "true",
        deadline_seconds=seconds["--deadline"],
        grace_seconds=seconds["--grace"] or 0.0,
        log_format=cast("LogFormat", one["--log-format"]) if one["--log-format"] else None,
        log_level=cast("Level", one["--log-level"]),
        nameservers=tuple(
            _nameserver(sources["--nameserver"], value) for value in values["--nameserver"]
        ),
        resolv_conf=one["--resolv-conf"],
        api_server=_api_server(sources["--api-server"], one["--api-server"]),
        service_account=one["--service-account"],
        termination_log=one["--termination-log"],
        output=cast("OutputFormat", one["--output"]),
        sources=sources,
    )


def wanted(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[str, LogFormat | None]:
    """Command and log format, as far as they can be told where `parse` has raised UsageError."""
    try:
        given = vars(_parser(nargs="?").parse_known_args(arguments)[0])
    except UsageError:
        return arguments[0], None
    (option,) = (option for option in OPTIONS if option.flag == "--log-format")
    log_format = given[option.flag] or environment.get(option.variable)
    return str(given["command"]), log_format if log_format in LOG_FORMATS else None


def _parser(nargs: Literal["?"] | None = None) -> argparse.ArgumentParser:
    """With `nargs="?"`, it also accepts options without their value."""
    parser = _Parser(
        prog="python -m worker",
        usage=f"%(prog)s [{'|'.join(COMMANDS)}] [OPTION]...",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=lambda prog: argparse.RawTextHelpFormatter(prog, max_help_position=20),
        allow_abbrev=False,
        add_help=False,
    )
    # The description says what each command is for.
    parser.add_argument("command", nargs="?", default="run", help=argparse.SUPPRESS)
    for title, options in GROUPS.items():
        group = parser.add_argument_group(title)
        for option in options:
            if not option.metavar:
                group.add_argument(
                    option.flag,
                    dest=option.flag,
                    action="store_const",
                    const="true",
                    help=option.whole_help,
                )
                continue
            group.add_argument(
                option.flag,
                dest=option.flag,
                metavar=option.metavar,
                nargs=nargs,
                action="append" if option.repeatable else "store",
                help=option.whole_help,
            )
    others = parser.add_argument_group("about")
    others.add_argument("-h", "--help", action="help", help="print this and exit")
    others.add_argument(
        "--version",
        action="version",
        version=f"pod-broadcast {__version__}",
        help="print the version and exit",
    )
    return parser


def _given(arguments: Sequence[str]) -> dict[str, Any]:
    """The command, and the value of each option that is on the command line, else None."""
    for argument in arguments:
        flag, sign, _ = argument.partition("=")
        if sign and any(flag == option.flag and not option.metavar for option in OPTIONS):
            raise UsageError(f"{flag} takes no value")
    known, others = _parser().parse_known_args(arguments)
    for argument in others:
        if argument.startswith("-"):
            flag = argument.partition("=")[0]
            near = nearest(flag, [option.flag for option in OPTIONS])
            raise UsageError(f"unknown option {flag}{near and f': did you mean {near}?'}")
    given = vars(known)
    unexpected = others if given["command"] in COMMANDS else [given["command"]]
    for argument in unexpected:
        hint = f"the commands are {', '.join(COMMANDS)}"
        if near := nearest(argument, COMMANDS):
            hint = f"did you mean {near}?"
        elif argument.endswith((".yaml", ".yml")):
            hint = f"give it as --config {argument}"
        raise UsageError(f"unexpected argument {argument}: {hint}")
    return given


def _check_variables(environment: Mapping[str, str]) -> None:
    """Raises UsageError for a variable that is spelled nearly like that of an option."""
    known = {option.variable.removeprefix(VARIABLE_PREFIX).lower(): option for option in OPTIONS}
    for variable in environment.keys() - {option.variable for option in OPTIONS}:
        name = variable.removeprefix(VARIABLE_PREFIX)
        if not environment[variable] or name == variable or re.fullmatch(OF_A_SERVICE, name):
            continue
        if near := nearest(name, known):
            hint = f"did you mean {known[near].variable}?"
            raise UsageError(f"unknown environment variable {variable}: {hint}")


def _sources(given: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """The name of each option in an error: its variable, if its value is from there."""
    return {
        option.flag: option.variable
        if given[option.flag] is None and environment.get(option.variable)
        else option.flag
        for option in OPTIONS
    }


def _values(
    option: _Option, given: str | list[str] | None, environment: Mapping[str, str]
) -> tuple[str, ...]:
    """The values that were given, else those of the environment, else the default."""
    if given is not None:
        return tuple(given) if isinstance(given, list) else (given,)
    text = environment.get(option.variable) or option.default
    if not option.repeatable:
        return (text,) if text else ()
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _seconds(source: str, text: str) -> float | None:
    """A duration in seconds, or None where the option is not given."""
    try:
        return parse_duration(text) if text else None
    except ValueError as error:
        raise UsageError(f"{source}: {error}{hint_for_duration(text)}") from None


def _api_server(source: str, text: str) -> str:
    if text and not re.fullmatch(API_SERVER, text):
        # It may have a password.
        shown = f", got {text}" if re.fullmatch(r"[A-Za-z0-9.:/\[\]_-]+", text) else ""
        raise UsageError(f"{source}: expected a URL such as https://10.96.0.1:443{shown}")
    return text


def _nameserver(source: str, text: str) -> Nameserver:
    """ADDRESS or ADDRESS:PORT, an IPv6 address with a port in brackets."""
    address, port = text, str(DNS_PORT)
    if text.startswith("[") and "]" in text:
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":") or str(DNS_PORT)
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    try:
        ip_address(address)
        number = int(port)
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise UsageError(f"{source}: expected an IP address, or ADDRESS:PORT, got {text}")
    return Nameserver(address, number)
