"""Random names of files, songs, groups and tensors in the commands' output: no name acts on the terminal."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from stages.extract.config import ExtractConfig
from stages.extract.encoders import load_multiscale
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.saved import save_head
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.songs import DIMENSIONS, Song, write_manifest

# Songs in a manifest without audio files.
LISTED = 150
SMALL = ["--preset", "tiny", "--layers", "2", "--augment", "0", "--device", "cpu"]


def name(rng: random.Random, hostile: tuple[str, ...], *, most: int = 250) -> str:
    """A random file name of at most `most` bytes in UTF-8."""
    marks = [chr(rng.choice([rng.randrange(1, 256), rng.randrange(0x2000, 0x2100), rng.randrange(0x110000)]))]
    text = "".join(rng.choice([*hostile, *marks, "a", " ", "."]) for _ in range(rng.choice([3, 10, 100])))
    data = text.replace("/", "_").encode("utf-8", "ignore")[:most]
    return data.decode("utf-8", "ignore").lstrip(".") or "x"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("head")
    encoders = load_multiscale(preset="tiny", layers=(2,), device="cpu", precision="fp32")
    spec = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,), dtype="float32").spec(encoders)
    sizes = preset_sizes("small", features=4 * encoders.channels, classes=5)
    config = HeadConfig(sizes=sizes, dimensions=DIMENSIONS, streams=encoders.streams, spec=spec.to_json())
    save_head(folder, Head(HearHead(sizes), config))
    return folder


def lay_out(folder: Path, rng: random.Random, hostile: tuple[str, ...]) -> int:
    """Make songs, a table, a store's file and heads with random names; return the number of songs."""
    for _ in range(10):
        below = folder / "songs" / name(rng, hostile, most=60) if rng.randrange(2) else folder / "songs"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{name(rng, hostile)}.wav").write_text("no audio")
    soundfile.write(folder / "songs" / f"{name(rng, hostile)}.wav", np.zeros(24_000), 24_000)
    missing = [Song(f"{number}{name(rng, hostile)}", folder / name(rng, hostile), "val") for number in range(LISTED)]
    write_manifest(folder / "missing.csv", missing)
    (folder / "bytes").mkdir()
    for _ in range(5):
        data = rng.randbytes(rng.randrange(1, 200)).replace(b"/", b"_").replace(b"\0", b"_")
        Path(os.fsdecode(os.fsencode(folder / "bytes") + b"/a" + data + b".wav")).touch()
    cells = [name(rng, hostile).replace('"', '""') for _ in range(4)]
    (folder / "labels.csv").write_text(f'song_id,"{cells[0]}","{cells[1]}"\n"{cells[2]}","{cells[3]}",3\n', newline="")
    with h5py.File(folder / "their.h5", "w") as file:
        file.attrs["streams"] = [name(rng, hostile)]
        file.create_dataset(f"{name(rng, hostile)}/0", data=np.zeros((1, 9, 4), np.float32))
    save_file({name(rng, hostile): torch.zeros(2)}, folder / "head.safetensors")
    torch.save({name(rng, hostile): torch.zeros(2)}, folder / "head.pth")
    return sum(path.suffix == ".wav" for path in (folder / "songs").rglob("*"))


def test_random_names(
    campaign: Any, tmp_path: Path, head: Path, hostile: tuple[str, ...], on_terminal: Callable[..., str]
) -> None:
    for rng in campaign:
        folder = tmp_path / "turn"
        count = lay_out(folder, rng, hostile)
        listed = ["--manifest", "m.csv"]
        workers = ["--workers", "1"] if not rng.randrange(4) else ["--readers", "0"]
        predict = ["head", "predict", "--device", "cpu", "--checkpoint"]
        shown = on_terminal(
            [
                ["data", "folder", "--audio", "songs", "--val", "0", *listed],
                ["data", "folder", "--audio", "bytes"],
                ["data", "folder", "--audio", "songs", "--labels", "labels.csv"],
                ["extract", *listed, "--store", "s.zarr", *SMALL, *workers],
                ["store", "info", "s.zarr", *listed],
                ["store", "verify", "s.zarr", *listed],
                ["store", "prune", "s.zarr", "--view", "0", "--dry-run"],
                ["store", "import", "their.h5", "their.zarr"],
                ["store", "info", "their.zarr", "--json"],
                [*predict, str(head), "songs", "bytes", "--csv", "s.csv", "--jsonl", "s.jsonl", "--by", "folder"],
                [*predict, str(head), "--manifest", "missing.csv", "--jsonl", "missing.jsonl"],
                [*predict, "head.pth", "songs"],
                [*predict, "head.safetensors", "songs"],
                ["store", name(rng, hostile), name(rng, hostile)],
            ],
            folder,
        )
        assert f"{count} songs ({count} train)" in shown
        assert f"1 done, 0 skipped, {count - 1} failed" in shown
        assert f"0 scored, 0 skipped, {LISTED} failed" in shown
        campaign.count("names", count + 2 * LISTED + 14)
        shutil.rmtree(folder)
