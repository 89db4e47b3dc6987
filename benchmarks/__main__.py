"""Run benchmarks, each in its own process, so that none warms up or fills the memory of another.

Exit code 1 means that a benchmark failed or that a figure missed its goal.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import read_figures

NAMES = ("store", "feed", "head", "busy", "decode", "extract", "scoring")


def main() -> int:
    """Run each benchmark; return 1 if any failed or missed a goal."""
    more = "options of a benchmark: python -m benchmarks.bench_NAME --help"
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog=more)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"{', '.join(NAMES)} (default: all)")
    parser.add_argument("--figures", type=Path, help="append the figures to this file, one JSON object per line")
    options = parser.parse_args()
    names = options.names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory() as folder:
        path = options.figures or Path(folder) / "figures.jsonl"
        earlier = len(read_figures(path))
        ways = {name: [sys.executable, "-m", f"benchmarks.bench_{name}", "--figures", str(path)] for name in names}
        failed = [name for name, command in ways.items() if subprocess.run(command).returncode]
        missed = [str(figure) for figure in read_figures(path)[earlier:] if figure.missed]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    if missed:
        print("missed goals:", *missed, sep="\n  ", file=sys.stderr)
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
