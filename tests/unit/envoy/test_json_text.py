"""How our JSON files look."""

import json

from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.envoy.json_text import indented


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False)
            | st.text(st.characters()),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=10,
        ),
        max_size=10,
    )
)
def test_json_is_written_as_ever(content: dict[str, object]) -> None:
    """Byte for byte: another layout would be a change to every running Envoy."""
    assert indented(content) == json.dumps(content, indent=2).encode() + b"\n"


def test_half_a_character_is_written_as_ever() -> None:
    """Python's own lets it pass."""
    content = {"x": "\ud800"}
    assert indented(content) == json.dumps(content, indent=2).encode() + b"\n"
