"""`hear-extract`: its output and exit codes."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from pipeline.cli import extract
from pipeline.cli.entry import run
from stages.songs import Song, write_manifest
from store import EmbeddingStore

PARITY = Path(__file__).parents[2] / "parity"
BAD_SHARDS = ("0/2", "3/2", "1/0", "a/b", "2", "1/2/3", "+1/2", "")
TINY = ("--preset", "tiny", "--layer", "2", "--readers", "0")


def call(manifest: Path, root: Path, *more: str) -> Result:
    arguments = ["--manifest", str(manifest), "--store", str(root), *more]
    return CliRunner().invoke(extract.app, arguments, catch_exceptions=False)


@pytest.fixture
def manifest(tmp_path: Path, make_songs: Callable[..., Path]) -> Path:
    return make_songs(tmp_path / "söngs 🎵", count=2)


def test_counts_go_to_stdout_and_a_second_run_skips(tmp_path: Path, manifest: Path) -> None:
    root, receipt = tmp_path / "a störe.zarr", tmp_path / "receipt.json"
    first = call(manifest, root, *TINY, "--augment", "1", "--receipt", str(receipt))
    assert first.exit_code == 0
    assert first.stdout.startswith("4 done, 0 skipped, 0 failed; 0.00 h of audio at ")
    assert receipt.exists()
    second = call(manifest, root, *TINY, "--augment", "1")
    assert (second.exit_code, second.stdout) == (0, "0 done, 4 skipped, 0 failed\n")


def test_a_failed_song_gives_one_line_for_all_its_views(tmp_path: Path, manifest: Path) -> None:
    bad = manifest.parent / "söng 0.wav"
    bad.write_bytes(b"")
    result = call(manifest, tmp_path / "s.zarr", *TINY, "--augment", "2")
    assert result.exit_code == 1
    assert result.stdout.startswith("3 done, 0 skipped, 3 failed; ")
    assert result.stderr.splitlines() == [f"failed: söng 0 view 0: {bad}: is empty (0 bytes)"]
    rows = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["song"], row["view"]) for row in rows] == [("söng 0", view) for view in range(3)]


def test_too_many_failures_explain_how_to_continue(tmp_path: Path, manifest: Path) -> None:
    (manifest.parent / "söng 0.wav").write_bytes(b"")
    result = call(manifest, tmp_path / "s.zarr", *TINY, "--max-failures", "0", "--augment", "0")
    assert result.exit_code == 1
    assert result.stdout == "0 done, 0 skipped, 1 failed\n"
    assert result.stderr.endswith("more than 0 views failed: 1 views left; run the same command again to continue\n")


def test_a_changed_song_that_cannot_be_extracted_is_reported_without_a_receipt(tmp_path: Path, manifest: Path) -> None:
    root, receipt, song = tmp_path / "s.zarr", tmp_path / "receipt.json", manifest.parent / "söng 0.wav"
    more = (*TINY, "--augment", "0", "--receipt", str(receipt))
    good = song.read_bytes()
    assert call(manifest, root, *more).exit_code == 0
    receipt.unlink()
    song.write_bytes(b"")
    failed = call(manifest, root, *more)
    assert failed.exit_code == 1
    assert failed.stdout == "0 done, 1 skipped, 1 failed, 0 changed songs made again\n"
    assert failed.stderr.splitlines() == [
        f"failed: söng 0 view 0: {song}: is empty (0 bytes)",
        "no receipt written: 1 changed songs could not be extracted again; their old records stay",
    ]
    assert not receipt.exists()
    song.write_bytes(good)
    mended = call(manifest, root, *more)
    assert (mended.exit_code, mended.stdout) == (0, "0 done, 2 skipped, 0 failed\n")
    assert receipt.exists()


def test_a_dry_run_prints_json_and_writes_no_file(tmp_path: Path, manifest: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = call(manifest, tmp_path / "s.zarr", *TINY, "--augment", "8", "--dry-run")
    cost = json.loads(result.stdout)
    assert (cost["songs"], cost["views"], cost["stored"], cost["unreadable"]) == (2, 18, 0, 0)
    # 18 views of 2 s at 25 frames, four streams of 64 channels, two bytes each.
    assert cost["bytes"] == 18 * 50 * 4 * 64 * 2
    assert cost["free"] > 0
    assert cost["speed"] > 0
    assert sorted(tmp_path.rglob("*")) == before


def test_published_weights_from_folders_give_the_published_numbers(tmp_path: Path) -> None:
    with np.load(PARITY / "encoders.npz") as file:
        published = {name: file[name] for name in file.files}
    soundfile.write(tmp_path / "song.wav", published["waveform_i16"], 24_000, subtype="PCM_16")
    write_manifest(tmp_path / "manifest.csv", [Song("song", tmp_path / "song.wav", "val", "", {}, {})])
    weights = ("--muq", str(PARITY / "muq"), "--musicfm", str(PARITY / "musicfm"), "--layer", "3", "--readers", "0")
    exact = ("--device", "cpu", "--precision", "fp32", "--dtype", "float32")
    assert call(tmp_path / "manifest.csv", tmp_path / "s.zarr", *weights, *exact).exit_code == 0
    frames = EmbeddingStore.open(tmp_path / "s.zarr").read("song")[:, :: int(published["frame_stride"])]
    joined = frames.transpose(1, 0, 2).reshape(frames.shape[1], -1)
    np.testing.assert_allclose(joined, published["multiscale_layer3"], atol=1e-4, rtol=0)


def test_several_layers_become_separate_streams(tmp_path: Path, manifest: Path) -> None:
    more = ("--preset", "tiny", "--readers", "0", "--augment", "0")
    assert call(manifest, tmp_path / "s.zarr", *more, "--layers", "1,2", "--streams", "muq/track").exit_code == 0
    assert EmbeddingStore.open(tmp_path / "s.zarr").streams == ("muq/track@1", "muq/track@2")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--layers", "ten"), "--layers: Input should be a valid integer, found 'ten'"),
        (("--preset", "tiny", "--muq", "x/y"), "--preset tiny takes no weights"),
        (("--preset", "huge"), "'huge' is not one of"),
        (("--precision", "fp8"), "'fp8' is not one of"),
        (("--dtype", "int4"), "'int4' is not one of"),
        (("--augment", "-1"), "Input should be greater than or equal to 0"),
        (("--workers", "two"), "Input should be a valid integer"),
        *(
            (("--shard", text), f"--shard: expected i/n with i from 1 to n, such as 1/8, found {text!r}; add")
            for text in BAD_SHARDS
        ),
        (("--colour", "red"), "No such option: --colour"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], problem: str
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    result = call(manifest, tmp_path / "s.zarr", *options)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--manifest", "nowhere.csv"), r"nowhere\.csv: cannot be read: No such file"),
        (("--layers", "13"), r"layers \[13\]: expected different numbers from 0 to 12"),
        (("--streams", "muq/song"), "streams .*muq/song"),
        (("--device", "toaster"), "device 'toaster' cannot be used here"),
        (("--muq", "nowhere at all", "--streams", "muq/track"), "nowhere at all: neither a folder nor a hub id"),
        (("--store", "söngs 🎵/manifest.csv"), r"manifest\.csv"),
    ],
)
def test_our_errors_give_one_line_and_exit_code_1(
    tmp_path: Path,
    manifest: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    preset = () if "--muq" in options else ("--preset", "tiny")
    base = ["hear-extract", "--manifest", str(manifest.relative_to(tmp_path)), "--store", "s.zarr", *preset]
    monkeypatch.setattr("sys.argv", [*base, *options])
    with pytest.raises(SystemExit, match="1"):
        run("extract")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hear-extract: ")
    assert re.search(problem, line), line


def test_messages_of_c_decoders_are_hidden(tmp_path: Path, manifest: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad = manifest.parent / "söng 0.wav"
    bad.write_text("This is text, which MPEG decoders remark upon.")
    bad.rename(bad.with_suffix(".mp3"))
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("söng 0.wav", "söng 0.mp3"), encoding="utf-8")
    result = call(manifest, tmp_path / "s.zarr", "--preset", "tiny", "--layer", "2", "--readers", "1", "--augment", "0")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"failed: söng 0 view 0: {bad.with_suffix('.mp3')}: ")
    assert capfd.readouterr().err == ""
