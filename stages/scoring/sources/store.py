"""Songs from a store: their clean views, which are read one at a time."""

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from stages.extract.audio.waveform import damage_of
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import FRAMES_AT_ONCE
from stages.head.checkpoint.score import check_spec, stream_rows
from stages.scoring.beside.companions import NONE, Companions
from stages.scoring.inputs import InputSong
from stages.scoring.sources.loaded import IsScored, LoadedSong
from store import EmbeddingStore
from store.catalogue import seconds_of
from store.errors import HearError


class StoreSource:
    """Reads the clean views of songs from a store.

    Parameters
    ----------
    store
        The embeddings.
    ensemble
        The heads to load frames for.
    changed
        Ids of songs whose files have changed since they were stored. They fail: their stored frames are of other audio.
    beside
        Models that score beside the ensemble; those that need audio decode the songs' files.

    Raises
    ------
    HeadError
        A head was trained on other features than the store's.
    """

    batch_frames = FRAMES_AT_ONCE

    def __init__(
        self, store: EmbeddingStore, ensemble: Ensemble, *, changed: Collection[str] = (), beside: Companions = NONE
    ) -> None:
        for head in ensemble.heads:
            check_spec(head, store)
        beside.check_heads(lambda head: check_spec(head, store), pool=store.spec.pool, layers=store.spec.layers)
        self.beside, self.streams = beside, beside.streams(ensemble)
        self.store, self.changed = store, frozenset(changed)
        self.frame_rate = store.frame_rate
        spec = store.spec
        names = ("encoders", "precision", "dtype", "pool")
        self.identity = {**{name: getattr(spec, name) for name in names}, **beside.identity}
        self._streams = [store.streams[row] for row in stream_rows(self.streams, store.streams, spec.layers)]

    def load(self, songs: Iterable[InputSong], is_scored: IsScored) -> Iterator[LoadedSong]:
        """Load each song, except those that are scored already."""
        return (self._read(song, is_scored) for song in songs)

    def _read(self, song: InputSong, is_scored: IsScored) -> LoadedSong:
        if song.song_id in self.changed:
            return LoadedSong(song=song, error="its file has changed since it was extracted; run hear-extract again")
        try:
            attributes = self.store.attributes(song.song_id)
            source = str(attributes.get("source", ""))
            if is_scored(song, source):
                return LoadedSong(song=song, source=source)
            frames = self.store.read(song.song_id, streams=self._streams)
            if not np.isfinite(frames).all():
                raise HearError("its stored embeddings are not finite; remove its record and run hear-extract again")
        except HearError as error:
            known = song.song_id in self.store.songs
            # For an unknown song, the path of its record would not help.
            problem = str(error) if known else f"no song {song.song_id!r} in the store; with --store, name song ids"
            return LoadedSong(song=song, error=problem)
        # Attributes are untrusted: they may have any value.
        recorded = seconds_of(attributes)
        level = attributes.get("loudest_dbfs")
        return LoadedSong(
            song=song,
            source=source,
            frames=frames,
            seconds=frames.shape[1] / self.frame_rate if recorded is None else float(recorded),
            damage=damage_of(attributes),
            loudest=float(level) if isinstance(level, int | float) and not isinstance(level, bool) else None,
        )
