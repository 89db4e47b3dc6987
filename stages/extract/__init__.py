"""Stage one: audio → views → encoders → multi-scale streams → store."""
