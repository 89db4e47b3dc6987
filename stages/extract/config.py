"""All settings that determine the embeddings of an extraction, as one value that is sent to workers."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.common.provenance import provenance_to_json
from store import Spec

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Encoders, layers and streams, the augmentation's seed, and how frames are averaged and stored.

    Empty `streams` means all. `pool` frames are averaged into one. `dtype` is the storage type.
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

    def with_absolute_paths(self) -> "ExtractConfig":
        """The same config with absolute folders of weights, for a process with another working directory."""
        return replace(self, muq=_absolute(self.muq), musicfm=_absolute(self.musicfm))

    def resolved(self) -> "ExtractConfig":
        """The same config with the device and precision that this process would use.

        Raises
        ------
        DeviceError
            The device or precision is unknown, or not available here.
        """
        from stages.common.device import choose_device, choose_precision

        device = choose_device(self.device)
        return replace(self, device=str(device), precision=choose_precision(self.precision, device))

    def describe(self, encoders: "MultiScale | None" = None) -> tuple[Spec, dict[str, Any]]:
        """The spec, and the origins of the encoders' weights as JSON values.

        Parameters
        ----------
        encoders
            Those of this config. None in a process that does not encode: they are loaded on the CPU and not kept, and
            the precision must be `resolved` already.

        Raises
        ------
        EncoderError
            The weights cannot be found, read or used.
        """
        encoders = encoders or replace(self, device="cpu").load_encoders()
        return self.spec(encoders), provenance_to_json(encoders.provenance)

    def load_encoders(self) -> "MultiScale":
        """Load the encoders: seconds for the tiny ones, minutes if weights must be downloaded.

        Raises
        ------
        EncoderError
            The weights cannot be found, read or used.
        """
        from stages.extract.encoders import load_multiscale

        keys = ("preset", "muq", "musicfm", "layers", "streams", "device", "precision")
        return load_multiscale(**{key: value for key, value in asdict(self).items() if key in keys})

    def spec(self, encoders: "MultiScale") -> Spec:
        """The store's spec: all settings that affect a record's numbers."""
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
    """The absolute path of a folder; a hub id, which looks like a relative path, stays unchanged."""
    return str(Path(source).absolute()) if source and Path(source).is_dir() else source
