"""Evaluations: intervals, systems, calibration, tables and plots."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.stats import bootstrap, pearsonr

from stages.common.csv_text import read_rows
from stages.evaluate.evaluation import Evaluation, evaluation_of, system_means
from stages.evaluate.plots import calibration, draw_calibration
from stages.evaluate.tables import evaluation_table, write_evaluation
from stages.head.data.corpus import Corpus
from stages.head.errors import HeadError
from stages.metrics.agreement import METRICS, score_metrics
from stages.metrics.bootstrap import bootstrap_intervals

DIMENSIONS = ("Musicality", "Clarity")


def rated_and_predicted(songs: int, *, noise: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    rated = generator.uniform(1, 5, (songs, len(DIMENSIONS)))
    return rated, np.clip(rated + generator.normal(0, noise, rated.shape), 1, 5)


def pearson(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    return pearsonr(x, y, axis=axis).statistic


def corpus_of(rated: np.ndarray, systems: tuple[str, ...]) -> Corpus:
    names = tuple(f"song {number}" for number in range(len(rated)))
    return Corpus(names, systems, rated.astype(np.float32), ((0,),) * len(rated))


def evaluation(songs: int = 60, systems: int = 4) -> Evaluation:
    rated, predicted = rated_and_predicted(songs)
    corpus = corpus_of(rated, tuple(f"system {number % systems}" for number in range(songs)))
    return evaluation_of(corpus, predicted.astype(np.float32), split="val", dimensions=DIMENSIONS, draws=200)


def test_intervals_are_scipy_s_percentile_bootstrap() -> None:
    rated, predicted = rated_and_predicted(80, noise=1.0)
    found = bootstrap_intervals(rated, predicted, dimensions=DIMENSIONS, draws=600)["Musicality"]["LCC"]
    pair = (rated[:, 0], predicted[:, 0])
    expected = bootstrap(pair, pearson, paired=True, vectorized=True, n_resamples=4000, method="percentile", rng=1)
    # Two bootstraps with this many draws differ by less than a tenth of the interval's width.
    width = expected.confidence_interval.high - expected.confidence_interval.low
    np.testing.assert_allclose(found, expected.confidence_interval, atol=width / 10)


def test_intervals_are_seeded_contain_the_value_and_narrow_with_more_songs() -> None:
    widths = []
    for songs in (40, 640):
        rated, predicted = rated_and_predicted(songs)
        values = score_metrics(rated, predicted, dimensions=DIMENSIONS)
        ends = bootstrap_intervals(rated, predicted, dimensions=DIMENSIONS, draws=200)
        assert ends == bootstrap_intervals(rated, predicted, dimensions=DIMENSIONS, draws=200)
        assert ends.keys() == values.keys()
        for name, row in values.items():
            for metric in METRICS:
                assert ends[name][metric][0] <= row[metric] <= ends[name][metric][1]
        widths.append(np.diff(ends["mean"]["LCC"])[0])
    assert widths[1] < widths[0] / 2


def test_system_means_ignore_songs_without_a_system() -> None:
    rated = np.array([[1.0, 2.0], [3.0, 2.0], [4.0, 5.0], [4.0, 3.0], [1.0, 1.0]])
    predicted = np.array([[2.0, 2.0], [2.0, 2.0], [5.0, 4.0], [3.0, 4.0], [5.0, 5.0]])
    found = system_means(corpus_of(rated, ("a", "a", "b", "b", "")), predicted)
    np.testing.assert_array_equal(found.ratings, [[2.0, 2.0], [4.0, 4.0]])
    np.testing.assert_array_equal(found.scores, [[2.0, 2.0], [4.0, 4.0]])
    assert system_means(corpus_of(rated, ("",) * 5), predicted).ratings.shape == (0, 2)


@pytest.mark.parametrize("systems", [1, 2, 3, 12])
def test_intervals_of_systems_resample_systems(systems: int) -> None:
    found = evaluation(systems=systems)
    means = system_means(found.corpus, found.predicted)
    assert (found.system is None) == (systems < 2)
    if systems < 3:
        assert found.system_intervals is None
        return
    assert found.system == score_metrics(*means, dimensions=DIMENSIONS)
    assert found.system_intervals == bootstrap_intervals(*means, dimensions=DIMENSIONS, draws=200)
    low, high = found.system_intervals["Clarity"]["LCC"]
    assert low <= found.system["Clarity"]["LCC"] <= high


def test_calibration_bins_hold_every_song_once_in_order() -> None:
    rated, predicted = rated_and_predicted(43)
    points = [p for p in calibration(rated, predicted, DIMENSIONS) if p.dimension == "Clarity"]
    assert [point.songs for point in points] == [6, 6, 6, 5, 5, 5, 5, 5]
    assert [point.predicted for point in points] == sorted(point.predicted for point in points)
    total = sum(point.rated * point.songs for point in points)
    assert total / 43 == pytest.approx(rated[:, 1].mean())
    assert len(calibration(rated[:3], predicted[:3], DIMENSIONS)) == 2


def test_files_hold_the_figures(tmp_path: Path) -> None:
    found = evaluation()
    write_evaluation(found, tmp_path / "a" / "all.json", summary=tmp_path / "means.json", plots=tmp_path / "plots")
    everything = json.loads((tmp_path / "a" / "all.json").read_text())
    assert everything["songs"] == 60
    assert everything["utterance"]["Clarity"]["SRCC"] == pytest.approx(found.utterance["Clarity"]["SRCC"], abs=1e-6)
    ends = found.system_intervals["mean"]["LCC"]
    assert everything["system_intervals"]["mean"]["LCC"] == pytest.approx(ends, abs=1e-6)
    assert everything["system"].keys() == everything["utterance"].keys() == everything["intervals"].keys()
    means = json.loads((tmp_path / "means.json").read_text())
    assert means == everything["utterance"]["mean"]
    with (tmp_path / "plots" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    assert float(rows[3]["predicted"]) == pytest.approx(found.predicted[1, 1], abs=1e-6)
    for name in ("predictions.png", "calibration.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")


def test_any_song_id_reads_back(tmp_path: Path) -> None:
    found = evaluation()
    songs = ("a/b", "a\rb", "\r\n", *found.corpus.songs[3:])
    odd = replace(found, corpus=replace(found.corpus, songs=songs))
    write_evaluation(odd, tmp_path / "all.json", plots=tmp_path / "plots")
    with (tmp_path / "plots" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        _, *rows = read_rows(file)
    assert list(dict.fromkeys(cells[0] for _, cells in rows)) == list(songs)


def test_the_table_has_one_line_per_dimension_and_one_of_means() -> None:
    lines = evaluation_table(evaluation()).splitlines()
    assert lines[0].split() == ["val,", "60", "songs", *METRICS]
    assert [line.split()[0] for line in lines[1:4]] == ["Musicality", "Clarity", "mean"]
    assert lines[5].startswith("4 systems")
    assert all("[" in line and "]" in line for line in (*lines[1:4], *lines[6:9]))
    assert max(map(len, lines)) <= 120
    few = evaluation_table(evaluation(systems=2)).splitlines()
    assert [line.count("[") for line in few[5:]] == [0, 0, 0, 0]


def test_values_that_round_to_0_have_no_minus() -> None:
    found = evaluation()
    nothing = {name: dict.fromkeys(METRICS, -1e-4) for name in found.utterance}
    ends = {name: dict.fromkeys(METRICS, (-1e-3, -1e-4)) for name in found.utterance}
    shown = evaluation_table(replace(found, utterance=nothing, intervals=ends))
    assert "0.000 [ 0.00, 0.00]" in shown
    assert "-0.0" not in shown


def test_the_demos_figures_have_a_warning(tmp_path: Path) -> None:
    demo = replace(evaluation(), caution="trained on the demo: meaningless for music")
    assert evaluation_table(demo).splitlines()[-2:] == ["", "⚠ trained on the demo: meaningless for music"]
    assert "⚠" not in evaluation_table(evaluation())
    for name, found in (("demo", demo), ("real", evaluation())):
        write_evaluation(found, tmp_path / f"{name}.json", summary=tmp_path / "means.json", plots=tmp_path / name)
        assert json.loads((tmp_path / f"{name}.json").read_text()).get("caution", "") == found.caution
        assert json.loads((tmp_path / "means.json").read_text()).keys() == set(METRICS)
        for plot in ("predictions.png", "calibration.png"):
            picture = imread(tmp_path / name / plot)[-40:, :, :3]
            red = (picture[..., 0] > 0.6) & (picture[..., 1] < 0.2) & (picture[..., 2] < 0.3)
            assert bool(red.any()) is bool(found.caution)


def test_files_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_evaluation(evaluation(), tmp_path / "all.json", plots=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*about: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(HeadError, match=r"all\.json: cannot be written: No space"):
        write_evaluation(evaluation(), tmp_path / "all.json", plots=tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(HeadError, match=r"predictions\.png: cannot be written: No space"):
        write_evaluation(evaluation(), tmp_path / "all.json", plots=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HeadError, match=r"file.*: cannot be written: "):
        write_evaluation(evaluation(), tmp_path / "file" / "metrics.json")


def test_names_on_a_figure_are_plain_text(tmp_path: Path) -> None:
    rated, predicted = rated_and_predicted(40)
    names = ("$\\frac$", "\x1b[31m\udcff")
    draw_calibration(tmp_path / "x.png", calibration(rated, predicted, names), names, caution="no $\\frac$ \0")
    assert imread(tmp_path / "x.png").shape[2] == 4
