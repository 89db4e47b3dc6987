"""The work of `hear-serve`: from checkpoints to a listening server."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.show.output import note
from stages.scoring.errors import ScoringError
from stages.scoring.over_time import Windows

# The exit code that shells expect of a program ended by SIGINT.
INTERRUPTED = 130
EXTRA = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def run_service(
    checkpoints: Sequence[str],
    *,
    encoders: Mapping[str, Any],
    windows: Windows,
    host: str,
    port: int,
    limits: Mapping[str, Any],
) -> None:
    """Load heads and encoders, then serve until interrupted.

    Parameters
    ----------
    checkpoints, encoders, windows
        See `Scorer.load`.
    host, port
        Where to listen; port 0 takes a free one.
    limits
        Fields of `Limits`.

    Raises
    ------
    ScoringError
        The extra `serve` is not installed, a limit is not finite, or the port cannot be used.
    HeadError, EncoderError
        See `Scorer.load`.
    """
    check_extra()
    from stages.scoring.scorer import Scorer
    from stages.scoring.service.app import make_service
    from stages.scoring.service.limits import Limits
    from stages.scoring.service.server import Server, bound, listen

    costs = Limits(**limits)
    # Before loading models, which takes a while.
    with bound(host, port) as sockets:
        scorer = Scorer.load(*checkpoints, windows=windows, **encoders)
        app = make_service(scorer, limits=costs, host=host, heads=", ".join(checkpoints))
        listen(sockets)
        try:
            Server(app).run(sockets)
        except KeyboardInterrupt:
            if app.state.queue.busy:
                # Python would wait for the song that is being scored.
                note("hear-serve: interrupted")
                os._exit(INTERRUPTED)
            raise


def check_extra() -> None:
    """Check that the packages of the extra `serve` are installed, before models are loaded.

    Raises
    ------
    ScoringError
        One is missing; the message says how to install it.
    """
    from importlib.util import find_spec

    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise ScoringError(
            f"{', '.join(missing)} not installed: the service needs an extra; run: pip install 'hear-music[serve]'"
        )
