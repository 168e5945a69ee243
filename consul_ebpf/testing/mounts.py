"""A `Mounts` that mounts nothing."""

import shutil
from pathlib import Path

from consul_ebpf.model.errors import ConsulEbpfError


class FakeMounts:
    """A `Mounts` of directories; each call of `mount` is counted.

    Set `failure` to make `mount` and `unmount` raise it.
    """

    def __init__(self) -> None:
        """Begin without volumes."""
        self.mounted: dict[str, int] = {}
        """How often each volume was mounted, while it is there."""
        self.failure: Exception | None = None

    def __repr__(self) -> str:
        return f"<FakeMounts {self.mounted}>"

    def mount(self, target: str) -> None:
        """Make the directory in its parent, which kubelet makes."""
        self._fail()
        try:
            Path(target).mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            raise ConsulEbpfError(f"{target}: {error.strerror}") from error
        self.mounted[target] = self.mounted.get(target, 0) + 1

    def unmount(self, target: str) -> None:
        """Remove the directory with all that is in it."""
        self._fail()
        shutil.rmtree(target, ignore_errors=True)
        self.mounted.pop(target, None)

    def is_mounted(self, target: str) -> bool:
        """Whether the directory is there."""
        return Path(target).is_dir()

    def empty(self, target: str) -> None:
        """Remove the files in it."""
        for path in Path(target).iterdir():
            path.unlink()

    def reboot(self) -> None:
        """Forget all volumes with their files, as a reboot does."""
        for target in self.mounted:
            shutil.rmtree(target, ignore_errors=True)
        self.mounted.clear()

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
