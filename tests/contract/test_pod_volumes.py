"""`PodVolumes` as kubelet calls it, with a runner among fakes, in virtual time."""

import asyncio
import json
import logging
from pathlib import Path

import pytest

from consul_ebpf.kubernetes.pods.gone import LOOK_SECONDS
from consul_ebpf.kubernetes.pods.volume import TOKENS, Publish, PublishError
from consul_ebpf.model.errors import ConsulEbpfError, ConsulError
from consul_ebpf.model.values import VOLUMES_FILE
from consul_ebpf.testing import FakePod, FakeServerSource, MemoryMapBackend
from tests.lab.serving import SERVERS
from tests.lab.volumes import LOGIN, PodNode

pytestmark = pytest.mark.looptime(start=0)


@pytest.fixture
def node(tmp_path: Path) -> PodNode:
    return PodNode(tmp_path)


def now() -> float:
    return asyncio.get_running_loop().time()


async def refused(node: PodNode, publish: Publish) -> PublishError:
    """Publish; return the error that comes of it."""
    with pytest.raises(PublishError) as error:
        await node.publish(publish)
    return error.value


async def test_a_pod_starts(node: PodNode) -> None:
    """The VIP at publish; the bootstrap once Consul has the registration."""
    pod = node.kubelet.pod()
    async with node.serving():
        node.registrations.set(())
        await node.publish(pod.publish({"uid": "5995", "gid": "5995"} | LOGIN))
        assert 1 == node.vips
        assert now() < 1
        await node.until_line(pod, "Consul has no registration of pod default/web-1")
        assert not (pod.target() / "bootstrap.json").exists()

        node.register(pod)
        await node.until_started(pod)
        await node.until_line(pod, "")
        (login,) = node.host.acl.logins
        assert "eyJ.pod" == node.bearer(pod)
        assert str(node.state / ".bearer" / pod.key) == login.bearer_token_file
        text = (pod.target() / "bootstrap.json").read_text()
        assert "web-1-web-sidecar-proxy" in text
        assert "eyJ.pod" not in text

        await node.unpublish(pod)
        assert 0 == node.vips
        assert not pod.target().exists()
        assert "" == node.bearer(pod)
        assert set() == node.host.acl.valid


async def test_publish_and_unpublish_twice_are_once(node: PodNode) -> None:
    """Beside each other or one after the other."""
    pod = node.kubelet.pod()
    async with node.serving():
        call = pod.publish()
        await asyncio.gather(*(node.publish(call) for _ in range(5)))
        await node.publish(call)
        assert {str(pod.target()): 1} == node.mounts.mounted
        assert 1 == node.vips

        await asyncio.gather(*(node.unpublish(pod) for _ in range(5)))
        await node.unpublish(pod)
        assert 0 == node.vips


async def test_a_volume_that_is_unknown_is_gone(node: PodNode) -> None:
    """Also if its target is none of this driver's: nothing of it can be there."""
    async with node.serving():
        await node.unpublish(node.kubelet.pod())
        await node.volumes.unpublish("csi-0", "/etc")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"colour": "red"}, "'colour' is unknown"),
        ({"options": '{"static-token": "x"}'}, "'static-token' is unknown"),
        ({"options": '{"credential-type": "static"}'}, "can only log in"),
        ({"options": '{"credential-type": "login"}'}, "login-auth-method is missing"),
        ({"options": '{"envoy-admin-bind-port": "x"}'}, "must be a port"),
    ],
)
async def test_fault_k_forged_attributes_are_refused_before_anything_is_made(
    node: PodNode, attributes: dict[str, str], said: str
) -> None:
    """INVALID_ARGUMENT is only for calls of which nothing was allocated."""
    pod = node.kubelet.pod()
    async with node.serving():
        error = await refused(node, pod.publish(attributes))

    assert "INVALID_ARGUMENT" == error.code
    assert said in str(error)
    assert {} == node.mounts.mounted
    assert "" == node.bearer(pod)


async def test_a_pod_has_at_most_eight_volumes(node: PodNode) -> None:
    """A pod's author cannot fill the VIP table, not even with calls at once."""
    pod = node.kubelet.pod()
    calls = [pod.publish({"service": f"s{n}"}, volume=f"v{n}") for n in range(12)]
    async with node.serving():
        results = await asyncio.gather(
            *(node.publish(call) for call in calls), return_exceptions=True
        )
        refusals = [each for each in results if isinstance(each, PublishError)]
        assert {"INVALID_ARGUMENT"} == {each.code for each in refusals}
        assert 8 == node.vips


async def test_two_volumes_for_one_service_are_a_mistake(node: PodNode) -> None:
    """Both would be one proxy; the first one stays."""
    pod = node.kubelet.pod()
    async with node.serving():
        await node.publish(pod.publish())
        error = await refused(node, pod.publish(volume="second"))
        assert "INVALID_ARGUMENT" == error.code
        assert 1 == node.vips


async def test_two_services_of_a_pod(node: PodNode) -> None:
    """Each has a VIP, a volume and a proxy of its own."""
    pod = node.kubelet.pod()
    async with node.serving():
        for service in ("web", "api"):
            await node.publish(pod.publish({"service": service}, volume=service))
        node.register(pod, service="api")
        path = pod.target("api") / "bootstrap.json"
        await node.host.until(path.exists)
        assert not (pod.target("web") / "bootstrap.json").exists()
        assert 2 == node.vips

        await node.unpublish(pod, "api")
        assert 1 == node.vips


async def test_fault_k_no_server_known_yet(node: PodNode) -> None:
    """UNAVAILABLE after the wait; with a server, the next call is a success."""
    source = FakeServerSource(None)
    pod = node.kubelet.pod()
    async with node.serving(source=source, wait=3.0):
        error = await refused(node, pod.publish())
        assert "UNAVAILABLE" == error.code
        assert "no Consul server answered yet (" in str(error)
        assert 3 == pytest.approx(now(), abs=0.5)

        source.set(SERVERS)
        await node.publish(pod.publish())
        assert 1 == node.vips


async def test_fault_k_the_vip_table_is_full(node: PodNode) -> None:
    """At once, with the key of the configuration to change."""
    node.backend = MemoryMapBackend(capacity=1)
    async with node.serving():
        await node.publish(node.kubelet.pod("a").publish())
        error = await refused(node, node.kubelet.pod("b").publish())

    assert "UNAVAILABLE" == error.code
    assert "the VIP table is full with 1: raise kernel.max_proxies" in str(error)


async def test_fault_k_kubelet_sent_no_token(node: PodNode) -> None:
    """Where the pod logs in, nothing is made; where Consul asks for none, it is."""
    pod = node.kubelet.pod()
    async with node.serving():
        error = await refused(node, pod.publish(LOGIN, token=""))
        assert "UNAVAILABLE" == error.code
        assert "CSIDriver csi.consul-ebpf.io needs tokenRequests" in str(error)
        assert {} == node.mounts.mounted

        await node.publish(pod.publish(token=""))
        assert 1 == node.vips


async def test_fault_k_forged_attributes_bring_no_token(node: PodNode) -> None:
    """A token among the attributes is not taken where kubelet sends any secrets."""
    pod = node.kubelet.pod()
    forged = {TOKENS: json.dumps({"": {"token": "eyJ.forged"}})}
    async with node.serving():
        call = pod.publish(LOGIN | forged, token="")
        empty = Publish(call.volume_id, call.target_path, call.context, {"x": "y"})
        assert "needs tokenRequests" in str(await refused(node, empty))

        await node.publish(pod.publish(LOGIN | forged))
        assert "eyJ.pod" == node.bearer(pod)


async def test_no_pod_gets_the_controllers_own_token(node: PodNode) -> None:
    """A pod that does not log in has no token, and is told so; the host has one."""
    pod = node.kubelet.pod()
    host = node.state.parent / "host-token"
    host.write_text("5e7f6f0c-dead-4000-8000-beefbeefbeef")
    async with node.serving(token_file=host, has_credentials=True):
        await node.publish(pod.publish())
        node.register(pod)
        await node.until_line(pod, "no ACL token yet")
        files = [path.name for path in pod.target().iterdir()]

    assert ["waiting"] == files


async def test_fault_k_the_pods_cgroup_is_not_there_yet(node: PodNode) -> None:
    """The order of mounts and cgroups is not promised; after 30 s it is elsewhere."""
    pod = node.kubelet.pod(cgroup=False)
    async with node.serving():
        error = await refused(node, pod.publish())
        assert "UNAVAILABLE" == error.code
        assert "the pod's cgroup is not there yet" in str(error)
        assert {} == node.mounts.mounted

        await asyncio.sleep(31)
        error = await refused(node, pod.publish())
        assert "UNAVAILABLE" == error.code
        assert f"no cgroup of pod {pod.uid} below {node.kubelet.cgroups}" in str(error)

        pod.make_cgroup()
        await node.publish(pod.publish())


async def test_fault_k_a_volume_that_cannot_be_mounted(node: PodNode) -> None:
    """UNAVAILABLE; nothing is remembered that nobody would remove."""
    pod = node.kubelet.pod()
    node.mounts.failure = ConsulEbpfError("no")
    async with node.serving():
        error = await refused(node, pod.publish())
        assert "UNAVAILABLE" == error.code
        assert {} == node.volumes.volumes.value
        node.mounts.failure = None
        await node.unpublish(pod)


async def test_a_republish_never_fails(
    node: PodNode, caplog: pytest.LogCaptureFixture
) -> None:
    """Its pod runs, and kubelet would take a failure for a reason to remove it."""
    pod = node.kubelet.pod()
    async with node.serving():
        await node.publish(pod.publish(LOGIN))
        node.mounts.unmount(str(pod.target()))
        node.mounts.failure = ConsulEbpfError("no room")
        for _ in range(3):
            await node.publish(pod.publish({"colour": "red"}, token=""))
        bad = pod.publish()
        await node.publish(
            Publish(bad.volume_id, "/x", bad.context, {TOKENS: "no JSON"})
        )
        said = [each for each in caplog.records if each.levelno == logging.WARNING]
        assert 2 == len([each for each in said if "its volume" in each.getMessage()])

        node.mounts.failure = None
        await node.publish(pod.publish(LOGIN, token="eyJ.newer"))
        assert "eyJ.newer" == node.bearer(pod)
        assert node.mounts.is_mounted(str(pod.target()))


async def test_a_newer_token_is_no_new_login(node: PodNode) -> None:
    """Kubelet renews it all the time: the login's own token stays."""
    pod = node.kubelet.pod()
    async with node.serving():
        await node.publish(pod.publish(LOGIN))
        node.register(pod)
        await node.until_started(pod)
        for n in range(5):
            await node.publish(pod.publish(LOGIN, token=f"eyJ.{n}"))
            await asyncio.sleep(60)
        assert 1 == len(node.host.acl.logins)


async def test_fault_k_the_controller_is_restarted(node: PodNode) -> None:
    """It knows the volumes, their VIPs and ids before kubelet names them again."""
    pods = [node.kubelet.pod(name) for name in ("a", "b")]
    async with node.serving():
        for pod in pods:
            await node.publish(pod.publish())
        node.register(*pods)
        await node.until_started(*pods)
        before = dict(node.host.table.vips)
        text = (pods[0].target() / "bootstrap.json").read_text()
    node.registrations = type(node.registrations)()  # Consul is away

    async with node.serving():
        await asyncio.sleep(30)
        assert before.keys() == node.host.table.vips.keys()
        assert text == (pods[0].target() / "bootstrap.json").read_text()
        assert "" == node.line(pods[0])
        for pod in pods:
            await node.publish(pod.publish())


async def test_fault_k_the_node_is_rebooted(node: PodNode) -> None:
    """Nothing is known of the volumes: they are made anew, and old tokens are gone."""
    pod = node.kubelet.pod()
    async with node.serving():
        await node.publish(pod.publish())
        node.register(pod)
        await node.until_started(pod)
    node.mounts.reboot()
    node.backend = MemoryMapBackend()
    for name in (VOLUMES_FILE, "vips.json"):
        (node.state / name).unlink()

    async with node.serving():
        await node.publish(pod.publish())
        assert 1 == node.vips
        await node.until_started(pod)


async def test_fault_k_files_of_an_earlier_boot_start_no_envoy(node: PodNode) -> None:
    """In directory mode a volume that is not known may hold an old bootstrap."""
    pod = node.kubelet.pod()
    call = pod.publish()
    pod.target().mkdir()
    (pod.target() / "bootstrap.json").write_text("old")
    async with node.serving():
        await node.publish(call)
        assert not (pod.target() / "bootstrap.json").exists()


async def test_fault_k_a_pod_is_deleted_while_the_controller_is_down(
    node: PodNode,
) -> None:
    """Kubelet unpublishes once it is back; if it never does, it is forgotten."""
    told, untold = node.kubelet.pod("told"), node.kubelet.pod("untold")
    async with node.serving():
        for pod in (told, untold):
            await node.publish(pod.publish())
    for pod in (told, untold):
        pod.remove()

    async with node.serving():
        await node.unpublish(told)
        assert 1 == node.vips
        assert "eyJ.pod" == node.bearer(untold)
        await asyncio.sleep(3 * LOOK_SECONDS)
        assert 0 == node.vips
        assert "" == node.bearer(untold)


async def test_a_forgotten_volume_that_cannot_be_unmounted_holds_up_no_other(
    node: PodNode, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is forgotten at the same look, and the log names what to unmount."""
    pods = [node.kubelet.pod(name) for name in ("one", "two", "three")]
    async with node.serving():
        for pod in pods:
            await node.publish(pod.publish())
    for pod in pods:
        pod.remove()

    async with node.serving():
        node.mounts.failure = ConsulEbpfError("busy")
        await asyncio.sleep(2 * LOOK_SECONDS)
        assert 0 == node.vips
    for pod in pods:
        assert f"busy; unmount {pod.target()}" in caplog.text


async def test_a_pod_whose_directory_is_there_is_kept(node: PodNode) -> None:
    """However long kubelet does not name it: it may be down itself."""
    pod = node.kubelet.pod()
    async with node.serving():
        await node.publish(pod.publish())
    async with node.serving():
        await asyncio.sleep(10 * LOOK_SECONDS)
        assert 1 == node.vips


async def test_a_pod_that_comes_again_with_its_name(node: PodNode) -> None:
    """Another uid is another pod: no VIP, file or token is the old one's."""
    old = node.kubelet.pod("web-0")
    async with node.serving():
        await node.publish(old.publish())
        node.register(old)
        await node.until_started(old)
        new = node.kubelet.pod("web-0")
        await node.publish(new.publish())
        assert 2 == node.vips
        await node.until_line(new, "no registration of pod default/web-0 yet")
        await node.unpublish(old)
        old.remove()
        node.register(new)
        await node.until_started(new)
        assert 1 == node.vips


async def test_fault_k_a_pod_ends(node: PodNode) -> None:
    """consul-k8s deregisters it first: VIP and files stay until kubelet's unpublish."""
    pod = node.kubelet.pod()
    async with node.serving():
        await node.publish(pod.publish(LOGIN))
        node.register(pod)
        await node.until_started(pod)
        node.register()
        node.host.acl.valid.clear()
        await asyncio.sleep(300)
        assert 1 == node.vips
        assert (pod.target() / "bootstrap.json").exists()
        assert 1 == len(node.host.acl.logins)
        await node.unpublish(pod)
        assert 0 == node.vips


async def test_fault_k_the_login_is_refused(node: PodNode) -> None:
    """The VIP is there, and the volume says why there is no bootstrap."""
    pod = node.kubelet.pod()
    async with node.serving():
        node.host.acl.failure = ConsulError("Permission denied")
        await node.publish(pod.publish(LOGIN))
        node.register(pod)
        await node.until_line(pod, "no ACL token yet: login at auth method k8s")
        assert "Permission denied" in node.line(pod)
        assert 0o644 == (pod.target() / "waiting").stat().st_mode & 0o777
        assert 1 == node.vips


async def test_fault_k_volumes_json_is_damaged(node: PodNode) -> None:
    """What it held may still run: nothing is removed until kubelet has named all."""
    pod = node.kubelet.pod()
    async with node.serving():
        await node.publish(pod.publish())
        before = dict(node.host.table.vips)
    (node.state / VOLUMES_FILE).write_text("{")

    async with node.serving():
        await asyncio.sleep(60)
        assert before.keys() == node.host.table.vips.keys()
        await node.publish(pod.publish())
        await asyncio.sleep(300)
        assert before.keys() == node.host.table.vips.keys()
        assert () == node.workloads.lacking


async def test_fault_k_consul_is_away_and_servers_are_known(node: PodNode) -> None:
    """A publish is a success; the volume says that nobody has told of the pod."""
    pod = node.kubelet.pod()
    async with node.serving():
        await node.publish(pod.publish())
        await node.until_line(pod, "Consul has not told yet which pods are registered")
        assert 1 == node.vips


async def test_fault_k_the_disk_is_full(node: PodNode) -> None:
    """A new volume waits, and one that goes is not held up."""
    old, new = node.kubelet.pod("old"), node.kubelet.pod("new")
    async with node.serving():
        await node.publish(old.publish())
        # A directory in the file's place: not even root can write the file.
        (node.state / VOLUMES_FILE).unlink()
        (node.state / VOLUMES_FILE / "x").mkdir(parents=True)
        error = await refused(node, new.publish())
        assert "UNAVAILABLE" == error.code
        assert "volumes.json cannot be written" in str(error)
        await node.unpublish(old)
        assert 0 == node.vips


async def test_250_publishes_at_once(node: PodNode) -> None:
    """They are saved together, and none waits for another's round."""
    pods = [node.kubelet.pod(f"web-{n}") for n in range(250)]
    async with node.serving():
        await asyncio.gather(*(node.publish(pod.publish()) for pod in pods))
        assert 250 == node.vips
        await asyncio.gather(*(node.unpublish(pod) for pod in pods))
        assert 0 == node.vips


async def test_a_call_that_kubelet_gives_up_breaks_nothing(node: PodNode) -> None:
    """Kubelet calls again: the same volume, once."""
    pod: FakePod = node.kubelet.pod()
    async with node.serving():
        for steps in range(12):
            task = asyncio.create_task(node.publish(pod.publish()))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await node.publish(pod.publish())
        assert 1 == node.vips
        await node.unpublish(pod)
        assert 0 == node.vips
