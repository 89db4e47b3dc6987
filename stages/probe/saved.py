"""A fitted probe in a folder: `probe.json` describes it, `probe.safetensors` has its arrays. Loading runs no code.

`probe.json` is written last and moved into place, so a folder that has it is complete. It records the digest of the
arrays, so that the two files cannot be of different probes.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save
from scipy.special import softmax

from stages.common.file_limits import LARGEST_HEAD, TensorsError, check_safetensors
from stages.common.local_paths import did_you_mean
from stages.common.messages import first_line
from stages.probe.config import POOLINGS, Pooling
from stages.probe.errors import ProbeError
from stages.probe.models.predictors import KINDS, Array, Predictor, arrays_of, misfit
from stages.probe.models.registry import MODELS, Task
from store import Spec, StoreError
from store.files.html_table import html_table
from store.files.json_text import LARGEST, JsonError, brief, parse_json
from store.files.regular import read_regular
from store.files.replacing import replacing, write_errors
from store.files.visible import visible

ABOUT, ARRAYS = "probe.json", "probe.safetensors"
_SHARED = ("target", "task", "model", "setting", "streams", "pooling", "classes", "report")


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes
    ----------
    target, task, model, setting
        The column, regression or classification, the model, and the value of the model's setting.
    streams, pooling
        The features: names of streams; mean, std or both.
    classes
        Names of the classes in the order of the scores; empty for a regression.
    spec
        Spec of the store that it was fitted on.
    predictor
        The fitted arrays.
    report
        Results of the cross-validation, for reading.

    Examples
    --------
    >>> import hear_music as hear
    >>> config = hear.ProbeConfig(target="Clarity", model="ridge", cv=4)
    >>> report = hear.probe("embeddings.zarr", config, manifest="manifest.csv", out="probes/clarity")
    >>> hear.load_probe("probes/clarity").streams
    ('musicfm/segment', 'muq/segment', 'musicfm/track', 'muq/track')
    """

    target: str
    task: Task
    model: str
    setting: float
    streams: tuple[str, ...]
    pooling: Pooling
    classes: tuple[str, ...]
    spec: Spec
    predictor: Predictor
    report: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        classes = f", {len(self.classes)} classes" if self.classes else ""
        about = f"{self.target!r}: {self.task} by {self.model} on {len(self.streams)} streams{classes}"
        return visible(f"<Probe of {about}>")

    def _repr_html_(self) -> str:
        rows = {
            "task": self.task,
            "model": f"{self.model}, {MODELS[self.model].setting} {self.setting:g}",
            "streams": ", ".join(self.streams),
            "pooling": self.pooling,
            "classes": ", ".join(self.classes),
        }
        return html_table(((name, text) for name, text in rows.items() if text), title=f"Probe of {self.target!r}")

    def scores(self, x: NDArray[Any]) -> Array:
        """(N, F) features → (N, K): values, or a probability, share or margin per class."""
        raw = self.predictor.scores(np.asarray(x, dtype=np.float64))
        return np.asarray(softmax(raw, axis=1)) if MODELS[self.model].scores == "probability" else raw

    def save(self, folder: Path) -> None:
        """Write the probe atomically.

        Raises
        ------
        ProbeError
            The folder cannot be written.
        """
        arrays = save(arrays_of(self.predictor))
        about = About(
            **{name: getattr(self, name) for name in _SHARED},
            predictor=self.predictor.kind,
            arrays=_digest(arrays),
            spec=self.spec.to_json(),
        )
        with write_errors(folder, ProbeError):
            put(folder / ARRAYS, arrays)
            put(folder / ABOUT, (about.model_dump_json(indent=2) + "\n").encode())


class About(BaseModel):
    """`probe.json`."""

    model_config = ConfigDict(strict=True, extra="forbid")
    format: Literal["hear-probe"] = "hear-probe"
    version: Literal[1] = 1
    target: str
    task: Task
    model: str
    setting: float
    streams: tuple[str, ...] = Field(min_length=1)
    pooling: Pooling
    classes: tuple[str, ...]
    predictor: str
    arrays: str
    spec: dict[str, Any]
    report: dict[str, Any]


def load_probe(folder: str | Path) -> Probe:
    """Read a saved probe. Only text and numbers are read; no code in it is run.

    Parameters
    ----------
    folder
        The folder that `probe` wrote.

    Returns
    -------
    Probe
        The probe.

    Raises
    ------
    ProbeError
        The folder has no probe, or its parts do not fit each other.

    Examples
    --------
    >>> import hear_music as hear
    >>> config = hear.ProbeConfig(target="system", model="knn", cv=4)
    >>> report = hear.probe("embeddings.zarr", config, manifest="manifest.csv", out="probes/system")
    >>> hear.load_probe("probes/system").classes
    ('a', 'b')
    """
    where = Path(folder)
    try:
        text = read_regular(where / ABOUT, largest=LARGEST)
        parse_json(text)  # stricter than pydantic's own reader
        about = About.model_validate_json(text)
        packed = read_regular(where / ARRAYS, largest=LARGEST_HEAD)
    except OSError as error:
        advice = "" if where.is_dir() else did_you_mean(where)
        raise ProbeError(f"{where}: no probe, expected {ABOUT} and {ARRAYS}: {error.strerror}{advice}") from error
    except StoreError as error:
        raise ProbeError(str(error)) from error
    except JsonError as error:
        raise ProbeError(f"{where / ABOUT}: cannot be read: {error}; save the probe again") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ProbeError(f"{where / ABOUT}: {visible(key[:100])}: {first['msg']}; save the probe again") from error
    for key, found, known in (("model", about.model, MODELS), ("predictor", about.predictor, KINDS)):
        if found not in known:
            raise ProbeError(f"{where / ABOUT}: {key}: expected one of {', '.join(known)}, found {brief(found)}")
    for key, names in (("classes", about.classes), ("streams", about.streams)):
        if len(set(names)) < len(names):
            raise ProbeError(f"{where / ABOUT}: {key}: expected different names, found {brief(names)}")
    if about.arrays != _digest(packed):
        raise ProbeError(f"{where / ARRAYS}: expected {brief(about.arrays)}, as {ABOUT} says, found {_digest(packed)}")
    spec = _spec(where, about.spec)
    probe = Probe(
        **{name: getattr(about, name) for name in _SHARED},
        spec=spec,
        predictor=_unpack(where, KINDS[about.predictor], packed),
    )
    _check_sizes(where, probe)
    return probe


def _spec(where: Path, values: dict[str, Any]) -> Spec:
    try:
        return Spec.from_json(values)
    except (StoreError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise ProbeError(f"{where / ABOUT}: spec: {first_line(error)}") from error


def _unpack(where: Path, kind: type[Predictor], packed: bytes) -> Predictor:
    try:
        check_safetensors(io.BytesIO(packed), where / ARRAYS, largest=LARGEST_HEAD)
        return kind(**load(packed))
    # AttributeError: a dtype that numpy does not have.
    except (SafetensorError, TensorsError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ProbeError(
            f"{where / ARRAYS}: does not hold the arrays of a {kind.kind} probe: {first_line(error)}"
        ) from error


def _check_sizes(where: Path, probe: Probe) -> None:
    features = len(probe.streams) * len(POOLINGS[probe.pooling]) * probe.spec.channels
    outputs = max(len(probe.classes), 1)
    if wrong := misfit(probe.predictor, features=features, outputs=outputs):
        raise ProbeError(
            f"{where / ARRAYS}: expected arrays for {features} features and {outputs} outputs, and {wrong}"
        )


def put(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as place:
        place.write_bytes(content)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
