"""The real Envoy reads every golden bootstrap and has nothing to say about it."""

import json
import subprocess
from pathlib import Path

import pytest

from consul_ebpf import BootstrapFiles, Proxy
from consul_ebpf.base.tls import TlsMaterial
from tests.lab.certificates import Authority

GOLDEN = Path(__file__).parents[1] / "golden"
RUN = "/run/consul-ebpf"
TRACING = "deprecated option 'envoy.config.bootstrap.v3.Bootstrap.tracing'"
CERTS = "/certs"
"""Where the golden files' other files are: Envoy wants to see them."""

pytestmark = pytest.mark.envoy


def validate(envoy: Path, bootstrap: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [envoy, "--mode", "validate", "-l", "warning", "-c", bootstrap],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("golden", sorted(p.name for p in GOLDEN.glob("*.json")))
def test_envoy_accepts(envoy_bin: Path, tmp_path: Path, golden: str) -> None:
    """Without one warning, about deprecated fields or anything else."""
    bootstrap = tmp_path / "bootstrap.json"
    text = (GOLDEN / golden).read_text().replace(RUN, str(tmp_path))
    bootstrap.write_text(text.replace(f'"{CERTS}/', f'"{tmp_path}/'))
    authority = Authority()
    issued = authority.issue()
    for name, pem in (
        ("ca.pem", authority.pem),
        ("cert.pem", issued.cert),
        ("key.pem", issued.key),
    ):
        (tmp_path / name).write_text(pem)
    files = BootstrapFiles(tmp_path)
    proxy = Proxy("web-1-sidecar-proxy", "host1-virtual")
    files.write_token(proxy, 't"\\')
    files.write_tls(proxy, TlsMaterial(authority.pem, issued.cert, issued.key))
    answer = validate(envoy_bin, bootstrap)
    assert answer.returncode == 0, answer.stderr
    # `tracing` has no other place for what Consul's key holds.
    said = [line for line in answer.stderr.splitlines() if TRACING not in line]
    assert said == []


def test_envoy_refuses_what_is_wrong(envoy_bin: Path, tmp_path: Path) -> None:
    """So acceptance means something: one unknown field is enough."""
    data = json.loads((GOLDEN / "ipv4.json").read_text())
    data["static_resources"]["clusters"][0]["no_such_field"] = 1
    bootstrap = tmp_path / "bootstrap.json"
    bootstrap.write_text(json.dumps(data))
    assert validate(envoy_bin, bootstrap).returncode != 0


def test_a_deprecated_field_would_be_seen(envoy_bin: Path, tmp_path: Path) -> None:
    """So silence means something: consul-dataplane's own field is told of."""
    data = json.loads((GOLDEN / "ipv4.json").read_text())
    cluster = data["static_resources"]["clusters"][0]
    del cluster["typed_extension_protocol_options"]
    cluster["http2_protocol_options"] = {}
    bootstrap = tmp_path / "bootstrap.json"
    bootstrap.write_text(json.dumps(data))
    answer = validate(envoy_bin, bootstrap)
    assert "deprecated" in answer.stderr
