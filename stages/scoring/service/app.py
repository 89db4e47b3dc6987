"""The application: `GET /` the page, `POST /score` audio → scores, `GET /health`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from stages.scoring.page.document import upload_html
from stages.scoring.scorer import Scorer
from stages.scoring.service.desk import Desk, Limits, RefusedError
from stages.scoring.service.upload import check_request, receive

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# As they stand in a request; older Starlettes cut the last one at its first colon.
_NAMES = ["127.0.0.1", "localhost", "[::1]", "["]


def make_service(scorer: Scorer, *, limits: Limits | None = None, host: str = LOOPBACK[0], about: str = "") -> FastAPI:
    """Make the application.

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
    desk = Desk(scorer.limited(longest=60 * costs.minutes, deadline=costs.seconds).score, costs)
    page = upload_html(scorer.dimensions, title="HEAR: score songs", about=about, caution=scorer.caution)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()

    # FastAPI's interactive documentation loads its scripts from a network: left out.
    app = FastAPI(title="HEAR", lifespan=lifespan, docs_url=None, redoc_url=None)
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
    async def score(request: Request) -> dict[str, Any]:
        try:
            check_request(request, desk.limits)
            row = await desk.answer(lambda file: receive(request, file, desk.limits))
        except RefusedError as refused:
            raise HTTPException(refused.status, str(refused)) from refused
        return row.to_json()

    return app
