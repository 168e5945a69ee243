"""Which volumes of a pod may be made beside each other."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from consul_ebpf.kubernetes.pods.volume import PublishError, Volume

MAX_VOLUMES = 8
"""Of one pod."""


class Claims:
    """Counts volumes that are being made, too: kubelet makes those of a pod at once."""

    def __init__(self) -> None:
        self._claims: dict[str, Volume] = {}
        """By id."""

    def __repr__(self) -> str:
        return f"<Claims of {len(self._claims)} volumes>"

    @contextmanager
    def holding(self, volume: Volume, kept: Iterable[Volume]) -> Iterator[None]:
        """Keep a volume's place for the length of the block.

        Args:
            volume: the new one.
            kept: all that are known.

        Raises:
            PublishError: INVALID_ARGUMENT: it is one too many of its pod, or the second
                one for the same proxy.
        """
        others = {
            each.id: each
            for each in (*kept, *self._claims.values())
            if each.uid == volume.uid and each.id != volume.id
        }
        if any(each.key == volume.key for each in others.values()):
            raise PublishError(
                "INVALID_ARGUMENT",
                "the pod has two volumes of this driver for the same service: give"
                " each its own attribute service, or remove one",
            )
        if len(others) >= MAX_VOLUMES:
            raise PublishError(
                "INVALID_ARGUMENT",
                f"the pod has more than {MAX_VOLUMES} volumes of this driver",
            )
        self._claims[volume.id] = volume
        try:
            yield
        finally:
            del self._claims[volume.id]
