"""Songs: manifests, and the sources they are made from."""

from stages.songs.errors import SongsError
from stages.songs.manifest import DIMENSIONS, SPLITS, Manifest, Song
from stages.songs.manifest_file import read_manifest, write_manifest

__all__ = ["DIMENSIONS", "SPLITS", "Manifest", "Song", "SongsError", "read_manifest", "write_manifest"]
