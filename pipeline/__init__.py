"""Drives the work: commands, parameters, and the processes that run tasks."""

import stages  # noqa: F401  # sets how OpenMP's threads wait, before anything loads torch
