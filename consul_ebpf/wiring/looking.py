"""Makes what a command asks Consul if it only looks: by the controller's tokens."""

import asyncio

from consul_ebpf.client.calls import ServerCalls
from consul_ebpf.client.dataplane import bootstrap_params
from consul_ebpf.client.token import TokenFile
from consul_ebpf.config import proxies as entries
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.token_keys import HOST
from consul_ebpf.model.values import BootstrapParams, Proxy
from consul_ebpf.wiring.consul import Parts

LOOK_SECONDS = 5.0
"""Seconds that the source of servers has for its first answer."""


class LookingParts(Parts):
    """The parts of a command that only looks. It never logs in."""

    def kept_token(self, proxy: Proxy | None = None) -> str | None:
        """Return the controller's token, or that of a proxy with its own credentials.

        None: none is configured.

        Raises:
            ConsulError: the token is a login's, and the controller has not logged in;
                or the token's file cannot be read.
        """
        credentials = entries.to_credentials(self._config.consul.credentials)
        key = HOST
        if proxy is not None and proxy.credentials is not None:
            credentials, key = proxy.credentials, proxy.key
        if credentials is None:
            return None
        if credentials.token_file:
            return TokenFile(credentials.token_file)()
        if credentials.login is None:
            return credentials.token or None
        sessions, _ = self._token_memory.load()
        if key not in sessions:
            raise ConsulError("no ACL token: the controller (run) has not logged in")
        return sessions[key].secret

    async def params_now(self, proxy: Proxy) -> BootstrapParams | None:
        """Ask once for what Consul says of a proxy's bootstrap.

        Raises:
            ConsulError: no server answers, or the answer is a refusal.
            TimeoutError: the source of servers does not answer.
        """
        async with asyncio.timeout(LOOK_SECONDS):
            servers = await anext(aiter(self.server_source(self.kept_token).watch()))
        calls = ServerCalls(lambda: servers, *self.channels)
        try:
            return await bootstrap_params(calls, proxy, self.kept_token(proxy) or "")
        finally:
            await calls.aclose()
