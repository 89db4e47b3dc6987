"""SongEval's layout: means over raters, the official split, and what is said when something is missing."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from stages.songs import DIMENSIONS, SongsError
from stages.songs.songeval import download_songeval, read_songeval


def rater(value: float, **others: Any) -> dict[str, Any]:
    return {**dict.fromkeys(DIMENSIONS, value), **others}


def line(name: str, **others: Any) -> dict[str, Any]:
    return {"file_name": name, "annotation": [rater(4.0, annotator="a", age=9), rater(3.0, annotator=2.0)], **others}


def lay_out(folder: Path, rows: list[Any], validation: str = "mp3/a_2.mp3\n") -> Path:
    (folder / "mp3").mkdir(exist_ok=True)
    for row in rows:
        if isinstance(row, dict) and "file_name" in row:
            (folder / row["file_name"]).touch()
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "val_ids.txt").write_text(validation, encoding="utf-8")
    return folder


GOOD = [line("mp3/a_1.mp3", system="suno", gender="female", tempo=90), line("mp3/a_2.mp3")]


def test_labels_are_means_and_ids_whole_stems(tmp_path: Path) -> None:
    first, second = read_songeval(lay_out(tmp_path, GOOD), official=False)
    assert first.labels == dict.fromkeys(DIMENSIONS, 3.5)
    assert (first.song_id, first.path, first.split) == ("a_1", tmp_path / "mp3" / "a_1.mp3", "train")
    assert (first.system, first.extra) == ("suno", {"gender": "female", "tempo": "90"})
    assert (second.song_id, second.split, second.system, second.extra) == ("a_2", "val", "", {})


def test_a_rater_who_skips_a_dimension_does_not_count(tmp_path: Path) -> None:
    row = line("mp3/a_1.mp3")
    row["annotation"][0]["Clarity"] = None
    first, _ = read_songeval(lay_out(tmp_path, [row, GOOD[1]]), official=False)
    assert first.labels["Clarity"] == 3.0


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{", "metadata.jsonl line 2: is not JSON"),
        ({"annotation": [rater(3.0)]}, "line 2: expected an object with a text file_name"),
        ({"file_name": "mp3/b.mp3", "annotation": []}, "line 2: expected annotation, a list"),
        ({"file_name": "mp3/b.mp3", "annotation": [3.0]}, "line 2: expected annotation, a list"),
        ({"file_name": "mp3/b.mp3", "annotation": [{"Clarity": 3.0}]}, "line 2: no rater gives a number for Coherence"),
        ({"file_name": "mp3/b.mp3", "annotation": [rater(5.5)]}, "line 2: expected a rating from 1 to 5 .* found 5.5"),
        (line("a_1.ogg"), "a_1.mp3 and .*a_1.ogg give the same song id 'a_1'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: Any, problem: str) -> None:
    with pytest.raises(SongsError, match=problem):
        read_songeval(lay_out(tmp_path, [GOOD[0], row, GOOD[1]]), official=False)


@pytest.mark.parametrize(
    ("validation", "problem"),
    [
        ("mp3/a_2.mp3\nmp3/x.mp3\n", "val_ids.txt: 1 songs are not in metadata.jsonl, the first is 'x'"),
        ("", "names 0 of 2 songs; expected some to validate, not all"),
        ("mp3/a_1.mp3\nmp3/a_2.mp3\n", "names 2 of 2 songs"),
    ],
)
def test_a_list_that_does_not_fit_is_an_error(tmp_path: Path, validation: str, problem: str) -> None:
    with pytest.raises(SongsError, match=problem):
        read_songeval(lay_out(tmp_path, GOOD, validation), official=False)


def test_what_is_missing_is_said_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(SongsError, match=r"metadata\.jsonl: cannot be read .*hear-data songeval --root .* --download"):
        read_songeval(tmp_path)
    folder = lay_out(tmp_path, GOOD)
    (folder / "mp3" / "a_1.mp3").unlink()
    with pytest.raises(SongsError, match=r"1 of 2 audio files are missing, the first is .*a_1\.mp3; fetch them with"):
        read_songeval(folder, official=False)
    (folder / "val_ids.txt").unlink()
    with pytest.raises(SongsError, match=r"val_ids\.txt: cannot be read .*Automatic-Song-Aesthetics-Evaluation"):
        read_songeval(folder, official=False)


def test_songeval_itself_needs_the_challenges_list_and_all_songs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lay_out(tmp_path, GOOD)
    with pytest.raises(SongsError, match=r"expected the challenge's list, sha256 a6563457.*, found "):
        read_songeval(folder)
    found = hashlib.sha256((folder / "val_ids.txt").read_bytes()).hexdigest()
    monkeypatch.setattr("stages.songs.songeval.VALIDATION_SHA256", found)
    with pytest.raises(SongsError, match="expected SongEval's 2399 songs, found 2"):
        read_songeval(folder)


def test_a_download_asks_for_the_list_first_and_then_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def snapshot(repository: str, **how: Any) -> None:
        asked.append({"repository": repository, **how})
        raise ConnectionError("no network\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(SongsError, match=r"val_ids\.txt: cannot be read"):
        download_songeval(tmp_path)
    assert not asked
    lay_out(tmp_path, GOOD)
    monkeypatch.setattr("stages.songs.songeval._read_validation", lambda path, official: {"a_2"})
    with pytest.raises(SongsError, match=r"ASLP-lab/SongEval could not be fetched from the hub: no network$"):
        download_songeval(tmp_path)
    assert asked[0]["repository"] == "ASLP-lab/SongEval"
    assert asked[0]["repo_type"] == "dataset"
    assert asked[0]["local_dir"] == tmp_path
