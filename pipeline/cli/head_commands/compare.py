"""`hear-head compare`: systems by their scores, or heads by their agreement with ratings."""

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import DEFAULTS, params_option, refuse_changed_songs
from pipeline.cli.entry import note_named
from pipeline.cli.options import Bootstrap, Receipt, Store, find_store
from pipeline.cli.pages import option
from pipeline.cli.section_options import options_from
from pipeline.show.output import note, say_text

if TYPE_CHECKING:
    from stages.compare.comparison import Comparison

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="SYSTEM",
        help="Score files of hear-head predict (--csv, --json, --jsonl), one per system, or one file with groups; or "
        "heads, as for evaluate. --fail-under and --fail-if-worse-than judge the first.",
    ),
]
ManifestFile = Annotated[Path | None, option("Input", "For heads: manifest.csv with ratings.")]
Split = Annotated[str, option("Input", "For heads: split to compare on: train, val or test.")]
Unpaired = Annotated[
    bool, option("Evaluation", "Compare scores as sets of different songs, even if ids match.", "--unpaired")
]
Interest = Annotated[
    float | None,
    option(
        "Evaluation",
        "Difference of interest, for the number of songs that would show it; 0.05 for scores and 0.01 for heads, if "
        "not given.",
        "--difference",
        min=1e-6,
    ),
]
FailUnder = Annotated[
    list[str] | None,
    option(
        "Evaluation",
        "Exit with 1 if a figure is below a value: Musicality=3.5 or Mean=3.5 for scores; SRCC=0.8 (the mean) or "
        "Clarity.SRCC=0.8 for heads. Repeat for more.",
        metavar="<figure=value>",
    ),
]
FailIfWorse = Annotated[
    str | None,
    option(
        "Evaluation",
        "Exit with 1 if a figure is significantly worse than in a report (JSON of compare --out or evaluate --out), or "
        "than that of another SYSTEM.",
        metavar="<report|system>",
    ),
]
Out = Annotated[Path | None, option("Output", "Write all numbers and conclusions to this JSON file.")]
Report = Annotated[Path | None, option("Output", "Folder for a page with a plot and tables, index.html.")]


@options_from(DEFAULTS.head, "Input", only=("device", "allow_missing"))
def compare(
    inputs: Inputs,
    params: Mapping[str, Any],
    store: Store = None,
    receipt: Receipt = None,
    manifest: ManifestFile = None,
    split: Split = "val",
    unpaired: Unpaired = False,
    difference: Interest = None,
    bootstrap: Bootstrap = 1000,
    fail_under: FailUnder = None,
    fail_if_worse_than: FailIfWorse = None,
    out: Out = None,
    report: Report = None,
    params_file: Annotated[Path | None, params_option("head")] = None,
) -> None:
    """Compare systems by their scores, or heads by their agreement with ratings: intervals, tests, and conclusions.

    Example:
      hear-head compare model_a.csv model_b.csv --report comparison
    """
    from stages.compare.inputs import are_scores
    from stages.compare.scores import compare_scores
    from stages.scoring.files import check_outputs

    limits = _limits(fail_under or [])
    check_outputs({"--out": out}, {"--report": report})
    settings: dict[str, Any] = {"draws": bootstrap, **({"difference": difference} if difference else {})}
    if are_scores(inputs):
        found = compare_scores(inputs, paired=not unpaired, **settings)
    else:
        found = _compare_heads(inputs, store, receipt, manifest, split, {**params, **settings})
    _write(found, out, report)
    _judge(found, limits, fail_if_worse_than)


def _limits(given: list[str]) -> dict[str, float]:
    limits = {}
    for text in given:
        name, _, value = text.rpartition("=")
        with suppress(ValueError):
            limits[name] = float(value)
        if not name or not math.isfinite(limits.get(name, math.nan)):
            raise typer.BadParameter(f"--fail-under: expected a figure and a value such as SRCC=0.8, found {text!r}")
    return limits


def _compare_heads(
    inputs: list[str],
    store: str | None,
    receipt: Path | None,
    manifest: Path | None,
    split: str,
    settings: Mapping[str, Any],
) -> "Comparison":
    from stages.compare.heads import compare_heads
    from stages.songs import read_manifest

    if manifest is None:
        raise typer.BadParameter("heads are compared on ratings: give a manifest with --manifest")
    root, listed = find_store(store, receipt), read_manifest(manifest, check_files=False)
    refuse_changed_songs(root, listed.among(split))
    return compare_heads(inputs, root, listed, split=split, receipt=receipt, **settings)


def _write(found: "Comparison", out: Path | None, report: Path | None) -> None:
    from stages.compare.leaderboard import write_leaderboard
    from stages.compare.tables import comparison_text
    from stages.head.files import write_json

    say_text(comparison_text(found))
    if out is not None:
        write_json(out, found.to_json())
    if report is not None:
        note(f"report: {write_leaderboard(report, found)}")


def _judge(found: "Comparison", limits: Mapping[str, float], baseline: str | None) -> None:
    """Exit with 1 and one line per reason if the first system fails a condition."""
    from stages.compare.gate import below_limits, worse_than

    failures = below_limits(found, limits) + (worse_than(found, baseline) if baseline else [])
    for line in failures:
        note_named(line)
    if failures:
        raise typer.Exit(1)
