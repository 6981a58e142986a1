"""The page's own server: uvicorn, which is told to end what would otherwise go on for ever."""

import socket

import uvicorn
from fastapi import FastAPI

from web.live.hub import Hub

GRACE_S = 5  # for answers that are under way when it shall stop; a viewer that takes nothing is cut off then


class Server(uvicorn.Server):
    """Serves the page until it is told to stop; streams end first, since it waits for answers to end."""

    def __init__(self, app: FastAPI, host: str = "127.0.0.1", port: int = 0) -> None:
        self._live: Hub = app.state.live
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_level="warning",
                server_header=False,
                ws="none",
                timeout_graceful_shutdown=GRACE_S,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._live.close()
        await super().shutdown(sockets)
