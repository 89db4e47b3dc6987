"""`make stress`: campaigns run, print their figures, and name the seed of a turn that fails."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAILING = """
def test_that_fails(campaign):
    for rng in campaign:
        campaign.count("kept")
        assert campaign.turn_seed < 12
"""


def stress(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--seconds", "1", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_a_campaign_prints_its_figures() -> None:
    done = stress("tests/stress/test_json_text.py")
    assert done.returncode == 0, done.stdout
    assert "test_changed_json: " in done.stdout
    assert " refused" in done.stdout


def test_a_turn_that_fails_is_named_by_its_seed(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(FAILING)
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "stress" / "conftest.py").read_text())
    done = stress("--seed", "10", "--rootdir", str(tmp_path), str(tmp_path))
    assert done.returncode == 1
    assert "make stress SEED=12" in done.stdout
    assert "test_that_fails: 3 turns, 3 kept" in done.stdout
