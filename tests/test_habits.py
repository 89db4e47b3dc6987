"""What a project has beside its code: checks on a server, images, forms, lock files; each says what the others say."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FORMS = [".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/feature.yml"]
WORKFLOW = ".github/workflows/checks.yml"
LOCKS = ("requirements.txt", "requirements-run.txt")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PROJECT: dict[str, Any] = tomllib.loads(text("pyproject.toml"))["project"]
TARGETS = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
STAGES = text("Dockerfile").split("\nFROM ")[1:]


def minor_versions() -> set[str]:
    """The versions of Python that pyproject.toml allows."""
    allowed = SpecifierSet(PROJECT["requires-python"])
    return {f"3.{minor}" for minor in range(8, 30) if f"3.{minor}.0" in allowed}


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", [WORKFLOW]),
        ("custom.github-workflows-require-timeout", [WORKFLOW]),
        ("vendor.github-actions", [".github/actions/setup/action.yml"]),
        ("vendor.dependabot", [".github/dependabot.yml"]),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.github-issue-config", [".github/ISSUE_TEMPLATE/config.yml"]),
        ("vendor.citation-file-format", ["CITATION.cff"]),
    ],
)
def test_files_follow_their_schemas(schema: str, files: list[str]) -> None:
    run("check_jsonschema", "--force-filetype", "yaml", "--builtin-schema", schema, *files)


def test_the_hooks_of_pre_commit_are_valid() -> None:
    run("pre_commit", "validate-config", ".pre-commit-config.yaml")


@pytest.mark.parametrize(
    "name",
    [
        WORKFLOW,
        ".ci/run",
        ".github/actions/setup/action.yml",
        ".pre-commit-config.yaml",
        ".devcontainer/devcontainer.json",
        ".github/pull_request_template.md",
        "CONTRIBUTING.md",
        "README.md",
    ],
)
def test_named_make_targets_exist(name: str) -> None:
    named = set(re.findall(r"(?:^|[`\"]|: )make ([a-z-]+)", text(name), re.MULTILINE))
    assert named
    assert named <= TARGETS


def test_help_lists_every_target() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  ([a-z-]+) +\S", listed, re.MULTILINE)) == TARGETS


def test_tests_that_need_a_gpu_are_in_the_files_that_make_gpu_runs() -> None:
    marked = re.compile(r"^(?:pytestmark = |@).*\bmark\.cuda\b", re.MULTILINE)
    found = {path for path in (ROOT / "tests").rglob("*.py") if marked.search(path.read_text(encoding="utf-8"))}
    assert found == set((ROOT / "tests").rglob("test_*_cuda.py"))


def test_exactly_the_allowed_python_versions_are_tested() -> None:
    jobs = yaml.safe_load(text(WORKFLOW))["jobs"]
    assert set(jobs["tests"]["strategy"]["matrix"]["python"]) == minor_versions()
    named = {row.rpartition(" ")[2] for row in PROJECT["classifiers"] if row.startswith("Programming Language")}
    assert named == minor_versions()
    assert set(re.findall(r"^FROM python:([0-9.]+)", text("Dockerfile"), re.MULTILINE)) <= minor_versions()


def test_images_run_without_root_and_copy_existing_files() -> None:
    (uv,) = re.findall(r"^UV_VERSION := (.+)$", text("Makefile"), re.MULTILINE)
    assert re.findall(r"uv==(\S+)", text("Dockerfile")) == [uv]
    for stage in (STAGES[0], STAGES[-1]):
        assert re.findall(r"^USER (.+)$", stage, re.MULTILINE) == ["1000"]
    copied = re.findall(r"^COPY (?!--from)(\S+)", text("Dockerfile"), re.MULTILINE)
    assert copied == [".", "requirements-run.txt"]
    assert all((ROOT / name).exists() for name in copied)


def test_the_dev_container_uses_a_stage_of_the_dockerfile() -> None:
    build = json.loads(text(".devcontainer/devcontainer.json"))["build"]
    assert build["target"] in [re.findall(r" AS (\S+)", stage.splitlines()[0])[0] for stage in STAGES[:-1]]
    assert (ROOT / ".devcontainer" / build["dockerfile"]).resolve() == ROOT / "Dockerfile"


def test_files_ignored_by_git_stay_out_of_images() -> None:
    ignored = {line.strip("/") for line in text(".gitignore").splitlines()}
    assert ignored == {line.removeprefix("**/") for line in text(".dockerignore").splitlines()}


def pins(name: str) -> dict[tuple[str, str], frozenset[str]]:
    """Pinned requirements of a lock file with their markers, and the hashes of each."""
    blocks = re.findall(r"^(\S+==[^\\\n]+?) \\\n((?:    --hash=\S+(?: \\)?\n)+)", text(name), re.MULTILINE)
    assert len(blocks) == len(re.findall(r"^\S+==", text(name), re.MULTILINE))
    return {
        (requirement.split(";")[0].strip(), requirement.partition(";")[2]): frozenset(re.findall(r"sha256:\S+", hashes))
        for requirement, hashes in blocks
    }


def test_users_get_the_packages_that_were_tested() -> None:
    everything, users = (pins(name) for name in LOCKS)
    # What the tests do without: packages for machines with several GPUs.
    own = {Requirement(pin).name for pin, _ in users.keys() - everything.keys()}
    assert "dask-cuda" in own
    assert not own & {Requirement(pin).name for pin, _ in everything}
    assert all(users[pin] == everything[pin] for pin in users.keys() & everything.keys())


@pytest.mark.parametrize(
    ("name", "extras"),
    [(LOCKS[0], ["dev"]), (LOCKS[1], sorted(PROJECT["optional-dependencies"].keys() - {"docs", "dev"}))],
)
def test_lock_files_match_pyproject(name: str, extras: list[str]) -> None:
    pinned = [Requirement(pin) for pin, _ in pins(name)]
    asked = [*PROJECT["dependencies"], *(row for extra in extras for row in PROJECT["optional-dependencies"][extra])]
    for requirement in map(Requirement, asked):
        if requirement.name != PROJECT["name"]:
            found = [pin for pin in pinned if pin.name == canonicalize_name(requirement.name)]
            versions = [specifier.version for pin in found for specifier in pin.specifier]
            assert versions, f"{name} lacks {requirement.name}: run `make lock`"
            assert list(requirement.specifier.filter(versions)) == versions, f"{name}: run `make lock`"


def test_the_version_is_in_one_place_and_the_others_follow() -> None:
    assert yaml.safe_load(text("CITATION.cff"))["version"] == PROJECT["version"]
    headings = re.findall(r"^## \[(.+?)\]", text("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1] == PROJECT["version"]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "SECURITY.md"])
def test_named_files_exist(name: str) -> None:
    """Links, and paths in backticks such as `stages/head/`; built folders are not in the repository."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text(name))
    paths = re.findall(r"`([\w.-]+/[\w./-]*)`", text(name))
    built = {".venv/", "build/gpu", "dist/", "wheelhouse/"}
    assert [path for path in {*links, *paths} - built if not (ROOT / path).exists()] == []
