"""Command line and environment -> Options. One table makes the parser and its help."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, cast

from worker import __version__
from worker.kinds import parse_duration
from worker.logs import LEVELS, LevelName, LogFormat
from worker.resolvconf import DNS_PORT, Nameserver

Command = Literal["run", "check", "plan", "schema"]
OutputFormat = Literal["text", "json"]

EPILOG = """\
Each option can be given in the environment instead, as BROADCAST_CONFIG and so on; lists
with commas. An argument replaces it.

exit codes:
  0         every selected broadcast is complete: every endpoint acknowledged
  1         a bug
  2         usage or configuration
  3         at least one broadcast partial, none failed
  4         at least one broadcast failed
  130, 143  stopped by SIGINT, SIGTERM
"""

COMMANDS = """\
run: send the broadcasts (the default); check: load and validate, say how long a run can take,
call nobody; plan: resolve and print the requests, call nobody; schema: print the JSON Schema of
the configuration
"""


class UsageError(Exception):
    """What is wrong with the command line, or with the environment in its place."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    command: Command
    config: tuple[str, ...]
    broadcast: tuple[str, ...]
    tag: tuple[str, ...]
    grace_seconds: float
    log_format: LogFormat | None  # None: console on a terminal, else json
    log_level: LevelName
    nameservers: tuple[Nameserver, ...]
    resolv_conf: str
    termination_log: str
    output: OutputFormat


@dataclass(frozen=True, slots=True)
class _Option:
    flag: str
    metavar: str
    default: str
    help: str
    choices: tuple[str, ...] = ()
    repeatable: bool = False

    @property
    def variable(self) -> str:
        return "BROADCAST_" + self.flag.removeprefix("--").replace("-", "_").upper()


OPTIONS = (
    _Option("--config", "PATH", "/etc/pod-broadcast", "a file, or a folder of them", (), True),
    _Option("--broadcast", "NAME", "", "run only the broadcast of this name", (), True),
    _Option("--tag", "TAG", "", "run only broadcasts with this tag", (), True),
    _Option("--grace", "DURATION", "5s", "for calls in flight after a stop signal"),
    _Option("--log-format", "FORMAT", "", "json, or console (on a terminal)", ("json", "console")),
    _Option("--log-level", "LEVEL", "info", "info, warning or error", tuple(LEVELS)),
    _Option("--nameserver", "HOST[:PORT]", "", "ask this one, not resolv.conf's", (), True),
    _Option("--resolv-conf", "PATH", "/etc/resolv.conf", "nameservers, search list, options"),
    _Option("--termination-log", "PATH", "/dev/termination-log", "summary goes here if it exists"),
    _Option("--output", "FORMAT", "text", "of check and plan: text or json", ("text", "json")),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Raises UsageError; SystemExit after --help and --version."""
    given = vars(_parser().parse_args(arguments))
    values = {option.flag: _values(option, given[option.flag], environment) for option in OPTIONS}
    for option in OPTIONS:
        for value in values[option.flag]:
            if option.choices and value not in option.choices:
                expected = " or ".join(option.choices)
                raise UsageError(f"{option.flag} {value}: expected {expected}")
    if given["--output"] and given["command"] not in {"check", "plan"}:
        raise UsageError(f"--output is for check and plan, not for {given['command']}")
    one = {flag: found[-1] if found else "" for flag, found in values.items()}
    try:
        grace_seconds = parse_duration(one["--grace"])
    except ValueError as error:
        raise UsageError(f"--grace: {error}") from None
    return Options(
        command=given["command"],
        config=values["--config"],
        broadcast=values["--broadcast"],
        tag=values["--tag"],
        grace_seconds=grace_seconds,
        log_format=cast("LogFormat", one["--log-format"]) if one["--log-format"] else None,
        log_level=cast("LevelName", one["--log-level"]),
        nameservers=tuple(_nameserver(value) for value in values["--nameserver"]),
        resolv_conf=one["--resolv-conf"],
        termination_log=one["--termination-log"],
        output=cast("OutputFormat", one["--output"]),
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m worker",
        description="One HTTP request to every pod behind a headless Service, and proof of it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pod-broadcast {__version__}")
    parser.add_argument(
        "command",
        nargs="?",
        choices=("run", "check", "plan", "schema"),
        default="run",
        help=COMMANDS,
    )
    for option in OPTIONS:
        notes = [f"default {option.default}"] * bool(option.default)
        notes += ["repeatable"] * option.repeatable
        parser.add_argument(
            option.flag,
            dest=option.flag,
            metavar=option.metavar,
            action="append" if option.repeatable else "store",
            help=f"{option.help} ({', '.join(notes)})" if notes else option.help,
        )
    return parser


def _values(
    option: _Option, given: str | list[str] | None, environment: Mapping[str, str]
) -> tuple[str, ...]:
    """What was given, or else is in the environment, or else the default."""
    if given is not None:
        return tuple(given) if isinstance(given, list) else (given,)
    text = environment.get(option.variable) or option.default
    if not option.repeatable:
        return (text,) if text else ()
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _nameserver(text: str) -> Nameserver:
    """HOST or HOST:PORT, an IPv6 address with a port in brackets."""
    from ipaddress import ip_address  # 5 ms, and few runs name a server

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
        raise UsageError(f"--nameserver {text}: expected an IP address, or ADDRESS:PORT")
    return Nameserver(address, number)
