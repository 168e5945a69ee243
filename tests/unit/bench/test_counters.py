"""What is read from a Consul server's metrics."""

from tests.bench.fleet.counters import Counted, counted_in

METRICS = """\
# TYPE consul_grpc_server_request_count counter
consul_grpc_server_request_count 0
consul_grpc_server_request_count{server_type="external"} 12
consul_grpc_server_request_count{server_type="internal"} 7
# TYPE consul_grpc_server_streams gauge
consul_grpc_server_streams{server_type="external"} 4
# TYPE consul_api_http summary
consul_api_http_count{method="GET",path="v1_status_leader"} 82
consul_api_http_count{method="GET",path="v1_catalog_service_"} 5
"""


def test_only_what_hosts_ask_is_counted() -> None:
    """Not what servers ask each other, nor what the lab asks."""
    found = counted_in(METRICS)
    assert Counted(calls=12, streams_open=4, queries=5) == found


def test_counts_are_added_and_taken_off_by_name() -> None:
    """Over servers, and over time."""
    one, two = Counted(calls=3, cpu=0.5), Counted(calls=1, connections_open=2)
    assert Counted(calls=4, cpu=0.5, connections_open=2) == one + two
    assert Counted(calls=2, cpu=0.5, connections_open=-2) == one - two
