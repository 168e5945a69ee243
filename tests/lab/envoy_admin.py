"""What an Envoy says of itself at its admin interface."""

import json


class EnvoyAdmin:
    """An Envoy whose admin interface can be asked; who has one says how."""

    xds_cluster = "consul-dataplane"
    """Name of the cluster its control plane is in."""

    def admin(self, path: str, method: str = "GET") -> bytes:
        """Ask its admin interface; OSError where it does not answer."""
        raise NotImplementedError

    def stat(self, name: str) -> int:
        """Read one counter or gauge; 0 if Envoy has not made it yet."""
        escaped = name.replace(".", "\\.")
        text = self.admin(f"/stats?filter=^{escaped}$").decode()
        return int(text.rpartition(":")[2]) if text.strip() else 0

    @property
    def connected_state(self) -> bool:
        """Whether it has an xDS stream. True for a moment before a rejection, too."""
        return self.stat("control_plane.connected_state") == 1

    @property
    def upstream_cx_total(self) -> int:
        """Connections it has opened to its control plane so far."""
        return self.stat(f"cluster.{self.xds_cluster}.upstream_cx_total")

    @property
    def configured(self) -> bool:
        """Whether its control plane has given it listeners and clusters."""
        return bool(json.loads(self.admin("/server_info"))["state"] == "LIVE")
