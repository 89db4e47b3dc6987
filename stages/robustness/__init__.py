"""Planted changes of songs with a known meaning, and how far they move the scores of a head."""
