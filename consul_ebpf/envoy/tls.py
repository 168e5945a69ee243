"""TLS from Envoy straight to the Consul servers.

The certificates are in files of their own, which Envoy reads again when they are
replaced by a rename. All servers' certificates have one name in common, so Envoy can
verify them without knowing which server is behind the VIP.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from consul_ebpf.envoy.parts import Part, extension, secret
from consul_ebpf.envoy.places import as_seen, in_container
from consul_ebpf.model.values import Proxy

CA_SECRET = "consul-ca"  # noqa: S105  # names of secrets in Envoy
CERT_SECRET = "consul-client"  # noqa: S105

IMAGE_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
"""Where Envoy's images have the usual CA certificates."""

SIGNATURES = (
    "ecdsa_secp256r1_sha256",
    "rsa_pss_rsae_sha256",
    "rsa_pkcs1_sha256",
    "ecdsa_secp384r1_sha384",
    "rsa_pss_rsae_sha384",
    "rsa_pkcs1_sha384",
    "rsa_pss_rsae_sha512",
    "rsa_pkcs1_sha512",
    "ed25519",
)
"""BoringSSL's own list, and Ed25519, which it leaves out."""


@dataclass(frozen=True, slots=True)
class XdsTls:
    """How the xDS cluster does TLS."""

    server_name: str
    """The name or IP address that a server's certificate must be for."""
    verify: bool = True
    """False: Envoy accepts any certificate."""
    ca_file: Callable[[Proxy], Path] | None = None
    """Where a proxy's CA file (`tls_ca_secret`) is; None: `system_roots` is trusted."""
    cert_file: Callable[[Proxy], Path] | None = None
    """Where its client certificate (`tls_cert_secret`) is; None: Envoy has none."""
    system_roots: str = IMAGE_ROOTS
    """This host's CA certificates. A container has those of its image."""


def tls_ca_secret(pem: str) -> Part:
    """Return what the CA file holds, for a PEM text."""
    validation = {"trusted_ca": {"inline_string": pem}}
    return secret(CA_SECRET, validation_context=validation)


def tls_cert_secret(certificate: str, key: str) -> Part:
    """Return what the client certificate's file holds, for two PEM texts."""
    chain = {
        "certificate_chain": {"inline_string": certificate},
        "private_key": {"inline_string": key},
    }
    return secret(CERT_SECRET, tls_certificate=chain)


def transport_socket(tls: XdsTls, proxy: Proxy) -> Part:
    """Return the xDS cluster's `transport_socket`."""
    common: Part = {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "signature_algorithms": list(SIGNATURES),
        },
        **_validation(tls, proxy),
    }
    if tls.cert_file is not None:
        sds = _sds(CERT_SECRET, as_seen(proxy, tls.cert_file(proxy)))
        common["tls_certificate_sds_secret_configs"] = [sds]
    sni = {} if _address(tls.server_name) else {"sni": tls.server_name}
    return extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        **sni,  # which knows no addresses
        common_tls_context=common,
    )


def _validation(tls: XdsTls, proxy: Proxy) -> Part:
    if not tls.verify:
        accept = {"trust_chain_verification": "ACCEPT_UNTRUSTED"}
        return {"validation_context": accept}
    address = _address(tls.server_name)
    name = {
        "san_type": "IP_ADDRESS" if address else "DNS",
        "matcher": {"exact": address or tls.server_name},
    }
    names = {"match_typed_subject_alt_names": [name]}
    if tls.ca_file is None:
        roots = IMAGE_ROOTS if in_container(proxy) else tls.system_roots
        trusted = {"trusted_ca": {"filename": roots}}
        return {"validation_context": {**trusted, **names}}
    sds = _sds(CA_SECRET, as_seen(proxy, tls.ca_file(proxy)))
    return {
        "combined_validation_context": {
            "default_validation_context": names,
            "validation_context_sds_secret_config": sds,
        }
    }


def _address(name: str) -> str:
    """Return an IP address as Envoy writes it; empty: the name is none."""
    try:
        return str(ip_address(name))
    except ValueError:
        return ""


def _sds(name: str, file: Path) -> Part:
    source = {"path": str(file), "watched_directory": {"path": str(file.parent)}}
    return {
        "name": name,
        "sds_config": {"path_config_source": source, "resource_api_version": "V3"},
    }
