from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.names import MAX_ID, MAX_NAME, check_proxy, problems
from consul_ebpf.model.values import Credentials, Login, Proxy

GOOD = Proxy("web-1-sidecar-proxy", "host1-virtual", owner="configuration")


@pytest.mark.parametrize(
    "proxy",
    [
        GOOD,
        replace(GOOD, node=""),
        replace(GOOD, id="x" * MAX_ID),
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
        "x" * (MAX_ID + 1),
        "ü" * (MAX_ID // 2 + 1),
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


@pytest.mark.parametrize("key", ["..", "a/b", "a\nb", "x" * (MAX_ID + 1), "api.sock"])
def test_hostile_keys(key: str) -> None:
    """A key becomes a directory's name: what cannot is refused by name."""
    with pytest.raises(InvalidProxyError, match=r"\(configuration\): key "):
        check_proxy(replace(GOOD, key=key))


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
    | st.sampled_from(["api.sock", "a.json", "a.bad", "x" * MAX_ID, "x" * 201]),
    st.text(st.sampled_from("a ü\n\x85/")) | st.sampled_from(["x" * 512, "x" * 513]),
    st.text(st.sampled_from("a-_.ü\n"), max_size=3) | st.just("default"),
)
def test_plain_names_are_found_out_quickly_and_the_same(
    id_: str, name: str, tenancy: str
) -> None:
    """A proxy with a path is looked at in full: the answer is no other."""
    proxy = Proxy(id_, name, namespace=tenancy, partition=tenancy, service=name)
    assert problems(proxy) == problems(replace(proxy, netns="/run/netns/x"))
