"""Untrusted names in every command on a terminal: they are shown, but cannot control it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import soundfile
import torch
from safetensors.torch import save_file

from stages.common.csv_text import read_rows
from stages.extract.config import ExtractConfig
from stages.extract.encoders import load_multiscale
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.saved import save_head
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.songs import read_manifest
from store.files.visible import visible

Terminal = Callable[[list[list[str]], Path], str]


def lay_out(folder: Path, hostile: tuple[str, ...]) -> str:
    """Songs with hostile names, and a store, heads, a table and parameters with such names; returns a name."""
    evil = "".join(hostile)
    (folder / "songs" / hostile[0]).mkdir(parents=True)
    for number, piece in enumerate(hostile):
        (folder / "songs" / f"{number}{piece.replace('/', '_')}.wav").write_text("no audio")
    soundfile.write(folder / "songs" / hostile[0] / f"{hostile[1]}.wav", np.zeros(24_000), 24_000)
    (folder / "bytes").mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/bytes/\xff\x9b2J.wav")).touch()
    (folder / "labels.csv").write_text(f'song_id,"{evil.replace(chr(34), "")}",Coherance\nx,y,z\n', newline="")
    (folder / "params.yaml").write_text(f"encoders: {{device: {json.dumps(evil)}}}")
    (folder / "wrong.yaml").write_text(f"{json.dumps(evil)}: 1")
    with h5py.File(folder / "their.h5", "w") as file:
        file.attrs["streams"] = [evil.replace(",", "")]
        name = evil.replace("/", "_")
        for view in ("0", hostile[0]):
            file.create_dataset(f"{name}/{view}", data=np.zeros((1, 9, 4), np.float32))
    save_file({evil: torch.zeros(2)}, folder / "head.safetensors")
    torch.save({evil: torch.zeros(2)}, folder / "head.pth")
    return evil


def head_of(folder: Path, dimensions: tuple[str, ...]) -> None:
    encoders = load_multiscale(preset="tiny", layers=(2,), device="cpu", precision="fp32")
    spec = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,), dtype="float32").spec(encoders)
    sizes = preset_sizes("small", features=4 * encoders.channels, classes=len(dimensions))
    config = HeadConfig(sizes=sizes, dimensions=dimensions, streams=encoders.streams, spec=spec.to_json())
    save_head(folder, Head(HearHead(sizes), config))


def test_names_reach_no_terminal(tmp_path: Path, hostile: tuple[str, ...], on_terminal: Terminal) -> None:
    evil = lay_out(tmp_path, hostile)
    head_of(tmp_path / "head", ("=1+1", "$\\frac$", "[red]"))
    listed = ["--manifest", "m.csv"]
    small = ["--preset", "tiny", "--layers", "2", "--augment", "0", "--readers", "0", "--device", "cpu"]
    outputs = ["--csv", "s.csv", "--json", "s.json", "--jsonl", "s.jsonl", "--plots", "plots", "--report", "page"]
    commands = [
        ["data", "folder", "--audio", "songs", "--val", "0", *listed],
        ["data", "folder", "--audio", "bytes"],
        ["data", "folder", "--audio", evil],
        ["data", "folder", "--audio", "songs", "--labels", "labels.csv"],
        ["extract", *listed, "--store", "s.zarr", *small],
        ["store", "info", "s.zarr", *listed],
        ["store", "info", "s.zarr", "--json"],
        ["store", "verify", "s.zarr", *listed],
        ["store", "prune", "s.zarr", "--view", "0", "--dry-run"],
        ["store", "import", "their.h5", "their.zarr"],
        ["store", "info", "their.zarr"],
        ["store", evil],
        ["store", "verify", evil],
        ["store", "verify", f"--{evil}"],
        ["head", "predict", "songs", "--checkpoint", "head", "--device", "cpu", *outputs],
        ["head", "predict", "songs", "--checkpoint", "head", "--device", "cpu", "--scp", "s.scp"],
        ["head", "predict", "songs", "--checkpoint", "head.pth"],
        ["head", "predict", "songs", "--checkpoint", "head.safetensors"],
        ["head", "predict", evil, "--checkpoint", "head", "--params", "params.yaml"],
        ["head", "predict", "--params", "params.yaml", "--help"],
        ["head", "predict", "--params", "wrong.yaml", "--checkpoint", "x", "y"],
        ["probe", "fit", "--store", "s.zarr", "--target", "x", "--model", evil, *listed],
    ]
    shown = on_terminal(commands, tmp_path)
    assert "22 songs (22 train)" in shown
    assert r"'songs/1\x1b[2J.wav': FFmpeg cannot decode it as audio" in shown
    assert r"the first is '\x1b[38;5;201m\x1b[2J" in shown
    assert "15[link=http:__evil].wav" in shown
    assert len(list((tmp_path / "plots").iterdir())) == 1
    # Written files read back, and cannot control a terminal either.
    manifest = read_manifest(tmp_path / "m.csv")
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = (cells for _, cells in read_rows(file))
    assert header[3:5] == ["=1+1", "$\\frac$"]
    assert [Path(cells[1]).name for cells in rows] == [song.path.name for song in manifest.songs]
    for name in ("s.json", "s.jsonl", "failures.jsonl"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert visible(text, keep="\n") == text
