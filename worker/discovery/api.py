"""The Kubernetes API, as a pod reaches it: its address, and the files of a service account.

https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class NoToken(ValueError):
    """The file of the token cannot be used. The message says why."""


def _shown_to_nobody(_token: str) -> None:
    pass


class Api(NamedTuple):
    """The address, without a slash at its end, and how to be known and to know the server there.

    Without `token_file` requests carry no token; without `ca_file` the system trust store counts.
    `namespace` is the worker's own, "" if it is not known. `hide` is told each token before it is
    sent: the server, or a proxy, may repeat it in a message.
    """

    url: str
    token_file: Path | None
    ca_file: Path | None
    namespace: str
    hide: Callable[[str], None] = _shown_to_nobody


def find_api(url: str, directory: str, environment: Mapping[str, str]) -> Api:
    """The API at `url`; without it, that of the pod's cluster. May block on a dead mount.

    `directory` has the files `token`, `ca.crt` and `namespace`; it may be "", which is where
    Kubernetes mounts them. With a `url` alone there need be none, as for `kubectl proxy`. Raises
    ValueError that says what is missing.
    """
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    if not url and not host:
        raise ValueError("this is no pod of a cluster: set --api-server")
    folder = Path(directory or SERVICE_ACCOUNT)
    token_file, ca_file = folder / "token", folder / "ca.crt"
    if not url:
        port = environment.get("KUBERNETES_SERVICE_PORT") or "443"
        url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        directory = str(folder)
    if directory:
        read_token(token_file)
    return Api(
        url=url.rstrip("/"),
        # Nobody on the way is to read it.
        token_file=token_file if url.startswith("https:") and token_file.exists() else None,
        ca_file=ca_file if ca_file.exists() else None,
        namespace=_own_namespace(folder, environment),
    )


def read_token(file: Path) -> str:
    """The token in the file. Raises NoToken that says what to do if there is none."""
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in ASCII"
        token_missing = f"cannot read the token {file}: {reason}"
        raise NoToken(f"{token_missing}; add manifests/components/endpointslices") from None
    if not token.isprintable() or not token:
        raise NoToken(f"there is no token in {file}")
    return token


def _own_namespace(folder: Path, environment: Mapping[str, str]) -> str:
    try:
        return (folder / "namespace").read_text().strip()
    except (OSError, ValueError):
        return environment.get("POD_NAMESPACE", "")
