"""The heads: HEAR's, and SongEval's own as the baseline."""
