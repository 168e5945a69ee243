"""The bench's peers on the way of a connection: each leads to its server."""

from pathlib import Path

import pytest

from tests.bench.peers import network

pytestmark = [pytest.mark.kernel, pytest.mark.envoy]


def test_each_peer_is_there_and_leads_a_connection(tmp_path: Path) -> None:
    """A first byte comes back through each, so that no run of the bench lacks one."""
    with network.network(tmp_path) as found:
        assert not found.missing
        assert set(found.cases) > set(network.PEERS)
        for name, case in found.cases.items():
            assert case.measure("first", 3) > 0, name
