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


def main() -> int:
    _open_standard_files()
    stop = Stop()
    stop.install()
    # What follows takes a tenth of a second, in which a signal may arrive.
    gc.disable()  # of what is imported, nothing is garbage
    from worker import cli

    gc.freeze()
    gc.enable()
    return cli.main(sys.argv[1:], os.environ, stop)


sys.exit(main())
