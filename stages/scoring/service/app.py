"""The application: `GET /` the page, `POST /score` and `/score/batch` audio → scores, and their documentation."""

from functools import partial
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.middleware.trustedhost import TrustedHostMiddleware

from stages.head.checkpoint.encoders import encoders_from
from stages.scoring.page.document import upload_html
from stages.scoring.service.answers import RefusalResponse, RowsResponse, internal_error
from stages.scoring.service.documents.docs_page import docs_html
from stages.scoring.service.documents.introduction import introduction_html
from stages.scoring.service.documents.openapi import batch_about, read_about, score_about
from stages.scoring.service.documents.schemas import Health
from stages.scoring.service.limits import Limits, RefusedError
from stages.scoring.service.metrics import Metrics
from stages.scoring.service.request_body import MOST_FILES, RequestBody, check_request, receive
from stages.scoring.service.request_log import LogRequests, RequestLog, record_of
from stages.scoring.service.scoring_queue import ScoringQueue

if TYPE_CHECKING:
    from stages.scoring.scorer import Scorer

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Values of the Host header; older versions of Starlette cut the last one at its first colon.
_HOSTS = ["127.0.0.1", "localhost", "[::1]", "["]
_ENDPOINTS = ("/", "/score", "/score/batch", "/health", "/metrics", "/docs", "/openapi.json")
_ENCODERS = {"muq": "MuQ", "musicfm": "MusicFM"}
_ABOUT = "Predicts how musicians would rate songs, on a scale from 1 to 5. One song is scored at a time."


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
    metrics = Metrics(scorer.scoring.model)
    queue = ScoringQueue(lambda path, deadline: limited.score(path, deadline=deadline), limits, metrics)
    log = RequestLog(_ENDPOINTS, metrics.count_request)

    # FastAPI's interactive documentation is left out, because it loads scripts from the network. Paths with an extra
    # slash are not redirected, because the redirect would repeat the request's Host header.
    app = FastAPI(
        title="HEAR", description=_ABOUT, version=metrics.version, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.queue, app.state.log = queue, log
    if host in LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS)
    app.add_middleware(LogRequests, log=log)
    app.add_exception_handler(Exception, internal_error)
    _add_pages(app, scorer, limits, heads)

    @app.post("/score", **score_about(limits))
    async def score(request: Request) -> Response:
        body = RequestBody(request, limits)
        try:
            check_request(request, limits)
            row = await queue.answer(partial(receive, request, body), body.disconnected, record_of(request.scope))
        except RefusedError as refused:
            return RefusalResponse(refused, body, drain=not queue.stopping)
        return JSONResponse(row.to_json())

    @app.post("/score/batch", **batch_about(limits, MOST_FILES))
    async def score_batch(request: Request) -> Response:
        body = RequestBody(request, limits)
        files = partial(receive, request, body, files=MOST_FILES)
        rows = queue.batch(files, body.disconnected, record_of(request.scope))
        try:
            check_request(request, limits)
            first = await anext(rows)
        except RefusedError as refused:
            return RefusalResponse(refused, body, drain=not queue.stopping)
        return RowsResponse(first, rows)

    @app.get("/health", response_model_exclude_none=True, **read_about("Check the service", "/health", "It runs."))
    async def health() -> Health:
        dimensions, caution = list(scorer.dimensions), scorer.caution or None
        return Health(status="ok", dimensions=dimensions, model=scorer.scoring.model, caution=caution)

    metrics_about = read_about("Read metrics", "/metrics", "Metrics in Prometheus' text format.")

    @app.get("/metrics", response_class=PlainTextResponse, **metrics_about)
    async def show_metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return app


def _add_pages(app: FastAPI, scorer: "Scorer", limits: Limits, heads: str) -> None:
    """Add the page for songs, and the page that describes the endpoints."""
    encoders = {_ENCODERS.get(name, name): each.line for name, each in encoders_from(scorer.ensemble.heads).items()}
    page = upload_html(
        scorer.dimensions,
        title="HEAR: score songs",
        about=heads and f"scored by {heads}",
        caution=scorer.caution,
        introduction=introduction_html(scorer.dimensions, limits, {"Heads": heads, **encoders}),
    )

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def show_docs() -> HTMLResponse:
        return HTMLResponse(docs_html(app.openapi()))
