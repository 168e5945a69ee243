"""TLS from Envoy straight to the Consul servers.

The certificates come from files of their own, which Envoy reads again when they are
replaced by a rename. Every server's certificate has one name in common, so the VIP
hides nothing that Envoy would need to know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from consul_ebpf.envoy.parts import Part, extension, secret
from consul_ebpf.envoy.places import as_seen
from consul_ebpf.model.values import Proxy

CA_SECRET = "consul-ca"  # noqa: S105  # names of secrets in Envoy
CERT_SECRET = "consul-client"  # noqa: S105

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
    """How the xDS cluster does TLS.

    `server_name` is a name or an IP address: what a server's certificate must be for.
    `ca_file` and `cert_file` say where a proxy's files (`tls_ca_secret`,
    `tls_cert_secret`) are; without `ca_file` Envoy trusts `system_roots`, a path on its
    own file system. Without `verify` it trusts everybody.
    """

    server_name: str
    verify: bool = True
    ca_file: Callable[[Proxy], Path] | None = None
    cert_file: Callable[[Proxy], Path] | None = None
    system_roots: str = "/etc/ssl/certs/ca-certificates.crt"


def tls_ca_secret(pem: str) -> Part:
    """Return what the CA file holds: the discovery response Envoy reads it from."""
    validation = {"trusted_ca": {"inline_string": pem}}
    return secret(CA_SECRET, validation_context=validation)


def tls_cert_secret(certificate: str, key: str) -> Part:
    """Return what the client certificate's file holds."""
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
        roots = {"trusted_ca": {"filename": tls.system_roots}}
        return {"validation_context": {**roots, **names}}
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
