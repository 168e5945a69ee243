"""The command's manners: exit codes, one-line errors, nothing imported early."""

import json
import os
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import consul_ebpf
from consul_ebpf.cli import main
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.values import PlacedProxy, Proxy, ProxyFiles, Vip
from consul_ebpf.proxies.memory import VipMemory


def run(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, list(args), env=env)


def config(tmp_path: Path, text: str = "") -> str:
    """Write a configuration that touches only `tmp_path`."""
    file = tmp_path / "config.toml"
    file.write_text(
        f"[consul.tls]\ndisabled = true\n[bootstrap]\ndirectory = '{tmp_path}/run'\n"
        f"[kernel]\nbpffs = '{tmp_path}'\n{text}"
    )
    return str(file)


def said_once(result: Result, *words: str) -> bool:
    """Whether one line of error was printed, with these words in it."""
    lines = result.stderr.splitlines()
    return len(lines) == 1 and all(word in lines[0] for word in words)


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    """Code 2; the file, the key and what was probably meant."""
    file = config(tmp_path, "vip_prot = 1\n")
    result = run("run", "--config", file)
    assert result.exit_code == 2
    assert said_once(result, file, "kernel.vip_prot", "kernel.vip_port")


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Given by flag or by environment."""
    missing = str(tmp_path / "none.toml")
    for result in (
        run("status", "--config", missing),
        run("status", env={"CONSUL_EBPF_CONFIG": missing}),
    ):
        assert result.exit_code == 2
        assert said_once(result, missing)


def test_a_flag_overrides_the_file(tmp_path: Path) -> None:
    """`--set` takes TOML values and plain strings, and is checked like the file."""
    file = config(tmp_path)
    result = run("status", "--config", file, "--set", "kernel.vip_port=70000")
    assert result.exit_code == 2
    assert said_once(result, "kernel.vip_port", "--set")
    result = run("status", "--config", file, "--set", "kernel.vip_port")
    assert result.exit_code == 2
    assert said_once(result, "KEY=VALUE")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("kernl.cgroup=x", ["kernl", "did you mean kernel?"]),
        ("kernel.cgruop=x", ["kernel.cgruop", "did you mean kernel.cgroup?"]),
        ("kernel.cgroup.x=1", ["kernel.cgroup.x"]),
        ("proxies.0.id=x", ["proxies.0.id"]),
        ("consul=1", ["consul: expected table"]),
        ("=x", ["unknown key"]),
        ("kernel.vip_port=85o2", ["kernel.vip_port", "8502"]),
        ("kernel.vip_port=8502\nkernel.bpffs=1", ["kernel.vip_port"]),
    ],
)
def test_a_wrong_setting_is_one_line(
    tmp_path: Path, setting: str, words: list[str]
) -> None:
    """Code 2; it names the key, and the nearest known one to an unknown."""
    result = run("status", "--config", config(tmp_path), "--set", setting)
    assert 2 == result.exit_code
    assert said_once(result, "--set", *words)


def test_an_owner_who_is_not_there_is_told_before_the_kernel_is_touched(
    tmp_path: Path,
) -> None:
    """Code 2, though the kernel's keys are wrong as well: they come later."""
    arguments = ["run", "--config", config(tmp_path), "--set", "kernel.cgroup=/proc"]
    result = run(*arguments, "--set", "bootstrap.owner=nobody-we-know")
    assert 2 == result.exit_code
    assert said_once(result, "bootstrap.owner", "nobody-we-know")


@pytest.mark.parametrize(
    ("setting", "code", "words"),
    [
        ('api.users=["²"]', 2, ("api.users", "'²' is not on this host")),
        ('api.users=["no-such-user"]', 2, ("api.users", "'no-such-user'")),
        ('api.listen="localhost:9102"', 2, ("api.listen", "not an IP address")),
        ('api.listen="192.0.2.1:9102"', 1, ("api.listen", "192.0.2.1:9102")),
        ('api.socket="/dev/null"', 2, ("api.socket", "/dev/null is a device")),
        ('api.socket="/nowhere/at/all/api.sock"', 2, ("api.socket", "its directory")),
    ],
)
def test_fault_129_an_endpoint_that_cannot_be_is_told_before_the_kernel_is_touched(
    tmp_path: Path, setting: str, code: int, words: tuple[str, ...]
) -> None:
    """In one line, though the kernel's keys are wrong as well: they come later."""
    arguments = ["run", "--config", config(tmp_path), "--set", "kernel.cgroup=/proc"]
    result = run(*arguments, "--set", setting)
    assert code == result.exit_code
    assert said_once(result, *words)
    assert not (tmp_path / "run" / "api.sock").exists()


def test_the_version_is_told() -> None:
    """From a checkout too, which has none."""
    result = run("--version")
    assert 0 == result.exit_code
    assert result.stdout.startswith("consul-ebpf")


def test_without_tables_status_says_what_to_do(tmp_path: Path) -> None:
    """Code 1, and no traceback."""
    result = run("status", "--config", config(tmp_path))
    assert result.exit_code == 1
    assert said_once(result, str(tmp_path), "run")


def test_a_directory_that_is_no_bpffs_ends_run_with_3(tmp_path: Path) -> None:
    """Before anything is loaded."""
    arguments = ["run", "--config", config(tmp_path)]
    # The cgroup is looked for first: give it one that needs no cgroup v2 here.
    result = run(*arguments, "--set", "kernel.cgroup=/proc")
    assert result.exit_code == 3
    assert said_once(result, "/proc", "cgroup")


def test_detach_without_anything_is_done_already(tmp_path: Path) -> None:
    """Code 0: it can be said twice."""
    result = run("detach", "--config", config(tmp_path))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "nothing is pinned" in result.stdout


PROXY = '[[proxies]]\nid = "web"\nnode = "h"\nvip = "127.64.0.9"\n'
NO_CONSUL = (  # and known to be none: the catalog would be tried again for 5 s
    "--set=consul.source=static",
    "--set=consul.addresses=['127.0.0.1:1']",
)


def test_render_prints_the_bootstrap(tmp_path: Path) -> None:
    """Without a controller, a Consul or root; for its proxy alone."""
    file = config(tmp_path, PROXY)
    result = run("render", "--proxy", "web", "--config", file, *NO_CONSUL)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["node"]["id"] == "web"
    assert "127.64.0.9" in result.stdout
    assert not (tmp_path / "run").exists()


def test_render_of_a_stranger_names_those_there_are(tmp_path: Path) -> None:
    """Code 1."""
    file = config(tmp_path, PROXY)
    result = run("render", "--proxy", "wep", "--config", file)
    assert result.exit_code == 1
    assert said_once(result, "'wep'", "web", "[[proxies]]")


def test_envoy_without_a_bootstrap_says_whom_it_asked(tmp_path: Path) -> None:
    """Code 1 when its patience ends, naming the proxy and the socket."""
    arguments = ["envoy", "--proxy", "web", "--config", config(tmp_path)]
    result = run(*arguments, "--wait", "0.3", "--", "-l")
    assert result.exit_code == 1
    assert said_once(result, "proxy web", "0.3 s", f"{tmp_path}/run/api.sock")


@pytest.mark.parametrize("proxy", ["../web", "a/b", "web\n", "w" * 5000, ""])
def test_envoy_of_a_name_no_proxy_can_have_is_refused(
    tmp_path: Path, proxy: str
) -> None:
    """Code 1: no other file than a proxy's bootstrap is ever given to Envoy."""
    file = config(tmp_path)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "bootstrap.json").write_text("{}")
    result = run("envoy", "--proxy", proxy, "--config", file, "--", "-l")
    assert 1 == result.exit_code
    assert said_once(result, "id")


def test_envoy_is_executed_with_the_bootstrap(tmp_path: Path) -> None:
    """No process of ours stays: it becomes Envoy, and arguments given win over ours."""
    file = config(tmp_path, "[envoy]\nexecutable = 'echo'\n")
    bootstrap = tmp_path / "run" / "web" / "bootstrap.json"
    bootstrap.parent.mkdir(parents=True)
    bootstrap.write_text("{}")
    command = [sys.executable, "-m", "consul_ebpf", "envoy", "--config", file]
    done = subprocess.run(
        [*command, "--proxy", "web", "--", "--log-level", "warning"],
        capture_output=True,
        text=True,
        check=True,
    )
    ours = "--concurrency 2 --drain-time-s 30 --drain-strategy immediate"
    ours += " --disable-hot-restart"
    assert done.stdout == f"-c {bootstrap} {ours} --log-level warning\n"


def test_the_bootstrap_of_a_proxy_whose_files_are_elsewhere(tmp_path: Path) -> None:
    """`envoy`, `stop` and `wait` find it, by the proxy's id and by its key."""
    file = config(tmp_path, "[envoy]\nexecutable = 'echo'\n")
    proxy = Proxy("web", "h", key="pod-1", files=ProxyFiles(str(tmp_path / "volume")))
    placed = PlacedProxy(proxy, Vip(IPv4Address("127.64.0.1"), 8502))
    where = {"socket_address": {"address": "127.0.0.1", "port_value": 1}}
    bootstrap = {"admin": {"address": where}}
    path = BootstrapFiles(tmp_path / "run").write(placed, bootstrap)
    VipMemory(tmp_path / "run").save_ids([proxy])
    assert path == tmp_path / "volume" / "bootstrap.json"
    for name in ("web", "pod-1"):
        command = [sys.executable, "-m", "consul_ebpf", "envoy", "--config", file]
        done = subprocess.run(
            [*command, "--proxy", name], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(f"-c {path} ")
        assert said_once(
            run("stop", "--proxy", name, "--config", file), "127.0.0.1:1", "refused"
        )
        arguments = ["--proxy", name, "--for", "bootstrap", "--timeout", "0"]
        assert 0 == run("wait", *arguments, "--config", file).exit_code


def test_stop_without_an_envoy_says_whom_it_asked(tmp_path: Path) -> None:
    """Code 1: no bootstrap, one that is none, and nobody at its admin address."""
    file = config(tmp_path)
    arguments = ["stop", "--proxy", "web", "--config", file]
    bootstrap = tmp_path / "run" / "web" / "bootstrap.json"
    result = run(*arguments)
    assert result.exit_code == 1
    assert said_once(result, str(bootstrap), "No such file")
    bootstrap.parent.mkdir(parents=True)
    bootstrap.write_text("{}")
    assert said_once(run(*arguments), str(bootstrap), "is not a bootstrap")
    where = {"socket_address": {"address": "127.0.0.1", "port_value": 1}}
    bootstrap.write_text(json.dumps({"admin": {"address": where}}))
    result = run(*arguments)
    assert result.exit_code == 1
    assert said_once(result, "127.0.0.1:1", "Connection refused")


def test_a_proxy_named_by_a_file(tmp_path: Path) -> None:
    """Taken where no id is given; a file that is not there is named."""
    named = tmp_path / "id"
    arguments = ["render", "--config", config(tmp_path, PROXY), *NO_CONSUL]
    result = run(*arguments, "--proxy-id-path", str(named))
    assert result.exit_code == 2
    assert said_once(result, str(named), "No such file")
    named.write_text("web\n")
    result = run(*arguments, "--proxy-id-path", str(named))
    assert json.loads(result.stdout)["node"]["id"] == "web"
    result = run(*arguments)
    assert result.exit_code == 2
    assert "--proxy" in result.stderr


def test_a_proxys_name_in_no_usable_file(tmp_path: Path) -> None:
    """A pod may write that file: it neither stalls the command nor fills its memory."""
    pipe, binary = tmp_path / "pipe", tmp_path / "binary"
    os.mkfifo(pipe)
    binary.write_bytes(b"\xff")
    arguments = ["render", "--config", config(tmp_path, PROXY), *NO_CONSUL]
    for path, why in (
        ("/dev/zero", "is a device"),
        (str(pipe), "is a FIFO"),
        (str(binary), "not UTF-8"),
    ):
        result = run(*arguments, "--proxy-id-path", path)
        assert result.exit_code == 2
        assert said_once(result, path, why)


def test_a_token_is_in_no_error(tmp_path: Path) -> None:
    """Whatever is wrong with the section that holds it."""
    secret = "8d5d6f2e-secret"
    for wrong in ('typ = "static"', 'type = "statik"', 'type = ""', "type = 3"):
        text = f'[consul.credentials]\ntoken = "{secret}"\n{wrong}\n'
        result = run("run", "--config", config(tmp_path, text))
        assert result.exit_code == 2, wrong
        assert secret not in result.output


def test_importing_the_package_imports_no_dependency() -> None:
    """Only the standard library, until a part is asked for."""
    code = (
        "import sys, consul_ebpf; heavy = {'bcc', 'consul', 'grpc', 'aiohttp', "
        "'msgspec', 'click', 'pyroute2', 'tenacity'}; print(heavy & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("envoys", {"grpc", "aiohttp", "consul", "dns", "rich", "prometheus_client"}),
        ("stopping", {"grpc", "aiohttp", "consul", "dns", "rich", "prometheus_client"}),
        ("detaching", {"grpc", "aiohttp", "consul", "dns", "rich"}),
        ("show", {"grpc", "aiohttp", "consul", "dns", "prometheus_client"}),
        # dnspython: 2 MB that most do without; the room for Kubernetes: 1 MB.
        ("serve", {"bcc", "dns", "rich", "consul_ebpf.kubernetes"}),
    ],
)
def test_a_command_imports_what_it_needs(module: str, heavy: set[str]) -> None:
    """An Envoy's start waits for `envoy`, and `run` stays in memory."""
    code = f"import sys, consul_ebpf.cli.{module}; print({heavy} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", consul_ebpf.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """And is what its module calls so; a preference is a plain tuple."""
    found = getattr(consul_ebpf, name)
    assert getattr(found, "__name__", name) in {name, "tuple"}


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match="Runer"):
        consul_ebpf.Runer  # noqa: B018
