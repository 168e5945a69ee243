"""The fields of a pod's object that the webhook looks at. Pure."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all: what is not named here is not looked at, whatever it is."""


class FieldRef(Part, frozen=True):
    """A field of the pod."""

    field_path: str


class ValueFrom(Part, frozen=True):
    """Where a variable's value comes from; not `field_ref`: a Secret, or the like."""

    field_ref: FieldRef | None = None


class Variable(Part, frozen=True):
    """One of `env`."""

    name: str
    value: str | None = None
    value_from: ValueFrom | None = None


class Mount(Part, frozen=True):
    """One of `volumeMounts`."""

    name: str
    mount_path: str
    sub_path: str | None = None
    sub_path_expr: str | None = None
    read_only: bool | None = None

    def below(self, path: str) -> str:
        """Return a file's path in the volume."""
        return str(PurePosixPath(path).relative_to(self.mount_path))


class Security(Part, frozen=True):
    """`securityContext`, of a container or the pod."""

    run_as_user: int | None = None
    run_as_group: int | None = None


class ContainerPort(Part, frozen=True):
    """One of `ports`."""

    container_port: int
    name: str | None = None


class Exec(Part, frozen=True):
    """A command that kubelet runs in the container."""

    command: tuple[str, ...] | None = None


class Request(Part, frozen=True):
    """An HTTP or gRPC request, or a connection, that kubelet makes."""

    port: int | str = 0
    path: str | None = None


class Handler(Part, frozen=True):
    """A hook or a probe."""

    exec: Exec | None = None
    http_get: Request | None = None
    tcp_socket: Request | None = None
    grpc: Request | None = None


class Lifecycle(Part, frozen=True):
    """A container's hooks."""

    post_start: Handler | None = None
    pre_stop: Handler | None = None


class Container(Part, frozen=True):
    """One of `containers` or `initContainers`."""

    name: str
    image: str | None = None
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[Variable, ...] | None = None
    env_from: tuple[Any, ...] | None = None
    volume_mounts: tuple[Mount, ...] | None = None
    lifecycle: Lifecycle | None = None
    liveness_probe: Handler | None = None
    readiness_probe: Handler | None = None
    startup_probe: Handler | None = None
    ports: tuple[ContainerPort, ...] | None = None
    security_context: Security | None = None
    restart_policy: str | None = None

    @property
    def program(self) -> str:
        """The last part of the path of what it runs; empty: the image's own."""
        return self.command[0].rpartition("/")[2] if self.command else ""

    @property
    def words(self) -> tuple[str, ...]:
        """What follows the program."""
        return (*(self.command or ())[1:], *(self.args or ()))

    def mount_of(self, path: str) -> Mount | None:
        """Return the mount that a file is in: the deepest one; None: there is none."""
        mounts = [
            each
            for each in self.volume_mounts or ()
            if PurePosixPath(path).is_relative_to(each.mount_path)
            and not (each.sub_path or each.sub_path_expr)
        ]
        return max(mounts, key=lambda each: len(each.mount_path), default=None)

    @property
    def handlers(self) -> Iterator[Handler]:
        """Its hooks and probes."""
        hooks = self.lifecycle or Lifecycle()
        for each in (
            hooks.post_start,
            hooks.pre_stop,
            self.liveness_probe,
            self.readiness_probe,
            self.startup_probe,
        ):
            if each is not None:
                yield each


class TokenSource(Part, frozen=True):
    """A service account token in a projected volume."""

    path: str
    audience: str | None = None


class Projection(Part, frozen=True):
    """One of a projected volume's sources."""

    service_account_token: TokenSource | None = None


class Projected(Part, frozen=True):
    """A volume made of several things."""

    sources: tuple[Projection, ...] | None = None


class Secret(Part, frozen=True):
    """A volume of a Secret's keys."""

    secret_name: str | None = None
    items: tuple[Any, ...] | None = None


class Volume(Part, frozen=True):
    """One of `volumes`."""

    name: str
    projected: Projected | None = None
    secret: Secret | None = None


class Os(Part, frozen=True):
    """The operating system that the pod is for."""

    name: str


class DnsConfig(Part, frozen=True):
    """The pod's own resolver configuration."""

    nameservers: tuple[str, ...] | None = None


class Spec(Part, frozen=True):
    """The pod's `spec`."""

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] | None = None
    volumes: tuple[Volume, ...] | None = None
    security_context: Security | None = None
    service_account_name: str | None = None
    termination_grace_period_seconds: int | None = None
    runtime_class_name: str | None = None
    node_selector: dict[str, str] | None = None
    os: Os | None = None
    dns_config: DnsConfig | None = None
    host_users: bool | None = None


class Metadata(Part, frozen=True):
    """The pod's `metadata`."""

    annotations: dict[str, str] | None = None


class Pod(Part, frozen=True):
    """What is looked at of a pod."""

    spec: Spec
    metadata: Metadata = Metadata()

    @property
    def annotations(self) -> dict[str, str]:
        """Its annotations."""
        return self.metadata.annotations or {}
