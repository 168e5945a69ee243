"""What a volume needs on this host: its mount, its pod's cgroup and token. Blocking."""

from collections.abc import Collection

from consul_ebpf.kubernetes.pods.bearers import Bearers
from consul_ebpf.kubernetes.pods.cgroups import MissingCgroups, PodCgroups
from consul_ebpf.kubernetes.pods.mounts import Mounts
from consul_ebpf.kubernetes.pods.volume import Volume


class VolumePlaces:
    """Makes, renews and removes what is on this host of a volume.

    Args:
        mounts: makes volumes' places.
        cgroups: finds pods' cgroups.
        bearers: writes pods' tokens.
    """

    def __init__(self, mounts: Mounts, cgroups: PodCgroups, bearers: Bearers) -> None:
        self._mounts = mounts
        self._cgroups = MissingCgroups(cgroups)
        self._bearers = bearers

    def __repr__(self) -> str:
        return f"<VolumePlaces {self._mounts!r} {self._cgroups!r}>"

    def make(self, volume: Volume, token: str, now: float, *, new: bool) -> str:
        """Make a volume's place, and return the directory of its pod's cgroup.

        Args:
            volume: the volume.
            token: the pod's; empty: there is none.
            now: event loop time.
            new: whether nothing is known of it: then files in it are an earlier boot's.

        Raises:
            ConsulEbpfError: something could not be made, or the cgroup is missing.
        """
        cgroup = self._cgroups.find(volume.uid, now)
        if token:
            self._bearers.write(volume.key, token)
        self._mounts.mount(volume.target)
        if new:
            self._mounts.empty(volume.target)
        return cgroup

    def renew(self, volume: Volume, token: str) -> None:
        """Take the newest token, and mount again what is mounted no more.

        Raises:
            ConsulEbpfError: one of these failed.
        """
        if token:
            self._bearers.write(volume.key, token)
        if not self._mounts.is_mounted(volume.target):
            self._mounts.mount(volume.target)

    def forget(self, volume: Volume) -> None:
        """Remove what is in memory and on this host, but not the place itself."""
        self._cgroups.forget(volume.uid)
        self._bearers.remove(volume.key)

    def remove(self, target: str) -> None:
        """Remove a volume's place; it may be gone.

        Raises:
            ConsulEbpfError: it is still there.
        """
        self._mounts.unmount(target)

    def forget_others(self, keys: Collection[str]) -> None:
        """Remove the tokens of all other pods than these."""
        self._bearers.keep_only(keys)
