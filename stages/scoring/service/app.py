"""The application: `GET /` the page, `POST /score` audio → scores, `GET /health`."""

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Receive, Scope, Send

from stages.head.checkpoint.encoders import encoders_from
from stages.scoring.page.document import upload_html
from stages.scoring.service.introduction import introduction_html
from stages.scoring.service.limits import RETRY_AFTER, Limits, RefusedError
from stages.scoring.service.request_body import RequestBody, check_request, receive
from stages.scoring.service.scoring_queue import ScoringQueue

if TYPE_CHECKING:
    from stages.scoring.scorer import Scorer

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Values of the Host header; older versions of Starlette cut the last one at its first colon.
_HOSTS = ["127.0.0.1", "localhost", "[::1]", "["]


def make_service(
    scorer: "Scorer", *, limits: Limits | None = None, host: str = LOOPBACK[0], heads: str = ""
) -> FastAPI:
    """Make the application; close its `state.queue` at the end, as `Server` does.

    Parameters
    ----------
    scorer
        Scores the songs; its windows decide whether answers contain scores over time.
    limits
        Limits on each request.
    host
        Address that it will listen on. On loopback, only requests for this machine's own names are answered, so that no
        web page can reach it through its own domain.
    heads
        Names of the heads, for the page.
    """
    limits = limits or Limits()
    limited = scorer.limited(longest=60 * limits.minutes)
    queue = ScoringQueue(lambda path, deadline: limited.score(path, deadline=deadline), limits)
    encoders = {name: origin.line for name, origin in encoders_from(scorer.ensemble.heads).items()}
    page = upload_html(
        scorer.dimensions,
        title="HEAR: score songs",
        about=heads and f"scored by {heads}",
        caution=scorer.caution,
        introduction=introduction_html(scorer.dimensions, limits, {"Heads": heads, **encoders}),
    )

    # FastAPI's interactive documentation is left out, because it loads scripts from the network. Paths with an extra
    # slash are not redirected, because the redirect would repeat the request's Host header.
    app = FastAPI(title="HEAR", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.queue = queue
    if host in LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        caution = {"caution": scorer.caution} if scorer.caution else {}
        return {"status": "ok", "dimensions": list(scorer.dimensions), "model": scorer.scoring.model, **caution}

    @app.post("/score")
    async def score(request: Request) -> Response:
        body = RequestBody(request, limits)
        try:
            check_request(request, limits)
            row = await queue.answer(lambda upload: receive(request, body, upload), body.disconnected)
        except RefusedError as refused:
            return RefusalResponse(refused, body, drain=not queue.stopping)
        return JSONResponse(row.to_json())

    return app


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
