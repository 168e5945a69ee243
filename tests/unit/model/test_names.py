from dataclasses import replace

import pytest

from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.names import MAX_ID, MAX_NAME, check_proxy
from consul_ebpf.model.values import Proxy

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
        check_proxy(replace(GOOD, id=id_))
    assert str(caught.value).startswith("proxy '")
    assert "(configuration): id " in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


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
    ],
)
def test_fault_63_hostile_names(field: str, value: str) -> None:
    """Other names hold no control characters, tenancy only its own letters."""
    proxy = replace(GOOD, **{field: value})  # type: ignore[arg-type]
    with pytest.raises(InvalidProxyError, match=f": {field} "):
        check_proxy(proxy)
