"""`python -m worker`: what has to come before everything else, and then `cli.main`."""

import gc
import os
import sys

from worker.stop import Stop


def _open_standard_files() -> None:
    """Puts /dev/null on closed file descriptors 0 to 2: a log line must never go to a pod."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _explain_missing_module(error: ModuleNotFoundError) -> int:
    """Says which Python to use if this one lacks a dependency. Returns exit code 2."""
    package = (error.name or "").partition(".")[0]
    if package == "worker" or package in sys.stdlib_module_names:
        raise error
    print(  # noqa: T201
        f"python -m worker: this Python lacks the module {package}: `make demo` installs all that "
        "is needed in .venv, so use .venv/bin/python",
        file=sys.stderr,
    )
    return 2


def main() -> int:
    _open_standard_files()
    stop = Stop()
    stop.install()
    # The imports take about a tenth of a second, in which a signal may arrive.
    gc.disable()  # of what is imported, nothing is garbage
    try:
        from worker import cli
    except ModuleNotFoundError as error:
        return _explain_missing_module(error)
    gc.freeze()
    # A list of 150,000 pods is millions of objects, and hardly anything here refers to itself: with
    # the usual 700, looking for what does takes as long as reading the list.
    gc.set_threshold(50_000)
    gc.enable()
    return cli.main(sys.argv[1:], os.environ, stop)


sys.exit(main())
