"""py-consul without requests, until somebody needs it."""

import subprocess
import sys

SCRIPT = """
import sys
import consul_ebpf.client.http
assert "requests" not in sys.modules
import consul
client = consul.Consul()
import requests
assert isinstance(client.http.session, requests.Session)
assert consul.std.requests.Session is requests.Session
"""


def test_requests_is_imported_when_a_synchronous_client_is_made() -> None:
    """Ours costs no such import; who embeds us can have both."""
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
