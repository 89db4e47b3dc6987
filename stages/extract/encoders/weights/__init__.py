"""Published and random weights for the encoders."""
