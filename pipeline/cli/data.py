"""`hear-data`: songs from any source → manifest.csv."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pipeline.cli.common import DEFAULTS, new_app, params_option
from pipeline.cli.pages import option
from pipeline.params import Params, load_params
from pipeline.show.output import note, say

if TYPE_CHECKING:
    from stages.songs import Song

app = new_app("data", "Make manifest.csv from synthesised songs, SongEval, or any folder of audio.")
_DEMO = DEFAULTS.demo

ManifestOption = Annotated[
    Path | None,
    option("Output", "Manifest to write; by default, manifest.csv next to the songs.", "--manifest"),
]


@app.command()
def demo(
    out: Annotated[Path, option("Output", "Folder for the songs.")],
    songs: Annotated[int, option("Songs", "Number of songs.", min=4)] = _DEMO.songs,
    seconds: Annotated[float, option("Songs", "Length of each song, in seconds.", min=1.0)] = _DEMO.seconds,
    seed: Annotated[int, option("Songs", "Seed of the songs and their ratings.", min=0)] = _DEMO.seed,
    manifest: ManifestOption = None,
    params_file: Annotated[Path | None, params_option("demo")] = None,
) -> None:
    """Synthesise songs in SongEval's layout; each dimension controls an audible property.

    Example:
      hear-data demo --out demo --songs 24
    """
    from pipeline.show.bars import Bar
    from stages.songs.demo.layout import make_demo
    from stages.songs.songeval import read_songeval

    with Bar("songs", songs) as bar:
        make_demo(out, songs=songs, seconds=seconds, seed=seed, report=bar.count)
    _write(manifest or out / "manifest.csv", read_songeval(out, official=False))


@app.command()
def songeval(
    root: Annotated[Path, option("Input", "Folder with metadata.jsonl, mp3/ and val_ids.txt.")],
    download: Annotated[
        bool,
        option(
            "Input",
            "First download missing files (11 GB in all). HEAR_VAL_IDS_URL can name a mirror of val_ids.txt.",
            "--download",
        ),
    ] = False,
    manifest: ManifestOption = None,
) -> None:
    """Read SongEval, as downloaded, with the challenge's official split.

    Example:
      hear-data songeval --root songeval --download
    """
    from stages.songs.songeval import download_songeval, read_songeval

    if download:
        download_songeval(root)
    _write(manifest or root / "manifest.csv", read_songeval(root))


@app.command()
def folder(
    audio: Annotated[
        Path, option("Input", "Folder of audio files, also in subfolders; or a list: Kaldi's wav.scp, or JSON lines.")
    ],
    labels: Annotated[
        Path | None,
        option("Input", "CSV or JSON lines (.jsonl) with song_id or a path, and any columns of a manifest."),
    ] = None,
    val: Annotated[float, option("Songs", "Fraction of songs for validation.", min=0.0, max=1.0)] = 0.1,
    test: Annotated[float, option("Songs", "Fraction of songs for testing.", min=0.0, max=1.0)] = 0.0,
    seed: Annotated[int, option("Songs", "Seed of the split.", min=0)] = 0,
    system_from_folder: Annotated[
        bool,
        option("Songs", "Use a song's first folder as its system, if the labels name none.", "--system-from-folder"),
    ] = False,
    manifest: ManifestOption = None,
) -> None:
    """Make a manifest of any folder of audio, with optional labels and a seeded split.

    A song's id is its path within the folder without the suffix, such as modelA/001.

    Example:
      hear-data folder --audio songs --labels labels.csv --val 0.2
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
    out: Annotated[Path, option("Output", "Manifest to write; the audio is in a folder next to it.")],
    params_file: Annotated[
        Path | None,
        option(
            "Other",
            "Take `dataset` and `demo` from a YAML file such as params.yaml; without it, make the demo.",
            "--params",
            metavar="<file>",
        ),
    ] = None,
) -> None:
    """Make the data set that `dataset` in a parameters file names, as the pipeline does.

    demo: synthesise songs into demo/. songeval: read songeval/. folder: list folder/, with folder/labels.csv if it
    exists. Each folder is next to the manifest.

    Example:
      hear-data prepare --out data/manifest.csv --params params.yaml
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
    """Write the manifest; print its path and the number of songs per split."""
    from stages.songs import Manifest, write_manifest

    write_manifest(path, songs)
    counts = ", ".join(f"{count} {name}" for name, count in Manifest(path, tuple(songs)).counts().items())
    say(f"{path}: {len(songs)} songs ({counts})")
