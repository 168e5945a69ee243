"""The labels that Consul's dashboards expect on Envoy's metrics.

Envoy names a metric by one dotted string, such as
`cluster.pong.default.dc2.internal.<trust domain>.consul.bind_errors`. A tag's regex
says which part becomes a label: what its outer group matches is cut out of the name,
what its inner group matches is the label's value. consul-dataplane sets the same tags.
"""

from collections.abc import Sequence

from consul_ebpf.envoy.parts import Part
from consul_ebpf.model.values import BootstrapParams, Proxy

_PART = "[^.]+"

# <hash>~<subset>.<service>.<namespace>.<partition>.<datacenter>.<routing type>
# .<trust domain>.consul: the name Consul gives a cluster. The braces at the edges let a
# label span several parts.
_CLUSTER = (
    r"^cluster\.(?:passthrough~)?({first}(?:{custom_hash}~)?(?:{service_subset}\.)?"
    r"{service}\.{namespace}\.(?:{partition}\.)?{datacenter}{target_end}"
    r"\.{routing_type}\.{trust_domain}{full_target_end}\.consul\.)"
)
_CLUSTER_PARTS = {
    "custom_hash": _PART,
    "service_subset": _PART,
    "service": _PART,
    "namespace": _PART,
    "partition": _PART,
    "datacenter": _PART,
    "routing_type": _PART,
    "trust_domain": _PART,
    "first": "",
    "target_end": "",
    "full_target_end": "",
}
_LABEL = f"({_PART})"
# What tells a cluster of this datacenter from one of a peer ("external").
_INTERNAL = "internal[^.]*"


def _cluster(**parts: str) -> str:
    return _CLUSTER.format(**(_CLUSTER_PARTS | parts))


# <service>.<namespace>.<partition>.<datacenter>, or <service>.<namespace>.<peer>: the
# name of a listener to an upstream.
_UPSTREAM = r"^(?:tcp|http)\.upstream"

REGEXES = {
    "consul.destination.custom_hash": _cluster(custom_hash=_LABEL),
    "consul.destination.service_subset": _cluster(service_subset=_LABEL),
    "consul.destination.service": _cluster(service=_LABEL),
    "consul.destination.namespace": _cluster(namespace=_LABEL),
    "consul.destination.partition": _cluster(partition=_LABEL, routing_type=_INTERNAL),
    "consul.destination.datacenter": _cluster(
        datacenter=_LABEL, routing_type=_INTERNAL
    ),
    "consul.destination.peer": (
        rf"^cluster\.({_PART}\.(?:{_PART}\.)?({_PART})\.external\.{_PART}\.consul\.)"
    ),
    "consul.destination.routing_type": _cluster(routing_type=_LABEL),
    "consul.destination.trust_domain": _cluster(trust_domain=_LABEL),
    "consul.destination.target": _cluster(first="(", target_end=")"),
    "consul.destination.full_target": _cluster(first="(", full_target_end=")"),
    "consul.upstream.service": (
        rf"{_UPSTREAM}(?:_peered)?\.(({_PART})(?:\.{_PART})?(?:\.{_PART})?\.{_PART}\.)"
    ),
    "consul.upstream.datacenter": (
        rf"{_UPSTREAM}\.({_PART}(?:\.{_PART})?(?:\.{_PART})?\.({_PART})\.)"
    ),
    "consul.upstream.peer": (
        rf"{_UPSTREAM}_peered\.({_PART}(?:\.{_PART})?\.({_PART})\.)"
    ),
    "consul.upstream.namespace": (
        rf"{_UPSTREAM}(?:_peered)?\.({_PART}(?:\.({_PART}))?(?:\.{_PART})?\.{_PART}\.)"
    ),
    "consul.upstream.partition": (
        rf"{_UPSTREAM}\.({_PART}(?:\.{_PART})?(?:\.({_PART}))?\.{_PART}\.)"
    ),
}
"""Tag name to regex, in consul-dataplane's order."""


_TAGS = [{"tag_name": name, "regex": regex} for name, regex in REGEXES.items()]
"""They are the same in every bootstrap and most of its size, so they are made once."""


def stats_config(proxy: Proxy, params: BootstrapParams, tags: Sequence[str]) -> Part:
    """Return `stats_config`: the user's labels on Envoy's metrics, then Consul's.

    Args:
        proxy: whose bootstrap it is.
        params: what Consul says of it.
        tags: the user's, each `name=value` or `name`, which stands for `name=1`. A tag
            takes the place of Consul's own label of that name, if it is a fixed value.
    """
    fixed = {
        "local_cluster": params.identity or proxy.id,
        "consul.source.service": params.identity,
        "consul.source.namespace": params.namespace,
        "consul.source.partition": params.partition,
        "consul.source.datacenter": params.datacenter,
    }
    own = []
    for tag in tags:
        name, equals, value = tag.partition("=")
        name = name.lower()
        own.append({"tag_name": name, "fixed_value": value if equals else "1"})
        fixed.pop(name, None)
    ours = [
        {"tag_name": name, "fixed_value": value}
        for name, value in fixed.items()
        if value
    ]
    return {"stats_tags": own + _TAGS + ours, "use_all_default_tags": True}
