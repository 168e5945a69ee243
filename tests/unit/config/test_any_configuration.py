"""Whatever is written loads or is refused, and no token is shown."""

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rich.pretty
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.config.decoding import convert
from consul_ebpf.config.load import complete
from consul_ebpf.config.schema import Config, ProxyEntry
from consul_ebpf.model import errors as _errors
from tests.lab.configuration import PLAINTEXT, load_text, refusal

SECRET = "5ec2e7-70ken"


@pytest.mark.parametrize(
    "text",
    [
        f"[consul.credentials]\ntype = '{SECRET}'",
        f"[consul.credentials]\ntype = 'login'\ntoken = '{SECRET}'",
        f"[consul.credentials]\ntype = 'static'\ntoken = '{SECRET}\\u00e9'",
        f"[consul.credentials]\ntoken = ['{SECRET}']",
        f"[consul]\nhttp_addresses = ['http://u:{SECRET}@x']",
        f"[consul.credentials]\ntoken = '{SECRET}",
    ],
)
def test_tokens_stay_out_of_errors(tmp_path: Path, text: str) -> None:
    """A refused configuration never shows what may be a secret."""
    assert SECRET not in refusal(tmp_path, text)


def test_tokens_stay_out_of_reprs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A configuration that is printed or logged shows no secret."""
    text = PLAINTEXT + (
        f"[consul.credentials]\ntype = 'static'\ntoken = '{SECRET}'\n"
        "[[proxies]]\nid = 'a'\n[proxies.credentials]\ntype = 'login'\n"
        f"auth_method = 'jwt'\nbearer_token = '{SECRET}'"
    )
    config = load_text(tmp_path, text)
    logging.getLogger("x").warning("%r %s", config, config)
    assert config.consul.credentials.token == SECRET
    assert SECRET not in caplog.text
    assert SECRET not in rich.pretty.pretty_repr(config)
    assert "type='static'" in caplog.text


def names(type_: type[msgspec.Struct] = Config) -> set[str]:
    found: set[str] = set()
    for field in msgspec.structs.fields(type_):
        found.add(field.name)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found |= names(field.type)
    return found


KEYS = st.sampled_from(sorted(names())) | st.text(max_size=5)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.datetimes()
    | st.dates()
    | st.sampled_from(
        ["static", "127.64.0.1", "::ffff:127.64.0.1", "/x", "http://x", "10.0.0.0/8"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


def matching(type_: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Tables that mostly have the schema's shape, so that values get checked too."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(type_):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            fields[field.name] = matching(field.type)
        elif field.name == "proxies":
            fields[field.name] = st.lists(matching(ProxyEntry), max_size=3)
        elif field.type is str:
            fields[field.name] = SCALARS.filter(lambda value: isinstance(value, str))
        elif field.type is int:
            fields[field.name] = st.integers()
        elif field.type is float:
            fields[field.name] = st.floats()
        else:
            fields[field.name] = VALUES
    return st.fixed_dictionaries({}, optional=fields)


@given(
    st.dictionaries(KEYS, VALUES, max_size=4) | matching(Config),
    st.dictionaries(
        st.sampled_from(
            [
                "CONSUL_HTTP_ADDR",
                "CONSUL_HTTP_SSL",
                "CONSUL_HTTP_TOKEN",
                "CONSUL_CACERT",
            ]
        ),
        st.text(max_size=10),
    ),
)
def test_anything_loads_or_is_refused_in_one_line(
    table: dict[str, Any], env: dict[str, str]
) -> None:
    """Whatever is written becomes a configuration or one line saying why not."""
    refused = ""
    try:
        complete(convert(table, Config, "c.toml"), env, {}, "c.toml")
    except _errors.ConfigError as error:
        refused = str(error)
    assert refused.isprintable()
    assert len(refused) < 1000
