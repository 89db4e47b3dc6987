"""Decoding: audio files → mono float32 samples."""
