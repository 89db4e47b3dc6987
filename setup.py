"""Keeps the commit beside the package's metadata, for `hear-* --version`; everything else is in pyproject.toml."""

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.egg_info import egg_info

ROOT = Path(__file__).resolve().parent
NAME = "commit.txt"


def commit() -> str:
    """The commit of this checkout, or of the one that an unpacked sdist was made from; empty where neither is known."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        git = ["git", f"--git-dir={ROOT / '.git'}", f"--work-tree={ROOT}"]
        describe = [*git, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(describe, capture_output=True, text=True).stdout
    kept = ROOT / "hear_music.egg-info" / NAME
    return kept.read_text(encoding="utf-8") if kept.exists() else ""


class EggInfoWithCommit(egg_info):
    """Sdists and wheels take over every file of this folder."""

    def run(self) -> None:
        text = commit()
        self.mkpath(self.egg_info)
        (Path(self.egg_info) / NAME).write_text(text, encoding="utf-8")
        super().run()


setup(cmdclass={"egg_info": EggInfoWithCommit})
