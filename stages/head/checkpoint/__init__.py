"""Trained heads: reading and writing them, one or several, here or on a hub."""
