"""The real Helm, and the project's chart.

`python -m tests.lab.helm` writes deploy/kubernetes/*.yaml anew: what the chart renders.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import yaml

from tests.lab.chart_values import CHART, ROOT
from tests.lab.go_build import PartMissingError
from tests.lab.parts import HELM

NAMESPACE = "consul"
KUBERNETES = "1.37.2"
PLAIN = ROOT / "deploy/kubernetes"

HEAD = """\
# Made from deploy/helm/consul-ebpf with its default values, for namespace consul; a
# test compares them. Adapt the image, and in the ConfigMap what differs in your
# cluster; after a change of the ConfigMap: kubectl -n consul rollout restart.
"""

Object = dict[str, Any]


def helm(
    *args: str, given: str | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run helm with no configuration of this user's; return what it prints.

    Raises:
        subprocess.CalledProcessError: it failed; its words are in a note.
    """
    found = HELM.find()
    if found is None:
        raise PartMissingError("no Helm: python -m tests.lab.parts helm")
    with tempfile.TemporaryDirectory() as home:
        try:
            return subprocess.run(
                [found, *args],
                input=given,
                capture_output=True,
                text=True,
                check=True,
                timeout=180,
                env={"PATH": os.environ["PATH"], "HOME": home, **(env or {})},
            ).stdout
        except subprocess.CalledProcessError as error:
            error.add_note(str(error.stderr))
            raise


def rendered(
    values: Mapping[str, Any] | None = None, *, kubernetes: str = KUBERNETES
) -> str:
    """Return the chart's manifests, for these values, as text."""
    version = f"--kube-version={kubernetes}"
    where = ("consul-ebpf", str(CHART), "--namespace", NAMESPACE, version)
    return helm("template", *where, "--values=-", given=json.dumps(values or {}))


def objects(text: str) -> list[Object]:
    """Return what manifests hold."""
    return [each for each in yaml.safe_load_all(text) if each]


def one(made: list[Object], kind: str, name: str = "") -> Object:
    """Return the only object of a kind, or the one with this name."""
    (found,) = (
        each
        for each in made
        if each["kind"] == kind and name in {"", each["metadata"]["name"]}
    )
    return found


def plain_manifests(text: str) -> dict[str, str]:
    """Return the files of deploy/kubernetes, by their names."""
    files = {"node.yaml": HEAD, "webhook.yaml": HEAD}
    for document in re.split(r"^---\n", text, flags=re.MULTILINE)[1:]:
        source, _, body = document.partition("\n")
        name = "webhook" if "/templates/webhook-" in source else "node"
        files[f"{name}.yaml"] += f"---\n{body}"
    return files


if __name__ == "__main__":
    try:
        for file, manifests in plain_manifests(rendered()).items():
            (PLAIN / file).write_text(manifests)
    except PartMissingError as error:
        sys.exit(str(error))
