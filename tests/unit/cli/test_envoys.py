"""What `envoy` says before it becomes Envoy."""

import pytest

from consul_ebpf.cli.envoys import tells_keys


@pytest.mark.parametrize(
    ("arguments", "tells"),
    [
        ("", False),
        ("--log-level warning", False),
        ("--log-level debug", True),
        ("--log-level=trace", True),
        ("-l debug", True),
        ("-ldebug", True),
        ("--component-log-level upstream:debug,secret:trace", True),
        ("--concurrency 1", False),
    ],
)
def test_levels_at_which_envoy_tells_keys(arguments: str, *, tells: bool) -> None:
    """A client certificate's key is in its log then."""
    argv = ["envoy", "-c", "/debug/bootstrap.json", *arguments.split()]
    assert tells == tells_keys(argv)
