"""What `status` shows a person."""

from pathlib import Path

from consul_ebpf.cli.show import PROXY_COLUMNS, SERVER_COLUMNS, VOLUME_COLUMNS
from consul_ebpf.views.pods import VolumeStatus
from consul_ebpf.views.status import ProxyStatus, ServerStatus

COMMANDS = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()


def test_an_ipv6_servers_address_is_in_brackets() -> None:
    """Else its last part would be read as the port, and its port as part of it."""
    server = ServerStatus("fd00::1", 8502, 3, "failing", 5, 2, 1)
    row = [text(server) for text in SERVER_COLUMNS.values()]
    assert row == ["[fd00::1]:8502", "3", "failing", "5", "2", "1"]


def test_what_is_not_known_of_a_proxy_is_shown_as_such() -> None:
    """One that was never connected, of which no name is remembered."""
    proxy = ProxyStatus("", "127.64.0.2", [], 0, "", False, [])
    row = [text(proxy) for text in PROXY_COLUMNS.values()]
    assert row == ["(unknown)", "127.64.0.2", "no", "-", "no", "0", "", "-"]


def test_a_pods_volume_is_shown_with_what_it_waits_for() -> None:
    """Nothing: a hyphen."""
    volume = VolumeStatus("ns/web", "u", "web-sidecar", True, ["no id", "no token"])
    row = [text(volume) for text in VOLUME_COLUMNS.values()]
    assert row == ["ns/web", "web-sidecar", "yes", "no id; no token"]
    volume = VolumeStatus("ns/web", "u", "ns.web.u", False, [])
    row = [text(volume) for text in VOLUME_COLUMNS.values()]
    assert row == ["ns/web", "ns.web.u", "no", "-"]


def test_the_page_of_commands_shows_these_columns() -> None:
    """In this order."""
    for columns in (SERVER_COLUMNS, PROXY_COLUMNS):
        heads = [
            [cell.strip() for cell in line.strip("┃").split("┃")]
            for line in COMMANDS.splitlines()
            if line.startswith("┃")
        ]
        assert list(columns) in heads
