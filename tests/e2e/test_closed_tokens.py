"""JWTs as Nomad writes them, 0600 of another user: logged in with wherever named."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess, toml
from tests.lab.endpoint import ask
from tests.lab.jwt import METHOD, Issuer
from tests.lab.processes import wait_until
from tests.lab.scratch import scratch_bpffs, scratch_cgroup
from tests.lab.unit import as_the_unit

pytestmark = [pytest.mark.kernel, pytest.mark.consul]

NOBODY = 65534


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def cluster(consul_bin: Path, issuer: Issuer) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1, acl=True) as cluster:
        issuer.install(cluster, "1h")
        yield cluster


@pytest.fixture
def base(cluster: ConsulCluster, issuer: Issuer, tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "drop-ins").mkdir()
    host = issuer.write(tmp_path / "host.jwt", "controller")
    with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
        yield {
            "consul": {
                "http_addresses": cluster.http_addresses,
                "tls": {"disabled": True},
                "credentials": {
                    "type": "login",
                    "auth_method": METHOD,
                    "bearer_token_file": str(host),
                },
            },
            "kernel": {"cgroup": str(cgroup), "bpffs": str(bpffs)},
            "workloads": {"directory": str(tmp_path / "drop-ins")},
        }


def secrets_of(directory: Path, issuer: Issuer, service: str) -> dict[str, Any]:
    """Make a task's directory as Nomad does, and the entry that names its JWT."""
    closed = directory / f"secrets-{service}"
    closed.mkdir(0o700)
    file = issuer.write(closed / "nomad_consul.jwt", service)
    file.chmod(0o600)
    for path in (file, closed):
        os.chown(path, NOBODY, NOBODY)
    login = {"type": "login", "bearer_token_file": str(file)}
    return {"node": "host1-virtual", "service": service, "credentials": login}


def test_fault_98_a_jwt_of_another_user_by_drop_in_and_registration(
    base: dict[str, Any], cluster: ConsulCluster, issuer: Issuer, tmp_path: Path
) -> None:
    """Under the unit's capabilities, with none left in the controller."""
    names = ["dropped", "put"]
    entries = {name: secrets_of(tmp_path, issuer, name) for name in names}
    ids = {name: cluster.register_proxy(name) for name in names}
    with ControllerProcess(base, before=as_the_unit()) as controller:
        drop_in = {"proxies": [{"id": ids["dropped"], **entries["dropped"]}]}
        (tmp_path / "drop-ins" / "one.toml").write_text(toml(drop_in))
        socket = controller.bootstraps / "api.sock"
        answer = ask(socket, "PUT", f"/v1/proxies/{ids['put']}", entries["put"])
        assert answer[0] == 201
        for name in names:
            controller.bootstrap(ids[name])
            assert (controller.bootstraps / ids[name] / "token.json").stat().st_size
        services = [
            identity["ServiceName"]
            for token in issuer.tokens(cluster)
            for identity in token.get("ServiceIdentities") or ()
        ]
        assert sorted(services) == ["controller", *names]
        assert "Permission denied" not in controller.log()
        for name in names:
            bearer = Path(entries[name]["credentials"]["bearer_token_file"]).read_text()
            assert bearer not in controller.log()

        # Links that a workload makes lead the helper to nobody's secret but its own.
        jwt = Path(entries["put"]["credentials"]["bearer_token_file"])
        link = jwt.with_name("link")
        link.symlink_to(tmp_path / "host.jwt")
        os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
        entries["put"]["credentials"]["bearer_token_file"] = str(link)
        ask(socket, "PUT", "/v1/proxies/thief", entries["put"])
        wait_until(lambda: "made the link" in controller.log(), "the refusal", 10)
        assert not (controller.bootstraps / "thief").exists()
