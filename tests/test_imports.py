"""Commands answer at once: their modules load nothing heavy."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", ["data", "doctor", "extract", "head", "hear", "store", "probe", "serve"])
def test_help_imports_no_heavy_package(command: str) -> None:
    script = (
        f"import pipeline.cli.{command}, sys;"
        "print(*{'torch', 'muq', 'transformers', 'zarr', 'dask', 'sklearn', 'matplotlib', 'audiomentations', 'fastapi'}"
        " & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""
