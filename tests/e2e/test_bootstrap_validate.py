"""The real Envoy reads every golden bootstrap and has nothing to say about it."""

import json
import subprocess
from pathlib import Path

import pytest

from consul_ebpf.envoy.token import token_secret

GOLDEN = Path(__file__).parents[1] / "golden"
RUN = "/run/consul-ebpf"
"""Where the golden files' token file is: Envoy wants to see one."""

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
    bootstrap.write_text((GOLDEN / golden).read_text().replace(RUN, str(tmp_path)))
    token_file = tmp_path / "web-1-sidecar-proxy" / "token.json"
    token_file.parent.mkdir()
    token_file.write_text(json.dumps(token_secret('t"\\')))
    answer = validate(envoy_bin, bootstrap)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""


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
