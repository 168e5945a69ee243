"""Pods whose `connect()` is not that of this host's Linux kernel. Pure."""

from consul_ebpf.config.schema import Config
from consul_ebpf.kubernetes.webhook.pod import Pod
from consul_ebpf.kubernetes.webhook.reasons import Reason, SkipError
from consul_ebpf.model.names import shown

OS_LABELS = ("kubernetes.io/os", "beta.kubernetes.io/os")


def refuse_platform(pod: Pod, config: Config) -> None:
    """Refuse a pod that a VIP could not serve.

    Raises:
        SkipError: naming what it runs on.
    """
    spec, selector = pod.spec, pod.spec.node_selector or {}
    systems = {selector.get(label) for label in OS_LABELS}
    if "windows" in systems | {spec.os.name if spec.os else ""}:
        raise SkipError(Reason.PLATFORM, "it is for Windows")
    runtime = spec.runtime_class_name
    if runtime and runtime not in config.webhook.runtime_classes:
        what = f"runtime class {shown(runtime)} is not in webhook.runtime_classes"
        raise SkipError(Reason.PLATFORM, what)
    if spec.host_users is False:
        raise SkipError(Reason.PLATFORM, "its users are not the host's (hostUsers)")
