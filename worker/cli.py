"""Commands and wiring, and the one place where an exception becomes an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from worker.commands import preview
from worker.commands.loading import load, resolv_conf
from worker.commands.run import Run, columns, log_usage_error, stack
from worker.config import load as config
from worker.config.yaml import ConfigInvalid
from worker.log.setup import Masker
from worker.options import Options, UsageError, parse
from worker.report import outcome as report
from worker.stop import Stop, Stopped
from worker.terminal import excerpt

STDERR = 2
NO_RUN = {"check", "plan", "schema"}


def main(arguments: Sequence[str], environment: Mapping[str, str], stop: Stop) -> int:
    """Carries out one command. Returns the exit code."""
    try:
        options = parse(arguments, environment)
    except UsageError as error:
        print(f"python -m worker: {error}\nTry python -m worker --help", file=sys.stderr)  # noqa: T201
        if not NO_RUN.intersection(arguments):
            log_usage_error(str(error), arguments, environment, stop)
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
        print(f"this is a bug: {type(error).__name__}\n{stack(error)}", file=sys.stderr)  # noqa: T201
        return report.EXIT_BUG


def _look(options: Options, environment: Mapping[str, str], stop: Stop) -> int:
    """The commands that call nobody. Raises ConfigInvalid and Stopped."""
    if options.command == "schema":
        _print(preview.to_json(config.json_schema()))
        return 0
    loaded = load(options, environment)
    masker = Masker(loaded.secrets)
    if options.command == "check":
        checked = preview.masked(preview.check_document(loaded), masker)
        in_json = options.output == "json"
        _print(preview.to_json(checked) if in_json else preview.check_text(checked))
        return 0
    documents = []
    for plan in preview.plans(loaded, resolv_conf(options), stop):
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
        text = excerpt.with_line(error, columns(STDERR)) if os.isatty(STDERR) else str(error)
        print(text, file=sys.stderr)  # noqa: T201


def _print(text: str) -> None:
    print(text)  # noqa: T201
