"""The whole under ACL deny and verified TLS: logins that expire, a CA that changes."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path

import pytest

from consul_ebpf.client.acl import unix_time
from tests.lab.certificates import Authority
from tests.lab.consul import ServerTls
from tests.lab.long import seconds
from tests.lab.mesh import Mesh
from tests.lab.processes import wait_until
from tests.lab.secured import PROXIES, Gaps, Secured

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

SECONDS = float(os.environ.get("SECURED_SECONDS") or seconds(75, 300))
"""How long the six proxies run; their tokens live 60 s."""


def test_tokens_of_a_minute_and_a_new_ca(secured: Secured, envoy_bin: Path) -> None:
    """No gap over a second, no token left over, and none where it should not be."""
    assert secured.accessors() == []
    with Mesh(
        secured.cluster, envoy_bin, proxies=PROXIES, config=secured.config()
    ) as mesh:
        mesh.start_envoys(20)
        gaps = Gaps(mesh)
        gaps.start()
        secrets = watch_secrets(secured, mesh, SECONDS / 3)
        replace_ca(secured)
        secrets |= watch_secrets(secured, mesh, SECONDS * 2 / 3)
        gaps.stop()
        # By the log: many gaps are shorter than a look at all Envoys takes.
        log = mesh.controller.log()
        moved = sum(map(int, re.findall(r"(\d+) connections moved", log)))
        print(f"{moved} streams moved, worst gap {gaps.worst:.2f} s", gaps.looks)
        assert moved >= PROXIES * (SECONDS // 60)
        assert gaps.worst < 1.0
        assert len(secrets) > PROXIES * (SECONDS // 45)
        nowhere_else(secrets, mesh, secured)
        # While none is being replaced: one for each proxy, and the controller's.
        wait_until(
            lambda: len(secured.accessors()) == PROXIES + 1, "no old token left", 30
        )


def watch_secrets(secured: Secured, mesh: Mesh, seconds: float) -> set[str]:
    """Collect every token that an Envoy was given; no expired one stays in Consul."""
    found: set[str] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for file in mesh.controller.bootstraps.glob("*/token.json"):
            with suppress(OSError):
                found |= set(re.findall(r"[0-9a-f-]{36}", file.read_text()))
        for token in secured.issuer.tokens(secured.cluster):
            left = seconds_left(token["ExpirationTime"])
            assert left > 0, "a token was left to expire"
        time.sleep(1)
    return found


def seconds_left(text: str) -> float:
    return unix_time(text) - time.time()


def replace_ca(secured: Secured) -> None:
    """As one does it: trust both, show the new one's, forget the old one."""
    new = Authority("rsa")
    both = secured.authority.pem + new.pem
    secured.ca.write_text(both)
    time.sleep(3)
    secured.cluster.replace_tls(ServerTls(both, new.issue()))
    time.sleep(3)
    secured.ca.write_text(new.pem)
    secured.cluster.replace_tls(ServerTls(new.pem, new.issue()))
    secured.authority = new


def nowhere_else(secrets: set[str], mesh: Mesh, secured: Secured) -> None:
    """Look for tokens wherever they should not be."""
    status = mesh.controller.run("status", "--json")
    texts = {"status": status, "log": mesh.controller.log()}
    for proxy, envoy in mesh.envoys.items():
        texts[f"config_dump {proxy}"] = envoy.admin("/config_dump").decode()
        texts[f"bootstrap {proxy}"] = mesh.controller.bootstrap(proxy).read_text()
        texts[f"envoy log {proxy}"] = envoy.child.last_words()
    bearers = {file.read_text() for file in secured.directory.glob("*.jwt")}
    for where, text in texts.items():
        assert not [s for s in secrets | bearers if s in text], where
    for file in mesh.controller.bootstraps.rglob("*"):
        if file.is_file() and any(s in file.read_text() for s in secrets):
            assert file.name in {"token.json", "tokens.json"}, file
            assert file.stat().st_mode & 0o777 == 0o600
