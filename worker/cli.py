"""Commands and wiring, and the one place where an exception becomes an exit code."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker import __version__
from worker.calls.call import Transport
from worker.commands import preview
from worker.config import load as config
from worker.config.errors import ConfigError, ConfigInvalid
from worker.config.schema import json_schema
from worker.discovery.dns.lookup import Lookup
from worker.discovery.dns.resolvconf import ResolvConf
from worker.discovery.dns.resolvconf import parse as parse_resolv_conf
from worker.log.setup import (
    LEVELS,
    Display,
    Event,
    Log,
    LogFormat,
    Masker,
    Sink,
    configure,
    summary_line,
)
from worker.model import Broadcast, Config, RunReport
from worker.options import Options, UsageError, log_format_wanted, parse
from worker.report import outcome as report
from worker.rounds import run as broadcast
from worker.rounds.world import LiveWorld
from worker.stop import Stop, Stopped
from worker.terminal import excerpt
from worker.terminal.console import Lines

STDOUT, STDERR = 1, 2
NO_RUN = {"check", "plan", "schema"}
# The downward API's: on every line, so that an alert needs no shipper's labels to say whose it is …
LINE_FIELDS = {"worker_namespace": "POD_NAMESPACE", "worker_job": "JOB_NAME"}
# … and in run.started.
START_FIELDS = {"worker_pod": "POD_NAME", "worker_node": "NODE_NAME"}


def main(arguments: Sequence[str], environment: Mapping[str, str], stop: Stop) -> int:
    """Carries out one command. Returns the exit code."""
    try:
        options = parse(arguments, environment)
    except UsageError as error:
        print(f"python -m worker: {error}\nTry python -m worker --help", file=sys.stderr)  # noqa: T201
        if not NO_RUN.intersection(arguments):
            _log_usage_error(str(error), arguments, environment, stop)
        return report.EXIT_USAGE
    try:
        if options.command == "run":
            return Run(options, environment, stop).main()
        return _look(options, environment, stop)
    except ConfigInvalid as invalid:
        _print_errors(options, invalid)
        return report.EXIT_USAGE
    except Stopped:
        return report.EXIT_SIGNAL_BASE + stop.signals[0]
    except Exception as error:  # noqa: BLE001 - the boundary; of a run, for what cannot be logged
        # Its message may hold a secret; its type and stack do not.
        print(f"this is a bug: {type(error).__name__}\n{_stack(error)}", file=sys.stderr)  # noqa: T201
        return report.EXIT_BUG


def _look(options: Options, environment: Mapping[str, str], stop: Stop) -> int:
    """The commands that call nobody. Raises ConfigInvalid and Stopped."""
    if options.command == "schema":
        _print(preview.to_json(json_schema()))
        return 0
    loaded = _load(options, environment)
    masker = Masker(loaded.secrets)
    if options.command == "check":
        checked = preview.masked(preview.check_document(loaded), masker)
        in_json = options.output == "json"
        _print(preview.to_json(checked) if in_json else preview.check_text(checked))
        return 0
    documents = []
    for plan in preview.plans(loaded, _resolv_conf(options), stop):
        documents.append(preview.masked(preview.plan_document(plan), masker))
        if options.output == "text":
            _print(preview.plan_text(documents[-1]))
    if options.output == "json":
        _print(preview.to_json({"errors": [], "broadcasts": documents}))
    return preview.plan_exit_code(documents)


def _print_errors(options: Options, invalid: ConfigInvalid) -> None:
    if options.output == "json":
        _print(preview.to_json(preview.errors_document(invalid.errors)))
        return
    for error in invalid.errors:
        text = excerpt.with_line(error, _columns(STDERR)) if os.isatty(STDERR) else str(error)
        print(text, file=sys.stderr)  # noqa: T201


def _excerpt(event: Event) -> str:
    """Of a config.invalid event, for a person at a terminal."""
    file, line, column = (event.get(name) for name in ("config_file", "line", "column"))
    error = ConfigError(file, line, column, event.get("key", ""), event["error_message"])
    return excerpt.below(error, _columns(STDOUT))


def _columns(terminal: int) -> int:
    return os.get_terminal_size(terminal).columns or 80


def _log_usage_error(
    message: str, arguments: Sequence[str], environment: Mapping[str, str], stop: Stop
) -> None:
    """A run that cannot begin has a last line too: alerts may wait for it."""
    log_format = _log_format(log_format_wanted(arguments, environment))
    log = configure(Sink(STDOUT, stop), log_format, "info", Masker(()))
    log.bind(**_given(LINE_FIELDS, environment)).error(
        "run.finished",
        run_id=os.urandom(16).hex(),
        outcome="failed",
        exit_code=report.EXIT_USAGE,
        error_message=message,
    )


def _given(fields: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    return {field: environment[name] for field, name in fields.items() if environment.get(name)}


def _log_format(wanted: LogFormat | None) -> LogFormat:
    return wanted or ("console" if os.isatty(STDOUT) else "json")


def _display(sink: Sink, log_format: LogFormat, environment: Mapping[str, str]) -> Display | None:
    """What shows the run to a person, if one is to see it."""
    if log_format != "console":
        return None
    if not os.isatty(STDOUT):
        return Lines(sink)
    if environment.get("TERM", "") in {"", "dumb", "unknown"}:
        return Lines(sink, _excerpt)
    try:
        from worker.terminal.screen import Screen  # takes a tenth of a second, and may lack rich
    except ImportError:
        return Lines(sink, _excerpt)
    return Screen(sink, STDOUT, _excerpt)


def _load(options: Options, environment: Mapping[str, str]) -> Config:
    """Raises ConfigInvalid."""
    loaded = config.load(options.config, environment)
    return config.select(loaded, options.broadcast, options.tag)


def _resolv_conf(options: Options) -> ResolvConf:
    try:
        text = Path(options.resolv_conf).read_text(errors="replace")
    except FileNotFoundError:
        text = ""  # as the C library has it
    conf = parse_resolv_conf(text)
    return conf._replace(nameservers=options.nameservers) if options.nameservers else conf


class Run:
    """The run command: from `run.started` to `run.finished`, whatever happens between them."""

    def __init__(self, options: Options, environment: Mapping[str, str], stop: Stop) -> None:
        self._options = options
        self._environment = environment
        self._stop = stop
        self._sink = Sink(STDOUT, stop)
        self._run_id = os.urandom(16).hex()  # also the trace id of its calls
        self._started_at = time.monotonic()
        self._masker = Masker(())
        self._loaded = False
        self._log_format = _log_format(options.log_format)
        self._display = _display(self._sink, self._log_format, environment)
        self._running: str | None = None  # the broadcast, for run.crashed to name
        self._log = self._configure()

    def main(self) -> int:
        try:
            run = self._broadcast_all(self._load())
            level, summary = report.run_level(run), report.summary(run)
        except ConfigInvalid as invalid:
            level, summary = "error", self._report_invalid(invalid)
        except Exception as error:  # noqa: BLE001 - the boundary: a bug becomes an exit code here
            level, summary = "error", self._report_crash(error)
        self._log.log(LEVELS[level], "run.finished", **summary)
        self._write_termination_log(summary)
        if self._sink.lost:
            # Not by print, which waits for whoever stopped the terminal, and fails if it is gone.
            Sink(STDERR, self._stop).write(b"the log could not be written to standard output\n")
            return int(summary["exit_code"]) or report.EXIT_BUG
        return int(summary["exit_code"])

    def _configure(self) -> Log:
        level = self._options.log_level
        log = configure(self._sink, self._log_format, level, self._masker, self._display)
        return log.bind(run_id=self._run_id, **_given(LINE_FIELDS, self._environment))

    def _load(self) -> Config:
        loaded = _load(self._options, self._environment)
        self._masker = Masker(loaded.secrets)
        self._log = self._configure()
        self._loaded = True
        return loaded

    def _broadcast_all(self, loaded: Config) -> RunReport:
        self._log.info(
            "run.started",
            version=__version__,
            config_files=", ".join(loaded.files),
            broadcasts=len(loaded.broadcasts),
            **_given(START_FIELDS, self._environment),
        )
        conf = _resolv_conf(self._options)
        worlds = [(entry, self._world(entry, conf)) for entry in loaded.broadcasts]
        reports = []
        for entry, world in worlds:
            self._running = entry.name
            reports.append(broadcast.run(entry, world, self._log))
        self._running = None
        return RunReport(
            broadcasts=tuple(reports),
            duration_seconds=time.monotonic() - self._started_at,
            stop_signal=self._stop.signals[0] if self._stop.requested else None,
        )

    def _world(self, entry: Broadcast, conf: ResolvConf) -> LiveWorld:
        return LiveWorld(
            entry,
            Lookup(entry.host, entry.ip_family, conf, self._stop),
            Transport(entry, trace_id=self._run_id),
            self._stop,
            self._options.grace_seconds,
            self._note_stop,
        )

    def _note_stop(self, number: int) -> None:
        self._log.warning("shutdown.requested", signal=signal.Signals(number).name)

    def _report_invalid(self, invalid: ConfigInvalid) -> dict[str, Any]:
        for error in invalid.errors:
            self._log.error(
                "config.invalid",
                config_file=error.file,
                line=error.line,
                column=error.column,
                key=error.key or None,
                error_message=error.message,
            )
        return self._failure(report.EXIT_USAGE, f"configuration: {invalid.errors[0]}")

    def _report_crash(self, error: Exception) -> dict[str, Any]:
        error_type = type(error).__name__
        message = str(error) if self._loaded else "not shown, since the secrets are not known yet"
        stack = _stack(error)
        self._log.error(
            "run.crashed",
            broadcast=self._running,
            error_type=error_type,
            error_message=message,
            stack=stack,
        )
        return self._failure(report.EXIT_BUG, f"{error_type}: {message}")

    def _failure(self, exit_code: int, error_message: str) -> dict[str, Any]:
        return {
            "outcome": "failed",
            "exit_code": exit_code,
            "error_message": error_message,
            "duration_seconds": time.monotonic() - self._started_at,
        }

    def _write_termination_log(self, summary: dict[str, Any]) -> None:
        """For `kubectl describe pod`. The kubelet creates the file; elsewhere there is none.

        https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
        """
        try:
            descriptor = os.open(self._options.termination_log, os.O_WRONLY | os.O_TRUNC)
        except OSError:
            return
        with os.fdopen(descriptor, "wb") as file:
            file.write(summary_line(summary | {"run_id": self._run_id}, self._masker))


def _stack(error: Exception) -> str:
    """Where it happened, without values."""
    return "".join(traceback.format_tb(error.__traceback__))


def _print(text: str) -> None:
    print(text)  # noqa: T201
