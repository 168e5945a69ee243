"""Logins at an auth method over gRPC, as consul-dataplane does them."""

from consul_ebpf.client.calls import ServerCalls
from consul_ebpf.client.messages import (
    LoginRequest,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
)
from consul_ebpf.client.token import is_token
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import Login

LOGIN_SECONDS = 60.0
"""For a login. The auth method may have many to do, and one that is cut off has often
made a token all the same."""


async def login(calls: ServerCalls, how: Login, bearer: str) -> str:
    """Return the secret of a new token.

    Raises:
        CallError: the auth method or its binding rules refused.
        ConsulError: no server answered.
    """
    request = LoginRequest(
        auth_method=how.auth_method,
        bearer_token=bearer,
        meta=dict(how.meta),
        namespace=how.namespace,
        partition=how.partition,
        datacenter=how.datacenter,
    )
    answer = await calls.call(
        "acl.ACLService/Login",
        request,
        LoginResponse,
        secret=bearer,
        seconds=LOGIN_SECONDS,
    )
    secret: str = answer.token.secret_id
    if not is_token(secret):
        raise ConsulError("a login's answer over gRPC holds no token")
    return secret


async def logout(calls: ServerCalls, secret: str, datacenter: str) -> None:
    """Destroy a token that a login made.

    Raises:
        CallError: no login made this token, or it is gone already.
        ConsulError: no server answered.
    """
    request = LogoutRequest(token=secret, datacenter=datacenter)
    await calls.call("acl.ACLService/Logout", request, LogoutResponse, secret=secret)
