"""A publish call: what kubelet says is checked; the token is taken from one place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.kubernetes.pods.volume import (
    PREFIX,
    TOKENS,
    Publish,
    PublishError,
    check_target,
    token_of,
    volume_of,
)
from consul_ebpf.model.names import problems
from consul_ebpf.model.values import Proxy

UID = "0a1b2c3d-0000-4000-8000-00000000abcd"
KUBELET = "/var/lib/kubelet"
TARGET = f"{KUBELET}/pods/{UID}/volumes/kubernetes.io~csi/consul-ebpf/mount"
TOKEN = "eyJ.mine"
FORGED = "eyJ.forged"


def tokens(token: str, audience: str = "") -> str:
    """What kubelet sends."""
    return json.dumps({audience: {"token": token, "expirationTimestamp": "2026"}})


def publish(
    target: str = TARGET, own: dict[str, str] | None = None, **told: Any
) -> Publish:
    """A good call, but for what is given."""
    context = {
        "ephemeral": "true",
        "pod.uid": UID,
        "pod.name": "web-1",
        "pod.namespace": "default",
        "serviceAccount.name": "web",
    }
    context.update({name.replace("_", "."): text for name, text in told.items()})
    prefixed = {f"{PREFIX}{name}": text for name, text in context.items()}
    return Publish("csi-0f", target, prefixed | (own or {}))


def test_a_good_call_becomes_a_volume() -> None:
    """The volume has what kubelet said, and the author's attributes."""
    volume = volume_of(publish(own={"uid": "5995"}), KUBELET)

    assert ("default", "web-1", UID) == (volume.namespace, volume.pod, volume.uid)
    assert volume.attributes.uid == 5995
    assert f"default.web-1.{UID}" == volume.key
    assert f"{KUBELET}/pods/{UID}" == volume.pod_directory


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (publish(ephemeral="false"), "not an inline one"),
        (publish(pod_uid="../../etc"), "pod uid '../../etc' is none"),
        (publish(pod_name="a/b"), "pod name"),
        (publish(pod_namespace=""), "pod namespace"),
        (publish(target=f"{TARGET}/../x"), "target"),
        (publish(target=TARGET.replace("lib", "run")), "kubelet_directory"),
        (publish(target=TARGET.replace("abcd", "abce")), "target"),
        (publish(target=f"/evil{TARGET}"), "target"),
        (publish(own={"colour": "red"}), "'colour' is unknown"),
    ],
)
def test_fault_k_a_wrong_call_is_refused_for_good(call: Publish, said: str) -> None:
    """What can never become right is INVALID_ARGUMENT."""
    with pytest.raises(PublishError, match=said) as refused:
        volume_of(call, KUBELET)

    assert refused.value.code == "INVALID_ARGUMENT"


@given(
    st.dictionaries(
        st.sampled_from(["pod.uid", "pod.name", "ephemeral", "pod.namespace"]).map(
            PREFIX.__add__
        )
        | st.text(max_size=9),
        st.text(max_size=30),
    ),
    st.text(max_size=20) | st.just(TARGET),
    st.dictionaries(st.just(TOKENS) | st.text(max_size=9), st.text(max_size=50)),
)
def test_whatever_comes_in_a_call_is_one_line(
    context: dict[str, str], target: str, secrets: dict[str, str]
) -> None:
    """No call, of whatever content, raises anything else than a `PublishError`."""
    call = Publish("csi-1", target, {**publish().context, **context}, secrets)
    for read in (lambda: volume_of(call, KUBELET), lambda: token_of(call)):
        said = ""
        try:
            read()
        except PublishError as error:
            said = str(error)
        assert said.isprintable()


def test_a_key_fits_however_long_the_names_are() -> None:
    """The key of the longest names is still a proxy's key."""
    call = publish(
        own={"service": "s" * 500},
        pod_name="p" * 253,
        pod_namespace="n" * 63,
    )

    key = volume_of(call, KUBELET).key

    assert [] == problems(Proxy("", "n-virtual", key=key))


def test_two_services_of_a_pod_have_two_keys() -> None:
    """The service is in the key where the volume names one."""
    web, api = (
        volume_of(publish(own={"service": name}), KUBELET) for name in ("web", "api")
    )

    assert web.key != api.key


@pytest.mark.parametrize(
    ("context", "secrets", "token"),
    [
        ({}, {TOKENS: tokens(TOKEN)}, TOKEN),
        ({}, {TOKENS: tokens(TOKEN, "vault")}, TOKEN),
        ({TOKENS: tokens(FORGED)}, {TOKENS: tokens(TOKEN)}, TOKEN),
        ({TOKENS: tokens(FORGED)}, {"other": "x"}, ""),
        ({TOKENS: tokens(TOKEN)}, {}, TOKEN),
        ({}, {"token": "second\n", TOKENS: tokens(TOKEN)}, "second"),
        ({}, {}, ""),
        ({}, {TOKENS: "{}"}, ""),
    ],
)
def test_fault_k_a_forged_token_is_not_taken(
    context: dict[str, str], secrets: dict[str, str], token: str
) -> None:
    """An author's own attribute of the token's name counts only without secrets."""
    assert token == token_of(Publish("csi-1", TARGET, context, secrets))


@pytest.mark.parametrize("sent", ["no JSON", "[]", tokens("a\nb"), tokens("ä")])
def test_an_unreadable_token_is_not_shown(sent: str) -> None:
    """The error says that the token is wrong, without a part of it."""
    with pytest.raises(PublishError, match="kubelet sent") as refused:
        token_of(Publish("csi-1", TARGET, {}, {TOKENS: sent}))

    assert sent not in str(refused.value)


def test_a_call_shows_no_secret() -> None:
    """A call's repr, which an error may show, has neither secrets nor context."""
    call = Publish("csi-1", TARGET, {TOKENS: TOKEN}, {TOKENS: TOKEN})

    assert TOKEN not in repr(call)


def test_a_target_of_an_unknown_pod_needs_only_the_form() -> None:
    """An unpublish does not say which pod: the form alone is checked."""
    check_target(TARGET, f"{KUBELET}/")
    with pytest.raises(PublishError):
        check_target("/etc", KUBELET)
