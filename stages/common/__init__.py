"""Shared by all stages: hub access, processes, machine limits, safe files, names of streams."""
