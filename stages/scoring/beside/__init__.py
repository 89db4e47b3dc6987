"""Scores of other models beside ours: Audiobox Aesthetics, SongEval's head, and any function of a waveform."""
