"""A call of kubelet's to publish a volume, and the volume it is for. Pure.

Kubelet says which pod it is; what the pod's author may write is in `Attributes` only.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from consul_ebpf.kubernetes.attributes import Attributes, InvalidAttributeError
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.names import shown

Code = Literal["INVALID_ARGUMENT", "UNAVAILABLE"]

PREFIX = "csi.storage.k8s.io/"
"""Of what kubelet itself puts beside a volume's attributes."""

TOKENS = f"{PREFIX}serviceAccount.tokens"
"""A JSON object: by audience, a service account token."""

SECRET_TOKEN = "token"  # noqa: S105  # a key's name
"""The key of a token in a Secret of its own, as a pod's second service has it."""

MAX_TOKEN_BYTES = 65536

MAX_POD_IN_KEY = 80
"""Of a pod's name in the key, so that the key has at most 200 bytes."""

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_PATH = re.compile(r"[\x20-\x7e]{1,1024}")


class PublishError(ConsulEbpfError):
    """A volume cannot be published; kubelet shows the message in the pod's events.

    With `INVALID_ARGUMENT` nothing was allocated, and trying again does not help. With
    `UNAVAILABLE` kubelet tries again, and unpublishes the volume if its pod goes.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code


@dataclass(frozen=True, slots=True)
class Publish:
    """What a call of NodePublishVolume holds. It is never logged: it has tokens."""

    volume_id: str
    target_path: str
    context: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What kubelet says of the pod, and the attributes that its author wrote."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    mount_group: str = ""
    """The pod's `fsGroup`; empty: it has none."""


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume of a pod on this node, as kubelet and the pod's author describe it."""

    id: str
    target: str
    """The directory on this host that becomes the pod's volume."""
    namespace: str
    pod: str
    uid: str
    service_account: str
    attributes: Attributes = Attributes()
    group: int | None = None
    """The pod's `fsGroup`: its processes are in that group."""

    @property
    def key(self) -> str:
        """This host's own name of the proxy: `Proxy.key`."""
        key = f"{self.namespace}.{self.pod[:MAX_POD_IN_KEY]}.{self.uid}"
        if not self.attributes.service:
            return key
        digest = hashlib.sha256(self.attributes.service.encode()).hexdigest()
        return f"{key}.{digest[:12]}"

    @property
    def owner(self) -> str:
        """The pod, for messages."""
        return f"pod {self.namespace}/{self.pod}"

    @property
    def pod_directory(self) -> str:
        """Kubelet's directory of the pod."""
        return str(PurePosixPath(self.target).parents[3])


def volume_of(publish: Publish, kubelet_directory: str) -> Volume:
    """Check a call, and make the volume that it is for.

    Raises:
        PublishError: INVALID_ARGUMENT, naming what is wrong.
    """
    context = publish.context
    told = {
        name.removeprefix(PREFIX): value
        for name, value in context.items()
        if name.startswith(PREFIX)
    }
    if told.get("ephemeral") != "true":
        raise _invalid(
            "the volume is not an inline one of a pod: this driver has no others"
        )
    uid = told.get("pod.uid", "")
    checks = (
        ("volume id", publish.volume_id, _ID),
        ("pod uid", uid, _UID),
        ("pod namespace", told.get("pod.namespace", ""), _LABEL),
        ("pod name", told.get("pod.name", ""), _NAME),
        ("service account", told.get("serviceAccount.name", ""), _NAME),
    )
    for what, text, form in checks:
        if not form.fullmatch(text):
            raise _invalid(f"the {what} {shown(text)} is none")
    check_target(publish.target_path, kubelet_directory, uid)
    own = {k: v for k, v in context.items() if not k.startswith(PREFIX)}
    try:
        attributes = Attributes.read(own)
    except InvalidAttributeError as error:
        raise _invalid(str(error)) from None
    group = publish.mount_group
    return Volume(
        id=publish.volume_id,
        target=publish.target_path,
        namespace=told["pod.namespace"],
        pod=told["pod.name"],
        uid=uid,
        service_account=told["serviceAccount.name"],
        attributes=attributes,
        group=int(group) if group.isascii() and group.isdecimal() else None,
    )


def check_target(target: str, kubelet_directory: str, uid: str = "") -> None:
    """Refuse a target that is no volume's directory of kubelet's, or another pod's.

    Raises:
        PublishError: INVALID_ARGUMENT.
    """
    root = kubelet_directory.rstrip("/")
    rest = target.removeprefix(f"{root}/pods/").split("/")
    match rest:
        case [pod, "volumes", "kubernetes.io~csi", name, "mount"] if (
            target.startswith(f"{root}/pods/")
            and _PATH.fullmatch(target)
            and _UID.fullmatch(pod)
            and pod == (uid or pod)
            and _LABEL.fullmatch(name)
        ):
            return
    raise _invalid(
        f"the target {shown(target)} is not {root}/pods/{uid or 'UID'}/volumes/"
        "kubernetes.io~csi/NAME/mount: see kubernetes.kubelet_directory"
    )


def token_of(publish: Publish) -> str:
    """Return the pod's token; empty: kubelet sent none.

    A Secret of the volume's own (`nodePublishSecretRef`) comes first. If kubelet sends
    any secrets, tokens in the context are the pod author's own, and are not taken.

    Raises:
        PublishError: INVALID_ARGUMENT; the message shows nothing of it.
    """
    token = publish.secrets.get(SECRET_TOKEN, "").strip()
    if not token:
        source = publish.secrets or publish.context
        token = _token_in(source.get(TOKENS, ""))
    if len(token) > MAX_TOKEN_BYTES or not (token.isascii() and token.isprintable()):
        raise _invalid("the service account token that kubelet sent is none")
    return token


class _Token(msgspec.Struct):
    token: str


def _token_in(tokens: str) -> str:
    """Return the token for the API server, or that of the first other audience."""
    if not tokens:
        return ""
    try:
        found = msgspec.json.decode(tokens, type=dict[str, _Token])
    except (ValueError, RecursionError):
        raise _invalid(
            "the service account tokens that kubelet sent cannot be read"
        ) from None
    first = found.get("") or next((found[each] for each in sorted(found)), None)
    return first.token.strip() if first else ""


def _invalid(message: str) -> PublishError:
    return PublishError("INVALID_ARGUMENT", message)
