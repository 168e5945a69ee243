"""The version of this package, as it is installed."""

import functools
from importlib import metadata


@functools.cache
def installed_version() -> str:
    """Return it; empty where the package is run from its source."""
    try:
        return metadata.version("consul-ebpf")
    except metadata.PackageNotFoundError:
        return ""
