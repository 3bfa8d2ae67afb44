"""Commands and wiring, and the one place where an exception becomes an exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from worker.commands import check, plan, schema
from worker.commands.run import Run, log_usage_error, stack
from worker.config.errors import ConfigInvalid
from worker.log.formats import printable
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
        print(f"python -m worker: {error}\nTry python -m worker --help", file=sys.stderr)  # noqa: T201
        command, log_format = wanted(arguments, environment)
        if command not in NO_RUN:
            log_usage_error(str(error), log_format, environment, stop)
        return report.EXIT_USAGE
    try:
        if options.command == "run":
            return Run(options, environment, stop).main()
        return NO_RUN[options.command](options, environment, stop)
    except ConfigInvalid as invalid:
        _print_errors(options, invalid)
        return report.EXIT_USAGE
    except Stopped as stopped:
        return report.EXIT_SIGNAL_BASE + stopped.number
    except Exception as error:  # noqa: BLE001 - the boundary; of a run, for what cannot be logged
        # Its message may hold a secret; its type and stack do not.
        print(f"this is a bug: {type(error).__name__}\n{stack(error)}", file=sys.stderr)  # noqa: T201
        return report.EXIT_BUG


def _print_errors(options: Options, invalid: ConfigInvalid) -> None:
    if options.output == "json":
        print(document.to_json(document.invalid(invalid.errors)))  # noqa: T201
        return
    for error in invalid.errors:
        print(printable(str(error)), file=sys.stderr)  # noqa: T201
