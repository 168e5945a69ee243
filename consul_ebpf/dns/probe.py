"""Ask a server's DNS port a question that it can answer by itself.

The question is for the addresses of `consul.service.<domain>`: every Consul has them in
its own memory, and with stale reads, which its DNS allows by default, also while the
servers have no leader. It goes through all that a client's question goes through.

Who answers is alive, be it with NXDOMAIN (ACLs hide the servers from the anonymous
token) or with REFUSED: the servers' domain is another than `consul.domain`, and there
are no recursors. A server of another domain that has recursors passes the question on,
and is alive as long as one of these answers; so `consul.domain` should be right.
SERVFAIL is not alive: Consul says so when it cannot look into its catalog.

Nor is a server alive that denies what another one knows. One that was just started has
an empty catalog until the leader has brought it up to date, and says meanwhile that no
name exists. That, and a closed port, is beyond doubt: one such answer is enough, so
that a server that is restarted gives no wrong ones between two probes.
"""

import asyncio
from contextlib import closing

import dns.message
import dns.rcode

from consul_ebpf.base.boundary import reason
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.seams import Health
from consul_ebpf.model.values import Server, Service

ALIVE = {dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.REFUSED}
"""What a server answers whose DNS works, however it is configured."""

KNOWN_SECONDS = 10.0
"""After a server answered the question, others that deny it are wrong for so long."""

MAX_STRAYS = 64
"""Datagrams that are no answer to the question before a probe gives up: what floods us
must not keep the controller busy."""


def question(domain: str) -> dns.message.QueryMessage:
    """Make the question, with an id of its own, for servers of Consul's `domain`."""
    return dns.message.make_query(f"consul.service.{domain}".rstrip(".") + ".", "A")


class DnsProbe:
    """A `HealthProbe` of a server's DNS port: one question over UDP for each check."""

    def __init__(self, service: Service, domain: str, *, timeout: float = 1.0) -> None:
        """Give each server `timeout` seconds to answer.

        Args:
            service: has the servers' DNS port.
            domain: Consul's, `consul.domain`.
            timeout: seconds.
        """
        self._service = service
        self._domain = domain
        self._timeout = timeout
        self._knew: dict[str, float] = {}
        """When a server last knew the answer, by its id."""

    def __repr__(self) -> str:
        return f"<DnsProbe {self._domain} port {self._service.port}>"

    async def check(self, server: Server) -> Health:
        """Ask once, within the timeout; a server that is dead raises nothing.

        Nor does anything else: whatever goes wrong, this server was not seen to work.
        """
        address = str(server.address), self._service.port or server.port
        try:
            query = question(self._domain)
            async with asyncio.timeout(self._timeout):
                answer = await ask(query, address)
        except TimeoutError:
            said = f"no answer in {self._timeout:g} s"
            return Health(alive=False, reason=said)
        except ConsulError as error:
            return Health(alive=False, reason=str(error))
        except ConnectionRefusedError as error:
            return Health(alive=False, reason=reason(error), sure=True)
        except Exception as error:  # noqa: BLE001
            return Health(alive=False, reason=reason(error))
        return self._judge(server, answer)

    def _judge(self, server: Server, answer: dns.message.Message) -> Health:
        now, rcode = asyncio.get_running_loop().time(), answer.rcode()
        self._knew = {i: at for i, at in self._knew.items() if now - at < KNOWN_SECONDS}
        self._knew.pop(server.id, None)
        said = (
            f"{dns.rcode.to_text(rcode)} for {question(self._domain).question[0].name}"
        )
        if rcode == dns.rcode.NOERROR:
            self._knew[server.id] = now
        elif rcode in ALIVE and self._knew:
            return Health(alive=False, reason=f"{said}, which others know", sure=True)
        return Health(alive=rcode in ALIVE, reason=said)

    async def aclose(self) -> None:
        """Do nothing: no socket is kept."""


async def ask(
    query: dns.message.QueryMessage, address: tuple[str, int]
) -> dns.message.Message:
    """Ask by a connected UDP socket; return the answer, however late it comes.

    What is no answer is dropped.

    Raises:
        OSError: the port is closed, as far as the host that has the address says.
        ConsulError: too much came that is no answer.
    """
    loop = asyncio.get_running_loop()
    transport, waiting = await loop.create_datagram_endpoint(
        lambda: _Waiting(query), remote_addr=address
    )
    with closing(transport):
        transport.sendto(query.to_wire())
        return await waiting.answer


class _Waiting(asyncio.DatagramProtocol):
    """What waits for the one answer to a question.

    The socket is connected, so the kernel drops what others than the server send.
    """

    def __init__(self, query: dns.message.QueryMessage) -> None:
        self._query = query
        self._strays = 0
        self.answer: asyncio.Future[dns.message.Message] = asyncio.Future()

    def datagram_received(self, data: bytes, _: tuple[str, int]) -> None:
        if self.answer.done():
            return
        try:
            message = dns.message.from_wire(data)
            ours = self._query.is_response(message)
        except Exception:  # noqa: BLE001  # whatever it is, it is no answer
            ours = False
        if ours:
            self.answer.set_result(message)
            return
        self._strays += 1
        if self._strays == MAX_STRAYS:
            error = ConsulError(f"{MAX_STRAYS} datagrams that are no answer")
            self.answer.set_exception(error)

    def error_received(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
