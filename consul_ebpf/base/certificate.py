"""Says why a server's certificate was refused and which key decides it. Pure."""

import ssl

from consul_ebpf.base.lines import one_line

MISMATCHES = {62, 64}
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""

DATES = {9, 10}
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


def refused(error: ssl.CertificateError, named_by: str) -> str:
    """Say what is wrong with a certificate and where to look.

    Args:
        error: raised by Python's ssl module.
        named_by: the configuration keys that decide which name is expected.
    """
    why = one_line(getattr(error, "verify_message", "") or "not accepted", 200)
    why = why.rstrip(".")
    code = getattr(error, "verify_code", None)
    if code in MISMATCHES:
        return f"{why}: see {named_by}"
    if code in DATES:
        return f"{why}: renew the server's certificate, or set this host's clock"
    return f"{why}: see consul.tls.ca_certs"
