"""The webhook's certificates of its own: one CA, one certificate, in one Secret."""

import asyncio
import datetime as dt
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import replace

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.tls import TlsMaterial, load_chain
from consul_ebpf.kubernetes.certificates.authority import (
    Material,
    as_data,
    due,
    material_in,
)
from consul_ebpf.kubernetes.certificates.cluster import Cluster
from consul_ebpf.kubernetes.certificates.server_tls import server_context
from consul_ebpf.model.errors import ClusterError, ConflictError

logger = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""From one look at the Secret and the configuration to the next."""

MISSING_SECONDS = 2.0
"""... while there is no configuration: it is installed last."""

TRIES = 5
"""How often in a row another replica may write the Secret before this one."""


class OwnCertificates:
    """A CA and a certificate of our own, in one Secret that all replicas share.

    Each replica looks once a minute, and whoever finds something due writes it. The CAs
    go into the webhook configuration before their certificate is used.

    Args:
        cluster: where the Secret and the configuration are.
        secret: the Secret's name; it exists, maybe empty.
        configuration: the MutatingWebhookConfiguration's name.
        names: what the API server calls the webhook by; see `service_names`.
        clock: the time in seconds since 1970.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        secret: str,
        configuration: str,
        names: tuple[str, ...],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._secret = secret
        self._configuration = configuration
        self._names = names
        self._clock = clock
        self._held: Material | None = None
        self._said_missing = False
        self.context: Latest[ssl.SSLContext] = Latest()

    def __repr__(self) -> str:
        return f"<OwnCertificates in Secret {self._secret}>"

    async def run(self) -> None:
        """Keep Secret, configuration and `context` right, for ever.

        Raises:
            ClusterError: the API server did not answer, or refused. What was served
                before is served still.
        """
        while True:
            material = await self._agree()
            try:
                configured = await self._publish(material.bundle.encode())
            finally:  # without the configuration nobody asks, or by what it has
                self._serve(material)
            await asyncio.sleep(LOOK_SECONDS if configured else MISSING_SECONDS)

    async def _agree(self) -> Material:
        """Return what the Secret holds, after writing to it what is due."""
        for _ in range(TRIES):
            secret = await self._cluster.get_secret(self._secret)
            try:
                found = material_in(secret.data)
            except ValueError as error:
                logger.warning("Secret %s %s: made anew", self._secret, error)
                found = None
            # Where somebody emptied it, it gets back what is being served.
            now = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
            wanted = due(found or self._held, self._names, now)
            if wanted == found:
                return wanted
            data = {**secret.data, **as_data(wanted)}
            try:
                new = replace(secret, data=data)
                await self._cluster.replace_secret(self._secret, new)
            except ConflictError:  # another replica was first: take what it wrote
                continue
            logger.info("Secret %s: wrote the webhook's certificate", self._secret)
            return wanted
        raise ClusterError(f"Secret {self._secret}: somebody keeps changing it")

    async def _publish(self, bundle: bytes) -> bool:
        """Have API servers trust our CAs; False if there is no configuration yet."""
        name = self._configuration
        try:
            found = await self._cluster.get_configuration(name)
        except ClusterError as error:
            if error.status != 404:
                raise
            if not self._said_missing:
                logger.info("no MutatingWebhookConfiguration %s: waiting for it", name)
            self._said_missing = True
            return False
        self._said_missing = False
        wrong = [each for each, has in found.bundles.items() if has != bundle]
        if wrong:
            bundles = dict.fromkeys(wrong, bundle)
            try:
                await self._cluster.patch_bundles(name, found.version, bundles)
            except ConflictError:  # another replica, or a user: look again soon
                return False
            logger.info("MutatingWebhookConfiguration %s: set its caBundle", name)
        return True

    def _serve(self, material: Material) -> None:
        if material != self._held:
            context = server_context()
            pem = TlsMaterial(cert=material.certificate, key=material.key)
            load_chain(context, pem, f"in Secret {self._secret}")
            self.context.set(context)
        self._held = material


def service_names(service: str, namespace: str) -> tuple[str, ...]:
    """Return the names that an API server calls a Service by, the usual one first."""
    name = f"{service}.{namespace}.svc"
    return name, f"{name}.cluster.local"
