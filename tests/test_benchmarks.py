"""Benchmarks keep figures, check goals, and `make gpu` reports what was measured, and what was not."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as all_benchmarks
from benchmarks.figures import Figure, Figures, read_figures
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.report import page, read_journal, write_line
from benchmarks.gpu.tests import Outcomes

ROOT = Path(__file__).resolve().parents[1]
MACHINE = {"CPU": "a processor", "GPU": "a card"}
DRY = {"CPU": "a processor", "GPU": "none"}


@pytest.mark.parametrize(
    ("value", "least", "most", "missed"),
    [
        (1.0, 1.0, None, False),
        (0.99, 1.0, None, True),
        (1.0, None, 1.0, False),
        (1.01, None, 1.0, True),
        (2.0, 1.0, 3.0, False),
        (math.nan, 1.0, None, True),
        (math.nan, None, 1.0, True),
        (math.nan, None, None, False),
        (None, 1.0, None, False),
    ],
)
def test_a_goal_is_missed_unless_the_value_reaches_it(
    value: float | None, least: float | None, most: float | None, missed: bool
) -> None:
    assert Figure(name="x", value=value, least=least, most=most).missed is missed


def test_figures_are_printed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = Figures(tmp_path / "figures.jsonl")
    figures.add("feed: core-seconds per view", 1.25, "s", most=1.0)
    figures.skip("extract: share of the bf16 rate", "no GPU", least=0.5)
    assert capsys.readouterr().out.splitlines() == [
        "feed: core-seconds per view: 1.25 s (goal ≤ 1: missed)",
        "extract: share of the bf16 rate: not measured (goal ≥ 0.5); no GPU",
    ]
    assert read_figures(tmp_path / "figures.jsonl") == [
        Figure(name="feed: core-seconds per view", value=1.25, unit="s", most=1.0),
        Figure(name="extract: share of the bf16 rate", value=None, least=0.5, note="no GPU"),
    ]


@pytest.mark.parametrize(("value", "exit_code", "failed"), [(3.0, 0, 0), (1.0, 0, 1), (3.0, 2, 1), (math.nan, 0, 1)])
def test_a_missed_goal_fails_the_run_of_all_benchmarks_but_not_one_of_an_earlier_run(
    value: float, exit_code: int, failed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figures.jsonl"
    Figures(path).add("earlier", 0.0, least=1.0)

    def run(command: list[str]) -> SimpleNamespace:
        Figures(Path(command[command.index("--figures") + 1])).add("now", value, least=2.0)
        return SimpleNamespace(returncode=exit_code)

    monkeypatch.setattr("subprocess.run", run)
    monkeypatch.setattr("sys.argv", ["benchmarks", "store", "head", "--figures", str(path)])
    assert all_benchmarks.main() == failed
    assert len(read_figures(path)) == 3


def test_every_benchmark_runs_with_all() -> None:
    assert {path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("bench_*.py")} <= {
        *all_benchmarks.NAMES
    }


def test_each_step_fits_into_ten_minutes_and_leaves_one_to_start() -> None:
    assert all(sum(command.limit for command in step) <= 540 for step in gpu.STEPS.values())


def fill(journal: Path, machine: dict[str, str]) -> None:
    """One run that has ended well, with a goal met, one missed and one not measured."""
    write_line(journal, machine=machine)
    write_line(journal, command="bench_feed", started="today", load=0.5)
    figures = Figures(journal)
    figures.add("views per second", 20.0, "1/s", least=10.0)
    figures.add("waiting", 0.2, most=0.1)
    figures.add("views", 9)
    figures.skip("share | of bf16", "no second\nGPU", least=0.5)
    write_line(journal, result="ok", seconds=61.23)


def test_the_page_gives_goal_verdict_and_machine_of_every_figure(tmp_path: Path) -> None:
    journal = tmp_path / "extract.jsonl"
    fill(journal, MACHINE)
    write_line(journal, command="bench_extract", started="today", load=1.0)
    Figures(journal).add("before it was interrupted", 2.0, "s")
    runs = read_journal(journal, ["bench_feed", "bench_extract", "bench_other"])
    lines = page(runs).splitlines()
    expected = [
        "Goals: 1 met, 1 missed; figures not measured: 1. Tests: 0 passed, 0 failed, 0 skipped. "
        "Commands that failed: bench_extract.",
        "| 1 | a processor | a card |",
        "| bench_feed | ok | 61.2 | today | 0.5 | 1 |",
        "| bench_extract | interrupted |  | today | 1.0 | 1 |",
        "| bench_other | not run |  |  |  |  |",
        "| views per second | 20 1/s | ≥ 10 | met | 1 |",
        "| waiting | 0.2 | ≤ 0.1 | missed | 1 |",
        "| views | 9 |  | no goal | 1 |",
        "| share / of bf16 | not measured | ≥ 0.5 | no second GPU | 1 |",
        "| before it was interrupted | 2 s |  | no goal | 1 |",
    ]
    assert [line for line in expected if line not in lines] == []
    assert [run.failed for run in runs] == [True, True, False]


def test_machines_are_told_apart_and_goals_do_not_count_without_a_gpu(tmp_path: Path) -> None:
    fill(tmp_path / "extract.jsonl", DRY)
    fill(tmp_path / "train.jsonl", MACHINE)
    runs = [run for step in ("extract", "train") for run in read_journal(tmp_path / f"{step}.jsonl", ["bench_feed"])]
    text = page(runs)
    assert "**Dry run" in text
    assert "| waiting | 0.2 | ≤ 0.1 | dry run | 1 |" in text
    assert "| waiting | 0.2 | ≤ 0.1 | missed | 2 |" in text
    assert [run.failed for run in runs] == [False, True]


def test_outcomes_of_tests_reach_the_page(tmp_path: Path) -> None:
    journal = tmp_path / "tests.jsonl"
    write_line(journal, machine=MACHINE)
    write_line(journal, command="gpu.tests", started="today", load=0.5)
    outcomes = Outcomes(journal)
    skipped = ("conftest.py", 51, "Skipped: needs a CUDA GPU")
    for node, when, outcome, reason in (
        ("a.py::test_a", "setup", "passed", None),
        ("a.py::test_a", "call", "passed", None),
        ("a.py::test_b", "setup", "skipped", skipped),
        ("a.py::test_c[1|2]", "call", "failed", "Traceback\nRuntimeError: out of memory"),
    ):
        outcomes.pytest_runtest_logreport(
            pytest.TestReport(node, ("a.py", 1, ""), {}, outcome, reason, when)  # type: ignore[arg-type]
        )
    write_line(journal, result="exit code 1", seconds=3.0)
    text = page(read_journal(journal, ["gpu.tests"]))
    assert "Tests: 1 passed, 1 failed, 1 skipped. Commands that failed: gpu.tests." in text
    assert "| a.py::test_b | skipped | needs a CUDA GPU | 1 |" in text
    assert "| a.py::test_c[1/2] | failed | Traceback RuntimeError: out of memory | 1 |" in text


@pytest.mark.parametrize(
    ("module", "limit", "result"),
    [("figures", 60, "ok"), ("no_such_benchmark", 60, "exit code 1"), ("figures", 0, "stopped after 0 s")],
)
def test_a_step_replaces_its_own_figures_and_no_others(
    module: str, limit: int, result: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "machine", lambda: MACHINE)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # pytest keeps its own way to end
    command = gpu.Command(module=module, limit=limit)
    monkeypatch.setattr(gpu, "STEPS", {"extract": (command,), "train": (gpu.Command(module="bench_feed", limit=1),)})
    for step in gpu.STEPS:
        fill(tmp_path / f"{step}.jsonl", MACHINE)
    monkeypatch.setattr("sys.argv", ["gpu", "extract", "--results", str(tmp_path)])
    assert gpu.main() == (result != "ok")
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert f"| {module} | {result} |" in text
    assert text.count("| waiting |") == 1  # the other step's
