"""One small tree of errors. Each message is one line: what, which, what to do.

The command's exit code is the class's `exit_code`; nothing below the command exits.
"""


class ConsulEbpfError(Exception):
    """Base of all errors this package raises on purpose."""

    exit_code = 1


class ConfigError(ConsulEbpfError):
    """The configuration cannot be used; nothing was changed."""

    exit_code = 2


class InvalidProxyError(ConsulEbpfError):
    """A proxy's id, node or address cannot be used; other proxies are unaffected."""


class KernelError(ConsulEbpfError):
    """The kernel refused something that may succeed later."""


class TableFullError(KernelError):
    """The table has no room for so many VIPs; nothing in it was changed."""


class UnsupportedError(ConsulEbpfError):
    """A privilege, mount or kernel feature is missing."""

    exit_code = 3


class PrivilegeError(UnsupportedError):
    """The process lacks a capability."""


class KernelFeatureError(UnsupportedError):
    """The running kernel is too old, or was built without a feature."""


class LoaderError(UnsupportedError):
    """BCC is missing or could not compile or load the program."""


class BpffsError(UnsupportedError):
    """The BPF file system is not mounted where it is looked for."""


class CgroupError(UnsupportedError):
    """cgroup v2 is missing, or the path is no cgroup."""


class NotRunningError(ConsulEbpfError):
    """No tables are pinned: no controller has run here, or they were removed."""


class AlreadyRunningError(ConsulEbpfError):
    """Another controller holds this host."""

    exit_code = 4


class ConsulError(ConsulEbpfError):
    """Consul gave no usable answer; asking again later may help.

    `retry_after`: seconds the answer asked us to wait, None if it did not say.
    `status`: the HTTP status of an answer that refused, None where there was none.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class TokenPendingError(ConsulError):
    """An ACL token is configured, but there is none yet; the log says why."""


class TokenRefusedError(ConsulError):
    """The servers do not accept an ACL token: it is gone, or lacks a permission.

    `unknown`: whether they do not know it at all.
    """

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


class ClusterError(ConsulEbpfError):
    """Kubernetes' API server gave no usable answer; asking again later may help.

    `status`: the HTTP status of an answer that refused, None where there was none.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ConflictError(ClusterError):
    """Somebody else changed the object since it was read: read it again."""
