"""YAML files -> Config: which files, what `defaults` mean, how keys bear on each other, selection.

What one key may hold is the business of `keys`. Every mistake is found before anybody is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from worker.config import meant
from worker.config.keys import BODIES, BY_NAME, KEYS, REQUIRED
from worker.config.parts import any_case
from worker.config.url import url_from
from worker.config.values import Mistaken, Schema, Scope, describe, unknown_key
from worker.config.yaml import (
    ConfigError,
    ConfigInvalid,
    Field,
    Node,
    Place,
    join,
    parse,
    plain,
    read,
)
from worker.model import Broadcast, Config

SUFFIXES = (".yaml", ".yml")
A_LIST = "a list of broadcasts (each `- name: …`), or a mapping with `broadcasts`"
NO_TLS = "expected an https URL beside tls, got http: write https:// in url, or leave tls out"
MANIFESTS = ("ConfigMap", "CronJob", "Job", "Secret", "Service")
FILE_KEYS = ("defaults", "broadcasts")
PARTS_OF_URL = ("service", "port", "path", "host", "scheme", "namespace", "endpoint", "protocol")
DEFAULTED = {key.name: key for key in KEYS if key.name not in REQUIRED}
AUTHORIZATION = any_case(["authorization"])
HTTPS_ONLY = "^[Hh][Tt][Tt][Pp][Ss]:"
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"

Values = dict[str, Any]


class _Entry(NamedTuple):
    """A broadcast, unless there is a mistake in it, and where its name stands."""

    name: str
    place: Place
    path: str
    broadcast: Broadcast | None


def load(paths: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Reads files, and the *.yaml and *.yml of folders. Raises ConfigInvalid with every mistake."""
    errors: list[ConfigError] = []
    secrets: set[str] = set()
    files = [file for path in paths for file in _files(path, errors)]
    entries: list[_Entry] = []
    for file in files:
        root = read(file, errors)
        if root:
            scope = Scope(Path(file).parent, environment, errors, secrets)
            entries += _broadcasts(root, scope)
    _check_names(entries, errors)
    if errors:
        raise ConfigInvalid(errors)
    broadcasts = (entry.broadcast for entry in entries if entry.broadcast)
    return Config(tuple(files), tuple(broadcasts), frozenset(secrets))


def select(config: Config, names: Sequence[str], tags: Sequence[str]) -> Config:
    """Only the broadcasts of one of the names and one of the tags, where any are given.

    Raises ConfigInvalid for a name that is not there, and when nothing is left.
    """
    known = tuple(broadcast.name for broadcast in config.broadcasts)
    errors = []
    for name in dict.fromkeys(names):
        if name not in known:
            near = meant.nearest(name, known)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
            errors.append(_no_place("--broadcast", f"no broadcast is called {name}: {hint}"))
    chosen = [b for b in config.broadcasts if not names or b.name in names]
    chosen = [b for b in chosen if not tags or set(tags) & set(b.tags)]
    if not chosen and not errors:
        there = sorted({tag for broadcast in config.broadcasts for tag in broadcast.tags})
        message = f"no broadcast is selected; the tags are {', '.join(there) or 'none'}"
        errors.append(_no_place("--tag", message))
    if errors:
        raise ConfigInvalid(errors)
    return config._replace(broadcasts=tuple(chosen))


def json_schema() -> Schema:
    """The JSON Schema (2020-12) of a configuration file, for editors."""
    broadcast = {
        "type": "object",
        "description": "One request for every pod behind one headless Service.",
        "properties": {key.name: _key_schema(key.name) for key in KEYS},
        "required": list(REQUIRED),
        "additionalProperties": False,
        "not": {"anyOf": _exclusive()},
        "if": {"required": ["tls"]},
        "then": {"properties": {"url": {"pattern": HTTPS_ONLY}}},
    }
    defaults = {
        "type": "object",
        "description": "Values for every broadcast of this file that does not set the key itself.",
        "properties": {
            name: {"$ref": f"#/$defs/broadcast/properties/{name}"} for name in DEFAULTED
        },
        "additionalProperties": False,
        "not": broadcast["not"],
    }
    broadcasts = {
        "description": "Broadcasts, which run one after another.",
        "type": "array",
        "items": {"$ref": "#/$defs/broadcast"},
        "minItems": 1,
    }
    mapping = {
        "type": "object",
        "properties": {"defaults": defaults, "broadcasts": broadcasts},
        "required": ["broadcasts"],
        "additionalProperties": False,
    }
    return {
        "$schema": SCHEMA_DIALECT,
        "title": "pod-broadcast",
        "description": "One HTTP request to every pod behind a headless Service.",
        "if": {"type": "array"},
        "then": broadcasts,
        "else": mapping,
        "$defs": {"broadcast": broadcast},
    }


def _exclusive() -> list[Schema]:
    """Keys that exclude each other."""
    authorization = {"not": {"propertyNames": {"not": {"pattern": AUTHORIZATION}}}}
    both = {"required": ["auth", "headers"], "properties": {"headers": authorization}}
    return [{"required": list(pair)} for pair in combinations(BODIES, 2)] + [both]


def _key_schema(name: str) -> Schema:
    key = BY_NAME[name]
    schema: Schema = {"description": key.description, **key.kind.schema()}
    if key.default:
        schema["default"] = _from_yaml(key.default)
    return schema | {"examples": [_from_yaml(key.example)]}


def _from_yaml(text: str) -> Any:
    node = parse(text.encode(), "", [])
    assert node  # the table's own YAML; a test reads it
    return plain(node)


def _no_place(key: str, message: str) -> ConfigError:
    return ConfigError(None, None, None, key, message)


def _files(path: str, errors: list[ConfigError]) -> list[str]:
    try:
        # A mounted ConfigMap holds its files in a hidden folder, and links to them.
        names = [p for p in Path(path).iterdir() if not p.name.startswith(".")]
    except NotADirectoryError:
        return [path]
    except OSError as error:
        message = f"expected a readable file or folder, got: {error.strerror}"
        errors.append(Place(path).error("", f"{message}; --config names another"))
        return []
    files = sorted(str(p) for p in names if p.suffix in SUFFIXES and not p.is_dir())
    if not files:
        errors.append(Place(path).error("", "expected *.yaml or *.yml files in it, got none"))
    return files


def _broadcasts(root: Node, scope: Scope) -> list[_Entry]:
    """All of one file."""
    if isinstance(root.value, dict):
        defaults, node = _defaults_and_list(root, root.value, scope)
    else:
        defaults, node = {}, root
    if node is None:
        return []
    if not isinstance(node.value, tuple):
        scope.fail(
            node.place,
            "broadcasts" if node is not root else "",
            f"expected {A_LIST}, got {describe(node)}{_as_entries(node)}",
        )
        return []
    if not node.value:
        scope.fail(node.place, "broadcasts", "expected at least one broadcast, got an empty list")
    entries = (
        _entry(item, f"broadcasts[{i}]", defaults, scope) for i, item in enumerate(node.value)
    )
    return [entry for entry in entries if entry]


def _defaults_and_list(
    root: Node, fields: Mapping[str, Field], scope: Scope
) -> tuple[Values, Node | None]:
    if found := _something_else(fields):
        scope.fail(root.place, "", f"expected {A_LIST}, got {found}")
        return {}, None
    for name, (place, _) in fields.items():
        if name not in FILE_KEYS:
            unknown_key(name, place, "", FILE_KEYS, scope)
    defaults: Values = {}
    if "defaults" in fields:
        defaults = _read_defaults(fields["defaults"].node, scope)
    if "broadcasts" not in fields:
        scope.fail(root.place, "broadcasts", f"expected {A_LIST}, got a mapping without it")
        return defaults, None
    return defaults, fields["broadcasts"].node


def _something_else(fields: Mapping[str, Field]) -> str:
    """What was put into the file in place of a list of broadcasts, if that is plain to see."""
    if {"apiVersion", "kind"} & fields.keys():
        kind = fields["kind"].node.value if "kind" in fields else None
        hint = "put what stands below a key of its data here" if kind == "ConfigMap" else ""
        what = f"a Kubernetes {kind}" if kind in MANIFESTS else "a Kubernetes object"
        return f"{what}{hint and f': {hint}'}"
    if "broadcasts" not in fields and {"name", "url", *PARTS_OF_URL} & fields.keys():
        return "one broadcast: put `- ` before it"
    return ""


def _as_entries(node: Node) -> str:
    """How to write a mapping of names to broadcasts as a list."""
    first = next(iter(node.value), None) if isinstance(node.value, dict) else None
    return f": write each as `- name: {meant.name(first) or '…'}`" if first else ""


def _read_defaults(node: Node, scope: Scope) -> Values:
    if not isinstance(node.value, dict):
        scope.expected("a mapping of keys that broadcasts have", node, "defaults")
        return {}
    hints = dict.fromkeys(REQUIRED, "each broadcast has its own")
    values = _read_keys(node.value, "defaults", DEFAULTED, hints, scope)
    _check_together(node.value, values, "defaults", scope)
    return values


def _read_keys(
    fields: Mapping[str, Field],
    path: str,
    known: Mapping[str, Any],
    hints: Mapping[str, str],
    scope: Scope,
) -> Values:
    values = {}
    for name, (place, node) in fields.items():
        if name in known:
            values[name] = BY_NAME[name].kind.read(node, join(path, name), scope)
        else:
            unknown_key(name, place, path, known, scope, hints.get(name, ""))
    return values


def _entry(node: Node, path: str, defaults: Values, scope: Scope) -> _Entry | None:
    if not isinstance(node.value, dict):
        is_url = isinstance(node.value, str) and "/" in node.value
        hint = ": write `name: …`, and below it `url: …`" if is_url else ""
        message = f"expected a mapping with name and url, got {describe(node)}{hint}"
        scope.fail(node.place, path, message)
        return None
    fields, before = node.value, len(scope.errors)
    hints = _hints(fields)
    own = _read_keys(fields, path, BY_NAME, hints, scope)
    for name in REQUIRED:
        if name not in fields and not (name == "url" and fields.keys() & set(PARTS_OF_URL)):
            scope.fail(node.place, join(path, name), "expected this key, got none")
    values = _merge(defaults, own)
    _check_together(fields, values, path, scope)
    if not isinstance(values.get("name"), str):
        return None
    wrong = len(scope.errors) > before or any(isinstance(v, Mistaken) for v in values.values())
    broadcast = None if wrong else _to_broadcast(values)
    return _Entry(values["name"], fields["name"].node.place, path, broadcast)


def _hints(fields: Mapping[str, Field]) -> dict[str, str]:
    """For keys of a broadcast that are none, what to do about them."""
    hints = {"<<": "use defaults"}
    for name, (_, node) in fields.items():
        if isinstance(node.value, dict) and "url" in node.value:
            hints[name] = f"write name: {meant.name(name)} beside its keys"
    parts = [name for name in fields if name in PARTS_OF_URL]
    hints |= dict.fromkeys(parts, "it belongs into url")
    if parts and "url" not in fields:
        port = ", where the port is the container's" if "port" in fields else ""
        hints[parts[0]] = f"write url: {url_from(fields)}{port}"
    return hints


def _merge(defaults: Values, own: Values) -> Values:
    """A broadcast's key replaces the default wholly, its body whichever body is the default."""
    if own.keys() & set(BODIES):
        defaults = {name: value for name, value in defaults.items() if name not in BODIES}
    return defaults | own


def _check_together(fields: Mapping[str, Field], values: Values, path: str, scope: Scope) -> None:
    """Notes keys that exclude each other. `values` are those of `fields` and the defaults."""
    bodies = [name for name in fields if name in BODIES]
    for name in bodies[1:]:
        message = f"expected at most one of {', '.join(BODIES)}, got {bodies[0]} as well"
        scope.fail(fields[name].place, join(path, name), message)
    url = values.get("url")
    if "tls" in fields and isinstance(url, dict) and not url["https"]:
        scope.fail(fields["tls"].place, join(path, "tls"), NO_TLS)
    headers = values.get("headers", ())
    names = () if isinstance(headers, Mistaken) else [name.lower() for name, _ in headers]
    if "auth" in values and "authorization" in names:
        for name in [name for name in ("auth", "headers") if name in fields][:1]:
            message = "expected either auth or an Authorization header, got both"
            scope.fail(fields[name].place, join(path, name), message)


def _to_broadcast(values: Values) -> Broadcast:
    arguments: Values = {}
    for name, value in values.items():
        field = BY_NAME[name].field
        arguments |= {field: value} if field else value
    return Broadcast(**arguments)


def _check_names(entries: Sequence[_Entry], errors: list[ConfigError]) -> None:
    first: dict[str, Place] = {}
    for name, place, path, _ in entries:
        other = first.setdefault(name, place)
        if other is not place:
            message = f"expected a name of its own, got {name}: {other.file}:{other.line} has it"
            errors.append(place.error(join(path, "name"), message))
