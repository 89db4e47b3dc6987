"""SongEval's layout: means over raters, the official split, and messages about missing files."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stages.common.hub import HubError
from stages.songs import DIMENSIONS, SongsError, read_manifest, write_manifest
from stages.songs.songeval import download_songeval, read_raters, read_songeval


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


def test_labels_are_means_and_ids_are_stems(tmp_path: Path) -> None:
    first, second = read_songeval(lay_out(tmp_path, GOOD), official=False)
    assert first.labels == dict.fromkeys(DIMENSIONS, 3.5)
    assert (first.song_id, first.path, first.split) == ("a_1", tmp_path / "mp3" / "a_1.mp3", "train")
    assert (first.system, first.extra) == ("suno", {"gender": "female", "tempo": "90"})
    assert (second.song_id, second.split, second.system, second.extra) == ("a_2", "val", "", {})


def test_a_rater_without_a_rating_of_a_dimension_is_ignored(tmp_path: Path) -> None:
    row = line("mp3/a_1.mp3")
    row["annotation"][0]["Clarity"] = None
    first, _ = read_songeval(lay_out(tmp_path, [row, GOOD[1]]), official=False)
    assert first.labels["Clarity"] == 3.0


def test_ratings_are_read_per_rater(tmp_path: Path) -> None:
    rows = [line("mp3/a_1.mp3"), {"file_name": "mp3/b.mp3", "annotation": [rater(1), rater("5", Clarity=None)]}]
    found = read_raters(lay_out(tmp_path, rows) / "metadata.jsonl")
    assert found["a_1"] == {"a": dict.fromkeys(DIMENSIONS, 4.0), "2.0": dict.fromkeys(DIMENSIONS, 3.0)}
    # Without names, raters are positions; a missing rating has no entry.
    others = {name: 5.0 for name in DIMENSIONS if name != "Clarity"}
    assert found["b"] == {"rater 1": dict.fromkeys(DIMENSIONS, 1.0), "rater 2": others}
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.mp3", "annotation": [rater(6)]}))
    with pytest.raises(SongsError, match="line 1: expected a rating from 1 to 5 for Coherence, found 6"):
        read_raters(tmp_path / "metadata.jsonl")


@pytest.mark.parametrize("text", ["5", " 5.0 ", "5e0"])
def test_a_rating_that_is_written_as_text_counts_as_a_number(tmp_path: Path, text: str) -> None:
    row = {"file_name": "mp3/a.mp3", "annotation": [rater(3), rater(5, Coherence=text)]}
    first, _ = read_songeval(lay_out(tmp_path, [row, GOOD[1]]), official=False)
    assert first.labels == dict.fromkeys(DIMENSIONS, 4.0)


@pytest.mark.parametrize("value", ["good", "4,5", "nan", "inf", True, [4], {"value": 4}, "0.9", "6", 10**300])
def test_invalid_ratings_are_errors_with_their_line(tmp_path: Path, value: Any) -> None:
    row = {"file_name": "mp3/a.mp3", "annotation": [rater(3), rater(5, Clarity=value)]}
    with pytest.raises(SongsError, match=r"jsonl line 2: expected a rating from 1 to 5 for Clarity, found .*; correct"):
        read_songeval(lay_out(tmp_path, [GOOD[1], row]), official=False)


def test_other_keys_may_have_names_of_manifest_columns(tmp_path: Path) -> None:
    row = line("mp3/a_1.mp3", split="test", path="x", song_id=7, Clarity=2, key="C")
    songs = read_songeval(lay_out(tmp_path, [row, GOOD[1]]), official=False)
    write_manifest(tmp_path / "manifest.csv", songs)
    first = read_manifest(tmp_path / "manifest.csv").songs[0]
    assert (first.song_id, first.split, first.extra) == ("a_1", "train", {"key": "C"})


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{", "metadata.jsonl line 2: is not JSON"),
        (f'{{"file_name": {"9" * 400}}}', "metadata.jsonl line 2: a number in it has too many digits"),
        ({"annotation": [rater(3.0)]}, "line 2: expected an object with a string file_name"),
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
        ("", "names 0 of 2 songs; expected some of them, not all"),
        ("mp3/a_1.mp3\nmp3/a_2.mp3\n", "names 2 of 2 songs"),
    ],
)
def test_a_list_that_does_not_fit_is_an_error(tmp_path: Path, validation: str, problem: str) -> None:
    with pytest.raises(SongsError, match=problem):
        read_songeval(lay_out(tmp_path, GOOD, validation), official=False)


def test_missing_files_are_named_with_advice(tmp_path: Path) -> None:
    with pytest.raises(SongsError, match=r"metadata\.jsonl: cannot be read: .*hear-data songeval --root .* --download"):
        read_songeval(tmp_path)
    folder = lay_out(tmp_path, GOOD)
    (folder / "mp3" / "a_1.mp3").unlink()
    with pytest.raises(
        SongsError, match=r"1 of 2 audio files are missing, the first is .*a_1\.mp3; download them with"
    ):
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


class ListHandler(BaseHTTPRequestHandler):
    """Serves the challenge's list; `/moved` redirects to it, `/endless` never ends, `/503` is broken."""

    content: ClassVar[bytes] = b"mp3/a_2.mp3\n"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/val_ids.txt")
            self.end_headers()
            return
        self.send_response(503 if self.path == "/503" else 200)
        self.end_headers()
        for _ in range(2_000 if self.path == "/endless" else 1):
            try:
                self.wfile.write(self.content if self.path != "/endless" else bytes(1_000))
            except OSError:  # the client has disconnected
                return

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of the list with the expected SHA-256; the data set is not requested from a hub."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), ListHandler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    digest = hashlib.sha256(ListHandler.content).hexdigest()
    monkeypatch.setattr("stages.songs.songeval.VALIDATION_SHA256", digest)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(ListHandler, "asked", [])
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub_asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Requests to the hub, which has two of SongEval's songs."""
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def snapshot(repository: str, **how: Any) -> None:
        asked.append({"repository": repository, **how})
        validation = (how["local_dir"] / "val_ids.txt").read_text()
        lay_out(how["local_dir"], GOOD, validation)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr("stages.common.hub_reach.hub_answers", lambda: True)
    return asked


@pytest.mark.parametrize("place", ["val_ids.txt", "moved"])
def test_a_download_fetches_the_list_and_the_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: str, hub_asked: list[dict[str, Any]], place: str
) -> None:
    monkeypatch.setenv("HEAR_VAL_IDS_URL", f"{lists}/{place}")
    monkeypatch.setattr("stages.songs.songeval.SONGS", 2)
    root = tmp_path / "data" / "songeval"
    download_songeval(root)
    assert hub_asked == [
        {
            "repository": "ASLP-lab/SongEval",
            "repo_type": "dataset",
            "local_dir": root,
            "local_files_only": False,
            "allow_patterns": ["metadata.jsonl", "mp3/*"],
        }
    ]
    assert [(song.song_id, song.split) for song in read_songeval(root)] == [("a_1", "train"), ("a_2", "val")]
    # A second call keeps the list and asks only the hub what is missing.
    monkeypatch.setenv("HEAR_VAL_IDS_URL", f"{lists}/503")
    download_songeval(root)
    assert "/503" not in ListHandler.asked
    assert len(hub_asked) == 2


def test_the_list_is_fetched_from_the_challenges_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(url: str, advice: str) -> bytes:
        asked.append(url)
        raise HubError(f"{url}: no network; {advice}")

    monkeypatch.delenv("HEAR_VAL_IDS_URL", raising=False)
    monkeypatch.setattr("stages.common.hub.fetch_small", fetch)
    with pytest.raises(
        HubError, match=r"no network; get val_ids\.txt from ASLP-lab/.*Challenge otherwise and save it as .*"
    ):
        download_songeval(tmp_path)
    assert asked == [
        "https://raw.githubusercontent.com/ASLP-lab/Automatic-Song-Aesthetics-Evaluation-Challenge/main/static/val_ids.txt"
    ]


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("503", r"/503: could not be downloaded: HTTP 503; get val_ids\.txt"),
        ("endless", r"/endless: is larger than 1 MB, expected a small file; get"),
        ("other", r"/other: expected the challenge's list, sha256 0000, found [0-9a-f]{64}"),
        ("ftp://127.0.0.1/x", r"ftp://127\.0\.0\.1/x: could not be downloaded"),
        ("http://127.0.0.1:1/x", r"http://127\.0\.0\.1:1/x: could not be downloaded"),
        ("http://[", r"http://\[: could not be downloaded"),
    ],
)
def test_a_failed_download_gives_one_line_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: str, hub_asked: list[Any], place: str, problem: str
) -> None:
    monkeypatch.setenv("HEAR_VAL_IDS_URL", place if "://" in place else f"{lists}/{place}")
    monkeypatch.setattr("stages.songs.songeval.VALIDATION_SHA256", "0000")
    with pytest.raises((HubError, SongsError), match=problem) as caught:
        download_songeval(tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()
    assert hub_asked == []


def test_no_file_is_downloaded_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HEAR_VAL_IDS_URL", f"{lists}/val_ids.txt")
    with pytest.raises(HubError, match="not downloaded, because HF_HUB_OFFLINE is set"):
        download_songeval(tmp_path)
    assert ListHandler.asked == []


def test_another_list_is_not_replaced(
    tmp_path: Path, lists: str, hub_asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEAR_VAL_IDS_URL", f"{lists}/val_ids.txt")
    (tmp_path / "val_ids.txt").write_text("mine\n")
    with pytest.raises(
        SongsError, match=r"val_ids\.txt: expected the challenge's list.*; remove it, and run again with"
    ):
        download_songeval(tmp_path)
    assert (tmp_path / "val_ids.txt").read_text() == "mine\n"
    assert hub_asked == []


def test_a_silent_hub_gives_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: str) -> None:
    import huggingface_hub

    def snapshot(*_: Any, **how: Any) -> None:
        raise ConnectionError("no network\nmore")

    monkeypatch.setenv("HEAR_VAL_IDS_URL", f"{lists}/val_ids.txt")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr("stages.common.hub_reach.hub_answers", lambda: True)
    with pytest.raises(HubError, match=r"ASLP-lab/SongEval: the data set could not be downloaded: no network more$"):
        download_songeval(tmp_path)
