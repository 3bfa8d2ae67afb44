"""The table of keys as docs/configuration.md."""

from __future__ import annotations

import json
from collections.abc import Iterator

from worker.config.keys import KEYS, REQUIRED, Key
from worker.config.values import Schema

INTRODUCTION = """\
# Configuration

<!-- Written by `make generated` from worker/config/keys.py. -->

A YAML file holds a list of broadcasts:

```yaml
- name: clear-web-caches
  url: http://web-server-headless:8080/clear-caches
- name: reload-edge
  url: http://edge-headless.edge:9000/-/reload
  attempts: 3
```

or a mapping, where `defaults` holds values for every broadcast of the file that does not set the
key itself. A key replaces the default as a whole; lists and mappings are not merged:

```yaml
defaults:
  timeout: 5s
  headers: {X-Reason: nightly}
broadcasts:
  - name: clear-web-caches
    url: http://web-server-headless:8080/clear-caches
  - name: purge-varnish
    url: http://varnish-headless.edge:6081/
    method: BAN
    timeout: 30s
```

`--config` names a file or a folder; of a folder, its `*.yaml` and `*.yml` are read in the order of
their names. It can be given several times. Broadcasts begin in file order and overlap; their names
are unique over all files.

## The port is the container's

A headless Service is no proxy: its name resolves to the pods' own addresses, and nothing maps a
Service's `port` to a container's `targetPort`. `url` needs the port on which the container listens.

So a URL that works through an ordinary Service, such as `http://web-server/` with the Service's
port 80, is refused by the pods behind its headless twin if their containers listen on 8080. No
program can guess that from the file: `check` names the port that a URL leaves out, a run in which
all pods refuse hints at it, and this shows what the Service maps to what:

```console
$ kubectl get service web-server -o jsonpath='{.spec.ports}'
```

A `targetPort` that is a name is a `containerPort` of the pods.

## Durations

Durations are Go's: `500ms`, `2s`, `1m30s`, at most 24 hours. A number without a unit is refused.

## Secrets

A password or token is never written in the file. `{env: NAME}` is an environment variable,
`{file: PATH}` a regular file (without the line end that it may have; a relative path starts at
the configuration file's folder; no file below /proc or /sys). Both are read once, when the run
starts. The worker writes `***` in place of their values, in whichever common encoding a pod echoes
them ([decision 7](decisions/0007-forms-of-a-secret.md)). A `body_file` outside the configuration's
folder may be of a mounted Secret, so `***` stands for it as well.

```yaml
- name: refresh-configuration
  url: http://orders-headless.shop:8080/actuator/refresh
  auth:
    basic:
      username: operator
      password: {env: ACTUATOR_PASSWORD}
  headers:
    X-Api-Key: {file: /var/run/secrets/api/key}
```

## When it is wrong

All errors are reported at once, with file, line and column, before any DNS query, and the exit code
is 2:

```text
a.yaml:3:3: broadcasts[0].timout: unknown key: did you mean timeout?
a.yaml:4:12: broadcasts[0].settle: expected a duration such as 10s, got 10 minutes: write 10m
```

`python -m worker check` does only that; with `--output json` the errors are one document
([check and plan](check-and-plan.md)). After 100 errors it stops. The YAML is read by YAML 1.2's
core rules (`yes`, `1:30` and dates are text; so is a number with a leading zero, such as `0200`),
from one document of at most 1 MiB and 100,000 values. An editor with the YAML language server
completes and checks a file that begins with `# yaml-language-server: $schema=` and the path of
[`config/schema.json`](../config/schema.json).

## Keys
"""


def page() -> str:
    """The whole page."""
    rows = [
        f"| [`{key.name}`](#{key.name}) | {_default(key)} | {_first_sentence(key.description)} |"
        for key in KEYS
    ]
    table = "\n".join(["| key | default | |", "|---|---|---|", *rows])
    sections = "\n".join(_section(key) for key in KEYS)
    return f"{INTRODUCTION}\n{table}\n\n{sections}"


def _default(key: Key) -> str:
    if key.name in REQUIRED:
        return "required"
    return _in_yaml(key.default)


def _first_sentence(text: str) -> str:
    return text.replace("|", "\\|").split(". ")[0].removesuffix(".")


def _section(key: Key) -> str:
    lines = [f"### {key.name}", "", key.description, "", f"Default: {_default(key)}.", ""]
    lines += _parts(key.kind.schema())
    return "\n".join([*lines, "```yaml", *_example(key), "```", ""])


def _parts(schema: Schema) -> list[str]:
    """A table of the keys of a mapping, those of mappings in it included."""
    rows = [
        f"| `{path}` | {_in_yaml(part.get('default'))} | {part['description']} |"
        for path, part in _described(schema, "")
    ]
    return ["| key | default | |", "|---|---|---|", *rows, ""] if rows else []


def _described(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    for name, part in schema.get("properties", {}).items():
        if name not in {"env", "file"}:  # of them a section of its own speaks
            yield path + name, part
            yield from _described(part, f"{path}{name}.")


def _in_yaml(default: object) -> str:
    return "none" if default is None else f"`{json.dumps(default)}`".replace('"', "")


def _example(key: Key) -> list[str]:
    """A broadcast with this key, as small as it can be."""
    required = {"name": "clear-web-caches", "url": "http://web-server-headless:8080/clear-caches"}
    if key.name == "tls":
        required["url"] = "https://web-server-headless:8443/clear-caches"
    if key.name in {"include_not_ready", "port_name"}:
        required["discovery"] = "endpointslices"
    if key.name == "port_name":
        required["url"] = "http://web-server-headless/clear-caches"
    fields = required | {key.name: key.example}
    lines = [f"  {name}: {value}" for name, value in fields.items()]
    return ["- " + lines[0].lstrip(), *lines[1:]]
