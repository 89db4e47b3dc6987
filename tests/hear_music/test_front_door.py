"""`hear_music` is the public API: lazy, documented, and its examples run."""

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hear_music as hear
from hear_music import adapters

ROOT = Path(__file__).parents[2]
NAMES = [name for name in hear.__all__ if name not in ("DIMENSIONS", "__version__")]
ERRORS = [name for name in NAMES if name.endswith("Error")]
DOCUMENTED = [name for name in NAMES if name not in ERRORS]


def test_the_import_loads_no_heavy_package() -> None:
    heavy = "{'torch', 'numpy', 'zarr', 'dask', 'stages', 'store'}"
    script = f"import hear_music, sys; print({heavy} & set(sys.modules)); hear_music.HearError"
    script += "; print({'torch', 'numpy'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["set()", "set()"]


def test_names() -> None:
    assert dir(hear) == hear.__all__ == sorted(hear.__all__)
    assert [name for name in hear.__all__ if not hasattr(hear, name)] == []
    with pytest.raises(AttributeError, match="module 'hear_music' has no attribute 'load_haed'"):
        hear.load_haed  # noqa: B018 - the misspelt name is the test
    assert all(issubclass(getattr(hear, name), hear.HearError) for name in ERRORS)


def test_every_name_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: hear_music\.(\w+)$", page, re.MULTILINE)
    assert sorted([*shown, "__version__"]) == hear.__all__
    assert sorted(re.findall(r"^::: hear_music\.adapters\.(\w+)$", page, re.MULTILINE)) == adapters.__all__
    assert "hear_music.__version__" in page


@pytest.mark.parametrize("name", ERRORS)
def test_errors_document_when_they_are_raised(name: str) -> None:
    assert getattr(hear, name).__dict__["__doc__"]


@pytest.mark.parametrize("name", [*DOCUMENTED, *adapters.__all__])
def test_the_examples_run(name: str, work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documented = getattr(hear if name in DOCUMENTED else adapters, name)
    text = inspect.cleandoc(documented.__doc__)
    sections = re.findall(r"^(\w+)\n-{3,}$", text, re.MULTILINE)
    assert sections[-1] == "Examples"
    if inspect.isfunction(documented):
        assert sections == ["Parameters", "Returns", "Raises", "Examples"]
    monkeypatch.chdir(work_folder)
    (example,) = doctest.DocTestFinder(recurse=False).find(documented, name, globs={})
    assert example.examples[0].source.startswith(("import ", "from "))
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    failed, _ = runner.run(example, out=report.append)
    assert not failed, "".join(report)
