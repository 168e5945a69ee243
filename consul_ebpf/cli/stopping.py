"""`stop`: ends a proxy's Envoy as consul-dataplane does, by its admin interface."""

import http.client
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import click

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.reading import FileError, read_file
from consul_ebpf.cli import client
from consul_ebpf.cli.options import configured, consul_dataplanes, for_proxy
from consul_ebpf.cli.output import say, say_json_text
from consul_ebpf.config.schema import Config
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.values import host_port

ANSWER_SECONDS = 10.0
"""Seconds that Envoy has for an answer; its configuration may have megabytes."""

LARGEST_BYTES = 256 << 20
"""Most bytes of an answer, and of a bootstrap."""

END_SECONDS = 5.0
"""Seconds that Envoy has to end after it was told to."""

DUMP = "/config_dump?include_eds"
DRAIN = "/drain_listeners?inboundonly&graceful&skip_exit"
"""Without `skip_exit`, Envoy 1.37 and newer would end by itself after draining."""
QUIT = "/quitquitquit"


@click.command()
@for_proxy
@consul_dataplanes("stop")
@configured(serving=False)
def stop(config: Config, proxy_id: str) -> None:
    """Drain and end a proxy's Envoy, for preStop hooks and ExecStop.

    envoy.shutdown_drain_listeners, envoy.shutdown_grace_period and
    envoy.dump_config_on_exit say how. Run it where it can reach Envoy's admin address.
    """
    envoy = _Admin(proxy_id, *_admin_of(config, proxy_id))
    if config.envoy.dump_config_on_exit:
        _or_warn(lambda: say_json_text(envoy.ask("GET", DUMP).decode(errors="replace")))
    if config.envoy.shutdown_drain_listeners:
        _or_warn(lambda: envoy.ask("POST", DRAIN))
    time.sleep(config.envoy.shutdown_grace_period)
    envoy.ask("POST", QUIT)
    deadline = time.monotonic() + END_SECONDS
    while envoy.listens():
        if time.monotonic() > deadline:
            raise ConsulEbpfError(
                f"Envoy of proxy {proxy_id} still runs {END_SECONDS:g} s after it was"
                " told to end"
            )
        time.sleep(0.05)


class _Admin:
    """An Envoy's admin interface."""

    def __init__(self, proxy_id: str, host: str, port: int) -> None:
        self._named = f"Envoy of proxy {proxy_id} at {host_port(host, port)}"
        self._where = host, port

    def ask(self, method: str, path: str) -> bytes:
        """Return the body of an answer; raises ConsulEbpfError if there is none."""
        connection = http.client.HTTPConnection(*self._where, timeout=ANSWER_SECONDS)
        try:
            with boundary(ConsulEbpfError, f"{self._named} does not answer"):
                connection.request(method, path)
                answer = connection.getresponse()
                body = answer.read(LARGEST_BYTES + 1)
        finally:
            connection.close()
        if answer.status != 200:
            raise ConsulEbpfError(f"{self._named}: {path}: HTTP {answer.status}")
        if len(body) > LARGEST_BYTES:
            raise ConsulEbpfError(
                f"{self._named}: {path}: more than {LARGEST_BYTES} bytes"
            )
        return body

    def listens(self) -> bool:
        """Whether it accepts connections."""
        try:
            socket.create_connection(self._where, timeout=ANSWER_SECONDS).close()
        except OSError:
            return False
        return True


def _admin_of(config: Config, proxy_id: str) -> tuple[str, int]:
    """Return the admin address of the bootstrap that its Envoy was started from."""
    path = client.find_bootstrap(config, proxy_id)
    try:
        text = read_file(path, LARGEST_BYTES).data
    except FileError as error:
        raise ConsulEbpfError(
            f"proxy {proxy_id}: {error}: so the address of its Envoy's admin interface"
            " is not known"
        ) from error
    with boundary(ConsulEbpfError, f"proxy {proxy_id}: {path} is not a bootstrap"):
        bootstrap: Any = json.loads(text)
        address = bootstrap["admin"]["address"]["socket_address"]
        endpoint = host_port(str(address["address"]), int(address["port_value"]))
        return parse_endpoint(endpoint)


def _or_warn(step: Callable[[], object]) -> None:
    """Print the error of a step that fails, and go on: Envoy must end in any case."""
    try:
        step()
    except ConsulEbpfError as error:
        say(f"consul-ebpf: {error}", err=True)
