"""Answers: a refusal, and the rows of a batch."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from fastapi.responses import JSONResponse, Response
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from stages.scoring.rows import SongScore
from stages.scoring.service.limits import RETRY_AFTER, RefusedError
from stages.scoring.service.request_body import RequestBody
from stages.scoring.service.request_log import ID_HEADER, record_of
from stages.scoring.service.scoring_queue import DisconnectedError
from store.files.visible import to_json

JSON_LINES = "application/jsonl"


class RefusalResponse(JSONResponse):
    """The answer to a refused request. The rest of its body is read for a while, then the connection is closed.

    Many clients send the whole body before they read the answer; if the connection closed first, they would lose it.
    """

    def __init__(self, refused: RefusedError, body: RequestBody, *, drain: bool) -> None:
        retry = {"Retry-After": str(RETRY_AFTER)} if refused.status == 503 else {}
        close = {} if body.ended else {"Connection": "close"}
        super().__init__({"detail": str(refused)}, refused.status, headers={**retry, **close})
        self._rest = body if drain else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        if self._rest is not None:
            await self._rest.drain()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class RowsResponse(Response):
    """Rows as JSON lines, each sent as soon as its song is scored."""

    media_type = JSON_LINES

    def __init__(self, first: SongScore, rest: AsyncGenerator[SongScore, None]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._first, self._rest = first, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the rows; if the client disconnects, the songs that are left are not scored."""
        async with aclosing(self._rest) as rest:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send(_line(self._first))
            with suppress(DisconnectedError):
                async for row in rest:
                    await send(_line(row))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _line(row: SongScore) -> dict[str, object]:
    return {"type": "http.response.body", "body": (to_json(row.to_json()) + "\n").encode(), "more_body": True}


async def internal_error(request: Request, _: Exception) -> JSONResponse:
    """The answer to a request that failed because of a defect in the service."""
    record = record_of(request.scope)
    detail = "internal error; the service's log has the reason near the line with this request's id"
    return JSONResponse({"detail": detail}, 500, headers={ID_HEADER: record.id})
