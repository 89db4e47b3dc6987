"""Hooks of the site: pages from outside docs/, the command reference, and equations that need no script."""

import importlib
import re
from pathlib import Path
from posixpath import dirname, relpath
from typing import Any

import typer
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from pipeline.cli.hear import app as hear
from pipeline.cli.pages import EXAMPLE

ROOT = Path(__file__).resolve().parents[1]
# Pages that stay where readers on GitHub expect them, and their place in the site.
OUTSIDE = {
    "CHANGELOG.md": "project/changelog.md",
    "CODE_OF_CONDUCT.md": "project/conduct.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}
COMMANDS = ("data", "extract", "head", "probe", "serve", "store")
LINK = re.compile(r"\[([^\]\n]*)\]\(([^()\s:#]+)(#[^()\s]*)?\)")
EXTERNAL = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")

log = get_plugin_logger("hooks")


def on_config(config: MkDocsConfig) -> None:
    """Make ```math blocks MathML: browsers show it without a script, and GitHub renders the same block."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {}).setdefault("custom_fences", [])
    fences.append({"name": "math", "class": "math", "format": _equation})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages from outside docs/, and one page per command."""
    for source, place in OUTSIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    for name in COMMANDS:
        page = f"reference/commands/hear-{name}.md"
        files.append(File.generated(config, page, content=_command_page(name)))
    files.append(File.generated(config, "reference/commands/hear.md", content=_hear_page()))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that are right in the repository into links within the site.

    A link to a file of the repository that is no page becomes plain text.
    """
    source = page.file.abs_src_path
    if source is None:
        return markdown
    places = {str(Path(file.abs_src_path).resolve()): file.src_uri for file in files if file.abs_src_path}

    def in_site(match: re.Match[str]) -> str:
        text, target, anchor = match[1], (Path(source).parent / match[2]).resolve(), match[3] or ""
        if place := places.get(str(target)):
            return f"[{text}]({relpath(place, dirname(page.file.src_uri))}{anchor})"
        return text if target.exists() else match[0]

    return LINK.sub(in_site, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> None:
    """Warn of what a browser would load from another server: pages must work without a network."""
    for tag in EXTERNAL.findall(output):
        log.warning("%s loads from another server: %s", page.file.src_uri, tag)


def _equation(source: str, *_: Any, **__: Any) -> str:
    return f'<div class="math">{convert(source, display="block")}</div>'


def _command_page(name: str) -> str:
    """Describe `hear-<name>` and its subcommands from the command's own definitions."""
    command = typer.main.get_command(importlib.import_module(f"pipeline.cli.{name}").app)
    return "\n".join(_described(command, typer.Context(command, info_name=f"hear-{name}")))


def _hear_page() -> str:
    """List the commands of `hear`, which have pages under their other names, and describe `hear doctor`."""
    command: Any = typer.main.get_command(hear)
    context = typer.Context(command, info_name="hear")
    parts = command.commands.items()
    listed = [f"| {part.rich_help_panel} | `hear {name}` | {part.get_short_help_str(200)} |" for name, part in parts]
    doctor = command.commands["doctor"]
    command.commands = {}
    return "\n".join(
        [
            *_described(command, context),
            *["| | command | |", "|---|---|---|", *listed, ""],
            *_described(doctor, typer.Context(doctor, info_name="doctor", parent=context), 2),
        ]
    )


def _described(command: Any, context: typer.Context, level: int = 1) -> list[str]:
    """Describe one command: its usage, and its options in the groups that `--help` shows."""
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = [f"{'#' * level} {context.command_path}", "", command.help or "", "", "```", usage, "```", ""]
    groups: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            group = parameter.rich_help_panel or f"{parameter.param_type_name}s".capitalize()
            groups.setdefault(group, []).append(f"| `{record[0]}` | {record[1]} |")
    for group, rows in groups.items():
        lines += [f"| {group} | |", "|---|---|", *rows, ""]
    if command.epilog:
        lines += ["```sh", command.epilog.removeprefix(EXAMPLE).strip(), "```", ""]
    for name, part in getattr(command, "commands", {}).items():
        lines += _described(part, typer.Context(part, info_name=name, parent=context), level + 1)
    return lines
