"""Everything that decides the numbers of an extraction, in one value that travels to workers."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from store import Spec

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Which encoders, layers and streams; the augmentation's seed; how frames are pooled and stored.

    `streams` empty means all; `pool` averages that many frames into one; `dtype` is the storage type.
    """

    preset: str
    muq: str
    musicfm: str
    layers: tuple[int, ...] = (10,)
    streams: tuple[str, ...] = ()
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0
    dtype: str = "float16"
    pool: int = 1

    def at_home_anywhere(self) -> "ExtractConfig":
        """The same config for a process with another working directory: folders of weights are absolute."""
        return replace(self, muq=_absolute(self.muq), musicfm=_absolute(self.musicfm))

    def load_encoders(self) -> "MultiScale":
        """Load the encoders; seconds for the tiny ones, minutes where weights must be fetched first.

        Raises
        ------
        EncoderError
            The weights cannot be had, or are not what they should be.
        """
        from stages.extract.encoders import load_multiscale

        keys = ("preset", "muq", "musicfm", "layers", "streams", "device", "precision")
        return load_multiscale(**{key: value for key, value in asdict(self).items() if key in keys})

    def spec(self, encoders: "MultiScale") -> Spec:
        """The store's spec: what a record's numbers depend on."""
        from stages.extract.views.augment import AUGMENTATION

        return Spec(
            streams=encoders.streams,
            channels=encoders.channels,
            encoders=encoders.hashes,
            layers=encoders.layers,
            precision=encoders.precision,
            dtype=self.dtype,
            pool=self.pool,
            augmentation=AUGMENTATION,
            seed=self.seed,
        )


def _absolute(source: str) -> str:
    """A folder's absolute path; a hub id, which looks like a relative path, as it is."""
    return str(Path(source).absolute()) if source and Path(source).is_dir() else source
