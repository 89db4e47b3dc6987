"""The shape of the code: imports go down only, the store knows no torch, commands answer at once."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("pipeline", "stages", "store")


def imported(file: Path) -> set[str]:
    """Top-level names of everything that a file imports, at any depth of nesting."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def files(layer: str) -> list[Path]:
    found = sorted((ROOT / layer).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_down_only(layer: str) -> None:
    above = set(LAYERS[: LAYERS.index(layer)])
    wrong = {str(file.relative_to(ROOT)): names for file in files(layer) if (names := imported(file) & above)}
    assert wrong == {}


def test_the_store_imports_no_model_code() -> None:
    heavy = {"torch", "torchaudio", "muq", "transformers", "typer", "yaml"}
    wrong = {str(file.relative_to(ROOT)): names for file in files("store") if (names := imported(file) & heavy)}
    assert wrong == {}


def test_only_one_module_reads_yaml() -> None:
    readers = [str(file.relative_to(ROOT)) for layer in LAYERS for file in files(layer) if "yaml" in imported(file)]
    assert readers == ["pipeline/params.py"]


@pytest.mark.parametrize("command", ["data", "extract", "head", "store", "probe", "serve"])
def test_help_imports_no_heavy_package(command: str) -> None:
    script = (
        f"import pipeline.cli.{command}, sys;"
        "print(*{'torch', 'muq', 'transformers', 'zarr', 'dask', 'sklearn', 'matplotlib', 'audiomentations', 'fastapi'}"
        " & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""
