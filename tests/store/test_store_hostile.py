"""Untrusted stores: bad JSON or a bad file gives one error that names it, and affects nothing else."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreWriter, cache_summaries, check_receipt, index, prune, verify, write_receipt
from store.backends.local import LocalObjects
from store.backends.remote import RemoteObjects
from store.errors import StoreError
from store.format.keys import INDEX, METADATA, ROOT, SHARD, SOURCES, record_path
from store.receipt import locate_store
from store.sources import SeenFile, read_seen_files, write_seen_files
from tests.store.hostile import IRREGULAR, TEXTS, VALUES, attempt, change_json, nested, places, put, use, within

RECORD = record_path("a", 0)
HUGE = [1, 2**62, 2**62]
# Changes of a record's zarr.json that anybody can seal; none of them is a valid record.
RECORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    **{
        f"shape {shape!r:.40}": lambda document, shape=shape: document.update(shape=shape)  # type: ignore[misc]
        for shape in (
            *(HUGE, [2, 2**30, 8], [2, 21, 8], [3, 20, 8], [1, 20, 8], [2, 20, 9], [2.0, 20.0, 8.0], [2, True, 8]),
            *([2, 0, 8], [-2, 20, 8], [0, 20, 8], ["2", "20", "8"], [[2], 20, 8], [2, 20], [2, 20, 8, 1]),
            *("abc", {}, None),
        )
    },
    **{
        f"data_type {kind!r}": lambda document, kind=kind: document.update(data_type=kind)  # type: ignore[misc]
        for kind in ("float64", "float32", "int8", "O", "", None, 5, ["float16"], {"name": "float16"})
    },
    **{
        f"{name} {value!r:.30}": lambda document, name=name, value=value: document["attributes"].update({name: value})  # type: ignore[misc]
        for name, values in {
            "song_id": (5, None, "", ["a"], "b", True, "\ud800"),
            "view": (True, False, 0.0, -1, "0", None, [0], 1, 2**64),
            "spec": (5, None, ["x"], "0" * 16),
            "crc32c": ("0" * 8, [0, 0], [None] * 2, ["0" * 8], ["0" * 8] * 3, ["-1", "1"], ["1ffffffff"] * 2, {}, None),
            "anything": (nested(150),),
        }.items()
        for value in values
    },
    "no attributes": lambda document: document.pop("attributes"),
    "a list of attributes": lambda document: document.update(attributes=[]),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, as no record is replaced meanwhile."""
    monkeypatch.setattr(LocalObjects, "wait_seconds", 0.02)
    monkeypatch.setattr("store.format.arrays._READ_PAUSE", 0.001)


@pytest.fixture
def hostile_use(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    def check(root: str) -> dict[str, str]:
        with within(60):
            return use(root, tmp_path / "merged.zarr")

    return check


def check_only_that_record_is_lost(root: str, errors: dict[str, str], frames: np.ndarray) -> None:
    """Each use names the record or works without it; the others are intact, and a repair mends the store."""
    assert all(RECORD in error or "song 'a' view 0" in error for error in errors.values()), errors
    store = EmbeddingStore.open(root)
    np.testing.assert_array_equal(store.read("b"), frames)
    assert attempt(lambda: store.read("a")) != ""
    assert [(problem.kind, problem.path) for problem in verify(root).problems] == [("damaged", RECORD)]
    assert [problem.removed for problem in verify(root, repair=True).problems] == [True]
    assert EmbeddingStore.open(root).songs == ("b",)
    assert verify(root).problems == []


@pytest.mark.parametrize("kind", RECORDS)
def test_a_sealed_record_with_hostile_values(
    kind: str, fill: Callable[..., str], hostile_use: Callable[[str], dict[str, str]]
) -> None:
    root = fill(views=1)
    frames = EmbeddingStore.open(root).read("b")
    change_json(Path(root, RECORD, METADATA), RECORDS[kind])
    check_only_that_record_is_lost(root, hostile_use(root), frames)


@pytest.mark.parametrize("kind", TEXTS)
def test_a_record_that_is_not_a_document(kind: str, fill: Callable[..., str]) -> None:
    root = fill(views=1)
    frames = EmbeddingStore.open(root).read("b")
    Path(root, RECORD, METADATA).write_bytes(TEXTS[kind])
    check_only_that_record_is_lost(root, {}, frames)


@pytest.mark.parametrize("name", ["scale", "offset"])
@pytest.mark.parametrize("value", [*VALUES[:3], "", "AAAA", "!", "é", [1.0], {}, "AADAfwAAwH8=" * 8, None], ids=repr)
def test_invalid_levels(
    name: str, value: Any, fill: Callable[..., str], hostile_use: Callable[[str], dict[str, str]]
) -> None:
    root = fill(views=1, dtype="int8")
    frames = EmbeddingStore.open(root).read("b")
    change_json(Path(root, RECORD, METADATA), lambda document: document["attributes"].update({name: value}))
    check_only_that_record_is_lost(root, hostile_use(root), frames)


@pytest.mark.parametrize("value", VALUES[:-1], ids=lambda value: f"{value!r:.20}")
def test_a_writers_attributes_may_have_any_value(
    value: Any, fill: Callable[..., str], hostile_use: Callable[[str], dict[str, str]]
) -> None:
    root = fill(views=1)
    names = ("seconds", "source", "source_size", "source_mtime_ns", "loudest_dbfs", "truncated", "missing", "skipped")
    change_json(
        Path(root, RECORD, METADATA), lambda document: document["attributes"].update(dict.fromkeys(names, value))
    )
    assert hostile_use(root) == {}
    assert verify(root).problems == []
    assert EmbeddingStore.open(root).attributes("a")["seconds"] == value


COLUMNS = ["song_id", "view", "frames", "seconds", "digest", "source", "source_size", "source_mtime_ns"]


@pytest.mark.parametrize("column", [*COLUMNS, "stamps", "columns", "attributes"])
def test_the_index_is_never_trusted(
    column: str, fill: Callable[..., str], hostile_use: Callable[[str], dict[str, str]]
) -> None:
    root = fill()
    records, summary = dict(EmbeddingStore.open(root).rows), EmbeddingStore.open(root).summary().values
    index(root)
    good = Path(root, INDEX).read_bytes()
    possible = {"source": (str,), "source_size": (int,), "source_mtime_ns": (int,)}.get(column, ())
    for value in VALUES:
        if type(value) in possible or (value is None and possible):
            continue
        if column == "seconds" and (value is None or (type(value) in (int, float) and 0 <= value < 2**31)):
            continue
        for change in (
            lambda document, value=value: put(document, _place(document, column), value),
            lambda document, value=value: put(document, (*_place(document, column), 0), value),
        ):
            Path(root, INDEX).write_bytes(good)
            try:
                change_json(Path(root, INDEX), change)
            except (KeyError, TypeError, RecursionError):
                continue
            store = EmbeddingStore.open(root)
            assert dict(store.rows) == records, value
            np.testing.assert_array_equal(store.summary().values, summary)
    assert hostile_use(root) == {}


def _place(document: dict[str, Any], column: str) -> tuple[str, ...]:
    return ("columns", column) if column in COLUMNS else (column,)


@pytest.mark.parametrize("key", [INDEX, SOURCES])
def test_a_catalogue_that_is_not_a_document(
    key: str, fill: Callable[..., str], hostile_use: Callable[[str], dict[str, str]]
) -> None:
    root = fill()
    for kind, text in TEXTS.items():
        index(root)
        Path(root, key).write_bytes(text)
        assert len(EmbeddingStore.open(root)) == 4, kind
        assert read_seen_files(root) == {}
        assert [problem.path for problem in verify(root).problems] == [key], kind
        assert verify(root, repair=True).problems[0].removed
    assert hostile_use(root) == {}


def test_an_index_that_gives_one_digest_to_two_records(fill: Callable[..., str]) -> None:
    root = fill()
    summary = EmbeddingStore.open(root).summary().values
    index(root)
    change_json(
        Path(root, INDEX), lambda document: put(document, ("columns", "digest"), [document["columns"]["digest"][0]] * 4)
    )
    np.testing.assert_array_equal(EmbeddingStore.open(root).summary().values, summary)


def test_seen_files_of_other_types_are_left_out(fill: Callable[..., str]) -> None:
    root = fill()
    for value in VALUES:
        for column in ("song_id", "source", "source_size", "source_mtime_ns"):
            write_seen_files(root, {name: SeenFile("sha256:1", 1, 2) for name in ("a", "b")})
            if isinstance(value, list) and str(value).count("[") > 100:
                continue
            change_json(Path(root, SOURCES), lambda document: put(document, ("columns", column, 0), value))  # noqa: B023
            found = read_seen_files(root)
            assert found.pop("b", None) in (None, SeenFile("sha256:1", 1, 2))
            assert all(list(map(type, file)) == [str, int, int] for file in found.values())


@pytest.mark.parametrize("kind", range(6))
def test_hostile_summaries_are_computed_again(kind: int, fill: Callable[..., str]) -> None:
    root = fill(songs=("a", "b", "c"), views=1)
    summary = EmbeddingStore.open(root).summary().values
    cache_summaries(root)
    part = Path(root, "catalogue/summaries/0", METADATA)
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda document: document["attributes"].pop("records"),
        lambda document: document["attributes"].update(records=5),
        lambda document: document["attributes"].update(records=[document["attributes"]["records"][0]] * 3),
        lambda document: document["attributes"].update(records=document["attributes"]["records"][:2]),
        lambda document: document.update(shape=[2, 3, 2**30]),
        lambda document: document["attributes"].update(records=[[], {}, None]),
    ]
    change_json(part, changes[kind])
    np.testing.assert_array_equal(EmbeddingStore.open(root).summary().values, summary)
    assert EmbeddingStore.open(root).summary(["muq/track"]).values.shape == (3, 1, 16)
    assert attempt(lambda: verify(root, repair=True)) == ""


@pytest.mark.parametrize(
    "field", json.loads(json.dumps(Spec(streams=("a",), channels=1, encoders={}, layers=()).to_json()))
)
def test_a_hostile_spec_gives_a_one_line_error(field: str, fill: Callable[..., str], tmp_path: Path) -> None:
    root = fill(views=1)
    receipt = tmp_path / "receipt.json"
    write_receipt(EmbeddingStore.open(root), receipt)
    good, told = Path(root, ROOT).read_bytes(), receipt.read_text()
    for value in VALUES:
        Path(root, ROOT).write_bytes(good)
        change_json(Path(root, ROOT), lambda document: document["attributes"]["spec"].update({field: value}))  # noqa: B023
        problem = attempt(lambda: EmbeddingStore.open(root))
        assert not problem or root in problem
        if not problem:  # the value has the field's type
            attempt(lambda: verify(root))
            found = EmbeddingStore.open(root).spec
            assert Spec.from_json(json.loads(json.dumps(found.to_json()))) == found
        values = json.loads(told)
        values["spec"][field] = value
        receipt.write_text(json.dumps(values))
        Path(root, ROOT).write_bytes(good)
        assert str(receipt) in attempt(lambda: check_receipt(receipt, EmbeddingStore.open(root))) or value in (
            json.loads(told)["spec"][field],
            True,
        )


@pytest.mark.parametrize("text", TEXTS)
def test_a_root_that_is_not_a_document(text: str, fill: Callable[..., str], tmp_path: Path) -> None:
    root = fill(views=1)
    Path(root, ROOT).write_bytes(TEXTS[text])
    errors = use(root, tmp_path / "merged.zarr")
    assert len(errors) == 11
    assert all(error.startswith(root) for error in errors.values())


@pytest.mark.parametrize("place", [("spec",), ("format",), ("version",), ("encoders_from",), ("digest",)], ids=str)
def test_a_root_with_hostile_values(place: tuple[str, ...], fill: Callable[..., str], tmp_path: Path) -> None:
    root = fill(views=1)
    good = Path(root, ROOT).read_bytes()
    for value in VALUES:
        Path(root, ROOT).write_bytes(good)
        change_json(Path(root, ROOT), lambda document: put(document["attributes"], place, value))  # noqa: B023
        for error in (attempt(lambda: EmbeddingStore.open(root)), attempt(lambda: verify(root))):
            assert root in error or not error


@pytest.mark.parametrize("text", [*TEXTS, *map(str, range(len(VALUES)))])
def test_a_hostile_receipt_gives_a_one_line_error(text: str, fill: Callable[..., str], tmp_path: Path) -> None:
    root, receipt = fill(views=1), tmp_path / "receipt.json"
    store = EmbeddingStore.open(root)
    write_receipt(store, receipt)
    if text in TEXTS:
        receipt.write_bytes(TEXTS[text])
        assert str(receipt) in attempt(lambda: check_receipt(receipt, store))
        assert str(receipt) in attempt(lambda: locate_store(receipt))
        return
    good = json.loads(receipt.read_text())
    for place in places(good):
        values = json.loads(json.dumps(good))
        put(values, place, VALUES[int(text)])
        receipt.write_text(json.dumps(values))
        if values != good and place != ("location",):
            assert str(receipt) in attempt(lambda: check_receipt(receipt, store)), place
        attempt(lambda: EmbeddingStore.open(locate_store(receipt)))


@pytest.mark.parametrize("location", ["\0", "a" * 1_000, "\ud800", "~nobody", "://", "zip://", "nothing://a", "", "/"])
def test_a_receipt_of_a_missing_store(location: str, fill: Callable[..., str], tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    write_receipt(EmbeddingStore.open(fill(views=1)), receipt)
    values = json.loads(receipt.read_text())
    receipt.write_text(json.dumps({**values, "location": location}))
    assert attempt(lambda: EmbeddingStore.open(locate_store(receipt))) != ""


@pytest.mark.parametrize("kind", IRREGULAR)
def test_irregular_files_in_a_store_never_block(
    kind: str, fill: Callable[..., str], hostile_use: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    root = fill(views=1)
    write_seen_files(root, {"a": SeenFile("sha256:1", 1, 2)})
    cache_summaries(root)
    frames = EmbeddingStore.open(root).read("b")
    for key in (f"{RECORD}/{METADATA}", f"{RECORD}/{SHARD}", INDEX, SOURCES, f"catalogue/summaries/0/{METADATA}", ROOT):
        copy = str(tmp_path / "copy.zarr")
        shutil.copytree(root, copy)
        Path(copy, key).unlink()
        IRREGULAR[kind](Path(copy, key))
        errors = hostile_use(copy)
        if key == ROOT:
            assert all(error.startswith(copy) for error in errors.values())
            assert len(errors) == 11
        else:
            with within(60):
                np.testing.assert_array_equal(EmbeddingStore.open(copy).read("b"), frames)
                assert attempt(lambda: read_seen_files(copy)) == ""  # noqa: B023
                assert attempt(lambda: verify(copy, repair=True)) == ""  # noqa: B023
        shutil.rmtree(copy)


def test_not_enough_memory(fill: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = fill(views=1)

    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    store = EmbeddingStore.open(root)
    monkeypatch.setattr("store.format.arrays.np.empty", refuse)
    with pytest.raises(StoreError, match=r"not enough memory for an array of \(2, 20, 8\) float16: 640 bytes"):
        store.read("a")


@pytest.mark.parametrize("key", [".tmp", "catalogue", "catalogue/summaries", "records", str(Path(RECORD).parent)])
def test_links_are_never_followed_to_write_or_remove(key: str, fill: Callable[..., str], tmp_path: Path) -> None:
    root, other = fill(views=1), tmp_path / "other"
    cache_summaries(root)
    place = Path(root, key)
    if place.exists():
        place.rename(other)
    for name in ("index.json", "summaries/a/b", "precious"):
        (other / name).parent.mkdir(exist_ok=True, parents=True)
        (other / name).write_text("precious")
        os.utime(other / name, (1, 1))
    place.symlink_to(other)
    before = {path: path.stat().st_mtime_ns for path in other.rglob("*")}
    spec = EmbeddingStore.open(root).spec
    for work in (
        lambda: StoreWriter.open(root, spec).write("c", 0, np.ones((2, 20, 8), np.float32), attributes={}),
        lambda: StoreWriter.open(root, spec).write("a", 1, np.ones((2, 20, 8), np.float32), attributes={}),
        lambda: cache_summaries(root),
        lambda: prune(root, songs=["a"]),
    ):
        told = attempt(work)
        assert told == "" or f"{key}: expected a folder, found a link" in told
    use(root, tmp_path / "merged.zarr")
    assert (
        f"{root}/.tmp: expected a folder, found a link" in attempt(lambda: verify(root, repair=True)) or key != ".tmp"
    )
    assert {path: path.stat().st_mtime_ns for path in other.rglob("*")} == before


@pytest.mark.parametrize("kind", sorted(IRREGULAR.keys() - {"1 TiB"}))
def test_objects_in_the_staging_folder_are_harmless(kind: str, fill: Callable[..., str]) -> None:
    root = fill(views=1)
    for name in ("another.1.ab", "x"):
        Path(root, ".tmp").mkdir(exist_ok=True)
        IRREGULAR[kind](Path(root, ".tmp", name))
        os.utime(Path(root, ".tmp", name), (1, 1), follow_symlinks=False)
    with within(20):
        assert StoreWriter.open(root, EmbeddingStore.open(root).spec).write(
            "c", 0, np.ones((2, 20, 8), np.float32), attributes={}
        )
        assert verify(root, repair=True).problems == []


def test_endlessly_nested_folders(fill: Callable[..., str]) -> None:
    root = fill(views=1)
    # Python's own functions to make and remove folders fail here.
    subprocess.run(["mkdir", "-p", f"{root}/records/" + "d/" * 1_500], check=True)
    assert "nested deeper than in any store" in attempt(lambda: verify(root))
    assert len(EmbeddingStore.open(root)) == 2
    subprocess.run(["rm", "-r", f"{root}/records/d"], check=True)


def test_a_file_in_place_of_the_catalogue_can_be_repaired(fill: Callable[..., str]) -> None:
    root = fill(views=1)
    Path(root, "catalogue").write_text("x")
    assert [problem.removed for problem in verify(root, repair=True).problems] == [True]
    assert index(root) == 2


def test_a_web_server_without_sizes_and_ranges(
    fill: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    root = fill(views=1)
    monkeypatch.setattr(RemoteObjects, "wait_seconds", 0.02)
    monkeypatch.setattr("store.backends.remote._PAUSE", 0.001)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            errors = use(f"http://127.0.0.1:{server.server_port}/{Path(root).name}", tmp_path / "merged.zarr")
        finally:
            server.shutdown()
            thread.join()
    assert errors.keys() == {"read all", "summary", "merge", "index", "summaries", "prune"}
    assert "expected 640 bytes, got 1368" in errors["read all"]
