"""`detach`: removes what the controller leaves in the kernel."""

from pathlib import Path

import click

from consul_ebpf.cli.options import configured
from consul_ebpf.cli.output import say
from consul_ebpf.config.schema import Config
from consul_ebpf.kernel.pins import LINGER_SECONDS, Pins
from consul_ebpf.kernel.program import CONNECT, DNS


@click.command()
@configured(serving=False)
def detach(config: Config) -> None:
    """Remove programs and tables; VIPs are then ordinary loopback addresses."""
    every = [Pins(Path(config.kernel.bpffs), program) for program in (CONNECT, DNS)]
    pinned = [pins for pins in every if pins.root.is_dir()]
    for pins in pinned:
        with pins:
            pins.remove(LINGER_SECONDS)
    roots = " and ".join(str(pins.root) for pins in pinned)
    if pinned:
        say(f"removed {roots}: nothing is redirected any more")
    else:
        say(f"nothing is pinned at {every[0].root}")
