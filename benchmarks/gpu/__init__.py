"""Tests and benchmarks for a GPU, in steps, and one page of results."""
