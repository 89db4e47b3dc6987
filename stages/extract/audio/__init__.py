"""Audio files → mono float32 samples."""
