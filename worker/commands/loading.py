"""Reads what several commands need first: the configuration and resolv.conf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from worker.config.errors import ConfigInvalid, Place
from worker.config.load import load as load_files
from worker.config.load import select
from worker.discovery.addresses import fault_of
from worker.discovery.api import Api, NoToken, find_api
from worker.discovery.dns.resolvconf import ResolvConf, parse
from worker.discovery.source import Witnesses
from worker.log.masking import Masker
from worker.model import Broadcast, Config
from worker.options import DEFAULT_RESOLV_CONF, Options
from worker.stop import Stop


def load(options: Options, environment: Mapping[str, str], stop: Stop) -> Config:
    """The selected broadcasts of all files. Raises ConfigInvalid.

    A file may be a pipe that nobody writes, or on a dead mount: a stop signal raises Stopped.
    """
    loaded = stop.outwait(lambda: load_files(options.config, environment))
    return select(loaded, options.broadcast, options.tag, options.sources)


def witnesses(
    broadcasts: Sequence[Broadcast],
    options: Options,
    environment: Mapping[str, str],
    stop: Stop,
    masker: Masker,
) -> Witnesses:
    """How to reach the witnesses that the broadcasts ask. Raises Stopped and ConfigInvalid.

    `masker` learns the tokens that they are sent.
    """
    asked = {broadcast.discovery for broadcast in broadcasts}
    conf = resolv_conf(options, stop) if "dns" in asked else None
    api = _api(options, environment, stop) if "endpointslices" in asked else None
    if api and not api.namespace:
        for each in broadcasts:
            service, namespace = each.exchange.url.service
            if each.discovery == "endpointslices" and not namespace:
                message = f"in which namespace is {service}? write {service}.NAMESPACE in its url"
                raise Place(key=f"broadcast {each.name}").error(message)
    return Witnesses(conf, api and api._replace(hide=lambda token: masker.learn([token])))


def _api(options: Options, environment: Mapping[str, str], stop: Stop) -> Api:
    directory = options.service_account
    try:
        return stop.outwait(lambda: find_api(options.api_server, directory, environment))
    except ValueError as error:
        flag = "--service-account" if isinstance(error, NoToken) else "--api-server"
        raise Place(key=options.sources[flag]).error(
            f"discovery: endpointslices: {error}"
        ) from None


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
