"""Rewrites a pod so that consul-dataplane's containers become plain Envoys. Pure.

A pod is whatever its author sent: nothing in it is believed, and nothing raises. What
is looked for is the content of containers, so a pod already rewritten has none.
"""

from typing import Any

from consul_ebpf.config.kubernetes import NODE
from consul_ebpf.config.schema import Config
from consul_ebpf.kubernetes.attributes import Attributes
from consul_ebpf.kubernetes.webhook.answers import Answer, changed, skipped
from consul_ebpf.kubernetes.webhook.containers import places, pod_of, refuse_large
from consul_ebpf.kubernetes.webhook.hooks import refuse_callers
from consul_ebpf.kubernetes.webhook.inline import mount_of, refuse_taken, volume_of
from consul_ebpf.kubernetes.webhook.nameservers import nameservers
from consul_ebpf.kubernetes.webhook.platforms import refuse_platform
from consul_ebpf.kubernetes.webhook.pod import Pod, Security
from consul_ebpf.kubernetes.webhook.reasons import Reason, SkipError
from consul_ebpf.kubernetes.webhook.script import BOOTSTRAP, followed_by
from consul_ebpf.kubernetes.webhook.sidecars import (
    TOKEN_DIRECTORY,
    Sidecar,
    proxies_of,
    sidecars_of,
)
from consul_ebpf.kubernetes.webhook.variables import POD_IP
from consul_ebpf.model.names import shown

Json = dict[str, Any]

REWRITE = "consul-ebpf.io/rewrite"
GATEWAY_KIND = "consul.hashicorp.com/gateway-kind"

GRACE_SECONDS = 30
"""A pod's `terminationGracePeriodSeconds` where it says nothing."""

NODE_NAMES = ("proxy-node-name", "service-node-name")


def rewrite(data: object, config: Config) -> Answer:
    """Return what becomes of a pod; None: there is no consul-dataplane in it."""
    try:
        pod = pod_of(data)
        proxies = proxies_of(pod)
        if not proxies:
            return None
        _refuse_opted_out(pod)
        refuse_large(pod)
        refuse_platform(pod, config)
        sidecars = sidecars_of(pod, proxies)
        if not sidecars:
            return None
        assert isinstance(data, dict)  # noqa: S101  # pod_of has seen it
        after = _rewritten(data, pod, sidecars, config)
    except SkipError as error:
        return skipped(data, error)
    return changed(data, after, "rewritten")


def _refuse_opted_out(pod: Pod) -> None:
    if pod.annotations.get(REWRITE) == "false":
        raise SkipError(Reason.ASKED, f'{REWRITE} is "false"')


def _rewritten(data: Json, pod: Pod, sidecars: list[Sidecar], config: Config) -> Json:
    containers = [each.container for each in places(pod)]
    lists = {
        name: list(data["spec"].get(name) or ())
        for name in ("containers", "initContainers")
    }
    volumes = list(data["spec"].get("volumes") or ())
    refuse_callers(containers, {s.place.container.name: s.options for s in sidecars})
    for each in sidecars:
        _refuse_node(each, config)
        refuse_taken(pod, each.volume, each.mount, (each.place, each.init))
        volumes.append(
            volume_of(each.volume, _attributes(pod, each), config, each.secret)
        )
        into, index = lists[each.place.list], each.place.index
        into[index] = _envoy(into[index], pod, each)
        init = lists["initContainers"]
        init[each.init.index] = _waiting(init[each.init.index], each)
    spec = {**data["spec"], "volumes": volumes, "containers": lists["containers"]}
    if lists["initContainers"]:
        spec["initContainers"] = lists["initContainers"]
    found = nameservers(pod, sidecars, config)
    if found is not None:
        spec["dnsConfig"] = {**data["spec"]["dnsConfig"], "nameservers": found}
    return {**data, "spec": spec}


def _refuse_node(sidecar: Sidecar, config: Config) -> None:
    expected = config.kubernetes.catalog_node.replace(NODE, "$(spec.nodeName)")
    for name in NODE_NAMES:
        node = sidecar.options.values.get(name, expected)
        if node != expected:
            what = f"-{name} is {shown(node)}, not kubernetes.catalog_node"
            raise SkipError(Reason.OPTION, what)


def _attributes(pod: Pod, sidecar: Sidecar) -> Attributes:
    gateway = sidecar.is_gateway or GATEWAY_KIND in pod.annotations
    own = sidecar.place.container.security_context or Security()
    pods = pod.spec.security_context or Security()
    return Attributes(
        service=sidecar.service,
        kind="gateway" if gateway else "sidecar",
        options=sidecar.options.for_volume(),
        env={
            name: value
            for name, value in sidecar.variables.items()
            if value is not None and POD_IP not in value and not _is_option(name)
        },
        uid=pods.run_as_user if own.run_as_user is None else own.run_as_user,
        gid=pods.run_as_group if own.run_as_group is None else own.run_as_group,
        mount=sidecar.mount,
    )


def _envoy(raw: Json, pod: Pod, sidecar: Sidecar) -> Json:
    """Return the container as one that runs Envoy."""
    new = {
        **raw,
        "command": [sidecar.envoy],
        "args": sidecar.options.for_envoy(f"{sidecar.mount}/{BOOTSTRAP}"),
        "volumeMounts": [
            *(
                each
                for each in raw.get("volumeMounts") or ()
                if each["mountPath"] not in {TOKEN_DIRECTORY, sidecar.token_mount}
            ),
            mount_of(sidecar.volume, sidecar.mount),
        ],
    }
    if "env" in raw:
        new["env"] = [e for e in raw["env"] or () if not _is_option(e["name"])]
    seconds = min(
        sidecar.options.number("shutdown-grace-period-seconds", 0),
        _grace(pod),
    )
    if seconds > 0 and not sidecar.place.native:
        hooks = raw.get("lifecycle") or {}
        if hooks.get("preStop"):
            what = f"container {sidecar.place.container.name} has a preStop hook"
            raise SkipError(Reason.HOOK, what)
        new["lifecycle"] = {**hooks, "preStop": {"sleep": {"seconds": seconds}}}
    return new


def _grace(pod: Pod) -> int:
    seconds = pod.spec.termination_grace_period_seconds
    return GRACE_SECONDS if seconds is None else seconds


def _waiting(raw: Json, sidecar: Sidecar) -> Json:
    """Return the init container as one that also waits for the bootstrap."""
    where = "args" if raw.get("args") else "command"
    *shell, script = raw[where]
    return {
        **raw,
        where: [*shell, followed_by(script, sidecar.mount)],
        "volumeMounts": [
            *(raw.get("volumeMounts") or ()),
            mount_of(sidecar.volume, sidecar.mount),
        ],
    }


def _is_option(variable: str) -> bool:
    return variable.startswith("DP_")
