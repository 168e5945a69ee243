"""Why a certificate was refused, and what decides that."""

import ssl
from pathlib import Path

import pytest

from consul_ebpf.base.certificate import refused
from consul_ebpf.base.tls import TlsFiles
from consul_ebpf.config.schema import Consul, Tls
from tests.lab.certificates import Authority, Issued
from tests.lab.handshake import shake_hands

ONE = Authority()


def why(directory: Path, issued: Issued, consul: Consul) -> str:
    """Return what is said of a certificate where the name is made of that."""
    (directory / "ca.pem").write_text(ONE.pem)
    context = TlsFiles(ca_certs=str(directory / "ca.pem")).context()
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        shake_hands(context, issued, consul.certificate_name, directory)
    return refused(caught.value, consul.certificate_name_keys)


@pytest.mark.parametrize(
    ("consul", "said", "not_said"),
    [
        (
            Consul(datacenter="dc1", domain="wrong"),
            "'server.dc1.wrong': see consul.datacenter (dc1) and consul.domain (wrong)",
            "tls",
        ),
        (
            Consul(datacenter="dc2"),
            "'server.dc2.consul': see consul.datacenter (dc2) and consul.domain",
            "tls",
        ),
        (
            Consul(tls=Tls(server_name="x.y"), datacenter="dc1"),
            "'x.y': see consul.tls.server_name (x.y)",
            "datacenter",
        ),
        (
            Consul(tls=Tls(server_name="10.9.9.9")),
            "IP address mismatch, certificate is not valid for '10.9.9.9': see consul.",
            "domain",
        ),
    ],
)
def test_fault_123_a_mismatch_names_the_keys_that_made_the_name(
    tmp_path: Path, consul: Consul, said: str, not_said: str
) -> None:
    """And no other ones."""
    text = why(tmp_path, ONE.issue(), consul)
    assert said in text
    assert not_said not in text.partition(": see ")[2].replace("consul.tls", "", 1)
    assert "ca_certs" not in text


def test_what_else_is_wrong_is_no_matter_of_the_name(tmp_path: Path) -> None:
    """Somebody else's CA, and a certificate that has expired."""
    consul = Consul(datacenter="dc1")
    strange = why(tmp_path, Authority("rsa").issue(), consul)
    assert strange.endswith(": see consul.tls.ca_certs")
    expired = why(tmp_path, ONE.issue(expired=True), consul)
    assert "certificate has expired: renew the server's certificate" in expired


def test_a_certificate_error_without_details_is_said_too() -> None:
    """Such as one of a library's own making."""
    text = refused(ssl.CertificateError("x"), "consul.domain")
    assert "not accepted: see consul.tls.ca_certs" == text
