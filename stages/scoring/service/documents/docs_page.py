"""The OpenAPI document → a page without scripts."""

import html
from collections.abc import Iterable, Mapping
from typing import Any

from stages.scoring.page.document import static_html
from stages.scoring.service.documents.openapi import SAMPLE_ADDRESS

_REFERENCE = "#/components/schemas/"


def docs_html(openapi: Mapping[str, Any], address: str) -> str:
    """Build the page: each endpoint with its parameters, bodies, answers and examples, and then the schemas.

    The examples ask the service at `address`.
    """
    operations = [
        (method, path, operation) for path, methods in openapi["paths"].items() for method, operation in methods.items()
    ]
    schemas = openapi["components"]["schemas"]
    contents = "".join(
        f'<li><a href="#{_anchor(method, path)}">{_name(method, path)}</a></li>' for method, path, _ in operations
    )
    body = [
        f"<p>{_text(openapi['info']['description'])}</p>",
        f'<p>Version {_text(openapi["info"]["version"])}. <a href=".">Score songs on a page</a>, or read this as an '
        '<a href="openapi.json">OpenAPI document</a>.</p>',
        f"<ul>{contents}</ul>",
        *(_operation(*each, address) for each in operations),
        "<h2>Schemas</h2>",
        *(_schema(name, schema) for name, schema in schemas.items()),
    ]
    return static_html("HEAR: HTTP endpoints", "\n".join(body))


def _operation(method: str, path: str, operation: Mapping[str, Any], address: str) -> str:
    parts = [f'<h2 id="{_anchor(method, path)}">{_name(method, path)}</h2>', f"<p>{_text(operation['summary'])}.</p>"]
    samples = (sample["source"].replace(SAMPLE_ADDRESS, address) for sample in operation.get("x-codeSamples", ()))
    parts.extend(f"<pre>{_text(sample)}</pre>" for sample in samples)
    if "parameters" in operation:
        rows = (
            (one["name"], f"{one['in']}, {_kind(one['schema'])}", one["description"]) for one in operation["parameters"]
        )
        parts.append(f"<h3>Parameters</h3>{_list(rows)}")
    if "requestBody" in operation:
        bodies = operation["requestBody"]["content"].items()
        rows = ((kind, _kind(one["schema"]), one["schema"].get("description", "")) for kind, one in bodies)
        parts.append(f"<h3>Body</h3>{_list(rows)}")
    answers = operation["responses"].items()
    return "\n".join([*parts, f"<h3>Answers</h3>{_list(_answer(*each) for each in answers)}"])


def _answer(status: str, one: Mapping[str, Any]) -> tuple[str, str, str]:
    kinds = (f"{_kind(each['schema'])} as {kind}" for kind, each in one.get("content", {}).items())
    return status, ", ".join(kinds), one["description"]


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = (
        (key, _kind(value) + ("" if key in needed else ", optional"), value.get("description", ""))
        for key, value in schema["properties"].items()
    )
    return f"<h3>{_text(name)}</h3><p>{_text(schema['description'])}</p>{_list(rows)}"


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words, such as `array of integer`."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(_REFERENCE)
    kind, more = schema.get("format") or schema.get("type", "any"), ""
    if "const" in schema:
        return f'"{schema["const"]}"'
    if schema.get("items"):
        return f"array of {_kind(schema['items'])}" + (
            f", at most {schema['maxItems']}" if "maxItems" in schema else ""
        )
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_kind(schema['additionalProperties'])}"
    if schema.get("properties"):
        return "; ".join(f"{name}: {_kind(value)}" for name, value in schema["properties"].items())
    if "minimum" in schema:
        more = f", {schema['minimum']} to {schema['maximum']}"
    return f"{kind}{more}"


def _list(rows: Iterable[tuple[str, str, str]]) -> str:
    items = (f"<dt><code>{_text(name)}</code> {_text(kind)}</dt><dd>{_text(about)}</dd>" for name, kind, about in rows)
    return f"<dl>{''.join(items)}</dl>"


def _name(method: str, path: str) -> str:
    return _text(f"{method.upper()} {path}")


def _anchor(method: str, path: str) -> str:
    return _text(f"{method}{path.replace('/', '-')}")


def _text(text: object) -> str:
    return html.escape(str(text))
