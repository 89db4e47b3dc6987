"""The sdist can be built, the wheel holds everything, and its commands answer from another folder."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

import hear_music as hear
from pipeline.cli import common

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMMANDS = list(PYPROJECT["project"]["scripts"])
VERSION = PYPROJECT["project"]["version"]
PACKAGES = [name.rstrip("*") for name in PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]]
# Git without the settings of the user, and without those of a hook that runs the tests.
GIT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
    **{f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, env=GIT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


# A user's program: three types, a misspelt name and a misspelt option.
USER = """\
import hear_music as hear

store = hear.open_store("embeddings.zarr")
reveal_type(store)
reveal_type(store.read("song"))
reveal_type(hear.Scorer.load("models/mine").score("song.mp3").scores["Clarity"])
hear.load_haed("models/mine")
hear.TrainConfig(epoch=3)
"""
# Without the libraries' own modules, which the types above do not need, mypy takes a third of the time.
MYPY = """\
[mypy]
strict = true
[mypy-torch.*,transformers.*,pydantic.*,huggingface_hub.*,matplotlib.*,dask.*]
follow_imports = skip
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit: a copy of the sources."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "tests/test_packaging.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in PACKAGES:
        # Other tests write bytecode meanwhile.
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text("*.egg-info/\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "sources")
    return folder


@pytest.fixture(scope="module")
def sdist(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("sdist")
    script = f"from setuptools import build_meta; build_meta.build_sdist({str(built)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=sources, env=GIT, capture_output=True, check=True)
    (archive,) = built.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def site(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with spaces where the wheel, built from the sdist, is installed."""
    installed = tmp_path_factory.mktemp("an other place") / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(sdist.parent), str(sdist)], check=True
    )
    (wheel,) = sdist.parent.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(installed), str(wheel)], check=True)
    return installed


def run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    program = [sys.executable, str(site / "bin" / command[0]), *command[1:]]
    return subprocess.run(program, capture_output=True, text=True, cwd=site.parent, env=environment)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_answers_from_another_folder(site: Path, sources: Path, command: str) -> None:
    shown = run(site, command, "--help")
    assert shown.returncode == 0, shown.stderr
    assert "Usage" in shown.stdout
    version = run(site, command, "--version")
    commit = git(sources, "rev-parse", "--short=12", "HEAD")
    assert (version.returncode, version.stdout.strip()) == (0, f"{command} {VERSION} ({commit})")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full on this machine")
@pytest.mark.parametrize("command", COMMANDS)
def test_unwritable_output_is_reported_in_one_line(site: Path, command: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    program = [sys.executable, str(site / "bin" / command), "--version"]
    with Path("/dev/full").open("w") as full:
        shown = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    problem = "standard output cannot be written: No space left on device; send it elsewhere and run again"
    assert (shown.returncode, shown.stderr) == (1, f"{command}: {problem}\n")


def test_the_wheel_has_exactly_the_files_of_the_packages(site: Path) -> None:
    for package in PACKAGES:
        files = {f.relative_to(ROOT) for f in (ROOT / package).rglob("*") if f.is_file()}
        installed = {f.relative_to(site) for f in (site / package).rglob("*") if f.is_file()}
        assert {f for f in files if "__pycache__" not in f.parts} == {
            f for f in installed if "__pycache__" not in f.parts
        }
    folders = {f.name for f in site.iterdir()}
    assert folders == {*PACKAGES, "bin", f"hear_music-{VERSION}.dist-info"}


def test_the_sdist_has_no_half_of_the_tests(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert not [name for name in names if "/tests" in name]


def test_a_checkout_names_its_commit(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "ROOT", sources)
    monkeypatch.setenv("GIT_DIR", str(sources / "elsewhere"))  # as in a hook of another repository
    commit = git(sources, "rev-parse", "--short=12", "HEAD")
    assert common.stated_version() == f"{VERSION} ({commit})"
    readme = sources / "README.md"
    text = readme.read_bytes()
    readme.write_text("changed")
    assert common.stated_version() == f"{VERSION} ({commit}-dirty)"
    readme.write_bytes(text)
    monkeypatch.setenv("PATH", str(sources))
    assert common.stated_version() == VERSION


def test_users_see_the_types(site: Path, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "mypy.ini").write_text(MYPY)
    (tmp_path / "names.py").write_text(
        "import hear_music as hear\n" + "".join(f"reveal_type(hear.{name})\n" for name in hear.__all__)
    )
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "user.py", "names.py"]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    lines = shown.stdout.splitlines()
    kinds = [line.split('"', 1)[1] for line in lines if line.startswith("names.py")]
    assert len(kinds) == len(hear.__all__)
    assert not [kind for kind in kinds if kind.startswith("Any")]
    assert [line.split(": ", 1)[1] for line in lines if line.startswith("user.py")] == [
        'note: Revealed type is "store.reader.EmbeddingStore"',
        'note: Revealed type is "numpy.ndarray[tuple[Any, ...], numpy.dtype[numpy.floating[Any]]]"',
        'note: Revealed type is "float"',
        'error: Module has no attribute "load_haed"; maybe "load_head" or "load_heads"?  [attr-defined]',
        'error: Unexpected keyword argument "epoch" for "TrainConfig"; did you mean "epochs"?  [call-arg]',
    ], shown.stdout + shown.stderr


@pytest.mark.parametrize("hidden", ["store.py", "stages.py", "pipeline/__init__.py"])
def test_a_module_that_hides_a_package_is_named(site: Path, tmp_path: Path, hidden: str) -> None:
    own = tmp_path / hidden
    own.parent.mkdir(exist_ok=True)
    own.write_text("")
    (tmp_path / "script.py").write_text("import hear_music")
    line = (
        f"ImportError: {own} hides the package {hidden.split('/')[0].removesuffix('.py')!r} of hear-music in {site}; "
        "rename that file or folder, or run your program from another folder"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    scripts = [sys.executable, "script.py"], [sys.executable, str(site / "bin" / "hear-store"), "--version"]
    imported, command = (
        subprocess.run(one, capture_output=True, text=True, cwd=tmp_path, env=environment) for one in scripts
    )
    assert (imported.returncode, imported.stderr.splitlines()[-1]) == (1, line)
    # A command looks in its own folder, not in the user's, unless PYTHONPATH says so.
    assert (command.returncode, command.stderr) == (0, "")
    environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{site}"
    command = subprocess.run(scripts[1], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (command.returncode, command.stderr.splitlines()[-1]) == (1, line)


def test_wrong_usage_is_2_and_our_errors_are_1_in_one_line(site: Path) -> None:
    assert run(site, "hear-extract", "--nonsense").returncode == 2
    missing = run(site, "hear-extract", "--manifest", "nowhere.csv", "--store", "s.zarr", "--preset", "tiny")
    assert missing.returncode == 1
    assert "nowhere.csv" in missing.stderr.splitlines()[-1]
    assert "Traceback" not in missing.stderr


def test_a_broken_params_file_gives_one_line(site: Path) -> None:
    (site.parent / "broken.yaml").write_text("head: {bta: 1}")
    shown = run(site, "hear-head", "train", "--params", "broken.yaml")
    assert shown.returncode == 1
    assert shown.stderr.splitlines() == [
        "hear-head: broken.yaml: unknown key head.bta; remove it or correct its spelling"
    ]


def test_no_file_names_a_registry_host() -> None:
    hosts = ("pypi." + "org", "python" + "hosted.org", "npmjs." + "org")
    assert not (ROOT / "uv.lock").exists()
    names = ("requirements.txt", "requirements-run.txt", "pyproject.toml", "Makefile", "Dockerfile", "README.md")
    for name in (*names, "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not [host for host in hosts if host in text]
