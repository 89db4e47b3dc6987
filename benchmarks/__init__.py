"""Benchmarks (`make bench`): each measures HEAR and a plain alternative in one run and prints ratios of medians."""

import stages  # noqa: F401  # sets how OpenMP's threads wait, before torch is loaded
