"""Transparent proxy as a pod of consul-k8s has it: the rules that Consul itself makes.

`consul connect redirect-traffic` and consul-k8s's init container apply the same rules,
by one package of Consul's.
"""

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.debian import unpacked
from tests.lab.processes import LabError
from tests.lab.scratch import Netns, scratch_directory

ENVOY_UID, INIT_UID = 5995, 5996
"""Whom the rules leave alone: consul-k8s's sidecar, and its init container."""
INBOUND, OUTBOUND = 20000, 15001
"""The ports of Envoy's two listeners to which everybody else is redirected."""


def envoy_of_sidecar(envoy: Path, directory: Path) -> Path:
    """Write a command that runs Envoy as the uid of consul-k8s's sidecar."""
    # The binary may lie in a home directory that is closed to others.
    reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    become = [f"--reuid={ENVOY_UID}", "--clear-groups", *reads, "--pdeathsig=KILL"]
    command = ["setpriv", *become, "--", str(envoy)]
    script = directory / "envoy"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    script.chmod(0o755)
    return script


@contextmanager
def redirected(
    consul: Path,
    pod: Netns,
    agent: tuple[Netns, str],
    *,
    dns: bool = True,
    options: Sequence[str] = (),
) -> Iterator[None]:
    """Have the rules in a pod's namespace until the end.

    Args:
        consul: the binary.
        pod: where the rules are.
        agent: an agent that the command asks for its addresses, and where it is.
        dns: with those of consul-k8s's DNS, 127.0.0.1:53 to 127.0.0.1:8600.
        options: more of the command's.
    """
    command = [str(consul), "connect", "redirect-traffic", f"-netns={pod.path}"]
    command += [f"-proxy-uid={ENVOY_UID}", f"-exclude-uid={INIT_UID}"]
    command += [f"-proxy-inbound-port={INBOUND}", f"-proxy-outbound-port={OUTBOUND}"]
    if dns:
        command += ["-consul-dns-ip=127.0.0.1", "-consul-dns-port=8600"]
    netns, http_address = agent
    with scratch_directory() as directory:
        iptables = directory / "iptables"
        iptables.write_text(
            f'#!/bin/sh\nexec {shlex.join(unpacked().iptables())} "$@"\n'
        )
        iptables.chmod(0o755)
        environment = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}
        where = f"-http-addr={http_address}"
        _run([*netns.enter, *command, where, *options], environment)
        try:
            yield
        finally:
            for flag in ("-F", "-X"):
                _run([*pod.enter, str(iptables), "-t", "nat", flag], environment)


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = (done.stderr + done.stdout).strip()
        raise LabError(f"{command} ended with {done.returncode}: {words}")
