"""Commands and wiring, and the one place where an exception becomes an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.commands import check, plan, schema
from worker.commands.run import STDERR, Run, log_usage_error, stack
from worker.config.errors import ConfigInvalid
from worker.log.formats import encode_line, printable
from worker.log.sink import Sink
from worker.options import Options, UsageError, parse, wanted
from worker.report import outcome as report
from worker.stop import Stop, Stopped
from worker.terminal import document

NO_RUN = {"check": check.run, "plan": plan.run, "schema": schema.run}


def main(arguments: Sequence[str], environment: Mapping[str, str], stop: Stop) -> int:
    """Carries out one command. Returns the exit code."""
    try:
        options = parse(arguments, environment)
    except UsageError as error:
        _complain(f"python -m worker: {error}\nTry python -m worker --help", stop)
        command, log_format = wanted(arguments, environment)
        if command not in NO_RUN:
            log_usage_error(str(error), log_format, environment, stop)
        return report.EXIT_USAGE
    try:
        if options.command == "run":
            return Run(options, environment, stop).main()
        return NO_RUN[options.command](options, environment, stop)
    except ConfigInvalid as invalid:
        _print_errors(options, invalid, stop)
        return report.EXIT_USAGE
    except Stopped as stopped:
        return report.EXIT_SIGNAL_BASE + stopped.number
    except Exception as error:  # noqa: BLE001 - the boundary; of a run, for what cannot be logged
        # Its message may hold a secret; its type and stack do not.
        _complain(f"this is a bug: {type(error).__name__}\n{stack(error)}", stop)
        return report.EXIT_BUG


def _complain(text: str, stop: Stop) -> None:
    """Writes to standard error; where that fails, the exit code stays what it is."""
    sink = Sink(STDERR, stop)
    sink.write(encode_line(text))
    sink.flush()


def _print_errors(options: Options, invalid: ConfigInvalid, stop: Stop) -> None:
    if options.output == "json":
        print(document.to_json(document.invalid(invalid.errors)))  # noqa: T201
        return
    _complain("\n".join(printable(str(error)) for error in invalid.errors), stop)
