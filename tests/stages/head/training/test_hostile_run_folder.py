"""Untrusted run folders: their files are checked, and a FIFO does not block."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.evaluate.trained_on import read_trained_on
from stages.head.checkpoint.layout import CONFIG, METRICS_FILE, PARAMS, RECEIPT, RUN
from stages.head.checkpoint.metrics_file import read_metrics, read_metrics_file
from stages.head.data.ratings import RATINGS, Ratings, read_ratings, write_ratings
from stages.head.files import read_object, write_json
from stages.head.share.card import _figures, _results
from stages.head.training.history import EVALUATIONS, EvaluationRow, write_rows
from stages.head.training.report import read_report, read_run
from stages.head.training.run_folder import IMPLIED_PARAMS, RunFolder
from stages.metrics.agreement import METRICS
from tests.store.hostile import IRREGULAR, TEXTS, VALUES, attempt, places, put, within

ROW = dict.fromkeys(METRICS, 0.5)
TABLE = {"Musicality": ROW, "mean": ROW}
FILES = {
    METRICS_FILE: {**TABLE, "std": TABLE, "ensemble": TABLE},
    RUN: {
        **dict.fromkeys(("best_step", "best_epoch", "steps", "songs", "records"), 3),
        **{"missing": ["a"], "unrated": [], "notes": ["n"], "seconds": 1.5, "waiting": 0.5},
    },
    PARAMS: {**IMPLIED_PARAMS, "track": 1, "labels": {"val": "ab"}, "shuffle_labels": False, "sigma": 1.0},
    RECEIPT: {"format": "hear-embeddings", "version": 1, "digest": "sha256:a", "spec": {"streams": ["a"]}},
}
# Readers of each file; see `uses`.
READERS = {
    METRICS_FILE: ("report", "metrics", "card"),
    RUN: ("report", "card"),
    PARAMS: ("trained on",),
    RECEIPT: ("receipt",),
}
RATED = Ratings(dimensions=("Musicality",), splits={"val": {"a": (3.5,)}})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The files of a complete run, without its head."""
    for name, values in FILES.items():
        write_json(tmp_path / name, values)
    write_json(tmp_path / CONFIG, {})
    write_ratings(tmp_path / RATINGS, RATED)
    best = EvaluationRow(step=3, epoch=1, lcc=0.5, srcc=0.5, ktau=0.5, tta=0.5, total=2.0, best=True)
    write_rows(tmp_path / EVALUATIONS, [best], EvaluationRow)
    return tmp_path


def card(run: Path) -> str:
    """The results of a model card; its other parts need a head."""
    metrics, told = read_metrics_file(run / METRICS_FILE), read_run(run / RUN)
    results = list(_results(metrics.get("ensemble", metrics), ""))
    return f"{_figures(metrics)}{len(results)}{told['songs']} {told['records']}"


def uses(run: Path) -> dict[str, Callable[[], object]]:
    """The functions by which commands read a run's folder."""
    return {
        "report": lambda: [(report := read_report(run)), report.line, json.dumps(report.to_json())],
        "metrics": lambda: [
            float(row[metric]) for row in read_metrics(run / METRICS_FILE).values() for metric in METRICS
        ],
        "card": lambda: card(run),
        "receipt": lambda: read_object(run / RECEIPT),
        "trained on": lambda: read_trained_on(run),
        "difference": lambda: RunFolder(run).difference(FILES[PARAMS], FILES[RECEIPT], RATED),  # type: ignore[arg-type]
        "ratings": lambda: read_ratings(run / RATINGS),
    }


def test_the_files_are_valid(run: Path) -> None:
    assert {attempt(use) for use in uses(run).values()} == {""}
    assert RunFolder(run).difference(FILES[PARAMS], FILES[RECEIPT], RATED) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FILES)
def test_hostile_values(name: str, run: Path) -> None:
    for place in places(FILES[name]):
        for value in VALUES:
            values = json.loads(json.dumps(FILES[name]))
            put(values, place, value)
            (run / name).write_text(json.dumps(values))
            for use in READERS[name]:
                problem = attempt(uses(run)[use])
                assert not problem or str(run) in problem
            difference = RunFolder(run).difference(FILES[PARAMS], FILES[RECEIPT], RATED)  # type: ignore[arg-type]
            assert len(difference) < 1_000


@pytest.mark.parametrize("name", [*FILES, EVALUATIONS, RATINGS])
def test_hostile_text(name: str, run: Path) -> None:
    for text in TEXTS.values():
        (run / name).write_bytes(text)
        problems = [problem for use in uses(run).values() if (problem := attempt(use))]
        assert all(str(run) in problem for problem in problems)


@pytest.mark.parametrize("kind", IRREGULAR)
@pytest.mark.parametrize("name", [*FILES, EVALUATIONS, RATINGS])
def test_irregular_files_are_not_waited_for(name: str, kind: str, run: Path) -> None:
    (run / name).unlink()
    IRREGULAR[kind](run / name)
    with within(60):
        for use in uses(run).values():
            problem = attempt(use)
            assert not problem or str(run) in problem
