"""An upgrade from the version before, and back, under connected Envoys with logins."""

from pathlib import Path

import pytest

from tests.lab.mesh import Mesh
from tests.lab.secured import PROXIES, Gaps, Secured, token_of
from tests.lab.versions import version_before

pytestmark = [pytest.mark.kernel, pytest.mark.consul, pytest.mark.envoy]

THIS: dict[str, str] = {}


@pytest.fixture
def before(tmp_path: Path) -> dict[str, str]:
    try:
        return version_before(tmp_path / "before")
    except LookupError as error:
        pytest.skip(f"no version before: {error}")


@pytest.mark.parametrize("secured", ["1h"], indirect=True)
def test_fault_47_streams_and_files_survive_the_version_before(
    secured: Secured, envoy_bin: Path, before: dict[str, str]
) -> None:
    """No stream ends, nobody gets another VIP or token, and every file is read."""
    config = secured.config()
    with Mesh(
        secured.cluster, envoy_bin, proxies=PROXIES, config=config, env=before
    ) as mesh:
        controller = mesh.controller
        mesh.start_envoys(20)
        vips = {each["id"]: each["vip"] for each in controller.status()["proxies"]}
        tokens = {proxy: token_of(mesh, proxy) for proxy in mesh.envoys}
        opened = [each.upstream_cx_total for each in mesh.envoys.values()]
        gaps = Gaps(mesh)
        gaps.start()
        for version in (THIS, before, THIS):
            assert controller.terminate() == 0
            controller.start(env=version)
            status = controller.status()
            assert status["kernel"]["attached"]
            assert {each["id"]: each["vip"] for each in status["proxies"]} == vips
            assert {each["state"] for each in status["servers"]} == {"ready"}
            assert {proxy: token_of(mesh, proxy) for proxy in mesh.envoys} == tokens
        gaps.stop()
        assert (gaps.ends, gaps.worst) == (0, 0.0)
        assert gaps.looks > 3 * PROXIES
        assert opened == [each.upstream_cx_total for each in mesh.envoys.values()]
        assert not list(controller.bootstraps.rglob("*.bad"))
        assert "ignored, moved to" not in controller.log()
        assert len(secured.accessors()) == PROXIES + 1
