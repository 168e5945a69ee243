"""A TLS handshake in memory, of a client's context with a certificate."""

import ssl
from pathlib import Path

from tests.lab.certificates import Issued


def handshake(
    client: ssl.SSLContext, issued: Issued, name: str, directory: Path
) -> str:
    """Return why the client refuses the server's certificate; empty: it does not.

    The certificate's file may hold more than one, as a server's with an intermediate.
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
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            open_ends.remove(end)
    return ""
