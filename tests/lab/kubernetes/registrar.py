"""A stand-in for consul-k8s's endpoints controller, in a thread of this process.

It registers an injected pod's service and proxy once the pod has an address, on the
virtual node of the pod's node, and takes them out again, with the pod's tokens, when
the pod ends.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from tests.lab.consul import ConsulCluster
from tests.lab.held import Held
from tests.lab.kubernetes.cluster import Cluster
from tests.lab.kubernetes.consul import METHOD
from tests.lab.kubernetes.injected import STATUS, Object, services_of

PODS = "/api/v1/pods"
TRANSPARENT = "consul.hashicorp.com/transparent-proxy-status"
RETRY_SECONDS = 0.2
_LOGIN = "token created via login: "


class Registrar(Held):
    """Keeps Consul's catalog as the pods are."""

    def __init__(self, cluster: Cluster, consul: ConsulCluster) -> None:
        """Prepare; nothing is watched yet."""
        self._api = cluster.api
        self._consul = consul
        self._over = threading.Event()
        self._open = threading.Event()
        self._open.set()
        self._registered: dict[str, Object] = {}
        self.registrations: dict[str, float] = {}
        """`namespace/pod` -> when it was registered, by `time.monotonic()`."""

    def hold(self, stack: ExitStack) -> None:
        """Watch from now on."""
        watching = threading.Thread(target=self._run, daemon=True)
        watching.start()
        stack.callback(watching.join)
        stack.callback(self._open.set)
        stack.callback(self._over.set)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Register nothing meanwhile, and take nothing out."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._follow()
            except (OSError, ValueError):
                # Everything is looked at again, as its controller does.
                self._over.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        listed = self._api.call("GET", PODS)
        version = listed["metadata"]["resourceVersion"]
        there = {pod["metadata"]["uid"] for pod in listed["items"]}
        for uid in set(self._registered) - there:
            self._take_out(uid)
        for pod in listed["items"]:
            self._see(pod)
        while not self._over.is_set():
            query = {"resourceVersion": version, "timeoutSeconds": "1"}
            for kind, pod in self._api.watch(PODS, **query):
                if kind == "ERROR":
                    raise OSError(f"the watch of pods ended: {pod}")
                version = pod["metadata"]["resourceVersion"]
                if kind == "DELETED":
                    self._take_out(pod["metadata"]["uid"])
                else:
                    self._see(pod)

    def _see(self, pod: Object) -> None:
        self._open.wait()
        metadata, status = pod["metadata"], pod["status"]
        uid = metadata["uid"]
        if (metadata.get("annotations") or {}).get(STATUS) != "injected":
            return
        ended = status.get("phase") in {"Succeeded", "Failed"}
        if "deletionTimestamp" in metadata or ended:
            self._take_out(uid)
        elif status.get("podIP") and self._differs(pod):
            for entry in _entries(pod):
                self._consul.call("PUT", "/v1/catalog/register", entry)
            self._registered[uid] = pod
            name = f"{metadata['namespace']}/{metadata['name']}"
            self.registrations[name] = time.monotonic()

    def _differs(self, pod: Object) -> bool:
        """Say whether it is not registered with its address, as after a reboot."""
        known = self._registered.get(pod["metadata"]["uid"])
        return known is None or known["status"]["podIP"] != pod["status"]["podIP"]

    def _take_out(self, uid: str) -> None:
        self._open.wait()
        pod = self._registered.get(uid)
        if pod is None:
            return
        for entry in reversed(_entries(pod)):
            body = {"Node": entry["Node"], "ServiceID": entry["Service"]["ID"]}
            self._consul.call("PUT", "/v1/catalog/deregister", body)
        self._delete_tokens(pod)
        del self._registered[uid]

    def _delete_tokens(self, pod: Object) -> None:
        """Delete the tokens whose login's meta names the pod."""
        metadata = pod["metadata"]
        name = f"{metadata['namespace']}/{metadata['name']}"
        tokens = self._consul.call("GET", f"/v1/acl/tokens?authmethod={METHOD}")
        for token in tokens:
            meta = _meta(token["Description"])
            same = meta.get("pod-uid", metadata["uid"]) == metadata["uid"]
            if meta.get("pod") == name and same:
                accessor = token["AccessorID"]
                self._consul.call("DELETE", f"/v1/acl/token/{accessor}")


def _meta(description: str) -> dict[str, str]:
    with suppress(ValueError):
        found = json.loads(description.removeprefix(_LOGIN))
        if isinstance(found, dict):
            return found
    return {}


def _entries(pod: Object) -> list[Any]:
    """Return what consul-k8s registers of a pod: each service, then its proxy."""
    metadata, status = pod["metadata"], pod["status"]
    host = {
        "Node": f"{pod['spec']['nodeName']}-virtual",
        "Address": status.get("hostIP", status["podIP"]),
        "NodeMeta": {"synthetic-node": "true"},
        "SkipNodeUpdate": False,
    }
    made = []
    for at, service in enumerate(services_of(pod)):
        instance = {
            "ID": f"{metadata['name']}-{service}",
            "Service": service,
            "Address": status["podIP"],
            "Port": 8080 + at,
            "Meta": _registration_meta(pod, service),
        }
        made += [instance, _proxy(pod, instance, 20000 + at)]
    return [{**host, "Service": entry} for entry in made]


def _proxy(pod: Object, instance: Object, port: int) -> Object:
    transparent = pod["metadata"]["annotations"].get(TRANSPARENT) == "enabled"
    return {
        **instance,
        "Kind": "connect-proxy",
        "ID": f"{instance['ID']}-sidecar-proxy",
        "Service": f"{instance['Service']}-sidecar-proxy",
        "Port": port,
        "Proxy": {
            "DestinationServiceName": instance["Service"],
            "DestinationServiceID": instance["ID"],
            "LocalServiceAddress": "127.0.0.1",
            "LocalServicePort": instance["Port"],
            "Mode": "transparent" if transparent else "",
        },
    }


def _registration_meta(pod: Object, service: str) -> dict[str, str]:
    return {
        "pod-name": pod["metadata"]["name"],
        "pod-uid": pod["metadata"]["uid"],
        "k8s-namespace": pod["metadata"]["namespace"],
        "k8s-service-name": service,
        "managed-by": "consul-k8s-endpoints-controller",
        "synthetic-node": "true",
    }
