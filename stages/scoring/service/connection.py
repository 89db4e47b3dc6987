"""One connection of a client that may be slow, broken or hostile: what uvicorn's own leaves open is closed here."""

import asyncio

import h11
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from stages.scoring.service.scoring_queue import RETRY_AFTER

# Connections that are answered at a time. More are told to come back, and twice as many are not let in at all.
MOST_CONNECTIONS = 256
# Seconds between two looks at a connection, and the bytes that a client must send from one to the next while its
# headers or its body are waited for: 1 kB a second.
LOOK, LEAST_BYTES = 5.0, 5_000
# Looks during which a client may leave its answer unread, or go on with a body after the answer.
MOST_LOOKS = 6
# Chunks that a body may have, and the bytes that more must have on average: reading one costs far more than sending it.
FREE_CHUNKS, LEAST_CHUNK = 1_000, 256

_BUSY = JSONResponse(
    {"detail": f"{MOST_CONNECTIONS} connections are open already; try again later"},
    503,
    headers={"retry-after": str(RETRY_AFTER), "connection": "close"},
)
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Parser(h11.Connection):
    """Refuses bodies in crumbs."""

    _chunks = _size = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """What came next. Raises h11.RemoteProtocolError for what is not HTTP, and for many small chunks."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._size = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._size += len(event.data)
            if self._chunks > FREE_CHUNKS + self._size // LEAST_CHUNK:
                raise h11.RemoteProtocolError(f"expected chunks of {LEAST_CHUNK} bytes or more")
        return event


class Connection(H11Protocol):
    """Looks after itself every `LOOK` seconds, and closes where its client does not go on."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there are not too many."""
        super().connection_made(transport)
        self.conn = _Parser(h11.SERVER)
        self._received = self._looks = 0
        self._before: object = None
        if len(self.connections) > 2 * MOST_CONNECTIONS:
            transport.abort()
        elif len(self.connections) > MOST_CONNECTIONS:
            self.app = _BUSY
        self._timer = self.loop.call_later(LOOK, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self._received += len(data)
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, unless an answer has begun, after which h11 has no other to give."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        self._close()

    def shutdown(self) -> None:
        """End when the answer is given; what is left of a refused body is not read on."""
        super().shutdown()
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self._close()

    def _look(self) -> None:
        self._timer = self.loop.call_later(LOOK, self._look)
        state, answered = self.conn.their_state, self.cycle is None or self.cycle.response_complete
        unread = self.transport.get_write_buffer_size() > 0
        self._looks = self._looks + 1 if unread or (answered and state is h11.SEND_BODY) else 0
        if self._looks > MOST_LOOKS:
            self.transport.abort()
        if self.transport.is_closing():
            return
        now = (state, self.cycle)
        waits = state in (h11.IDLE, h11.SEND_BODY) and not self.flow.read_paused
        if waits and now == self._before and self._received < LEAST_BYTES:
            self._end()
        self._before, self._received = now, 0

    def _end(self) -> None:
        """Close a connection whose client is too slow; tell it so where it has asked something and nothing was said."""
        begun = self.conn.our_state is h11.SEND_RESPONSE or self.conn.trailing_data[0]
        if begun and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_TOO_SLOW)
        self._close()

    def _close(self) -> None:
        """Close, and let the application know at once, which may wait for more of the request."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
