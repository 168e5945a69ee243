"""Why a pod keeps its consul-dataplane."""

from enum import StrEnum

from consul_ebpf.base.lines import one_line
from consul_ebpf.model.errors import ConsulEbpfError


class Reason(StrEnum):
    """The kinds of reasons, as metrics count them: so there are few."""

    ASKED = "asked"  # the pod's annotation says so
    COMMAND = "command"  # the container runs something else, or not only that
    DNS = "dns"  # Consul DNS in the pod, which is not served
    FULL = "full"  # more, or larger, than is looked at
    HOOK = "hook"  # somebody in the pod talks to consul-dataplane itself
    IMAGE = "image"  # [webhook] names no image for what is asked
    INIT = "init"  # nobody writes the ID's file, or not in a way that can wait
    MALFORMED = "malformed"  # not the object that a pod is
    METRICS = "metrics"  # merged metrics
    OPTION = "option"  # an option that is unknown, or has a value that is
    PLATFORM = "platform"  # connect() is not that of the host's Linux kernel
    SECRET = "secret"  # noqa: S105  # an option holds one, or comes from one
    TOKEN = "token"  # noqa: S105  # a bearer token that kubelet does not hand over
    VOLUME = "volume"  # a volume or mount in the place of ours


class SkipError(ConsulEbpfError):
    """A pod cannot be rewritten; it keeps its consul-dataplane, which works.

    The message becomes an annotation of the pod, so it is one short line.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(one_line(text, 300))
        self.reason = reason
