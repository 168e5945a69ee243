"""volumeAttributes: what is written is read again; what is wrong is named."""

import json
import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.kubernetes.attributes import (
    DOWNWARD,
    MAX_UID,
    Attributes,
    InvalidAttributeError,
)

PLAIN = st.text(st.characters(exclude_categories=("C", "Z")), max_size=40)
LOWER = st.text(string.ascii_lowercase, min_size=1, max_size=20)
IDS = st.none() | st.integers(0, MAX_UID)
ATTRIBUTES = st.builds(
    Attributes,
    service=PLAIN,
    kind=st.sampled_from(["sidecar", "gateway"]),
    options=st.dictionaries(
        LOWER, PLAIN | st.lists(PLAIN, max_size=4).map(tuple), max_size=5
    ),
    env=st.dictionaries(LOWER, PLAIN, max_size=5),
    uid=IDS,
    gid=IDS,
    mount=LOWER.map("/{}".format),
)


@given(ATTRIBUTES)
def test_what_is_written_is_read_again(attributes: Attributes) -> None:
    """The webhook's value comes out of kubelet's call as it was."""
    wire = attributes.written()

    assert {str} == {type(each) for each in wire.values()}
    assert attributes == Attributes.read(json.loads(json.dumps(wire)))


@given(
    st.dictionaries(
        st.sampled_from(list(Attributes.__struct_fields__)) | st.text(max_size=10),
        st.text(max_size=60)
        | st.sampled_from(["[" * 9999, "{}", '{"a": 1}', "\ud800"]),
        max_size=5,
    )
)
def test_whatever_is_written_is_used_or_refused_in_one_line(
    wire: dict[str, str],
) -> None:
    """A pod's author can write anything; it ends in a value or in one line."""
    said = "attribute "
    try:
        attributes = Attributes.read(wire)
    except InvalidAttributeError as error:
        said = str(error)
    else:
        assert attributes == Attributes.read(attributes.written())
    assert "attribute " in said
    assert said.isprintable()


def test_defaults_are_not_written() -> None:
    """What has its default is left out of the manifest, but for the version."""
    assert {"version": "1"} == Attributes().written()


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        ({"colour": "red"}, "'colour' is unknown"),
        ({"version": "2"}, "version is '2'"),
        ({"kind": "router"}, "sidecar or gateway"),
        ({"uid": "-1"}, "uid is '-1'"),
        ({"gid": str(MAX_UID + 1)}, "0 to 4294967294"),
        ({"mount": "consul-ebpf"}, "absolute path"),
        ({"mount": "/a/../etc"}, "without '..'"),
        ({"options": "[]"}, "options is not the JSON"),
        ({"options": '{"Login Meta": "x"}'}, "no option's name"),
        ({"options": json.dumps({"a": "x" * 20_000})}, "at most 16384"),
        ({"env": '{"A": 1}'}, "env is not the JSON"),
        ({"env": json.dumps({"A": "x" * 5000})}, "at most 4096"),
        ({"env": '{"A=": ""}'}, "no variable's name"),
        ({"service": "a\nb"}, "control character"),
    ],
)
def test_a_wrong_attribute_is_named(wire: dict[str, str], said: str) -> None:
    """The error says which attribute is wrong, and what it may be."""
    with pytest.raises(InvalidAttributeError, match=said.replace("(", r"\(")):
        Attributes.read(wire)


def test_the_driver_fills_in_the_pods_fields() -> None:
    """`$(metadata.name)` and the others become the pod's own; others stay."""
    fields = dict.fromkeys(DOWNWARD, "x") | {"metadata.name": "$(metadata.uid)"}
    env = {"B": "a-$(metadata.name)-$(spec.nodeName)", "A": "$(OTHER)$$"}

    filled = Attributes(env=env).filled_env(fields)

    assert (("A", "$(OTHER)$$"), ("B", "a-$(metadata.uid)-x")) == filled


def test_attributes_are_kept_in_a_file() -> None:
    """Attributes are JSON both ways, for the file of known volumes."""
    attributes = Attributes(options={"login-meta": ("a=b",)}, uid=5995)

    data = msgspec.json.encode(attributes)

    assert attributes == msgspec.json.decode(data, type=Attributes)
