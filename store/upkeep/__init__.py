"""Work on whole stores: verify, sweep, merge, prune, describe, and HDF5."""
