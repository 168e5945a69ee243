"""Pods of consul-k8s become pods with plain Envoys; anything else is left alone."""

import copy
import json
import os
import shlex
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.config.schema import Config
from consul_ebpf.kubernetes.attributes import Attributes
from consul_ebpf.kubernetes.webhook.answers import Changed, Skipped
from consul_ebpf.kubernetes.webhook.reasons import Reason
from consul_ebpf.kubernetes.webhook.rewrite import rewrite
from tests.lab.consul_k8s.injection import injected
from tests.lab.consul_k8s.pieces import Mesh
from tests.lab.consul_k8s.pods import GOLDEN, PODS
from tests.lab.json_patch import applied

CONFIG = Config()
WITH_DNS = msgspec.convert({"dns": {"enabled": True}}, Config)

Pod = dict[str, Any]


def after(pod: Pod, config: Config = WITH_DNS) -> Pod:
    """Return the pod after the webhook; it is rewritten or skipped."""
    answer = rewrite(pod, config)
    assert answer is not None
    done: Pod = applied(pod, answer.patch)
    return done


def why(pod: Pod, config: Config = CONFIG) -> str:
    """Return why it is skipped, which stands in its annotation, and changes no more."""
    answer = rewrite(pod, config)
    assert isinstance(answer, Skipped), answer
    left = applied(pod, answer.patch)
    annotations = left["metadata"].pop("annotations")
    assert annotations["consul-ebpf.io/status"] == f"skipped: {answer.why}"
    assert left["spec"] == pod["spec"]
    return answer.why


def proxy(pod: Pod, index: int = 0) -> Pod:
    """Return the container that has the proxy."""
    found = [
        each
        for each in (*pod["spec"]["initContainers"], *pod["spec"]["containers"])
        if any("proxy-service-id-path" in word for word in each.get("args", ()))
    ]
    container: Pod = found[index]
    return container


@pytest.mark.parametrize("name", sorted(PODS))
def test_the_golden_pods(name: str) -> None:
    """What consul-k8s makes, and what we make of it. `UPDATE_GOLDEN=1` writes it anew.

    `python -m tests.lab.consul_k8s.pods` writes the first.
    """
    before = json.loads((GOLDEN / f"{name}.before.json").read_text())
    assert before == PODS[name]
    expected = GOLDEN / f"{name}.after.json"
    done = after(before)
    done["metadata"]["annotations"]["consul-ebpf.io/version"] = "VERSION"
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(f"{json.dumps(done, indent=1)}\n")
    assert done == json.loads(expected.read_text())


@pytest.mark.parametrize("name", sorted(PODS))
def test_twice_is_once(name: str) -> None:
    """By content: a pod that was rewritten has nothing to rewrite, nor to say."""
    done = after(PODS[name])
    again = rewrite(done, WITH_DNS)
    assert again is None or again.patch == []


@pytest.mark.parametrize("name", sorted(set(PODS) - {"merged-metrics"}))
def test_no_consul_dataplane_is_left(name: str) -> None:
    """No option or variable of it, and no ServiceAccount's token in Envoy's container.

    The node plugin reads what it is told.
    """
    done = after(PODS[name])
    volumes = {each["name"]: each for each in done["spec"]["volumes"]}
    envoys = 0
    for each in (*done["spec"]["initContainers"], *done["spec"]["containers"]):
        ours = [
            m
            for m in each.get("volumeMounts", ())
            if m["name"].startswith("consul-ebpf")
        ]
        if not each.get("args") or "--config-path" not in each["args"]:
            continue
        envoys += 1
        assert each["command"][0].endswith("envoy")
        assert not [e for e in each["env"] if e["name"].startswith("DP_")]
        assert not [
            m for m in each["volumeMounts"] if "serviceaccount" in m["mountPath"]
        ]
        assert len(ours) == 1
        wire = volumes[ours[0]["name"]]["csi"]["volumeAttributes"]
        attributes = Attributes.read(wire)
        assert each["args"][1] == f"{attributes.mount}/bootstrap.json"
        assert ours[0]["mountPath"] == attributes.mount
    assert envoys == (2 if name == "two-services" else 1)


def test_a_pod_without_consul_dataplane() -> None:
    """Nothing is said of it, whatever it has of ours."""
    pod = injected(Mesh())
    pod["spec"]["containers"] = pod["spec"]["containers"][1:]
    assert rewrite(pod, CONFIG) is None


def test_a_large_pod_without_consul_dataplane() -> None:
    """It is nobody's business here, however large."""
    pod = {"spec": {"containers": [{"name": f"c{n}"} for n in range(300)]}}
    assert rewrite(pod, CONFIG) is None


def test_a_command_line_that_only_prints() -> None:
    """It is no proxy, so the pod is left as it is."""
    pod = injected(Mesh())
    proxy(pod)["args"].append("-check-proxy-health")
    assert rewrite(pod, CONFIG) is None


Change = Callable[[Pod], None]


def spec(**fields: Any) -> Change:
    return lambda pod: pod["spec"].update(fields)


def words(*added: str) -> Change:
    return lambda pod: proxy(pod)["args"].extend(added)


def container(**fields: Any) -> Change:
    return lambda pod: proxy(pod).update(fields)


def variable(name: str, **source: Any) -> Change:
    return lambda pod: proxy(pod)["env"].append({"name": name, **source})


def beside(**fields: Any) -> Change:
    """Change the application's container."""
    return lambda pod: pod["spec"]["containers"][1].update(fields)


def init(**fields: Any) -> Change:
    return lambda pod: pod["spec"]["initContainers"][0].update(fields)


def annotated(name: str, value: str) -> Change:
    return lambda pod: pod["metadata"]["annotations"].update({name: value})


def mounted(path: str) -> Change:
    mount = {"name": "data", "mountPath": path}
    return lambda pod: proxy(pod)["volumeMounts"].append(mount)


def without(name: str) -> Change:
    def change(pod: Pod) -> None:
        own = proxy(pod)
        own["env"] = [each for each in own["env"] if each["name"] != name]
        own["args"] = [each for each in own["args"] if name not in each]

    return change


def hook(handler: Pod) -> Change:
    return beside(lifecycle={"postStart": handler})


FROM_SECRET = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
SHELL = ["/bin/sh", "-c"]

SKIPPED: list[tuple[str, Change, Reason, str]] = [
    (
        "opted out",
        annotated("consul-ebpf.io/rewrite", "false"),
        Reason.ASKED,
        'consul-ebpf.io/rewrite is "false"',
    ),
    ("Windows", spec(os={"name": "windows"}), Reason.PLATFORM, "it is for Windows"),
    (
        "a Windows node",
        spec(nodeSelector={"kubernetes.io/os": "windows"}),
        Reason.PLATFORM,
        "it is for Windows",
    ),
    (
        "a runtime class",
        spec(runtimeClassName="gvisor"),
        Reason.PLATFORM,
        "runtime class 'gvisor' is not in webhook.runtime_classes",
    ),
    (
        "users of its own",
        spec(hostUsers=False),
        Reason.PLATFORM,
        "its users are not the host's (hostUsers)",
    ),
    (
        "another program",
        container(command=["/bin/wrapper"]),
        Reason.COMMAND,
        "container consul-dataplane runs 'wrapper' with consul-dataplane's options",
    ),
    (
        "an unknown option",
        words("-brand-new=1"),
        Reason.OPTION,
        "unknown option -brand-new",
    ),
    (
        "no value",
        words("-ca-certs"),
        Reason.OPTION,
        "-ca-certs has no value",
    ),
    (
        "a bad flag",
        words("---tls-disabled"),
        Reason.OPTION,
        "unknown option --tls-disabled",
    ),
    (
        "no number",
        words("-envoy-concurrency=many"),
        Reason.OPTION,
        "-envoy-concurrency: not a number",
    ),
    (
        "no switch",
        words("-log-json=yes"),
        Reason.OPTION,
        "-log-json: neither true nor false",
    ),
    (
        "a level that is none",
        words("-log-level=loud"),
        Reason.OPTION,
        "-log-level is 'loud'",
    ),
    ("a mode", words("-mode=dns-proxy"), Reason.OPTION, "-mode is 'dns-proxy'"),
    (
        "waits at its start",
        words("-startup-grace-period-seconds=5"),
        Reason.OPTION,
        "-startup-grace-period-seconds is '5'",
    ),
    (
        "another node",
        words("-service-node-name=elsewhere"),
        Reason.OPTION,
        "-service-node-name is 'elsewhere', not kubernetes.catalog_node",
    ),
    (
        "an id",
        words("-proxy-service-id=web"),
        Reason.OPTION,
        "-proxy-service-id: it names its proxy itself",
    ),
    (
        "a file",
        words("-config-file", "/c.json"),
        Reason.OPTION,
        "-config-file: it has a configuration file",
    ),
    (
        "a static token",
        words("-static-token=s3cr3t"),
        Reason.SECRET,
        "-static-token: it holds a secret",
    ),
    (
        "a static token by variable",
        variable("DP_CREDENTIAL_STATIC_TOKEN", **FROM_SECRET),
        Reason.SECRET,
        "-static-token: it holds a secret",
    ),
    (
        "static credentials",
        words("-credential-type=static"),
        Reason.OPTION,
        "-credential-type is 'static'",
    ),
    (
        "a value from a Secret",
        variable("DP_CREDENTIAL_LOGIN_AUTH_METHOD", **FROM_SECRET),
        Reason.SECRET,
        "-login-auth-method: its value comes from a Secret, a ConfigMap or the like",
    ),
    (
        "metadata from a Secret",
        variable("DP_CREDENTIAL_LOGIN_META9", **FROM_SECRET),
        Reason.SECRET,
        (
            "DP_CREDENTIAL_LOGIN_META9: its value comes from a Secret, a ConfigMap or"
            " the like"
        ),
    ),
    (
        "metadata that is none",
        words("-login-meta=x"),
        Reason.OPTION,
        "-login-meta: not like key=value",
    ),
    (
        "envFrom",
        container(envFrom=[{"secretRef": {"name": "s"}}]),
        Reason.SECRET,
        "container consul-dataplane has envFrom, which may hold options",
    ),
    (
        "a reference that kubelet alone knows",
        words("-service-namespace=$(REDIS_SERVICE_HOST)"),
        Reason.OPTION,
        (
            "-service-namespace refers to '$(REDIS_SERVICE_HOST)', which the container"
            " has not"
        ),
    ),
    (
        "the pod's address",
        lambda pod: (
            variable("IP", valueFrom={"fieldRef": {"fieldPath": "status.podIP"}})(pod),
            words("-envoy-admin-bind-address=$(IP)")(pod),
        )[0],
        Reason.OPTION,
        "-envoy-admin-bind-address holds the pod's IP address",
    ),
    (
        "merged metrics",
        words("-telemetry-prom-merge-port=20100"),
        Reason.METRICS,
        "-telemetry-prom-merge-port: merged metrics",
    ),
    (
        "DNS",
        words("-consul-dns-bind-port=8600"),
        Reason.DNS,
        "Consul DNS in the pod, and dns.enabled is false",
    ),
    (
        "a bootstrap",
        words("--", "-c", "/own.yaml"),
        Reason.OPTION,
        "after -- it names a bootstrap of its own",
    ),
    (
        "another token",
        words("-credential-type=login", "-login-bearer-token-path=/my/token"),
        Reason.TOKEN,
        "-login-bearer-token-path: '/my/token' is no ServiceAccount's token",
    ),
    (
        "a Job's command",
        beside(command=[*SHELL, "work; curl -X POST 127.0.0.1:20600/x"]),
        Reason.HOOK,
        "container web calls consul-dataplane's graceful port or paths (20600)",
    ),
    (
        "a hook",
        hook({"exec": {"command": [*SHELL, "wget localhost/graceful_startup"]}}),
        Reason.HOOK,
        (
            "container web calls consul-dataplane's graceful port or paths"
            " (/graceful_startup)"
        ),
    ),
    (
        "a hook by HTTP",
        hook({"httpGet": {"port": 20600, "path": "/"}}),
        Reason.HOOK,
        "container web calls consul-dataplane's graceful port or paths (20600)",
    ),
    (
        "a probe of a named port",
        container(
            livenessProbe={"tcpSocket": {"port": "graceful"}},
            ports=[{"name": "graceful", "containerPort": 20600}],
        ),
        Reason.HOOK,
        (
            "container consul-dataplane calls consul-dataplane's graceful port or"
            " paths (20600)"
        ),
    ),
    (
        "a preStop hook",
        container(lifecycle={"preStop": {"exec": {"command": ["true"]}}}),
        Reason.HOOK,
        "container consul-dataplane has a preStop hook",
    ),
    (
        "no init container",
        spec(initContainers=[]),
        Reason.INIT,
        "no init container could write '/consul/connect-inject/proxyid'",
    ),
    (
        "two that could be",
        lambda pod: pod["spec"]["initContainers"].append(
            {**pod["spec"]["initContainers"][0], "name": "again"}
        ),
        Reason.INIT,
        "several init containers could write '/consul/connect-inject/proxyid'",
    ),
    (
        "no script",
        init(command=["consul-k8s-control-plane", "connect-init"]),
        Reason.INIT,
        "init container consul-connect-inject-init is no shell script",
    ),
    (
        "no volume",
        container(volumeMounts=[]),
        Reason.INIT,
        "no volume holds '/consul/connect-inject/proxyid'",
    ),
    (
        "our volume's name",
        lambda pod: pod["spec"]["volumes"].append({"name": "consul-ebpf"}),
        Reason.VOLUME,
        "it has a volume consul-ebpf already",
    ),
    (
        "our path",
        mounted("/consul-ebpf/"),
        Reason.VOLUME,
        "container consul-dataplane has a mount at '/consul-ebpf/'",
    ),
    (
        "below our path",
        mounted("/consul-ebpf/own"),
        Reason.VOLUME,
        "container consul-dataplane has a mount at '/consul-ebpf/own'",
    ),
    (
        "a large environment",
        variable("LARGE", value="x" * 5000),
        Reason.OPTION,
        "attribute env is 5204 bytes long; at most 4096 are allowed",
    ),
    (
        "a large option",
        words(f"-login-auth-method={'x' * 513}"),
        Reason.OPTION,
        "attribute options is 513 bytes long; at most 512 are allowed",
    ),
    (
        "an address that is none",
        words("-envoy-admin-bind-address=localhost"),
        Reason.OPTION,
        "option envoy-admin-bind-address is 'localhost'; it must be an IP",
    ),
    (
        "a login at no method",
        words("-credential-type=login"),
        Reason.OPTION,
        "option login-auth-method is missing",
    ),
    (
        "many words",
        words(*["-tls-disabled"] * 5000),
        Reason.FULL,
        "container consul-dataplane has more than 4096 arguments or variables",
    ),
    (
        "many proxies",
        lambda pod: pod["spec"]["containers"].extend([proxy(pod)] * 8),
        Reason.FULL,
        "it has more than 8 proxies",
    ),
    (
        "two of one service",
        lambda pod: pod["spec"]["containers"].extend(
            {**proxy(pod), "name": "consul-dataplane-web"} for _ in range(2)
        ),
        Reason.COMMAND,
        (
            "it has several proxies, and which service container consul-dataplane is"
            " for cannot be told"
        ),
    ),
    (
        "much text",
        beside(args=["x" * 200_000] * 3),
        Reason.FULL,
        "its arguments and variables have more than 524288 characters",
    ),
    (
        "many containers",
        lambda pod: pod["spec"]["containers"].extend(
            {"name": f"c{n}"} for n in range(300)
        ),
        Reason.FULL,
        "it has more than 256 containers",
    ),
]


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [each[1:] for each in SKIPPED],
    ids=[each[0] for each in SKIPPED],
)
def test_fault_k_a_pod_that_is_not_understood(
    change: Change, reason: Reason, said: str
) -> None:
    """With a reason, in the pod's annotation; secrets are not repeated."""
    pod = injected(Mesh())
    change(pod)
    before = copy.deepcopy(pod)
    assert why(pod) == said
    answer = rewrite(pod, CONFIG)
    assert isinstance(answer, Skipped)
    assert answer.reason is reason
    assert pod == before


def test_fault_k_one_proxy_of_two_is_not_understood() -> None:
    """One proxy that must be skipped leaves all as they were."""
    pod = injected(Mesh(tproxy=False, services=("web", "web-admin")))
    proxy(pod, 1)["args"].insert(0, "-static-token=x")
    assert why(pod) == "-static-token: it holds a secret"


def test_what_is_said_of_a_runtime_class_can_be_changed() -> None:
    """One whose connect() is the host kernel's is named in the configuration."""
    pod = injected(Mesh())
    pod["spec"]["runtimeClassName"] = "crun"
    named = msgspec.convert({"webhook": {"runtime_classes": ["crun"]}}, Config)
    assert isinstance(rewrite(pod, named), Changed)


@pytest.mark.parametrize(
    ("grace", "pods", "seconds"),
    [(30, 30, 30), (30, 10, 10), (5, 60, 5), (0, 30, None), (30, 0, None)],
)
def test_the_grace_period(grace: int, pods: int, seconds: int | None) -> None:
    """At most the pod's own: the API server takes no more."""
    pod = injected(Mesh())
    pod["spec"]["terminationGracePeriodSeconds"] = pods
    words(f"-shutdown-grace-period-seconds={grace}")(pod)
    done = after(pod)["spec"]["containers"][0]
    hooks = {"preStop": {"sleep": {"seconds": seconds}}} if seconds else None
    assert done.get("lifecycle") == hooks


def test_dns_is_served_by_the_vip() -> None:
    """In the place of the pod's own consul-dataplane, and first."""
    done = after(PODS["dns"])
    assert done["spec"]["dnsConfig"]["nameservers"] == ["127.64.0.53", "10.96.0.10"]
    assert "dns.enabled" in why(PODS["dns"])
    other = msgspec.convert({"dns": {"enabled": True, "port": 5353}}, Config)
    assert why(PODS["dns"], other) == "Consul DNS in the pod, and dns.port is not 53"
    pod = copy.deepcopy(PODS["dns"])
    pod["spec"]["dnsConfig"]["nameservers"] = ["10.96.0.10"]
    assert why(pod, WITH_DNS) == (
        "Consul DNS in the pod, and none of its nameservers is 127.0.0.1"
    )
    six = injected(Mesh(dns=True, six=True))
    assert why(six, WITH_DNS) == "Consul DNS in the pod, by an IPv6 nameserver"
    assert isinstance(rewrite(injected(Mesh(dns=False)), CONFIG), Changed)


def test_a_script_that_ends_early_still_waits() -> None:
    """An exec or exit in it ends only a shell of its own."""
    pod = injected(Mesh())
    script = "connect-init || exit 1\nexec true"
    pod["spec"]["initContainers"][0]["command"][2] = script
    made = after(pod)["spec"]["initContainers"][0]["command"]
    assert made[:2] == ["/bin/sh", "-ec"]
    assert made[2].startswith(f"(\n{script}\n)\n")
    assert made[2].count("bootstrap.json") == 1


def test_a_gateway_without_its_annotation() -> None:
    """Its init container says that it waits for one."""
    pod = copy.deepcopy(PODS["mesh-gateway"])
    del pod["metadata"]["annotations"]
    (volume,) = [v for v in after(pod)["spec"]["volumes"] if "csi" in v]
    assert volume["csi"]["volumeAttributes"]["kind"] == "gateway"


def test_a_script_among_the_arguments() -> None:
    """It is where it was, and waits."""
    pod = injected(Mesh())
    (init,) = pod["spec"]["initContainers"]
    init["args"] = [init["command"].pop()]
    (made,) = after(pod)["spec"]["initContainers"]
    assert made["command"] == ["/bin/sh", "-ec"]
    assert "bootstrap.json" in made["args"][0]


def test_a_pod_that_runs_as_a_user() -> None:
    """Where the container does not say, the pod's own user is meant."""
    pod = injected(Mesh())
    del proxy(pod)["securityContext"]["runAsUser"]
    pod["spec"]["securityContext"] = {"runAsUser": 7, "runAsGroup": 8}
    (volume,) = [v for v in after(pod)["spec"]["volumes"] if "csi" in v]
    assert volume["csi"]["volumeAttributes"]["uid"] == "7"
    assert volume["csi"]["volumeAttributes"]["gid"] == "5995"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner)
    ),
    max_leaves=10,
)


@given(data=st.data(), name=st.sampled_from(sorted(PODS)), odd=JSON)
def test_fault_k_no_shape_of_a_pod_raises(
    data: st.DataObject, name: str, odd: Any
) -> None:
    """Whatever stands in the place of any part of a pod."""
    pod = copy.deepcopy(PODS[name])
    at: Any = {"": pod}
    key: Any = ""
    while isinstance(at[key], dict | list) and at[key] and data.draw(st.integers(0, 5)):
        at = at[key]
        keys = sorted(at) if isinstance(at, dict) else range(len(at))
        key = data.draw(st.sampled_from(keys))
    at[key] = odd
    answer = rewrite(pod if at is not pod else at, WITH_DNS)
    if answer is not None:
        done = applied(pod, answer.patch)
        again = rewrite(done, WITH_DNS)
        assert again is None or again.patch == []


@given(JSON)
def test_no_object_raises(odd: Any) -> None:
    """Nor what is no pod at all."""
    answer = rewrite(odd, CONFIG)
    assert answer is None or isinstance(answer, Skipped)


def test_a_deep_object_does_not_raise() -> None:
    """Deeper than Python's own limit."""
    odd: Any = []
    for _ in range(100_000):
        odd = [odd]
    pod = injected(Mesh())
    pod["spec"]["deep"] = odd
    assert isinstance(rewrite(pod, CONFIG), Changed)
    pod["spec"]["volumes"] = odd
    assert isinstance(rewrite(pod, CONFIG), Skipped)


def test_variables_that_double_are_cut_short() -> None:
    """Each names the one before twice: no value is put together that is too long."""
    pod = injected(Mesh())
    proxy(pod)["env"] = [
        {"name": "V0", "value": "xxxxxxxx"},
        *({"name": f"V{n}", "value": f"$(V{n - 1})" * 2} for n in range(1, 64)),
        *proxy(pod)["env"],
    ]
    words("-login-auth-method=$(V63)")(pod)
    assert why(pod).startswith("-login-auth-method: its value comes from")


@given(data=st.data())
def test_any_order_and_spelling_of_the_options(data: st.DataObject) -> None:
    """One dash or two, the value with = or as the next word, a variable instead."""
    pod = injected(Mesh(acls=True, tls=True))
    expected = after(pod)["spec"]
    own = proxy(pod)
    options = [w for w in own["args"] if w.startswith("-") and "addresses" not in w]
    made: list[str] = []
    for word in data.draw(st.permutations(options)):
        name, equals, value = word.partition("=")
        dashes = data.draw(st.sampled_from(["-", "--"])) + name.lstrip("-")
        if not equals or "log-json" in name or data.draw(st.booleans()):
            made.append(f"{dashes}{equals}{value}")
        else:
            made += [dashes, value]
    own["args"] = made
    got = after(pod)["spec"]
    assert got == expected, shlex.join(made)
