"""Which kernels are booted, and with which Debian around them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Guest:
    """A machine to boot; `kernel` and `root` are names of Debian's releases."""

    version: str
    """Of the kernel, as Debian's release notes say it."""
    kernel: str
    """The release whose `linux-image-amd64` is booted."""
    root: str
    """The release that everything else is of: Python and BCC too."""
    python: str
    """Of that release, for which PyPI's packages are installed."""


GUESTS = {
    guest.version: guest
    for guest in (
        # Debian 11 has a Python and a BCC that are too old, so it is 12's around it.
        Guest("5.10", kernel="bullseye", root="bookworm", python="3.11"),
        Guest("6.1", kernel="bookworm", root="bookworm", python="3.11"),
        Guest("6.12", kernel="trixie", root="trixie", python="3.13"),
    )
}
