"""A kubelet's side of a node: pods' directories and cgroups, and the calls it makes."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from consul_ebpf.kubernetes.pods.volume import PREFIX, TOKENS, Publish

USUAL = "consul-ebpf"
"""The volume's name in a pod with one service."""


class FakePod:
    """A pod on the node; each has another uid, whatever its name."""

    def __init__(
        self, kubelet: "FakeKubelet", name: str, namespace: str, *, cgroup: bool
    ) -> None:
        self._kubelet = kubelet
        self.name = name
        self.namespace = namespace
        self.uid = str(uuid.uuid4())
        if cgroup:
            self.make_cgroup()

    def __repr__(self) -> str:
        return f"<FakePod {self.namespace}/{self.name} {self.uid}>"

    @property
    def key(self) -> str:
        """The key of its proxy, if it has one service."""
        return f"{self.namespace}.{self.name}.{self.uid}"

    @property
    def directory(self) -> Path:
        """Kubelet's directory of the pod."""
        return self._kubelet.directory / "pods" / self.uid

    @property
    def cgroup(self) -> Path:
        """Its cgroup, as the cgroupfs driver names it."""
        return self._kubelet.cgroups / "kubepods/burstable" / f"pod{self.uid}"

    def make_cgroup(self) -> None:
        """Make its cgroup, which kubelet usually does before any mount."""
        self.cgroup.mkdir(parents=True)

    def target(self, volume: str = USUAL) -> Path:
        """Where kubelet wants a volume."""
        return self.directory / "volumes" / "kubernetes.io~csi" / volume / "mount"

    def volume_id(self, volume: str = USUAL) -> str:
        """Return what kubelet calls a volume: the same after a reboot."""
        digest = hashlib.sha256(f"{self.uid}{volume}".encode()).hexdigest()
        return f"csi-{digest}"

    def publish(
        self,
        attributes: Mapping[str, str] | None = None,
        *,
        volume: str = USUAL,
        token: str = "eyJ.pod",  # noqa: S107  # of nobody
    ) -> Publish:
        """Prepare a volume's place and return the call; `token` empty: none is sent."""
        self.target(volume).parent.mkdir(parents=True, exist_ok=True)
        told = {
            "ephemeral": "true",
            "pod.name": self.name,
            "pod.namespace": self.namespace,
            "pod.uid": self.uid,
            "serviceAccount.name": "default",
        }
        tokens = {"": {"token": token, "expirationTimestamp": "2026-11-27T00:00:00Z"}}
        return Publish(
            self.volume_id(volume),
            str(self.target(volume)),
            {**(attributes or {}), **{f"{PREFIX}{k}": v for k, v in told.items()}},
            {TOKENS: json.dumps(tokens)} if token else {},
        )

    def remove(self) -> None:
        """Remove its directory and its cgroup, as for a pod that is gone."""
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(self.cgroup, ignore_errors=True)


class FakeKubelet:
    """Makes pods below `directory`, and their cgroups below `cgroups`."""

    def __init__(self, directory: Path, cgroups: Path) -> None:
        """Begin without pods."""
        self.directory = directory
        self.cgroups = cgroups
        (directory / "pods").mkdir(parents=True)

    def __repr__(self) -> str:
        return f"<FakeKubelet {self.directory}>"

    def pod(
        self, name: str = "web-1", namespace: str = "default", *, cgroup: bool = True
    ) -> FakePod:
        """Make a pod; without `cgroup` its cgroup comes later."""
        return FakePod(self, name, namespace, cgroup=cgroup)
