"""What is shown of a node's pods and of kubelet."""

from ipaddress import IPv4Address

from consul_ebpf import KernelState, PlacedProxy, Proxy, Table, Vip
from consul_ebpf.controller.outcomes import Outcome, Refused, Served, Trouble
from consul_ebpf.controller.problems import Problems
from consul_ebpf.model.values import Credentials, Login, PluginState, PodVolume
from consul_ebpf.views.known_proxies import KnownProxies
from consul_ebpf.views.pods import NodeStatus, VolumeStatus, node_of, waiting
from consul_ebpf.views.snapshot import Inside, Remembered, ServiceAccount, Snapshot
from consul_ebpf.views.status import status_of

VIP = Vip(IPv4Address("127.64.0.1"), 8502)
WAITS = Trouble("something is missing")
LOGIN = Credentials(login=Login("m"))


def snapshot(
    *volumes: PodVolume,
    outcomes: dict[str, Outcome] | None = None,
    plugin: PluginState | None = None,
    ids: dict[str, str] | None = None,
    problems: dict[str, list[str]] | None = None,
) -> Snapshot:
    return Snapshot(
        0.0,
        {"grpc": ServiceAccount(KernelState(Table({}, {}), {}, {}))},
        frozenset(),
        Remembered(volumes=volumes, ids=ids or {}, problems=Problems(problems or {})),
        inside=Inside(KnownProxies(outcomes or {}), plugin=plugin),
    )


def served(
    key: str, id_: str, token: str = "", waits: Trouble | None = WAITS
) -> Served:
    proxy = Proxy(id_, "n", key=key, credentials=LOGIN)
    return Served(PlacedProxy(proxy, VIP), token, waiting=waits)


def test_a_pods_volume_is_shown_by_its_proxys_name() -> None:
    """With what it waits for, also when no controller runs."""
    volumes = PodVolume("k2", "ns/b", "u2", False), PodVolume("k1", "ns/a", "u1", True)
    found = snapshot(
        *volumes, ids={"k1": "a-sidecar"}, problems={"k2": ["no id"], "x": ["y"]}
    )
    shown = [
        VolumeStatus("ns/a", "u1", "a-sidecar", True, []),
        VolumeStatus("ns/b", "u2", "k2", False, ["no id"]),
    ]
    assert NodeStatus(volumes=shown) == node_of(found)
    json = status_of(found).to_json()["kubernetes"]
    assert {"serving", "registered", "error", "volumes"} == json.keys()
    assert "ns/a" == json["volumes"][0]["pod"]


def test_kubelets_word_is_shown_where_it_is_known() -> None:
    """By the running controller alone."""
    found = snapshot(plugin=PluginState(True, False, "no"))
    assert NodeStatus(True, False, "no") == node_of(found)


def test_a_host_that_is_no_node_shows_nothing() -> None:
    """The key is there, for all programs that read it."""
    found = Snapshot(0.0, snapshot().services, frozenset())
    assert node_of(found) is None
    assert status_of(found).to_json()["kubernetes"] is None
    assert 0 == sum(waiting(found).values())


def test_volumes_are_counted_by_what_they_wait_for() -> None:
    """The reasons are few, whatever the messages say."""
    outcomes: dict[str, Outcome] = {
        "refused": Refused(WAITS),
        "unregistered": served("unregistered", ""),
        "tokenless": served("tokenless", "id1"),
        "unwritten": served("unwritten", "id2", token="t"),
        "complete": served("complete", "id3", token="t", waits=None),
    }
    volumes = [PodVolume(key, "ns/p", "u", True) for key in [*outcomes, "unknown"]]
    found = waiting(snapshot(*volumes, outcomes=outcomes))
    assert {"kernel": 2, "registration": 1, "token": 1, "bootstrap": 1} == found
