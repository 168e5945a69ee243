"""Serves the endpoint at sockets that are already open."""

from aiohttp import web

from consul_ebpf.views.connections import Connections
from consul_ebpf.views.guard import Patience
from consul_ebpf.views.handlers import MAX_BODY, Handlers
from consul_ebpf.views.listeners import Listeners
from consul_ebpf.views.refusals import guarded
from consul_ebpf.views.room import Room
from consul_ebpf.views.serving import serve_application


async def serve(
    handlers: Handlers,
    listeners: Listeners,
    room: Room,
    patience: Patience | None = None,
) -> None:
    """Serve until cancelled; the caller closes `listeners` afterwards.

    Args:
        handlers: answer the requests.
        listeners: the sockets.
        room: limits how many connections there are.
        patience: limits how long each may take.
    """
    connections = Connections(room, patience)
    application = web.Application(
        client_max_size=MAX_BODY, middlewares=[connections.counted, guarded]
    )
    application.add_routes(handlers.routes())
    await serve_application(application, connections, listeners.all)
