"""What the other tests of this folder rely on: a watch that sees everything."""

from __future__ import annotations

import os
from functools import partial

from tests.cluster.kubernetes import Watch, kubectl, label_namespace
from tests.overlays import Object


def there(name: str, found: list[Object]) -> bool:
    return any(each["metadata"]["name"] == name for each in found)


def test_a_watch_goes_on_when_its_kubectl_ends() -> None:
    namespace = f"pod-broadcast-watch-{os.getpid()}"
    kubectl("create", "namespace", namespace)
    label_namespace(namespace)
    with Watch("configmaps", namespace) as watch:
        for name in ("first", "second", "third"):
            kubectl("--namespace", namespace, "create", "configmap", name)
            watch.wait_for(name, partial(there, name))
            watch.process.kill()
    kubectl("delete", "namespace", namespace, "--wait=false")
