"""YAML files -> Config: which files, what `defaults` mean, how keys bear on each other, selection.

What one key can hold is decided in `keys`. Every error is found before anybody is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.config.errors import Errors, Place
from worker.config.keys import BODIES, BY_NAME, KEYS, REQUIRED
from worker.config.parts import AUTHORIZATION, TWO_AUTHORIZATIONS, no_body
from worker.config.tls import NO_TLS
from worker.config.url import KEYS_OF_PARTS, from_parts, has_port, names_service
from worker.config.values import Kind, Scope, describe, hint_for_key, nearest, read_keys, shown
from worker.config.verify import to_verify
from worker.config.yaml import Member, Node, join, read
from worker.model import Broadcast, Config, Exchange

SUFFIXES = (".yaml", ".yml")
FILE_KEYS = ("defaults", "broadcasts")
A_LIST = "a list of broadcasts (each `- name: …`), or a mapping with `broadcasts`"
MANIFESTS = ("ConfigMap", "CronJob", "Job", "Secret", "Service")
RETRIES = "retries"
KINDS: dict[str, Kind] = {key.name: key.kind for key in KEYS}
DEFAULTED = {name: kind for name, kind in KINDS.items() if name not in REQUIRED}

Values = dict[str, Any]
Mapped = Mapping[str, Member]


def load(paths: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Reads files, and the *.yaml and *.yml of folders. Raises ConfigInvalid with every error."""
    errors = Errors()
    files: list[str] = []
    for path in paths:
        with errors:
            files += _files(path)
    scope = Scope(Path(), environment, set(), {}, {}, {}, Counter())
    broadcasts: list[Broadcast] = []
    for file in files:
        with errors:
            root = read(file, errors)
            broadcasts += _read_file(root, scope._replace(folder=Path(file).parent), errors)
    errors.raise_any()
    return Config(tuple(files), tuple(broadcasts), frozenset(scope.secrets))


def select(
    config: Config, names: Sequence[str], tags: Sequence[str], sources: Mapping[str, str]
) -> Config:
    """Only the broadcasts with one of the names and one of the tags, where any are given.

    Raises ConfigInvalid for a name that is not there, and when no broadcast is left. `sources` says
    what to call the options `--broadcast` and `--tag`, which may come from the environment.
    """
    known = tuple(broadcast.name for broadcast in config.broadcasts)
    errors = Errors()
    for name in dict.fromkeys(names):
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"the names are {', '.join(known)}"
            errors.add(
                Place(key=sources["--broadcast"]).error(f"no broadcast is called {name}: {hint}")
            )
    errors.raise_any()
    chosen = [b for b in config.broadcasts if not names or b.name in names]
    chosen = [b for b in chosen if not tags or set(tags) & set(b.tags)]
    if not chosen:
        there = sorted({tag for broadcast in config.broadcasts for tag in broadcast.tags})
        message = f"no broadcast is selected; the tags are {', '.join(there) or 'none'}"
        raise Place(key=sources["--tag"]).error(message)
    return config._replace(broadcasts=tuple(chosen))


def _files(path: str) -> list[str]:
    try:
        # A mounted ConfigMap holds its files in a hidden folder, and links to them.
        names = [p for p in Path(path).iterdir() if not p.name.startswith(".")]
        files = sorted(str(p) for p in names if p.suffix in SUFFIXES and not p.is_dir())
    except NotADirectoryError:
        return [path]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"expected a readable file or folder, got: {reason}"
        raise Place(path).error(f"{message}: name another with --config") from None
    if not files:
        raise Place(path).error("expected *.yaml or *.yml files in this folder, got none")
    return files


def _read_file(root: Node, scope: Scope, errors: Errors) -> list[Broadcast]:
    node, defaults = root, {}
    if isinstance(root.value, dict):
        _check_file_keys(root, root.value, errors)
        if "defaults" in root.value:
            with errors:
                defaults = _read_defaults(root.value["defaults"].node, scope)
        if "broadcasts" not in root.value:
            return []
        node = root.value["broadcasts"].node
    if not isinstance(node.value, tuple):
        raise node.error(f"expected {A_LIST}, got {describe(node)}")
    if not node.value:
        raise node.error("expected at least one broadcast, got an empty list")
    broadcasts = []
    for item in node.value:
        with errors:
            broadcasts.append(_read_broadcast(item, defaults, scope))
    return broadcasts


def _check_file_keys(root: Node, fields: Mapped, errors: Errors) -> None:
    """Raises at once if the file is something else, such as a manifest."""
    if {"apiVersion", "kind"} & fields.keys():
        kind = fields["kind"].node.value if "kind" in fields else None
        what = kind if kind in MANIFESTS else "object"
        hint = ": only the text below a key of its data belongs here" if kind == "ConfigMap" else ""
        raise root.error(f"expected {A_LIST}, got a Kubernetes {what}{hint}")
    if set(REQUIRED) <= fields.keys() and "broadcasts" not in fields:
        first = next(name for name in fields if name in KINDS)
        hint = f"write `- ` before {first}, and indent the lines below it"
        raise root.error(f"expected {A_LIST}, got one broadcast: {hint}")
    for name, (place, _) in fields.items():
        if name not in FILE_KEYS:
            errors.add(place.error(f"unknown key: {hint_for_key(name, fields, FILE_KEYS)}"))
    if "broadcasts" not in fields:
        errors.add(root.error(f"expected {A_LIST}, got a mapping without it"))


def _read_defaults(node: Node, scope: Scope) -> Values:
    if not isinstance(node.value, dict):
        raise node.error(f"expected a mapping such as {{timeout: 5s}}, got {describe(node)}")
    errors, fields = Errors(), node.value
    hints = dict.fromkeys((*REQUIRED, *KEYS_OF_PARTS), "each broadcast has its own")
    values = read_keys(fields, DEFAULTED, scope, errors, hints | _hints(fields))
    _check_together(fields, values, errors)
    errors.raise_any()
    return values


def _read_broadcast(node: Node, defaults: Values, scope: Scope) -> Broadcast:
    if not isinstance(node.value, dict):
        raise node.error(f"expected a mapping with name and url, got {describe(node)}")
    errors, fields = Errors(), node.value
    parts = _hints_for_parts(fields)
    own = read_keys(fields, KINDS, scope, errors, _hints(fields) | parts)
    for name in REQUIRED:
        if name not in fields and not (name == "url" and parts):
            place = node.place._replace(key=join(node.place.key, name))
            errors.add(place.error("this key is required"))
    if "name" in own:
        with errors:
            _check_name(own["name"], fields["name"].node, scope)
    values = _merge(defaults, own, fields)
    _check_together(fields, values, errors)
    _check_discovery(fields, values, errors)
    errors.raise_any()
    arguments: Values = {}
    for name, value in values.items():
        arguments |= value if isinstance(value, dict) else {BY_NAME[name].field: value}
    exchange = Exchange(**{n: arguments.pop(n) for n in Exchange._fields if n in arguments})
    if "verify" in arguments:
        arguments["verify"] = to_verify(exchange, arguments["verify"])
    return Broadcast(exchange=exchange, **arguments)


def _check_discovery(fields: Mapped, values: Values, errors: Errors) -> None:
    """Collects keys that do not go with the `discovery`, which may be that of the defaults."""
    if "url" not in values:
        return
    url, by_api = values["url"], values.get("discovery") == "endpointslices"
    for name in ("include_not_ready", "port_name"):
        if values.get(name) and not by_api:
            place = fields.get(name, fields["url"]).place
            errors.add(place.error(f"{name} needs discovery: endpointslices beside it"))
    if values.get("port_name") and has_port(url):
        place = fields.get("port_name", fields["url"]).place
        errors.add(place.error("set either port_name or a port in url"))
    if by_api and not names_service(url):
        message = "expected the name of a Service in the cluster as host, such as web.shop.svc"
        hint = "or leave out discovery: endpointslices"
        errors.add(fields["url"].node.error(f"{message}, got {shown(url.host)}: {hint}"))


def _hints(fields: Mapped) -> dict[str, str]:
    """Hints for unknown keys: `retries`, which does not count the first call."""
    if RETRIES not in fields or "attempts" in fields:
        return {}
    retries = fields[RETRIES].node.value
    if isinstance(retries, int) and not isinstance(retries, bool) and 0 <= retries < 1000:
        return {RETRIES: f"write attempts: {retries + 1}, which counts the first call as well"}
    return {RETRIES: "attempts says how many calls are made, the first one included"}


def _hints_for_parts(fields: Mapped) -> dict[str, str]:
    """Hints for unknown keys: the parts of a URL."""
    parts = [name for name in fields if name in KEYS_OF_PARTS]
    hints = dict.fromkeys(parts, "it belongs in url")
    if parts and "url" not in fields and (url := from_parts(fields)):
        hints[parts[0]] = f"write url: {url}, with the port on which the container listens"
    return hints


def _check_name(name: str, node: Node, scope: Scope) -> None:
    """Names are unique over all files."""
    first = scope.names.setdefault(name, node.place)
    if first is not node.place:
        raise node.error(f"duplicate name `{name}`, already used at {first.file}:{first.line}")


def _merge(defaults: Values, own: Values, fields: Mapped) -> Values:
    """A broadcast's key replaces the default wholly, its body whichever body is the default."""
    replaced = {*fields, *(BODIES if fields.keys() & set(BODIES) else ())}
    return {name: value for name, value in defaults.items() if name not in replaced} | own


def _check_together(fields: Mapped, values: Values, errors: Errors) -> None:
    """Collects keys that exclude each other. `values` are those of `fields` and the defaults."""
    bodies = [name for name in fields if name in BODIES]
    for name in bodies[1:]:
        message = f"only one of {', '.join(BODIES)} can be set, and {bodies[0]} is set as well"
        errors.add(fields[name].place.error(message))
    if "tls" in fields and "url" in values and not values["url"].https:
        errors.add(fields["tls"].place.error(NO_TLS))
    if "expect" in values and (fault := no_body(values["expect"], values.get("method"))):
        place = fields["expect" if "expect" in fields else next(iter(fields))].place
        errors.add(place.error(fault))
    names = [name.lower() for name, _ in values.get("headers", ())]
    if "auth" in values and AUTHORIZATION in names:
        for name in [name for name in ("auth", "headers") if name in fields][:1]:
            errors.add(fields[name].place.error(TWO_AUTHORIZATIONS))
