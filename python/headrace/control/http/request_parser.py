"""RequestParser: the requests in a connection's bytes, one at a time: a head, then its body.

What happens with
    a head of more than 16 KiB, without its Host or with two, or of another version than 1.0 and 1.1: it is malformed.
    a request that wants an upgrade: it is one as any other, has no body, and is the connection's last.
    a body in chunks: its request is the connection's last, since llhttp cannot be told to stop behind it.

Guarantees: nothing behind a head is read before the request is known, and nothing behind a request as a part of it.
Does not: keep what it was not asked for, or answer.
"""

from __future__ import annotations

import httptools

from headrace.limits import HTTP_HEAD_BYTES_MAX

__all__ = ["MalformedError", "RequestParser"]

MalformedError = httptools.HttpParserError
HEAD_END = b"\r\n\r\n"
VERSIONS = ("1.0", "1.1")


class RequestParser:
    """The requests of one connection.

    method, target, version, headers : of the request, as it says them; names in lower case. has_head : they are known.
    is_over : its body has come, too. is_last : nothing may follow it.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self.restart()

    def restart(self) -> None:
        """Begin with the next request."""
        self.method = self.version = ""
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = self.is_over = self.is_last = False
        # The end of what was parsed of the head, and its length.
        self._tail = b""
        self._head_bytes = 0
        # What came of the body; what is still to come by its Content-Length, None: it comes in chunks.
        self._body = bytearray()
        self._left: int | None = None

    def take_head(self, data: bytes) -> bytes:
        """Parse a head, or a part of it, and return what comes behind it. Raises MalformedError."""
        while data and not self.has_head:
            end = (self._tail + data).find(HEAD_END)
            size = len(data) if end < 0 else end + len(HEAD_END) - len(self._tail)
            self._head_bytes += size
            if self._head_bytes > HTTP_HEAD_BYTES_MAX:
                msg = f"it has more than {HTTP_HEAD_BYTES_MAX:,} bytes, and a browser sends some 800"
                raise MalformedError(msg)
            piece, data = data[:size], data[size:]
            self._tail = (self._tail + piece)[1 - len(HEAD_END) :]
            self._feed(piece)
        if self.has_head:
            self._check()
        return data

    def take_body(self, data: bytes) -> tuple[bytes, bytes]:
        """Parse a part of the body; return it, and what comes behind the request. Raises MalformedError."""
        rest = b""
        if self._left is not None:
            data, rest = data[: self._left], data[self._left :]
            self._left -= len(data)
        try:
            self._feed(data)
        except MalformedError:
            # Behind a whole request, it is of what comes next on a connection that ends.
            if not self.is_over:
                raise
        body = bytes(self._body)
        self._body.clear()
        return body, rest

    def _feed(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self.is_over = True

    def _check(self) -> None:
        if self.version not in VERSIONS:
            msg = f"it is of version {self.version}"
            raise MalformedError(msg)
        named = [name for name, _ in self.headers]
        hosts = named.count(b"host")
        if hosts > 1 or (hosts == 0 and self.version != "1.0"):
            msg = f"it has {hosts} headers called Host"
            raise MalformedError(msg)
        if b"transfer-encoding" in named:
            self.is_last = True
        else:
            self._left = next((int(value) for name, value in self.headers if name == b"content-length"), 0)

    # What llhttp calls out

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what comes behind a body in chunks is none."""
        if not self.has_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Note what llhttp knows of the head, and has forgotten behind the whole request."""
        if self.has_head:
            return
        self.has_head = True
        self.version, self.method = self._parser.get_http_version(), self._parser.get_method().decode("ascii")
        self.is_last = self.version != "1.1" or not self._parser.should_keep_alive() or self._parser.should_upgrade()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if not self.is_over:
            self._body += body

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self.is_over = True
