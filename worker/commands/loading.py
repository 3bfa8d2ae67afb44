"""What several commands read before they begin: the configuration and resolv.conf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from worker.config.load import load as load_files
from worker.config.load import select
from worker.discovery.dns.resolvconf import ResolvConf, parse
from worker.model import Config
from worker.options import Options


def load(options: Options, environment: Mapping[str, str]) -> Config:
    """The selected broadcasts of all files. Raises ConfigInvalid."""
    loaded = load_files(options.config, environment)
    return select(loaded, options.broadcast, options.tag, options.sources)


def resolv_conf(options: Options) -> ResolvConf:
    """Which nameservers to ask, and how. A file that is not there says nothing."""
    try:
        text = Path(options.resolv_conf).read_text(errors="replace")
    except FileNotFoundError:
        text = ""  # as the C library has it
    conf = parse(text)
    return conf._replace(nameservers=options.nameservers) if options.nameservers else conf
