"""The songs that a probe is fitted and scored on, with labels, groups and folds; and the songs left out, with reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.probe.config import ProbeConfig
from stages.probe.data.folds import assign_folds, check_folds, fewest_folds
from stages.probe.data.labels import LabelTable
from stages.probe.errors import ProbeError
from stages.probe.models.predictors import Array
from stages.probe.models.registry import Task


@dataclass(frozen=True)
class Sample:
    """The songs of a probe.

    Attributes
    ----------
    songs
        Sorted ids of songs with a label, a group and a clean view in the store.
    labels
        (N,) float64: numbers, or indices of `classes`.
    groups
        (N,) int64; without a group column, each song is its own group.
    folds
        (N,) int64; no group is in two folds.
    classes
        Names, sorted; empty for a regression.
    left_out
        Reason → songs left out for it.
    """

    songs: tuple[str, ...]
    labels: Array
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]
    classes: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]

    @property
    def group_count(self) -> int:
        """Number of groups."""
        return int(self.groups.max()) + 1


def draw_sample(
    table: LabelTable,
    config: ProbeConfig,
    task: Task,
    *,
    views: Mapping[str, Sequence[int]],
) -> Sample:
    """Join labels with a store's songs, and assign folds.

    Parameters
    ----------
    table, config, task
        The columns; the settings, with the column to predict; regression or classification.
    views
        The views of each song in the store.

    Raises
    ------
    ProbeError
        No song is left, all labels are equal, or there are too few songs for the folds.
    """
    target = config.target
    values = table.column(target)
    grouping = _grouping(table, config.group)
    clean = {song for song, found in views.items() if 0 in found}
    left_out = _left_out(table, config, stored=set(views), clean=clean)
    dropped = {song for songs in left_out.values() for song in songs}
    songs = tuple(sorted(song for song in table.songs if song not in dropped))
    if not songs:
        raise ProbeError(f"{table.where}: no song is left for column {target!r}: {_reasons(left_out)}")
    labels, classes = _encode([values[song] for song in songs], task)
    groups = np.unique([grouping[song] for song in songs], return_inverse=True)[1].astype(np.int64)
    check_folds(labels, groups, classes, config)
    folds = assign_folds(
        labels, groups, classes=len(classes), cv=config.cv, seed=config.seed, fewest=fewest_folds(config)
    )
    return Sample(songs, labels, groups, folds, classes, left_out)


def _grouping(table: LabelTable, group: str | None) -> Mapping[str, str]:
    return {song: song for song in table.songs} if group is None else table.column(group)


def _left_out(
    table: LabelTable, config: ProbeConfig, *, stored: set[str], clean: set[str]
) -> dict[str, tuple[str, ...]]:
    """Each song under the first reason that applies."""
    listed = set(table.songs)
    if not listed & stored:
        example = f"{min(stored)!r} in the store, {min(listed)!r} in the labels" if stored else "the store is empty"
        raise ProbeError(f"{table.where}: has no song in common with the store ({example})")
    reasons = {
        f"no value in {config.target!r}": listed - set(table.column(config.target)),
        f"no value in {config.group!r}": listed - set(_grouping(table, config.group)),
        "not in the store": listed - stored,
        "no clean view in the store": listed - clean,
        "not in the labels": stored - listed,
    }
    seen: set[str] = set()
    kept: dict[str, tuple[str, ...]] = {}
    for reason, songs in reasons.items():
        if songs - seen:
            kept[reason] = tuple(sorted(songs - seen))
        seen |= songs
    return kept


def _reasons(left_out: Mapping[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{len(songs)} songs: {reason}" for reason, songs in left_out.items())


def _encode(values: list[str], task: Task) -> tuple[Array, tuple[str, ...]]:
    if task == "regression":
        return np.array([float(value) for value in values]), ()
    classes = tuple(sorted(set(values)))
    index = {name: place for place, name in enumerate(classes)}
    return np.array([index[value] for value in values], dtype=np.float64), classes
