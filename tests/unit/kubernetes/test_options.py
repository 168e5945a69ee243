"""Each of consul-dataplane's options meets the fate that the table gives it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.config.dataplane import FLAGS
from consul_ebpf.kubernetes.pods.proxy import OPTIONS
from consul_ebpf.kubernetes.webhook.containers import pod_of
from consul_ebpf.kubernetes.webhook.options import Options, holds_id_path, options_of
from consul_ebpf.kubernetes.webhook.reasons import SkipError
from consul_ebpf.kubernetes.webhook.variables import expanded, known
from tests.lab.consul_k8s.pieces import field, value

VALUES = {"log-level": "debug", "envoy-drain-strategy": "gradual"}
KINDS = {"text": "/x", "number": "7", "switch": "true"}
ENVOYS = {
    "log-level": ["--log-level", "debug"],
    "log-json": ["--log-format"],
    "envoy-concurrency": ["--concurrency", "7"],
    "envoy-drain-time-seconds": ["--drain-time-s", "7"],
    "envoy-drain-strategy": ["--drain-strategy", "gradual"],
    "envoy-executable-path": [],  # it is the command
}


def sample(name: str) -> str:
    """Return a value that is understood."""
    flag = FLAGS[name]
    if name == "login-meta":
        return "pod=x"
    return VALUES.get(name) or next(
        (each for each in flag.pod_values if each), KINDS[flag.kind]
    )


def by_flag(name: str, text: str) -> Options:
    return options_of([f"-{name}={text}"], {})


def by_variable(name: str, text: str) -> Options:
    number = "1" if name == "login-meta" else ""
    return options_of([], {f"{FLAGS[name].env}{number}": text})


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("way", [by_flag, by_variable])
def test_its_fate(name: str, way: type) -> None:
    """As the table has it, by flag and by variable."""
    flag, text = FLAGS[name], sample(name)
    if way is by_variable and not flag.env:
        return
    if flag.pod == "skip":
        with pytest.raises(SkipError, match=f"-{name}: {flag.pod_note}"):
            way(name, text)
        return
    options = way(name, text)
    plain = Options({}, (), ())
    given = (text,) if name == "login-meta" else text
    assert options.for_volume() == ({name: given} if flag.pod == "volume" else {})
    assert options.is_proxy == (flag.pod != "left")
    ours = options.for_envoy("/b")
    expected = plain.for_envoy("/b")
    if flag.pod == "envoy":
        words = " ".join(ENVOYS[name])
        assert words in " ".join(ours)
        assert (ours == expected) == (name == "envoy-executable-path")
    else:
        assert ours == expected


def test_the_node_plugin_knows_what_it_is_told() -> None:
    """All of it, and nothing else."""
    told = {name for name, flag in FLAGS.items() if flag.pod == "volume"}
    assert told == OPTIONS


@pytest.mark.parametrize(
    "name", [name for name, flag in FLAGS.items() if flag.pod_values]
)
def test_any_other_value_is_not_understood(name: str) -> None:
    with pytest.raises(SkipError, match=f"^-{name} is '9'|not a number"):
        by_flag(name, "9")


def test_a_flag_wins() -> None:
    """Over its variable; of flags the last one, as in Go."""
    variables = {"DP_CREDENTIAL_LOGIN_AUTH_METHOD": "by-variable"}
    words = ["-login-auth-method=first", "--login-auth-method", "last"]
    assert options_of([], variables).values == {"login-auth-method": "by-variable"}
    assert options_of(words, variables).values == {"login-auth-method": "last"}


def test_metadata_is_gathered() -> None:
    """From the variable, those with a number, and flags; each key once."""
    variables = {
        "DP_CREDENTIAL_LOGIN_META": "pod=a",
        "DP_CREDENTIAL_LOGIN_META1": "pod=b",
        "DP_CREDENTIAL_LOGIN_META9": "x=y=z",
    }
    options = options_of(["-login-meta", "pod=c"], variables)
    assert options.meta == ("pod=c", "x=y=z")


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["-tls-disabled", "--", "--base-id", "1"], ("--base-id", "1")),
        (["-tls-disabled", "false", "-bogus"], ("false", "-bogus")),
        (["-", "-bogus"], ("-", "-bogus")),
        (["--"], ()),
        (["-ca-certs", "--", "--", "-l", "off"], ("-l", "off")),
    ],
)
def test_where_the_options_end(words: list[str], extra: tuple[str, ...]) -> None:
    """At `--`, or at the first word that is none: the rest is Envoy's."""
    assert options_of(words, {}).extra == extra


def test_envoys_own_options_are_not_given_twice() -> None:
    """Envoy refuses doubles."""
    words = ["-log-level=warn", "--", "-l", "off", "--concurrency=9", "--base-id", "1"]
    assert options_of(words, {}).for_envoy("/b") == [
        *("--config-path", "/b", "--disable-hot-restart"),
        *("--drain-time-s", "30", "--drain-strategy", "immediate"),
        *words[2:],
    ]


@pytest.mark.parametrize(
    ("text", "level"), [("WARN", "warning"), ("Trace", "trace"), ("error", "error")]
)
def test_levels(text: str, level: str) -> None:
    """As Envoy calls them."""
    words = by_flag("log-level", text).for_envoy("/b")
    assert words[words.index("--log-level") + 1] == level


def test_old_names_count_only_alone() -> None:
    """As in consul-dataplane: any of -proxy-… makes all of -service-… void."""
    old = ["-service-namespace=old", "-proxy-service-id-path=/old"]
    assert options_of(old, {}).for_volume() == {"service-namespace": "old"}
    both = options_of([*old, "-proxy-id-path=/new"], {})
    assert both.for_volume() == {}
    assert both.id_path == "/new"


def test_who_is_a_proxy() -> None:
    """By the option for the ID's file, before `--`, or its variable."""
    assert holds_id_path(["-x", "--proxy-id-path", "/f"], ())
    assert holds_id_path(["-proxy-service-id-path=/f"], ())
    assert holds_id_path([], ["DP_PROXY_ID_PATH"])
    assert not holds_id_path(["--", "-proxy-id-path=/f"], ["PROXY_ID_PATH"])
    assert not holds_id_path(["proxy-id-path"], ())


def test_variables() -> None:
    """In their order, and as fields of the pod that are filled in on the node."""
    variables = known_of(
        field("NODE", "spec.nodeName"),
        value("A", "$(NODE)-virtual $(B) $$(NODE) $$"),
        value("B", "later"),
        field("LABEL", "metadata.labels['x']"),
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        value("C", "$(SECRET)"),
        value("EMPTY", ""),
    )
    assert variables == {
        "NODE": "$(spec.nodeName)",
        "A": "$(spec.nodeName)-virtual $(B) $(NODE) $",
        "B": "later",
        "LABEL": None,
        "SECRET": None,
        "C": None,
        "EMPTY": "",
    }
    assert expanded("<$(EMPTY)>", variables) == "<>"


def known_of(*variables: object) -> dict[str, str | None]:
    spec = {"containers": [{"name": "c", "env": variables}]}
    return known(pod_of({"spec": spec}).spec.containers[0].env or ())


WORDS = st.lists(
    st.sampled_from([f"-{name}" for name in FLAGS] + ["--", "-", "7", "true", "x=y"])
    | st.text(max_size=6),
    max_size=8,
)


@given(
    WORDS, st.dictionaries(st.sampled_from([f.env for f in FLAGS.values()]), st.text())
)
def test_no_words_raise_anything_else(
    words: list[str], variables: dict[str, str]
) -> None:
    """They are understood, or the pod is skipped."""
    try:
        options = options_of(words, variables)
        options.for_volume()
        options.for_envoy("/b")
    except SkipError as error:
        assert str(error).isprintable()  # noqa: PT017  # either is right
