"""What each of a cluster's programs is told on its command line."""

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.lab.kubernetes.files import NODE_ADDRESS, SERVICE_NETWORK

NODE = "node-1"


@dataclass(frozen=True)
class Ports:
    """Where the programs listen: the API server and kubelet on the node's address."""

    api: int
    etcd: int
    peers: int
    controllers: int
    scheduler: int
    kubelet: int
    kubelet_health: int

    @classmethod
    def free(cls) -> Self:
        """Find as many ports as are needed that nobody listens at."""
        with ExitStack() as stack:
            found = [stack.enter_context(socket.socket()) for _ in range(7)]
            for each in found:
                each.bind(("127.0.0.1", 0))
            return cls(*(each.getsockname()[1] for each in found))


def etcd(root: Path, ports: Ports) -> list[str]:
    """Of a store that need not outlive the machine."""
    client, peer = (f"http://127.0.0.1:{port}" for port in (ports.etcd, ports.peers))
    return [
        f"--data-dir={root / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    ]


def api_server(root: Path, ports: Ports) -> list[str]:
    """Of the API server: pods reach it, and it asks a webhook's pods directly."""
    return [
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        f"--bind-address={NODE_ADDRESS}",
        f"--advertise-address={NODE_ADDRESS}",
        f"--secure-port={ports.api}",
        f"--tls-cert-file={root / 'server.crt'}",
        f"--tls-private-key-file={root / 'server.key'}",
        f"--cert-dir={root / 'certificates'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={root / 'sa.pub'}",
        f"--service-account-signing-key-file={root / 'sa.key'}",
        f"--token-auth-file={root / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--endpoint-reconciler-type=none",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        "--enable-aggregator-routing=true",
    ]


def controllers(root: Path, ports: Ports) -> list[str]:
    """Of the controller manager."""
    return [
        *_component(root, "controllers", ports.controllers),
        f"--service-account-private-key-file={root / 'sa.key'}",
        f"--root-ca-file={root / 'ca.crt'}",
    ]


def scheduler(root: Path, ports: Ports) -> list[str]:
    """Of the scheduler."""
    return _component(root, "scheduler", ports.scheduler)


def kubelet(root: Path, directory: Path, config: Path) -> list[str]:
    """Of kubelet, whose files are below `directory`."""
    return [
        f"--config={config}",
        f"--kubeconfig={root / 'kubeconfig'}",
        f"--root-dir={directory}",
        f"--cert-dir={root / 'kubelet-certificates'}",
        f"--node-ip={NODE_ADDRESS}",
        f"--hostname-override={NODE}",
    ]


def _component(root: Path, name: str, port: int) -> list[str]:
    return [
        f"--kubeconfig={root / 'kubeconfig'}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={root / name}",
    ]
