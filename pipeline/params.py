"""params.yaml → typed values. The only module that reads YAML; the defaults here are the paper's."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from store.errors import HearError

# torch takes seeds of 64 bits; this leaves room for those that --seeds counts up to.
LARGEST_SEED = 2**63 - 1


class ParamsError(HearError):
    """params.yaml cannot be used as it stands."""


class Section(BaseModel):
    """A part of params.yaml: unknown keys are errors, numbers are finite, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DemoParams(Section):
    """The synthesised songs: how many, how long in seconds, and their seed."""

    songs: int = Field(default=120, ge=20)
    seconds: float = Field(default=40.0, ge=5.0)
    seed: int = 0


class EncoderParams(Section):
    """Which encoders run: `tiny` is the real architecture, small and untrained; `pretrained` the published weights."""

    preset: Literal["tiny", "pretrained"] = "pretrained"
    muq: str = "OpenMuQ/MuQ-large-msd-iter"
    musicfm: str = "minzwon/MusicFM"
    layers: tuple[int, ...] = Field(default=(10,), min_length=1, strict=False)
    streams: tuple[str, ...] = Field(default=(), strict=False)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"


class ExtractParams(Section):
    """What is written: augmented views a training song, their seed, the storage type, frames averaged into one."""

    augment: int = Field(default=8, ge=0)
    seed: int = 0
    dtype: Literal["float16", "float32", "int8"] = "float16"
    pool: int = Field(default=1, ge=1)


class HeadParams(Section):
    """Stage two: how a head is trained. The descriptions are the options' help."""

    architecture: Literal["hear", "songeval"] = Field(
        default="hear", description="hear, or songeval: SongEval's own head, the baseline."
    )
    size: Literal["paper", "small"] = Field(default="paper", description="paper: 38.07 M parameters; small: seconds.")
    streams: tuple[str, ...] = Field(
        default=(), strict=False, description="Streams to learn from; if not given all, and muq/track for songeval."
    )
    augmented: int | None = Field(default=None, ge=0, description="Augmented views of a song to use; all if not given.")
    # A file may set it to null, as any option, for the command's own default.
    views_per_epoch: int | None = Field(
        default=0, ge=0, description="Views of each song per epoch, drawn at random; 0: all."
    )
    crop: float = Field(default=900.0, gt=0, description="Seconds of a longer song that training sees at once.")
    beta: float | None = Field(
        default=None, ge=0, description="Weight of ListMLE; if not given 0.15 on Track 1, 0.05 on Track 2."
    )
    smooth_l1_beta: float = Field(default=0.5, gt=0, description="Where SmoothL1 turns linear, in rating points.")
    sigma: float = Field(default=1.0, gt=0, description="C-Mixup: bandwidth over the labels, in rating points.")
    alpha: float = Field(default=2.0, gt=0, description="C-Mixup: the share is drawn from Beta(alpha, alpha).")
    mix: Literal["pooled", "frames", "none"] = Field(default="pooled", description="C-Mixup: what is mixed.")
    learning_rate: float = Field(default=1e-5, gt=0, description="Adam's learning rate.")
    schedule: Literal["constant", "plateau"] = Field(
        default="constant",
        description="constant, or plateau: halve the learning rate when the loss stops falling, as published.",
    )
    plateau_patience: int = Field(
        default=400, ge=1, description="plateau: steps without a lower loss before the learning rate is halved."
    )
    weight_decay: float = Field(default=1e-3, ge=0, description="Adam's weight decay.")
    batch_size: int = Field(default=8, ge=2, description="Songs a batch, partners not counted.")
    accumulate: int = Field(default=4, ge=1, description="Batches a step.")
    clip_norm: float = Field(default=1.0, gt=0, description="Largest gradient norm.")
    epochs: int = Field(default=60, ge=1, description="Passes over the training songs.")
    evaluate_every: int = Field(default=0, ge=0, description="Steps between validations; 0: once an epoch.")
    patience: int | None = Field(
        default=None, ge=1, description="Validations without a better one before it stops; never if not given."
    )
    shuffle_labels: bool = Field(
        default=False, description="Control: deal the labels out anew among songs; the head must then fail."
    )
    seed: int = Field(
        default=0, ge=0, le=LARGEST_SEED, description="Of weights, order, partners, dropout and shuffled labels."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 where the hardware multiplies it faster."
    )
    device: str = Field(default="auto", description="auto (the first GPU, else cpu), cpu, cuda, cuda:1, …")
    memory: float = Field(default=4.0, ge=0, description="Gigabytes of records held in memory; more are streamed.")
    workers: int = Field(default=2, ge=0, description="Threads that read ahead while streaming; 0: none.")
    allow_missing: int = Field(default=0, ge=0, description="Songs of a split that the store may lack.")


class Params(Section):
    """All of params.yaml."""

    dataset: Literal["demo", "songeval", "folder"] = "demo"
    demo: DemoParams = DemoParams()
    encoders: EncoderParams = EncoderParams()
    extract: ExtractParams = ExtractParams()
    head: HeadParams = HeadParams()


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice: YAML forbids it, but PyYAML takes the last and forgets the others."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                name = (key.tag, key.value)
                if name in lines:
                    problem = f"the key {key.value!r} is on line {lines[name]} already; keep one of the two"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                lines[name] = key.start_mark.line + 1
        return node


def load_params(path: Path) -> Params:
    """Read the parameters from a YAML file; keys that it leaves out have the defaults above.

    Raises
    ------
    ParamsError
        The file cannot be read, is not YAML, or has an unknown, repeated or ill-typed key, which the message names.
    """
    try:
        values: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise ParamsError(f"{path}: cannot be read as YAML: {line}{error.problem}") from error
    except RecursionError as error:
        raise ParamsError(f"{path}: cannot be read as YAML: it is nested too deep") from error
    # A value that only looks like a date, or a tag that does not fit its value, are Python's own errors.
    except (OSError, yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        raise ParamsError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    try:
        return Params.model_validate({} if values is None else values)
    except ValidationError as error:
        raise ParamsError(f"{path}: {_first_problem(error)}") from error


def option_values(params: Params, sections: Iterable[str]) -> dict[str, Any]:
    """What a file says in some sections, by key, as the options of a command take it.

    Lists are joined by commas. Keys that the file leaves out, or sets to null, are left out: the command's own default
    holds.
    """
    said: dict[str, Any] = {}
    for section in sections:
        said |= getattr(params, section).model_dump(exclude_unset=True, exclude_none=True)
    return {key: ",".join(map(str, value)) if isinstance(value, tuple) else value for key, value in said.items()}


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}; remove it or mend its spelling"
    return f"{key}: {first['msg']}, found {first['input']!r}"
