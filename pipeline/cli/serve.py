"""`hear-serve`: scores over HTTP, and a page to drop songs on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pipeline.cli.common import DEFAULTS, params_option, version_option
from pipeline.cli.options import Checkpoints, Hop, Muq, Musicfm, PublishedTrack, Window, checkpoints_or_published
from pipeline.cli.pages import App, option
from pipeline.cli.section_options import options_from

app = App()


@app.command()
@options_from(DEFAULTS.encoders, "Machine", only=("device", "precision"))
def serve(
    params: Mapping[str, Any],
    checkpoint: Checkpoints = None,
    track: PublishedTrack = None,
    host: Annotated[str, option("Server", "Address to listen on; 0.0.0.0: all networks.")] = "127.0.0.1",
    port: Annotated[int, option("Server", "Port to listen on; 0: any free port.", min=0, max=65535)] = 8000,
    max_megabytes: Annotated[float, option("Server", "Largest upload, in 10⁶ bytes.", min=0.1)] = 100.0,
    max_minutes: Annotated[float, option("Server", "Longest song, in minutes.", min=0.1)] = 15.0,
    time_limit: Annotated[float, option("Server", "Longest request, in seconds.", min=1.0)] = 300.0,
    max_waiting: Annotated[int, option("Server", "Largest number of waiting requests.", min=0)] = 8,
    window: Window = 10.0,
    hop: Hop = 2.0,
    muq: Muq = None,
    musicfm: Musicfm = None,
    params_file: Annotated[Path | None, params_option("encoders")] = None,
    version: Annotated[bool, version_option("serve")] = False,
) -> None:
    """Serve scores: POST audio to /score to get JSON, or open / in a browser and drop songs on the page.

    By default, only this machine can connect (see --host). There is no login. Needs the extra `serve`.

    Example:
      hear-serve --checkpoint heads/2 --port 8080
    """
    from pipeline.serving import run_service
    from stages.scoring.over_time import Windows

    run_service(
        checkpoints_or_published(checkpoint, track),
        encoders={"muq": muq, "musicfm": musicfm, **params},
        windows=Windows(window, hop),
        host=host,
        port=port,
        limits={"megabytes": max_megabytes, "minutes": max_minutes, "seconds": time_limit, "waiting": max_waiting},
    )
