from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.names import (
    MAX_ENV,
    MAX_KEY,
    MAX_LINE,
    MAX_NAME,
    check_proxy,
    problems,
)
from consul_ebpf.model.values import (
    Credentials,
    Login,
    Prometheus,
    Proxy,
    ProxyFiles,
    ProxyTelemetry,
)

GOOD = Proxy("web-1-sidecar-proxy", "host1-virtual", owner="configuration")


@pytest.mark.parametrize(
    "proxy",
    [
        GOOD,
        replace(GOOD, node=""),
        replace(GOOD, id="x" * MAX_KEY),
        replace(GOOD, id="quotes \"' and spaces, größe {{x}}"),
        replace(GOOD, namespace="team-a", partition="ap_1"),
    ],
)
def test_harmless(proxy: Proxy) -> None:
    """What can neither leave its directory nor break a line is allowed."""
    check_proxy(proxy)


@pytest.mark.parametrize(
    "id_",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc/passwd",
        ".hidden",
        "-flag",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "a\x85b",
        "a\u2028b",
        "\ud800",
        "x" * (MAX_KEY + 1),
        "ü" * (MAX_KEY // 2 + 1),
        "x" * 1_000_000,
        "vips.json",
        "proxies.json.bad",
    ],
)
def test_fault_63_hostile_ids(id_: str) -> None:
    """An id that cannot be a directory's name is refused, in one short line."""
    with pytest.raises(InvalidProxyError) as caught:
        check_proxy(replace(GOOD, id=id_, key=""))
    assert str(caught.value).startswith("proxy '")
    assert "(configuration): id " in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("key", ["..", "a/b", "a\nb", "x" * (MAX_KEY + 1), "api.sock"])
def test_hostile_keys(key: str) -> None:
    """A key becomes a directory's name: what cannot is refused by name."""
    with pytest.raises(InvalidProxyError, match=r"\(configuration\): key "):
        check_proxy(replace(GOOD, key=key))


@pytest.mark.parametrize("id_", ["x" * MAX_NAME, "a/b", "-flag", "vips.json"])
def test_an_id_that_names_no_directory(id_: str) -> None:
    """With a key of its own, an id need only be a name, and may be longer."""
    check_proxy(replace(GOOD, id=id_, key="pod-1"))


@pytest.mark.parametrize("id_", ["x" * (MAX_NAME + 1), "a\nb", "\ud800"])
def test_hostile_ids_beside_a_key(id_: str) -> None:
    """It is bounded all the same, and one line."""
    with pytest.raises(InvalidProxyError, match=r": id "):
        check_proxy(replace(GOOD, id=id_, key="pod-1"))


@pytest.mark.parametrize("mode", [0o600, 0o440, 0o444, 0o644])
def test_modes_of_files(mode: int) -> None:
    """Others may be allowed to read a proxy's files."""
    check_proxy(replace(GOOD, files=ProxyFiles("/run/x", mode=mode)))


@pytest.mark.parametrize("mode", [0, 0o044, 0o622, 0o666, 0o700, 0o4600, -1])
def test_hostile_modes_of_files(mode: int) -> None:
    """Nobody else may be allowed to write to them or run them."""
    with pytest.raises(InvalidProxyError, match=r": files\.mode is "):
        check_proxy(replace(GOOD, files=ProxyFiles("/run/x", mode=mode)))


@pytest.mark.parametrize(
    ("prometheus", "wrong"),
    [
        (Prometheus("a\nb"), "scrape_path holds"),
        (Prometheus(backend_port=65536), "prometheus has port 65536"),
        (Prometheus(ca_certs="/ca", cert="/c", key="/k\0"), "prometheus holds"),
        (Prometheus(cert="/c", key="/k"), "prometheus needs ca_certs"),
    ],
)
def test_hostile_telemetry(prometheus: Prometheus, wrong: str) -> None:
    """What a proxy's own telemetry names is checked like all else."""
    proxy = replace(GOOD, telemetry=ProxyTelemetry(prometheus=prometheus))
    with pytest.raises(InvalidProxyError, match=wrong):
        check_proxy(proxy)


def test_variables_are_no_secret_told() -> None:
    """Neither a message nor a repr shows a value of a container's variables."""
    proxy = replace(GOOD, env=(("A", "s3cr3t" * MAX_ENV),))
    with pytest.raises(InvalidProxyError) as caught:
        check_proxy(proxy)
    assert "s3cr3t" not in str(caught.value) + repr(proxy)


def test_the_key_is_the_id_until_another_is_given() -> None:
    """Without an id a proxy is called by its key, and is no mistake."""
    assert (GOOD.key, GOOD.name) == (GOOD.id, GOOD.id)
    late = Proxy(id="", node="", key="pod-1")
    check_proxy(late)
    assert (late.key, late.name) == ("pod-1", "pod-1")
    named = replace(late, id="web")
    assert (named.key, named.name) == ("pod-1", "web")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("node", "a\nb"),
        ("node", "x" * (MAX_NAME + 1)),
        ("service", "a\0b"),
        ("service", "\udcff"),
        ("namespace", ""),
        ("namespace", "a b"),
        ("partition", "x" * 65),
        ("partition", "a\n"),
        ("netns", "/a\0b"),
        ("netns", "/\ud800"),
        ("netns", "/" + "x" * 4095),
        ("netns", "run/netns/x"),
        ("cgroup", "/a\0b"),
        ("awaits", "a\nb"),
        ("awaits", "x" * (MAX_LINE + 1)),
        ("env", (("A B", "1"),)),
        ("env", (("A", "\ud800"),)),
        ("env", (("A", "x" * MAX_ENV),)),
    ],
)
def test_fault_63_hostile_names(field: str, value: str) -> None:
    """Other names hold no control characters, tenancy only its own letters."""
    proxy = replace(GOOD, **{field: value})  # type: ignore[arg-type]
    with pytest.raises(InvalidProxyError, match=f": {field} "):
        check_proxy(proxy)


@pytest.mark.parametrize("text", ["/a\0b", "\ud800", "a\nb", "s3cr3t" * 1000])
@pytest.mark.parametrize(
    "field", ["token_file", "bearer_token_file", "auth_method", "datacenter", "meta"]
)
def test_fault_88_hostile_credentials(field: str, text: str) -> None:
    """Their paths and names likewise; what may be a secret is not repeated."""
    if field == "token_file":
        credentials = Credentials(token_file=text)
    elif field == "meta":
        credentials = Credentials(login=Login("jwt", meta=(("pod", text),)))
    else:
        login: dict[str, Any] = {"auth_method": "jwt", field: text}
        credentials = Credentials(login=Login(**login))
    with pytest.raises(InvalidProxyError) as caught:
        check_proxy(replace(GOOD, credentials=credentials))
    assert f": credentials.{field} " in str(caught.value)
    assert str(caught.value).isprintable()
    assert "s3cr3t" not in str(caught.value)


@given(
    st.text(st.sampled_from("aZ0._-/ü\n\x85 "), max_size=6)
    | st.sampled_from(["api.sock", "a.json", "a.bad", "x" * MAX_KEY, "x" * 201]),
    st.text(st.sampled_from("a ü\n\x85/")) | st.sampled_from(["x" * 512, "x" * 513]),
    st.text(st.sampled_from("a-_.ü\n"), max_size=3) | st.just("default"),
)
def test_plain_names_are_found_out_quickly_and_the_same(
    id_: str, name: str, tenancy: str
) -> None:
    """A proxy with a path is looked at in full: the answer is no other."""
    proxy = Proxy(id_, name, namespace=tenancy, partition=tenancy, service=name)
    assert problems(proxy) == problems(replace(proxy, netns="/run/netns/x"))
