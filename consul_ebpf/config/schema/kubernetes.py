"""The tables about Kubernetes: the node plugin in `run`, and the webhook."""

from typing import Annotated, Literal

from msgspec import Meta

from consul_ebpf.config.schema.section import Section


class Kubernetes(Section, frozen=True):
    """`[kubernetes]`: the controller as kubelet's CSI node plugin."""

    enabled: bool = False
    """Serve kubelet's CSI calls, and the proxies of the pods on this node."""
    driver: str = "csi.consul-ebpf.io"
    """The name of the CSIDriver object, and of the driver in pods' volumes: at most 63
    lower-case letters, digits, dots and hyphens."""
    node_name: str = ""
    """The node's name in Kubernetes. Empty: `$NODE_NAME`, which the DaemonSet sets."""
    kubelet_directory: str = "/var/lib/kubelet"
    """Kubelet's `--root-dir`. Some distributions have it elsewhere."""
    cgroup_root: str = ""
    """Kubelet's `cgroupRoot`, the cgroup that pods' cgroups are below, such as
    `kubelet` in kind. Empty: the top of the hierarchy."""
    volumes: Literal["tmpfs", "directory"] = "tmpfs"
    """`tmpfs`: each volume is a mount in memory. `directory`: it is a directory on the
    node's disk, for a controller that may not mount."""
    catalog_node: str = "{node}-virtual"
    """The node in Consul's catalog that the pods' proxies are registered on. `{node}`
    stands for the node's name in Kubernetes."""
    wait: Annotated[float, Meta(ge=0.01, le=100)] = 8.0
    """Seconds that a publish call waits until the kernel has the pod's VIP. After that
    kubelet is told why, and tries again."""


class Webhook(Section, frozen=True):
    """`[webhook]`: the webhook that rewrites consul-dataplane's containers."""

    listen: str = "0.0.0.0:9443"
    """IP address and port (`address:port`) that serve HTTPS to the API server."""
    certificates: Literal["self", "files"] = "self"
    """`self`: the webhook makes its certificates and keeps them in `webhook.secret`.
    `files`: `webhook.cert` and `webhook.key`, as cert-manager writes them."""
    cert: str = ""
    """For `files`: the certificate. It is read again whenever it changes."""
    key: str = ""
    """For `files`: the private key of `webhook.cert`."""
    secret: str = "consul-ebpf-webhook"  # noqa: S105 - its name
    """For `self`: the Secret that holds the certificates, in the webhook's
    namespace."""
    configuration: str = "zz-consul-ebpf"
    """For `self`: the MutatingWebhookConfiguration whose `caBundle` is kept right."""
    service: str = "consul-ebpf-webhook"
    """For `self`: the Service that the API server calls; the certificate has its
    names."""
    runtime_classes: list[str] = []
    """Runtime classes whose pods are rewritten, too: their `connect()` is that of the
    host's kernel. Pods of any other runtime class are skipped."""
    envoy_image: str = ""
    """The image of the Envoy that pods with `consul-ebpf.io/inject` get. Empty: such
    pods are left as they are."""
    init_image: str = ""
    """The image of the init container that waits for that Envoy's bootstrap: any with
    `sh`, `cat` and `sleep`, such as the controller's own. Empty: `webhook.envoy_image`,
    which then needs a shell."""
