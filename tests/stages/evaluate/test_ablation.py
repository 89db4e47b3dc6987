"""Table 2: its rows and their parts, the memory estimate of a run, and the table with the paper's results."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from stages.evaluate.ablation import TABLE_2, Setting, describe_rows, row_job
from stages.evaluate.ablation_table import AblationRow, ablation_markdown, describe_runs, write_ablation
from stages.head.config import TrainConfig
from stages.head.errors import HeadError
from stages.head.training.footprint import run_gigabytes
from stages.head.training.runs import Job
from stages.metrics.agreement import METRICS

FULL, BASELINE = Setting(True, True, True), Setting(False, False, False)


@pytest.fixture
def job(tmp_path: Path, learnable, config: TrainConfig) -> Job:
    return Job(
        name="ablation",
        store_root=learnable.store,
        manifest=learnable.manifest,
        track=2,
        out=tmp_path / "out",
        config=config,
    )


def test_the_rows_are_all_combinations_and_the_paper_finds_the_full_one_best() -> None:
    assert {row.setting for row in TABLE_2} == {Setting(*parts) for parts in product((False, True), repeat=3)}
    assert [sum(row.setting) for row in TABLE_2] == [0, 1, 1, 1, 2, 2, 2, 3]
    for track, metric in product((1, 2), ("LCC", "TTA")):
        assert max(TABLE_2, key=lambda row: row.metrics(track)[metric]).setting == FULL


@pytest.mark.parametrize("parts", list(product((False, True), repeat=3)))
def test_a_row_switches_off_the_parts_that_it_lacks(job: Job, parts: tuple[bool, bool, bool]) -> None:
    job = replace(job, config=replace(job.config, streams=("musicfm/track",), augmented=1, mix="frames", beta=0.3))
    row = row_job(job, Setting(*parts))
    mmr, has, ranking = parts
    assert (row.config.architecture, row.config.streams) == (("hear", ("musicfm/track",)) if mmr else ("songeval", ()))
    assert (row.config.augmented, row.config.mix) == ((1, "frames") if has else (0, "none"))
    assert row.config.track_beta(2) == (0.3 if ranking else 0.0)
    assert replace(row.config, **{n: getattr(job.config, n) for n in CHANGED}) == job.config


CHANGED = ("architecture", "streams", "augmented", "mix", "beta")


def test_each_row_has_its_own_folder(job: Job) -> None:
    folders = [row_job(job, row.setting).out.relative_to(job.out) for row in TABLE_2]
    assert list(map(str, folders)) == ["baseline", "mmr", "has", "l", "mmr-has", "mmr-l", "has-l", "mmr-has-l"]


@pytest.mark.parametrize(
    ("layers", "views", "expected"),
    [
        (
            (10,),
            2,
            [
                "without: SongEval's head on muq/track@10, as the store lacks layer 6",
                "HAS: 1 augmented view per song and",
            ],
        ),
        (
            (6, 10),
            1,
            ["head on musicfm/track@10, muq/track@10; without: SongEval's head on muq/track@6.", "HAS: C-Mixup"],
        ),
    ],
)
def test_the_notes_name_layers_and_views(
    tmp_path: Path,
    make_learnable: Callable,
    config: TrainConfig,
    layers: tuple[int, ...],
    views: int,
    expected: list[str],
) -> None:
    here = make_learnable(tmp_path, songs=12, layers=layers, views=views)
    job = Job(name="", store_root=here.store, manifest=here.manifest, track=1, out=tmp_path / "out", config=config)
    notes = "\n".join(describe_rows(job, {row.setting: row_job(job, row.setting).open() for row in TABLE_2}))
    assert "Track 1: 9 training songs, 3 validation songs" in notes
    assert "SmoothL1 + 0.15 · ListMLE" in notes
    for text in expected:
        assert text in notes


def test_the_memory_of_a_run_grows_with_its_data_and_batches(job: Job) -> None:
    data = job.open()
    plain = run_gigabytes(data, job.config)
    # By hand: 36 + 6 records of about 26 frames of 16 half-precision numbers are kilobytes.
    assert plain == pytest.approx(0.7, abs=0.01)
    paper = replace(job.config, size="paper", mix="none")
    parameters = run_gigabytes(data, paper) - plain
    assert 30e6 * 20 / 1e9 < parameters < 40e6 * 20 / 1e9 + 0.05
    mixing = run_gigabytes(data, replace(paper, mix="pooled"))
    assert run_gigabytes(data, replace(paper, mix="pooled", batch_size=8)) - mixing == pytest.approx(
        2 * (mixing - run_gigabytes(data, paper)), rel=1e-6
    )
    streaming = replace(job.config, memory=0.0, workers=2)
    assert run_gigabytes(data, streaming) == pytest.approx(plain, abs=0.01)


def figures(value: float) -> dict[str, float]:
    return {metric: value + number / 100 for number, metric in enumerate(METRICS)}


def test_the_table_compares_our_results_with_the_paper() -> None:
    rows = [
        AblationRow(paper=TABLE_2[0], ours=figures(0.5)),
        AblationRow(paper=TABLE_2[6], ours=figures(0.6), std=figures(0.01)),
        AblationRow(paper=TABLE_2[7], ours=None),
    ]
    assert ablation_markdown(rows, track=1, notes=["a note"]).splitlines() == [
        "| MMR | HAS | L | LCC | paper | SRCC | paper | KTAU | paper | TTA | paper |",
        "|:-:|:-:|:-:|--:|--:|--:|--:|--:|--:|--:|--:|",
        "|   |   |   | 0.500 | 0.913 | 0.510 | 0.900 | 0.520 | 0.745 | 0.530 | 0.818 |",
        "|   | ✓ | ✓ | 0.600 ± 0.010 | 0.916 | 0.610 ± 0.020 | 0.904 | 0.620 ± 0.030 | 0.745 | 0.630 ± 0.040 | 0.859 |",
        "| ✓ | ✓ | ✓ | failed | 0.920 | failed | 0.910 | failed | 0.752 | failed | 0.871 |",
        "",
        "- a note",
    ]


def trained_row(number: int, steps: tuple[int, ...], validations: tuple[int, ...]) -> AblationRow:
    return AblationRow(paper=TABLE_2[number], ours=figures(0.5), steps=steps, validations=validations)


@pytest.mark.parametrize(
    ("rows", "views", "expected"),
    [
        ([], 0, []),
        ([AblationRow(paper=TABLE_2[7], ours=None)], 0, []),
        (
            [trained_row(0, (12,), (3,)), trained_row(7, (12,), (3,))],
            1,
            [
                "Steps: 12 in every run; an epoch has one view of each song.",
                "Epoch: the best of 3 validations per run on these same songs, by the sum of LCC, SRCC, KTAU and TTA; "
                "so the figures are optimistic.",
            ],
        ),
        (
            [
                trained_row(0, (12, 12), (3, 3)),
                trained_row(2, (96, 108), (2, 3)),
                AblationRow(paper=TABLE_2[7], ours=None),
            ],
            9,
            [
                "Steps: not equal: baseline 12, has 96 to 108; an epoch has 9 views of each song.",
                "Epoch: the best of 2 to 3 validations per run on these same songs, by the sum of LCC, SRCC, KTAU and "
                "TTA; so the figures are optimistic.",
            ],
        ),
        (
            [trained_row(1, (5,), (1,))],
            0,
            [
                "Steps: 5 in every run; an epoch has all views of each song.",
                "Epoch: the last; each run was validated once, at the end.",
            ],
        ),
    ],
)
def test_the_notes_describe_training_steps_and_the_choice_of_epochs(
    rows: list[AblationRow], views: int | None, expected: list[str]
) -> None:
    assert describe_runs(rows, views_per_epoch=views) == expected


def test_files_of_the_table(tmp_path: Path) -> None:
    rows = [trained_row(number, (4, 5), (2, 2)) for number in range(7)] + [AblationRow(paper=TABLE_2[7], ours=None)]
    write_ablation(tmp_path / "new", rows, track=2, notes=[])
    with (tmp_path / "new" / "ablation.csv").open(newline="", encoding="utf-8") as file:
        first, *_, last = csv.DictReader(file)
    assert (first["row"], first["mmr"], first["KTAU"], first["KTAU_paper"]) == ("baseline", "0", "0.520000", "0.736")
    assert (first["steps"], first["validations"], last["steps"]) == ("4.5", "2", "")
    assert (last["row"], last["l"], last["TTA"], last["TTA_paper"]) == ("mmr-has-l", "1", "", "0.853")
    assert (tmp_path / "new" / "ablation.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "file").touch()
    with pytest.raises(HeadError, match=r"ablation\.md: cannot be written: File exists"):
        write_ablation(tmp_path / "file", rows, track=2, notes=[])


def test_the_baseline_uses_layer_6_if_the_store_has_it(tmp_path: Path, make_learnable: Callable, job: Job) -> None:
    here = make_learnable(tmp_path, songs=12, layers=(6, 10))
    job = replace(job, store_root=here.store, manifest=here.manifest, config=replace(job.config, epochs=1))
    row = row_job(job, BASELINE)
    assert row.run() is True
    params = json.loads((row.out / "params.json").read_text())
    assert (params["streams"], params["beta"], params["augmented"]) == (["muq/track@6"], 0.0, 0)
    assert row.run() is False
