"""The proxies in a pod: consul-dataplane's containers, and what each needs. Pure."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from consul_ebpf.kubernetes.attributes import MOUNT
from consul_ebpf.kubernetes.webhook.containers import Place, places
from consul_ebpf.kubernetes.webhook.options import Options, holds_id_path, options_of
from consul_ebpf.kubernetes.webhook.pod import Container, Mount, Pod, Volume
from consul_ebpf.kubernetes.webhook.reasons import Reason, SkipError
from consul_ebpf.kubernetes.webhook.variables import Known, known
from consul_ebpf.kubernetes.webhook.writers import writer_of
from consul_ebpf.model.names import shown

VOLUME = "consul-ebpf"
MAX_SIDECARS = 8
"""In one pod; the node plugin takes no more volumes of it."""

PROGRAMS = {
    "": "/usr/local/bin/envoy",
    "consul-dataplane": "/usr/local/bin/envoy",
    "privileged-consul-dataplane": "/usr/local/bin/privileged-envoy",
}
"""What a container of consul-dataplane may run, and the Envoy that is in its image."""

TOKEN_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105
"""Where Kubernetes mounts the token of the pod's ServiceAccount."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,49}[a-z0-9])?"
_SERVICE = re.compile(rf"(?:consul-dataplane|proxyid)-({_LABEL})")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One proxy of the pod."""

    place: Place
    options: Options
    variables: Known
    service: str
    """The service that it is for; empty: the pod has only this one."""
    init: Place
    """The init container that writes its ID's file."""
    token_mount: str
    """Where the bearer token is mounted; empty: nowhere."""
    secret: str
    """The Secret with the bearer token; empty: kubelet hands over the pod's own."""

    @property
    def volume(self) -> str:
        """The name of its volume."""
        return f"{VOLUME}-{self.service}" if self.service else VOLUME

    @property
    def mount(self) -> str:
        """Where it sees its volume."""
        return f"{MOUNT}/{self.service}" if self.service else MOUNT

    @property
    def is_gateway(self) -> bool:
        """Whether the init container waits for a gateway's registration."""
        init = self.init.container
        return any(
            "-gateway-kind" in word for word in (*init.words, *(init.args or ()))
        )

    @property
    def envoy(self) -> str:
        """The Envoy to run."""
        own = PROGRAMS[self.place.container.program]
        return self.options.text("envoy-executable-path") or own


def proxies_of(pod: Pod) -> list[Place]:
    """Return the containers that are a consul-dataplane with a proxy, by content."""
    return [
        each
        for each in places(pod)
        if holds_id_path(
            each.container.words, {v.name for v in each.container.env or ()}
        )
    ]


def sidecars_of(pod: Pod, proxies: list[Place]) -> list[Sidecar]:
    """Return what is to become of the proxies; those that only print are left out.

    Raises:
        SkipError: one of them is not understood.
    """
    if len(proxies) > MAX_SIDECARS:
        raise SkipError(Reason.FULL, f"it has more than {MAX_SIDECARS} proxies")
    read = [(each, *_read(each.container)) for each in proxies]
    read = [each for each in read if each[1].is_proxy]
    made = [
        _sidecar(pod, place, options, variables, several=len(read) > 1)
        for place, options, variables in read
    ]
    if len({each.service for each in made}) < len(made):
        raise SkipError(Reason.COMMAND, "two of its proxies are for the same service")
    return made


def _read(container: Container) -> tuple[Options, Known]:
    if container.program not in PROGRAMS:
        what = f"container {container.name} runs {shown(container.program)}"
        raise SkipError(Reason.COMMAND, f"{what} with consul-dataplane's options")
    if container.env_from:
        what = f"container {container.name} has envFrom, which may hold options"
        raise SkipError(Reason.SECRET, what)
    variables = known(container.env or ())
    return options_of(container.words, variables), variables


def _sidecar(
    pod: Pod, place: Place, options: Options, variables: Known, *, several: bool
) -> Sidecar:
    path = options.id_path
    if not path:
        what = f"container {place.container.name} names no file with its proxy's ID"
        raise SkipError(Reason.OPTION, what)
    token_mount, secret = _token(pod, place.container, options)
    return Sidecar(
        place=place,
        options=options,
        variables=variables,
        service=_service(place.container, path) if several else "",
        init=writer_of(pod, place, path),
        token_mount=token_mount,
        secret=secret,
    )


def _service(container: Container, path: str) -> str:
    for name in (container.name, PurePosixPath(path).name):
        if found := _SERVICE.fullmatch(name):
            return found[1]
    what = f"which service container {container.name} is for cannot be told"
    raise SkipError(Reason.COMMAND, f"it has several proxies, and {what}")


def _token(pod: Pod, container: Container, options: Options) -> tuple[str, str]:
    """Return where the bearer token is mounted, and its Secret if it has its own."""
    path = options.text("login-bearer-token-path")
    if options.text("credential-type") != "login" or not path:
        return "", ""
    mount = container.mount_of(path)
    volume = _volume_of(pod, mount)
    standard = path == f"{TOKEN_DIRECTORY}/token"
    if mount is None or volume is None:
        if standard:
            return "", ""
    else:
        file = mount.below(path)
        sources = volume.projected.sources if volume.projected else None
        for source in sources or ():
            token = source.service_account_token
            if token and token.path == file and not token.audience:
                return mount.mount_path, ""
        secret = volume.secret
        if secret and secret.secret_name and file == "token" and not secret.items:
            return mount.mount_path, secret.secret_name
    what = f"-login-bearer-token-path: {shown(path)} is no ServiceAccount's token"
    raise SkipError(Reason.TOKEN, what)


def _volume_of(pod: Pod, mount: Mount | None) -> Volume | None:
    name = mount.name if mount else ""
    return next((each for each in pod.spec.volumes or () if each.name == name), None)
