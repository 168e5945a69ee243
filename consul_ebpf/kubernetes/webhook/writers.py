"""Which init container writes the file with a proxy's ID: it is who can wait. Pure."""

import re
from pathlib import PurePosixPath

from consul_ebpf.kubernetes.webhook.containers import Place, places
from consul_ebpf.kubernetes.webhook.pod import Pod
from consul_ebpf.kubernetes.webhook.reasons import Reason, SkipError
from consul_ebpf.kubernetes.webhook.script import script_of
from consul_ebpf.model.names import shown

DEFAULT = "/consul/connect-inject/proxyid"
"""Where consul-k8s's connect-init writes the ID, if it is not told where."""


def writer_of(pod: Pod, proxy: Place, path: str) -> Place:
    """Return the init container that writes a proxy's ID.

    Args:
        pod: the pod.
        proxy: the proxy's container.
        path: the file, as the proxy's container sees it.

    Raises:
        SkipError: none does, or not in a way that can wait for more.
    """
    mount = proxy.container.mount_of(path)
    if mount is None:
        raise SkipError(Reason.INIT, f"no volume holds {shown(path)}")
    file = mount.below(path)
    found = _writers(pod, mount.name, file, default=path == DEFAULT)
    if len(found) != 1:
        many = "several init containers" if found else "no init container"
        raise SkipError(Reason.INIT, f"{many} could write {shown(path)}")
    (writer,) = found
    named = f"init container {writer.container.name}"
    if proxy.list == "initContainers" and writer.index > proxy.index:
        raise SkipError(Reason.INIT, f"{named} runs after the proxy")
    if script_of(writer.container) is None:
        raise SkipError(Reason.INIT, f"{named} is no shell script")
    return writer


def _writers(pod: Pod, volume: str, file: str, *, default: bool) -> list[Place]:
    """Return the init containers that may write a file.

    Args:
        pod: the pod.
        volume: the name of the volume that the file is in.
        file: its path there.
        default: whether one that is not told where writes to this file.
    """
    named, told_nothing, mounted = [], [], []
    for each in places(pod):
        if each.list == "containers" or each.native:
            continue
        words = (*(each.container.command or ()), *(each.container.args or ()))
        text = " ".join(words)
        paths = [
            str(PurePosixPath(mount.mount_path, file))
            for mount in each.container.volume_mounts or ()
            if mount.name == volume and not mount.read_only
        ]
        if any(_names(text, path) for path in paths):
            named.append(each)
        elif default and "connect-init" in text and "-proxy-id-file" not in text:
            told_nothing.append(each)
        elif paths:
            mounted.append(each)
    return named or told_nothing or mounted


def _names(text: str, path: str) -> bool:
    """Whether a text names this path, and not one that begins or ends like it."""
    return bool(re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w./-])", text))
