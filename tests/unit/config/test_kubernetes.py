"""What `[kubernetes]` and `[webhook]` may say."""

from pathlib import Path

import pytest

from consul_ebpf.config.kubernetes import catalog_node, csi_socket, registration_socket
from tests.lab.configuration import PLAINTEXT, load_text, refusal

NODE = {"NODE_NAME": "n1"}


def enabled(rest: str = "") -> str:
    return f"{PLAINTEXT}[kubernetes]\nenabled = true\n{rest}"


def test_the_nodes_name_comes_from_the_daemonset(tmp_path: Path) -> None:
    """`$NODE_NAME` counts where the file names no node; sockets are kubelet's."""
    kubernetes = load_text(tmp_path, enabled(), NODE).kubernetes
    assert "n1-virtual" == catalog_node(kubernetes)
    driver = "csi.consul-ebpf.io"
    kubelet = "/var/lib/kubelet"
    assert f"{kubelet}/plugins/{driver}/csi.sock" == str(csi_socket(kubernetes))
    registry = f"{kubelet}/plugins_registry/{driver}-reg.sock"
    assert registry == str(registration_socket(kubernetes))
    named = load_text(tmp_path, enabled("node_name = 'n2'"), NODE).kubernetes
    assert "n2" == named.node_name
    assert not load_text(tmp_path, PLAINTEXT, NODE).kubernetes.node_name


def test_a_node_without_a_name_is_told_what_to_do(tmp_path: Path) -> None:
    """Commands that only look, and the webhook, do not need it."""
    assert "kubernetes.node_name: is empty, as is $NODE_NAME; set one" in refusal(
        tmp_path, enabled()
    )
    assert load_text(tmp_path, enabled(), serving=False).kubernetes.enabled


def test_the_same_proxies_are_not_named_twice(tmp_path: Path) -> None:
    """The node of the pods is followed already."""
    text = enabled("[workloads]\ncatalog_nodes = ['n0', 'n1-virtual']")
    with pytest.raises(Exception, match=r"catalog_nodes: 'n1-virtual' is kubernetes\."):
        load_text(tmp_path, text, NODE)
    assert load_text(tmp_path, text, {"NODE_NAME": "n2"})
    off = text.replace("enabled = true", "enabled = false")
    assert load_text(tmp_path, off, NODE)


def test_registrations_are_asked_for_over_http(tmp_path: Path) -> None:
    """No address is used that nobody configured."""
    text = enabled("node_name = 'n'\n[consul]\nsource = 'static'\naddresses = ['::1']")
    assert "consul.http_addresses: is empty; [kubernetes] needs it" in refusal(
        tmp_path, text
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("driver = 'A.b'", "kubernetes.driver: 'A.b' is not a driver's name"),
        ("driver = ''", "kubernetes.driver: '' is not"),
        ("driver = '../x'", "kubernetes.driver: "),
        (f"driver = '{'x' * 64}'", "kubernetes.driver: "),
        ("kubelet_directory = 'var'", "kubernetes.kubelet_directory: 'var' is not"),
        ("kubelet_directory = '/a/../b'", "kubernetes.kubelet_directory: "),
        ("kubelet_directory = '/'", "kubernetes.kubelet_directory: "),
        ('kubelet_directory = "/a\\nb"', "kubernetes.kubelet_directory: "),
        (f"kubelet_directory = '/{'k' * 70}'", "at most 107; take a shorter one"),
        ("node_name = 'N 1'", "kubernetes.node_name: 'N 1' is not the name of a node"),
        ("cgroup_root = '../x'", "kubernetes.cgroup_root: '../x' is not a path"),
        ("catalog_node = 'k8s'", "'k8s' does not hold {node}, so all nodes would be"),
        ("catalog_node = '{node}/x'", "kubernetes.catalog_node: '{node}/x' is not"),
        ("wait = 101", "kubernetes.wait"),
        ("volumes = 'ram'", "kubernetes.volumes"),
        ("[webhook]\nlisten = ':1'", "webhook.listen: ':1': not an IP address; write"),
        ("[webhook]\ncertificates = 'files'", "webhook.cert: is empty; certificates"),
        ("[webhook]\nkey = '/k'", "webhook.key: is given, and certificates"),
        (
            "[webhook]\ncertificates = 'files'\ncert = 'x'\nkey = '/k'",
            "webhook.cert: 'x' is not an absolute path",
        ),
        ("[webhook]\nsecret = 'a/b'", "webhook.secret: 'a/b' is not an object's name"),
        ("[webhook]\nruntime_classes = ['gvisor', '']", "webhook.runtime_classes[1]: "),
        ("[webhook]\nenvoy_image = 'a b'", "webhook.envoy_image: 'a b' is not"),
    ],
)
def test_what_cannot_be_right_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """Each with its key, and what to do."""
    rest = text if text.startswith("[") else f"[kubernetes]\n{text}"
    assert said in refusal(tmp_path, f"{PLAINTEXT}{rest}")


def test_the_root_of_kind_and_a_path_are_roots(tmp_path: Path) -> None:
    """With a leading slash or without."""
    for root in ("kubelet", "/kubelet.slice", "a/b"):
        text = f"{PLAINTEXT}[kubernetes]\ncgroup_root = '{root}'"
        assert root == load_text(tmp_path, text).kubernetes.cgroup_root
