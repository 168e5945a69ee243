"""The real Envoy takes the arguments that the webhook gives it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf import BootstrapFiles, Proxy
from consul_ebpf.config.schema import Config
from consul_ebpf.kubernetes.webhook.options import LOG_FORMAT
from consul_ebpf.kubernetes.webhook.rewrite import rewrite
from tests.lab.consul_k8s.injection import injected
from tests.lab.consul_k8s.pieces import Mesh
from tests.lab.consul_k8s.pods import GOLDEN
from tests.lab.json_patch import applied

BOOTSTRAP = Path(__file__).parents[1] / "golden" / "ipv4.json"
RUN = "/run/consul-ebpf"

pytestmark = pytest.mark.envoy


def arguments(pod: dict[str, Any]) -> list[list[str]]:
    """Return the arguments of each Envoy in a pod."""
    everything = (*pod["spec"]["initContainers"], *pod["spec"]["containers"])
    words = (each.get("args", []) for each in everything)
    return [each for each in words if "--config-path" in each]


def validate(envoy: Path, directory: Path, words: list[str]) -> str:
    """Have Envoy read a bootstrap in the place of the pod's; return what it logs."""
    bootstrap = directory / "bootstrap.json"
    bootstrap.write_text(BOOTSTRAP.read_text().replace(RUN, str(directory)))
    BootstrapFiles(directory).write_token(
        Proxy("web-1-sidecar-proxy", "host1-virtual"), "t"
    )
    words = [str(bootstrap) if "bootstrap.json" in word else word for word in words]
    done = subprocess.run(
        [envoy, "--mode", "validate", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "name", sorted(each.stem for each in GOLDEN.glob("*.after.json"))
)
def test_envoy_takes_them(envoy_bin: Path, tmp_path: Path, name: str) -> None:
    """All that the golden pods have; one that was skipped has none."""
    pod = json.loads((GOLDEN / f"{name}.json").read_text())
    found = arguments(pod)
    assert bool(found) == (name != "merged-metrics.after")
    for words in found:
        validate(envoy_bin, tmp_path, words)


def test_a_line_of_json(envoy_bin: Path, tmp_path: Path) -> None:
    """Each line has the keys that consul-dataplane gives Envoy's."""
    pod = injected(Mesh())
    pod["spec"]["containers"][0]["args"] += ["-log-json", "-log-level=DEBUG"]
    answer = rewrite(pod, Config())
    assert answer is not None
    (words,) = arguments(applied(pod, answer.patch))
    assert words[words.index("--log-format") + 1] == LOG_FORMAT
    for line in validate(envoy_bin, tmp_path, words).splitlines():
        said = json.loads(line)
        assert said.keys() == {"@timestamp", "@level", "@module", "@message", "thread"}
