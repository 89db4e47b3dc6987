"""The layers of both encoders."""
