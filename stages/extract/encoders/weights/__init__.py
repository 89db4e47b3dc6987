"""Published and random weights of the encoders."""
