"""Scores as a reward: one number per song, with the reasons to doubt it, and the best of several candidates."""
