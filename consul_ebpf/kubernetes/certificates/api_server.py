"""Kubernetes' API server, asked over HTTPS as a pod's ServiceAccount."""

import binascii
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from consul_ebpf.base.boundary import boundary, reason
from consul_ebpf.base.lines import one_line
from consul_ebpf.base.reading import FileError, read_file
from consul_ebpf.base.tls import TlsFiles
from consul_ebpf.client.token import TokenFile
from consul_ebpf.kubernetes.certificates.cluster import Configuration, Secret
from consul_ebpf.kubernetes.certificates.objects import (
    bundles_patch,
    configuration_of,
    object_of,
    secret_of,
    status_of,
)
from consul_ebpf.model.errors import (
    ClusterError,
    ConfigError,
    ConflictError,
    ConsulError,
)
from consul_ebpf.model.values import host_port

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where kubelet puts a pod's token, the API server's CA and the pod's namespace."""

DEADLINE_SECONDS = 10.0
"""For one call, from the connect to the answer's last byte."""

MAX_BODY = 4 * 1024 * 1024
"""Most bytes of an answer: a Secret has 1 MiB at the most, before base64."""

SHOWN = 200
"""Most characters of the API server's message that an error repeats."""

QUOTING = {400, 422}
"""Statuses whose messages may quote what was sent, which may be a secret."""

STRATEGIC = "application/strategic-merge-patch+json"
"""A patch that finds a list's entries by their names."""


class ApiServer:
    """The API server, asked as a ServiceAccount. Its files are read at each call.

    Args:
        url: such as `https://10.96.0.1:443`.
        namespace: of the Secrets.
        token_file: the ServiceAccount's token; kubelet replaces it each hour.
        ca_certs: the file of the CA that signed the API server's certificate.
    """

    def __init__(
        self, url: str, *, namespace: str, token_file: Path, ca_certs: Path
    ) -> None:
        self._url = url
        self.namespace = namespace
        self._token = TokenFile(token_file, what="ServiceAccount token")
        self._files = TlsFiles(ca_certs=str(ca_certs))

    def __repr__(self) -> str:
        return f"<ApiServer {self._url}>"

    @classmethod
    def in_cluster(
        cls,
        environ: Mapping[str, str] = os.environ,
        directory: Path = SERVICE_ACCOUNT,
    ) -> "ApiServer":
        """Return the API server of the cluster whose pod this is.

        Raises:
            ConfigError: this is no pod, or one without a ServiceAccount token.
        """
        host = environ.get("KUBERNETES_SERVICE_HOST", "")
        port = environ.get("KUBERNETES_SERVICE_PORT", "")
        if not host or not port.isdecimal():
            raise ConfigError(
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: run"
                ' this in a pod, or set webhook.certificates = "files"'
            )
        try:
            namespace = read_file(directory / "namespace", 1024).data.decode().strip()
        except (FileError, UnicodeError) as error:
            raise ConfigError(
                f"no ServiceAccount token in this pod: {reason(error)}; see"
                " automountServiceAccountToken"
            ) from None
        return cls(
            f"https://{host_port(host, int(port))}",
            namespace=namespace,
            token_file=directory / "token",
            ca_certs=directory / "ca.crt",
        )

    async def get_secret(self, name: str) -> Secret:
        """Read a Secret of this namespace."""
        body = await self._ask("GET", self._secret(name))
        with self._decoding():
            return secret_of(body)

    async def replace_secret(self, name: str, secret: Secret) -> None:
        """Write a Secret that was read before, with other data."""
        await self._ask("PUT", self._secret(name), object_of(secret))

    async def get_configuration(self, name: str) -> Configuration:
        """Read a MutatingWebhookConfiguration."""
        body = await self._ask("GET", _configuration(name))
        with self._decoding():
            return configuration_of(body)

    async def patch_bundles(
        self, name: str, version: str, bundles: Mapping[str, bytes]
    ) -> None:
        """Set the `caBundle` of these webhooks, and nothing else."""
        patch = bundles_patch(version, bundles)
        await self._ask("PATCH", _configuration(name), patch, STRATEGIC)

    def _secret(self, name: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/secrets/{name}"

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        with self._as_cluster_error():
            headers = {"Accept": "application/json", "Content-Type": content_type}
            headers["Authorization"] = f"Bearer {self._token()}"
            async with (
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.request(
                    method,
                    self._url + path,
                    headers=headers,
                    data=None if body is None else json.dumps(body),
                    allow_redirects=False,
                    ssl=self._files.context(),
                    timeout=aiohttp.ClientTimeout(total=DEADLINE_SECONDS),
                ) as response,
            ):
                data = bytearray()
                async for chunk in response.content.iter_chunked(64 * 1024):
                    data += chunk
                    if len(data) > MAX_BODY:
                        raise self._error(f"an answer of over {MAX_BODY >> 20} MiB")
        if response.status not in {200, 201}:
            raise self._refused(response.status, bytes(data))
        with self._decoding():
            return msgspec.json.decode(data, type=dict[str, Any])

    def _error(self, why: str, status: int | None = None) -> ClusterError:
        kind = ConflictError if status == 409 else ClusterError
        return kind(f"Kubernetes at {self._url}: {why}", status=status)

    def _refused(self, status: int, data: bytes) -> ClusterError:
        said = status_of(data)
        why = said.reason if status in QUOTING else said.message or said.reason
        return self._error(
            f"HTTP {status}: {one_line(why, SHOWN) or 'no reason given'}", status
        )

    @contextmanager
    def _as_cluster_error(self) -> Iterator[None]:
        """Make every failure of a request a `ClusterError`, without any header."""
        with boundary(self._error, f"Kubernetes at {self._url}"):
            try:
                yield
            except TimeoutError as error:
                why = f"no answer within {DEADLINE_SECONDS:.0f} s"
                raise self._error(why) from error
            except aiohttp.ClientConnectorCertificateError as error:
                refused = error.certificate_error
                why = getattr(refused, "verify_message", "") or "not accepted"
                raise self._error(f"its certificate: {one_line(why, SHOWN)}") from error
            except aiohttp.ClientConnectorError as error:
                why = reason(error.os_error)  # its own text names an object in memory
                raise self._error(f"cannot connect: {one_line(why, SHOWN)}") from error
            except (aiohttp.ClientError, OSError) as error:
                raise self._error(one_line(reason(error), SHOWN)) from error
            except (ConfigError, ConsulError) as error:  # a file: it may be mended
                raise self._error(str(error)) from error

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        """Make every failure to decode an answer a `ClusterError` that quotes none."""
        try:
            yield
        except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
            raise self._error("an answer that is not the object asked for") from None


def _configuration(name: str) -> str:
    group = "/apis/admissionregistration.k8s.io/v1"
    return f"{group}/mutatingwebhookconfigurations/{name}"
