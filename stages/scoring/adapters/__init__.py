"""HEAR behind the interfaces of other programs, without importing these."""
