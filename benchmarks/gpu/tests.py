"""Run the tests that need a GPU, and keep the outcome of each in a journal as soon as it is known.

A crash of CUDA can end Python: results that are written at the end, as pytest's own are, would then be lost.
"""

import argparse
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.report import write_line


class Outcomes:
    """A plugin of pytest."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a test's outcome: of its call, or of the part before or after it that did not pass."""
        if report.when == "call" or not report.passed:
            write_line(self.journal, test=report.nodeid, outcome=report.outcome, note=_reason(report))


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):  # of a skipped test: file, line and reason
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message.partition("\n")[0] if crash else report.longreprtext[-200:]


def main() -> int:
    """Run them; return pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figures", type=Path, required=True, help="append the outcomes to this file")
    options = parser.parse_args()
    # Other files may need packages that are only there for development.
    words = ["-o", "python_files=test_*_cuda.py", "-m", "cuda", "tests"]
    return pytest.main(words, plugins=[Outcomes(options.figures)])


if __name__ == "__main__":
    sys.exit(main())
