"""The application: `GET /` the page, `POST /score` audio → scores, `GET /health`."""

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Receive, Scope, Send

from stages.scoring.page.document import upload_html
from stages.scoring.service.scoring_queue import RETRY_AFTER, Limits, RefusedError, ScoringQueue
from stages.scoring.service.upload import Body, check_request, receive

if TYPE_CHECKING:
    from stages.scoring.scorer import Scorer

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# As they stand in a request; older Starlettes cut the last one at its first colon.
_NAMES = ["127.0.0.1", "localhost", "[::1]", "["]


def make_service(
    scorer: "Scorer", *, limits: Limits | None = None, host: str = LOOPBACK[0], about: str = ""
) -> FastAPI:
    """Make the application; its `state.desk` must be closed when it is over, as `Server` does.

    Parameters
    ----------
    scorer
        What scores; its windows decide whether answers have scores over time.
    limits
        What one request may cost.
    host
        Where it will be served. On loopback, only requests that name this machine are answered: no web page can reach
        it under a name of its own.
    about
        A note for the page: which heads score.
    """
    costs = limits or Limits()
    limited = scorer.limited(longest=60 * costs.minutes)
    desk = ScoringQueue(lambda path, deadline: limited.score(path, deadline=deadline), costs)
    page = upload_html(scorer.dimensions, title="HEAR: score songs", about=about, caution=scorer.caution)

    # FastAPI's interactive documentation loads its scripts from a network: left out. A path with a slash more is not
    # redirected, since that would say back what the request says of its host.
    app = FastAPI(title="HEAR", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.desk = desk
    if host in LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_NAMES)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        caution = {"caution": scorer.caution} if scorer.caution else {}
        return {"status": "ok", "dimensions": list(scorer.dimensions), "model": scorer.scoring.model, **caution}

    @app.post("/score")
    async def score(request: Request) -> Response:
        body = Body(request, costs)
        try:
            check_request(request, costs)
            row = await desk.answer(lambda upload: receive(request, body, upload), body.gone)
        except RefusedError as refused:
            return Refusal(refused, body, drains=not desk.stopping)
        return JSONResponse(row.to_json())

    return app


class Refusal(JSONResponse):
    """The answer to a refused request. What is left of its body is read for a while, and then the connection ends.

    Many clients send all before they read an answer, and would lose it with a connection that is closed before.
    """

    def __init__(self, refused: RefusedError, body: Body, *, drains: bool) -> None:
        again = {"Retry-After": str(RETRY_AFTER)} if refused.status == 503 else {}
        close = {} if body.ended else {"Connection": "close"}
        super().__init__({"detail": str(refused)}, refused.status, headers={**again, **close})
        self._rest = body if drains else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        if self._rest is not None:
            await self._rest.drain()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
