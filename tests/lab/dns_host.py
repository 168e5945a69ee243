"""A host whose processes ask Consul's DNS: servers, controller, clients, and a pod.

The servers, the controller and the clients are in one network namespace, with loopback
of its own, so that port 53 is free there whatever the machine runs. A pod is another
namespace with a route to the servers.
"""

import json
import math
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
from pyroute2 import IPRoute

from tests.lab import dns_client
from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.held import Held
from tests.lab.mounts import seeing
from tests.lab.processes import Child, LabError, wait_until
from tests.lab.scratch import (
    Netns,
    scratch_bpffs,
    scratch_cgroup,
    scratch_directory,
    scratch_netns,
)

VIP = "127.64.0.53"
SERVERS = ("10.77.0.1", "10.77.0.2", "10.77.0.3")
HOST, POD = "10.77.1.1", "10.77.1.2"
RESOLV_CONF = f"nameserver {VIP}\n" * 2 + "options timeout:2 attempts:3\n"
ONCE = f"nameserver {VIP}\noptions timeout:2 attempts:3\n"
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


class DnsHost(Held):
    """Three servers, and a controller that serves their DNS at the VIP."""

    def __init__(
        self,
        consul: Path,
        *,
        consul_config: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepare.

        Args:
            consul: the binary.
            consul_config: more of the servers' configuration.
            config: tables of the controller's to put in place of ours.
        """
        self._consul = consul
        self._consul_config = dict(consul_config or {})
        self._more = dict(config or {})

    def hold(self, stack: ExitStack) -> None:
        """Start the servers and the controller."""
        self._directory = stack.enter_context(scratch_directory())
        self.netns = stack.enter_context(scratch_netns([*SERVERS, "fd77::1"]))
        self.pod = stack.enter_context(scratch_netns())
        self._connect_pod()
        self.cgroup = stack.enter_context(scratch_cgroup())
        bpffs = stack.enter_context(scratch_bpffs())
        self.cluster = stack.enter_context(
            ConsulCluster(
                self._consul, SERVERS, netns=self.netns, config=self._consul_config
            )
        )
        self.config: dict[str, Any] = {
            "consul": {
                "http_addresses": self.cluster.http_addresses,
                "tls": {"disabled": True},
            },
            "kernel": {"cgroup": str(self.cgroup), "bpffs": str(bpffs)},
            "dns": {"enabled": True},
            **self._more,
        }
        self.controller = stack.enter_context(
            ControllerProcess(self.config, netns=self.netns)
        )

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        files: Mapping[str, str] | None = None,
        netns: Netns | None = None,
        cgroup: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> str:
        """Run a command to its end where it is redirected; return what it prints.

        `cgroup` is one below the host's.

        Raises:
            LabError: it failed.
        """
        join = ["sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"']
        join.append(str(cgroup or self.cgroup))
        enter = (netns or self.netns).enter
        said = ["env", *(f"{name}={value}" for name, value in (env or {}).items())]
        before = seeing(files or {}, self._directory)
        done = subprocess.run(
            [*before, *join, *enter, *said, *map(str, argv)],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if done.returncode:
            words = (done.stderr + done.stdout).strip()
            raise LabError(f"{argv} ended with {done.returncode}: {words}")
        return done.stdout

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Child:
        """Start a process where it is redirected; the caller ends it."""
        return Child(
            name,
            argv,
            self._directory,
            cgroup=self.cgroup,
            netns=self.netns,
            env=env,
            before=seeing(files or {}, self._directory),
        )

    def ask(
        self, kind: str, name: str, rdtype: str = "A", *, vip: str = VIP
    ) -> dict[str, Any]:
        """Ask once in one of dns_client's ways; return its report."""
        return self.report(self.run(client(kind, name, rdtype, vip=vip)))

    @contextmanager
    def asking(
        self, kinds: Sequence[str], per_second: float, name: str, expected: str
    ) -> Iterator[list[dict[str, Any]]]:
        """Ask all the time, one process for each of the ways, while the block runs.

        `glibc-once` is glibc whose resolv.conf names the VIP once, not twice. Yields a
        list that holds their reports when the block is left.
        """
        reports: list[dict[str, Any]] = []
        children = []
        try:
            for n, kind in enumerate(kinds):
                once = kind == "glibc-once"
                files = {
                    "/etc/resolv.conf": ONCE if once else RESOLV_CONF,
                    "/etc/nsswitch.conf": NSSWITCH,
                }
                argv = client(
                    kind.removesuffix("-once"), name, "A", math.inf, per_second
                )
                env = {"EXPECTED": expected}
                label = f"{kind}-{n}-{secrets.token_hex(4)}"
                children.append(self.start(label, argv, files=files, env=env))
            wait_until(
                lambda: all(child.stdout.stat().st_size for child in children),
                "clients that ask",
            )
            yield reports
            for child in children:
                child.signal(signal.SIGTERM)
            for kind, child in zip(kinds, children, strict=True):
                child.wait(20)
                last = child.stdout.read_text().splitlines()[-1]
                reports.append({"kind": kind, **self.report(last)})
        finally:
            for child in children:
                child.kill()

    def ask_server(self, server: int, name: str) -> str:
        """Ask one server's own DNS port for addresses: the rcode, then what it says."""
        query = dns.message.make_query(name, "A")

        def ask() -> dns.message.Message:
            return dns.query.udp(query, SERVERS[server], 2.0, 8600)

        try:
            reply = self.netns.call(ask)
        except dns.exception.Timeout:
            return "no answer"
        found = sorted(str(each) for records in reply.answer for each in records)
        return " ".join([dns.rcode.to_text(reply.rcode()), *found])

    def resolve(self, name: str, family: str = "A", options: str = "") -> list[str]:
        """Ask glibc's getaddrinfo, whose resolv.conf names the VIP."""
        files = {
            "/etc/resolv.conf": f"nameserver {VIP}\noptions {options}\n",
            "/etc/nsswitch.conf": NSSWITCH,
        }
        said = self.run(client("glibc", name, family), files=files)
        report = self.report(said)
        assert report["rcode"] == "NOERROR", report
        return list(report["answers"])

    def _connect_pod(self) -> None:
        """Lay a cable to the pod, which systemd-resolved wants to see, too."""
        pid = int(self.pod.path.parts[2])
        self.netns.call(lambda: _lay_cable(pid))
        self.pod.call(_configure_pod)

    @staticmethod
    def report(said: str) -> dict[str, Any]:
        report = json.loads(said)
        assert isinstance(report, dict)
        return report


def client(
    kind: str, name: str, rdtype: str = "A", *more: float, vip: str = VIP
) -> list[str]:
    """Return the command of a client."""
    numbers = map(str, more)
    return [sys.executable, dns_client.__file__, kind, vip, name, rdtype, *numbers]


def _lay_cable(pid: int) -> None:
    with IPRoute() as ip:
        peer = {"ifname": "eth0", "net_ns_pid": pid}
        ip.link("add", ifname="pod0", kind="veth", peer=peer)
        (cable,) = ip.link_lookup(ifname="pod0")
        ip.addr("add", index=cable, address=HOST, prefixlen=24)
        ip.link("set", index=cable, state="up")


def _configure_pod() -> None:
    with IPRoute() as ip:
        (eth0,) = ip.link_lookup(ifname="eth0")
        ip.addr("add", index=eth0, address=POD, prefixlen=24)
        ip.link("set", index=eth0, state="up")
        ip.route("add", dst="default", gateway=HOST)
