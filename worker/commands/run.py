"""The command `run`: from `run.started` to `run.finished`, whatever happens between them."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
import traceback
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from worker import __version__
from worker.calls.call import Caller
from worker.commands.loading import load, witnesses
from worker.config.errors import ConfigInvalid
from worker.config.tls import tls_context
from worker.discovery.source import sources
from worker.log.formats import LogFormat
from worker.log.masking import Masker
from worker.log.setup import Display, configure, summary_line
from worker.log.sink import Sink
from worker.model import Config
from worker.options import Options
from worker.report import outcome
from worker.report.records import RunReport
from worker.report.summary import of_run
from worker.rounds.run import Rounds
from worker.rounds.world import LiveWorld
from worker.stop import Stop, Stopped, start_thread

STDOUT, STDERR = 1, 2
MAX_TLS_CONTEXTS = 16  # that no call uses; with the system's trust store each takes a megabyte
TERMINATION_LOG_SECONDS = 2.0
# The downward API's: on every line, so that an alert needs no shipper's labels to say whose it is …
LINE_FIELDS = {"worker_namespace": "POD_NAMESPACE", "worker_job": "JOB_NAME"}
# … and in run.started.
START_FIELDS = {"worker_pod": "POD_NAME", "worker_node": "NODE_NAME"}


class Run:
    """One run. `environment`: the process's; `stop`: the stop signals and the mailbox."""

    def __init__(self, options: Options, environment: Mapping[str, str], stop: Stop) -> None:
        self._options = options
        self._environment = environment
        self._stop = stop
        self._sink = Sink(STDOUT, stop)
        self._run_id = os.urandom(16).hex()  # also the trace id of its calls
        self._started_at = time.monotonic()
        self._masker = Masker()
        self._rounds: Rounds | None = None  # once the configuration is loaded
        log_format = _log_format(options.log_format)
        level = options.log_level
        log = configure(self._sink, log_format, level, self._masker, self._display(log_format))
        self._log = log.bind(run_id=self._run_id, **_given(LINE_FIELDS, environment))

    def main(self) -> int:
        """Returns the exit code."""
        try:
            loaded = self._load()
            run = self._broadcast_all(loaded)
            level, summary = outcome.run_level(run), of_run(run, loaded.broadcasts)
        except ConfigInvalid as invalid:
            level, summary = "error", self._report_invalid(invalid)
        except Stopped as stopped:
            level, summary = "error", self._report_stopped(stopped)
        except Exception as error:  # noqa: BLE001 - the boundary: a bug becomes an exit code here
            level, summary = "error", self._report_crash(error)
        getattr(self._log, level)("run.finished", **summary)
        self._write_termination_log(summary)
        self._sink.flush()
        if self._sink.lost:
            # Not by print, which waits for whoever stopped the terminal, and fails if it is gone.
            Sink(STDERR, self._stop).write(b"the log could not be written to standard output\n")
            return int(summary["exit_code"]) or outcome.EXIT_BUG
        return int(summary["exit_code"])

    def _display(self, log_format: LogFormat) -> Display | None:
        if log_format != "console":
            return None
        from worker.terminal import display  # a run in a cluster does not need it

        return display.choose(self._sink, STDOUT, self._environment)

    def _load(self) -> Config:
        loaded = load(self._options, self._environment, self._stop)
        self._masker.learn(loaded.secrets)
        self._witnesses = witnesses(
            loaded.broadcasts, self._options, self._environment, self._stop, self._masker
        )
        return loaded

    def _broadcast_all(self, loaded: Config) -> RunReport:
        self._log.info(
            "run.started",
            version=__version__,
            config_files=", ".join(loaded.files),
            broadcasts=len(loaded.broadcasts),
            **_given(START_FIELDS, self._environment),
        )
        conf = self._witnesses.conf
        for line, message in conf.warnings if conf else ():
            self._log.warning(
                "config.warning",
                config_file=self._options.resolv_conf,
                line=line,
                warning_message=message,
            )
        deadline_seconds = self._options.deadline_seconds
        self._rounds = Rounds(
            loaded.broadcasts,
            self._world(loaded),
            self._log,
            grace_seconds=self._options.grace_seconds,
            sequential=self._options.sequential,
            deadline_at=self._started_at + deadline_seconds if deadline_seconds else math.inf,
        )
        reports = self._rounds.run()
        duration_seconds = time.monotonic() - self._started_at
        return RunReport(reports, duration_seconds, self._rounds.stop_signal)

    def _world(self, loaded: Config) -> LiveWorld:
        context = lru_cache(MAX_TLS_CONTEXTS)(tls_context)
        exchanges = [broadcast.exchange for broadcast in loaded.broadcasts]
        exchanges += [each.verify.exchange for each in loaded.broadcasts if each.verify]
        callers = {
            each: Caller(each, self._run_id, lambda tls: context(tls._replace(server_name=None)))
            for each in exchanges
        }
        return LiveWorld(sources(loaded.broadcasts, self._witnesses), callers, self._stop)

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
        first, *others = invalid.errors
        more = f" (and {len(others)} more)" if others else ""
        return self._failure(outcome.EXIT_USAGE, f"configuration: {first}{more}")

    def _report_stopped(self, stopped: Stopped) -> dict[str, Any]:
        self._log.warning("shutdown.requested", signal=signal.Signals(stopped.number).name)
        exit_code = outcome.EXIT_SIGNAL_BASE + stopped.number
        return self._failure(exit_code, "stopped before the configuration was read")

    def _report_crash(self, error: Exception) -> dict[str, Any]:
        error_type = type(error).__name__
        message = str(error) if self._rounds else "not shown, since the secrets are not known yet"
        self._log.error(
            "run.crashed",
            broadcast=self._rounds.current if self._rounds else None,
            error_type=error_type,
            error_message=message,
            stack=stack(error),
        )
        return self._failure(outcome.EXIT_BUG, f"{error_type}: {message}")

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
        line = summary_line(summary | {"run_id": self._run_id}, self._masker)
        # In a thread, which is left behind where the file is on a mount that is dead.
        path = self._options.termination_log
        start_thread(lambda: _write(path, line)).join(TERMINATION_LOG_SECONDS)


def _write(path: str, line: bytes) -> None:
    """Writes the line, if the file is there and takes it at once."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def log_usage_error(
    message: str, log_format: LogFormat | None, environment: Mapping[str, str], stop: Stop
) -> None:
    """Logs the last line of a run that cannot begin: alerts may wait for it."""
    sink = Sink(STDOUT, stop)
    log = configure(sink, _log_format(log_format), "info", Masker())
    log.bind(**_given(LINE_FIELDS, environment)).error(
        "run.finished",
        run_id=os.urandom(16).hex(),
        outcome="failed",
        exit_code=outcome.EXIT_USAGE,
        error_message=message,
    )
    sink.flush()


def stack(error: Exception) -> str:
    """The traceback of the error, without any values."""
    return "".join(traceback.format_tb(error.__traceback__))


def _given(fields: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    return {field: environment[name] for field, name in fields.items() if environment.get(name)}


def _log_format(wanted: LogFormat | None) -> LogFormat:
    return wanted or ("console" if os.isatty(STDOUT) else "json")
