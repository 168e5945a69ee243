"""Asks one server whether it knows the cluster's leader.

No call of Consul is made for this. But a server that is not the leader refuses each
stream of cluster peering and names the leader, if it knows one. The leader itself takes
the call, and refuses our empty first message. Both answer at once, from memory, without
an ACL token, and change nothing.
"""

from consul_ebpf.client.channels import Channel
from consul_ebpf.client.messages import LeaderAddress, Status
from consul_ebpf.client.rpc import CallError, ask
from consul_ebpf.model.errors import ConsulError

METHOD = "/hashicorp.consul.internal.peerstream.PeerStreamService/StreamResources"

LEADER_ADDRESS = "/hashicorp.consul.internal.peerstream.LeaderAddress"
"""The end of the type's URL in the refusal's details."""


async def knows_leader(channel: Channel, who: str, seconds: float) -> bool | None:
    """Return whether the server knows the leader or is it; None: it does not tell.

    An old Consul, or one with peering turned off, does not know the call.
    """
    try:
        return await ask_for_leader(channel, who, seconds)
    except ConsulError:
        return None


async def ask_for_leader(channel: Channel, who: str, seconds: float) -> bool | None:
    """Return the same where the server answered.

    Raises:
        CallError: it did not answer, or with something else.
    """
    try:
        await ask(channel, METHOD, b"", len, who=who, seconds=seconds)
    except CallError as error:
        if error.code == "INVALID_ARGUMENT":
            return True
        if error.code == "FAILED_PRECONDITION":
            return _named(error.info)
        raise
    return None


def _named(info: bytes) -> bool | None:
    """Whether the details of a refusal name the leader; None: they do not tell."""
    try:
        for detail in Status.FromString(info).details:
            if detail.type_url.endswith(LEADER_ADDRESS):
                return bool(LeaderAddress.FromString(detail.value).address)
    except Exception:  # noqa: BLE001  # whatever it is, it says nothing of a leader
        return None
    return None
