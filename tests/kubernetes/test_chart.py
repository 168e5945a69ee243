"""The chart in a real cluster: what the API server says of it, and its whole life."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.kubernetes.certificates.api_server import ApiServer
from consul_ebpf.kubernetes.certificates.authority import material_in
from consul_ebpf.kubernetes.certificates.own import OwnCertificates, service_names
from consul_ebpf.model.errors import ClusterError, ConflictError
from tests.lab.helm import objects, one, rendered
from tests.lab.kubernetes.api import Object
from tests.lab.kubernetes.cluster import Cluster
from tests.lab.kubernetes.consul import NAMESPACE, service_account_token

pytestmark = [pytest.mark.kernel, pytest.mark.kubernetes, pytest.mark.helm]

WEBHOOK = "consul-ebpf-webhook"
CONFIGURATION = "zz-consul-ebpf"
ADMISSION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
OF_CERT_MANAGER = {"Certificate", "Issuer"}

VALUES: list[dict[str, Any]] = [
    {},
    {"privileged": False, "dns": {"enabled": True}},
    {"consul": {"tls": {"enabled": False}, "acls": {"enabled": False}}},
    {"webhook": {"certManager": {"enabled": True}}},
    {"webhook": {"namespaceSelector": {"matchLabels": {"a": "b"}}, "replicas": 1}},
    {"node": {"listen": "[::1]:9802", "priorityClassName": "", "tolerations": []}},
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster with the namespace, and nothing of ours."""
    with Cluster() as running:
        running.kubectl("create", "namespace", NAMESPACE)
        yield running


@pytest.mark.parametrize("values", VALUES, ids=str)
def test_the_api_server_takes_every_manifest(
    cluster: Cluster, values: dict[str, Any]
) -> None:
    """Field by field, and warns of none; those of cert-manager it does not know."""
    made = [
        each
        for each in objects(rendered(values))
        if each["kind"] not in OF_CERT_MANAGER
    ]
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
    strict = ("--dry-run=server", "--validate=strict", "--warnings-as-errors")
    said = cluster.kubectl("apply", "--server-side", *strict, "-f-", given=given)
    assert len(said.splitlines()) == len(made)


@pytest.mark.parametrize("file", ["node.yaml", "webhook.yaml"])
def test_the_api_server_takes_the_plain_manifests(cluster: Cluster, file: str) -> None:
    """As they lie in deploy/kubernetes."""
    path = Path(__file__).parents[2] / "deploy/kubernetes" / file
    strict = ("--dry-run=server", "--validate=strict", "--warnings-as-errors")
    cluster.kubectl("apply", "--server-side", *strict, f"-f{path}")


@pytest.mark.parametrize(
    ("level", "kind", "admitted"),
    [
        ("restricted", "Deployment", True),
        ("privileged", "DaemonSet", True),
        ("baseline", "DaemonSet", False),
    ],
)
def test_pod_security(cluster: Cluster, level: str, kind: str, admitted: bool) -> None:
    """The webhook's pods need no privilege at all; the controller's need the most."""
    namespace = f"level-{level}"
    label = {"pod-security.kubernetes.io/enforce": level}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": label},
        },
        *(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": namespace},
            }
            for name in ("consul-ebpf", WEBHOOK)
        ),
    )
    for values in ({}, {"privileged": False}):
        template = one(objects(rendered(values)), kind)["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        pod["metadata"] = {"name": "x", "namespace": namespace}
        said = _refusal(cluster, pod)
        assert (said == "") is admitted, said
        assert admitted or "violates PodSecurity" in said


def _refusal(cluster: Cluster, pod: Object) -> str:
    """Return why the API server does not take a pod; empty: it does."""
    namespace = pod["metadata"]["namespace"]
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    try:
        cluster.api.create(path, pod)
    except Exception as error:  # noqa: BLE001  # shown by the test
        return str(error)
    return ""


@pytest.fixture
def installed(cluster: Cluster) -> Iterator[Cluster]:
    """What the webhook has in the cluster, without its pods."""
    kinds = ("ServiceAccount", "Secret", "MutatingWebhookConfiguration")
    made = [
        each
        for each in objects(rendered())
        if each["kind"] in kinds or "Role" in each["kind"]
    ]
    cluster.apply(*made)
    try:
        yield cluster
    finally:
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
        cluster.kubectl("delete", "-f-", given=given)


def as_the_webhook(cluster: Cluster, directory: Path) -> ApiServer:
    """Return the API server as a pod with the webhook's ServiceAccount sees it."""
    token = service_account_token(cluster, WEBHOOK, NAMESPACE)
    (directory / "token").write_text(token)
    (directory / "ca.crt").write_text(cluster.credentials.ca)
    (directory / "namespace").write_text(NAMESPACE)
    return ApiServer.in_cluster(cluster.api_environment, directory)


def bundle(cluster: Cluster) -> str:
    """Return the configuration's `caBundle`."""
    found = cluster.api.find(f"{ADMISSION}/{CONFIGURATION}")
    assert found
    return base64.b64decode(
        found["webhooks"][0]["clientConfig"].get("caBundle", "")
    ).decode()


async def until_served(*replicas: OwnCertificates) -> None:
    """Run replicas until each has a certificate, and the configuration its CA."""
    tasks = [asyncio.create_task(each.run()) for each in replicas]
    async with asyncio.timeout(10):
        for each in replicas:
            await each.context.changed_since(0, 10)
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, asyncio.CancelledError)


async def test_replicas_agree_on_a_certificate(
    installed: Cluster, tmp_path: Path
) -> None:
    """By the chart's rights; a bundle that was blanked is there again."""
    server = as_the_webhook(installed, tmp_path)

    def replica() -> OwnCertificates:
        return OwnCertificates(
            server,
            secret=WEBHOOK,
            configuration=CONFIGURATION,
            names=service_names(WEBHOOK, NAMESPACE),
        )

    await until_served(*(replica() for _ in range(4)))
    held = material_in((await server.get_secret(WEBHOOK)).data)
    assert held is not None
    assert bundle(installed) == held.bundle
    configuration = one(objects(rendered()), "MutatingWebhookConfiguration")
    installed.apply(configuration)
    assert bundle(installed) == held.bundle, "an apply leaves it as it is"
    installed.kubectl("replace", "-f-", given=json.dumps(configuration))
    assert bundle(installed) == ""
    await until_served(replica())
    assert bundle(installed) == held.bundle


async def test_the_second_writer_is_told(installed: Cluster, tmp_path: Path) -> None:
    """By the API server's own 409, for both objects."""
    server = as_the_webhook(installed, tmp_path)
    secret = await server.get_secret(WEBHOOK)
    await server.replace_secret(WEBHOOK, secret)
    installed.kubectl("-n", NAMESPACE, "label", "secret", WEBHOOK, "changed=yes")
    with pytest.raises(ConflictError):
        await server.replace_secret(WEBHOOK, secret)
    found = await server.get_configuration(CONFIGURATION)
    installed.kubectl(
        "label", "mutatingwebhookconfiguration", CONFIGURATION, "changed=yes"
    )
    (name,) = found.bundles
    with pytest.raises(ConflictError):
        await server.patch_bundles(CONFIGURATION, found.version, {name: b"CA"})


async def test_the_webhook_may_nothing_else(installed: Cluster, tmp_path: Path) -> None:
    """Another Secret, another configuration: refused."""
    installed.kubectl("-n", NAMESPACE, "create", "secret", "generic", "other")
    server = as_the_webhook(installed, tmp_path)
    with pytest.raises(ClusterError, match='secrets "other" is forbidden') as caught:
        await server.get_secret("other")
    assert caught.value.status == 403
    with pytest.raises(ClusterError, match="HTTP 403"):
        await server.get_configuration("other")
    account = f"system:serviceaccount:{NAMESPACE}:"
    for name, allowed in ((WEBHOOK, 2), ("consul-ebpf", 0)):
        said = installed.kubectl(
            "auth", "can-i", "--list", "--namespace", NAMESPACE, f"--as={account}{name}"
        )
        own = [
            line
            for line in said.splitlines()
            if "[consul-ebpf" in line or "[zz-" in line
        ]
        assert len(own) == allowed, said
        assert "*.*" not in said
