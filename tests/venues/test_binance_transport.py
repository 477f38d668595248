"""Both transports behave alike: whole messages, pings answered, one end, nothing out of a callback."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import WSMsgType

from headrace.limits import FRAME_BYTES_MAX
from headrace.venues.binance.transport import AiohttpTransport, PicowsTransport
from tests.support.engines import until
from tests.support.web_socket import Server

pytestmark = pytest.mark.asyncio

TRANSPORTS = pytest.mark.parametrize("transport", [PicowsTransport, AiohttpTransport])


class Listener:
    def __init__(self, raises=False):
        self.messages, self.pings, self.ends = [], 0, []
        self._raises = raises

    def on_message(self, message):
        self.messages.append(message)
        if self._raises:
            raise RuntimeError("out of a callback")

    def on_ping(self):
        self.pings += 1

    def on_end(self, reason):
        self.ends.append(reason)


def fragment(payload, *, opcode, fin):
    head = bytes([(0x80 if fin else 0) | opcode])
    size = len(payload)
    return head + (bytes([size]) if size < 126 else bytes([127]) + size.to_bytes(8, "big")) + payload


@TRANSPORTS
async def test_a_message_is_sent_and_received_whole(transport):
    async def echo(socket, _request):
        async for message in socket:
            await socket.send_str(message.data)

    async with Server(echo) as url:
        listener, own = Listener(), transport()
        await own.open(url, listener)
        own.send("{}ß".encode())
        await until(lambda: listener.messages)
        await own.close()
        await own.close()
    assert listener.messages == ["{}ß".encode()]
    assert listener.ends == []


@TRANSPORTS
async def test_fragments_are_joined(transport):
    async def send(_socket, request):
        request.transport.write(fragment(b"ab", opcode=1, fin=False) + fragment(b"c", opcode=0, fin=True))
        await asyncio.sleep(5)

    async with Server(send) as url:
        listener, own = Listener(), transport()
        await own.open(url, listener)
        await until(lambda: listener.messages)
        await own.close()
    assert listener.messages == [b"abc"]


@TRANSPORTS
async def test_an_oversize_message_is_cut_and_the_connection_stays(transport):
    async def send(socket, _request):
        await socket.send_str("x" * (FRAME_BYTES_MAX + 100))
        await socket.send_str("next")
        await asyncio.sleep(5)

    async with Server(send) as url:
        listener, own = Listener(), transport()
        await own.open(url, listener)
        await until(lambda: len(listener.messages) == 2)
        await own.close()
    assert [len(message) for message in listener.messages] == [FRAME_BYTES_MAX + 1, 4]


@TRANSPORTS
async def test_fragments_over_the_bound_are_cut_and_the_connection_stays(transport):
    half = b"x" * (FRAME_BYTES_MAX // 2 + 50)

    async def send(socket, request):
        parts = [fragment(half, opcode=1, fin=False), fragment(half, opcode=0, fin=False)]
        request.transport.write(b"".join([*parts, fragment(b"end", opcode=0, fin=True)]))
        await socket.send_str("next")
        await asyncio.sleep(5)

    async with Server(send) as url:
        listener, own = Listener(), transport()
        await own.open(url, listener)
        await until(lambda: len(listener.messages) == 2)
        await own.close()
    assert [len(message) for message in listener.messages] == [FRAME_BYTES_MAX + 1, 4]


@TRANSPORTS
async def test_a_ping_is_answered_with_its_payload(transport):
    pongs = []

    async def ping(socket, _request):
        await socket.ping(b"1234")
        pongs.append(await socket.receive())

    async with Server(ping) as url:
        listener, own = Listener(), transport()
        await own.open(url, listener)
        await until(lambda: pongs)
        await own.close()
    assert (pongs[0].type, bytes(pongs[0].data), listener.pings) == (WSMsgType.PONG, b"1234", 1)


@TRANSPORTS
async def test_an_end_is_passed_on_once_with_its_reason(transport):
    async def end(socket, _request):
        await socket.close(code=1008, message=b"Too many requests")

    async with Server(end) as url:
        listener, own = Listener(), transport()
        await own.open(url, listener)
        await until(lambda: listener.ends)
        await own.close()
    (reason,) = listener.ends
    assert "1008" in reason or "POLICY" in reason, reason


@TRANSPORTS
async def test_a_frame_that_breaks_the_protocol_ends_it_and_no_more(transport):
    async def send(_socket, request):
        request.transport.write(fragment(b"x", opcode=3, fin=True))
        await asyncio.sleep(5)

    async with Server(send) as url:
        listener, own = Listener(), transport()
        await own.open(url, listener)
        await until(lambda: listener.ends)
        await own.close()
    assert len(listener.ends) == 1


@TRANSPORTS
async def test_what_a_listener_raises_ends_nothing(transport, caplog):
    async def send(socket, _request):
        await socket.send_str("1")
        await socket.send_str("2")
        await asyncio.sleep(5)

    async with Server(send) as url:
        listener, own = Listener(raises=True), transport()
        await own.open(url, listener)
        await until(lambda: len(listener.messages) == 2)
        await own.close()
    assert "could not be passed on" in caplog.text


@TRANSPORTS
async def test_no_server_is_an_os_error(transport):
    async with Server(None) as url:
        pass
    with pytest.raises(OSError, match="no web socket at"):
        await transport().open(url, Listener())
