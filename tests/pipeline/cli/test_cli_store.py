"""`hear-store`: output and exit code of each subcommand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import store as command
from pipeline.cli.entry import run
from stages.extract.audio.source import file_stamp, read_source
from store import EmbeddingStore, Spec, StoreError, StoreWriter, prune, verify, write_receipt
from store.backends.local import LocalObjects
from store.format.keys import record_path


@pytest.fixture
def filled(tmp_path: Path) -> str:
    """Songs a and b, clean and one augmented view, of one second."""
    spec = Spec(streams=("muq/track",), channels=4, encoders={"muq": "sha256:aa"}, layers=(10,))
    writer = StoreWriter.open(tmp_path / "store.zarr", spec)
    for number, song in enumerate("ab"):
        for view in (0, 1):
            frames = np.full((1, 25, 4), number + view, np.float32)
            writer.write(song, view, frames, attributes={"seconds": 1.0})
    return writer.root


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(command.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_info_prints_the_origin_of_the_weights(tmp_path: Path) -> None:
    spec = Spec(streams=("muq/track",), channels=4, encoders={"muq": "sha256:aa"}, layers=(10,))
    encoders = {"muq": {"kind": "hub", "id": "OpenMuQ/MuQ-large-msd-iter", "revision": "c" * 40}}
    root = StoreWriter.open(tmp_path / "store.zarr", spec, encoders_from=encoders).root
    expected = f"weights of muq: id=OpenMuQ/MuQ-large-msd-iter, kind=hub, revision={'c' * 40}"
    assert expected in call("info", root).stdout.splitlines()
    assert json.loads(call("info", root, "--json").stdout)["encoders_from"] == encoders


def test_info(filled: str, tmp_path: Path) -> None:
    text = call("info", filled).stdout
    assert "format hear-embeddings 1, 2 songs" in text
    assert "streams         muq/track" in text
    assert "encoders        muq=sha256:aa" in text
    assert "weights of" not in text
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("song_id,path,split,system\na,a.wav,train,\nb,b.wav,val,\nc,c.wav,val,\n")
    text = call("info", filled, "--manifest", manifest).stdout
    assert text.endswith("val: 1 songs of the manifest are not in the store\n")
    counts = [tuple(line.split()[:3]) for line in text.splitlines()[-10:-1]]
    assert counts == [
        (split, view, str(records * songs))
        for split, songs in (("(all)", 2), ("train", 1), ("val", 1))
        for view, records in (("all", 2), ("0", 1), ("1", 1))
    ]
    figures = json.loads(call("info", filled, "--manifest", manifest, "--json").stdout)
    assert (figures["records"], figures["hours"]) == (4, 0.0011)
    assert figures["splits"]["val"]["missing"] == 1
    assert Spec.from_json(figures["spec"]) == EmbeddingStore.open(filled).spec


def test_verify_and_repair(filled: str) -> None:
    assert call("verify", filled).stdout == "4 records good, 0 problems, 0 removed\n"
    next(Path(filled).rglob("c/0/0/0")).unlink()
    lines = call("verify", filled, code=1).stdout.splitlines()
    assert lines[0].startswith("damaged: records/")
    assert lines[0].endswith(": the data is missing")
    assert lines[1] == "3 records good, 1 problems, 0 removed"
    assert call("verify", filled, "--repair").stdout.splitlines()[-1] == "3 records good, 1 problems, 1 removed"
    assert call("verify", filled).stdout == "3 records good, 0 problems, 0 removed\n"


def test_verify_against_a_receipt(filled: str, tmp_path: Path) -> None:
    write_receipt(EmbeddingStore.open(filled), tmp_path / "receipt.json")
    call("verify", filled, "--receipt", tmp_path / "receipt.json")
    prune(filled, songs=["a"])
    with pytest.raises(StoreError, match="songs: expected 2, found 1"):
        call("verify", filled, "--receipt", tmp_path / "receipt.json")


@pytest.fixture
def extracted(tmp_path: Path) -> tuple[str, Path]:
    """A store of songs a, b, c and d, two views each, made from their files, and their manifest."""
    spec = Spec(streams=("muq/track",), channels=4, encoders={"muq": "sha256:aa"}, layers=(10,))
    writer, rows = StoreWriter.open(tmp_path / "store.zarr", spec), ["song_id,path,split,system"]
    for song in "abcd":
        path = tmp_path / f"{song}.wav"
        path.write_text(f"song {song}")
        source = read_source(path, since=file_stamp(path))
        for view in (0, 1):
            frames = np.full((1, 25, 4), ord(song) + view, np.float32)
            writer.write(song, view, frames, attributes={} if song == "d" else source.attributes)
        rows.append(f"{song},{path.name},train,")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(rows))
    return writer.root, manifest


def test_verify_against_the_songs_files(extracted: tuple[str, Path]) -> None:
    root, manifest = extracted
    line = "8 records good, 0 problems, 0 removed\n"
    assert call("verify", root).stdout == line
    compared = "6 records compared with their songs' files, 0 files missing\n"
    assert call("verify", root, "--manifest", manifest).stdout == line + compared
    changed, gone, bare = (manifest.with_name(f"{song}.wav") for song in "bcd")
    before = changed.stat()
    changed.write_text("song B")
    # As a program that sets all times to one: only the hash shows the change.
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    gone.unlink()
    bare.write_text("another song d")
    lines = call("verify", root, "--manifest", manifest, code=1).stdout.splitlines()
    assert [line.split(": ", 2)[::2] for line in lines[:2]] == [
        [
            "stale",
            f"song 'b' view {view} was made from another file than {changed}; --repair, then hear-extract again",
        ]
        for view in (0, 1)
    ]
    assert lines[2:] == [
        f"no source: c: {gone}: cannot be read: No such file or directory",
        "6 records good, 2 problems, 0 removed",
        "4 records compared with their songs' files, 1 files missing",
    ]
    assert call("verify", root, "--manifest", manifest, "--repair").stdout.splitlines()[-2:] == [
        "6 records good, 2 problems, 2 removed",
        "4 records compared with their songs' files, 1 files missing",
    ]
    assert EmbeddingStore.open(root).songs == ("a", "c", "d")
    assert call("verify", root, "--manifest", manifest).exit_code == 0


def test_export_and_import(filled: str, tmp_path: Path) -> None:
    file, again = tmp_path / "all.h5", tmp_path / "again.zarr"
    assert call("export", filled, file).stdout == f"4 records exported to {file}\n"
    assert call("import", file, again).stdout == f"4 records imported to {again}\n"
    assert EmbeddingStore.open(again).receipt() == EmbeddingStore.open(filled).receipt()


def test_an_import_from_another_program_prints_its_interpretation(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file.attrs.update({"streams": ["a", "b/c"], "frame_rate": 12.5})
        file.create_dataset("x/1/0", data=np.zeros((2, 4, 3), ">f2"))
    assert call("import", tmp_path / "theirs.h5", tmp_path / "their.zarr").stdout == (
        f"1 records imported to {tmp_path / 'their.zarr'}\n"
        "interpreted as 2 streams (a, b/c) of 3 channels in float16, 12.5 frames per second; "
        "encoders and layers unknown\n"
    )
    call("prune", tmp_path / "their.zarr", "--song", "x/1")
    assert len(EmbeddingStore.open(tmp_path / "their.zarr")) == 0


def test_index(filled: str) -> None:
    assert call("index", filled).stdout == "4 records indexed\n"
    assert not Path(filled, "catalogue/summaries").exists()
    assert call("index", filled, "--summaries").stdout == "4 records indexed\n"
    assert Path(filled, "catalogue/summaries").exists()


def test_merge(filled: str, tmp_path: Path) -> None:
    both = tmp_path / "both.zarr"
    assert (
        call("merge", filled, filled, both).stdout
        == f"4 records copied to {both}, 4 were already there or occurred twice\n"
    )
    assert len(EmbeddingStore.open(both)) == 4
    call("merge", filled, code=2)


def test_prune(filled: str) -> None:
    assert call("prune", filled, "--view", 1, "--dry-run").stdout == '"a" 1\n"b" 1\n2 records would be removed\n'
    assert call("prune", filled, "--song", "a", "--view", 1).stdout == "1 records removed\n"
    assert list(EmbeddingStore.open(filled)) == [("a", 0), ("b", 0), ("b", 1)]
    call("prune", filled, code=2)


def stopping_after(removals: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next removal of a zarr.json fail."""
    delete, left = LocalObjects.delete, [removals]

    def delete_or_stop(objects: LocalObjects, key: str) -> None:
        if key.endswith("/zarr.json"):
            if not left[0]:
                raise error
            left[0] -= 1
        delete(objects, key)

    monkeypatch.setattr(LocalObjects, "delete", delete_or_stop)


@pytest.mark.parametrize("error", [StoreError("s3: cannot remove: gone"), KeyboardInterrupt()], ids=["fails", "Ctrl-C"])
@pytest.mark.parametrize("removals", [0, 2])
@pytest.mark.parametrize("name", ["verify", "prune"])
def test_removed_records_are_listed_even_after_a_failure(
    name: str, removals: int, error: BaseException, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.parent.relative_to(filled).as_posix() for path in Path(filled, "records").rglob("zarr.json")}
    if name == "verify":
        for path in list(Path(filled).rglob("c/0/0/0")):
            path.unlink()
    stopping_after(removals, error, monkeypatch)
    options = ["--repair"] if name == "verify" else ["--song", "a", "--song", "b"]
    result = CliRunner().invoke(command.app, [name, filled, *options])
    lines = result.stdout.splitlines()
    gone = before - {path.parent.relative_to(filled).as_posix() for path in Path(filled, "records").rglob("zarr.json")}
    assert (result.exit_code != 0, len(gone)) == (True, removals)
    told = {record_path(*_record_of(line)) if name == "prune" else line.split(": ")[1] for line in lines[:-1]}
    assert told == gone
    ending = {
        "verify": "all listed above; run it again",
        "prune": "all listed above; run it again to continue",
    }[name]
    counted = {"verify": f"{removals} removed", "prune": f"{removals} records removed"}[name]
    assert lines[-1:] == ([f"ended early: {counted}, {ending}"] if removals or name == "verify" else [])


def _record_of(line: str) -> tuple[str, int]:
    song, view = line.rsplit(" ", 1)
    return json.loads(song), int(view)


INSTALLED = Path(sys.executable).with_name("hear-store")
# The same command in its own process, with a Ctrl-C at its third record.
INTERRUPTED = """
import os, signal, sys
from pipeline.cli import entry, store
def interrupted(items):
    for number, item in enumerate(items):
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)
        yield item
store.progress = lambda what: interrupted
signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background, it is ignored
sys.argv[0] = "hear-store"
entry.run("store")
"""


@pytest.mark.parametrize(
    ("arguments", "after"),
    [
        (["merge", "store.zarr", "target"], ("target", 2, 4)),
        (["export", "store.zarr", "target"], ("store.zarr", 4, 4)),
        (["prune", "store.zarr", "--view", "0", "--view", "1"], ("store.zarr", 2, 0)),
    ],
)
def test_interrupted_and_run_again(
    arguments: list[str], after: tuple[str, int, int], filled: str, tmp_path: Path
) -> None:
    name, between, finally_ = after
    stopped = subprocess.run([sys.executable, "-c", INTERRUPTED, *arguments], cwd=tmp_path, capture_output=True)
    assert stopped.returncode == 130
    report = verify(str(tmp_path / name))
    assert (report.records, report.problems) == (between, [])
    assert not list(tmp_path.glob("*.partial"))
    assert (tmp_path / "target").exists() == (arguments[0] == "merge")
    again = subprocess.run([INSTALLED, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert (again.returncode, again.stderr) == (0, "")
    assert len(EmbeddingStore.open(tmp_path / name)) == finally_


FULL = "hear-store: standard output cannot be written: No space left on device; send it elsewhere and run again\n"


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full on this machine")
@pytest.mark.parametrize("arguments", [("info", "store.zarr"), ("info", "store.zarr", "--json"), ("--help",)])
@pytest.mark.usefixtures("filled")
def test_standard_output_that_cannot_be_written_gives_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([INSTALLED, *arguments], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, FULL)


@pytest.mark.usefixtures("filled")
def test_a_closed_pipe_is_not_reported(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        done = subprocess.run([INSTALLED, "info", "store.zarr"], cwd=tmp_path, stdout=gone, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.usefixtures("filled")
def test_standard_output_may_be_closed(tmp_path: Path) -> None:
    command = ["sh", "-c", '"$0" info store.zarr >&-', INSTALLED]
    done = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_other_system_errors_are_not_reported_as_errors_of_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "app", fail)
    with pytest.raises(SystemExit, match="1"):
        run("store")
    sys.stdout.write("standard output is as it was")
    shown = capsys.readouterr()
    assert shown.out == "standard output is as it was"
    assert shown.err == "hear-store: No space left on device; fix the cause and run again\n"


@pytest.mark.parametrize(
    "arguments", [("info",), ("verify",), ("index",), ("prune", "--song", "a"), ("export", "x.h5"), ("merge", "other")]
)
def test_no_store_gives_one_line(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["hear-store", arguments[0], str(tmp_path / "absent"), *arguments[1:]])
    with pytest.raises(SystemExit, match="1"):
        run("store")
    shown = capsys.readouterr()
    assert shown.err == f"hear-store: {tmp_path / 'absent'}: no embedding store here\n"
    assert not list(tmp_path.iterdir())
