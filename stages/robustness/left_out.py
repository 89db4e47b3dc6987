"""Leave one generator out: how much worse a head scores the songs of a system that it has never heard.

For each group of a manifest column, a head is trained without its songs, for training and for the choice of the best
epoch. It then scores the group's validation songs, and so does a head with the same config and seed that was trained
on all groups. Differences are paired by song. The head of all groups chose its epoch on these songs, too, which makes
its own error a little too small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.head.checkpoint.ensemble import load_heads, mean_scores
from stages.head.data.corpus import Corpus, select_corpus
from stages.head.errors import HeadError
from stages.head.tracks import TRACK_DIMENSIONS
from stages.head.training.runs import Job
from stages.metrics.agreement import Metrics, score_metrics
from stages.metrics.paired import PairedDifference, paired_difference
from stages.robustness.effects import FEWEST_SONGS
from stages.robustness.errors import StressError
from stages.scoring.plots import plot_names
from stages.songs import Manifest
from store import open_store
from store.files.visible import visible


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """One group's validation songs, scored by the head that has heard the group, and by the one that has not.

    Attributes
    ----------
    group, songs
        The group, and the number of its validation songs.
    heard, unheard
        Metrics of the two heads on these songs.
    error
        Mean absolute error of the head that has not heard the group, minus that of the other; over dimensions, paired
        by song.
    bias
        Mean of score minus rating of the head that has not heard the group: above 0, it flatters the group.
    """

    group: str
    songs: int
    heard: Metrics
    unheard: Metrics
    error: PairedDifference
    bias: float

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        found = self.error
        error = {"mean": found.mean, "low": found.low, "high": found.high, "p": found.p}
        about = {"group": self.group, "songs": self.songs, "bias": self.bias}
        return {**about, "heard": self.heard, "unheard": self.unheard, "error_difference": error}


def left_out_jobs(job: Job, by: str) -> dict[str | None, Job]:
    """The run of all groups under None, and one for each group, without its songs.

    Parameters
    ----------
    job
        Store, manifest, track, config and the folder of all runs.
    by
        A column of the manifest, such as `system`; songs without a value are in every run.

    Raises
    ------
    StressError
        There is only one group, or the songs of one alone are for training or for validation.
    SongsError
        The manifest has no such column.
    """
    groups = job.manifest.column(by)
    names = sorted({groups[song.song_id] for song in job.manifest.among("train", "val") if song.song_id in groups})
    if len(names) < 2:
        raise StressError(
            f"{job.manifest.path}: column {by!r} has {len(names)} group(s) in train and val, expected two or more; "
            "name another column with --by"
        )
    jobs: dict[str | None, Job] = {None: replace(job, name="all groups", out=job.out / "all")}
    for name, folder in zip(names, plot_names(names), strict=True):
        kept = tuple(song for song in job.manifest.songs if groups.get(song.song_id) != name)
        manifest = Manifest(job.manifest.path, kept)
        lacking = {"train", "val"} - manifest.counts().keys()
        if lacking:
            raise StressError(
                f"{job.manifest.path}: without {by} {name!r} no song is left for {', '.join(sorted(lacking))}; "
                "split the songs so that each split has several groups"
            )
        out = job.out / f"without {folder}"
        jobs[name] = replace(job, name=f"without {name}", out=out, manifest=manifest)
    return jobs


def check_left_out(jobs: Mapping[str | None, Job]) -> None:
    """Refuse runs that cannot start, or folders that have other runs, before anything is trained.

    Raises
    ------
    HeadError, StoreError, SongsError
        As `Job.open`; or a folder has a run with other settings or songs.
    """
    for job in jobs.values():
        if difference := job.difference(job.open()):
            raise HeadError(f"{difference}; restore the setting, or choose another --out")


def compare_left_out(jobs: Mapping[str | None, Job], by: str) -> list[LeftOut]:
    """Compare the heads of complete runs, group by group; groups without rated validation songs are left out.

    Raises
    ------
    HeadError, StoreError
        A run is not complete, or its songs cannot be scored.
    """
    full = jobs[None]
    groups, store = full.manifest.column(by), open_store(full.store_root)
    dimensions = TRACK_DIMENSIONS[full.track]
    corpus = select_corpus(
        store,
        full.manifest,
        split="val",
        dimensions=dimensions,
        augmented=0,
        allow_missing=full.config.allow_missing,
    )
    heard = mean_scores(load_heads(full.out, device=full.config.device), store, corpus.songs)
    found = []
    for group, job in jobs.items():
        rows = np.array([groups.get(song) == group for song in corpus.songs])
        if group is None or not rows.any():
            continue
        songs = [song for song, mine in zip(corpus.songs, rows, strict=True) if mine]
        unheard = mean_scores(load_heads(job.out, device=job.config.device), store, songs)
        found.append(_left_out(group, corpus, rows, heard[rows], unheard, dimensions))
    if not found:
        raise HeadError(f"{full.manifest.path}: no group of {by!r} has a rated validation song; nothing to compare")
    return found


def _left_out(
    group: str,
    corpus: Corpus,
    rows: NDArray[np.bool_],
    heard: NDArray[np.float32],
    unheard: NDArray[np.float32],
    dimensions: Sequence[str],
) -> LeftOut:
    ratings = corpus.ratings[rows]
    errors = [np.abs(scores - ratings).mean(axis=1) for scores in (unheard, heard)]
    return LeftOut(
        group=group,
        songs=len(ratings),
        heard={**score_metrics(ratings, heard, dimensions=dimensions), "error": {"MAE": float(errors[1].mean())}},
        unheard={**score_metrics(ratings, unheard, dimensions=dimensions), "error": {"MAE": float(errors[0].mean())}},
        error=paired_difference(errors[0], errors[1]),
        bias=float((unheard - ratings).mean()),
    )


def left_out_table(found: Sequence[LeftOut], by: str) -> str:
    """A table for the terminal: one line per group, then what is of concern."""
    header = f"{by[:20]:20} {'songs':>5} {'MAE heard':>10} {'unheard':>8} {'difference':>24} {'SRCC heard':>11}"
    lines = [f"{header} {'unheard':>8} {'bias':>6}"]
    for one in found:
        difference = f"{one.error.mean:+.3f} [{one.error.low:+.3f}, {one.error.high:+.3f}]"
        errors = f"{one.heard['error']['MAE']:10.3f} {one.unheard['error']['MAE']:8.3f} {difference:>24}"
        ranks = f"{one.heard['mean']['SRCC']:11.3f} {one.unheard['mean']['SRCC']:8.3f}"
        lines.append(f"{visible(one.group)[:20]:20} {one.songs:5d} {errors} {ranks} {one.bias:+6.2f}")
    lines.append(
        "heard: trained on all groups; unheard: without this one; means over dimensions on the group's validation songs"
    )
    few = [visible(one.group) for one in found if one.songs < FEWEST_SONGS]
    if few:
        lines.append(f"too few songs for a conclusion: {', '.join(few)}; an interval needs {FEWEST_SONGS} or more")
    lines += [
        f"of concern: without {visible(one.group)} in training, its songs are scored less accurately"
        for one in found
        if one.error.low > 0 and one.songs >= FEWEST_SONGS
    ]
    return "\n".join(lines)
