"""Connections of clients that may be slow, broken or hostile; these close when uvicorn's own would stay open."""

import asyncio
import json
from functools import partial
from typing import cast

import h11
from starlette.responses import JSONResponse
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from stages.scoring.service.limits import RETRY_AFTER
from stages.scoring.service.request_log import ID_HEADER, RequestLog, RequestRecord, address, record_of

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
_TOO_SLOW = f"the request came too slowly: expected {LEAST_BYTES} bytes or more in {CHECK_SECONDS:g} s"


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
            self.app = partial(self._log.run, _BUSY)
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
        """Answer invalid HTTP, unless an answer has begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answer(b"400 Bad Request", msg)
        self._close()

    def shutdown(self) -> None:
        """Close after the answer; the rest of a refused body is not read."""
        super().shutdown()
        answers = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if answers and self.conn.their_state is h11.SEND_BODY:
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
            self._answer(b"408 Request Timeout", _TOO_SLOW)
        self._close()

    @property
    def _log(self) -> RequestLog:
        log: RequestLog = self.config.loaded_app.state.log
        return log

    def _answer(self, status: bytes, reason: str) -> None:
        """Answer without the application, with the id of the request if it has begun."""
        begun = self.cycle is not None and not self.cycle.response_complete
        record = record_of(cast(Scope, self.cycle.scope)) if begun else RequestRecord(client=address(self.client))
        record.status = int(status[:3])
        body = json.dumps({"detail": reason}).encode()
        lines = [
            b"HTTP/1.1 " + status,
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"%s: %s" % (ID_HEADER.lower().encode(), record.id.encode()),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        if not begun:
            self._log.ended(record)

    def _close(self) -> None:
        """Close, and notify the application at once, because it may be waiting for the rest of the request."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
