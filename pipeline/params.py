"""params.yaml → typed values. The only module that reads YAML; the defaults here are the paper's."""

import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from store.errors import HearError

# torch takes seeds of 64 bits; this leaves room for those that --seeds counts up to.
LARGEST_SEED = 2**63 - 1
# Bytes of a file: far more than this project's own.
LARGEST_FILE = 50_000
# Levels of lists and mappings: two more than this project's own.
DEEPEST = 5
# Characters of a key or a value that a message repeats.
LONGEST_NAMED = 80


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
    """YAML without what can hang or surprise: aliases, merge keys, tags, a key that is there twice, endless numbers.

    PyYAML takes the last of two values of a key and forgets the others, reads 1:30 as 90, and dates as dates. Here
    such text, and a number that is too long, stay text, which the parameters then refuse by the key's name.
    """

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise _refusal("it uses an anchor or an alias; write the values out", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _refusal("it uses a tag; write the value without one", event.start_mark)
        self._depth += 1
        if self._depth > DEEPEST:
            raise _refusal("it is nested too deep", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal("a key is a list or a mapping, expected a name", key.start_mark)
            if key.value == "<<":
                raise _refusal("it uses a merge key (<<); write the values out", key.start_mark)
            if key.value in lines:
                name = _shortened(repr(key.value))
                problem = f"the key {name} is on line {lines[key.value]} already; keep one of the two"
                raise _refusal(problem, key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return node


# What plain text means, by first character: as PyYAML has it, without times, dates and numbers of any length.
_RULES = {
    "null": ("~nN\0", r"~|null|Null|NULL|"),
    "bool": ("yYnNtTfFoO", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF"),
    "int": ("-+0123456789", r"[-+]?(?:0|[1-9][0-9_]{0,29}|0b[01_]{1,64}|0[0-7_]{1,22}|0x[0-9a-fA-F_]{1,16})"),
    "float": (
        "-+0123456789.",
        r"[-+]?(?:[0-9][0-9_]{0,29}\.[0-9_]{0,30}|\.[0-9][0-9_]{0,29})(?:[eE][-+][0-9]{1,3})?|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN)",
    ),
}
_Loader.yaml_implicit_resolvers = {}
for _kind, (_first, _rule) in _RULES.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_rule})\Z"), [*_first])


def _refusal(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def load_params(path: Path) -> Params:
    """Read the parameters from a YAML file; keys that it leaves out have the defaults above.

    Raises
    ------
    ParamsError
        The file cannot be read, is too large, is not YAML, uses more of YAML than keys, lists and plain values, or has
        an unknown, repeated or ill-typed key. The message says what and where.
    """
    try:
        values: Any = yaml.load(_read(path), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise ParamsError(f"{path}: cannot be read as YAML: {line}{error.problem}") from error
    except (OSError, yaml.YAMLError, ValueError) as error:
        reason = _shortened(" ".join(str(error).split()), longest=300)
        raise ParamsError(f"{path}: cannot be read as YAML: {reason}") from error
    try:
        return Params.model_validate({} if values is None else values)
    except ValidationError as error:
        raise ParamsError(f"{path}: {_first_problem(error)}") from error


def _read(path: Path) -> str:
    """A file's text. Raises OSError or ValueError; a pipe or a device, which may never end, is not opened."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"it has more than {LARGEST_FILE} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text ({error.reason}); save it as UTF-8") from error


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
    key = _shortened(".".join(str(part) for part in first["loc"])) or "the file"
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}; remove it or mend its spelling"
    return f"{key}: {first['msg']}, found {_shortened(repr(first['input']))}"


def _shortened(text: str, *, longest: int = LONGEST_NAMED) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
