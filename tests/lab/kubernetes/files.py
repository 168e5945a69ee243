"""Certificates, keys and configuration of a cluster's programs."""

import json
import secrets
import subprocess
import tomllib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.lab.certificates import Authority
from tests.lab.controller import toml
from tests.lab.kubernetes.links import BRIDGE

NETWORK = "10.244.9"
GATEWAY = f"{NETWORK}.1"
NODE_ADDRESS = f"{NETWORK}.2"
CONSUL_ADDRESSES = tuple(f"{NETWORK}.{last}" for last in (11, 12, 13))
"""Addresses of the host's that pods reach."""
SERVICE_NETWORK = "10.96.0.0/24"
API_SERVICE = "10.96.0.1"
CNI_PLUGINS = Path("/usr/lib/cni")


@dataclass(frozen=True)
class Credentials:
    """Who may do what with the API server: the administrator, and who it is itself."""

    directory: Path
    ca: str
    token: str

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, with its token."""
        return self.directory / "kubeconfig"

    def write_kubeconfig(self, server: str) -> None:
        """Write how the administrator reaches the API server."""
        cluster = {"server": server, "certificate-authority": str(self.ca_file)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [
                {"name": "lab", "context": {"cluster": "lab", "user": "admin"}}
            ],
            "current-context": "lab",
        }
        self.kubeconfig.write_text(json.dumps(config))


def write_credentials(directory: Path) -> Credentials:
    """Make a CA, the API server's certificate and keys, the administrator's token."""
    authority = Authority(lifetime=timedelta(days=2))
    names = ["kubernetes.default.svc", "127.0.0.1", API_SERVICE, NODE_ADDRESS]
    issued = authority.issue(names)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    token = secrets.token_hex(16)
    for name, text in {
        "ca.crt": authority.pem,
        "server.crt": issued.cert,
        "server.key": issued.key,
        "sa.key": private.decode(),
        "sa.pub": public.decode(),
        "tokens.csv": f'{token},admin,1,"system:masters"\n',
    }.items():
        (directory / name).write_text(text)
    return Credentials(directory, authority.pem, token)


def write_containerd(root: Path, containerd: Path, pause: str, runc: str) -> Path:
    """Write the configuration of a containerd that has everything below `root`."""
    default = subprocess.run(
        [containerd, "config", "default"], capture_output=True, text=True, check=True
    ).stdout
    config: dict[str, Any] = tomllib.loads(default)
    plugins = config["plugins"]
    config["root"] = str(root / "containerd")
    config["state"] = str(root / "state")
    config["imports"] = []
    server = "io.containerd.server.v1"
    plugins[f"{server}.grpc"]["address"] = str(root / "containerd.sock")
    plugins[f"{server}.ttrpc"]["address"] = str(root / "containerd.sock.ttrpc")
    plugins["io.containerd.internal.v1.opt"]["path"] = str(root / "opt")
    plugins["io.containerd.nri.v1.nri"]["disable"] = True
    plugins["io.containerd.shim.v1.manager"]["socket_dir"] = str(root / "shims")
    images = plugins["io.containerd.cri.v1.images"]
    images["pinned_images"]["sandbox"] = pause
    runtime = plugins["io.containerd.cri.v1.runtime"]
    runtime |= {
        "restrict_oom_score_adj": True,  # root may lack cap_sys_resource
        "disable_apparmor": True,
        "netns_mounts_under_state_dir": True,
        "cdi_spec_dirs": [],
        "enable_cdi": False,
    }
    runtime["cni"] |= {"bin_dirs": [str(CNI_PLUGINS)], "conf_dir": str(root / "cni")}
    options = runtime["containerd"]["runtimes"]["runc"]["options"]
    options |= {"BinaryName": runc, "Root": str(root / "runc"), "SystemdCgroup": False}
    _write_network(root)
    path = root / "containerd.toml"
    path.write_text(toml(config))
    return path


def _write_network(root: Path) -> None:
    addresses = {
        "type": "host-local",
        "dataDir": str(root / "addresses"),
        "ranges": [[{"subnet": f"{NETWORK}.0/24", "rangeStart": f"{NETWORK}.20"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "ipMasq": False,
        "ipam": addresses,
    }
    network = {"cniVersion": "1.0.0", "name": "lab", "plugins": [bridge]}
    (root / "cni").mkdir(exist_ok=True)
    (root / "cni" / "10-lab.conflist").write_text(json.dumps(network))


def write_kubelet(root: Path, ports: tuple[int, int], sync_seconds: float) -> Path:
    """Write kubelet's configuration; the ports are its own and that of its health."""
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "port": ports[0],
        "healthzPort": ports[1],
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "localStorageCapacityIsolation": False,
        "authentication": {
            "anonymous": {"enabled": True},
            "webhook": {"enabled": False},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{root / 'containerd.sock'}",
        "syncFrequency": f"{sync_seconds:g}s",
        "volumePluginDir": str(root / "volume-plugins"),
        "podLogsDir": str(root / "logs"),
        "maxPods": 250,
        # A full disk is the business of who runs the tests.
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
    }
    path = root / "kubelet.yaml"
    path.write_text(json.dumps(config))
    return path
