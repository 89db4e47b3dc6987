"""Keeps the commit beside the package's metadata, for `hear-* --version`; everything else is in pyproject.toml."""

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.egg_info import egg_info

ROOT = Path(__file__).resolve().parent


class EggInfoWithCommit(egg_info):
    """Wheels and sdists take over the files of this folder; in an unpacked sdist, the commit is there already."""

    def run(self) -> None:
        if (ROOT / ".git").exists() and shutil.which("git"):
            git = ["git", f"--git-dir={ROOT / '.git'}", f"--work-tree={ROOT}"]
            found = subprocess.run(
                [*git, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], capture_output=True, text=True
            )
            self.mkpath(self.egg_info)
            (Path(self.egg_info) / "commit.txt").write_text(found.stdout, encoding="utf-8")
        super().run()


setup(cmdclass={"egg_info": EggInfoWithCommit})
