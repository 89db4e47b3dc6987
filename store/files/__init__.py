"""Untrusted files and text, read safely; files that appear complete or not at all."""
