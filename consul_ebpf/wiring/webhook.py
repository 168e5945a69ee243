"""Makes the webhook: its socket, its certificates, and what it answers."""

import importlib
import resource
import socket
import ssl
from collections.abc import Mapping

from aiohttp import web

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.tasks import Work
from consul_ebpf.config.schema import Config
from consul_ebpf.kubernetes.certificates.api_server import ApiServer
from consul_ebpf.kubernetes.certificates.server_tls import (
    CertificateFiles,
    Certificates,
    following,
)
from consul_ebpf.kubernetes.webhook.admission import MAX_BODY, Admission
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.views.connections import Connections
from consul_ebpf.views.guard import Patience
from consul_ebpf.views.listeners import open_tcp
from consul_ebpf.views.room import Limits, Room
from consul_ebpf.views.serving import serve_application

PATIENCE = Patience(unread=MAX_BODY + 64 * 1024)

LIMITS = Limits(tcp=384, address=256)
"""API servers hold many connections, and may all come from one address."""


class Webhook:
    """The webhook of `[webhook]`; its socket is open.

    Raises:
        ConfigError: there is no API server to keep certificates in.
        ConsulEbpfError: `webhook.listen` cannot be had now.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._certificates = _certificates(config)
        listen = parse_endpoint(config.webhook.listen)
        self._listening: socket.socket = open_tcp(*listen, "webhook.listen")

    def __repr__(self) -> str:
        return f"<Webhook at {self._config.webhook.listen}>"

    @property
    def certificate(self) -> Latest[ssl.SSLContext]:
        """What it serves with; once there is one, it answers."""
        return self._certificates.context

    def close(self) -> None:
        """Close the socket."""
        self._listening.close()

    def parts(self) -> Mapping[str, Work]:
        """Return what serves it, by name."""
        return {
            "the webhook's certificate": self._certificates.run,
            "the webhook": self._serve,
        }

    async def _serve(self) -> None:
        async for _ in self.certificate.changes():
            break  # those who ask before there is one wait
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = Room(frozenset(), LIMITS.within(descriptors))
        connections = Connections(room, PATIENCE, following(self.certificate))
        admission = Admission(self._config)
        application = web.Application(
            client_max_size=MAX_BODY,
            middlewares=[connections.counted, admission.guarded],
        )
        application.add_routes(admission.routes())
        await serve_application(application, connections, [self._listening])


def _certificates(config: Config) -> Certificates:
    webhook = config.webhook
    if webhook.certificates == "files":
        return CertificateFiles(webhook.cert, webhook.key)
    try:  # cryptography is not there where nobody needs it
        own = importlib.import_module("consul_ebpf.kubernetes.certificates.own")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'webhook.certificates: "self" needs {error.name}; install'
            ' consul-ebpf[webhook], or write "files"'
        ) from error
    server = ApiServer.in_cluster()
    made: Certificates = own.OwnCertificates(
        server,
        secret=webhook.secret,
        configuration=webhook.configuration,
        names=own.service_names(webhook.service, server.namespace),
    )
    return made
