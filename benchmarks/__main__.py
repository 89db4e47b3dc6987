"""Run all benchmarks, each in a process of its own, so that none warms or fills the memory of another."""

import subprocess
import sys

MODULES = ("bench_store", "bench_head", "bench_busy", "bench_decode", "bench_extract")


def main() -> int:
    """Run each benchmark; return 1 if any failed."""
    failed = [name for name in MODULES if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
