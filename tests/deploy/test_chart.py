"""The Helm chart, rendered by the real Helm."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.config import kubernetes
from consul_ebpf.config.load import load
from consul_ebpf.config.schema import Config
from tests.lab.chart_values import CHART, ROOT
from tests.lab.helm import (
    NAMESPACE,
    PLAIN,
    Object,
    helm,
    objects,
    one,
    plain_manifests,
    rendered,
)

pytestmark = pytest.mark.helm

VALUES: dict[str, dict[str, Any]] = {
    "default": {},
    "plaintext": {"consul": {"tls": {"enabled": False}, "acls": {"enabled": False}}},
    "elsewhere": {
        "consul": {
            "addresses": ["hcp.example:8503", "10.0.0.2"],
            "grpcPort": 8503,
            "httpAddresses": ["https://hcp.example"],
            "tls": {"useSystemRoots": True, "serverName": "hcp.example"},
            "acls": {"authMethod": "pods"},
        }
    },
    "other namespace": {"consul": {"namespace": "mesh", "fullname": "consul-consul"}},
    "not privileged": {"privileged": False},
    "kind": {"cgroupRoot": "kubelet"},
    "microk8s": {"kubeletDirectory": "/var/snap/microk8s/common/var/lib/kubelet"},
    "no webhook": {"webhook": {"enabled": False}},
    "cert-manager": {"webhook": {"certManager": {"enabled": True}}},
    "issuer": {
        "webhook": {
            "certManager": {
                "enabled": True,
                "issuerRef": {"name": "ca", "kind": "ClusterIssuer"},
            }
        }
    },
    "dns": {"dns": {"enabled": True, "vip": "127.64.0.54"}},
    "own pods": {"webhook": {"envoyImage": "registry/envoy:1", "replicas": 1}},
    "one namespace": {
        "webhook": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}},
            "excludedNamespaces": [],
            "ownNamespace": True,
            "runtimeClasses": ["runc"],
        }
    },
    "more": {
        "image": {"repository": "r/x", "tag": "2", "pullSecrets": ["pull"]},
        "node": {
            "listen": "[::1]:9999",
            "priorityClassName": "",
            "tolerations": [],
            "nodeSelector": {"a": "b"},
            "podLabels": {"c": "d"},
            "podAnnotations": {"e": "f"},
            "resources": {},
            "maxProxies": 100,
        },
        "webhook": {"tolerations": [{"operator": "Exists"}], "podLabels": {"g": "h"}},
        "config": {
            "log": {"level": "debug", "format": "json"},
            "kubernetes": {"wait": 20.5},
            "consul": {"credentials": {"meta": {"who": '<us> & "them"'}}},
            "envoy": {"shutdown_grace_period": 3},
        },
    },
}


@pytest.fixture(scope="module", params=list(VALUES))
def made(request: pytest.FixtureRequest) -> list[Object]:
    """What the chart makes of some values."""
    return objects(rendered(VALUES[request.param]))


@pytest.fixture(scope="module")
def default() -> list[Object]:
    """What the chart makes by default."""
    return objects(rendered())


def config_of(made: list[Object], name: str, directory: Path) -> Config:
    """Load the configuration in a ConfigMap, as the command in the pod does."""
    path = directory / "config.toml"
    path.write_text(one(made, "ConfigMap", name)["data"]["config.toml"])
    env = {"NODE_NAME": "node-1"} if name == "consul-ebpf" else {}
    return load(path, env)


def container(made: list[Object], kind: str) -> Object:
    """Return the only container of a DaemonSet or Deployment."""
    (found,) = one(made, kind)["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", ["default", "not privileged", "cert-manager", "more"])
def test_helm_has_nothing_against_it(name: str, tmp_path: Path) -> None:
    """`helm lint --strict`, with values of each kind."""
    values = tmp_path / "values.yaml"
    values.write_text(str(VALUES[name]).replace("True", "true").replace("'", '"'))
    if name == "more":
        values.write_text("node: {maxProxies: 100}")
    values.write_text(values.read_text().replace("False", "false"))
    assert "0 chart(s) failed" in helm("lint", "--strict", f"-f{values}", str(CHART))


def test_the_controllers_configuration_loads(
    made: list[Object], tmp_path: Path
) -> None:
    """By the command's own rules, and it is complete."""
    config = config_of(made, "consul-ebpf", tmp_path)
    assert config.kubernetes.enabled
    assert config.consul.source == "watch"
    assert config.state.directory == "/var/lib/consul-ebpf"
    paths = {each["mountPath"] for each in container(made, "DaemonSet")["volumeMounts"]}
    for needed in (
        str(kubernetes.csi_socket(config.kubernetes).parent),
        str(kubernetes.registration_socket(config.kubernetes).parent),
        f"{config.kubernetes.kubelet_directory}/pods",
        config.bootstrap.directory,
        config.state.directory,
        config.kernel.bpffs,
        "/sys/fs/cgroup",
        "/tmp",
        *filter(None, [str(Path(config.consul.tls.ca_certs or "/tmp").parent)]),
    ):
        assert needed in paths | {"/"}
    probe = container(made, "DaemonSet")["readinessProbe"]["httpGet"]
    host, _, port = config.api.listen.rpartition(":")
    assert probe == {"host": host.strip("[]"), "port": int(port), "path": "/v1/ready"}


def test_the_webhooks_configuration_loads(made: list[Object], tmp_path: Path) -> None:
    """It names the objects that the chart makes, and has the nodes' `[dns]`."""
    names = {each["metadata"]["name"] for each in made}
    if "zz-consul-ebpf" not in names:
        assert {each["kind"] for each in made} == {
            "CSIDriver",
            "ConfigMap",
            "DaemonSet",
            "ServiceAccount",
        }
        return
    config = config_of(made, "consul-ebpf-webhook", tmp_path)
    assert config.webhook.configuration == "zz-consul-ebpf"
    service = one(made, "Service")
    assert service["metadata"]["name"] == config.webhook.service
    secrets = [each["metadata"]["name"] for each in made if each["kind"] == "Secret"]
    mine = [config.webhook.secret] if config.webhook.certificates == "self" else []
    assert secrets == mine
    assert config.dns == config_of(made, "consul-ebpf", tmp_path).dns
    assert config.kubernetes.driver == one(made, "CSIDriver")["metadata"]["name"]


def test_the_plain_manifests_are_what_the_chart_makes() -> None:
    """`python -m tests.lab.helm`"""
    for name, text in plain_manifests(rendered()).items():
        assert (PLAIN / name).read_text() == text


def test_a_value_that_does_not_exist_is_refused() -> None:
    """By its name: a typo changes nothing silently."""
    wrongs: list[dict[str, Any]] = [{"tls": True}, {"consul": {"tsl": {}}}]
    for wrong in [*wrongs, {"privileged": "no"}]:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            rendered(wrong)
        assert "values don't meet the specifications" in caught.value.stderr


def test_rights_are_as_few_as_can_be(default: list[Object]) -> None:
    """Two objects by name; the controller has none."""
    rules = {
        each["kind"]: each["rules"]
        for each in default
        if each["kind"] in {"Role", "ClusterRole"}
    }
    assert rules == {
        "Role": [
            {
                "apiGroups": [""],
                "resources": ["secrets"],
                "resourceNames": ["consul-ebpf-webhook"],
                "verbs": ["get", "update"],
            }
        ],
        "ClusterRole": [
            {
                "apiGroups": ["admissionregistration.k8s.io"],
                "resources": ["mutatingwebhookconfigurations"],
                "resourceNames": ["zz-consul-ebpf"],
                "verbs": ["get", "patch"],
            }
        ],
    }
    for each in default:
        for subject in each.get("subjects", ()):
            assert subject["name"] == "consul-ebpf-webhook"


def test_nothing_but_the_token_for_consul_is_mounted() -> None:
    """Without ACLs, or with cert-manager, there is no ServiceAccount token."""
    for name, kind, wanted in (
        ("default", "DaemonSet", True),
        ("plaintext", "DaemonSet", False),
        ("default", "Deployment", True),
        ("cert-manager", "Deployment", False),
    ):
        spec = one(objects(rendered(VALUES[name])), kind)["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is wanted
        assert spec["enableServiceLinks"] is False


def test_an_upgrade_blanks_nothing(default: list[Object]) -> None:
    """Neither the Secret's data nor the `caBundle` is the chart's."""
    assert set(one(default, "Secret")) == {"apiVersion", "kind", "metadata", "type"}
    (hook,) = one(default, "MutatingWebhookConfiguration")["webhooks"]
    assert set(hook["clientConfig"]) == {"service"}
    assert not any("helm.sh/hook" in str(each["metadata"]) for each in default)


def test_a_pod_is_never_refused(default: list[Object]) -> None:
    """And the webhook sees it before and after consul-k8s's."""
    (hook,) = one(default, "MutatingWebhookConfiguration")["webhooks"]
    assert hook["failurePolicy"] == "Ignore"
    assert hook["reinvocationPolicy"] == "IfNeeded"
    assert "objectSelector" not in hook
    assert "matchConditions" not in hook
    assert hook["namespaceSelector"]["matchExpressions"] == [
        {
            "key": "kubernetes.io/metadata.name",
            "operator": "NotIn",
            "values": ["kube-system", NAMESPACE],
        },
        {"key": "consul-ebpf.io/rewrite", "operator": "NotIn", "values": ["disabled"]},
    ]


def test_one_controller_on_a_node(default: list[Object]) -> None:
    """The old one ends before the new one starts, and it is on every Linux node."""
    spec = one(default, "DaemonSet")["spec"]
    assert spec["updateStrategy"]["rollingUpdate"] == {
        "maxUnavailable": 1,
        "maxSurge": 0,
    }
    pod = spec["template"]["spec"]
    assert pod["hostNetwork"]
    assert pod["hostPID"]
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert "livenessProbe" not in pod["containers"][0]


def test_each_variant_has_what_it_needs() -> None:
    """Privileged with mounts that pods see, or six capabilities and directories."""
    for name, propagation, volumes in (
        ("default", "Bidirectional", "tmpfs"),
        ("not privileged", "HostToContainer", "directory"),
    ):
        made = objects(rendered(VALUES[name]))
        daemonset = container(made, "DaemonSet")
        (pods,) = (e for e in daemonset["volumeMounts"] if e["name"] == "pods")
        assert pods["mountPropagation"] == propagation
        text = one(made, "ConfigMap", "consul-ebpf")["data"]["config.toml"]
        assert f'volumes = "{volumes}"' in text
        context = daemonset["securityContext"]
        assert context.get("privileged", False) is (name == "default")
        assert context["readOnlyRootFilesystem"]
        if name == "not privileged":
            added = context["capabilities"]["add"]
            assert added == [
                "CHOWN",
                "DAC_OVERRIDE",
                "FOWNER",
                "NET_ADMIN",
                "SYS_ADMIN",
                "SYS_PTRACE",
            ]


def test_a_cluster_without_tokens_in_secrets() -> None:
    """Before 1.35 the field is unknown, and is left out."""
    new = one(objects(rendered(kubernetes="1.35.0")), "CSIDriver")["spec"]
    old = one(objects(rendered(kubernetes="1.34.5")), "CSIDriver")["spec"]
    assert new.pop("serviceAccountTokenInSecrets") is True
    assert new == old
    assert new["requiresRepublish"]
    assert new["tokenRequests"] == [{"audience": "", "expirationSeconds": 3600}]


def test_a_changed_configuration_makes_new_pods() -> None:
    """Each workload's own, and not the other one's."""

    def sums(values: dict[str, Any]) -> dict[str, str]:
        return {
            each["kind"]: each["spec"]["template"]["metadata"]["annotations"][
                "checksum/config"
            ]
            for each in objects(rendered(values))
            if each["kind"] in {"DaemonSet", "Deployment"}
        }

    before = sums({})
    nodes = sums({"node": {"maxProxies": 9}})
    both = sums({"dns": {"enabled": True}})
    assert before["Deployment"] == nodes["Deployment"]
    assert before["DaemonSet"] != nodes["DaemonSet"]
    assert set(before.values()).isdisjoint(both.values())


def test_the_chart_is_of_this_version() -> None:
    """Its `appVersion` is the package's."""
    chart = (CHART / "Chart.yaml").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    (version,) = re.findall(r'^version = "(.*)"', project, re.MULTILINE)
    assert f"appVersion: {version}\n" in chart
