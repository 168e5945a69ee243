"""A pod whose annotation asks for it gets an Envoy as a native sidecar."""

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from consul_ebpf.config.schema import Config
from consul_ebpf.kubernetes.attributes import Attributes
from consul_ebpf.kubernetes.webhook.answers import Changed, Skipped
from consul_ebpf.kubernetes.webhook.inject import inject
from consul_ebpf.kubernetes.webhook.reasons import Reason
from consul_ebpf.kubernetes.webhook.rewrite import rewrite
from tests.lab.consul_k8s.injection import application
from tests.lab.json_patch import applied

IMAGES = {"envoy_image": "envoyproxy/envoy:v1.38-latest"}
CONFIG = msgspec.convert({"webhook": IMAGES}, Config)

Pod = dict[str, Any]


def asking(**annotations: str) -> Pod:
    pod = application()
    names = {f"consul-ebpf.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
    pod["metadata"]["annotations"] = {"consul-ebpf.io/inject": "true", **names}
    return pod


def injected(pod: Pod, config: Config = CONFIG) -> Pod:
    answer = inject(pod, config)
    assert isinstance(answer, Changed), answer
    done: Pod = applied(pod, answer.patch)
    return done


def test_what_a_pod_gets() -> None:
    """Who waits for the bootstrap, then Envoy, and its volume; the rest stays."""
    pod = asking()
    pod["spec"]["initContainers"] = [{"name": "migrate", "image": "m"}]
    done = injected(pod)
    migrate, init, envoy = done["spec"]["initContainers"]
    assert migrate == {"name": "migrate", "image": "m"}
    assert init["command"][:2] == ["/bin/sh", "-ec"]
    assert "/consul-ebpf/bootstrap.json" in init["command"][2]
    assert envoy["restartPolicy"] == "Always"
    assert envoy["startupProbe"]["httpGet"] == {"path": "/ready", "port": 21000}
    assert envoy["args"][:2] == ["--config-path", "/consul-ebpf/bootstrap.json"]
    assert done["spec"]["containers"] == pod["spec"]["containers"]
    volume = done["spec"]["volumes"][-1]
    attributes = Attributes.read(volume["csi"]["volumeAttributes"])
    assert attributes.service == "web"
    assert attributes.uid == attributes.gid == 5995
    assert attributes.options["envoy-ready-bind-port"] == "21000"
    assert "credential-type" not in attributes.options
    status = done["metadata"]["annotations"]["consul-ebpf.io/status"]
    assert status == "injected"


def test_its_annotations() -> None:
    """The service, else the ServiceAccount's name, and the auth method."""
    done = injected(asking(service="api", auth_method="k8s"))
    attributes = Attributes.read(done["spec"]["volumes"][-1]["csi"]["volumeAttributes"])
    assert attributes.service == "api"
    assert attributes.options["login-auth-method"] == "k8s"
    assert attributes.options["credential-type"] == "login"
    pod = asking()
    del pod["spec"]["serviceAccountName"]
    wire = injected(pod)["spec"]["volumes"][-1]["csi"]["volumeAttributes"]
    assert Attributes.read(wire).service == "default"


def test_the_image_that_waits() -> None:
    """Envoy's own, unless another one is named: that of Envoy may have no shell."""
    own = injected(asking())["spec"]["initContainers"][0]
    assert own["image"] == IMAGES["envoy_image"]
    named = {"webhook": {**IMAGES, "init_image": "consul-ebpf:1"}}
    config = msgspec.convert(named, Config)
    other = injected(asking(), config)["spec"]["initContainers"][0]
    assert other["image"] == "consul-ebpf:1"


def test_once() -> None:
    """A pod that has it gets nothing more, from this or from `rewrite`."""
    done = injected(asking())
    assert inject(done, CONFIG) is None
    assert rewrite(done, CONFIG) is None


def test_who_does_not_ask() -> None:
    """Any other value is no."""
    pod = application()
    assert inject(pod, CONFIG) is None
    pod["metadata"]["annotations"]["consul-ebpf.io/inject"] = "yes"
    assert inject(pod, CONFIG) is None


REFUSED: list[tuple[str, Callable[[Pod], None], Reason]] = [
    (
        "consul-k8s, too",
        lambda pod: pod["metadata"]["annotations"].update(
            {"consul.hashicorp.com/connect-inject": "true"}
        ),
        Reason.ASKED,
    ),
    (
        "Windows",
        lambda pod: pod["spec"].update({"os": {"name": "windows"}}),
        Reason.PLATFORM,
    ),
    (
        "a container's name",
        lambda pod: pod["spec"]["containers"][0].update({"name": "consul-ebpf-envoy"}),
        Reason.VOLUME,
    ),
    (
        "a service that cannot be one",
        lambda pod: pod["metadata"]["annotations"].update(
            {"consul-ebpf.io/service": "x" * 1000}
        ),
        Reason.OPTION,
    ),
]


@pytest.mark.parametrize(
    ("change", "reason"), [each[1:] for each in REFUSED], ids=[e[0] for e in REFUSED]
)
def test_what_is_refused(change: Callable[[Pod], None], reason: Reason) -> None:
    """The pod stays as it is, and says why."""
    pod = asking()
    change(pod)
    answer = inject(pod, CONFIG)
    assert isinstance(answer, Skipped)
    assert answer.reason is reason
    done = applied(pod, answer.patch)
    assert done["spec"] == pod["spec"]
    status = done["metadata"]["annotations"]["consul-ebpf.io/status"]
    assert status == f"skipped: {answer.why}"


def test_no_image() -> None:
    """Nothing can be given without one."""
    answer = inject(copy.deepcopy(asking()), Config())
    assert isinstance(answer, Skipped)
    assert answer.why == "webhook.envoy_image names no image"
