"""What the OpenAPI document says about the endpoints besides the answers' schemas."""

from typing import Any

from fastapi.responses import Response

from stages.extract.audio.decoder import MOST_CHANNELS
from stages.extract.audio.reading import HIGHEST_RATE, LOWEST_RATE
from stages.scoring.service.answers import JSON_LINES
from stages.scoring.service.documents.schemas import Refusal, SongRow
from stages.scoring.service.limits import RETRY_AFTER, Limits
from stages.scoring.service.request_log import ID_HEADER
from stages.scoring.service.samples import CHANNELS_HEADER, RATE_HEADER, SAMPLES_TYPE

# The address of the examples in the document; the page puts the address of its own request in its place.
SAMPLE_ADDRESS = "http://127.0.0.1:8000"
_BINARY = {"type": "string", "format": "binary"}
_HOST = {400: "The Host header names another machine, or the request is not valid HTTP."}
_ID: dict[str, Any] = {
    "name": ID_HEADER,
    "in": "header",
    "schema": {"type": "string", "pattern": "^[!-~]{1,64}$"},
    "description": "An id for the answer and the log. Without it, or if it does not match, the service makes one.",
}


def score_about(limits: Limits) -> dict[str, Any]:
    """What `app.post` needs to describe `POST /score`."""
    parameters = [
        _query("name", "Name of the song, for a body that is not a form. Its suffix does not matter."),
        _header(RATE_HEADER, f"Samples per second; required for {SAMPLES_TYPE}.", LOWEST_RATE, HIGHEST_RATE),
        _header(CHANNELS_HEADER, f"Interleaved channels of {SAMPLES_TYPE}; 1 by default.", 1, MOST_CHANNELS),
        _ID,
    ]
    content = {
        "multipart/form-data": _form({"audio": _BINARY}),
        "audio/*": {"schema": {**_BINARY, "description": "The file itself. Any type will do, also none."}},
        SAMPLES_TYPE: {"schema": {**_BINARY, "description": "Raw float32 samples, little-endian, full scale at ±1."}},
    }
    return {
        "summary": "Score one song",
        "responses": {200: {"model": SongRow, "description": "The scores."}, **_refusals(limits, {})},
        "openapi_extra": {
            "parameters": parameters,
            "requestBody": {"required": True, "content": content},
            "x-codeSamples": [
                _curl("-F audio=@song.mp3", "/score"),
                _curl("--data-binary @song.mp3", "/score?name=song.mp3"),
                _curl(
                    f"-H 'Content-Type: {SAMPLES_TYPE}' -H '{RATE_HEADER}: 44100' -H '{CHANNELS_HEADER}: 2' \\\n"
                    "  --data-binary @samples.f32",
                    "/score",
                ),
            ],
        },
    }


def batch_about(limits: Limits, files: int) -> dict[str, Any]:
    """What `app.post` needs to describe `POST /score/batch`."""
    several = {"type": "array", "items": _BINARY, "minItems": 1, "maxItems": files}
    rows = {
        "description": "One row per file, in order, each as soon as it is scored.",
        "content": {JSON_LINES: {"schema": {"$ref": "#/components/schemas/SongRow"}}},
    }
    return {
        "summary": "Score several songs",
        # Its answers are not JSON, which is the default.
        "response_class": Response,
        "responses": {
            200: rows,
            **_refusals(limits, {413: f"Together, the files are larger than {limits.megabytes:g} MB."}),
        },
        "openapi_extra": {
            "parameters": [_ID],
            "requestBody": {"required": True, "content": {"multipart/form-data": _form({"audio": several})}},
            "x-codeSamples": [_curl("--no-buffer -F audio=@a.mp3 -F audio=@b.mp3", "/score/batch")],
        },
    }


def read_about(summary: str, path: str, answer: str) -> dict[str, Any]:
    """What `app.get` needs to describe an endpoint without parameters."""
    return {
        "summary": summary,
        "response_description": answer,
        "responses": _described(_HOST),
        "openapi_extra": {"parameters": [_ID], "x-codeSamples": [_curl("", path)]},
    }


def _refusals(limits: Limits, other: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    reasons = {
        **_HOST,
        403: "The page of another site sent the request.",
        408: "Headers or body came too slowly.",
        413: f"More than {limits.megabytes:g} MB or {limits.minutes:g} minutes, or too many samples.",
        422: "Not audio that can be scored, wrong headers, or a broken upload.",
        503: f"Too busy, or stopping. Retry-After says when to try again: after {RETRY_AFTER} s.",
        504: f"No scores within {limits.seconds:g} s.",
        507: "The disk for uploads is full or broken.",
        **other,
    }
    found = _described(reasons)
    found[503]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
    return found


def _described(reasons: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"description": reason} if status == 400 else {"model": Refusal, "description": reason}
        for status, reason in reasons.items()
    }


def _query(name: str, about: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string"}, "description": about}


def _header(name: str, about: str, least: int, most: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return {"name": name, "in": "header", "schema": schema, "description": about}


def _form(properties: dict[str, Any]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": properties, "required": list(properties)}}


def _curl(options: str, path: str) -> dict[str, str]:
    address = f"{SAMPLE_ADDRESS}{path}"
    # A shell would take the question mark for a pattern.
    words = ["curl", options, f"'{address}'" if "?" in path else address]
    return {"lang": "curl", "source": " ".join(filter(None, words))}
