"""The nameservers of a pod whose DNS consul-dataplane answers. Pure.

consul-k8s gives such a pod `dnsPolicy: None` and its own nameservers: consul-dataplane,
by an address of the pod's loopback, then those of the cluster. The VIP of DNS takes the
place of the first.
"""

from collections.abc import Iterable

from consul_ebpf.config.schema import Config
from consul_ebpf.kubernetes.webhook.pod import Pod
from consul_ebpf.kubernetes.webhook.reasons import Reason, SkipError
from consul_ebpf.kubernetes.webhook.sidecars import Sidecar

PORT = 53
"""A nameserver of a pod has no other."""


def nameservers(
    pod: Pod, sidecars: Iterable[Sidecar], config: Config
) -> list[str] | None:
    """Return the pod's nameservers; None: they stay as they are.

    Raises:
        SkipError: consul-dataplane answers DNS in the pod, and here nobody would.
    """
    bound = {
        each.options.text("consul-dns-bind-addr") or "127.0.0.1"
        for each in sidecars
        if each.options.number("consul-dns-bind-port", -1) > 0
    }
    if not bound:
        return None
    if not config.dns.enabled:
        raise SkipError(Reason.DNS, "Consul DNS in the pod, and dns.enabled is false")
    if config.dns.port != PORT:
        raise SkipError(
            Reason.DNS, f"Consul DNS in the pod, and dns.port is not {PORT}"
        )
    given = pod.spec.dns_config.nameservers if pod.spec.dns_config else None
    others = [each for each in given or () if each not in bound]
    if len(others) == len(given or ()):
        what = "Consul DNS in the pod, and none of its nameservers is"
        raise SkipError(Reason.DNS, f"{what} {' or '.join(sorted(bound))}")
    if any(":" in each for each in bound):
        raise SkipError(Reason.DNS, "Consul DNS in the pod, by an IPv6 nameserver")
    return [config.dns.vip, *others]
