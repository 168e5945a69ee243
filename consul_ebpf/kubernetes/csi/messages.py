"""The protobuf messages of kubelet's calls: CSI v1, and the registration of plugins."""

from google.protobuf import wrappers_pb2

from consul_ebpf.client.descriptors import Fields, Messages

CSI = "csi.v1"
REGISTRATION = "pluginregistration"

_FIELDS: dict[str, Fields] = {
    "csi.v1.GetPluginInfoResponse": {
        "name": (1, "string"),
        "vendor_version": (2, "string"),
    },
    "csi.v1.ProbeResponse": {"ready": (1, ".google.protobuf.BoolValue")},
    "csi.v1.MountVolume": {
        "fs_type": (1, "string"),
        "mount_flags": (2, "repeated string"),
        "volume_mount_group": (3, "string"),
    },
    "csi.v1.VolumeCapability": {"mount": (2, ".csi.v1.MountVolume")},
    "csi.v1.NodePublishVolumeRequest": {
        "volume_id": (1, "string"),
        "target_path": (4, "string"),
        "volume_capability": (5, ".csi.v1.VolumeCapability"),
        "readonly": (6, "bool"),
        "secrets": (7, "map"),
        "volume_context": (8, "map"),
    },
    "csi.v1.NodeUnpublishVolumeRequest": {
        "volume_id": (1, "string"),
        "target_path": (2, "string"),
    },
    "csi.v1.NodeGetInfoResponse": {
        "node_id": (1, "string"),
        "max_volumes_per_node": (2, "int64"),
    },
    "csi.v1.RPC": {"type": (1, "int32")},
    "csi.v1.NodeServiceCapability": {"rpc": (1, ".csi.v1.RPC")},
    "csi.v1.NodeGetCapabilitiesResponse": {
        "capabilities": (1, "repeated .csi.v1.NodeServiceCapability")
    },
    "csi.v1.Empty": {},
    "pluginregistration.PluginInfo": {
        "type": (1, "string"),
        "name": (2, "string"),
        "endpoint": (3, "string"),
        "supported_versions": (4, "repeated string"),
    },
    "pluginregistration.RegistrationStatus": {
        "plugin_registered": (1, "bool"),
        "error": (2, "string"),
    },
}
"""By a message's full name: its fields. The standard nests `MountVolume` and `RPC` in
other messages, which makes no difference on the wire."""

_MESSAGES = Messages((CSI, REGISTRATION), _FIELDS, wrappers_pb2.DESCRIPTOR)

VOLUME_MOUNT_GROUP = 6
"""The capability that has kubelet send a pod's `fsGroup` along."""

Empty = _MESSAGES["csi.v1.Empty"]
"""Any message that is sent without a field."""
GetPluginInfoResponse = _MESSAGES["csi.v1.GetPluginInfoResponse"]
ProbeResponse = _MESSAGES["csi.v1.ProbeResponse"]
NodePublishVolumeRequest = _MESSAGES["csi.v1.NodePublishVolumeRequest"]
NodeUnpublishVolumeRequest = _MESSAGES["csi.v1.NodeUnpublishVolumeRequest"]
NodeGetInfoResponse = _MESSAGES["csi.v1.NodeGetInfoResponse"]
NodeGetCapabilitiesResponse = _MESSAGES["csi.v1.NodeGetCapabilitiesResponse"]
PluginInfo = _MESSAGES["pluginregistration.PluginInfo"]
RegistrationStatus = _MESSAGES["pluginregistration.RegistrationStatus"]
