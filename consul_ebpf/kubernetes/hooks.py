"""Who in a pod talks to consul-dataplane itself, which then has to stay. Pure.

consul-dataplane answers HTTP at its graceful port: a Job's command may ask it there to
end, a hook to wait.
"""

import re
from collections.abc import Iterable, Iterator

from consul_ebpf.kubernetes.options import Options
from consul_ebpf.kubernetes.pod import Container, Request
from consul_ebpf.kubernetes.reasons import Reason, SkipError

PORT = "graceful-port"
PATHS = {
    "graceful-shutdown-path": "/graceful_shutdown",
    "graceful-startup-path": "/graceful_startup",
}
DEFAULT_PORT = "20300"


def refuse_callers(
    containers: Iterable[Container], proxies: Iterable[Container], options: Options
) -> None:
    """Refuse a pod in which somebody names the graceful port or its paths.

    Args:
        containers: all of the pod.
        proxies: those of them whose own words name it.
        options: of one of these.

    Raises:
        SkipError: naming the container.
    """
    port = options.text(PORT) or DEFAULT_PORT
    paths = {options.text(name) or path for name, path in PATHS.items()}
    words = "|".join(re.escape(path) for path in sorted(paths))
    named = re.compile(rf"(?<!\d){re.escape(port)}(?!\d)|{words}")
    own = {each.name for each in proxies}
    for each in containers:
        texts = _texts(each, with_command=each.name not in own)
        if any(named.search(text) for text in texts):
            what = f"container {each.name} calls consul-dataplane's graceful port"
            raise SkipError(Reason.HOOK, f"{what} {port} or paths")


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
