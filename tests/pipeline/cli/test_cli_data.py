"""`hear-data`: each source writes a manifest and prints how many songs each split has."""

from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from pipeline.cli import data
from pipeline.cli.entry import run
from stages.songs import read_manifest


def call(*arguments: str) -> str:
    result = CliRunner().invoke(data.app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_demo(tmp_path: Path) -> None:
    line = call("demo", "--out", str(tmp_path / "songs"), "--songs", "8", "--seconds", "1")
    assert line == f"{tmp_path / 'songs' / 'manifest.csv'}: 8 songs (6 train, 2 val)\n"
    manifest = read_manifest(tmp_path / "songs" / "manifest.csv")
    assert soundfile.info(manifest.songs[0].path).duration == 1.0


def test_folder(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.mp3").touch()
    place = tmp_path / "elsewhere" / "songs.csv"
    line = call("folder", "--audio", str(tmp_path), "--val", "0.2", "--test", "0.1", "--manifest", str(place))
    assert line == f"{place}: 20 songs (14 train, 4 val, 2 test)\n"
    assert {song.path.parent for song in read_manifest(place).songs} == {tmp_path}


def test_a_folder_of_models_with_labels_from_a_spreadsheet(tmp_path: Path) -> None:
    for model in ("modelA", "modelB"):
        (tmp_path / model).mkdir()
        for number in range(1, 4):
            (tmp_path / model / f"{number:03}.wav").touch()
    labels = tmp_path / "labels.csv"
    labels.write_text("song_id;clarity\nmodelA/1;3,5\nmodelB/001.wav;4\n", encoding="utf-16")
    arguments = ["folder", "--audio", str(tmp_path), "--labels", str(labels), "--val", "0.3", "--system-from-folder"]
    result = CliRunner().invoke(data.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'manifest.csv'}: 6 songs (4 train, 2 val)\n"
    assert result.stderr.splitlines() == [
        f"{labels}: columns are separated by semicolons",
        f"{labels}: column 'clarity' is Clarity",
        f"{labels}: 2 of 6 songs; ratings of Clarity",
    ]
    songs = {song.song_id: song for song in read_manifest(tmp_path / "manifest.csv").songs}
    assert songs["modelA/001"].labels == {"Clarity": 3.5}
    assert songs["modelB/001"].labels == {"Clarity": 4.0}
    assert songs["modelB/003"].system == "modelB"


def test_the_manifest_of_a_list_is_written_next_to_it(tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "a.wav").touch()
    (tmp_path / "wav.scp").write_text("utt songs/a.wav\n")
    line = call("folder", "--audio", str(tmp_path / "wav.scp"), "--val", "0")
    assert line == f"{tmp_path / 'manifest.csv'}: 1 songs (1 train)\n"
    assert read_manifest(tmp_path / "manifest.csv").songs[0].song_id == "utt"


def test_songeval_reports_missing_files_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["hear-data", "songeval", "--root", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        run("data")
    error = capsys.readouterr().err
    assert error.startswith(f"hear-data: {tmp_path / 'metadata.jsonl'}: cannot be read")
    assert error.count("\n") == 1


def test_a_manifest_that_cannot_be_written_gives_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp3").touch()
    place = tmp_path / "a.mp3" / "manifest.csv"
    arguments = ["hear-data", "folder", "--audio", str(tmp_path), "--val", "0", "--manifest", str(place)]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match="1"):
        run("data")
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("dataset", ["demo", "folder"])
def test_prepare_follows_the_parameters(tmp_path: Path, dataset: str) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(f"dataset: {dataset}\ndemo: {{songs: 20, seconds: 5.0}}\n")
    if dataset == "folder":
        (tmp_path / "folder").mkdir()
        for number in range(10):
            (tmp_path / "folder" / f"{number}.wav").touch()
        (tmp_path / "folder" / "labels.csv").write_text("song_id,Clarity\n1,3\n")
    line = call("prepare", "--params", str(params), "--out", str(tmp_path / "manifest.csv"))
    counts = {"demo": "20 songs (15 train, 5 val)", "folder": "10 songs (9 train, 1 val)"}
    assert line == f"{tmp_path / 'manifest.csv'}: {counts[dataset]}\n"
    songs = read_manifest(tmp_path / "manifest.csv").songs
    assert songs[0].path.is_relative_to(tmp_path / dataset)
    assert any(song.labels for song in songs)


def test_wrong_usage_is_exit_code_2() -> None:
    assert CliRunner().invoke(data.app, ["demo"]).exit_code == 2
