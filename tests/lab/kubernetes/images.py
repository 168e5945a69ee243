"""Images without a registry: root file systems as archives of the OCI's layout.

Each is written where it is asked for and imported into containerd by `ctr`; a pod that
names one has `imagePullPolicy: Never`.
"""

import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.debian import unpacked
from tests.lab.go_build import PartMissingError

PAUSE = "localhost/pause:lab"
BUSYBOX = "localhost/busybox:lab"
APPLICATION = "localhost/application:lab"
DATAPLANE = "localhost/consul-dataplane:lab"
CONTROL_PLANE = "localhost/consul-k8s-control-plane:lab"
CONTROLLER = "localhost/consul-ebpf:lab"

_USER = "100"  # theirs
_BUSYBOX = Path("/bin/busybox")
_XTABLES = Path("/usr/lib/x86_64-linux-gnu/xtables")
_DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "run", "sys", "usr", "var")
_EMPTY = ("lib", "lib64", "etc/ssl", "usr/bin", "usr/local", "usr/local/bin")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"

# A pod that is not rewritten runs it: nothing but a process of that name.
_SLEEPS = """#!/bin/sh
case "$*" in *-check-proxy-health*|*-version*) exit 0;; esac
trap 'exit 0' TERM INT
while :; do sleep 1; done
"""

# What consul-k8s's does once Consul has the pod's registration.
_CONNECT_INIT = """#!/bin/sh
set -eu
file=/consul/connect-inject/proxyid service=""
for word in "$@"; do case "$word" in
  -proxy-id-file=*) file=${word#*=};;
  -service-name=*) service=${word#*=};;
esac; done
echo "$POD_NAME-${service:-service}-sidecar-proxy" > "$file"
"""


@dataclass(frozen=True)
class Image:
    """What a container begins with."""

    name: str
    entrypoint: Sequence[str]
    files: Mapping[str, Path | str] = field(default_factory=dict)
    """Path in the image -> a file of the host's, or the text of a script."""
    links: Mapping[str, str] = field(default_factory=dict)
    user: str = "0"

    def write(self, directory: Path) -> Path:
        """Write an archive that `ctr images import` takes."""
        blobs: dict[str, bytes] = {}
        layer = self._layer()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "User": self.user,
                "Entrypoint": list(self.entrypoint),
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _add(blobs, _CONFIG, json.dumps(config).encode()),
            "layers": [_add(blobs, _LAYER, layer)],
        }
        described = _add(blobs, _MANIFEST, json.dumps(manifest).encode())
        described["annotations"] = {"io.containerd.image.name": self.name}
        index = {"schemaVersion": 2, "manifests": [described]}
        name = re.sub(r"\W", "-", self.name)
        path = directory / f"{name}.tar"
        with tarfile.open(path, "w") as archive:
            _file(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
            _file(archive, "index.json", json.dumps(index).encode())
            for digest, data in blobs.items():
                _file(archive, f"blobs/sha256/{digest}", data)
        return path

    def _layer(self) -> bytes:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as layer:
            for name in (*_DIRECTORIES, *_EMPTY):
                _directory(layer, name, 0o755)
            for name in ("tmp", "var/tmp"):
                _directory(layer, name, 0o1777)
            _file(layer, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)
            for name, target in self.links.items():
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, target
                layer.addfile(link)
            for name, source in self.files.items():
                text = source if isinstance(source, str) else None
                data = Path(source).read_bytes() if text is None else text.encode()
                _file(layer, name, data, 0o755)
        return made.getvalue()


def basic() -> list[Image]:
    """Return what every cluster has: pods can be started, and do nothing."""
    files, links = _shell()
    sleep = ("/bin/sh", "-c", "trap 'exit 0' TERM; sleep 2147483647 & wait")
    busybox = Image(BUSYBOX, ("/bin/sh",), files, links)
    return [
        Image(PAUSE, sleep, files, links),
        busybox,
        Image(APPLICATION, sleep, files, links),
        Image(CONTROLLER, ("/bin/sh",), files, links),
    ]


def consul(envoy: Path) -> list[Image]:
    """Return stand-ins of the two that consul-k8s gives a pod; Envoy is real."""
    files, links = _shell()
    own: dict[str, Path | str] = {
        "usr/local/bin/envoy": envoy,
        "usr/local/bin/consul-dataplane": _SLEEPS,
    }
    links_too = {**links, "usr/local/bin/privileged-envoy": "envoy"}
    init: dict[str, Path | str] = {"bin/consul-k8s-control-plane": _CONNECT_INIT}
    dataplane = {**files, **_libraries(envoy), **own}
    command = ("/usr/local/bin/consul-dataplane",)
    return [
        Image(DATAPLANE, command, dataplane, links_too, _USER),
        Image(CONTROL_PLANE, ("/bin/sh",), {**files, **init}, links, _USER),
    ]


def real_consul_k8s(envoy: Path, control_plane: Path, dataplane: Path) -> list[Image]:
    """Return the two of `consul`, of real parts; with iptables for their rules."""
    files, links = _shell()
    iptables = Path("/usr/sbin/iptables").resolve()
    names = ("iptables", "ip6tables", "iptables-save")
    init: dict[str, Path | str] = {
        **{f"usr/bin/{name}": iptables for name in names},
        **{str(each).lstrip("/"): each for each in _XTABLES.glob("*.so")},
        "bin/consul-k8s-control-plane": control_plane,
    }
    own: dict[str, Path | str] = {
        "usr/local/bin/envoy": envoy,
        "usr/local/bin/consul-dataplane": dataplane,
    }
    command = ("/usr/local/bin/consul-dataplane",)
    return [
        Image(DATAPLANE, command, {**files, **_libraries(envoy), **own}, links, _USER),
        Image(
            CONTROL_PLANE,
            ("/bin/sh",),
            {**files, **_libraries(iptables), **init},
            links,
            _USER,
        ),
    ]


def missing() -> str:
    """Say why images cannot be made here; empty: they can."""
    try:
        _busybox()
    except PartMissingError as error:
        return str(error)
    return ""


def _shell() -> tuple[dict[str, Path | str], dict[str, str]]:
    """Return busybox, and the names it goes by."""
    busybox = _busybox()
    names = subprocess.run(
        [busybox, "--list"], capture_output=True, text=True, check=True
    ).stdout.split()
    links = {f"bin/{name}": "busybox" for name in names if name != "busybox"}
    return {"bin/busybox": busybox}, links


def _busybox() -> Path:
    """Return a busybox that needs no library."""
    for busybox in (
        _BUSYBOX,
        Path("/usr/bin/busybox"),
        unpacked().root / "bin/busybox",
    ):
        if busybox.exists() and not _libraries(busybox):
            return busybox
    raise PartMissingError("no static busybox: apt-get install busybox-static")


def _libraries(program: Path) -> dict[str, Path | str]:
    """Return what the loader would load, and the loader."""
    said = subprocess.run(
        ["ldd", program], capture_output=True, text=True, check=False
    ).stdout
    found = re.findall(r"(/\S+) \(0x", said)
    return {path.lstrip("/"): Path(path).resolve() for path in found}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _add(blobs: dict[str, bytes], kind: str, data: bytes) -> dict[str, object]:
    digest = _digest(data)
    blobs[digest.removeprefix("sha256:")] = data
    return {"mediaType": kind, "digest": digest, "size": len(data)}


def _file(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def _directory(archive: tarfile.TarFile, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    archive.addfile(entry)
