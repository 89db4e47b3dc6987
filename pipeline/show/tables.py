"""Figures as text tables."""

from collections.abc import Mapping
from typing import Any

from store.files.visible import visible


def describe_text(figures: Mapping[str, Any]) -> str:
    """Write what `store.describe` returns for people: the spec, then a line a split and view."""
    spec = "\n".join(f"  {visible(name):15} {_plain(value)}" for name, value in figures["spec"].items())
    what = f"format {figures['format']} {figures['version']}, {figures['songs']} songs"
    head = f"{visible(figures['root'])}\n{what}\nspec\n{spec}"
    for name, provenance in figures["encoders_from"].items():
        head += f"\nweights of {visible(name)}: {_plain(provenance)}"
    groups = {"(all)": figures, **figures.get("splits", {})}
    lines = [f"{'split':10} {'view':>5} {'records':>9} {'hours':>10} {'GB':>10}"]
    for split, group in groups.items():
        lines.append(_line(split, "all", group))
        lines += [_line(split, view, total) for view, total in group["views"].items()]
    missing = [
        f"{name}: {group['missing']} songs of the manifest are not here"
        for name, group in groups.items()
        if group.get("missing")
    ]
    return "\n".join([head, *lines, *missing])


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{key}={item}" for key, item in value.items())
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return visible(text)


def _line(split: str, view: str, total: Mapping[str, float]) -> str:
    return f"{split:10} {view:>5} {total['records']:9d} {total['hours']:10.2f} {total['bytes'] / 1e9:10.3f}"
