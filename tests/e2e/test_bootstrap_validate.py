"""The real Envoy reads every golden bootstrap and has nothing to say about it."""

import json
import subprocess
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consul_ebpf import BootstrapFiles, Proxy
from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.central import KEYS
from consul_ebpf.model.values import BootstrapParams, PlacedProxy, Vip
from tests.lab.central_values import ENV, KEPT, LEFT_OUT, UNSET
from tests.lab.certificates import Authority

GOLDEN = Path(__file__).parents[1] / "golden"
RUN = "/run/consul-ebpf"
TRACING = "deprecated option 'envoy.config.bootstrap.v3.Bootstrap.tracing'"
CERTS = "/certs"
"""Where the golden files' other files are: Envoy wants to see them."""

WRITTEN = (*KEPT, *LEFT_OUT)

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


def rendered(**config: Any) -> dict[str, Any]:
    """The bootstrap of a proxy with this central configuration."""
    placed = PlacedProxy(Proxy("web-1", "n"), Vip(IPv4Address("127.64.0.1"), 8502))
    params = BootstrapParams(identity="web", config=config)
    return dict(EnvoyBootstrap(env=ENV).render(placed, params))


def refused(
    envoy: Path, directory: Path, bootstraps: list[dict[str, Any]]
) -> list[Any]:
    """Return what Envoy says of those that it does not take."""
    bad = []
    for number, bootstrap in enumerate(bootstraps):
        path = directory / f"{number}.json"
        path.write_text(json.dumps(bootstrap))
        answer = validate(envoy, path)
        if answer.returncode:
            bad.append((bootstrap, answer.stderr[:500]))
    return bad


@pytest.mark.parametrize("key", KEYS)
def test_fault_110_envoy_starts_with_whatever_people_write(
    envoy_bin: Path, tmp_path: Path, key: str
) -> None:
    """Each good and bad value of the key: used or left out, never Envoy's end."""
    values = [each[1] for each in WRITTEN if each[0].lower() == key]
    bootstraps = [rendered(**{key: value}) for value in (*values, *UNSET)]
    assert refused(envoy_bin, tmp_path, bootstraps) == []


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            key: st.sampled_from([each[1] for each in WRITTEN if each[0] == key])
            for key in KEYS
        },
    )
)
def test_fault_110_envoy_starts_with_any_mixture(
    envoy_bin: Path, config: dict[str, Any]
) -> None:
    """All keys at once, in every combination of good and bad values."""
    with TemporaryDirectory() as directory:
        assert refused(envoy_bin, Path(directory), [rendered(**config)]) == []
