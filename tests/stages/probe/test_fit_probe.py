"""Fitting probes on a store: real signals are found, and leaks do not raise the scores."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from stages.probe.config import ProbeConfig
from stages.probe.errors import ProbeError
from stages.probe.fit import fit_probe
from stages.probe.plots import _sweep
from stages.probe.report import ProbeReport
from stages.probe.saved import load_probe

RNG = np.random.default_rng(0)
COUNT = 60
KIND = np.arange(COUNT) % 3
ONE_HOT = np.eye(3)[KIND] * 2
VALUE = RNG.normal(size=COUNT)
GENRE = [("pop", "rock", "jazz")[kind] for kind in KIND]
FAST = {"draws": 60, "setting": 1.0}


def answer(store: Path, labels: Path, *, out: Path | None = None, sweep: bool = False, **asked: object) -> ProbeReport:
    config = ProbeConfig(**{"draws": 60, **asked})  # type: ignore[arg-type]
    return fit_probe(store, config, labels=labels, sweep="streams" if sweep else None, out=out)


@pytest.mark.parametrize("model", ["ridge", "svr", "knn"])
def test_numbers_are_predicted(make_store, make_labels, model: str) -> None:
    # In all channels: features are standardised, so uninformative ones affect distances as much as others.
    store = make_store(np.tile(VALUE * 3, (6, 1)).T)
    report = answer(store, make_labels(tempo=VALUE), target="tempo", model=model, streams=("muq/track",))
    assert report.task == "regression"
    assert report.scores.probe["R2"].value > 0.7
    assert report.scores.probe["R2"].low <= report.scores.probe["R2"].value <= report.scores.probe["R2"].high
    assert report.scores.baseline["R2"].value == pytest.approx(0.0)
    assert report.scores.gain.low > 0


@pytest.mark.parametrize("model", ["logistic", "linear-svm", "knn"])
def test_classes_are_predicted(make_store, make_labels, model: str) -> None:
    report = answer(make_store(ONE_HOT), make_labels(genre=GENRE), target="genre", model=model, streams=("muq/track",))
    assert report.task == "classification"
    assert report.sample.classes == ("jazz", "pop", "rock")
    assert report.scores.probe["accuracy"].value > 0.9
    assert report.scores.baseline["accuracy"].value == pytest.approx(1 / 3)
    assert report.confusion().sum() == COUNT
    assert report.scores.gain.low > 0


def test_a_random_label_scores_at_chance(make_store, make_labels) -> None:
    report = answer(make_store(ONE_HOT), make_labels(value=VALUE), target="value", model="ridge")
    assert report.scores.gain.low < 0
    assert "not distinguishable from the baseline" in report.to_text() or "below the baseline" in report.to_text()


def test_the_sweep_finds_the_stream(make_store, make_labels) -> None:
    store = make_store(ONE_HOT, stream="musicfm/segment")
    report = answer(store, make_labels(genre=GENRE), target="genre", model="logistic", sweep=True, setting=0.01)
    by_name = {row.name: row.value.value for row in report.sweep}
    assert list(by_name.values()) == sorted(by_name.values(), reverse=True)
    carry = {"musicfm/segment", "musicfm", "segment", "all"}
    assert min(by_name[name] for name in carry) > max(value for name, value in by_name.items() if name not in carry)
    silent = next(row for row in report.sweep if row.name == "muq/track")
    assert silent.gain.low < 0.1
    assert by_name["all"] == report.scores.probe["accuracy"].value
    assert "musicfm/segment" in report.to_text()


def test_changes_over_time_need_the_standard_deviation(make_store, make_labels) -> None:
    spread = np.exp(RNG.normal(size=COUNT))
    store, labels = make_store(VALUE * 0, spread=spread), make_labels(busy=np.log(spread))
    asked = {"target": "busy", "model": "ridge", "streams": ("muq/track",), "setting": 1.0}
    found = {pooling: answer(store, labels, pooling=pooling, **asked) for pooling in ("mean", "std", "both")}
    value = {pooling: report.scores.probe["R2"].value for pooling, report in found.items()}
    assert value["std"] > 0.5 > value["mean"]
    assert value["both"] > 0.4
    assert [report.features for report in found.values()] == [6, 6, 12]


def test_a_label_equal_to_the_group_scores_at_chance(make_store, make_labels) -> None:
    """Embeddings identify the artist, and the label belongs to the artist: only --group shows that."""
    artist = np.arange(COUNT) // 6
    labels = make_labels(artist=[f"a{one}" for one in artist], likes=RNG.permutation(10)[artist])
    store = make_store(np.eye(10)[artist][:, :6] * 5 + np.eye(10)[artist][:, 4:] * 3, noise=0.1)
    asked = {"target": "likes", "model": "knn", "streams": ("muq/track",), "setting": 3}
    fooled, honest = answer(store, labels, **asked), answer(store, labels, group="artist", **asked)
    assert fooled.scores.probe["R2"].value > 0.9
    assert honest.scores.probe["R2"].value < 0.1
    assert honest.scores.gain.low < 0
    for artist_folds in (honest.sample.folds[artist == one] for one in range(10)):
        assert len(set(artist_folds.tolist())) == 1


def test_classes_of_groups_score_at_chance(make_store, make_labels) -> None:
    artist = np.arange(80) // 4
    mood = np.array(["calm", "wild"])[RNG.permutation(20) % 2][artist]
    store = make_store(RNG.normal(size=(20, 6))[artist] * 3, noise=0.05)
    labels = make_labels(artist=artist, mood=mood)
    asked = {"target": "mood", "model": "knn", "streams": ("muq/track",), "setting": 1}
    assert answer(store, labels, **asked).scores.probe["accuracy"].value > 0.95
    assert answer(store, labels, group="artist", **asked).scores.gain.low < 0.1


def test_augmented_views_train_and_never_straddle(make_store, make_labels) -> None:
    """A random label, which a probe could only learn from another view of the song."""
    store = make_store(RNG.normal(size=(COUNT, 6)), views=(0, 1, 2))
    labels = make_labels(value=RNG.normal(size=COUNT))
    asked = {"target": "value", "model": "knn", "setting": 1}
    plain, more = answer(store, labels, **asked), answer(store, labels, augmented=True, **asked)
    assert (plain.rows, more.rows) == (COUNT, 3 * COUNT)
    assert more.scores.probe["R2"].value < 0.2
    assert len(more.predicted) == COUNT


def test_songs_left_out_are_named(make_store, make_labels) -> None:
    labels = make_labels(value=["", "nan", *VALUE[2:], 1.0])
    report = answer(make_store(VALUE), labels, target="value", model="ridge")
    assert report.sample.left_out == {
        "no value in 'value'": ("song 000", "song 001"),
        "not in the store": ("song 060",),
    }
    assert "left out, no value in 'value': 2 (song 000, song 001)" in report.to_text()
    assert len(report.to_json()["predictions"]) == COUNT - 2


def test_songs_without_a_clean_view_or_a_label_are_named(make_store, make_labels) -> None:
    store = make_store(VALUE)
    make_store(np.zeros(COUNT + 1), views=(1,))
    report = answer(store, make_labels(value=[*VALUE, 3.0]), target="value", model="ridge", setting=1.0)
    assert report.sample.left_out == {"no clean view in the store": ("song 060",)}
    short = answer(store, make_labels(value=VALUE), target="value", model="ridge", setting=1.0)
    assert short.sample.left_out == {"not in the labels": ("song 060",)}


def test_written_files(make_store, make_labels, tmp_path: Path) -> None:
    out = tmp_path / "probe of songs"
    (tmp_path / "probe of songs").mkdir()
    (out / "scatter.png").write_bytes(b"of an earlier probe")
    store, labels = make_store(ONE_HOT), make_labels(genre=GENRE)
    report = answer(store, labels, target="genre", model="logistic", out=out, sweep=True, setting=0.01)
    assert sorted(path.name for path in out.iterdir()) == [
        "confusion.png",
        "predictions.csv",
        "probe.json",
        "probe.safetensors",
        "sweep.png",
    ]
    assert (out / "confusion.png").read_bytes().startswith(b"\x89PNG")
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["truth"] for row in rows] == GENRE
    assert {row["song_id"] for row in rows} == set(report.sample.songs)
    told = json.loads((out / "probe.json").read_text())["report"]["scores"]
    assert told["probe"]["accuracy"]["value"] == report.scores.probe["accuracy"].value
    assert load_probe(out).setting == 0.01
    # The frame does not hide a baseline of 0.
    assert _sweep(report).axes[0].get_xlim()[0] < 0


def test_names_are_not_drawn_as_formulas(make_store, make_labels, tmp_path: Path) -> None:
    """Class names go into plots: dollars, scripts without glyphs and line breaks do not stop them."""
    names = [("$a_b$ {", "流行", "very " * 20)[kind] for kind in KIND]
    answer(make_store(ONE_HOT), make_labels(**{"$x": names}), target="$x", model="logistic", out=tmp_path / "o")
    assert (tmp_path / "o" / "confusion.png").stat().st_size > 1000


def test_the_same_settings_give_the_same_result(make_store, make_labels) -> None:
    store, labels = make_store(VALUE), make_labels(value=VALUE)
    one, other = (answer(store, labels, target="value", model="ridge").to_json() for _ in range(2))
    assert one == other
    assert json.loads(json.dumps(one, allow_nan=False)) == one


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        ({"value": VALUE}, {"target": "tempo"}, "no column 'tempo'; found value"),
        ({"value": [""] * COUNT}, {"target": "value"}, "no song has a value in column 'value'"),
        ({"value": [3] * COUNT}, {"target": "value"}, "column 'value' is 3 for all 60 songs"),
        ({"genre": ["pop"] * COUNT}, {"target": "genre", "model": "logistic"}, "column 'genre' is pop for all 60"),
        ({"genre": GENRE}, {"target": "genre"}, "expected numbers, found 'pop'; correct it, or use one of knn"),
        ({"value": VALUE}, {"target": "value", "model": "logistic"}, "if the numbers are quantities, use one of ridge"),
        ({"genre": GENRE}, {"target": "genre", "model": "logistic", "task": "regression"}, "logistic does not support"),
        ({"value": VALUE}, {"target": "value", "model": "tree"}, "unknown model 'tree'; expected one of ridge"),
        ({"value": VALUE}, {"target": "value", "cv": 2}, "2 folds: expected at least 3, .*--setting"),
        ({"value": VALUE}, {"target": "value", "cv": 31}, "60 songs are too few for 31 folds of two"),
        ({"value": VALUE}, {"target": "value", "streams": ("mert",)}, "no stream 'mert' in the store; found mus"),
        ({"value": VALUE}, {"target": "value", "setting": -1.0}, "setting -1: ridge needs alpha above 0"),
        ({"value": VALUE}, {"target": "value", "model": "knn", "setting": 99}, "a whole number up to 48"),
        ({"value": VALUE, "band": [1] * COUNT}, {"target": "value", "group": "band"}, "1 groups of 'band' are too few"),
        ({"value": VALUE}, {"target": "value", "group": "artist"}, "no column 'artist'"),
        (
            {"genre": ["few"] * 4 + ["rare"] * 3 + ["pop"] * (COUNT - 7)},
            {"target": "genre", "model": "logistic"},
            "class 'rare' has 3 songs, fewer than the 5 folds; use --cv 3, merge the class with another",
        ),
        (
            {"genre": ["two"] * 2 + ["pop"] * (COUNT - 2)},
            {"target": "genre", "model": "logistic"},
            "class 'two' has 2 songs, fewer than the 5 folds; use --cv 2 with --setting, merge the class",
        ),
        (
            {"genre": GENRE},
            {"target": "genre", "model": "logistic", "group": "genre"},
            "class 'jazz' has 1 groups of 'genre', fewer than the 5 folds; merge the class",
        ),
    ],
)  # fmt: skip
def test_questions_without_an_answer(make_store, make_labels, columns: dict, asked: dict, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        answer(make_store(VALUE), make_labels(**columns), **{"model": "ridge", **asked})


def test_no_common_songs(make_store, make_labels, tmp_path: Path) -> None:
    labels = tmp_path / "other.csv"
    labels.write_text("song_id,value\nelsewhere,1\n")
    with pytest.raises(ProbeError, match=r"no song in common with the store \('song 000' in the store, 'elsewhere'"):
        answer(make_store(VALUE), labels, target="value", model="ridge")


def test_a_sweep_needs_several_streams(make_store, make_labels) -> None:
    with pytest.raises(ProbeError, match="only stream 'muq/track' is chosen"):
        answer(
            make_store(VALUE),
            make_labels(value=VALUE),
            target="value",
            model="ridge",
            streams=("muq/track",),
            sweep=True,
        )


def test_two_songs_per_class_suffice_with_a_setting(make_store, make_labels) -> None:
    kind = ["two"] * 2 + ["pop"] * (COUNT - 2)
    store, labels = make_store(np.array([one == "two" for one in kind]) * 9.0), make_labels(kind=kind)
    asked = {"target": "kind", "model": "logistic", "streams": ("muq/track",), "cv": 2, "setting": 1.0}
    report = answer(store, labels, **asked)
    np.testing.assert_array_equal(report.confusion(), [[COUNT - 2, 0], [0, 2]])
    assert sorted(report.sample.folds[:2]) == [0, 1]


def test_few_songs_give_a_note(make_store, make_labels) -> None:
    asked = {"target": "value", "model": "ridge", "setting": 1.0}
    few = answer(make_store(VALUE[:12]), make_labels(value=VALUE[:12]), **asked).to_text()
    assert few.endswith("only 12 songs: the intervals are rough")
    labels = make_labels(value=VALUE, band=np.arange(COUNT) // 6)
    many = answer(make_store(VALUE, name="other.zarr"), labels, **asked).to_text()
    assert "rough" not in many
    banded = answer(make_store(VALUE, name="other.zarr"), labels, group="band", **asked).to_text()
    assert banded.endswith("only 10 groups of 'band': the intervals are rough")


def test_a_class_named_as_a_number(make_store, make_labels) -> None:
    """A model that only classifies takes zero and one as classes; one that does both takes them as numbers."""
    store, labels = make_store(ONE_HOT), make_labels(kind=KIND)
    assert answer(store, labels, target="kind", model="knn", setting=3).task == "regression"
    assert answer(store, labels, target="kind", model="knn", setting=3, task="classification").task == "classification"
    report = answer(store, labels, target="kind", model="logistic")
    assert report.sample.classes == ("0", "1", "2")
    assert report.scores.probe["accuracy"].value > 0.9
