"""The lab's Consul for pods: who logs in by the token of a service account."""

from pathlib import Path

import pytest

from tests.lab.kubernetes.cluster import Cluster
from tests.lab.kubernetes.consul import (
    METHOD,
    PodsConsul,
    service_account,
    service_account_token,
)

pytestmark = [pytest.mark.kernel, pytest.mark.kubernetes, pytest.mark.consul]


def test_a_service_account_logs_in_as_the_service_of_its_name(consul_bin: Path) -> None:
    """With a token that lives as long as the auth method says."""
    with Cluster() as cluster, PodsConsul(consul_bin, cluster) as consul:
        cluster.apply(service_account("web"))
        bearer = service_account_token(cluster, "web")
        login = {"AuthMethod": METHOD, "BearerToken": bearer}
        made = consul.servers.call("POST", "/v1/acl/login", login)
        assert [each["ServiceName"] for each in made["ServiceIdentities"]] == ["web"]
        assert [each["AccessorID"] for each in consul.tokens()] == [made["AccessorID"]]
        assert "ExpirationTime" not in made
        consul.set_method("60s")
        made = consul.servers.call("POST", "/v1/acl/login", login)
        assert "ExpirationTime" in made
