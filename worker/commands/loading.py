"""Reads what several commands need first: the configuration and resolv.conf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from worker.config.errors import ConfigInvalid, Place
from worker.config.load import load as load_files
from worker.config.load import select
from worker.discovery.dns.addresses import fault_of
from worker.discovery.dns.resolvconf import ResolvConf, parse
from worker.model import Config
from worker.options import DEFAULT_RESOLV_CONF, Options
from worker.stop import Stop


def load(options: Options, environment: Mapping[str, str], stop: Stop) -> Config:
    """The selected broadcasts of all files. Raises ConfigInvalid.

    A file may be a pipe that nobody writes, or on a dead mount: a stop signal raises Stopped.
    """
    loaded = stop.outwait(lambda: load_files(options.config, environment))
    return select(loaded, options.broadcast, options.tag, options.sources)


def resolv_conf(options: Options, stop: Stop) -> ResolvConf:
    """The nameservers to ask, and how. Raises Stopped, and ConfigInvalid about the file.

    As for the C library, there need not be a file at the usual place.
    """
    path = options.resolv_conf
    try:
        text = stop.outwait(lambda: Path(path).read_text(errors="replace"))
    except FileNotFoundError as error:
        if path != DEFAULT_RESOLV_CONF:
            raise _unreadable(path, error) from None
        text = ""
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    conf = parse(text, fault_of)
    if options.nameservers:
        conf = conf._replace(nameservers=options.nameservers, chosen=True)
    return conf


def _unreadable(path: str, error: OSError | ValueError) -> ConfigInvalid:
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    return Place(key="--resolv-conf").error(f"cannot read {path}: {reason}")
