"""Views of a song: the song itself and augmented versions."""
