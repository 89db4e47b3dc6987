"""Requests as the service sees them: an id for each, one line in the log, and a count for the metrics."""

import logging
import re
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ID_HEADER = "X-Request-ID"
# Ids that clients may choose: printable, without spaces.
_ID = re.compile("[!-~]{1,64}")
# In the log and in the metrics: the client closed the connection before an answer; no answer has this status.
CLIENT_CLOSED = 499
_KEY = "record"


def _new_id() -> str:
    return secrets.token_hex(8)


@dataclass
class RequestRecord:
    """What is known about one request.

    Attributes
    ----------
    id
        The client's own, or a new one.
    status
        Of the answer; 0 until there is one.
    waited
        Seconds that its songs waited in the queue.
    """

    id: str = field(default_factory=_new_id)
    endpoint: str = "other"
    client: str = "-"
    status: int = 0
    waited: float = 0.0
    begun: float = field(default_factory=time.monotonic)


def address(client: tuple[str, int] | None) -> str:
    """A client's address as text."""
    return f"{client[0]}:{client[1]}" if client else "-"


def record_of(scope: Scope) -> RequestRecord:
    """The record of a request, which the first call makes."""
    state: dict[str, Any] = scope.setdefault("state", {})
    if _KEY not in state:
        wanted = Headers(scope=scope).get(ID_HEADER, "")
        state[_KEY] = RequestRecord(wanted if _ID.fullmatch(wanted) else _new_id())
        state[_KEY].client = address(scope.get("client"))
    record: RequestRecord = state[_KEY]
    return record


class RequestLog:
    """Logs requests when they end.

    Parameters
    ----------
    endpoints
        The paths that appear by name; all others are `other`, because clients could invent any number of them.
    count
        Called with the record of each request that has ended.
    """

    def __init__(self, endpoints: Collection[str], count: Callable[[RequestRecord], None]) -> None:
        self._endpoints, self._count = endpoints, count

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run an application for one request; its answer gets the request's id."""
        record = record_of(scope)
        if scope["path"] in self._endpoints:
            record.endpoint = scope["path"]

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                record.status = record.status or CLIENT_CLOSED
            return message

        async def identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = record.status or message["status"]
                MutableHeaders(scope=message)[ID_HEADER] = record.id
            await send(message)

        try:
            await app(scope, received, identified)
        except Exception:
            record.status = 500
            raise
        finally:
            self.ended(record)

    def ended(self, record: RequestRecord) -> None:
        """Log and count a request that has ended."""
        record.status = record.status or CLIENT_CLOSED
        seconds = time.monotonic() - record.begun
        logging.getLogger("uvicorn.error").info(
            "client=%s endpoint=%s status=%d seconds=%.3f waited=%.3f id=%s",
            *(record.client, record.endpoint, record.status, seconds, record.waited, record.id),
        )
        self._count(record)


class LogRequests:
    """The middleware: runs each request in a `RequestLog`."""

    def __init__(self, app: ASGIApp, log: RequestLog) -> None:
        self._app, self._log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        await self._log.run(self._app, scope, receive, send)
