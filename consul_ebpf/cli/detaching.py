"""`detach`: remove what the controller leaves in the kernel."""

from pathlib import Path

import click

from consul_ebpf.cli.options import configured
from consul_ebpf.cli.output import say
from consul_ebpf.config.schema import Config
from consul_ebpf.kernel.pins import Pins


@click.command()
@configured(serving=False)
def detach(config: Config) -> None:
    """Remove programs and tables; VIPs are then ordinary loopback addresses."""
    pins = Pins(Path(config.kernel.bpffs))
    if not pins.root.is_dir():
        say(f"nothing is pinned at {pins.root}")
        return
    with pins:
        pins.remove()
    say(f"removed {pins.root}: nothing is redirected any more")
