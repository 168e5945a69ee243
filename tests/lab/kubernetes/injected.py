"""What consul-k8s's webhook adds to a pod: taken from the fixtures of the rewriting.

What `tests/golden/consul-k8s/NAME.before.json` has of consul-k8s is put into any pod,
with the lab's images and servers, and the pod's own service and token.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.kubernetes.files import CONSUL_ADDRESSES
from tests.lab.kubernetes.images import CONTROL_PLANE, DATAPLANE

Object = dict[str, Any]

GOLDEN = Path(__file__).parents[2] / "golden" / "consul-k8s"
INJECT = "consul.hashicorp.com/connect-inject"
STATUS = "consul.hashicorp.com/connect-inject-status"
SERVICE = "consul.hashicorp.com/connect-service"
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # its directory
_ITS_SERVICES = ("web", "web-admin")
_ITS_IMAGES = {"consul-dataplane": DATAPLANE, "consul-k8s-control-plane": CONTROL_PLANE}


@dataclass(frozen=True)
class Settings:
    """How consul-k8s is installed."""

    fixture: str = "acls-tls"
    """One with ACLs and TLS, as `native-sidecar`, `dns` and `two-services` are."""
    probe_seconds: float = 1
    """How often its readiness is looked at; 10 in life."""


def wanted(pod: Mapping[str, Any]) -> bool:
    """Say whether a pod asks for it and has it not yet."""
    annotations = pod["metadata"].get("annotations") or {}
    return annotations.get(INJECT) == "true" and STATUS not in annotations


def services_of(pod: Mapping[str, Any]) -> list[str]:
    """Return the services that a pod is: by its annotation, or its ServiceAccount."""
    annotations = pod["metadata"].get("annotations") or {}
    account = pod["spec"].get("serviceAccountName", "default")
    return str(annotations.get(SERVICE) or account).split(",")


def patch(pod: Mapping[str, Any], settings: Settings) -> list[Object]:
    """Return the JSON patch that makes a pod one of the mesh."""
    spec, metadata = pod["spec"], pod["metadata"]
    theirs = _fixture(settings.fixture, pod)
    added = {kind: _theirs(theirs["spec"][kind], settings) for kind in _LISTS}
    marks = {
        kind: {
            **{k: v for k, v in theirs["metadata"].get(kind, {}).items() if _is(k)},
            **(metadata.get(kind) or {}),
        }
        for kind in ("annotations", "labels")
    }
    return [
        *(
            _add(f"/spec/{kind}", [*added[kind], *(spec.get(kind) or [])])
            for kind in _LISTS
        ),
        *(_add(f"/metadata/{kind}", value) for kind, value in marks.items()),
        *_dns(theirs["spec"]),
    ]


def _dns(spec: Mapping[str, Any]) -> list[Object]:
    """Return what a pod's DNS becomes, where the fixture has that."""
    if "dnsConfig" not in spec:
        return []
    return [_add(f"/spec/{name}", spec[name]) for name in ("dnsPolicy", "dnsConfig")]


_LISTS = ("volumes", "initContainers", "containers")


def _is(name: str) -> bool:
    return name.startswith("consul.hashicorp.com/")


def _fixture(name: str, pod: Mapping[str, Any]) -> Object:
    text = (GOLDEN / f"{name}.before.json").read_text()
    text = text.replace("consul-server.consul.svc", ",".join(CONSUL_ADDRESSES))
    text = text.replace("kube-api-access-x7k2p", _token_volume(pod["spec"]))
    services = services_of(pod)
    named = dict(zip(_ITS_SERVICES, services, strict=False))
    text = re.sub(
        r"(?<![\w/.])web(-admin)?(?![\w.])|(?<=-)web(-admin)?(?![\w.])",
        lambda found: named.get(found[0], found[0]),
        text,
    )
    made = json.loads(text)
    assert isinstance(made, dict)
    return made


def _theirs(entries: list[Object], settings: Settings) -> list[Object]:
    """Leave out the application, and what the API server has added by itself."""
    made = []
    for entry in entries:
        image = entry.get("image")
        if image is None:
            if entry["name"].startswith("kube-api-access"):
                continue
        elif image := next((_ITS_IMAGES[k] for k in _ITS_IMAGES if k in image), None):
            entry |= {"image": image, "imagePullPolicy": "Never"}
            for kind in ("readinessProbe", "startupProbe"):
                if kind in entry:
                    entry[kind]["periodSeconds"] = settings.probe_seconds
        else:
            continue
        made.append(entry)
    return made


def _token_volume(spec: Mapping[str, Any]) -> str:
    for container in spec["containers"]:
        for mount in container.get("volumeMounts") or []:
            if mount["mountPath"] == _TOKEN:
                return str(mount["name"])
    return "kube-api-access"


def _add(path: str, value: Any) -> Object:
    return {"op": "add", "path": path, "value": value}
