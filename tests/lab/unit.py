"""The shipped systemd unit, as far as its settings can be had without systemd."""

import re
from pathlib import Path

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "consul-ebpf.service"


def setting(name: str) -> str:
    """Return a setting of the unit."""
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return str(value)


def as_the_unit() -> tuple[str, ...]:
    """Return what runs a command with exactly the unit's capabilities."""
    names = [name[4:].lower() for name in setting("CapabilityBoundingSet").split()]
    bounding = ",".join(["-all", *(f"+{name}" for name in names)])
    before = ("setpriv", f"--bounding-set={bounding}", "--inh-caps=-all")
    return (*before, "--no-new-privs", "--")
