"""Checks of `[kubernetes]` and `[webhook]`, and what their values stand for. Pure."""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath

import msgspec

from consul_ebpf.config.schema import Config, Kubernetes, Webhook
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.http_address import MAX_SOCKET_PATH
from consul_ebpf.model.names import shown

Problems = Iterator[tuple[str, str]]
"""(key path, what is wrong and what to do) of each problem."""

NODE = "{node}"
"""What stands for the node's name in `kubernetes.catalog_node`."""

LONGEST_DRIVER = 63
"""Most characters of a CSI driver's name."""

_SUBDOMAIN = re.compile(
    r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
)
_BESIDE_NODE = re.compile(r"[A-Za-z0-9._-]*")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")


def with_node_name(config: Config, env: Mapping[str, str]) -> Config:
    """Complete `kubernetes.node_name` from `$NODE_NAME`, as the DaemonSet sets it."""
    kubernetes, name = config.kubernetes, env.get("NODE_NAME", "")
    if kubernetes.node_name or not (kubernetes.enabled and name):
        return config
    kubernetes = msgspec.structs.replace(kubernetes, node_name=name)
    return msgspec.structs.replace(config, kubernetes=kubernetes)


def problems(config: Config) -> Problems:
    """Yield (key path, what is wrong and what to do) for each problem."""
    yield from _kubernetes(config.kubernetes)
    yield from _webhook(config.webhook)
    kubernetes = config.kubernetes
    if kubernetes.enabled and kubernetes.node_name:
        node = catalog_node(kubernetes)
        if node in config.workloads.catalog_nodes:
            wrong = f"{shown(node)} is kubernetes.catalog_node, so its proxies would be"
            yield "workloads.catalog_nodes", f"{wrong} there twice; remove it here"


def not_served(config: Config) -> Problems:
    """Yield what `run` lacks."""
    kubernetes = config.kubernetes
    if not kubernetes.enabled:
        return
    if not kubernetes.node_name:
        wrong = "is empty, as is $NODE_NAME; set one to the node's name in Kubernetes"
        yield "kubernetes.node_name", wrong
    if not config.consul.http_addresses:
        wrong = 'is empty; [kubernetes] needs it, like ["https://consul-server:8501"]'
        yield "consul.http_addresses", wrong


def catalog_node(kubernetes: Kubernetes) -> str:
    """Return the node in Consul's catalog that the pods' proxies are registered on."""
    return kubernetes.catalog_node.replace(NODE, kubernetes.node_name)


def csi_socket(kubernetes: Kubernetes) -> PurePath:
    """Return the path of the socket that kubelet's CSI calls come to."""
    directory = PurePath(kubernetes.kubelet_directory)
    return directory / "plugins" / kubernetes.driver / "csi.sock"


def registration_socket(kubernetes: Kubernetes) -> PurePath:
    """Return the path of the socket by which kubelet finds the plugin."""
    directory = PurePath(kubernetes.kubelet_directory)
    return directory / "plugins_registry" / f"{kubernetes.driver}-reg.sock"


def _kubernetes(kubernetes: Kubernetes) -> Problems:
    directory = kubernetes.kubelet_directory
    if not _is_plain_path(directory):
        wrong = f"{shown(directory)} is not an absolute path without '..'"
        yield "kubernetes.kubelet_directory", f"{wrong}; begin it with /"
    if not _is_subdomain(driver := kubernetes.driver, LONGEST_DRIVER):
        wrong = f"{shown(driver)} is not a driver's name; write one like"
        yield "kubernetes.driver", f"{wrong} csi.consul-ebpf.io"
    for path in (csi_socket(kubernetes), registration_socket(kubernetes)):
        size = len(str(path).encode("utf-8", "surrogatepass"))
        if size > MAX_SOCKET_PATH:
            wrong = f"{shown(str(path))} has {size} bytes; a unix socket's path has at"
            wrong = f"{wrong} most {MAX_SOCKET_PATH}; take a shorter one, or a shorter"
            yield "kubernetes.kubelet_directory", f"{wrong} kubernetes.driver"
    name = kubernetes.node_name
    if name and not _is_subdomain(name, 253):
        wrong = f"{shown(name)} is not the name of a node in Kubernetes"
        yield "kubernetes.node_name", f"{wrong}; `kubectl get nodes` lists them"
    root = kubernetes.cgroup_root
    if root and not _is_plain_path(f"/{root.removeprefix('/')}"):
        wrong = f"{shown(root)} is not a path below the top of the cgroups"
        yield "kubernetes.cgroup_root", f"{wrong}; take kubelet's cgroupRoot"
    node = kubernetes.catalog_node
    key = "kubernetes.catalog_node"
    if NODE not in node:
        wrong = f"{shown(node)} does not hold {NODE}, so all nodes would be one; write"
        yield key, f'{wrong} it like "{NODE}-virtual"'
    elif not _BESIDE_NODE.fullmatch(node.replace(NODE, "")) or len(node) > 253:
        wrong = f"{shown(node)} is not a node's name; write letters, digits, '.', '-'"
        yield key, f"{wrong}, '_' and {NODE}"


def _webhook(webhook: Webhook) -> Problems:
    try:
        parse_endpoint(webhook.listen)
    except ValueError as error:
        example = 'write it like "0.0.0.0:9443"'
        yield "webhook.listen", f"{shown(webhook.listen)}: {error}; {example}"
    yield from _files(webhook)
    for name in ("secret", "configuration", "service"):
        if not _is_subdomain(text := getattr(webhook, name), 253):
            yield f"webhook.{name}", f"{shown(text)} is not an object's name"
    for index, name in enumerate(webhook.runtime_classes):
        if not _is_subdomain(name, 253):
            wrong = f"{shown(name)} is not a RuntimeClass's name"
            yield f"webhook.runtime_classes[{index}]", wrong
    for name in ("envoy_image", "init_image"):
        image = getattr(webhook, name)
        if image and not _IMAGE.fullmatch(image):
            yield f"webhook.{name}", f"{shown(image)} is not an image"


def _files(webhook: Webhook) -> Problems:
    for name in ("cert", "key"):
        path, key = getattr(webhook, name), f"webhook.{name}"
        if path and not _is_plain_path(path):
            yield key, f"{shown(path)} is not an absolute path without '..'"
        if webhook.certificates == "files" and not path:
            yield key, 'is empty; certificates = "files" needs cert and key'
        if webhook.certificates == "self" and path:
            yield (
                key,
                'is given, and certificates = "self"; write "files", or remove it',
            )


def _is_subdomain(text: str, longest: int) -> bool:
    """Whether Kubernetes takes it as an object's name."""
    return len(text) <= longest and _SUBDOMAIN.fullmatch(text) is not None


def _is_plain_path(text: str) -> bool:
    path = PurePath(text)
    plain = path.is_absolute() and ".." not in path.parts and bool(path.name)
    return plain and text.isprintable() and len(text) <= 1024
