"""`doctor`: which capabilities this process has, and what they are needed for."""

import contextlib
import os

from consul_ebpf.cli.findings import Finding
from consul_ebpf.config.schema import Config
from consul_ebpf.kernel import capabilities, privileges, unprivileged
from consul_ebpf.model.errors import ConsulEbpfError, PrivilegeError
from consul_ebpf.wiring.files import bootstrap_files


def find_capabilities(config: Config) -> list[Finding]:
    """Return for each feature which capabilities it needs, and which are missing."""
    have = capabilities.effective()
    needed = dict(privileges.NEEDED)
    with contextlib.suppress(ConsulEbpfError):  # then the first one is missing
        if for_tables := unprivileged.to_keep_here():
            needed["write its tables later on, on this kernel"] = frozenset(for_tables)
    must = {next(iter(needed))}
    if privileges.gives_away(bootstrap_files(config).owner, os.geteuid()):
        needed.update([privileges.OWNER])
        must.add(privileges.OWNER[0])
    if config.kubernetes.enabled:
        needed.update([privileges.VOLUMES])
        must.add(privileges.VOLUMES[0])
    findings = []
    for feature, names in needed.items():
        missing = ", ".join(f"CAP_{name.upper()}" for name in sorted(names - have))
        named = ", ".join(f"CAP_{name.upper()}" for name in sorted(names))
        name = f"to {feature}" if feature[0] != "." else feature
        if not missing:
            findings.append(Finding(name, named))
        elif feature in must:
            error = PrivilegeError(
                f"{missing} missing: run as root, or grant it in the unit file"
            )
            findings.append(Finding(name, str(error), error))
        else:
            text = f"{missing} missing: the controller goes on without it"
            findings.append(Finding(name, text, warn=True))
    return findings
