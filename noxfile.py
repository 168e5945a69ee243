"""What there is to run: `nox -l` lists it, `.ci/run` runs `tests`.

Everything runs in the distribution's own Python, in a virtual environment that sees
its packages: that is where Debian puts BCC.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["tests"]
nox.options.reuse_venv = "yes"

PYTHON = "/usr/bin/python3"
VENV = ["--system-site-packages"]
GROUPS = nox.project.load_toml("pyproject.toml")

# Debian package -> a file of it, where it is installed.
DEBIAN = {
    "python3-bpfcc": Path("/usr/lib/python3/dist-packages/bcc/__init__.py"),
    "gcc": Path("/usr/bin/gcc"),  # a client with musl's resolver
    "runc": Path("/usr/sbin/runc"),
    "containernetworking-plugins": Path("/usr/lib/cni/bridge"),
    "busybox-static": Path("/bin/busybox"),
}

CHROMIUM = {"chromium": Path("/usr/bin/chromium")}

# What boots another kernel.
QEMU = {
    "cpio": Path("/usr/bin/cpio"),
    "e2fsprogs": Path("/usr/sbin/mke2fs"),
    "mmdebstrap": Path("/usr/bin/mmdebstrap"),
    "qemu-system-x86": Path("/usr/bin/qemu-system-x86_64"),
}

# What pytest takes of tests/, apart from tests/hunt.
UNIT = [
    "-m",
    "not kernel and not consul and not envoy and not kubernetes",
    "--ignore=tests/hunt",
]
REAL = "kernel or consul or envoy"

# Tests on real parts mostly wait for them, so some run side by side on each core. Each
# file is one worker's: its cluster is started once.
BESIDE = ["-n", "4", "--dist", "loadfile", "--no-loadscope-reorder"]

REQUIRED = "kernel,consul,envoy,coredns,resolvers,helm,kubernetes,promtool"
IN_CI = os.environ.get("CI") == "true"


@nox.session(python=PYTHON, venv_params=VENV)
def tests(session: nox.Session) -> None:
    """Lint, types and every test: what CI runs. Builds Consul if there is none."""
    require_debian(session)
    install(session, "lint", "tests", "bench")
    run_lint(session)
    run_typing(session)
    build_consul(session, needed=IN_CI)
    get_resolvers(session, needed=IN_CI)
    build_kubernetes(session, needed=IN_CI)
    run_unit(session)
    run_pytest(session, "tests/hunt", "-n", "auto")
    run_real(session, "tests")
    run_kubernetes(session)


@nox.session(python=PYTHON, venv_params=VENV)
def long(session: nox.Session) -> None:
    """Every test at its full length: each kill point, the soak, minutes of tokens."""
    require_debian(session)
    install(session, "tests")
    build_consul(session)
    get_resolvers(session)
    build_kubernetes(session)
    env = {"CONSUL_EBPF_LONG": "1"}
    run_pytest(session, "tests/hunt", "-n", "auto", env=env)
    run_real(session, "tests", env=env)
    run_kubernetes(session, env=env)


@nox.session(python=PYTHON, venv_params=VENV)
def scale(session: nox.Session) -> None:
    """What pods cost on one node: `pods` or `cluster`. Of proxies: `bench -- scale`."""
    if session.posargs not in (["pods"], ["cluster"]):
        session.error("say what: scale -- pods, scale -- cluster; or bench -- scale")
    require_debian(session)
    install(session, "tests")
    build_consul(session)
    if session.posargs == ["cluster"]:
        build_kubernetes(session)
    session.run("python", "-m", f"tests.scale.{session.posargs[0]}")


@nox.session(python=PYTHON, venv_params=VENV)
def bench(session: nox.Session) -> None:
    """Measure it against its peers: docs/performance.md. Needs root; 25 minutes."""
    require_debian(session)
    install(session, "tests", "bench")
    build_consul(session)
    get_resolvers(session)
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session(python=PYTHON, venv_params=VENV)
def matrix(session: nox.Session) -> None:
    """Other versions of Consul, Envoy and Python: docs/compatibility.md."""
    require_debian(session)
    install(session, "tests")
    get_go(session)
    session.run("python", "-m", "tests.matrix", *session.posargs)


@nox.session(python=PYTHON, venv_params=VENV)
def kernels(session: nox.Session) -> None:
    """Debian's kernels 5.10, 6.1 and 6.12, booted by qemu: docs/compatibility.md."""
    require_debian(session, {**DEBIAN, **QEMU})
    install(session, "tests")
    session.run("python", "-m", "tests.matrix.kernels", *session.posargs)


@nox.session(python=PYTHON, venv_params=VENV)
def demo(session: nox.Session) -> None:
    """Show it: three Consul servers, six Envoys, and servers that die. Needs root."""
    require_debian(session)
    install(session, "tests")
    build_consul(session)
    session.run("python", "-m", "examples.demo", *session.posargs)


@nox.session(name="demo-kubernetes", python=PYTHON, venv_params=VENV)
def demo_kubernetes(session: nox.Session) -> None:
    """Show it in Kubernetes: pods without consul-dataplane. Builds a cluster once."""
    require_debian(session)
    install(session, "tests")
    build_consul(session)
    build_kubernetes(session)
    session.run("python", "-m", "examples.kubernetes.demo", *session.posargs)


@nox.session(python=PYTHON, venv_params=VENV)
def lint(session: nox.Session) -> None:
    """Style, imports between the parts, spelling."""
    install(session, "lint")
    run_lint(session)


@nox.session(python=PYTHON, venv_params=VENV)
def typing(session: nox.Session) -> None:
    """Types, strictly."""
    install(session, "lint", "tests")
    run_typing(session)


@nox.session(python=PYTHON, venv_params=VENV)
def unit(session: nox.Session) -> None:
    """Tests that need nothing: no root, no network, no waiting."""
    install(session, "tests")
    run_unit(session)


@nox.session(python=PYTHON, venv_params=VENV)
def kernel(session: nox.Session) -> None:
    """Tests of the kernel's side, with real connects in a scratch cgroup."""
    require_debian(session)
    install(session, "tests")
    run_real(session, "tests", only="kernel and not consul and not envoy")


@nox.session(python=PYTHON, venv_params=VENV)
def consul(session: nox.Session) -> None:
    """Tests against a real Consul cluster."""
    install(session, "tests")
    build_consul(session)
    run_pytest(session, "tests/consul", *BESIDE)


@nox.session(python=PYTHON, venv_params=VENV)
def e2e(session: nox.Session) -> None:
    """Tests of the whole: Consul, the kernel, real Envoys, real resolvers."""
    require_debian(session)
    install(session, "tests")
    build_consul(session)
    get_resolvers(session)
    run_real(session, "tests/e2e", "tests/dns")


@nox.session(python=PYTHON, venv_params=VENV)
def browser(session: nox.Session) -> None:
    """The page in a real browser, Debian's chromium. Not in CI: chromium is large."""
    require_debian(session, {**DEBIAN, **CHROMIUM})
    install(session, "tests", "browser")
    build_consul(session)
    run_pytest(session, "tests/e2e", "-m", "browser")


@nox.session(python=PYTHON, venv_params=VENV)
def kubernetes(session: nox.Session) -> None:
    """Tests in a real Kubernetes cluster of one node. Builds its binaries once."""
    require_debian(session)
    install(session, "tests")
    build_consul(session)
    build_kubernetes(session)
    run_kubernetes(session)


def install(session: nox.Session, *groups: str) -> None:
    """Install the project, editable, and these dependency groups."""
    session.install("-e", ".", *nox.project.dependency_groups(GROUPS, *groups))


def run_lint(session: nox.Session) -> None:
    """Everything that reads the source as text."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("codespell")


def run_typing(session: nox.Session) -> None:
    """Mypy, on this file too."""
    session.run("mypy")


def run_unit(session: nox.Session) -> None:
    """Run what needs no real part, on every core."""
    run_pytest(session, "tests", *UNIT, "-n", "auto")


def run_real(
    session: nox.Session,
    *paths: str,
    only: str = REAL,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run what needs real parts: side by side, then what measures, alone."""
    where = (*paths, "--ignore=tests/hunt", "--ignore=tests/kubernetes")
    run_pytest(session, *where, "-m", f"({only}) and not alone", *BESIDE, env=env)
    run_pytest(session, *where, "-m", f"({only}) and alone", env=env)


def run_kubernetes(session: nox.Session, env: Mapping[str, str] | None = None) -> None:
    """Run what needs a cluster: one at a time on a host, and most tests share it."""
    run_pytest(session, "tests/kubernetes", "-m", "kubernetes", env=env)


def run_pytest(
    session: nox.Session, *args: str, env: Mapping[str, str] | None = None
) -> None:
    """Run pytest; in CI a missing part fails instead of skipping."""
    required = {"CONSUL_EBPF_REQUIRE": REQUIRED} if IN_CI else {}
    command = ["python", "-m", "pytest", "--durations=15"]
    # Arguments such as `-k fault_12` may leave nothing in one of the two parts.
    codes = [0, 5] if session.posargs else [0]
    # Hundreds of processes would each compile every module, where this is set.
    every = {**required, "PYTHONDONTWRITEBYTECODE": "", **(env or {})}
    whole = [*command, *args, *session.posargs]
    try:
        session.run(*whole, env=every, success_codes=codes)
    except nox.command.CommandFailed:
        # Real servers on a shared machine: what is late once is said, and tried again.
        session.warn("what failed is tried once more; a real fault fails twice")
        again = ("--last-failed", "--last-failed-no-failures=none", "-n", "0")
        session.run(*whole, *again, env=every)


def build_consul(session: nox.Session, *, needed: bool = True) -> None:
    """Build Consul into the cache, unless there is one."""
    build(session, "consul", needed=needed)


def get_go(session: nox.Session) -> None:
    """Install PyPI's Go, unless there is one."""
    asked = session.run("python", "-m", "tests.lab.go_build", silent=True)
    if packages := str(asked or "").split():
        session.install(*packages)


def get_resolvers(session: nox.Session, *, needed: bool = True) -> None:
    """Unpack Debian's resolvers and Prometheus into the cache, build CoreDNS there."""
    codes = [0] if needed else [0, 1]
    session.run("python", "-m", "tests.lab.debian", success_codes=codes)
    session.run("python", "-m", "tests.lab.promtool", success_codes=codes)
    build(session, "coredns", needed=needed)


def build_kubernetes(session: nox.Session, *, needed: bool = True) -> None:
    """Build Kubernetes, containerd and Helm into the cache, unless they exist."""
    build_by(session, "tests.lab.kubernetes.binaries", needed=needed)
    build(session, "helm", needed=needed)


def build(session: nox.Session, part: str, *, needed: bool) -> None:
    """Build Consul, CoreDNS or Helm, unless there is one."""
    build_by(session, "tests.lab.parts", part, needed=needed)


def build_by(session: nox.Session, *command: str, needed: bool) -> None:
    """Have a module build what it is for; with PyPI's Go if need be."""
    parts = ["python", "-m", *command]
    if packages := str(session.run(*parts, "--needs", silent=True) or "").split():
        session.install(*packages)
    session.run(*parts, success_codes=[0] if needed else [0, 1])


def require_debian(
    session: nox.Session, packages: Mapping[str, Path] = MappingProxyType(DEBIAN)
) -> None:
    """Install what only Debian has; not root: say how."""
    missing = [package for package, file in packages.items() if not file.exists()]
    if not missing:
        return
    apt = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        session.warn(f"missing: {', '.join(missing)}; as root: {' '.join(apt)}")
        return
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    session.run("apt-get", "update", "-q", external=True)
    session.run(*apt, "-q", external=True, env=env)
