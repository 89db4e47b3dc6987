"""`hear-serve` from checkpoints to a listening server."""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.scoring.errors import ScoringError
from stages.scoring.over_time import Windows

EXTRA = ("fastapi", "uvicorn", "python_multipart")


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
        The extra `serve` is not installed, or a limit is not finite.
    HeadError, EncoderError
        See `Scorer.load`.
    """
    check_extra()
    import uvicorn

    from stages.scoring.scorer import Scorer
    from stages.scoring.service.app import make_service
    from stages.scoring.service.desk import Limits

    costs = Limits(**limits)
    scorer = Scorer.load(*checkpoints, windows=windows, **encoders)
    about = f"scored by {', '.join(checkpoints)}"
    app = make_service(scorer, limits=costs, host=host, about=about)
    # Its colours would be shown as codes: what it logs is made visible like everything else.
    uvicorn.run(app, host=host, port=port, server_header=False, use_colors=False)


def check_extra() -> None:
    """Refuse to start without the extra's packages, before models are loaded.

    Raises
    ------
    ScoringError
        One is missing; the message tells how to install it.
    """
    from importlib.util import find_spec

    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise ScoringError(
            f"{', '.join(missing)} not installed: the service is an extra: pip install 'hear-music[serve]'"
        )
