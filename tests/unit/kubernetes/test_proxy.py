"""The proxy that is made of a volume, and what a pod's author can say of it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.config.dataplane import FLAGS
from consul_ebpf.kubernetes.attributes import Attributes, InvalidAttributeError
from consul_ebpf.kubernetes.pods.join import Joined, Registration
from consul_ebpf.kubernetes.pods.proxy import (
    OPTIONS,
    Node,
    check,
    proxy_of,
    wants_login,
)
from consul_ebpf.kubernetes.pods.volume import Volume
from consul_ebpf.model.names import problems
from consul_ebpf.model.values import (
    Credentials,
    Login,
    Prometheus,
    Proxy,
    ProxyFiles,
    ProxyTelemetry,
)

UID = "0a1b2c3d-0000-4000-8000-00000000abcd"
TARGET = f"/k/pods/{UID}/volumes/kubernetes.io~csi/consul-ebpf/mount"
NODE = Node("n1-virtual", "n1", "10.0.0.9", Path("/run/x/.bearer"))


def volume(group: int | None = None, **attributes: Any) -> Volume:
    return Volume(
        id="csi-1",
        target=TARGET,
        namespace="shop",
        pod="web-1",
        uid=UID,
        service_account="web",
        attributes=Attributes(**attributes),
        group=group,
    )


def made(joined: Joined | None = None, **attributes: Any) -> Proxy:
    return proxy_of(volume(**attributes), joined or Joined(), "/cg/pod", NODE)


def with_options(**options: Any) -> Proxy:
    return made(options={name.replace("_", "-"): v for name, v in options.items()})


def test_a_whole_proxy() -> None:
    """Place, key, files and token are kubelet's word; the rest is the pod's own."""
    known = Registration(
        id="web-1-web-sidecar-proxy", destination="web", namespace="team"
    )

    proxy = made(
        Joined(known),
        uid=5995,
        gid=5996,
        env={"HOST_IP": "$(status.hostIP)"},
        options={
            "credential-type": "login",
            "login-auth-method": "k8s",
            "login-meta": (
                "pod=$(metadata.namespace)/$(metadata.name)",
                "pod-uid=$(metadata.uid)",
            ),
            "envoy-admin-bind-port": "19001",
            "envoy-ready-bind-address": "::",
            "envoy-ready-bind-port": "21000",
            "telemetry-use-central-config": "false",
            "telemetry-prom-scrape-path": "/m",
            "service-namespace": "another",
        },
    )

    key = f"shop.web-1.{UID}"
    expected = Proxy(
        id="web-1-web-sidecar-proxy",
        node="n1-virtual",
        namespace="team",
        service="web",
        admin=("127.0.0.1", 19001),
        ready=("::", 21000),
        owner="pod shop/web-1",
        cgroup="/cg/pod",
        credentials=Credentials(
            login=Login(
                "k8s",
                bearer_token_file=f"/run/x/.bearer/{key}",
                meta=(("pod", "shop/web-1"), ("pod-uid", UID)),
            )
        ),
        key=key,
        files=ProxyFiles(
            TARGET, "/consul-ebpf", (5995, 5996), 0o600, exists_already=True
        ),
        telemetry=ProxyTelemetry(False, Prometheus("/m")),
        env=(("HOST_IP", "10.0.0.9"),),
    )
    assert expected == proxy
    assert [] == problems(proxy)


def test_a_bare_volume() -> None:
    """consul-dataplane's defaults; whoever Envoy runs as can read its files."""
    proxy = made(Joined(awaits="Consul has none yet"))

    assert ("127.0.0.1", 19000) == proxy.admin
    assert proxy.ready is None
    assert proxy.credentials is None
    assert ("", "Consul has none yet") == (proxy.id, proxy.awaits)
    assert ProxyFiles(TARGET, "/consul-ebpf", None, 0o444, exists_already=True) == (
        proxy.files
    )
    check(volume(), NODE)


@pytest.mark.parametrize(
    ("attributes", "group", "owner"),
    [
        ({"uid": 1}, None, (1, 1)),
        ({"uid": 1}, 7, (1, 7)),
        ({"uid": 1, "gid": 0}, 7, (1, 0)),
        ({"gid": 2}, 7, None),
    ],
)
def test_the_owner_of_the_files(
    attributes: dict[str, int], group: int | None, owner: tuple[int, int] | None
) -> None:
    """The user, if it is known; its group, or the pod's `fsGroup`."""
    proxy = proxy_of(volume(group, **attributes), Joined(), "/cg", NODE)

    assert proxy.files is not None
    assert owner == proxy.files.owner


def test_no_pod_has_the_controllers_credentials() -> None:
    """Without a login there is no token, where the controller itself has one."""
    node = Node("n1-virtual", has_credentials=True)

    proxy = proxy_of(volume(), Joined(), "/cg", node)

    assert Credentials() == proxy.credentials


def test_a_pod_that_ends_says_so() -> None:
    """It keeps its id, so that what it has is not taken for another's."""
    proxy = made(Joined(Registration(id="x"), ended=True))

    assert proxy.ended
    assert "x" == proxy.id


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"static-token": "x"}, "'static-token' is unknown to this driver"),
        ({"credential-type": "static"}, "can only log in"),
        ({"credential-type": "login"}, "login-auth-method is missing"),
        ({"envoy-admin-bind-port": "65536"}, "must be a port"),
        ({"envoy-admin-bind-port": "-1"}, "must be a port"),
        ({"envoy-ready-bind-address": "web"}, "must be an IP"),
        ({"telemetry-use-central-config": "1"}, "true or false"),
        ({"telemetry-prom-scrape-path": ("a",)}, "is a list"),
        ({"proxy-namespace": "a/b"}, "namespace must be"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(
    options: dict[str, Any], said: str
) -> None:
    """It is found at publish, before anything is made."""
    with pytest.raises(InvalidAttributeError, match=said):
        check(volume(options=options), NODE)


def test_login_meta_is_of_pairs() -> None:
    """Something else would be lost on the token that consul-k8s deletes by it."""
    options = {
        "credential-type": "login",
        "login-auth-method": "k8s",
        "login-meta": ("pod",),
    }
    with pytest.raises(InvalidAttributeError, match="not like key=value"):
        made(options=options)


def test_the_options_are_those_that_the_webhook_passes_on() -> None:
    """The table of consul-dataplane's flags says which those are."""
    assert {name for name, flag in FLAGS.items() if flag.pod == "volume"} == OPTIONS


@given(
    st.dictionaries(
        st.sampled_from(sorted(OPTIONS)),
        st.text(max_size=9) | st.lists(st.text(max_size=9)).map(tuple),
    )
)
def test_whatever_options_hold_is_a_proxy_or_one_line(options: dict[str, Any]) -> None:
    """Nothing else is raised, and no proxy comes of it that others would refuse."""
    mine, said = volume(options=options), ""
    try:
        check(mine, NODE)
    except InvalidAttributeError as error:
        said = str(error)
    else:
        assert [] == problems(proxy_of(mine, Joined(), "/cg", NODE))
        assert wants_login(mine) == (options.get("credential-type") == "login")
    assert said.isprintable()
