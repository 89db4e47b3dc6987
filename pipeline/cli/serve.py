"""`hear-serve`: scores over HTTP, and a page to drop songs on."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import DEFAULTS, command_app, params_option, version_option
from pipeline.cli.scoring_options import (
    Checkpoints,
    DeviceOption,
    HopOption,
    MuqOption,
    MusicfmOption,
    Precision,
    PrecisionOption,
    WindowOption,
)

app = command_app()
_ENCODERS = DEFAULTS.encoders


@app.command()
def serve(
    checkpoint: Checkpoints,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    max_megabytes: Annotated[float, typer.Option(help="Largest upload, in 10⁶ bytes.", min=0.1)] = 100.0,
    max_minutes: Annotated[float, typer.Option(help="Longest song, in minutes.", min=0.1)] = 15.0,
    time_limit: Annotated[float, typer.Option(help="Longest request, in seconds.", min=1.0)] = 300.0,
    max_waiting: Annotated[int, typer.Option(help="Requests that may wait for their turn.", min=0)] = 8,
    window: WindowOption = 10.0,
    hop: HopOption = 2.0,
    muq: MuqOption = None,
    musicfm: MusicfmOption = None,
    device: DeviceOption = _ENCODERS.device,
    precision: PrecisionOption = Precision(_ENCODERS.precision),
    params_file: Annotated[Path | None, params_option("encoders")] = None,
    version: Annotated[bool, version_option("serve")] = False,
) -> None:
    """Serve scores: POST audio to /score and get JSON; open / in a browser to drop songs on a page.

    Only this machine can reach it unless --host says otherwise; there is no log-in. Needs the extra `serve`.
    """
    from pipeline.serving import run_service
    from stages.scoring.over_time import Windows

    run_service(
        checkpoint,
        encoders={"muq": muq, "musicfm": musicfm, "device": device, "precision": precision.value},
        windows=Windows(window, hop),
        host=host,
        port=port,
        limits={"megabytes": max_megabytes, "minutes": max_minutes, "seconds": time_limit, "waiting": max_waiting},
    )
