"""Gives a pod an Envoy of its own, without consul-k8s. Pure.

The pod's annotation asks for it. Whoever registers the service registers the ports and
upstreams, too; see docs/kubernetes-options.md.
"""

from consul_ebpf.config.schema import Config
from consul_ebpf.kubernetes.attributes import MOUNT, Attributes, Value
from consul_ebpf.kubernetes.webhook.answers import Answer, Json, changed, skipped
from consul_ebpf.kubernetes.webhook.containers import places, pod_of, refuse_large
from consul_ebpf.kubernetes.webhook.inline import mount_of, refuse_taken, volume_of
from consul_ebpf.kubernetes.webhook.options import Options
from consul_ebpf.kubernetes.webhook.platforms import refuse_platform
from consul_ebpf.kubernetes.webhook.pod import Pod
from consul_ebpf.kubernetes.webhook.reasons import Reason, SkipError
from consul_ebpf.kubernetes.webhook.script import BOOTSTRAP, loop
from consul_ebpf.kubernetes.webhook.sidecars import PROGRAMS, VOLUME

INJECT = "consul-ebpf.io/inject"
SERVICE = "consul-ebpf.io/service"
AUTH_METHOD = "consul-ebpf.io/auth-method"
CONSUL_K8S = "consul.hashicorp.com/connect-inject"

READY_PORT = 21000
"""Of Envoy's listener that serves /ready and nothing else, as in consul-k8s's pods."""

UID = 5995
"""The user of the Envoys that consul-k8s injects: transparent proxy exempts it."""

NAMES = ("consul-ebpf-init", "consul-ebpf-envoy")

SECURITY: Json = {
    "runAsUser": UID,
    "runAsGroup": UID,
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What the Pod Security level `restricted` asks for."""


def inject(data: object, config: Config) -> Answer:
    """Return what a pod gets; None: it did not ask, or has it."""
    try:
        pod = pod_of(data)
        if pod.annotations.get(INJECT) != "true" or _has_volume(pod):
            return None
        assert isinstance(data, dict)  # noqa: S101  # pod_of has seen it
        _refuse(pod, config)
        spec = {
            **data["spec"],
            "volumes": [
                *(data["spec"].get("volumes") or ()),
                volume_of(VOLUME, _attributes(pod), config),
            ],
            "initContainers": [
                *(data["spec"].get("initContainers") or ()),
                *_containers(config),
            ],
        }
    except SkipError as error:
        return skipped(data, error)
    return changed(data, {**data, "spec": spec}, "injected")


def _has_volume(pod: Pod) -> bool:
    return any(each.name == VOLUME for each in pod.spec.volumes or ())


def _refuse(pod: Pod, config: Config) -> None:
    if pod.annotations.get(CONSUL_K8S) == "true":
        raise SkipError(Reason.ASKED, f'{CONSUL_K8S} is "true", too')
    if not config.webhook.envoy_image:
        raise SkipError(Reason.IMAGE, "webhook.envoy_image names no image")
    refuse_large(pod)
    refuse_platform(pod, config)
    refuse_taken(pod, VOLUME, MOUNT, ())
    for each in places(pod):
        if each.container.name in NAMES:
            what = f"it has a container {each.container.name} already"
            raise SkipError(Reason.VOLUME, what)


def _attributes(pod: Pod) -> Attributes:
    options: dict[str, Value] = {
        "envoy-ready-bind-address": "0.0.0.0",  # noqa: S104  # kubelet asks there
        "envoy-ready-bind-port": str(READY_PORT),
        "login-meta": (
            "pod=$(metadata.namespace)/$(metadata.name)",
            "pod-uid=$(metadata.uid)",
        ),
    }
    if method := pod.annotations.get(AUTH_METHOD):
        options |= {"credential-type": "login", "login-auth-method": method}
    account = pod.spec.service_account_name or "default"
    return Attributes(
        service=pod.annotations.get(SERVICE) or account,
        options=options,
        uid=UID,
        gid=UID,
    )


def _containers(config: Config) -> list[Json]:
    """Return who waits for the bootstrap, and then Envoy: as a native sidecar."""
    image, waits = config.webhook.envoy_image, config.webhook.init_image
    shared: Json = {
        "volumeMounts": [mount_of(VOLUME, MOUNT)],
        "securityContext": SECURITY,
    }
    envoy: Json = {
        "image": image,
        "restartPolicy": "Always",
        "command": [PROGRAMS[""]],
        "args": Options({}, (), ()).for_envoy(f"{MOUNT}/{BOOTSTRAP}"),
        "startupProbe": {
            "httpGet": {"path": "/ready", "port": READY_PORT},
            "periodSeconds": 1,
            "failureThreshold": 120,
        },
    }
    init: Json = {"image": waits or image, "command": ["/bin/sh", "-ec", loop(MOUNT)]}
    return [
        {"name": name, **each, **shared}
        for name, each in zip(NAMES, (init, envoy), strict=True)
    ]
