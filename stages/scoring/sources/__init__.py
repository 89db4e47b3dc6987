"""Sources of songs' frames: audio through the encoders, or a store."""
