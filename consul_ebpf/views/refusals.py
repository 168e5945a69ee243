"""How failed requests are answered: with JSON, `{"error": "one line"}`."""

import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from consul_ebpf.base.boundary import reason
from consul_ebpf.base.events import event
from consul_ebpf.base.lines import one_line
from consul_ebpf.model.errors import ConfigError, ConsulEbpfError
from consul_ebpf.views.peers import is_local_name

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error with JSON, and refuse requests with a foreign Host header.

    The error's class gives the status: a `ConfigError` 400, another of our errors 503,
    anything else 500.
    """
    if not is_local_name(request.headers.get("Host", "")):
        return refusal(403, "Host: must be an IP address or localhost")
    try:
        return await handler(request)
    except web.HTTPException as error:
        return refusal(error.status, error.reason)
    except ConfigError as error:
        return refusal(400, str(error))
    except ConsulEbpfError as error:
        return refusal(503, str(error))
    except ConnectionError:
        raise  # the client has gone
    except Exception as error:  # noqa: BLE001  # it ends this request alone
        return _failed(request, error)


_said: set[str] = set()
"""What was logged before, as `Type file:line`."""


def _failed(request: web.Request, error: Exception) -> web.Response:
    """Answer an unexpected error; log it with its traceback the first time."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    which = f"{type(error).__name__} {place.filename}:{place.lineno}"
    what = f"{request.method} {one_line(request.path, 200)}: {reason(error)}"
    if which in _said:
        logger.debug("the endpoint: %s, as before", what)
    else:
        _said.add(which)
        logger.error(
            "the endpoint: %s", what, exc_info=error, extra=event("task_failed")
        )
    return refusal(500, reason(error))


def refusal(status: int, why: str, **more: Any) -> web.Response:
    """Return an answer with an error.

    Args:
        status: HTTP's.
        why: one line.
        more: further fields of the JSON object.
    """
    return web.json_response({"error": why, **more}, status=status)
