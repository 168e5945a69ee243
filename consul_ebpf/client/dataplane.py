"""What Consul says of a proxy's bootstrap: `GetEnvoyBootstrapParams`."""

from typing import Any

from consul_ebpf.base.boundary import boundary
from consul_ebpf.client.calls import ServerCalls
from consul_ebpf.client.messages import BootstrapParamsRequest, BootstrapParamsResponse
from consul_ebpf.client.rpc import TOKEN_REFUSALS, CallError
from consul_ebpf.model.errors import ConsulError, TokenRefusedError
from consul_ebpf.model.names import shown
from consul_ebpf.model.values import BootstrapParams, Proxy

METHOD = "dataplane.DataplaneService/GetEnvoyBootstrapParams"


async def bootstrap_params(
    calls: ServerCalls, proxy: Proxy, token: str
) -> BootstrapParams | None:
    """Ask for a proxy's parameters; None: Consul is before 1.13 and has none.

    Raises:
        TokenRefusedError: the servers do not accept the token.
        ConsulError: no server answered, or they refuse for another reason.
    """
    with boundary(ConsulError, f"the bootstrap of proxy {shown(proxy.name)}"):
        request = BootstrapParamsRequest(
            # Consul before 1.17 knows only the older name.
            service_id=proxy.id,
            proxy_id=proxy.id,
            namespace=_unless_default(proxy.namespace),
            partition=_unless_default(proxy.partition),
        )
        if proxy.node:
            request.node_name = proxy.node
        try:
            answer = await calls.call(
                METHOD, request, BootstrapParamsResponse, token=token
            )
        except CallError as error:
            if error.code == "UNIMPLEMENTED":
                return None
            if error.code in TOKEN_REFUSALS:
                unknown = error.code == "UNAUTHENTICATED"
                raise TokenRefusedError(str(error), unknown=unknown) from None
            raise
        return BootstrapParams(
            identity=answer.identity or answer.service,
            namespace=answer.namespace,
            partition=answer.partition,
            datacenter=answer.datacenter,
            node_name=answer.node_name,
            config=_fields(answer.config),
            access_logs=tuple(answer.access_logs),
        )


def _unless_default(name: str) -> str:
    """Leave out "default": Enterprise assumes it, and other editions do not know it."""
    return "" if name == "default" else name


def _fields(struct: Any) -> dict[str, Any]:
    """Return a google.protobuf.Struct as JSON data; json_format would cost 1 MB."""
    return {key: _value(value) for key, value in struct.fields.items()}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _fields(value.struct_value)
    if kind == "list_value":
        return [_value(each) for each in value.list_value.values]
    return None if kind in {None, "null_value"} else getattr(value, kind)
