"""`hear-head push` and `pull`: heads to and from a hub."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.pages import option
from pipeline.show.output import say

HubId = Annotated[str, typer.Argument(help="owner/name on the hub.", show_default=False)]
License = Annotated[
    str | None,
    option(
        "Output",
        "The hub's name of a licence. Default: cc-by-nc-sa-4.0, as SongEval requires; for MuQ's streams on other data, "
        "cc-by-nc-4.0 is required.",
        "--license",
    ),
]
Dataset = Annotated[
    str, option("Output", "Training data for the model card: a hub id such as ASLP-lab/SongEval, or a description.")
]


def push(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a folder of several seeds.", show_default=False)],
    hub_id: HubId,
    license_: License = None,
    dataset: Dataset = "",
    private: Annotated[bool, option("Output", "Make the repository private.", "--private")] = False,
    message: Annotated[str, option("Output", "Commit message.")] = "",
) -> None:
    """Upload a head to the hub, with a model card; print the commit's address.

    Song names, ratings and predictions are not uploaded. HF_ENDPOINT, HF_HOME and HF_TOKEN are respected.

    Example:
      hear-head push heads/2 my-name/my-head --dataset ASLP-lab/SongEval
    """
    from stages.head.share.exchange import push as upload

    say(upload(run, hub_id, license=license_, dataset=dataset, private=private, message=message))


def pull(
    hub_id: Annotated[
        str, typer.Argument(help="owner/name on the hub, optionally with /track_2.pth or /seed-0.", show_default=False)
    ],
    out: Annotated[Path, option("Output", "A new folder.")],
    revision: Annotated[str | None, option("Input", "A branch, tag or commit; main if not given.")] = None,
) -> None:
    """Copy a head from the hub into a folder, and print the folder.

    To score with a head, no copy is needed: --checkpoint takes the hub id. HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE
    are respected.

    Example:
      hear-head pull earlab/EAR_HEAR/track_2.pth --out heads/published
    """
    from stages.head.share.exchange import pull as fetch

    say(str(fetch(hub_id, out, revision=revision)))
