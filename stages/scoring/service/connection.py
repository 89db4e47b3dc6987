"""Connections of clients that may be slow, broken or hostile; these close when uvicorn's own would stay open."""

import asyncio

import h11
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from stages.scoring.service.limits import RETRY_AFTER

# Open connections. More get the answer to try again later; beyond twice as many, they are closed at once.
MOST_CONNECTIONS = 256
# Seconds between two checks of a connection, and the bytes that a client must send between them while the service waits
# for its headers or its body: 1 kB/s.
CHECK_SECONDS, LEAST_BYTES = 5.0, 5_000
# Checks during which a client may leave its answer unread, or continue to send a body after the answer.
MOST_CHECKS = 6
# Chunks of any size that a body may have, and the average size of more: a chunk costs far more to read than to send.
FREE_CHUNKS, LEAST_CHUNK = 1_000, 256

_BUSY = JSONResponse(
    {"detail": f"too many connections (at most {MOST_CONNECTIONS}); try again later"},
    503,
    headers={"retry-after": str(RETRY_AFTER), "connection": "close"},
)
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Parser(h11.Connection):
    """Refuses bodies that consist of very many tiny chunks."""

    _chunks = _size = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event. Raises h11.RemoteProtocolError for invalid HTTP and for too many small chunks."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._size = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._size += len(event.data)
            if self._chunks > FREE_CHUNKS + self._size // LEAST_CHUNK:
                raise h11.RemoteProtocolError(f"too many small chunks: expected {LEAST_CHUNK} bytes or more in each")
        return event


class Connection(H11Protocol):
    """Checks itself every `CHECK_SECONDS`, and closes if its client does not make progress."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Open, unless there are too many connections."""
        super().connection_made(transport)
        self.conn = _Parser(h11.SERVER)
        self._received = self._stalled = 0
        self._state: object = None
        if len(self.connections) > 2 * MOST_CONNECTIONS:
            transport.abort()
        elif len(self.connections) > MOST_CONNECTIONS:
            self.app = _BUSY
        self._timer = self.loop.call_later(CHECK_SECONDS, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the checks."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes and process them."""
        self._received += len(data)
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP, unless an answer has begun: then h11 cannot send another."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        self._close()

    def shutdown(self) -> None:
        """Close after the answer; the rest of a refused body is not read."""
        super().shutdown()
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self._close()

    def _check(self) -> None:
        self._timer = self.loop.call_later(CHECK_SECONDS, self._check)
        state, answered = self.conn.their_state, self.cycle is None or self.cycle.response_complete
        unread = self.transport.get_write_buffer_size() > 0
        self._stalled = self._stalled + 1 if unread or (answered and state is h11.SEND_BODY) else 0
        if self._stalled > MOST_CHECKS:
            self.transport.abort()
        if self.transport.is_closing():
            return
        now = (state, self.cycle)
        waits = state in (h11.IDLE, h11.SEND_BODY) and not self.flow.read_paused
        if waits and now == self._state and self._received < LEAST_BYTES:
            self._end_slow()
        self._state, self._received = now, 0

    def _end_slow(self) -> None:
        """Close the connection of a client that is too slow; if it has begun a request without an answer, send 408."""
        begun = self.conn.our_state is h11.SEND_RESPONSE or self.conn.trailing_data[0]
        if begun and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_TOO_SLOW)
        self._close()

    def _close(self) -> None:
        """Close, and notify the application at once, because it may be waiting for the rest of the request."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
