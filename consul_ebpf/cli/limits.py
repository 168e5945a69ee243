"""`doctor`: whether the host's limit of inotify instances is enough for the Envoys."""

from consul_ebpf.cli.findings import Finding
from consul_ebpf.config.schema import Config
from consul_ebpf.kernel.inotify import Room, read_limit
from consul_ebpf.model.errors import KernelError
from consul_ebpf.wiring.files import instances_per_envoy


def find_limit(config: Config, served: int) -> Finding:
    """Compare the limit with the number of proxies: configured, or served if more."""
    proxies = max(len(config.proxies), served)
    try:
        room = Room(read_limit(), proxies, instances_per_envoy(config))
    except KernelError as error:
        return Finding("inotify", str(error), warn=True)
    return Finding("inotify", str(room), warn=not room.enough)
