"""A web socket server on loopback that follows a script."""

from __future__ import annotations

from aiohttp import web


class Server:
    """Does what a script says with each web socket, at a path."""

    def __init__(self, script, path="/"):
        self._script, self._path = script, path

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get(self._path, self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"ws://127.0.0.1:{self._runner.addresses[0][1]}{self._path}"

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _serve(self, request):
        socket = web.WebSocketResponse(autoping=False, compress=False)
        await socket.prepare(request)
        await self._script(socket, request)
        return socket
