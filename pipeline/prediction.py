"""The work of `hear-head predict`: from inputs to rows, files, plots and the report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.report_facts import report_facts
from pipeline.show.bars import AudioBar, progress
from pipeline.show.output import note
from stages.extract.freshness import remembered_freshness
from stages.head.checkpoint.ensemble import Ensemble, load_ensemble
from stages.scoring.beside.agreement import beside_json
from stages.scoring.beside.companions import Companions
from stages.scoring.beside.registry import load_companions
from stages.scoring.encoders import load_encoders
from stages.scoring.files import check_outputs, check_scp_ids, write_csv, write_json, write_scp
from stages.scoring.inputs import (
    InputSong,
    chosen_split,
    expand_inputs,
    join_manifest,
    shown_names,
    store_songs,
)
from stages.scoring.journal import Journal, read_journal
from stages.scoring.over_time import Windows
from stages.scoring.page.document import report_html, write_report
from stages.scoring.page.previews import preview_extremes
from stages.scoring.plots import plot_names, plot_song
from stages.scoring.rows import SongScore, caution_in
from stages.scoring.run import Scored, Scoring
from stages.scoring.sources import AudioSource, Source, StoreSource
from stages.songs import Manifest, read_manifest
from store import EmbeddingStore


@dataclass(frozen=True, kw_only=True)
class Request:
    """Songs to score, and heads and encoders to score them with.

    Attributes
    ----------
    inputs, lines
        Arguments of `expand_inputs`; with a store, song ids.
    checkpoints, encoders
        Heads, and arguments of `load_encoders`.
    store, manifest, split, by
        Score the songs of a store; take ids, files and groups from a manifest or one split of it; group by a column of
        it, or by `folder`.
    windows
        Also score these windows, over time.
    beside
        Other models to score with; see `load_companions`.
    """

    inputs: Sequence[str]
    checkpoints: Sequence[str]
    encoders: Mapping[str, Any]
    lines: Iterable[str] = ()
    store: str | None = None
    manifest: Path | None = None
    split: str = ""
    by: str = ""
    windows: Windows | None = None
    beside: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Files to write, if not None. `resume` keeps the rows of `jsonl`; `plots` and `report` are folders."""

    json: Path | None = None
    csv: Path | None = None
    scp: Path | None = None
    jsonl: Path | None = None
    resume: bool = False
    plots: Path | None = None
    report: Path | None = None


@dataclass(frozen=True)
class Prediction:
    """Rows in order, the names of the scores, and how many rows had been scored before."""

    rows: list[SongScore]
    dimensions: tuple[str, ...]
    skipped: int
    report: Path | None = None
    failed: list[SongScore] = field(init=False)

    def __post_init__(self) -> None:
        """Select the rows that failed."""
        object.__setattr__(self, "failed", [row for row in self.rows if row.error])

    @property
    def line(self) -> str:
        """The line of counts that the command prints."""
        scored = len(self.rows) - len(self.failed) - self.skipped
        doubts = {
            "silent": sum(row.is_silence for row in self.rows),
            "damaged": sum(bool(row.damage) for row in self.rows),
            "unlike the training songs": sum(row.is_novel for row in self.rows),
        }
        warnings = "".join(f"; {count} {doubt}" for doubt, count in doubts.items() if count)
        return f"{scored} scored, {self.skipped} skipped, {len(self.failed)} failed{warnings}"

    @property
    def caution(self) -> str:
        """A warning to show with the scores; empty if there is none."""
        return caution_in(self.rows)


def check_request(request: Request, outputs: Outputs) -> str:
    """Why these options cannot be combined; empty if they can."""
    if not request.inputs and request.store is None and request.manifest is None:
        return "give songs: INPUT, --store or --manifest"
    # Groups other than folders are columns of a manifest.
    by_column = request.by not in ("", "folder")
    if request.manifest is None and (by_column or request.split):
        return f"{'--by' if by_column else '--split'} refers to a manifest: give --manifest"
    if request.inputs and request.split:
        return "--split selects songs of the manifest: leave INPUT out"
    if outputs.resume and outputs.jsonl is None:
        return "--resume continues the file of --jsonl: give both"
    return ""


def predict(request: Request, outputs: Outputs, *, on_row: Callable[[SongScore], None]) -> Prediction:
    """Score songs and write the files; call `on_row` with each row as soon as it is ready.

    Raises
    ------
    HearError
        Nothing can be scored: no song, no head, the wrong encoders, or a file that cannot be written.
    """
    check_outputs(
        {"--json": outputs.json, "--csv": outputs.csv, "--scp": outputs.scp, "--jsonl": outputs.jsonl},
        {"--plots": outputs.plots, "--report": outputs.report},
    )
    manifest = read_split(request.manifest, request.split)
    store = EmbeddingStore.open(request.store) if request.store else None
    songs = _input_songs(request, manifest, store)
    if outputs.scp:
        check_scp_ids(songs)
    device = request.encoders["device"]
    beside = load_companions(request.beside, device=device)
    if store is not None:
        beside.check_files(songs)
    ensemble = load_ensemble(request.checkpoints, device=device)
    for licence in beside.licences:
        note(licence)
    scoring = Scoring(ensemble, _source(request, store, manifest, ensemble, beside), windows=request.windows)
    rows, skipped = _score(scoring, songs, outputs, on_row)
    _write(rows, ensemble.dimensions, outputs)
    report = None
    if outputs.report:
        report = _report(rows, songs, ensemble, request, outputs.report, beside)
    return Prediction(rows, ensemble.dimensions, skipped, report)


def read_split(path: Path | None, split: str = "") -> Manifest | None:
    """The manifest's songs of one split, or all; None without a manifest."""
    # A song whose file is missing becomes a row with an error, like any other file that cannot be scored.
    return chosen_split(read_manifest(path, check_files=False), split) if path else None


def _input_songs(request: Request, manifest: Manifest | None, store: EmbeddingStore | None) -> list[InputSong]:
    if store is not None:
        return store_songs(store, manifest, by=request.by, only=request.inputs)
    return join_manifest(expand_inputs(request.inputs, lines=request.lines), manifest, by=request.by)


def _source(
    request: Request,
    store: EmbeddingStore | None,
    manifest: Manifest | None,
    ensemble: Ensemble,
    beside: Companions,
) -> Source:
    if store is not None:
        changed = (
            remembered_freshness(store, manifest.songs, progress=progress("files hashed")).changed if manifest else ()
        )
        return StoreSource(store, ensemble, changed=changed, beside=beside)
    return AudioSource(load_encoders(ensemble, beside=beside, **request.encoders), ensemble, beside=beside)


def _score(
    scoring: Scoring, songs: Sequence[InputSong], outputs: Outputs, on_row: Callable[[SongScore], None]
) -> tuple[list[SongScore], int]:
    done = read_journal(outputs.jsonl) if outputs.jsonl and outputs.resume else {}
    titles = shown_names(songs)
    journal = Journal(outputs.jsonl, fresh=not outputs.resume) if outputs.jsonl else None
    rows: list[SongScore] = []
    skipped = 0
    with closing(journal) if journal else nullcontext(), AudioBar(len(songs), what="songs") as bar:
        plots = zip(plot_names(titles), titles, strict=True)
        for (name, title), scored in zip(plots, scoring.score(songs, done=done), strict=True):
            rows.append(scored.row)
            skipped += scored.skipped
            if journal and not scored.skipped:
                journal.add(scored.row)
            if outputs.plots:
                _plot(outputs.plots / f"{name}.png", scored, title)
            if scored.row.error:
                bar.say(f"failed: {scored.row.path or scored.row.song_id}: {scored.row.error}")
            for model, error in scored.row.beside_errors.items():
                bar.say(f"{model} gave no scores: {scored.row.path or scored.row.song_id}: {error}")
            on_row(scored.row)
            bar.step(0.0 if scored.skipped else scored.row.seconds or 0.0)
    return rows, skipped


def _plot(path: Path, scored: Scored, title: str) -> None:
    if scored.row.scores and not (scored.skipped and path.exists()):
        plot_song(path, scored.row, scored.outline, title=title)


def _write(rows: Sequence[SongScore], dimensions: Sequence[str], outputs: Outputs) -> None:
    if outputs.json:
        write_json(outputs.json, rows)
    if outputs.csv:
        write_csv(outputs.csv, rows, dimensions)
    if outputs.scp:
        write_scp(outputs.scp, rows)


def _report(
    rows: Sequence[SongScore],
    songs: Sequence[InputSong],
    ensemble: Ensemble,
    request: Request,
    folder: Path,
    beside: Companions,
) -> Path:
    facts = report_facts(ensemble, request.checkpoints, beside=beside)
    previews = preview_extremes(rows, [song.path for song in songs])
    page = report_html(
        rows,
        ensemble.dimensions,
        title="HEAR scores",
        by=request.by,
        previews=previews,
        facts=facts,
        beside=beside_json(rows, beside.scales),
    )
    return write_report(folder, page)
