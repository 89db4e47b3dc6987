"""Run benchmarks, each in its own process, so that none warms up or fills the memory of another."""

import argparse
import subprocess
import sys

NAMES = ("store", "head", "busy", "decode", "extract")


def main() -> int:
    """Run each benchmark; return 1 if any failed."""
    more = "options of a benchmark: python -m benchmarks.bench_NAME --help"
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog=more)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"{', '.join(NAMES)} (default: all)")
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    failed = [name for name in names if subprocess.run([sys.executable, "-m", f"benchmarks.bench_{name}"]).returncode]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
