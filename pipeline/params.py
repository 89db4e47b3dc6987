"""params.yaml → typed values. The only module that reads YAML; the defaults are the paper's."""

import dataclasses
import re
import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from stages.head.config import TrainConfig, descriptions
from store.errors import HearError

# Bytes of a file; this project's own is far smaller.
LARGEST_FILE = 50_000
# Levels of lists and mappings; this project's own file needs two fewer.
DEEPEST = 5
# Characters of a key or a value in a message.
LONGEST_NAMED = 80


class ParamsError(HearError):
    """params.yaml cannot be used."""


class Section(BaseModel):
    """A part of params.yaml: unknown keys are errors, numbers are finite, values are read-only."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DemoParams(Section):
    """The synthesised songs."""

    songs: int = Field(default=120, ge=20)
    seconds: float = Field(default=40.0, ge=5.0)
    seed: int = 0


class EncoderParams(Section):
    """Which encoders run, on what. The descriptions are the options' help."""

    preset: Literal["tiny", "pretrained"] = Field(
        default="pretrained", description="pretrained: published weights; tiny: same architecture, small and untrained."
    )
    muq: str = Field(
        default="OpenMuQ/MuQ-large-msd-iter", description="MuQ: hub id or folder; implies --preset pretrained."
    )
    musicfm: str = Field(
        default="minzwon/MusicFM", description="MusicFM: hub id or folder; implies --preset pretrained."
    )
    layers: tuple[int, ...] = Field(
        default=(10,), min_length=1, strict=False, description="Conformer layers to store, such as 10 or 6,10."
    )
    streams: tuple[str, ...] = Field(
        default=(), strict=False, description="Streams to store, such as muq/track,muq/segment; all four if not given."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="Precision of the encoders; auto: bf16 where the hardware supports it."
    )
    device: str = Field(default="auto", description="auto (the first GPU, else the CPU), cpu, cuda, cuda:1, …")


class ExtractParams(Section):
    """What is written to the store. The descriptions are the options' help."""

    augment: int = Field(
        default=8, ge=0, description="Augmented views per training song, in addition to the clean one."
    )
    seed: int = Field(default=0, description="Seed of the augmentation.")
    dtype: Literal["float16", "float32", "int8"] = Field(
        default="float16", description="Storage type of the embeddings."
    )
    pool: int = Field(default=1, ge=1, description="Average this many frames (of 25 per second) into one stored frame.")


def _section_of(config: type, *, without: Collection[str], changes: Mapping[str, Any]) -> Any:
    """Make a section from a dataclass, so that fields, defaults, bounds and descriptions are defined once."""
    types, described = get_type_hints(config), descriptions(config)
    made: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        if field.name not in without:
            kind = changes.get(field.name, types[field.name])
            settings: dict[str, Any] = {**field.metadata, "strict": False if get_origin(kind) is tuple else None}
            # Under `python -OO` there are no docstrings: options then have no help, but work.
            description = described.get(field.name)
            made[field.name] = (kind, Field(default=field.default, description=description, **settings))
    return create_model(config.__name__, __base__=Section, **made)


_HeadBase: Any = _section_of(
    TrainConfig,
    # Not for users: heads of several seeds share it.
    without=("shuffle_seed",),
    # A file may set it to null, like any option, for the command's own default.
    changes={"views_per_epoch": int | None},
)


class HeadParams(_HeadBase):  # type: ignore[misc]
    """Stage two: how a head is trained. The descriptions are the options' help."""


class Params(Section):
    """All of params.yaml."""

    dataset: Literal["demo", "songeval", "folder"] = "demo"
    demo: DemoParams = DemoParams()
    encoders: EncoderParams = EncoderParams()
    extract: ExtractParams = ExtractParams()
    head: HeadParams = HeadParams()


class _Loader(yaml.SafeLoader):
    """YAML without features that can hang or surprise: aliases, merge keys, tags, repeated keys, very long numbers.

    PyYAML silently keeps the last value of a repeated key, reads 1:30 as 90, and turns dates into dates. Here,
    repeated keys are errors; dates, times and very long numbers stay text, which the checks then refuse by key.
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
                problem = f"the key {name} is on line {lines[key.value]} already; keep one of them"
                raise _refusal(problem, key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return node


# Types of plain text, by first character: PyYAML's rules, without times, dates and numbers of any length.
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
    """Read the parameters from a YAML file; missing keys have the defaults above.

    Raises
    ------
    ParamsError
        The file cannot be read, is too large, is not YAML, uses YAML features other than keys, lists and plain values,
        or has an unknown, repeated or ill-typed key. The message names the key and the line.
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
    """A file's text. Raises OSError or ValueError. Pipes and devices are not opened, as they may never end."""
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
    """The values of some sections by key, in the form of command-line options: lists are joined by commas.

    Keys that the file does not have, or sets to null, are left out, so that the command's own default applies.
    """
    values: dict[str, Any] = {}
    for section in sections:
        values |= getattr(params, section).model_dump(exclude_unset=True, exclude_none=True)
    return {key: ",".join(map(str, value)) if isinstance(value, tuple) else value for key, value in values.items()}


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    key = _shortened(".".join(str(part) for part in first["loc"])) or "the file"
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}; remove it or correct its spelling"
    return f"{key}: {first['msg']}, found {_shortened(repr(first['input']))}"


def _shortened(text: str, *, longest: int = LONGEST_NAMED) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
