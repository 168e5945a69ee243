"""Who in a pod talks to consul-dataplane itself, which then has to stay. Pure.

consul-dataplane answers HTTP at its graceful port: a Job's command may ask it there to
end, a hook to wait.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from consul_ebpf.kubernetes.webhook.options import Options
from consul_ebpf.kubernetes.webhook.pod import Container, Request
from consul_ebpf.kubernetes.webhook.reasons import Reason, SkipError

PORT = "graceful-port"
PATHS = {
    "graceful-shutdown-path": "/graceful_shutdown",
    "graceful-startup-path": "/graceful_startup",
}
DEFAULT_PORT = "20300"


def refuse_callers(
    containers: Iterable[Container], proxies: Mapping[str, Options]
) -> None:
    """Refuse a pod in which somebody names a graceful port or its paths.

    Args:
        containers: all of the pod.
        proxies: the options of those whose own words name them, by name.

    Raises:
        SkipError: naming the container.
    """
    ports = {options.text(PORT) or DEFAULT_PORT for options in proxies.values()}
    paths = {
        options.text(name) or path
        for options in proxies.values()
        for name, path in PATHS.items()
    }
    any_port, any_path = ("|".join(map(re.escape, sorted(s))) for s in (ports, paths))
    named = re.compile(rf"(?<!\d)(?:{any_port})(?!\d)|{any_path}")
    for each in containers:
        for text in _texts(each, with_command=each.name not in proxies):
            if found := named.search(text):
                what = f"container {each.name} calls consul-dataplane's graceful"
                raise SkipError(Reason.HOOK, f"{what} port or paths ({found[0]})")


def _texts(container: Container, *, with_command: bool) -> Iterator[str]:
    if with_command:
        yield from container.command or ()
        yield from container.args or ()
    ports = {each.name: each.container_port for each in container.ports or ()}
    for handler in container.handlers:
        if handler.exec is not None:
            yield from handler.exec.command or ()
        for request in (handler.http_get, handler.tcp_socket, handler.grpc):
            if request is not None:
                yield _shown(request, ports)


def _shown(request: Request, ports: dict[str | None, int]) -> str:
    port = request.port
    return f"{ports.get(port, port) if isinstance(port, str) else port}{request.path}"
