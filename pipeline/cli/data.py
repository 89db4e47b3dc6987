"""`hear-data`: songs, from wherever they come → manifest.csv."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.common import DEFAULTS, new_app, params_option
from pipeline.params import Params, load_params
from pipeline.show.output import note, say

if TYPE_CHECKING:
    from stages.songs import Song

app = new_app("data", "Which songs there are: make manifest.csv from synthesised songs, SongEval, or a folder.")
_DEMO = DEFAULTS.demo

ManifestOption = Annotated[
    Path | None,
    typer.Option("--manifest", help="Where to write the manifest.", show_default="manifest.csv beside the songs"),
]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the songs.")],
    songs: Annotated[int, typer.Option(help="How many songs.", min=4)] = _DEMO.songs,
    seconds: Annotated[float, typer.Option(help="Length of a song, in seconds.", min=1.0)] = _DEMO.seconds,
    seed: Annotated[int, typer.Option(help="Seed of the songs and their ratings.", min=0)] = _DEMO.seed,
    manifest: ManifestOption = None,
    params_file: Annotated[Path | None, params_option("demo")] = None,
) -> None:
    """Synthesise songs in SongEval's layout, each dimension driven by something audible."""
    from pipeline.show.bars import counting
    from stages.songs.demo import make_demo
    from stages.songs.songeval import read_songeval

    with counting("songs", songs) as report:
        make_demo(out, songs=songs, seconds=seconds, seed=seed, report=report)
    _write(manifest or out / "manifest.csv", read_songeval(out, official=False))


@app.command()
def songeval(
    root: Annotated[Path, typer.Option(help="Folder with metadata.jsonl, mp3/ and val_ids.txt.")],
    download: Annotated[
        bool,
        typer.Option(
            "--download", help="First fetch what is missing: 11 GB. HEAR_VAL_IDS_URL names a mirror of val_ids.txt."
        ),
    ] = False,
    manifest: ManifestOption = None,
) -> None:
    """Read SongEval as it is downloaded, with the challenge's official split."""
    from stages.songs.songeval import download_songeval, read_songeval

    if download:
        download_songeval(root)
    _write(manifest or root / "manifest.csv", read_songeval(root))


@app.command()
def folder(
    audio: Annotated[
        Path, typer.Option(help="Folder with audio files, in it or below; or a list: Kaldi's wav.scp, or JSON lines.")
    ],
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV or JSON lines (.jsonl): song_id or a path, and any columns of a manifest."),
    ] = None,
    val: Annotated[float, typer.Option(help="Share of the songs that validates.", min=0.0, max=1.0)] = 0.1,
    test: Annotated[float, typer.Option(help="Share of the songs that is kept for a test.", min=0.0, max=1.0)] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the split.", min=0)] = 0,
    system_from_folder: Annotated[
        bool, typer.Option("--system-from-folder", help="A song's first folder is its system, if labels name none.")
    ] = False,
    manifest: ManifestOption = None,
) -> None:
    """List any folder of audio, with labels where there are any and a seeded split.

    A song's id is its path below the folder without suffix, such as modelA/001.
    """
    from stages.songs.folder import read_folder

    songs = read_folder(
        audio,
        labels=labels,
        validation=val,
        test=test,
        seed=seed,
        system_from_folder=system_from_folder,
        say=note,
    )
    _write(manifest or (audio.parent if audio.is_file() else audio) / "manifest.csv", songs)


@app.command()
def prepare(
    out: Annotated[Path, typer.Option(help="The manifest to write; audio is in a folder beside it.")],
    params_file: Annotated[
        Path | None,
        typer.Option(
            "--params",
            metavar="FILE",
            help="Take `dataset` and `demo` from a YAML file such as params.yaml.",
            show_default="the demo",
        ),
    ] = None,
) -> None:
    """Do what `dataset` in a parameters file says: what the pipeline calls.

    demo: synthesise songs into demo/. songeval: read songeval/. folder: list folder/, with folder/labels.csv if it is
    there. Each beside the manifest.
    """
    params = load_params(params_file) if params_file else Params()
    place = out.parent / params.dataset
    if params.dataset == "demo":
        demo(place, songs=params.demo.songs, seconds=params.demo.seconds, seed=params.demo.seed, manifest=out)
    elif params.dataset == "songeval":
        songeval(place, manifest=out)
    else:
        labels = place / "labels.csv"
        folder(place, labels=labels if labels.exists() else None, manifest=out)


def _write(path: Path, songs: "Sequence[Song]") -> None:
    """Write the manifest and print where it is and how many songs each split has."""
    from stages.songs import Manifest, write_manifest

    write_manifest(path, songs)
    counts = ", ".join(f"{count} {name}" for name, count in Manifest(path, tuple(songs)).counts().items())
    say(f"{path}: {len(songs)} songs ({counts})")
