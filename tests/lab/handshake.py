"""A TLS handshake in memory, of a client's context with a certificate."""

import ssl
from pathlib import Path

from tests.lab.certificates import Issued


def handshake(
    client: ssl.SSLContext, issued: Issued, name: str, directory: Path
) -> str:
    """Return why a client refuses a server's certificate; empty: it does not."""
    try:
        shake_hands(client, issued, name, directory)
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    return ""


def shake_hands(
    client: ssl.SSLContext, issued: Issued, name: str, directory: Path
) -> None:
    """Have a client verify a server's certificate, which may have a chain behind it.

    Raises:
        SSLCertVerificationError: the client refuses it.
    """
    (directory / "server.pem").write_text(issued.cert + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname=name)
    theirs = context.wrap_bio(up, down, server_side=True)
    open_ends = [ours, theirs]
    while open_ends:
        for end in list(open_ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            open_ends.remove(end)
