"""The answers as schemas, for the OpenAPI document. Tests compare them with real answers."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

# A value that is left out if it is unknown; it is never null.
_Text = str | SkipJsonSchema[None]
_Number = float | SkipJsonSchema[None]
_Scores = dict[str, float]


class OverTime(BaseModel):
    """Scores over time: one value per window."""

    seconds: list[float] = Field(description="Centre of each window.")
    window: float = Field(description="Length of a window in seconds.")
    hop: float = Field(description="Seconds from one window to the next.")
    scores: dict[str, list[float]] = Field(description="By dimension, one value per window.")


class Damage(BaseModel):
    """Parts of a file that could not be read; intact files have no such entry."""

    truncated: bool | SkipJsonSchema[None] = Field(None, description="Whether the file ends too early.")
    missing: _Number = Field(None, description="Seconds that are missing.")
    skipped: int | SkipJsonSchema[None] = Field(None, description="Packets that could not be decoded.")


class SongRow(BaseModel):
    """The scores of one song; in a batch also the reason why it has none. Unknown values are left out."""

    song_id: str = Field(description="The name without its suffix.")
    path: str = Field(description="The name of the file in the request.")
    scores: _Scores = Field(description="By dimension, 1 to 5; the mean if several heads scored. Empty with an error.")
    caution: _Text = Field(None, description="Why no score of these heads can be trusted, for any song.")
    warning: _Text = Field(None, description="Reasons to doubt these scores, such as silence.")
    error: _Text = Field(None, description="Only in a batch: why there are no scores.")
    group: _Text = Field(None, description="The group of the song in a comparison.")
    std: _Scores | SkipJsonSchema[None] = Field(None, description="Standard deviation over several heads.")
    novelty: _Number = Field(None, description="Distance from the training songs; 99 % of those are below 1.")
    loudest_dbfs: _Number = Field(None, description="Level of the loudest second, in dBFS.")
    damage: Damage | SkipJsonSchema[None] = Field(None, description="Parts of the file that could not be read.")
    seconds: _Number = Field(None, description="Duration of the song.")
    over_time: OverTime | SkipJsonSchema[None] = Field(None, description="Scores over time.")
    beside: dict[str, _Scores] | SkipJsonSchema[None] = Field(None, description="Scores of other models, by model.")
    source: _Text = Field(None, description="Hash of the file.")
    model: _Text = Field(None, description="Hash of everything that affects the scores.")


class Health(BaseModel):
    """The service and its model."""

    status: Literal["ok"]
    dimensions: list[str] = Field(description="Names of the scores.")
    model: str = Field(description="Hash of everything that affects the scores.")
    caution: _Text = Field(None, description="Why no score of these heads can be trusted, for any song.")


class Refusal(BaseModel):
    """Why a request was refused or failed."""

    detail: Annotated[str, Field(description="One sentence, without control characters.")]
