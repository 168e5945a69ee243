"""Logins by JWT: an issuer of the tests' own, and Consul's side of it."""

import base64
import json
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.lab.consul import ConsulCluster

METHOD = "workloads"
ISSUER = "consul-ebpf-tests"


class Issuer:
    """Signs JWTs that a Consul cluster accepts for logins."""

    def __init__(self) -> None:
        """Make a key."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.public_key = (
            self._key.public_key()
            .public_bytes(
                serialization.Encoding.PEM,
                serialization.PublicFormat.SubjectPublicKeyInfo,
            )
            .decode()
        )

    def jwt(self, service: str, seconds: float = 3600.0) -> str:
        """Sign that the bearer is a service."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": "consul",
            "sub": service,
            "service": service,
            "iat": now,
            "nbf": now - 5,
            "exp": now + int(seconds),
        }
        text = f"{_b64({'alg': 'ES256', 'typ': 'JWT'})}.{_b64(claims)}"
        der = self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        return f"{text}.{_raw(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def write(self, path: Path, service: str) -> Path:
        """Put a service's JWT into a file, 0600."""
        path.touch(0o600)
        path.write_text(self.jwt(service))
        return path

    def install(
        self, cluster: ConsulCluster, max_ttl: str = "60s", method: str = METHOD
    ) -> None:
        """Have the cluster accept them: a login may be the service in its JWT.

        The servers and nodes may be read too, as a mesh's proxies and controllers do.
        """
        cluster.call(
            "PUT",
            "/v1/acl/auth-method",
            {
                "Name": method,
                "Type": "jwt",
                "MaxTokenTTL": max_ttl,
                "Config": {
                    "JWTValidationPubKeys": [self.public_key],
                    "JWTSupportedAlgs": ["ES256"],
                    "BoundAudiences": ["consul"],
                    "BoundIssuer": ISSUER,
                    "ClaimMappings": {"service": "service"},
                },
            },
        )
        rules = 'node_prefix "" { policy = "read" } service_prefix "" {policy = "read"}'
        see = f"see-{method}"
        cluster.call("PUT", "/v1/acl/policy", {"Name": see, "Rules": rules})
        role = {"Name": see, "Policies": [{"Name": see}]}
        cluster.call("PUT", "/v1/acl/role", role)
        for kind, name in (("service", "${value.service}"), ("role", see)):
            cluster.call(
                "PUT",
                "/v1/acl/binding-rule",
                {"AuthMethod": method, "BindType": kind, "BindName": name},
            )

    @staticmethod
    def tokens(cluster: ConsulCluster) -> list[dict[str, Any]]:
        """Return the tokens that logins made and that are still there."""
        answer = cluster.call("GET", f"/v1/acl/tokens?authmethod={METHOD}")
        assert isinstance(answer, list)
        return answer


def _b64(value: object) -> str:
    return _raw(json.dumps(value).encode())


def _raw(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
