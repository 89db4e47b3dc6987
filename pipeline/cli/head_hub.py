"""`hear-head push` and `pull`: heads to and from a hub."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.show.output import say

HubId = Annotated[str, typer.Argument(help="owner/name on the hub.", show_default=False)]


def push(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a folder of several seeds.", show_default=False)],
    hub_id: HubId,
    license_: Annotated[
        str | None,
        typer.Option(
            "--license",
            help="The hub's name of a licence; cc-by-nc-4.0 is due for MuQ's streams on data other than SongEval.",
            show_default="cc-by-nc-sa-4.0, as SongEval asks",
        ),
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="What it learned from: a data set's hub id such as ASLP-lab/SongEval, or words.")
    ] = "",
    private: Annotated[bool, typer.Option("--private", help="Only the owner may see it.")] = False,
    message: Annotated[str, typer.Option(help="Message of the commit.")] = "",
) -> None:
    """Put a head on the hub, with a model card; prints the commit's address.

    Songs' names, ratings and predictions stay here. HF_ENDPOINT, HF_HOME and HF_TOKEN are respected.
    """
    from stages.head.share.exchange import push as upload

    say(upload(run, hub_id, license=license_, dataset=dataset, private=private, message=message))


def pull(
    hub_id: Annotated[
        str, typer.Argument(help="owner/name on the hub; /track_2.pth or /seed-0 after it.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    revision: Annotated[str | None, typer.Option(help="A branch, a tag or a commit.", show_default="main")] = None,
) -> None:
    """Copy a head from the hub into a folder; prints the folder.

    To score with it, no copy is needed: --checkpoint takes the hub id. HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE
    are respected.
    """
    from stages.head.share.exchange import pull as fetch

    say(str(fetch(hub_id, out, revision=revision)))
